"""Search among rows of several passages, beside the same rows with one vector each.

    python -m benchmarks.passages_search [--rows 20000] [--passages 5] [--state FOLDER] [--efforts 80:30,60 ...]

A row has a subject, a real MiniLM vector (Vaswani abstracts), and each of its passages is that blended with another
real one. Both tables hold the same vectors of rows, the mean of the passages. Queries are real questions; both tables
are tuned by others, the first words of abstracts. Times of both tables are taken in turns. The tables are kept in
--state for a second run. --efforts names efforts to measure too, without a filter: that of the one vector, and those of
rows and of passages. They come after the tuned ones, which stay as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg
from benchmarks.processor import backends, of_threads
from benchmarks.relevance_data import vaswani
from benchmarks.search import RESULTS, SLOT, SLOTS, real_vectors
from rich.console import Console
from rich.table import Table

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM
from rowvec.evaluation.recall import GOOD_RECALL, recall
from rowvec.filters import Filter, bind, parse
from rowvec.stores.base import GenerationHandle, TableSpec
from rowvec.stores.postgres.embedded import embedded_url
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index.indexes import INDEX_SECONDS
from rowvec.stores.write_batch import WriteBatch
from rowvec.types import ColumnType, Document, Entry, Passage, Vectors

NAMES = ("single", "divided")
ROWS = 100_000
BATCH = 500
TURNS = 5
LIMIT = 10
SHARES = (None, 0.5, 0.1, 0.01, 0.001)
TUNED_BY, WORDS = 200, 8
"""Queries, and the words of each."""
LENGTH = 400
"""Characters of a passage."""
Efforts = tuple[int, int, int]
"""For the one vector, for rows and for passages."""


class Drawn(NamedTuple):
    """Rows: `own` of shape (rows, dimension), `parts` of (rows, passages, dimension), `slots` of (rows,)."""

    own: Vectors
    parts: Vectors
    slots: npt.NDArray[np.int64]


def drawn(first: int, count: int, passages: int, vectors: Vectors) -> Drawn:
    dice = np.random.default_rng(first)
    subjects = vectors[dice.integers(len(vectors), size=count)][:, None]
    others = vectors[dice.integers(len(vectors), size=(count, passages))]
    share = dice.uniform(0.4, 0.8, size=(count, passages, 1)).astype(np.float32)
    parts = share * subjects + (1 - share) * others
    parts /= np.linalg.norm(parts, axis=2, keepdims=True)
    own = parts.mean(axis=1)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    return Drawn(own, parts, dice.integers(SLOTS, size=count))


def entries(first: int, count: int, passages: int, vectors: Vectors, *, divided: bool) -> list[Entry]:
    own, parts, slots = drawn(first, count, passages, vectors)
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


def exact(asked: Vectors, rows: int, passages: int, vectors: Vectors) -> dict[float | None, list[Vectors]]:
    """By share of the rows that pass: the best scores of each query in both tables, shape (queries, LIMIT or fewer)."""
    scores: list[Vectors] = []
    slots: list[npt.NDArray[np.int64]] = []
    for first in range(0, rows, BATCH):
        found = drawn(first, min(BATCH, rows - first), passages, vectors)
        own = asked @ found.own.T
        best = np.einsum("qd,rpd->qrp", asked, found.parts, optimize=True).max(axis=2)
        scores.append(np.stack([own, (own + best) / 2]))
        slots.append(found.slots)
    both, slot = np.concatenate(scores, axis=2), np.concatenate(slots)
    passing = {share: slot < (SLOTS if share is None else round(share * SLOTS)) for share in SHARES}
    return {share: [np.sort(one[:, those])[:, ::-1][:, :LIMIT] for one in both] for share, those in passing.items()}


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def filled(
    store: PostgresStore, spec: TableSpec, rows: int, passages: int, vectors: Vectors, tuned_by: Vectors
) -> GenerationHandle:
    live = store.prepare(spec)
    for first in range(live.count(), rows, BATCH):
        made = entries(first, min(BATCH, rows - first), passages, vectors, divided=spec.has_passages)
        live.write(WriteBatch(made))
    store.activate(spec)
    index = live.index
    assert index is not None
    if any(each.effort is None for each in index.status()):
        index.tune(GOOD_RECALL, tuned_by)
    return live


def compare(
    single: GenerationHandle,
    divided: GenerationHandle,
    asked: Vectors,
    best: Sequence[Vectors],
    share: float | None,
    url: str,
) -> dict[str, object]:
    """
    Args:
        best: scores of exact answers in both tables.
        share: of the rows that pass a filter; None for no filter.
        url: of the server that has both tables.
    """
    where: Filter | None = None if share is None else bind(parse(f"slot < {round(share * SLOTS)}"), [SLOT])
    hits, ones, short, exact_answers = [], [], 0, 0
    for query, wanted_one, wanted in zip(asked, *best, strict=True):
        ones.append(recall(single.nearest(query, LIMIT, where).scores, wanted_one.tolist()))
        found = divided.nearest(query, LIMIT, where)
        hits.append(recall(found.scores, wanted.tolist()))
        short += len(found.keys) < len(wanted)
        exact_answers += found.exact
    one, several = Times(), Times()
    for _ in range(TURNS):
        one.take(single, asked, where, url)
        several.take(divided, asked, where, url)
    return {
        "filter": "none" if share is None else f"{100 * share:g} %",
        "one vector, p50 ms": round(one.p50, 2), "passages, p50 ms": round(several.p50, 2),
        "times": round(several.p50 / one.p50, 2),
        "one vector, processor ms": round(one.processor, 2), "passages, processor ms": round(several.processor, 2),
        "times, processor": round(several.processor / one.processor, 2),
        "one vector, recall": round(statistics.mean(ones), 4), "recall": round(statistics.mean(hits), 4),
        "short": short,
        "exact": f"{100 * exact_answers / len(asked):.0f} %",
    }  # fmt: skip


def efforts_of(lives: Sequence[GenerationHandle]) -> dict[str, list[int | None]]:
    """As tuned."""
    return {
        name: [each.effort for each in (live.index.status() if live.index else [])]
        for name, live in zip(NAMES, lives, strict=True)
    }


@contextmanager
def tuned_to(url: str, rows: int, passages: int, efforts: Efforts) -> Iterator[None]:
    """Have both tables searched with these efforts until the end."""
    scopes = [f"public.{name}_{rows}_{passages}" for name in NAMES]
    scopes.append(f"{scopes[1]}__passages")
    with psycopg.connect(url, autocommit=True) as connection:
        kept = [connection.execute("select effort from rowvec.tunings where scope = %s", [each]) for each in scopes]
        former = [found for cursor in kept for (found,) in cursor]
        change = "update rowvec.tunings set effort = %s where scope = %s"
        try:
            for scope, effort in zip(scopes, efforts, strict=True):
                connection.execute(change, [effort, scope])
            time.sleep(INDEX_SECONDS + 0.5)
            yield
        finally:
            for scope, effort in zip(scopes, former, strict=True):
                connection.execute(change, [effort, scope])


class Times:
    """Of searches in one table, in milliseconds."""

    def __init__(self) -> None:
        self._clock: list[float] = []
        self._processor: list[float] = []

    def take(self, live: GenerationHandle, asked: Vectors, where: Filter | None, url: str) -> None:
        before = spent(url)
        for query in asked:
            began = time.perf_counter()
            live.nearest(query, LIMIT, where)
            self._clock.append(1000 * (time.perf_counter() - began))
        self._processor.append(1000 * (spent(url) - before) / len(asked))

    @property
    def p50(self) -> float:
        return statistics.median(self._clock)

    @property
    def processor(self) -> float:
        """Of one search: the median of the turns."""
        return statistics.median(self._processor)


def spent(url: str) -> float:
    """Seconds of the processor that this process and those that work for it have taken so far."""
    return of_threads([os.getpid(), *backends(url, os.getpid())])


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--passages", type=int, default=5)
    parser.add_argument("--state", type=Path, default=Path(".rowvec/search"))
    parser.add_argument("--efforts", nargs="*", default=[], metavar="ONE:ROWS,PASSAGES")
    chosen = parser.parse_args(arguments)
    chosen.state.mkdir(parents=True, exist_ok=True)
    collection = vaswani()
    embedder = LocalEmbedder(MINILM)
    vectors = real_vectors(embedder, [row["text"] for row in collection.rows], chosen.state / "vectors.npy")
    asked = np.stack([embedder.embed_query(question) for question in collection.queries.values()])
    chosen_by = np.random.default_rng(5).choice(len(collection.rows), TUNED_BY, replace=False)
    beginnings = (" ".join(collection.rows[place]["text"].split()[:WORDS]) for place in chosen_by)
    tuned_by = np.stack([embedder.embed_query(text) for text in beginnings])
    url = embedded_url(chosen.state)
    lives = []
    for name, passages in zip(NAMES, ("", "benchmark"), strict=True):
        made = replace(embedder.fingerprint, passages=passages)
        spec = TableSpec(name, "id", ColumnType.INTEGER, 384, (SLOT,), None, made)
        store = PostgresStore(url, f"{name}_{chosen.rows}_{chosen.passages}", pipeline=name)
        began = time.perf_counter()
        lives.append(filled(store, spec, chosen.rows, chosen.passages, vectors, tuned_by))
        print(f"{name}: {time.perf_counter() - began:.0f} s, {lives[-1].status().passages:,} passages", flush=True)
    time.sleep(INDEX_SECONDS + 0.5)
    best = exact(asked, chosen.rows, chosen.passages, vectors)
    tuned = efforts_of(lives)
    found = [compare(lives[0], lives[1], asked, best[share], share, url) for share in SHARES]
    others = []
    for given in chosen.efforts:
        one, rows, parts = map(int, given.replace(":", ",").split(","))
        with tuned_to(url, chosen.rows, chosen.passages, (one, rows, parts)):
            measured = compare(lives[0], lives[1], asked, best[None], None, url)
        others.append({"efforts": given, **measured})
    for shown in (found, others):
        table = Table(*shown[0] if shown else ())
        for row in shown:
            table.add_row(*map(str, row.values()))
        Console(width=200).print(table)
    RESULTS.mkdir(exist_ok=True)
    print(tuned)
    written = {"rows": chosen.rows, "passages of a row": chosen.passages, "efforts": tuned, "searches": found}
    written |= {"other efforts": others}
    (RESULTS / f"passages_search-{chosen.rows}.json").write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
