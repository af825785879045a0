"""The same rows, vectors and queries in rowvec and in others: how good their hits are, and how long they take.

    pip install lancedb sqlite-vec apsw bm25s
    python -m benchmarks.peers [vaswani icecat] [--state FOLDER]

All of them get the vectors that rowvec made (MiniLM, int8) and the vectors of the queries: embedding is not a part of
the times. Each one works as its own documentation sets it up: LanceDB with its full-text index (English stems, stop
words removed) and its hybrid search by reciprocal ranks, without a vector index, which it advises for larger tables;
SQLite with FTS5 (porter) and vec0, put together by reciprocal ranks as sqlite-vec's guide does; bm25s with its stemmer,
words alone. Queries go round in turns. What is not installed is left out. Results are printed and kept in
results/peers.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.relevance import COLLECTIONS, RESULTS, pipeline_of
from benchmarks.relevance_data import Collection
from rich.console import Console
from rich.table import Table

from rowvec.evaluation.measures import evaluate
from rowvec.pipeline import Pipeline
from rowvec.ranking import fuse_rrf
from rowvec.searcher import Searcher
from rowvec.syncing.run import sync
from rowvec.types import Fingerprint, Vector, Vectors

MODES = ("semantic", "keyword", "hybrid")
MEASURE = "nDCG@10"
LIMIT, DEPTH = 10, 100
Search = Callable[[str, Vector, int], list[Any]]
"""Of a query, its vector, and how many hits are wanted."""


class Peer(NamedTuple):
    name: str
    searches: Mapping[str, Search]
    """By mode."""


class Known:
    """The model of the queries, which has embedded them all."""

    def __init__(self, fingerprint: Fingerprint, vectors: Mapping[str, Vector]) -> None:
        self.fingerprint, self.vectors = fingerprint, vectors

    def embed_query(self, text: str) -> Vector:
        return self.vectors[text]


def rowvec_peer(pipeline: Pipeline, asked: Mapping[str, Vector]) -> Peer:
    known: Any = Known(pipeline.embedder.fingerprint, asked)
    searcher = Searcher(pipeline.store, known, pipeline.spec)

    def of(mode: Any) -> Search:
        return lambda query, vector, limit: [hit.key for hit in searcher.search(query, mode=mode, limit=limit).hits]

    return Peer("rowvec", {mode: of(mode) for mode in MODES})


def lancedb_peer(folder: Path, keys: Sequence[Any], texts: Sequence[str], vectors: Vectors) -> Peer:
    import lancedb
    from lancedb.index import FTS
    from lancedb.rerankers import RRFReranker

    rows = [
        {"key": key, "text": text, "vector": vector} for key, text, vector in zip(keys, texts, vectors, strict=True)
    ]
    table = lancedb.connect(folder).create_table("rows", rows, mode="overwrite")
    table.create_index("text", config=FTS(language="English", stem=True, remove_stop_words=True))
    reranker = RRFReranker()

    def found(query: Any, limit: int) -> list[Any]:
        return [row["key"] for row in query.select(["key"]).limit(limit).to_list()]

    def hybrid(query: str, vector: Vector, limit: int) -> list[Any]:
        asked = table.search(query_type="hybrid").vector(vector).text(query).distance_type("cosine")
        return [row["key"] for row in asked.rerank(reranker).limit(max(limit, DEPTH)).to_list()][:limit]

    return Peer(
        f"LanceDB {version('lancedb')}",
        {
            "semantic": lambda query, vector, limit: found(table.search(vector).distance_type("cosine"), limit),
            "keyword": lambda query, vector, limit: found(table.search(query, query_type="fts"), limit),
            "hybrid": hybrid,
        },
    )


def sqlite_peer(folder: Path, keys: Sequence[Any], texts: Sequence[str], vectors: Vectors) -> Peer:
    # The sqlite3 of many Pythons is built without extensions.
    import apsw
    import sqlite_vec

    database = apsw.Connection(str(folder / "rows.db"))
    database.enable_load_extension(True)
    sqlite_vec.load(database)
    with database:
        column = f"embedding float[{vectors.shape[1]}] distance_metric=cosine"
        database.execute(f"create virtual table near using vec0({column})")
        database.execute("create virtual table words using fts5(text, tokenize = 'porter')")
        database.executemany("insert into near (rowid, embedding) values (?, ?)", enumerate(map(bytes, vectors)))
        database.executemany("insert into words (rowid, text) values (?, ?)", enumerate(texts))

    def semantic(query: str, vector: Vector, limit: int) -> list[Any]:
        found = database.execute(
            "select rowid from near where embedding match ? and k = ? order by distance", (bytes(vector), limit)
        )
        return [keys[row] for (row,) in found]

    def keyword(query: str, vector: Vector, limit: int) -> list[Any]:
        words = " OR ".join(f'"{word}"' for word in query.replace('"', " ").split())
        found = database.execute("select rowid from words where words match ? order by rank limit ?", (words, limit))
        return [keys[row] for (row,) in found]

    def hybrid(query: str, vector: Vector, limit: int) -> list[Any]:
        halves = [dict.fromkeys(half(query, vector, DEPTH), 1.0) for half in (semantic, keyword)]
        fused = fuse_rrf(*halves)
        return sorted(fused, key=lambda key: -fused[key])[:limit]

    return Peer(
        f"SQLite FTS5, sqlite-vec {version('sqlite-vec')}",
        {"semantic": semantic, "keyword": keyword, "hybrid": hybrid},
    )


def bm25s_peer(keys: Sequence[Any], texts: Sequence[str]) -> Peer:
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25()
    index.index(bm25s.tokenize(list(texts), stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)

    def keyword(query: str, vector: Vector, limit: int) -> list[Any]:
        words = bm25s.tokenize(query, stopwords="en", stemmer=stemmer, show_progress=False)
        found, scores = index.retrieve(words, k=limit, show_progress=False)
        return [keys[row] for row, score in zip(found[0], scores[0], strict=True) if score > 0]

    return Peer(f"bm25s {version('bm25s')}", {"keyword": keyword})


def measure(name: str, state: Path) -> list[dict[str, object]]:
    collection = COLLECTIONS[name]()
    pipeline = pipeline_of(name, collection, state, "int8")
    sync(pipeline)
    keys, texts, vectors = stored(pipeline, collection)
    asked = {query: pipeline.embedder.embed_query(query) for query in collection.queries.values()}
    folder = state / f"peers-{name}-{time.time_ns()}"
    folder.mkdir(parents=True)
    peers = [rowvec_peer(pipeline, asked)]
    others: list[Callable[[], Peer]] = [
        lambda: lancedb_peer(folder, keys, texts, vectors), lambda: sqlite_peer(folder, keys, texts, vectors),
        lambda: bm25s_peer(keys, texts),
    ]  # fmt: skip
    for make in others:
        try:
            peers.append(make())
        except ModuleNotFoundError as missing:
            print(f"{missing.name} is not installed: it is left out.")
    found = [compared(name, mode, peers, collection, asked) for mode in MODES]
    pipeline.close()
    return [row for rows in found for row in rows]


def stored(pipeline: Pipeline, collection: Collection) -> tuple[list[Any], list[str], Vectors]:
    rows = Searcher.of(pipeline).rows
    texts = {
        row[collection.key]: " ".join(str(row.get(name) or "") for name in collection.text) for row in collection.rows
    }
    pairs = rows.vectors(None, len(texts))
    return [key for key, _ in pairs], [texts[key] for key, _ in pairs], np.stack([vector for _, vector in pairs])


def compared(
    name: str, mode: str, peers: Sequence[Peer], collection: Collection, asked: Mapping[str, Vector]
) -> list[dict[str, object]]:
    able = [peer for peer in peers if mode in peer.searches]
    times: dict[str, list[float]] = {peer.name: [] for peer in able}
    for query, vector in [*asked.items()] * 3:
        for peer in able:
            began = time.perf_counter()
            peer.searches[mode](query, vector, LIMIT)
            times[peer.name].append(1000 * (time.perf_counter() - began))
    rows: list[dict[str, object]] = []
    for peer in able:

        def run(query: str, depth: int, search: Search = peer.searches[mode]) -> list[Any]:
            return search(query, asked[query], min(depth, 1000))

        score = evaluate(run, collection.queries, collection.judgements, [MEASURE], condensed=collection.condensed)
        taken = sorted(times[peer.name])
        rows.append({
            "collection": name, "mode": mode, "peer": peer.name, MEASURE: round(score.means[MEASURE], 4),
            "p50 ms": round(statistics.median(taken), 2), "p95 ms": round(taken[int(0.95 * len(taken))], 2),
        })  # fmt: skip
    return rows


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", nargs="*", default=list(COLLECTIONS))
    parser.add_argument("--state", type=Path, default=Path(".rowvec/relevance"))
    chosen = parser.parse_args(arguments)
    found = [row for name in chosen.collections for row in measure(name, chosen.state)]
    table = Table(*found[0])
    for row in found:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "peers.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
