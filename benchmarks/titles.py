"""What it gains to count the query's words in the title of a row, by weight and by `rowvec eval --fit`.

    python -m benchmarks.titles [vaswani icecat] [--model NAME] [--mode keyword] [--judged]

An abstract of Vaswani has its title before the first two blanks, and some have none. With --judged, only rows that
somebody judged are there, which is quick; their ranks are easier to get right than those among all rows.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.relevance import COLLECTIONS
from benchmarks.relevance_data import Collection, data_folder
from benchmarks.rig import database

from rowvec.embedders.base import Embedder
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM
from rowvec.evaluation.measures import evaluate
from rowvec.pipeline import Pipeline
from rowvec.ranking import Ranking
from rowvec.searcher import Mode, Searcher
from rowvec.searcher.fitting import fit
from rowvec.stores.base import TableSpec
from rowvec.stores.postgres.store import PostgresStore
from rowvec.support.hashes import digest
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource
from rowvec.types import Column, ColumnType, Document, Row

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
MEASURE = "nDCG@10"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("collections", nargs="*", default=list(COLLECTIONS))
    parser.add_argument("--model", default=MINILM)
    parser.add_argument("--mode", action="append", choices=("semantic", "keyword", "hybrid"))
    parser.add_argument("--judged", action="store_true")
    options = parser.parse_args(arguments)
    modes: list[Mode] = options.mode or ["keyword", "hybrid"]
    embedder = HashEmbedder(16) if modes == ["keyword"] else LocalEmbedder(options.model, precision="int8")
    found = []
    for name in options.collections:
        with database() as (_, url):
            found += measured(name, titled(name, judged=options.judged), embedder, url, modes)
    print(json.dumps(found, indent=1))


def titled(name: str, *, judged: bool) -> Collection:
    """With a column `title` in each row."""
    collection = COLLECTIONS[name]()
    rows = collection.rows
    if name == "vaswani":
        titles = vaswani_titles()
        rows = [{**row, "title": titles.get(row["id"])} for row in rows]
    if judged:
        known = {key for each in collection.judgements.values() for key in each}
        rows = [row for row in rows if str(row[collection.key]) in known]
    return collection._replace(rows=rows)


def vaswani_titles() -> dict[int, str]:
    text = (data_folder() / "vaswani" / "doc-text.trec").read_text()
    documents = re.finditer(r"<DOC>\s*<DOCNO>(\d+)</DOCNO>(.*?)</DOC>", text, re.DOTALL)
    parts = {int(found[1]): found[2].strip().split("  ", 1) for found in documents}
    return {number: " ".join(each[0].split()) for number, each in parts.items() if len(each) == 2}


def measured(name: str, data: Collection, embedder: Embedder, url: str, modes: Sequence[Mode]) -> list[dict[str, Any]]:
    def document(row: Row) -> Document:
        text = " ".join(str(row.values[column]) for column in data.text if row.values.get(column))
        title = row.values.get("title")
        return Document(row.key, text, (title,), digest(text.encode()), digest(repr(title).encode()))

    columns = (Column("title", ColumnType.TEXT),)
    source = MemorySource({row[data.key]: row for row in data.rows}, key=data.key)
    dimension = embedder.fingerprint.dimension
    spec = TableSpec(name, source.key, source.key_type, dimension, columns, "english", embedder.fingerprint, "text")
    store = PostgresStore(url, name, pipeline=name)
    pipeline = Pipeline(name, source, document, data.text, embedder, store, spec)
    sync(pipeline)
    searcher, found = Searcher.of(pipeline), []
    for mode in modes:
        means = {}
        for weight in WEIGHTS:
            ranking = Ranking(title="title", title_weight=weight)

            def run(query: str, depth: int, mode: Mode = mode, ranking: Ranking = ranking) -> Sequence[object]:
                return [
                    hit.key for hit in searcher.search(query, mode=mode, limit=min(depth, 100), ranking=ranking).hits
                ]

            scores = evaluate(run, data.queries, data.judgements, [MEASURE], condensed=data.condensed)
            means[weight] = round(next(iter(scores.means.values())), 4)
        searcher.ranking = Ranking(title="title")
        fitted = fit(searcher, data.queries, data.judgements, mode=mode, condensed=data.condensed)
        found.append({"collection": name, "rows": len(data.rows), "mode": mode, MEASURE: means, **fitted.as_dict()})
    pipeline.close()
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
