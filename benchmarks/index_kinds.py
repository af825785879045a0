"""Kinds of vector index side by side: time to build, size, and what a search costs at the same recall.

    python -m benchmarks.index_kinds --rows 100000 --target 0.98
    python -m benchmarks.index_kinds --rows 1000000 --kinds hnsw hnsw-bit
    python -m benchmarks.index_kinds --keep FOLDER --rows 278697      the catalogue that benchmarks.products left there

Without --keep the vectors are pairs of real MiniLM vectors (Vaswani abstracts) blended at random. Each kind is built
through rowvec, tuned to the target recall@10 against exact search, and then searched with vectors of random rows, the
kinds in turns. `hnsw-half` holds the first half of the numbers of each vector; MiniLM was not trained for that. It and
`hnsw-bit` are searched with oversampling, which is their effort. Then --grow of the rows are written again under new
keys, with the index in place: IVFFlat keeps the clusters of the rows it was built on, HNSW pays when a row is written.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from benchmarks.relevance_data import vaswani
from benchmarks.rig import quantile, timed
from benchmarks.search import fill, real_vectors
from pgvector.psycopg import register_vector

from rowvec.config.load import STATE
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM
from rowvec.stores.base import TableSpec, existing
from rowvec.stores.index import IndexSpec
from rowvec.stores.postgres.embedded import embedded_url, stop_embedded
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index.index import default_lists
from rowvec.types import Column, ColumnType, Vectors

RESULTS = Path(__file__).parent / "results" / "index_kinds.json"
SLOT = Column("slot", ColumnType.INTEGER)
SPEC = TableSpec("kinds", "id", ColumnType.INTEGER, 384, (SLOT,), None)
QUERIES = 300
COPY = "insert into {table} (id, embedding) select product_id, embedding from {source} limit {rows}"
GROW = (
    "insert into {table} (id, embedding, text_hash, row_hash)"
    " select id + 1000000000, embedding, text_hash, row_hash from {table} where id < 1000000000 limit {rows}"
)

KINDS = {"hnsw": IndexSpec(), "hnsw-bit": IndexSpec(precision="bit"), "hnsw-half": IndexSpec(dimensions=192),
         "ivfflat": IndexSpec("ivfflat")}  # fmt: skip

Figures = dict[str, Any]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.index_kinds", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--target", type=float, default=0.98)
    parser.add_argument("--abstracts", type=int, default=2_000, help="number of abstracts that are blended")
    parser.add_argument("--grow", type=float, default=0.05, help="share of the rows that come after the index")
    parser.add_argument("--keep", type=Path, help="the folder that benchmarks.products --keep was given")
    parser.add_argument("--compute", default="int8", help="with --keep: of the catalogue there")
    options = parser.parse_args(arguments)
    found: dict[str, Figures] = {}
    with database(options) as url:
        stores: dict[str, PostgresStore] = {}
        for kind in options.kinds:
            stores[kind] = without_index(url, kind, next(iter(stores), None), options)
            found[kind] = built(stores[kind], KINDS[kind], options)
            shown(kind, found[kind])
        for kind, times in searched(stores).items():
            found[kind] |= {"p50, ms": quantile(times, 0.5), "p95, ms": quantile(times, 0.95)}
        for kind, store in stores.items():
            found[kind] |= grown(url, store, kind, options)
            shown(kind, found[kind])
            store.prepare(SPEC).index.drop()
            run(url, f"truncate {table_of(kind)}")
            store.close()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[f"{options.rows}"] = {"target": options.target, "cores": os.cpu_count(), **found}
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n")


@contextmanager
def database(options: argparse.Namespace) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="rowvec-bench-", ignore_cleanup_errors=True) as made:
        name = f"products-{options.rows}-{options.compute}"
        folder = (options.keep / name if options.keep else Path(made)) / STATE
        try:
            yield embedded_url(folder)
        finally:
            stop_embedded(folder)


def without_index(url: str, kind: str, like: str | None, options: argparse.Namespace) -> PostgresStore:
    """A table with all rows and no index.

    Args:
        like: the kind whose table has the rows already; None for the first one.
    """
    store = PostgresStore(url, table_of(kind), pipeline="kinds", index=None)
    filled = store.prepare(SPEC)
    run(url, f"truncate {table_of(kind)}")
    filled.index.drop()
    if like is not None:
        run(url, f"insert into {table_of(kind)} select * from {table_of(like)} where id < 1000000000")
    elif options.keep:
        run(url, COPY.format(table=table_of(kind), source=products_table(url), rows=options.rows))
    else:
        texts, vectors = abstracts(options.abstracts)
        fill(filled, options.rows, texts, vectors)
    store.activate(SPEC)
    run(url, f"vacuum analyze {table_of(kind)}")
    return store


def table_of(kind: str) -> str:
    return f"index_kinds.{kind.replace('-', '_')}"


def products_table(url: str) -> str:
    from benchmarks.products import TABLES

    with psycopg.connect(url) as connection:
        found = connection.execute("select to_regclass(%s)", [TABLES["vector"]]).fetchone()
    assert found is not None
    assert found[0], "there is no catalogue in that folder: run benchmarks.products with the same --rows and --keep"
    return TABLES["vector"]


def abstracts(count: int) -> tuple[list[str], Vectors]:
    texts = [row["text"] for row in vaswani().rows][:count]
    cache = Path(tempfile.gettempdir()) / f"rowvec-vaswani-{count}-minilm.npy"
    return texts, real_vectors(LocalEmbedder(MINILM), texts, cache)


def built(store: PostgresStore, spec: IndexSpec, options: argparse.Namespace) -> Figures:
    index = existing(store, SPEC).index
    assert index is not None
    began = time.perf_counter()
    info = index.build(spec)
    seconds = time.perf_counter() - began
    best = index.tune(options.target, queries=200)[-1]
    setting = "m = 16, ef_construction = 64" if spec.kind == "hnsw" else f"lists = {default_lists(options.rows)}"
    return {
        "built with": setting, "build, s": seconds, "MB": (info.bytes or 0) / 2**20, "recall@10": best.recall,
        "effort": best.effort,
    }  # fmt: skip


def searched(stores: dict[str, PostgresStore]) -> dict[str, list[float]]:
    """Milliseconds of one search, the kinds in turns."""
    time.sleep(5.5)  # A store notices a tuning within five seconds.
    times: dict[str, list[float]] = {kind: [] for kind in stores}
    live = {kind: existing(store, SPEC) for kind, store in stores.items()}
    keys = next(iter(live.values())).keys(None, 10**9)
    draw = np.random.default_rng(3)
    for key in draw.choice(len(keys), QUERIES):
        for kind, rows in live.items():
            vector = rows.vector(keys[key])
            assert vector is not None
            noisy = vector + 0.02 * draw.standard_normal(len(vector)).astype(np.float32)
            times[kind].append(1000 * timed(lambda rows=rows, noisy=noisy: rows.nearest(noisy, 10)))
    return times


def grown(url: str, store: PostgresStore, kind: str, options: argparse.Namespace) -> Figures:
    """Rows a second that are written with the index in place, and the recall at the same effort afterwards."""
    rows = round(options.grow * options.rows)
    with psycopg.connect(url, autocommit=True) as connection:
        register_vector(connection)
        began = time.perf_counter()
        connection.execute(GROW.format(table=table_of(kind), rows=rows))
        seconds = time.perf_counter() - began
    index = existing(store, SPEC).index
    assert index is not None
    before = index.status()[0]
    tried = index.tune(options.target, queries=200)
    after = next((effort for effort in tried if effort.effort == before.effort), tried[-1])
    return {"rows/s written with it": rows / seconds, "recall@10 after that": after.recall,
            "effort for the target then": tried[-1].effort}  # fmt: skip


def run(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def shown(kind: str, figures: Figures) -> None:
    print(f"\n{kind}")
    for name, value in figures.items():
        print(f"  {name:<32}{format(value, ',.4g') if isinstance(value, float) else value:>30}", flush=True)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
