"""What a query loses that is embedded in another precision than the rows, and what it gains.

    python -m benchmarks.query_precision --rounds 60

nDCG@10 of semantic search over float32 rows, every row compared; of Icecat only judged products are embedded, since
its score leaves the others out. Then the time of one short query on one core, in turns with one reading of as many
bytes as the encoder's weights have in its precision. Needs the MiniLM weights.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.relevance_data import Collection, icecat, vaswani
from benchmarks.serve import WORDS
from rich.console import Console
from rich.table import Table

from rowvec.embedders.base import knows
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM
from rowvec.errors import RowvecError
from rowvec.evaluation.measures import evaluate

RESULTS = Path(__file__).parent / "results" / "query_precision.json"
PRECISIONS = ("float32", "bfloat16", "int8")
MEASURE = "nDCG@10"
WEIGHTS = 10_646_784
"""Of MiniLM's encoder; the table of words is not read."""
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
"""Of one weight."""
TOKENS = (6, 8, 12, 16, 24)
"""Of a query, with the two special ones."""
WARM = 5


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--only-speed", action="store_true")
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {"speed": on_one_core(options.rounds)}
    show(found["speed"])
    if not options.only_speed:
        embedders = dict(filter(None, map(loaded, PRECISIONS)))
        found |= {name: losses(of(), embedders) for name, of in (("vaswani", vaswani), ("icecat", icecat))}
    print(json.dumps(found, indent=2))
    RESULTS.write_text(json.dumps({"cores": os.cpu_count(), **found}, indent=2) + "\n")


def loaded(precision: str) -> tuple[str, LocalEmbedder] | None:
    embedder = LocalEmbedder(MINILM, query_precision=precision, workers=1)
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


def on_one_core(rounds: int) -> dict[str, Any]:
    """The threads of an engine stay on the core that they were begun on."""
    if not hasattr(os, "sched_setaffinity"):
        return speed(dict(filter(None, map(loaded, PRECISIONS))), rounds)
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(usual)})
    try:
        return speed(dict(filter(None, map(loaded, PRECISIONS))), rounds)
    finally:
        os.sched_setaffinity(0, usual)


def speed(embedders: dict[str, LocalEmbedder], rounds: int) -> dict[str, Any]:
    """Medians of processor time in milliseconds, on one core, by tokens of a query and by precision.

    `cold`: before each query and before each reading, 256 MB are read that push the weights out of the caches. `warm`:
    the same query again, and the same reading again.
    """
    words = sorted(knows(next(iter(embedders.values())), WORDS))
    weights = {name: np.ones(WEIGHTS * BYTES[name] // 4, np.float32) for name in embedders}
    other = np.ones(64 * 2**20, np.float32)
    found: dict[str, Any] = {
        "reading GB/s": round(other.nbytes / 1e6 / min(spent(other.dot, other) for _ in range(9)), 1)
    }
    for tokens in TOKENS:
        query = " ".join((words * tokens)[: tokens - 2])
        assert [tokens] == next(iter(embedders.values())).count_tokens([query])
        times: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in embedders}
        for _ in range(WARM + rounds):
            for name, embedder in embedders.items():
                for what, call, given in (
                    ("reading", weights[name].dot, weights[name]),
                    ("query", embedder.embed_query, query),
                ):
                    other.dot(other)
                    times[name][f"cold {what}"].append(spent(call, given))
                    times[name][f"warm {what}"].append(spent(call, given))
        found[f"{tokens} tokens"] = {name: summary(taken) for name, taken in times.items()}
    return found


def spent(call: Callable[[Any], object], given: object) -> float:
    """Milliseconds of processor time, of all threads of this process."""
    began = time.process_time()
    call(given)
    return 1000 * (time.process_time() - began)


def summary(taken: dict[str, list[float]]) -> dict[str, float]:
    found = {name: round(statistics.median(each[WARM:]), 2) for name, each in taken.items()}
    ratios = {f"{heat}, times": found[f"{heat} query"] / found[f"{heat} reading"] for heat in ("cold", "warm")}
    return found | {name: round(ratio, 1) for name, ratio in ratios.items()}


def show(speeds: dict[str, Any]) -> None:
    title = f"One query on one core, ms of processor time; memory is read at {speeds['reading GB/s']} GB/s"
    table = Table("tokens", "precision", "reading", "cold query", "times", "reading, cached", "warm query", title=title)
    for tokens, by_precision in speeds.items():
        if isinstance(by_precision, dict):
            for name, cell in by_precision.items():
                columns = ("cold reading", "cold query", "cold, times", "warm reading", "warm query")
                table.add_row(tokens.split()[0], name, *(str(cell[column]) for column in columns))
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
