"""Does a query in one language find a row in another? Product classes, the same code in each language.

    python -m benchmarks.cross_lingual [--model NAME-OR-FOLDER] [--queries 1000]

Every class is a row with its name in one language; names in another are the queries, and the row of the same code is
what they should find. recall@10 by meaning, exact search. MiniLM knows English; a multilingual model is named by
--model. Results are printed and kept in results/cross_lingual.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from benchmarks.rig import DATA
from rich.console import Console
from rich.table import Table

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.types import Vectors

RESULTS = Path(__file__).parent / "results" / "cross_lingual.json"
LANGUAGES = ("en", "pl", "ru")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cross_lingual")
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--queries", type=int, default=1000)
    options = parser.parse_args(arguments)
    embedder = LocalEmbedder(options.model)
    rows = classes()
    asked = random.Random(0).sample(range(len(rows)), min(options.queries, len(rows)))
    stored = {language: embedded(embedder, [row[language] for row in rows]) for language in LANGUAGES}
    found = {
        query: {language: recall(stored[query][asked], stored[language], asked) for language in LANGUAGES}
        for query in LANGUAGES
    }
    table = Table("query in", *(f"rows in {name}" for name in LANGUAGES), title=f"recall@10, {len(rows):,} rows")
    for query, shares in found.items():
        table.add_row(query, *(f"{share:.3f}" for share in shares.values()))
    Console().print(table)
    report = {"model": options.model, "rows": len(rows), "queries": len(asked), "recall@10": found}
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")


def classes() -> list[dict[str, str]]:
    """Those with a name in every language."""
    with (DATA / "cpv" / "cpv_aligned.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row for row in rows if all((row[language] or "").strip() for language in LANGUAGES)]


def embedded(embedder: LocalEmbedder, texts: Sequence[str]) -> Vectors:
    parts = [embedder.embed(texts[start : start + 512]).vectors for start in range(0, len(texts), 512)]
    return np.concatenate(parts)


def recall(queries: Vectors, rows: Vectors, wanted: Sequence[int]) -> float:
    """Share of the queries that have the row of their code among their ten nearest."""
    scores = queries @ rows.T
    own = scores[np.arange(len(wanted)), list(wanted)]
    return float(((scores > own[:, None]).sum(axis=1) < 10).mean())


if __name__ == "__main__":
    main(sys.argv[1:])
