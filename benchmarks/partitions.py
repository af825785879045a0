"""A table against the same rows in parts: time and recall of searches, and a part that is added while they go on.

    python -m benchmarks.partitions --rows 100000

Both are in one PostgreSQL on this machine, with the same vectors (pairs of real MiniLM vectors of Vaswani abstracts,
blended at random) and texts, each with its own HNSW indexes, tuned to the same recall@10. Searches of both are made in
turns. Then a further part is added under --clients processes, each of which looks for known rows all the while.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.processor import of_server
from benchmarks.relevance_data import vaswani
from benchmarks.rig import AT, database, quantile
from benchmarks.search import fill, real_vectors

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM
from rowvec.searcher import Searcher
from rowvec.stores.base import GenerationHandle, TableSpec, existing
from rowvec.stores.partitioned import PartitionedStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.support.parts import table_of
from rowvec.testing import HashEmbedder
from rowvec.types import Column, ColumnType, Vector, Vectors

RESULTS = Path(__file__).parent / "results" / "partitions.json"
SPEC = TableSpec(
    "parts",
    "id",
    ColumnType.INTEGER,
    384,
    (Column("slot", ColumnType.INTEGER),),
    fingerprint=HashEmbedder(384).fingerprint,
)
DEPTH = 100
"""Rows that a search looks at, as a hybrid one does."""
TARGET = 0.98
BLOCK, BLOCKS = 50, 6
"""Searches whose processor time is taken together, and how often."""

Figures = dict[str, Any]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.partitions", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--abstracts", type=int, default=2_000, help="number of abstracts that are blended")
    options = parser.parse_args(arguments)
    texts = [row["text"] for row in vaswani().rows][: options.abstracts]
    cache = Path(tempfile.gettempdir()) / f"rowvec-vaswani-{options.abstracts}-minilm.npy"
    vectors = real_vectors(LocalEmbedder(MINILM), texts, cache)
    with database() as (_, url):
        stores = {"one table": opened(url, "whole", 1), f"{options.parts} parts": opened(url, "split", options.parts)}
        found: dict[str, Figures] = {}
        for name, store in stores.items():
            found[name] = filled(store, options.rows, texts, vectors)
            print(f"{name:<10} {found[name]}", flush=True)
        handles = [existing(store, SPEC) for store in stores.values()]
        found["same hits"] = {kind: same(handles, texts, vectors, kind) for kind in ("semantic, exact", "keyword")}
        print(f"same hits {found['same hits']}", flush=True)
        for kind, times in searched(handles, texts, vectors, options.queries).items():
            for name, of_store in zip(stores, times, strict=True):
                found[name] |= {f"{kind}, {at} ms": round(quantile(of_store, share), 2) for at, share in AT.items()}
            ratios = [quantile(times[1], share) / quantile(times[0], share) for share in AT.values()]
            found.setdefault("ratio", {})[kind] = {"p50": round(ratios[0], 2), "p95": round(ratios[1], 2)}
            print(f"{kind:<9} p50 {ratios[0]:.2f}, p95 {ratios[1]:.2f} of one table", flush=True)
        for kind, (one, parts) in processor(url, handles, texts, vectors).items():
            found["one table"][f"{kind}, processor ms"] = round(one, 2)
            found[f"{options.parts} parts"][f"{kind}, processor ms"] = round(parts, 2)
            found["ratio"][kind]["processor"] = round(parts / one, 2)
            print(f"{kind:<9} processor {one:.2f} and {parts:.2f} ms: {parts / one:.2f} of one table", flush=True)
        found["a part added"] = grown(url, options, vectors)
        print(f"a part added: {found['a part added']}")
        for store in stores.values():
            store.close()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[f"{options.rows}"] = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), **found}
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n")


def opened(url: str, table: str, parts: int) -> PartitionedStore | PostgresStore:
    def part(number: int) -> PostgresStore:
        return PostgresStore(url, table_of(table, number), pipeline="parts", readers=4, alone=parts == 1)

    return PartitionedStore(part, parts) if parts > 1 else part(0)


def filled(store: PartitionedStore | PostgresStore, rows: int, texts: Sequence[str], vectors: Vectors) -> Figures:
    with store.lock():
        handle = store.prepare(SPEC)
        rate = fill(handle, rows, texts, vectors)
        began = time.perf_counter()
        store.activate(SPEC)
        seconds = time.perf_counter() - began
        index = handle.index
        assert index is not None
        if not index.status():
            index.build()
        efforts = index.tune(TARGET, queries=100)
    return {
        "rows/s": round(rate), "index and end of the sync, s": round(seconds, 1),
        "effort": efforts[-1].effort, "recall@10": round(recall(existing(store, SPEC), vectors), 3),
    }  # fmt: skip


def recall(handle: GenerationHandle, vectors: Vectors) -> float:
    """Of the first ten rows near random vectors of abstracts, as deep as searches look."""
    found = []
    for vector in chosen(vectors, 200, seed=5):
        best = set(handle.nearest(vector, 10, exact=True).keys)
        found.append(len(best & set(handle.nearest(vector, DEPTH).keys[:10])) / 10)
    return statistics.fmean(found)


def chosen(vectors: Vectors, count: int, seed: int) -> list[Vector]:
    first, second = np.random.default_rng(seed).integers(len(vectors), size=(2, count))
    return list(0.7 * vectors[first] + 0.3 * vectors[second])


def same(handles: Sequence[GenerationHandle], texts: Sequence[str], vectors: Vectors, kind: str) -> str:
    """Of some queries, for how many both stores give the same keys in the same order."""
    equal, asked = 0, chosen(vectors, 50, seed=11)
    for vector, text in zip(asked, texts, strict=False):
        words = " ".join(text.split()[2:6])
        one, parts = (
            each.keyword(words, DEPTH) if kind == "keyword" else each.nearest(vector, DEPTH, exact=True)
            for each in handles
        )
        equal += list(one.keys) == list(parts.keys)
    return f"{equal} of {len(asked)}"


SEARCHES: dict[str, Callable[[GenerationHandle, Vector, str], object]] = {
    "semantic": lambda handle, vector, _: handle.nearest(vector, DEPTH),
    "keyword": lambda handle, _, query: handle.keyword(query, DEPTH),
    "both": lambda handle, vector, query: [
        handle.metadata(handle.nearest(vector, DEPTH).keys[:10]), handle.keyword(query, DEPTH),
    ],
}  # fmt: skip


def processor(
    url: str, handles: Sequence[GenerationHandle], texts: Sequence[str], vectors: Vectors
) -> dict[str, list[float]]:
    """Milliseconds of the processor that a search takes in each store, here and in the server, in turns."""
    words, asked = [" ".join(text.split()[2:6]) for text in texts], chosen(vectors, BLOCK, seed=13)
    spent: dict[str, list[float]] = {name: [0.0 for _ in handles] for name in SEARCHES}
    for turn in range(BLOCKS):
        for name, search in SEARCHES.items():
            for number in sorted(range(len(handles)), reverse=turn % 2 == 1):
                before = time.process_time() + of_server(url)
                for vector, query in zip(asked, words[turn * BLOCK :], strict=False):
                    search(handles[number], vector, query)
                spent[name][number] += time.process_time() + of_server(url) - before
    return {name: [1000 * each / BLOCK / BLOCKS for each in both] for name, both in spent.items()}


def searched(
    handles: Sequence[GenerationHandle], texts: Sequence[str], vectors: Vectors, queries: int
) -> dict[str, list[list[float]]]:
    """Milliseconds of each search in each store, in turns."""
    words = [" ".join(text.split()[2:6]) for text in texts]
    dice = np.random.default_rng(7)
    times: dict[str, list[list[float]]] = {name: [[] for _ in handles] for name in SEARCHES}
    for turn, vector in enumerate(chosen(vectors, queries + 20, seed=9)):
        query = words[int(dice.integers(len(words)))]
        for name, search in SEARCHES.items():
            for number in sorted(range(len(handles)), reverse=turn % 2 == 1):
                began = time.perf_counter()
                search(handles[number], vector, query)
                if turn >= 20:
                    times[name][number].append(1000 * (time.perf_counter() - began))
    return times


def grown(url: str, options: argparse.Namespace, vectors: Vectors) -> Figures:
    """Searches go on, by processes that know the former number of parts, while another part is filled."""
    context = multiprocessing.get_context("spawn")
    stop, answers = context.Event(), context.Queue()
    arguments = (url, options.parts, options.rows, stop, answers)
    clients = [context.Process(target=client, args=(number, *arguments)) for number in range(options.clients)]
    for each in clients:
        each.start()
    for _ in clients:
        answers.get()
    store = opened(url, "split", options.parts + 1)
    assert isinstance(store, PartitionedStore)
    began = time.perf_counter()
    with store.lock():
        moved = store.move(SPEC)
    seconds = time.perf_counter() - began
    stop.set()
    counts = [answers.get() for _ in clients]
    for each in clients:
        each.join()
    total = existing(store, SPEC).status().rows
    store.close()
    names = ("searches", "failed", "rows missing", "rows twice")
    return {
        "rows moved": moved, "share": round(moved / options.rows, 3), "s": round(seconds, 1),
        "rows after it": total, **dict(zip(names, map(sum, zip(*counts, strict=True)), strict=True)),
    }  # fmt: skip


def client(number: int, url: str, parts: int, rows: int, stop: Event, answers: Any) -> None:
    """Looks for rows by their own vectors, among all rows."""
    store = opened(url, "split", parts)
    searcher = Searcher(store, HashEmbedder(384), SPEC)
    dice = np.random.default_rng(number)
    searches = failed = missing = twice = 0
    searcher.check()
    answers.put("ready")
    while not stop.is_set():
        key = int(dice.integers(rows))
        searches += 1
        try:
            found = [hit.key for hit in searcher.similar(key, limit=10).hits]
            itself = searcher.rows.nearest(_vector(searcher, key), 5, exact=True).keys
        except Exception as error:
            failed += 1
            print(f"failed: {error}", flush=True)
            continue
        missing += key not in itself
        twice += len(found) != len(set(found)) or len(itself) != len(set(itself))
    answers.put((searches, failed, missing, twice))
    store.close()


def _vector(searcher: Searcher, key: int) -> Vector:
    vector = searcher.rows.vector(key)
    assert vector is not None, f"row {key} has no vector"
    return vector


if __name__ == "__main__":
    main(sys.argv[1:])
