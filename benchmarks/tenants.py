"""What a search token costs: beside the same filter sent by hand, beside no filter, and with a log of queries.

    python -m benchmarks.tenants --rows 30000 --requests 300

One table in an embedded PostgreSQL with an HNSW index, at first alone and then with a partial index for each tenant.
Every row belongs to one of a few tenants, and to one of many accounts. Two servers read it, one of which logs queries;
the ways to ask are measured in turns, by the clock and by the processor time of the servers and of the database. An
embedder that takes no time makes what is added weigh most.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.processor import backends, of_threads
from benchmarks.rig import Caller, Served, database, serving
from benchmarks.serve import clustered, quantiles, texts

import rowvec
from rowvec.pipeline import Pipeline
from rowvec.stores.base import TableSpec
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index.indexes import INDEX_SECONDS
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing import HashEmbedder, MemorySource
from rowvec.types import Column, ColumnType, Document, Entry, Row

if TYPE_CHECKING:
    from fastapi import FastAPI

RESULTS = Path(__file__).parent / "results" / "tenants.json"
KEY = "a-key-of-the-benchmark-that-is-long-enough"
METADATA = tuple(Column(name, ColumnType.INTEGER) for name in ("tenant_id", "account_id"))
TENANTS, ACCOUNTS = 4, 500
BATCH = 1000
BLOCK = 10
"""Requests of one way, before those of the next."""
WAYS = {
    "key, no filter": (KEY, None),
    "key, tenant by hand": (KEY, {"tenant_id": 1}),
    "token of a tenant": (rowvec.token({"bench": {"tenant_id": 1}}, api_key=KEY), None),
    "token of every row": (rowvec.token({"bench": {}}, api_key=KEY), None),
    "key, account by hand": (KEY, {"account_id": 7}),
    "token of an account": (rowvec.token({"bench": {"account_id": 7}}, api_key=KEY), None),
}
LOGGED = "token of a tenant, logged"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--requests", type=int, default=300, help="of each way in each mode")
    options = parser.parse_args(arguments)
    with database() as (folder, url):
        fill(url, options.rows)
        with serving(_app, url, None) as plain, serving(_app, url, folder / "queries.db") as logging:
            modes = ("semantic", "hybrid")
            figures = {mode: measured(mode, url, plain, logging, options.requests) for mode in modes}
            divide(url)
            figures |= {f"{mode}, partial": measured(mode, url, plain, logging, options.requests) for mode in modes}
    print(json.dumps(figures, indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"arguments": vars(options), "cores": os.cpu_count(), **figures}, indent=2) + "\n")


def measured(mode: str, url: str, plain: Served, logging: Served, requests: int) -> dict[str, Any]:
    clients = {name: (Caller(plain.port), *way) for name, way in WAYS.items()}
    clients[LOGGED] = (Caller(logging.port), *WAYS["token of a tenant"])
    times: dict[str, list[float]] = {name: [] for name in clients}
    spent = dict.fromkeys(clients, 0.0)
    queries, order, processes = texts(seed=len(mode)), random.Random(0), list[int]()
    for number in range(-1, requests // BLOCK):
        asked = [next(queries) for _ in range(BLOCK)]
        if number >= 0:
            # What was asked before has opened the connections, and each time one more may have been needed.
            processes = [pid for each in (plain, logging) for pid in (each.process, *backends(url, each.process))]
        for name in order.sample(list(clients), len(clients)):
            client, credential, filters = clients[name]
            before = of_threads(processes)
            seconds = [client.search(query, mode, credential=credential, filters=filters) for query in asked]
            if number >= 0:
                spent[name] += of_threads(processes) - before
                times[name] += seconds

    def ratio(one: str, other: str) -> dict[str, float]:
        clock = statistics.median(times[one]) / statistics.median(times[other])
        return {"p50": round(clock, 2), "processor": round(spent[one] / spent[other], 2)}

    return {
        **{
            name: {**quantiles(found), "processor_ms": round(1000 * spent[name] / len(found), 2)}
            for name, found in times.items()
        },
        "token / by hand, tenant": ratio("token of a tenant", "key, tenant by hand"),
        "token / by hand, account": ratio("token of an account", "key, account by hand"),
        "token of every row / no token": ratio("token of every row", "key, no filter"),
        "token of a tenant / no filter": ratio("token of a tenant", "key, no filter"),
        "logged / not logged": ratio(LOGGED, "token of a tenant"),
    }


def divide(url: str) -> None:
    """Each tenant gets an index of its own."""
    pipeline = build(url, partial="tenant_id")
    pipeline.store.activate(pipeline.spec)
    pipeline.close()
    time.sleep(2 * INDEX_SECONDS)


def build(url: str, readers: int = 2, partial: str | None = None) -> Pipeline:
    embedder = HashEmbedder(384)
    spec = TableSpec("bench", "id", ColumnType.INTEGER, 384, METADATA, fingerprint=embedder.fingerprint)
    store = PostgresStore(url, "items", pipeline="bench", readers=readers, partial=partial)
    return Pipeline("bench", MemorySource({1: {"name": "not used"}}), _no_document, ("name",), embedder, store, spec)


def _no_document(row: Row) -> Document:
    raise NotImplementedError("The benchmark writes its vectors itself.")


def fill(url: str, rows: int) -> None:
    pipeline = build(url)
    filled = pipeline.store.prepare(pipeline.spec)
    vectors, named = clustered(rows, 384), texts(seed=0)
    for first in range(0, rows, BATCH):
        entries = [_entry(number, next(named), vectors[number]) for number in range(first, min(rows, first + BATCH))]
        filled.write(WriteBatch(entries))
    pipeline.store.activate(pipeline.spec)
    pipeline.close()


def _entry(number: int, text: str, vector: Any) -> Entry:
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    metadata = (number % TENANTS, number % ACCOUNTS)
    return Entry(Document(number, text, metadata, digest, digest), vector, None)


def _app(url: str, log: Path | None) -> FastAPI:
    from rowvec.evaluation.query_log import QueryLog
    from rowvec.serve import ServeSettings, Service, create_app

    settings = ServeSettings(rate=1e6, api_keys=(KEY,))
    queries = QueryLog(log, dt.timedelta(days=1)) if log else None
    return create_app({"bench": Service(build(url, readers=settings.workers))}, settings, queries)


if __name__ == "__main__":
    main(sys.argv[1:])
