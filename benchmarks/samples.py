"""The samples example through `rowvec sync`, as a process, against a server that takes 250 ms for an answer.

    python benchmarks/samples.py [--rounds 5] [--latency 0.25]

What latency and concurrency allow is ceil(requests / concurrency) x latency. Rounds take turns with a bare client that
sends the same requests from as many threads and throws the answers away: on a busy machine it shows how much of the
rest is the server's and the machine's. Memory is the peak of the whole process (ru_maxrss).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.25)
    options = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.openai", "--latency", str(options.latency)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert server.stdout is not None
    try:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), server.stdout.readline().strip(), options.rounds, options.latency)
    finally:
        server.kill()
        server.wait()


def compare(folder: Path, url: str, rounds: int, latency: float) -> None:
    shutil.copy(EXAMPLE / "rowvec.toml", folder)
    subprocess.run([sys.executable, EXAMPLE / "make_samples.py", folder / "samples.db"], check=True)
    texts = folder / "texts"
    texts.write_text("\x1e".join("word " * 160 + str(number) for number in range(ROWS)))
    environment = {
        **os.environ, "EMBEDDINGS_URL": url, "EMBEDDINGS_MODEL": "text-embedding-3-small", "OPENAI_API_KEY": "test-key",
    }  # fmt: skip
    ours: list[dict[str, float]] = []
    bare: list[float] = []
    for _ in range(rounds):
        for path in folder.glob("embeddings.db*"):
            path.unlink()
        before = bill(url)
        ours.append(measured([sys.executable, "-m", "rowvec.cli.main", "sync", "--json"], folder, environment))
        after = bill(url)
        requests = after["requests"] - before["requests"]
        ours[-1]["embedding"] = after["last_answer"] - max(ours[-1]["began"], after["first_of_last"](requests))
        ours[-1]["record"] = recorded(folder, environment)
        bare.append(measured([sys.executable, "-c", BARE, url, texts, str(TEXTS), str(THREADS)], folder)["seconds"])
    allowed = -(-requests // THREADS) * latency
    show(ours, bare, allowed, requests)


if __name__ == "__main__":
    main()
