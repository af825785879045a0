"""Search at 100,000 rows: index recall, filters of every selectivity, keyword and hybrid, all in one run.

    python -m benchmarks.search [--rows 100000] [--state FOLDER]

Vectors are pairs of real MiniLM vectors (Vaswani abstracts) blended at random, so that they lie as real ones do;
texts are pairs of those abstracts. The table is kept in --state for a second run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from benchmarks.relevance_data import vaswani
from rich.console import Console
from rich.table import Table

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM
from rowvec.evaluation.recall import GOOD_RECALL, recall
from rowvec.filters import Filter, bind, parse
from rowvec.searcher import Searcher
from rowvec.stores.base import GenerationHandle, TableSpec
from rowvec.stores.postgres.embedded import embedded_url
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.write_batch import WriteBatch
from rowvec.types import Column, ColumnType, Document, Entry, Vectors

RESULTS = Path(__file__).parent / "results"
SLOTS = 10_000
SELECTIVITIES = (0.0001, 0.001, 0.01, 0.1, 0.5)
QUERIES = 60
SLOT = Column("slot", ColumnType.INTEGER)


def real_vectors(embedder: LocalEmbedder, texts: Sequence[str], cache: Path) -> Vectors:
    if cache.exists():
        return np.asarray(np.load(cache), dtype=np.float32)
    parts = [embedder.embed(texts[start : start + 256]).vectors for start in range(0, len(texts), 256)]
    np.save(cache, np.concatenate(parts))
    return np.concatenate(parts)


def fill(filled: GenerationHandle, rows: int, texts: Sequence[str], vectors: Vectors) -> float:
    """Write what is missing; rows a second."""
    dice = np.random.default_rng(1)
    first, second = dice.integers(len(texts), size=(2, rows))
    share = dice.uniform(0.5, 1.0, size=(rows, 1)).astype(np.float32)
    blended = share * vectors[first] + (1 - share) * vectors[second]
    blended /= np.linalg.norm(blended, axis=1, keepdims=True)
    slots = dice.integers(SLOTS, size=rows)
    began = time.perf_counter()
    for start in range(0, rows, 2000):
        entries = []
        for row in range(start, min(start + 2000, rows)):
            text = f"{texts[first[row]]} {texts[second[row]]}"
            digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
            document = Document(row, text, (int(slots[row]),), digest, digest)
            entries.append(Entry(document, blended[row], None))
        filled.write(WriteBatch(entries))
    return rows / (time.perf_counter() - began)


def timed(work: Callable[[int], object], count: int) -> list[float]:
    times = []
    for number in range(count):
        began = time.perf_counter()
        work(number)
        times.append(1000 * (time.perf_counter() - began))
    return times


def summary(name: str, times: Sequence[float], **more: object) -> dict[str, object]:
    ordered = sorted(times)
    return {
        "what": name, "p50 ms": round(statistics.median(ordered), 2),
        "p95 ms": round(ordered[int(0.95 * (len(ordered) - 1))], 2), **more,
    }  # fmt: skip


def nearest(live: GenerationHandle, queries: Vectors, share: float | None = None) -> dict[str, object]:
    """Search with a filter that this share of the rows passes, beside exact search."""
    where: Filter | None = None if share is None else bind(parse(f"slot < {round(share * SLOTS)}"), [SLOT])
    hits, short, exact_answers = [], 0, 0
    for query in queries:
        exact = live.nearest(query, 10, where, exact=True)
        found = live.nearest(query, 10, where)
        hits.append(recall(found.scores, exact.scores))
        short += len(found.keys) < len(exact.keys)
        exact_answers += found.exact
    times = timed(lambda n: live.nearest(queries[n], 10, where), len(queries))
    name = "unfiltered" if share is None else f"filter {100 * share:g} %"
    exact_share = f"{100 * exact_answers / len(queries):.0f} %"
    return summary(name, times, recall=round(statistics.mean(hits), 4), short=short, exact=exact_share)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--state", type=Path, default=Path(".rowvec/search"))
    chosen = parser.parse_args(arguments)
    chosen.state.mkdir(parents=True, exist_ok=True)
    collection = vaswani()
    texts = [row["text"] for row in collection.rows]
    embedder = LocalEmbedder(MINILM)
    vectors = real_vectors(embedder, texts, chosen.state / "vectors.npy")
    spec = TableSpec("search", "id", ColumnType.INTEGER, 384, (SLOT,), "english", embedder.fingerprint)
    store = PostgresStore(embedded_url(chosen.state), f"search_{chosen.rows}", pipeline="search")
    filled = store.prepare(spec)
    found: list[dict[str, object]] = []
    if filled.count() < chosen.rows:
        found.append({"what": "write, rows/s", "p50 ms": round(fill(filled, chosen.rows, texts, vectors))})
    began = time.perf_counter()
    store.activate(spec)
    found.append({"what": "index, s", "p50 ms": round(time.perf_counter() - began, 1)})
    live = store.prepare(spec)
    efforts = live.index.tune(GOOD_RECALL)
    found += [
        {"what": f"effort {e.effort}", "recall": round(e.recall, 4), "p50 ms": round(e.milliseconds, 2)}
        for e in efforts
    ]
    searcher = Searcher(store, embedder, spec)
    questions = list(collection.queries.values())[:QUERIES]
    asked = np.stack([embedder.embed_query(question) for question in questions])
    time.sleep(5.5)  # The store notices a tuning within five seconds.
    found += [nearest(live, asked, share) for share in (None, *SELECTIVITIES)]
    found.append(summary("embed the query", timed(lambda n: embedder.embed_query(questions[n]), QUERIES)))
    for mode in ("semantic", "keyword", "hybrid"):
        times = timed(lambda n, mode=mode: searcher.search(questions[n], mode=mode), QUERIES)  # type: ignore[misc]
        found.append(summary(f"{mode}, whole", times))
    table = Table("what", "p50 ms", "p95 ms", "recall", "short", "exact")
    for row in found:
        table.add_row(*(str(row.get(name, "")) for name in ("what", "p50 ms", "p95 ms", "recall", "short", "exact")))
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "search.json").write_text(json.dumps(found, indent=1) + "\n")
    store.close()


if __name__ == "__main__":
    main(sys.argv[1:])
