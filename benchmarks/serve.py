"""What HTTP costs on top of a search: one client beside the bare costs, then several clients at once.

    python -m benchmarks.serve --rows 100000 --requests 400 --clients 8 --seconds 10

The table is in an embedded PostgreSQL and has an HNSW index tuned to a recall of 0.98; its vectors are random
directions around a few hundred centres, its texts a few words each. Every query is a new text of a few words, so that
none is answered from the cache. The server is a process of its own, as are the clients; the bare costs, one embedding
and one SQL search, are measured in turns with the requests. Needs the MiniLM weights (`rowvec model fetch`, or
--model).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks.rig import Caller, database, serving

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM
from rowvec.pipeline import Pipeline
from rowvec.stores.base import TableSpec, existing
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing import MemorySource
from rowvec.types import Column, ColumnType, Document, Entry, Row, Vectors

if TYPE_CHECKING:
    from fastapi import FastAPI

RESULTS = Path(__file__).parent / "results" / "serve.json"
WORDS = """brake pads disc rotor oil filter spark plug timing belt wiper blade clutch kit water pump front rear left
right ceramic sport heavy duty universal premium printer toner cartridge black cyan laser wireless keyboard""".split()  # noqa: SIM905
METADATA = (Column("name", ColumnType.TEXT), Column("price", ColumnType.NUMBER))
BATCH = 1000


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=400, help="of one client, and as many bare searches")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="of several clients at once")
    parser.add_argument("--model", default=MINILM)
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args(arguments)
    with database() as (_, url):
        figures = measured(url, options)
    print(json.dumps(figures, indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"arguments": vars(options), "cores": os.cpu_count(), **figures}, indent=2) + "\n")


def measured(url: str, options: argparse.Namespace) -> dict[str, Any]:
    embedder = LocalEmbedder(options.model, precision=options.precision)
    pipeline = build(url, embedder)
    fill(pipeline, options.rows)
    with serving(_app, url, options.model, options.precision) as (port, _):
        client = Caller(port)
        queries = texts(seed=1)
        for _ in range(20):
            bare(pipeline, next(queries))
            client.search(next(queries))
        bare_times, http_times = [], []
        for _ in range(options.requests):
            bare_times.append(bare(pipeline, next(queries)))
            http_times.append(client.search(next(queries)))
        modes = by_mode(client, queries, options.requests)
        several = crowd(port, options.clients, options.seconds)
        ceiling = bare_crowd(pipeline, options.clients, options.seconds)
    pipeline.close()
    embed, search = zip(*bare_times, strict=True)
    return {
        "bare": {"embed": quantiles(embed), "search": quantiles(search), "sum": quantiles(map(sum, bare_times))},
        "http, one client": quantiles(http_times),
        "http p50 / bare p50": round(statistics.median(http_times) / statistics.median(map(sum, bare_times)), 2),
        "http, one client, by mode": modes,
        f"http, {options.clients} clients": several,
        f"bare, {options.clients} threads": ceiling,
    }


def by_mode(client: Caller, queries: Iterator[str], requests: int) -> dict[str, Any]:
    """New queries in each mode in turns, and how much longer both halves take than the slower one alone."""
    times: dict[str, list[float]] = {"semantic": [], "keyword": [], "hybrid": []}
    for _ in range(requests):
        for mode, found in times.items():
            found.append(client.search(next(queries), mode))
    p50 = {mode: statistics.median(found) for mode, found in times.items()}
    ratio = p50["hybrid"] / max(p50["semantic"], p50["keyword"])
    return {**{mode: quantiles(found) for mode, found in times.items()}, "hybrid / slower half": round(ratio, 2)}


def quantiles(seconds: Any) -> dict[str, float]:
    ordered = sorted(seconds)
    at = {"p50_ms": 0.5, "p99_ms": 0.99}
    return {name: round(1000 * ordered[int(share * (len(ordered) - 1))], 2) for name, share in at.items()}


def build(url: str, embedder: LocalEmbedder, readers: int = 2) -> Pipeline:
    dimension = embedder.fingerprint.dimension
    spec = TableSpec(
        "bench", "id", ColumnType.INTEGER, dimension, METADATA, language="english", fingerprint=embedder.fingerprint
    )
    store = PostgresStore(url, "items", pipeline="bench", readers=readers)
    source = MemorySource({1: {"name": "not used", "price": 1.0}})
    return Pipeline("bench", source, _no_document, ("name",), embedder, store, spec)


def _no_document(row: Row) -> Document:
    raise NotImplementedError("The benchmark writes its vectors itself.")


def fill(pipeline: Pipeline, rows: int) -> None:
    store = pipeline.store
    assert isinstance(store, PostgresStore)
    filled = store.prepare(pipeline.spec)
    vectors, named = clustered(rows, pipeline.spec.dimension), texts(seed=0)
    for first in range(0, rows, BATCH):
        entries = [entry(number, next(named), vectors[number]) for number in range(first, min(rows, first + BATCH))]
        filled.write(WriteBatch(entries))
    store.activate(pipeline.spec)
    if filled.index.status():
        filled.index.tune(0.98, queries=50)


def clustered(rows: int, dimension: int) -> Vectors:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((300, dimension))
    around = centres[rng.integers(0, len(centres), rows)] + 0.7 * rng.standard_normal((rows, dimension))
    vectors: Vectors = (around / np.linalg.norm(around, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def entry(number: int, text: str, vector: Any) -> Entry:
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return Entry(Document(number, text, (text, number / 7), digest, digest), vector, None)


def texts(seed: int) -> Iterator[str]:
    draw = random.Random(seed)
    while True:
        yield " ".join(draw.choices(WORDS, k=draw.randint(3, 8))) + f" {draw.randrange(10**6)}"


def bare(pipeline: Pipeline, query: str) -> tuple[float, float]:
    """Seconds of one embedding and of one SQL search."""
    began = time.perf_counter()
    vector = pipeline.embedder.embed_query(query)
    embedded = time.perf_counter()
    assert len(existing(pipeline.store, pipeline.spec).nearest(vector, 10).keys) == 10
    return embedded - began, time.perf_counter() - embedded


def crowd(port: int, clients: int, seconds: float) -> dict[str, Any]:
    """Several clients in a process of their own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_crowd, port, clients, seconds).result()


def _crowd(port: int, clients: int, seconds: float) -> dict[str, Any]:
    return side_by_side([Caller(port).search for _ in range(clients)], seconds)


def bare_crowd(pipeline: Pipeline, threads: int, seconds: float) -> dict[str, Any]:
    """As many searches at once without HTTP: what the machine could do at best."""
    return side_by_side([lambda query: sum(bare(pipeline, query))] * threads, seconds)


def side_by_side(searches: Sequence[Callable[[str], float]], seconds: float) -> dict[str, Any]:
    """Each in a thread; each asks again as soon as it is answered."""
    began = time.perf_counter()

    def ask(number: int) -> list[float]:
        queries, times = texts(seed=1000 + number), []
        while time.perf_counter() - began < seconds:
            times.append(searches[number](next(queries)))
        return times

    with ThreadPoolExecutor(len(searches)) as pool:
        times = [each for found in pool.map(ask, range(len(searches))) for each in found]
    wall = time.perf_counter() - began
    return {"requests_per_second": round(len(times) / wall, 1), **quantiles(times), "requests": len(times)}


def _app(url: str, model: str, precision: str) -> FastAPI:
    from rowvec.serve import ServeSettings, Service, create_app

    settings = ServeSettings(rate=1e6)
    pipeline = build(url, LocalEmbedder(model, precision=precision), readers=settings.workers)
    return create_app({"bench": Service(pipeline)}, settings)


if __name__ == "__main__":
    main(sys.argv[1:])
