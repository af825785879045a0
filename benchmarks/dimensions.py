"""What shorter vectors cost: nDCG@10 of semantic search over vectors of which only the first numbers are kept.

    python -m benchmarks.dimensions

Every row is compared. Of Icecat only judged products are embedded, since its score leaves the others out. Neither model
was trained for shorter vectors. Needs the weights of both.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.relevance_data import Collection, icecat, vaswani
from rich.console import Console
from rich.table import Table

from rowvec.embedders.base import shortened
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.evaluation.measures import evaluate
from rowvec.types import Vectors

RESULTS = Path(__file__).parent / "results" / "dimensions.json"
MODELS = ("sentence-transformers/all-MiniLM-L6-v2", "intfloat/multilingual-e5-small")
SIZES = (384, 256, 192, 128, 96, 64, 32)
MEASURE = "nDCG@10"


def main(arguments: Sequence[str]) -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(
        arguments
    )
    found: list[dict[str, Any]] = []
    for model in MODELS:
        embedder = LocalEmbedder(model)
        for name, of in (("vaswani", vaswani), ("icecat", icecat)):
            found.append({"model": model, "collection": name, **scores(of(), embedder)})
            RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    table = Table("model", "collection", "rows", *map(str, SIZES))
    for row in found:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)


def scores(collection: Collection, embedder: LocalEmbedder) -> dict[str, Any]:
    """By dimension, over the same vectors: those of `dimensions = N` are the first N numbers of these."""
    judged = {key for each in collection.judgements.values() for key in each}
    rows = [row for row in collection.rows if not collection.condensed or str(row[collection.key]) in judged]
    words = [" ".join(str(row.get(name) or "") for name in collection.text) for row in rows]
    keys = [row[collection.key] for row in rows]
    whole: Vectors = np.concatenate([embedder.embed(words[at : at + 256]).vectors for at in range(0, len(rows), 256)])
    queries = {text: embedder.embed_query(text) for text in collection.queries.values()}
    found: dict[str, Any] = {"rows": len(rows)}
    for size in SIZES:
        vectors = shortened(whole, size)

        def run(query: str, depth: int, vectors: Vectors = vectors, size: int = size) -> list[Any]:
            order = np.argsort(-(vectors @ shortened(queries[query][None], size)[0]), kind="stable")[:depth]
            return [keys[place] for place in order]

        means = evaluate(
            run, collection.queries, collection.judgements, [MEASURE], condensed=collection.condensed
        ).means
        found[str(size)] = round(means[MEASURE], 4)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
