"""How the throughput of a fleet grows with its workers: one, two and four on the same rows.

    python -m benchmarks.fleet_growth --rows 1600 --wait 4.0 --repeats 1

The embedding service takes a fixed time for each batch, as one far away does, and each worker has one batch there at a
time. So the workers share no processor, and what is measured is what the fleet itself adds: sending ranges, taking
them, reading, comparing, writing, watching. Every run begins with an empty store. The repeats are interleaved. The
share of linear is the rate divided by the number of workers and by the rate of one. Needs a Redis on its usual port.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from benchmarks.fleet import BROKERS, workers
from benchmarks.rig import database, embedding_service, rowvec

RESULTS = Path(__file__).parent / "results" / "fleet_growth.json"
BATCH = 16
CONFIG = """
[workers]
queue = "rowvec-bench-{queue}"
broker = "{broker}"

[pipelines.{name}]
source = {{ kind = "sql", url = "{url}", table = "things", key = "id" }}
text = {{ template = "{{{{ name }}}}" }}
store = {{ kind = "postgres", url = "{url}", index = "none" }}

[pipelines.{name}.embedder]
kind = "openai"
model = "text-embedding-3-small"
base_url = "{model}"
api_key = "test-key"
dimensions = 64
batch_size = {batch}
concurrency = 1
"""


@dataclass(frozen=True)
class Run:
    workers: int
    seconds: float
    """By the record of the run, which leaves out the start of Python: it takes as long for any number of rows."""
    processor: float
    """Seconds, of the workers and the process that started the fleet."""
    load: float


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", default="redis", choices=sorted(BROKERS))
    parser.add_argument("--rows", type=int, default=1600)
    parser.add_argument("--wait", type=float, default=1.0, help="seconds that a batch of 16 rows takes")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    runs = []
    with database() as (folder, url), embedding_service(options.wait) as model:
        fill(url, options.rows)
        for turn in range(options.repeats):
            for count in options.workers if turn % 2 == 0 else reversed(options.workers):
                name = f"things_{count}_{turn}"
                text = CONFIG.format(
                    queue=uuid4().hex[:8], broker=BROKERS[options.broker], name=name, url=url, model=model, batch=BATCH
                )
                (folder / "rowvec.toml").write_text(text)
                runs.append(measured(folder, url, name, count, options.rows))
                print(runs[-1], flush=True)
    table = growth(runs, options.rows)
    shown(table)
    given = {name: getattr(options, name) for name in ("broker", "rows", "wait", "repeats")}
    record = {"arguments": {**given, "batch": BATCH}, "cores": os.cpu_count(), "workers": table}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(record, indent=2) + "\n")


def measured(folder: Path, url: str, name: str, count: int, rows: int) -> Run:
    before = _processor_seconds()
    with workers(folder, count):
        report = rowvec(folder, "sync", "--workers", "celery")
    if report["inserted"] != rows:
        raise SystemExit(f"{report['inserted']:,} of {rows:,} rows: {report}")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"drop table {name}_embeddings".encode())
        newest = "select extract(epoch from ended_at - started_at)::float from rowvec.runs order by id desc limit 1"
        found = connection.execute(newest.encode()).fetchone()
    assert found is not None
    return Run(count, float(found[0]), _processor_seconds() - before, os.getloadavg()[0])


def growth(runs: Sequence[Run], rows: int) -> list[dict[str, Any]]:
    """One row of the table for each number of workers; medians of its runs."""
    by_count = {count: [run for run in runs if run.workers == count] for count in sorted({run.workers for run in runs})}
    rates = {count: rows / statistics.median(run.seconds for run in each) for count, each in by_count.items()}
    fewest = min(rates)
    return [
        {
            "workers": count,
            "seconds": [round(run.seconds, 1) for run in each],
            "rows/s": round(rates[count], 1),
            "share of linear": round(rates[count] / count / (rates[fewest] / fewest), 3),
            "processor seconds": round(statistics.median(run.processor for run in each), 1),
            "load of the machine": [round(run.load, 1) for run in each],
        }
        for count, each in by_count.items()
    ]


def shown(table: list[dict[str, Any]]) -> None:
    print("| " + " | ".join(table[0]) + " |\n" + "|---" * len(table[0]) + "|")
    for row in table:
        print("| " + " | ".join(str(each) for each in row.values()) + " |")


def _processor_seconds() -> float:
    """Of the processes that have ended, and of all that they started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fill(url: str, rows: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table things (id integer primary key, name text)")
        connection.execute("insert into things select n, 'thing ' || n from generate_series(1, %s) n", [rows])


if __name__ == "__main__":
    main(sys.argv[1:])
