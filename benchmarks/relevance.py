"""How good the hits are: nDCG@10 of every mode and way to fuse, on collections with human judgements.

    python -m benchmarks.relevance [vaswani icecat] [--state FOLDER] [--precision int8] [--model NAME] [--others 1600]

The vectors are kept in --state, so that a second run only searches. Where a collection leaves out the rows that nobody
judged when it scores, --others embeds up to that number of them.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.relevance_data import Collection, icecat, vaswani
from rich.console import Console
from rich.table import Table

from rowvec.documents.text import Documents, build_recipe
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM
from rowvec.evaluation.measures import evaluate
from rowvec.pipeline import Pipeline
from rowvec.ranking import Ranking
from rowvec.searcher import MAX_LIMIT, Searcher
from rowvec.stores.base import TableSpec
from rowvec.stores.postgres.embedded import embedded_url
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import MemorySource

RESULTS = Path(__file__).parent / "results"
COLLECTIONS = {"vaswani": vaswani, "icecat": icecat}
MEASURES = ("nDCG@10", "recall@10", "MRR@10")
Measure = Callable[[str, argparse.Namespace], list[dict[str, Any]]]
"""Of a collection by its name, with the options: the folder of its vectors, the precision of the model and so on."""
WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def pipeline_of(name: str, collection: Collection, state: Path, precision: str, model: str = MINILM) -> Pipeline:
    rows = {row[collection.key]: {name: row.get(name) for name in collection.text} for row in collection.rows}
    source = MemorySource(rows, key=collection.key)
    recipe = build_recipe(source.columns, source.key, template=" ".join(f"{{{{ {c} }}}}" for c in collection.text))
    embedder = LocalEmbedder(model, precision=precision)
    store = PostgresStore(embedded_url(state), f"{name}_{precision}", pipeline=name)
    spec = TableSpec(name, source.key, source.key_type, 384, (), "english", embedder.fingerprint, recipe.fingerprint)
    return Pipeline(name, source, Documents(recipe, ()), recipe.columns, embedder, store, spec)


def measure(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    collection = with_others(COLLECTIONS[name](), options.others)
    pipeline = pipeline_of(name, collection, options.state, options.precision, options.model)
    sync(pipeline)
    searcher = Searcher.of(pipeline)
    ways = [("semantic", "semantic", Ranking()), ("keyword", "keyword", Ranking())]
    ways += [("hybrid rrf", "hybrid", Ranking(fusion="rrf"))]
    ways += [(f"hybrid convex {w}", "hybrid", Ranking(fusion="convex", semantic_weight=w)) for w in WEIGHTS]
    found = []
    for label, mode, ranking in ways:

        def run(query: str, depth: int, mode: str = mode, ranking: Ranking = ranking) -> Sequence[object]:
            result = searcher.search(query, mode=mode, limit=min(depth, MAX_LIMIT), ranking=ranking)  # type: ignore[arg-type]
            return [hit.key for hit in result.hits]

        scores = evaluate(run, collection.queries, collection.judgements, MEASURES, condensed=collection.condensed)
        figures = {measure: round(value, 4) for measure, value in scores.means.items()}
        found.append({"collection": name, "rows": len(collection.rows), "way": label, **figures})
    pipeline.close()
    return found


def with_others(collection: Collection, others: int | None) -> Collection:
    """With at most that many rows that nobody judged, if the score leaves them out."""
    if others is None or not collection.condensed:
        return collection
    judged = {key for each in collection.judgements.values() for key in each}
    apart: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for row in collection.rows:
        apart[str(row[collection.key]) in judged].append(row)
    return collection._replace(rows=[*apart[True], *random.Random(0).sample(apart[False], others)])


def measured(arguments: Sequence[str], description: str | None, measure: Measure) -> list[dict[str, Any]]:
    """The rows of every collection that the arguments name."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", nargs="*", default=list(COLLECTIONS))
    parser.add_argument("--state", type=Path, default=Path(".rowvec/relevance"))
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--model", default=MINILM, help="a folder of vectors is for one model")
    parser.add_argument("--others", type=int)
    options = parser.parse_args(arguments)
    return [row for name in options.collections for row in measure(name, options)]


def main(arguments: Sequence[str]) -> None:
    found = measured(arguments, __doc__, measure)
    table = Table("collection", "rows", "way", *MEASURES)
    for row in found:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "relevance.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
