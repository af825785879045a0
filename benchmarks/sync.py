"""What a sync costs beside the work that it cannot avoid.

    python -m benchmarks.sync [first] [second] [memory] [start] [--rows 19406] [--rounds 3]

first   a sync of Icecat products into an empty table, against embedding the same texts in memory with the same model
second  a sync that finds nothing changed, against reading the same rows and hashes with the bare drivers
memory  peak memory of `rowvec sync` with 5,000 and with 100,000 rows, model included
start   `rowvec --help` against a Python that does nothing

What is compared takes turns in one run, and a ratio is the median of the ratios of the rounds: other work on the
machine then slows both alike. Results are printed and kept in results/sync.json.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from benchmarks.rig import DATA, ROWVEC, resource_unit, run, timed

from rowvec import assemble
from rowvec.config.load import STATE
from rowvec.pipeline import Pipeline
from rowvec.stores.postgres.embedded import embedded_url, stop_embedded
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder

RESULTS = Path(__file__).parent / "results" / "sync.json"
MEMORY_ROWS = (5_000, 100_000)
COLUMNS = ("id", "name", "title", "short_description", "supplier", "price")

CONFIG = """
[pipelines.products]
source = {{ kind = "sql", url = "sqlite:///products.db", table = "products", key = "id" }}
text = {{ columns = {columns} }}
embedder = {{ kind = "local", precision = "{precision}" }}
store = {{ kind = "postgres", table = "{table}", metadata = ["name", "price"] }}
"""
TEXT_COLUMNS = ("title", "short_description", "supplier")
BARE = """
import sqlite3, sys, psycopg
sqlite3.connect(sys.argv[1]).execute({rows!r}).fetchall()
psycopg.connect(sys.argv[2]).execute({hashes!r}, binary=True).fetchall()
"""
ROWS_SQL = f"select {', '.join(COLUMNS)} from products order by id"
HASHES_SQL = "select id, text_hash, row_hash from vectors"

Figures = dict[str, float | int | str]


def main(arguments: Sequence[str]) -> None:
    parts: dict[str, Callable[[argparse.Namespace], Figures]] = {
        "first": first, "second": second, "memory": memory, "start": start,
    }  # fmt: skip
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sync", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="*", default=[], help=f"of {', '.join(parts)}; all of them by default")
    parser.add_argument("--rows", type=int, default=3_000, help="products in a round of `first`; there are 19,406")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="int8", help="of the model in `first` and `memory`")
    options = parser.parse_args(arguments)
    for part in set(options.part) - set(parts):
        parser.error(f"there is no part {part!r}")
    results: dict[str, Figures] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in options.part or parts:
        results[part] = parts[part](options)
        print(f"\n{part}")
        for name, value in results[part].items():
            print(f"  {name:<34}{value if isinstance(value, str) else format(value, ',.4g'):>14}")
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


# The first sync


def first(options: argparse.Namespace) -> Figures:
    rows = products()[: options.rows]
    bare: list[float] = []
    whole: list[float] = []
    with project(rows, precision=options.precision) as folder, opened(folder) as pipeline:
        embedder = pipeline.embedder
        texts = distinct_texts(pipeline)
        embedder.embed(texts[:64])
        for turn in range(options.rounds):
            declare(folder, precision=options.precision, table=f"vectors_{turn}")
            with opened(folder) as fresh:
                target = replace(fresh, embedder=embedder)
                tasks: list[tuple[list[float], Callable[[], object]]] = [
                    (bare, partial(embedder.embed, texts)), (whole, partial(sync, target)),
                ]  # fmt: skip
                for times, task in tasks[:: -1 if turn % 2 else 1]:
                    times.append(timed(task))
    return {
        "rows": len(rows), "distinct texts": len(texts), "precision": options.precision, "rounds": options.rounds,
        "embedding in memory, s": statistics.median(bare), "sync, s": statistics.median(whole),
        "rows/s": len(rows) / statistics.median(whole), "sync / embedding": ratio(whole, bare),
    }  # fmt: skip


def distinct_texts(pipeline: Pipeline) -> list[str]:
    """What a sync sends to the model: identical texts once."""
    pages = pipeline.source.pages(2_000)
    return list(dict.fromkeys(text for page in pages for row in page if (text := pipeline.to_document(row).text)))


# A sync with nothing to do


def second(options: argparse.Namespace) -> Figures:
    """The vectors are random ones under the name of the model: nothing looks at them here."""
    rows = products()
    inside: dict[str, list[float]] = {"bare": [], "sync": []}
    process: dict[str, list[float]] = {"bare": [], "sync": []}
    with project(rows) as folder, opened(folder) as pipeline:
        stand_in = HashEmbedder(pipeline.spec.dimension)
        stand_in.fingerprint = pipeline.embedder.fingerprint
        sync(replace(pipeline, embedder=stand_in))
        url = embedded_url(folder / STATE)
        gc.freeze()  # As the command does.
        with closing(sqlite3.connect(folder / "products.db")) as source, psycopg.connect(url) as store:
            for _ in range(5 * options.rounds):
                inside["bare"].append(timed(lambda: read_all(source, store)))
                inside["sync"].append(timed(lambda: sync(pipeline)))
        script = BARE.format(rows=ROWS_SQL, hashes=HASHES_SQL)
        for _ in range(2 * options.rounds):
            process["bare"].append(timed(lambda: run([sys.executable, "-c", script, "products.db", url], folder)))
            process["sync"].append(timed(lambda: run([*ROWVEC, "sync"], folder)))
    return {
        "rows": len(rows),
        "reading, ms": 1e3 * statistics.median(inside["bare"]),
        "sync, ms": 1e3 * statistics.median(inside["sync"]),
        "sync / reading": ratio(inside["sync"], inside["bare"]),
        "process that reads, ms": 1e3 * statistics.median(process["bare"]),
        "`rowvec sync`, ms": 1e3 * statistics.median(process["sync"]),
        "`rowvec sync` / process": ratio(process["sync"], process["bare"]),
    }


def read_all(source: sqlite3.Connection, store: psycopg.Connection[Any]) -> int:
    """The rows that a sync reads, and the hashes that it compares them with."""
    return len(source.execute(ROWS_SQL).fetchall()) + len(store.execute(HASHES_SQL, binary=True).fetchall())


# Memory


def memory(options: argparse.Namespace) -> Figures:
    """Every text is new, and short for the sake of time; the other columns are those of real products."""
    found: Figures = {"precision": options.precision}
    peaks = []
    known = products()
    for count in MEMORY_ROWS:
        made = (known[number % len(known)] for number in range(count))
        rows = [(number, row[1], f"item {number}", *row[3:]) for number, row in enumerate(made)]
        with project(rows, precision=options.precision, columns=("title",)) as folder:
            embedded_url(folder / STATE)
            peaks.append(peak_of([*ROWVEC, "sync"], folder))
        found[f"{count:,} rows, MB"] = peaks[-1]
    found["growth"] = peaks[-1] / peaks[0] - 1
    return found


def peak_of(command: Sequence[str], folder: Path) -> float:
    """Peak resident memory of one process in MB; the database server is another one."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, "the sync failed"
    return float(usage.ru_maxrss) * resource_unit() / 1e6


# Start


def start(options: argparse.Namespace) -> Figures:
    help_text, nothing = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(5 * options.rounds):
            help_text.append(timed(lambda: run([*ROWVEC, "--help"], Path(folder))))
            nothing.append(timed(lambda: run([sys.executable, "-c", "pass"], Path(folder))))
    return {
        "`rowvec --help`, ms": 1e3 * statistics.median(help_text), "fastest, ms": 1e3 * min(help_text),
        "python -c pass, ms": 1e3 * statistics.median(nothing),
    }  # fmt: skip


# What they share


def products() -> list[tuple[Any, ...]]:
    """Icecat products as (id, name, title, short_description, supplier, price)."""
    with gzip.open(DATA / "icecat" / "products.jsonl.gz", "rt", encoding="utf-8") as file:
        return [tuple(json.loads(line).get(column) for column in COLUMNS) for line in file]


@contextmanager
def project(rows: Iterable[tuple[Any, ...]], **settings: Any) -> Iterator[Path]:
    """A folder with products.db, rowvec.toml and an embedded server of its own."""
    with tempfile.TemporaryDirectory(prefix="rowvec-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with closing(sqlite3.connect(folder / "products.db")) as database, database:
            database.execute(f"create table products (id integer primary key, {', '.join(COLUMNS[1:])})")
            database.executemany(f"insert into products values ({', '.join('?' * len(COLUMNS))})", rows)
        declare(folder, **settings)
        try:
            yield folder
        finally:
            stop_embedded(folder / STATE)


def declare(
    folder: Path, *, precision: str = "int8", columns: Sequence[str] = TEXT_COLUMNS, table: str = "vectors"
) -> None:
    text = CONFIG.format(columns=json.dumps(list(columns)), precision=precision, table=table)
    (folder / "rowvec.toml").write_text(text, encoding="utf-8")


def opened(folder: Path) -> AbstractContextManager[Pipeline]:
    return assemble.opened(folder / "rowvec.toml", None)


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """The median of the ratios of each round."""
    return statistics.median(one / other for one, other in zip(these, those, strict=True))


if __name__ == "__main__":
    main(sys.argv[1:])
