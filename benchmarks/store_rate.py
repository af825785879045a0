"""How many rows a second PostgreSQL takes when embedding costs nothing: what a fast embedder runs into next.

    python -m benchmarks store_rate
    python -m benchmarks.store_rate --rows 19406 --rounds 3

copy        the vectors alone, by COPY in binary into a table without an index
analysis    the words of the same texts for the keyword index; nothing is stored
keyword     the keyword index alone: analysis, and the postings written
sync        a first sync of the same texts, whose embedder hands out vectors made before, without a keyword index
sync, keyword   the same with one

The texts are those of the benchmark `gpu`; the vectors are random and have 384 numbers. Everything runs in turns on one
machine, PostgreSQL too. Each figure is of the best round: it is a limit, and other work on the machine only lowers it.
What is kept is in results/store_rate.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from benchmarks.gpu import texts_of
from benchmarks.rig import timed
from benchmarks.sync import opened, project
from pgvector.psycopg import register_vector

from rowvec.config.load import STATE
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.stores.postgres.embedded import embedded_url
from rowvec.stores.postgres.keyword_index.index import KeywordIndex
from rowvec.syncing.run import sync
from rowvec.types import Embedded, Vectors
from rowvec.words import Analyzer

RESULTS = Path(__file__).parent / "results" / "store_rate.json"
DIMENSION = 384
BATCH = 256
CONFIG = """
[pipelines.products]
source = {{ kind = "sql", url = "sqlite:///products.db", table = "products", key = "id" }}
text = {{ columns = ["title"] }}
embedder = {{ kind = "local" }}
store = {{ kind = "postgres", table = "{table}", metadata = ["name", "price"], language = "{language}" }}
"""


class Ready:
    """In the place of the local embedder: vectors at once, and no tokens counted."""

    billed = False
    concurrency = 3

    def __init__(self, model: LocalEmbedder) -> None:
        self.fingerprint = model.fingerprint
        self.chunk_texts, self.chunk_tokens = model.chunk_texts, model.chunk_tokens
        self._vectors = unit_vectors(BATCH)

    def embed(self, texts: Sequence[str]) -> Embedded:
        return Embedded(self._vectors[: len(texts)], 0, [])

    def embed_query(self, text: str) -> Any:
        return self._vectors[0]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1] * len(texts)

    def close(self) -> None:
        pass


def unit_vectors(count: int) -> Vectors:
    vectors = np.random.default_rng(7).standard_normal((count, DIMENSION)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def copy(connection: psycopg.Connection[Any], vectors: Vectors) -> None:
    connection.execute(f"create table bare (id bigint, embedding vector({DIMENSION}))")
    for start in range(0, len(vectors), BATCH):
        with connection.cursor() as cursor, cursor.copy("copy bare from stdin (format binary)") as rows:
            rows.set_types(["int8", "vector"])
            for place, vector in enumerate(vectors[start : start + BATCH], start):
                rows.write_row((place, vector))
        connection.commit()
    connection.execute("drop table bare")
    connection.commit()


def analysis(texts: Sequence[str]) -> None:
    words = Analyzer("english")
    for text in texts:
        words.terms(text)


def keyword(connection: psycopg.Connection[Any], texts: Sequence[str]) -> None:
    connection.execute("create table words (id bigint primary key)")
    index = KeywordIndex(("public", "words"), "id", "bigint", "english")
    index.create(connection)
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        index.upsert(connection, list(range(start, start + len(part))), part)
        connection.commit()
    index.drop(connection)
    connection.execute("drop table words")
    connection.commit()


def first_sync(folder: Path, table: str, language: str) -> None:
    (folder / "rowvec.toml").write_text(CONFIG.format(table=table, language=language), encoding="utf-8")
    with opened(folder) as pipeline:
        assert isinstance(pipeline.embedder, LocalEmbedder)
        sync(replace(pipeline, embedder=Ready(pipeline.embedder)))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    texts, kind = texts_of(None, options.rows)
    rows = [(number, f"item-{number}", text, None, None, None) for number, text in enumerate(texts)]
    vectors = unit_vectors(len(rows))
    taken: dict[str, list[float]] = {}
    with project(rows) as folder, closing(psycopg.connect(embedded_url(folder / STATE))) as connection:
        connection.execute("create extension if not exists vector")
        connection.commit()
        register_vector(connection)
        for turn in range(options.rounds):
            tasks: dict[str, Callable[[], object]] = {
                "copy": lambda: copy(connection, vectors),
                "analysis": lambda: analysis(texts),
                "keyword": lambda: keyword(connection, texts),
                "sync": lambda turn=turn: first_sync(folder, f"plain_{turn}", ""),  # type: ignore[misc]
                "sync, keyword": lambda turn=turn: first_sync(folder, f"both_{turn}", "english"),  # type: ignore[misc]
            }
            for name in list(tasks)[:: -1 if turn % 2 else 1]:
                taken.setdefault(name, []).append(timed(tasks[name]))
    found = {name: round(len(rows) / min(seconds)) for name, seconds in taken.items()}
    length = statistics.mean(map(len, texts))
    print(f"{len(rows):,} rows ({kind}), {length:.0f} characters a text, {options.rounds} rounds")
    for name, rate in found.items():
        print(f"  {name:<16}{rate:>10,} rows/s")
    RESULTS.parent.mkdir(exist_ok=True)
    result = {
        "rows": len(rows),
        "kind": kind,
        "rounds": options.rounds,
        "cores": os.cpu_count(),
        "rows_per_second": found,
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
