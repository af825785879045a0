"""Search while the same machine syncs and rebuilds the index.

    python -m benchmarks.busy [--rows 19406]

Icecat products are synced, indexed and tuned by the commands that a user types. Then one HTTP client of `rowvec serve`
searches without a pause: with nothing else at work, while `rowvec sync` embeds a third of the products again, and while
`rowvec index build` makes a new HNSW index. Results are printed and kept in results/busy.json.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.rig import ROWVEC, Caller, rowvec, run, served
from benchmarks.serve import quantiles, texts
from benchmarks.sync import products, project

RESULTS = Path(__file__).parent / "results" / "busy.json"
IDLE_SECONDS = 15.0
CHANGE = "update products set short_description = coalesce(short_description, '') || ' revised' where id % 3 = 0"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=19_406)
    rows = products()[: parser.parse_args(arguments).rows]
    with project(rows) as folder:
        run([*ROWVEC, "sync"], folder)
        run([*ROWVEC, "index", "build"], folder)
        tuned = rowvec(folder, "index", "tune")
        with served(folder) as port:
            found: dict[str, Any] = {
                "rows": len(rows), "tuned": tuned, "status": rowvec(folder, "status")["details"].get("index"),
                "idle": under(port, lambda: time.sleep(IDLE_SECONDS)),
                "sync": under(port, lambda: change(folder)),
                "index build": under(port, lambda: run([*ROWVEC, "index", "build"], folder)),
            }  # fmt: skip
    print(json.dumps(found, indent=2))
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


def change(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "products.db")) as database, database:
        database.execute(CHANGE)
    run([*ROWVEC, "sync"], folder)


def under(port: int, work: Callable[[], object]) -> dict[str, Any]:
    """Latency of semantic and hybrid searches, in turns, while `work` is done in a thread of its own."""
    client, queries = Caller(port), texts(seed=1)
    times: dict[str, list[float]] = {"semantic": [], "hybrid": []}
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        while not done.done():
            for mode, seconds in times.items():
                seconds.append(client.search(next(queries), mode))
        done.result()
    report: dict[str, Any] = {mode: quantiles(seconds) for mode, seconds in times.items()}
    return {"seconds": round(time.perf_counter() - began, 1), "searches": sum(map(len, times.values())), **report}


if __name__ == "__main__":
    main(sys.argv[1:])
