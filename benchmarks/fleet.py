"""A fleet of two workers beside a plain sync of the same rows, on the same cores: same vectors, and how much longer?

    python -m benchmarks.fleet --broker redis --broker rabbitmq --rows 31498

The rows are the 24,065 datasets of the catalogue, a name and a task each, and the 7,433 cards that describe some of
them. They stand in an embedded PostgreSQL, as do the vectors of each way. Every way begins with nothing: a plain sync
in one process with all cores, then for each broker as many workers as there are cores, each with a model of one
thread, and `rowvec sync --workers celery`. The plain sync comes once more in the end, because machines have moods; the
ratio is to the mean of the two. Needs the test data (ROWVEC_TEST_DATA), the MiniLM weights and the brokers on their
usual ports.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pyarrow.parquet as pq
from benchmarks.rig import DATA, ROWVEC, database, rowvec

RESULTS = Path(__file__).parent / "results" / "fleet.json"
BROKERS = {"redis": "redis://127.0.0.1:6379/8", "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//"}
PIPELINE = """
[pipelines.{name}]
source = {{ kind = "sql", url = "{url}", table = "catalogue", key = "id" }}
text = {{ template = "{{{{ title }}}} {{{{ title }}}} {{{{ description }}}}" }}
embedder = {{ kind = "local", precision = "{precision}", workers = {threads} }}
store = {{ kind = "postgres", url = "{url}", index = "none" }}
"""
ALL_ROWS = 31_498
LARGEST_DIFFERENCE = 1e-5


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", action="append", choices=sorted(BROKERS))
    parser.add_argument("--rows", type=int, default=ALL_ROWS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", default="float32", choices=["float32", "int8"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    brokers = options.broker or sorted(BROKERS)
    with database() as (folder, url):
        figures = measured(folder, url, brokers, options)
    print(json.dumps(figures, indent=2))
    options.out.parent.mkdir(exist_ok=True)
    given = {"rows": options.rows, "workers": options.workers, "precision": options.precision}
    options.out.write_text(json.dumps({"arguments": given, "cores": os.cpu_count(), **figures}, indent=2) + "\n")


def measured(folder: Path, url: str, brokers: list[str], options: argparse.Namespace) -> dict[str, Any]:
    fill(url, options.rows)
    plain = [_plain(folder, url, "plain_first", options)]
    fleets = {broker: _fleet(folder, url, broker, options) for broker in brokers}
    plain.append(_plain(folder, url, "plain_again", options))
    mean = sum(plain) / len(plain)
    return {
        "plain sync, seconds": [round(each, 1) for each in plain],
        **{
            f"fleet over {broker}": {
                "seconds": round(seconds, 1),
                "ratio to the plain sync": round(seconds / mean, 3),
                "largest distance between two vectors of a row": compared(url, broker, options.rows),
            }
            for broker, seconds in fleets.items()
        },
    }


def fill(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table catalogue (id text primary key, title text, description text)")
        rows = list(_rows())
        # Of both kinds, also where not all are asked for.
        chosen = rows if count >= len(rows) else rows[:: len(rows) // count][:count]
        with connection.cursor().copy("copy catalogue from stdin") as copy:
            for row in chosen:
                copy.write_row(row)


def _rows() -> Iterator[tuple[str, str, str]]:
    for number, row in enumerate(pq.read_table(DATA / "hf_datasets" / "dataset_info.parquet").to_pylist()):
        name = row["dataset_name"]
        yield f"{number:05d} {name}", name.replace("_", " "), f"{row['task'] or ''} {row['domain'] or ''}"
    with gzip.open(DATA / "hf_datasets" / "cards.jsonl.gz", "rt", encoding="utf-8") as file:
        for number, card in enumerate(map(json.loads, file)):
            text = card["body"].replace("\0", "")
            yield f"card {number:05d} {card['dataset_name']}", card["dataset_name"].replace("_", " "), text


def _plain(folder: Path, url: str, name: str, options: argparse.Namespace) -> float:
    configure(folder, url, name, "", options.precision, os.cpu_count() or 1)
    began = time.perf_counter()
    rowvec(folder, "sync")
    return time.perf_counter() - began


def _fleet(folder: Path, url: str, broker: str, options: argparse.Namespace) -> float:
    threads = max(1, (os.cpu_count() or 1) // options.workers)
    configure(folder, url, f"fleet_{broker}", BROKERS[broker], options.precision, threads)
    with workers(folder, options.workers):
        began = time.perf_counter()
        rowvec(folder, "sync", "--workers", "celery")
        return time.perf_counter() - began


def configure(folder: Path, url: str, name: str, broker: str, precision: str, threads: int) -> None:
    head = f'[workers]\nqueue = "rowvec-bench-{uuid4().hex[:8]}"\n' + (f'broker = "{broker}"\n' if broker else "")
    text = PIPELINE.format(name=name, url=url, precision=precision, threads=threads)
    (folder / "rowvec.toml").write_text(head + text)


@contextmanager
def workers(folder: Path, count: int) -> Iterator[None]:
    started = []
    try:
        for number in range(count):
            log = folder / f"worker-{number}.log"
            with log.open("w") as file:
                command = [*ROWVEC, "worker"]
                started.append(subprocess.Popen(command, cwd=folder, stdout=file, stderr=file, start_new_session=True))
            while " ready." not in log.read_text():
                assert started[-1].poll() is None, log.read_text()
                time.sleep(0.1)
        yield
    finally:
        for worker in started:
            worker.terminate()
        for worker in started:
            try:
                worker.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(worker.pid, signal.SIGKILL)


def compared(url: str, broker: str, rows: int) -> float:
    """The largest distance between the vectors that the two ways gave a row.

    Raises:
        SystemExit: one of them lacks a row, or the vectors differ.
    """
    with psycopg.connect(url) as connection:
        found = connection.execute(
            f"select count(*), max(a.embedding <-> b.embedding) from plain_first_embeddings a"
            f" join fleet_{broker}_embeddings b using (id)"
        ).fetchone()
    assert found is not None
    if found[0] != rows or found[1] > LARGEST_DIFFERENCE:
        raise SystemExit(f"{broker}: {found[0]:,} of {rows:,} rows, vectors {found[1]} apart")
    return float(found[1])


if __name__ == "__main__":
    main(sys.argv[1:])
