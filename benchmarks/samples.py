"""The samples example through `rowvec sync`, as a process, against a server that takes 250 ms for an answer.

    python -m benchmarks.samples [--rounds 5] [--latency 0.25]

What latency and concurrency allow is ceil(requests / concurrency) x latency. Rounds take turns with a bare client that
sends the same requests from as many threads and throws the answers away: on a busy machine it shows how much of the
rest is the server's and the machine's. "process" is from start to end, imports included, "run" what the run record
says. Memory is the peak of the process (ru_maxrss).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rig import ROOT, embedding_service

EXAMPLE = ROOT / "examples" / "samples"
ROWS, TEXTS, THREADS = 2437, 100, 4

BARE = """
import sys
from concurrent.futures import ThreadPoolExecutor
import httpx2

url, texts, size, threads = sys.argv[1], open(sys.argv[2]).read().split("\\x1e"), int(sys.argv[3]), int(sys.argv[4])
client = httpx2.Client(headers={"Authorization": "Bearer test-key"}, verify=False)

def send(part):
    body = {"model": "text-embedding-3-small", "input": part, "encoding_format": "base64"}
    assert len(client.post(url + "/embeddings", json=body).content) > 1000

with ThreadPoolExecutor(threads) as pool:
    list(pool.map(send, [texts[start:start + size] for start in range(0, len(texts), size)]))
"""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.25)
    options = parser.parse_args(arguments)
    with embedding_service(options.latency) as url, tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), url, options.rounds, options.latency)


def compare(folder: Path, url: str, rounds: int, latency: float) -> None:
    shutil.copy(EXAMPLE / "rowvec.toml", folder)
    subprocess.run([sys.executable, EXAMPLE / "make_samples.py", folder / "samples.db"], check=True)
    texts = folder / "texts"
    texts.write_text("\x1e".join("word " * 160 + str(number) for number in range(ROWS)))
    os.environ |= {
        "EMBEDDINGS_URL": url, "EMBEDDINGS_MODEL": "text-embedding-3-small", "EMBEDDINGS_KEY": "test-key",
    }  # fmt: skip
    allowed = -(-ROWS // (TEXTS * THREADS)) * latency
    rowvec = [sys.executable, "-m", "rowvec.cli.main"]
    bare = [sys.executable, "-c", BARE, url, str(texts), str(TEXTS), str(THREADS)]
    results: dict[str, list[float]] = {name: [] for name in ("process", "run", "bare", "MB", "cpu")}
    for _ in range(rounds):
        for path in folder.glob("embeddings.db*"):
            path.unlink()
        seconds, usage = measured([*rowvec, "sync", "--json"], folder)
        results["process"].append(seconds)
        results["MB"].append(usage.ru_maxrss / 1000)
        results["cpu"].append(usage.ru_utime + usage.ru_stime)
        results["run"].append(run_seconds(subprocess.check_output([*rowvec, "status", "--json"], cwd=folder)))
        results["bare"].append(measured(bare, folder)[0])
    print(f"latency and concurrency allow {allowed:.2f} s for {ROWS:,} rows")
    for name in ("run", "process", "bare"):
        best, median = min(results[name]), statistics.median(results[name])
        print(
            f"{name:>8}: median {median:.2f} s ({median / allowed:.2f} x), best {best:.2f} s ({best / allowed:.2f} x)"
        )
    print(f"  memory: {max(results['MB']):.0f} MB at most; processor time {statistics.median(results['cpu']):.2f} s")


def measured(command: list[str], folder: Path) -> tuple[float, resource.struct_rusage]:
    """Seconds of a process from its start to its end, and what it used."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - start, usage


def run_seconds(status: bytes) -> float:
    run = json.loads(status)["runs"][0]
    ended, started = (dt.datetime.fromisoformat(run[name]) for name in ("ended_at", "started_at"))
    return (ended - started).total_seconds()


if __name__ == "__main__":
    main(sys.argv[1:])
