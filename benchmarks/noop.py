"""A sync of very many rows of which none has changed: how long it takes, and how much memory.

    python -m benchmarks.noop [--rows 5000000]

Rows of SQLite, vectors in the embedded PostgreSQL. The vectors are drawn at random in bulk, because here it is what a
sync does beside embedding that counts. Each sync runs in a process of its own, so that its peak of memory is its own.
Results are printed and kept in results/noop.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tests.support import simple_pipeline

from rowvec.sources.sql import SqlSource
from rowvec.stores.postgres.embedded import embedded_url, stop_embedded
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.runs import Report
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.types import Embedded

RESULTS = Path(__file__).parent / "results" / "noop.json"


class Drawn(HashEmbedder):
    """Vectors that have nothing to do with their texts."""

    def embed(self, texts: Sequence[str]) -> Embedded:
        return Embedded(np.random.default_rng().random((len(texts), 8), dtype=np.float32) + 0.1, len(texts))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noop", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="5,000,000 take some minutes")
    count = parser.parse_args(arguments).rows
    with TemporaryDirectory(prefix="rowvec-noop-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with closing(sqlite3.connect(folder / "rows.db")) as database, database:
            database.execute("create table things (id integer primary key, name text, price integer)")
            rows = ((number, f"thing number {number} of many", number % 100) for number in range(count))
            database.executemany("insert into things values (?, ?, ?)", rows)
        url = embedded_url(folder)
        found: dict[str, Any] = {"rows": count}
        for part in ("first", "no-op"):
            found[part] = measured(folder, url)
        stop_embedded(folder)
    assert found["first"]["inserted"] == found["no-op"]["unchanged"] == count
    print(json.dumps(found, indent=2))
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


def measured(folder: Path, url: str) -> dict[str, float]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        began = time.perf_counter()
        report = carried_out(folder, url)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        told = {
            "seconds": round(seconds, 1), "rows_per_second": round(report.read / seconds), "peak_mib": round(peak),
            "inserted": report.inserted, "unchanged": report.unchanged,
        }  # fmt: skip
        os.write(writer, json.dumps(told).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = json.load(pipe)
    os.waitpid(child, 0)
    return dict(told)


def carried_out(folder: Path, url: str) -> Report:
    source = SqlSource(f"sqlite:///{folder / 'rows.db'}", table="things", key="id")
    store = PostgresStore(url, "vectors", pipeline="things", index=None)
    pipeline = simple_pipeline(source, store, Drawn(chunk_texts=1000))
    return sync(replace(pipeline, spec=replace(pipeline.spec, language=None)))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
