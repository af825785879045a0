"""What the libSQL store costs beside bare SQL, and its HTTP client beside the package's own.

    python -m benchmarks.libsql_store [--rows 20000] [--dimension 384]

Ratios are of runs that take turns in one process. Texts are 75 words, about 100 tokens, drawn with the frequencies of
English (Zipf); vectors are random directions.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tests.servers.hrana import serving

from rowvec.stores.base import TableSpec
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.libsql.generation import LibsqlGeneration
from rowvec.stores.write_batch import WriteBatch
from rowvec.types import Column, ColumnType, Document, Entry, Vectors

BATCH = 500
METADATA = (Column("name", ColumnType.TEXT), Column("price", ColumnType.NUMBER))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--remote-rows", type=int, default=2_000)
    options = parser.parse_args(arguments)
    entries = list(made(options.rows, options.dimension))
    with tempfile.TemporaryDirectory() as folder:
        store = opened(f"{folder}/vectors.db", options.dimension)
        writes(store, entries)
        searches(store, Path(folder) / "vectors.db", options.dimension)
        index(Path(folder) / "index.db", entries[:2000], options.dimension)
        remote(Path(folder), entries[: options.remote_rows], options.dimension)


def made(rows: int, dimension: int) -> Iterator[Entry]:
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((rows, dimension)))
    words = np.array([f"{hashlib.sha256(str(n).encode()).hexdigest()[: 3 + n % 7]}" for n in range(30_000)])
    for number in range(rows):
        text = " ".join(words[np.minimum(rng.zipf(1.25, 75), len(words) - 1)])
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        yield Entry(Document(number, text, (f"item {number}", number / 7), digest, digest), vectors[number], None)


def unit(vectors: np.ndarray) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def opened(url: str, dimension: int) -> LibsqlGeneration:
    store = LibsqlStore(url, table="items")
    return store.prepare(TableSpec("items", "id", ColumnType.INTEGER, dimension, METADATA))


def fill(rows: LibsqlGeneration, entries: list[Entry]) -> float:
    """Rows written in a second."""
    start = time.perf_counter()
    for first in range(0, len(entries), BATCH):
        rows.write(WriteBatch(entries[first : first + BATCH]))
    return len(entries) / (time.perf_counter() - start)


def writes(rows: LibsqlGeneration, entries: list[Entry]) -> None:
    print(f"write, file, keyword index included: {fill(rows, entries):,.0f} rows/s")
    keys = [entry.document.key for entry in entries]
    start = time.perf_counter()
    for first in range(0, len(keys), BATCH):
        rows.lookup(keys[first : first + BATCH])
    print(f"lookup: {len(keys) / (time.perf_counter() - start):,.0f} rows/s")
    again = [entry._replace(expected=entry.document.text_hash) for entry in entries]
    print(f"replace all: {fill(rows, again):,.0f} rows/s")


def searches(rows: LibsqlGeneration, path: Path, dimension: int) -> None:
    import libsql

    bare = libsql.connect(str(path), isolation_level=None)
    queries = unit(np.random.default_rng(1).standard_normal((15, dimension)))
    sql = "select id, vector_distance_cos(embedding, ?) as d from items order by d limit 10"
    ours, theirs = interleaved(
        [lambda q: rows.nearest(q, 10), lambda q: bare.execute(sql, (q.tobytes(),)).fetchall()], list(queries)
    )
    print(f"exact search: {ours * 1e3:.1f} ms, bare SQL {theirs * 1e3:.1f} ms, ratio {ours / theirs:.2f}")
    (words,) = interleaved([lambda q: rows.keyword(q, 10)], ["26b 4ec 9f", "f5c the 19581e2", "zzz 4b2 5fe"])
    print(f"keyword search: {words * 1e3:.1f} ms")


def interleaved(calls: list[Callable[[Any], object]], arguments: list[Any]) -> list[float]:
    times: list[list[float]] = [[] for _ in calls]
    for argument in arguments:
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call(argument)
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def index(path: Path, entries: list[Entry], dimension: int) -> None:
    rows = opened(str(path), dimension)
    fill(rows, entries)
    before = rows.status().bytes
    cost = rows.index.cost()
    start = time.perf_counter()
    rows.index.build()
    seconds, size = time.perf_counter() - start, rows.status().bytes - before
    print(
        f"vector index: {len(entries) / seconds:,.0f} rows/s, {size / len(entries) / 1000:.1f} kB a row; "
        f"foretold {cost.vectors / cost.seconds:,.0f} rows/s, {cost.bytes / cost.vectors / 1000:.1f} kB"
    )


def remote(folder: Path, entries: list[Entry], dimension: int) -> None:
    """The same rows through our client and through the package, and what another thread gets done meanwhile."""
    few = entries[: max(len(entries) // 10, 1)]
    with serving(folder) as server:
        ours = opened(server.url("ours"), dimension)
        rate = fill(ours, entries)
        with counting() as free:
            fill(ours, [entry._replace(expected=entry.document.text_hash) for entry in entries])
        print(f"write, HTTP, our client: {rate:,.0f} rows/s; another thread keeps {free():.0%} of its speed")
        opened(server.url("package"), dimension)
        opened(server.url("again"), dimension)
        rate = package(server.url("package"), few)
        with counting() as free:
            package(server.url("again"), few)
        print(f"write, HTTP, the package: {rate:,.0f} rows/s; another thread keeps {free():.0%} of its speed")


def package(url: str, entries: list[Entry]) -> float:
    import libsql

    connection = libsql.connect(url, auth_token="none", isolation_level=None)
    sql = """insert into items (id, text_hash, row_hash, truncated, vector_hash, created_at, updated_at, embedding)
             values (?, ?, ?, 0, 0, '', '', ?)"""
    start = time.perf_counter()
    connection.execute("begin")
    connection.executemany(
        sql, [(e.document.key, e.document.text_hash, e.document.row_hash, e.vector.tobytes()) for e in entries]
    )
    connection.execute("commit")
    return len(entries) / (time.perf_counter() - start)


@contextmanager
def counting() -> Iterator[Callable[[], float]]:
    """How fast another Python thread runs while the block does, against alone."""
    count, stop = 0, False

    def work() -> None:
        nonlocal count
        while not stop:
            count += 1

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.2)
    alone, start, before = count / 0.2, time.perf_counter(), count
    yield lambda: speed / alone
    speed = (count - before) / (time.perf_counter() - start)
    stop = True
    thread.join()


if __name__ == "__main__":
    main(sys.argv[1:])
