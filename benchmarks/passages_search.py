"""Search among rows of several passages, beside the same rows with one vector each.

    python -m benchmarks.passages_search [--rows 100000] [--passages 5] [--state FOLDER]

A row has a subject, a real MiniLM vector (Vaswani abstracts), and each of its passages is that blended with another
real one. Both tables hold the same vectors of rows, the mean of the passages. Queries are real questions. Times of both
tables are taken in turns. The tables are kept in --state for a second run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.relevance_data import vaswani
from benchmarks.search import MODEL, QUERIES, RESULTS, SLOT, SLOTS, real_vectors
from rich.console import Console
from rich.table import Table

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.evaluation.recall import GOOD_RECALL, recall
from rowvec.filters import Filter, bind, parse
from rowvec.stores.base import GenerationHandle, TableSpec
from rowvec.stores.postgres.embedded import embedded_url
from rowvec.stores.postgres.store import PostgresStore
from rowvec.types import ColumnType, Document, Entry, Passage, Vectors, WriteBatch

BATCH = 500
SHARES = (None, 0.5, 0.1, 0.01, 0.001)
LENGTH = 400
"""Characters of a passage."""


def entries(first: int, count: int, passages: int, vectors: Vectors, *, divided: bool) -> list[Entry]:
    dice = np.random.default_rng(first)
    subjects = vectors[dice.integers(len(vectors), size=count)][:, None]
    others = vectors[dice.integers(len(vectors), size=(count, passages))]
    share = dice.uniform(0.4, 0.8, size=(count, passages, 1)).astype(np.float32)
    parts = share * subjects + (1 - share) * others
    parts /= np.linalg.norm(parts, axis=2, keepdims=True)
    own = parts.mean(axis=1)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    slots = dice.integers(SLOTS, size=count)
    made = []
    for place in range(count):
        row = first + place
        text = f"row {row} ".ljust(LENGTH * passages)
        several = tuple(
            Passage(n * LENGTH, (n + 1) * LENGTH, digest(f"{row}.{n}"), parts[place, n]) for n in range(passages)
        )
        document = Document(row, text, (int(slots[place]),), digest(str(row)), digest(str(row)))
        made.append(Entry(document, own[place], None, passages=several if divided else ()))
    return made


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def filled(store: PostgresStore, spec: TableSpec, rows: int, passages: int, vectors: Vectors) -> GenerationHandle:
    live = store.prepare(spec)
    for first in range(live.count(), rows, BATCH):
        made = entries(first, min(BATCH, rows - first), passages, vectors, divided=spec.has_passages)
        live.write(WriteBatch(made))
    store.activate(spec)
    index = live.index
    assert index is not None
    if any(each.effort is None for each in index.status()):
        index.tune(GOOD_RECALL, queries=100)
    return live


def compare(
    single: GenerationHandle, divided: GenerationHandle, asked: Vectors, share: float | None
) -> dict[str, object]:
    """
    Args:
        share: of the rows that pass a filter; None for no filter.
    """
    where: Filter | None = None if share is None else bind(parse(f"slot < {round(share * SLOTS)}"), [SLOT])
    hits, short, exact_answers = [], 0, 0
    for query in asked:
        exact = divided.nearest(query, 10, where, exact=True)
        found = divided.nearest(query, 10, where)
        hits.append(recall(found.scores, exact.scores))
        short += len(found.keys) < len(exact.keys)
        exact_answers += found.exact
    times: tuple[list[float], list[float]] = ([], [])
    for query in np.concatenate([asked, asked]):
        for live, taken in zip((single, divided), times, strict=True):
            began = time.perf_counter()
            live.nearest(query, 10, where)
            taken.append(1000 * (time.perf_counter() - began))
    one, several = (statistics.median(taken) for taken in times)
    return {
        "filter": "none" if share is None else f"{100 * share:g} %",
        "one vector, p50 ms": round(one, 2), "passages, p50 ms": round(several, 2), "times": round(several / one, 2),
        "recall": round(statistics.mean(hits), 4), "short": short,
        "exact": f"{100 * exact_answers / len(asked):.0f} %",
    }  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--passages", type=int, default=5)
    parser.add_argument("--state", type=Path, default=Path(".rowvec/search"))
    chosen = parser.parse_args(arguments)
    chosen.state.mkdir(parents=True, exist_ok=True)
    collection = vaswani()
    embedder = LocalEmbedder(MODEL)
    vectors = real_vectors(embedder, [row["text"] for row in collection.rows], chosen.state / "vectors.npy")
    asked = np.stack([embedder.embed_query(question) for question in list(collection.queries.values())[:QUERIES]])
    url = embedded_url(chosen.state)
    lives = []
    for name, passages in (("single", ""), ("divided", "benchmark")):
        made = replace(embedder.fingerprint, passages=passages)
        spec = TableSpec(name, "id", ColumnType.INTEGER, 384, (SLOT,), None, made)
        store = PostgresStore(url, f"{name}_{chosen.rows}_{chosen.passages}", pipeline=name)
        began = time.perf_counter()
        lives.append(filled(store, spec, chosen.rows, chosen.passages, vectors))
        print(f"{name}: {time.perf_counter() - began:.0f} s, {lives[-1].status().passages:,} passages", flush=True)
    time.sleep(5.5)  # The store notices a tuning within five seconds.
    found = [compare(lives[0], lives[1], asked, share) for share in SHARES]
    table = Table(*found[0])
    for row in found:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    if chosen.rows == 100_000:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "passages_search.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
