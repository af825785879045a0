"""What a query loses that is embedded in another precision than the rows, and what it gains.

    python -m benchmarks.query_precision --queries 200

nDCG@10 of semantic search over float32 rows, every row compared; of Icecat only judged products are embedded, since
its score leaves the others out. Then the milliseconds of one short query on one core, in turns with one reading of as
many bytes as the encoder's float32 weights have. Needs the MiniLM weights.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.relevance_data import Collection, icecat, vaswani
from benchmarks.serve import MINILM, texts

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.errors import RowvecError
from rowvec.evaluation.measures import evaluate

RESULTS = Path(__file__).parent / "results" / "query_precision.json"
PRECISIONS = ("float32", "bfloat16", "int8")
MEASURE = "nDCG@10"
WEIGHTS = 10_646_784
"""Of MiniLM's encoder; the table of words is not read."""
WARM = 20


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--only-speed", action="store_true")
    options = parser.parse_args(arguments)
    embedders = dict(filter(None, map(loaded, PRECISIONS)))
    found: dict[str, Any] = {"speed": speed(embedders, options.queries)}
    if not options.only_speed:
        found |= {name: losses(of(), embedders) for name, of in (("vaswani", vaswani), ("icecat", icecat))}
    print(json.dumps(found, indent=2))
    RESULTS.write_text(json.dumps({"cores": os.cpu_count(), **found}, indent=2) + "\n")


def loaded(precision: str) -> tuple[str, LocalEmbedder] | None:
    embedder = LocalEmbedder(MINILM, precision=precision, workers=1)
    try:
        embedder.embed_query("warm")
    except RowvecError:
        return None  # This machine cannot.
    return precision, embedder


def losses(collection: Collection, embedders: dict[str, LocalEmbedder]) -> dict[str, Any]:
    judged = {key for each in collection.judgements.values() for key in each}
    rows = [row for row in collection.rows if not collection.condensed or str(row[collection.key]) in judged]
    words = [" ".join(str(row.get(name) or "") for name in collection.text) for row in rows]
    keys = [row[collection.key] for row in rows]
    vectors = np.concatenate(
        [embedders["float32"].embed(words[at : at + 256]).vectors for at in range(0, len(rows), 256)]
    )
    found: dict[str, Any] = {"rows": len(rows)}
    for precision, embedder in embedders.items():

        def run(query: str, depth: int, embedder: LocalEmbedder = embedder) -> list[Any]:
            order = np.argsort(-(vectors @ embedder.embed_query(query)), kind="stable")[:depth]
            return [keys[place] for place in order]

        scores = evaluate(run, collection.queries, collection.judgements, [MEASURE], condensed=collection.condensed)
        found[precision] = round(scores.means[MEASURE], 4)
    return found


def speed(embedders: dict[str, LocalEmbedder], queries: int) -> dict[str, float]:
    """Medians in milliseconds, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    drawn, weights = texts(seed=2), np.ones(WEIGHTS, np.float32)
    times: dict[str, list[float]] = {"reading float32 weights": [], **{name: [] for name in embedders}}
    for _ in range(WARM + queries):
        query = next(drawn)
        began = time.perf_counter()
        weights.sum()
        times["reading float32 weights"].append(time.perf_counter() - began)
        for name, embedder in embedders.items():
            began = time.perf_counter()
            embedder.embed_query(query)
            times[name].append(time.perf_counter() - began)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    return {name: round(1000 * statistics.median(found[WARM:]), 2) for name, found in times.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
