"""Facets over many rows, with a filter that half of them pass.

    python -m benchmarks.facets [--rows 100000] [--rounds 40] [--state FOLDER]

Rows have random vectors of 384 dimensions and six metadata columns: 200 suppliers of very different frequency, 10,000
parts, a price, a stock, a date and a boolean. Each facet is asked of PostgreSQL and of a libSQL file in turns, and the
plain count of a column by SQL on the table, without the index for facets. --state keeps the stores for another run.
Results are printed and kept in results/facets.json.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from rich.console import Console
from rich.table import Table

from rowvec.filters import Order, bind, facet_columns, parse
from rowvec.stores.base import GenerationHandle, Store, TableSpec
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.embedded import embedded_url, stop_embedded
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.write_batch import WriteBatch
from rowvec.types import Column, ColumnType, Document, Entry

RESULTS = Path(__file__).parent / "results" / "facets.json"
DIMENSION = 384
COLUMNS = (
    Column("supplier", ColumnType.TEXT),
    Column("part", ColumnType.TEXT),
    Column("price", ColumnType.NUMBER),
    Column("stock", ColumnType.INTEGER),
    Column("released", ColumnType.DATE),
    Column("active", ColumnType.BOOLEAN),
)
SPEC = TableSpec("facets", "id", ColumnType.INTEGER, DIMENSION, COLUMNS, language=None, keeps_texts=False)
HALF = "price < 50"
PLAIN = """select supplier, count(*) from facets
           where embedding is not null and price < 50 and ctid is not null group by 1"""
ASKED: dict[str, list[str]] = {
    "supplier": ["supplier"],
    "part, 10,000 values": ["part"],
    "price": ["price"],
    "released": ["released"],
    "supplier, active, price": ["supplier", "active", "price"],
    "all six": [column.name for column in COLUMNS],
}


def filled(store: Store, rows: int) -> GenerationHandle:
    live = store.prepare(SPEC)
    for first in range(live.count(), rows, 1_000):
        live.write(WriteBatch(entries(first, min(1_000, rows - first))))
    store.activate(SPEC)
    found = store.generation(SPEC)
    assert found is not None
    return found


def entries(first: int, count: int) -> list[Entry]:
    dice = np.random.default_rng(first)
    vectors = dice.standard_normal((count, DIMENSION)).astype(np.float32)
    suppliers, parts = dice.zipf(1.5, count) % 200, dice.integers(0, 10_000, count)
    prices, stocks, days = dice.uniform(0, 100, count), dice.integers(0, 1_000, count), dice.integers(0, 2_000, count)
    made = []
    for place in range(count):
        key = first + place
        digest = hashlib.blake2b(str(key).encode(), digest_size=16).digest()
        values = (
            f"supplier {suppliers[place]}", f"part {parts[place]:05}", float(prices[place]), int(stocks[place]),
            dt.date(2020, 1, 1) + dt.timedelta(days=int(days[place])), bool(key % 2),
        )  # fmt: skip
        made.append(Entry(Document(key, "", values, digest, digest), vectors[place], None))
    return made


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.facets", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--state", type=Path)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="rowvec-bench-", ignore_cleanup_errors=True) as name:
        folder = chosen.state or Path(name)
        try:
            found = measured(folder, chosen.rows, chosen.rounds)
        finally:
            stop_embedded(folder / "server")
    show(found)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


def measured(folder: Path, rows: int, rounds: int) -> dict[str, Any]:
    url = embedded_url(folder / "server")
    stores: dict[str, Store] = {
        "PostgreSQL": PostgresStore(url, "facets", pipeline="facets", index=None),
        "libSQL": LibsqlStore(str(folder / "vectors.db"), table="facets"),
    }
    handles = {name: filled(store, rows) for name, store in stores.items()}
    where = bind(parse(HALF), COLUMNS)
    tasks: dict[str, Callable[[], object]] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        for name, live in handles.items():
            for label, names in ASKED.items():
                columns = facet_columns(names, COLUMNS, 10)
                tasks[f"{name}: {label}"] = partial(live.facets, columns, where)
            tasks[f"{name}: number of rows"] = partial(live.facets, [], where)
            for order in (Order(COLUMNS[2], falling=True), Order(COLUMNS[4])):
                tasks[f"{name}: 10 rows by {order.name}"] = partial(live.browse, 10, where, order=order)
        tasks["PostgreSQL: supplier, plain SQL on the table"] = lambda: connection.execute(PLAIN).fetchall()
        times: dict[str, list[float]] = {label: [] for label in tasks}
        for _ in range(rounds):
            for label, task in tasks.items():
                began = time.perf_counter()
                task()
                times[label].append(1000 * (time.perf_counter() - began))
    for store in stores.values():
        store.close()
    return {
        "rows": rows, "cores": os.cpu_count(), "load": os.getloadavg()[0],
        "ms": {label: quantiles(values) for label, values in times.items()},
    }  # fmt: skip


def quantiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "least": round(ordered[0], 1), "p50": round(statistics.median(ordered), 1),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 1),
    }  # fmt: skip


def show(found: dict[str, Any]) -> None:
    table = Table(
        title=f"{found['rows']:,} rows, half of them pass; load {found['load']:.1f} on {found['cores']} cores"
    )
    for header in ("", "least", "p50", "p95"):
        table.add_column(header, justify="left" if not header else "right")
    for label, times in found["ms"].items():
        table.add_row(label, *(f"{times[name]:.1f} ms" for name in ("least", "p50", "p95")))
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
