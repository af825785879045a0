"""Typos: what they cost a search, what correcting them brings back, and what that costs.

    python -m benchmarks.typos [quality speed writing] [--state FOLDER] [--rows 100000] [--store postgres|libsql]

quality   nDCG@10 of Icecat and Vaswani, in every mode: the queries as they are, with one random edit in a word of five
          letters or more, and both with `typos`; and the queries that are changed though they have no typo
speed     searches among --rows rows with and without `typos`, in turn: queries of three words as they are, and with a
          typo in one. Rows are pairs of texts of Icecat, Vaswani and CPV in five languages; their vectors are random,
          and embedding a query takes no time
writing   batches of Icecat products into fresh tables with and without kept words, in turn, beside embedding them

Vectors and rows are kept in --state for a second run.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.relevance import COLLECTIONS, pipeline_of
from benchmarks.relevance_data import cpv, icecat, vaswani
from rich.console import Console
from rich.table import Table

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.evaluation.measures import evaluate
from rowvec.searcher import Mode, Searcher
from rowvec.stores.base import Store, TableSpec
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.embedded import embedded_url
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.write_batch import WriteBatch
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.types import ColumnType, Document, Entry, Key
from rowvec.words import analyzer
from rowvec.words.vocabulary import edits_of
from rowvec.words.written import words_of

RESULTS = Path(__file__).parent / "results"
MODES: tuple[Mode, ...] = ("hybrid", "keyword", "semantic")
MEASURE = "nDCG@10"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPOILED, ROUNDS = 3, 5
QUERIES = 300
BATCH = 1_000
ON = ", typos on"
Found = dict[str, object]


def with_typo(word: str, dice: random.Random) -> str:
    """One random edit."""
    place = dice.randrange(len(word))
    match dice.randrange(4):
        case 0:
            return word[:place] + dice.choice(LETTERS) + word[place:]
        case 1:
            return word[:place] + word[place + 1 :]
        case 2:
            return word[:place] + dice.choice(LETTERS) + word[place + 1 :]
    place = dice.randrange(len(word) - 1)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def spoiled(query: str, dice: random.Random) -> str:
    """The query with one edit in one of its words that say something; as it is where it has none of five letters."""
    content = [word for word in words_of(query) if edits_of(word.text) and analyzer("english").query(word.text)]
    if not content:
        return query
    word = dice.choice(content)
    return query[: word.start] + with_typo(word.text, dice) + query[word.end :]


def quality(state: Path, _: argparse.Namespace) -> Iterator[Found]:
    for name, load in COLLECTIONS.items():
        collection = load()
        pipeline = pipeline_of(name, collection, state, "int8")
        pipeline = replace(pipeline, spec=replace(pipeline.spec, keeps_words=True))
        sync(pipeline)
        searcher, dice = Searcher.of(pipeline), random.Random(3)
        sets = [{key: spoiled(query, dice) for key, query in collection.queries.items()} for _ in range(SPOILED)]

        def score(queries: Mapping[str, str], mode: Mode, typos: bool) -> float:
            def run(query: str, depth: int) -> Sequence[Key]:
                found = searcher.search(query, mode=mode, limit=min(depth, 1000), typos=typos)  # noqa: B023
                return [hit.key for hit in found.hits]

            judged = collection.judgements  # noqa: B023
            found = evaluate(run, queries, judged, (MEASURE,), condensed=collection.condensed)  # noqa: B023
            return found.means[MEASURE]

        for mode in MODES:
            clean = score(collection.queries, mode, False)
            corrected = statistics.mean(score(each, mode, True) for each in sets)
            changed = sum(_changes(searcher, query, mode) for query in collection.queries.values())
            yield {
                "collection": name, "mode": mode, "as it is": round(clean, 4),
                "as it is, typos on": round(score(collection.queries, mode, True), 4),
                "one typo": round(statistics.mean(score(each, mode, False) for each in sets), 4),
                "one typo, typos on": round(corrected, 4), "share": f"{100 * corrected / clean:.1f} %",
                "queries changed": f"{changed} of {len(collection.queries)}",
            }  # fmt: skip
        pipeline.close()


def _changes(searcher: Searcher, query: str, mode: Mode) -> bool:
    one, other = (searcher.search(query, mode=mode, typos=typos).hits for typos in (False, True))
    return [hit.key for hit in one] != [hit.key for hit in other]


def products() -> list[str]:
    collection = icecat()
    return [" ".join(str(row[name]) for name in collection.text if row.get(name)) for row in collection.rows]


def texts() -> list[str]:
    """Of three collections, 78,000 in all."""
    found = products() + [str(row["text"]) for row in vaswani().rows]
    return found + [row[language] for row in cpv() for language in ("en", "pl", "ru", "uk", "de") if row[language]]


def entries(numbered: Sequence[tuple[int, str]], embedder: HashEmbedder) -> list[Entry]:
    made = []
    for key, text in numbered:
        vector = embedder.embed_query(text)
        digest = key.to_bytes(16, "little")
        made.append(Entry(Document(key, text, (), digest, digest), vector, None))
    return made


def store_of(kind: str, state: Path, table: str) -> Store:
    if kind == "libsql":
        return LibsqlStore(str(state / f"{table}.db"), table=table)
    return PostgresStore(embedded_url(state), table, pipeline=table)


def speed(state: Path, chosen: argparse.Namespace) -> Iterator[Found]:
    embedder, dice = HashEmbedder(32), random.Random(1)
    spec = TableSpec(
        "typos", "id", ColumnType.INTEGER, 32, (), "english", embedder.fingerprint, keeps_texts=False, keeps_words=True
    )
    store = store_of(chosen.store, state, f"typos_{chosen.rows}")
    filled, some = store.prepare(spec), texts()
    if filled.count() < chosen.rows:
        for start in range(0, chosen.rows, BATCH):
            numbers = range(start, min(start + BATCH, chosen.rows))
            pairs = [(number, f"{dice.choice(some)} {dice.choice(some)}") for number in numbers]
            filled.write(WriteBatch(entries(pairs, embedder)))
        store.activate(spec)
    searcher = Searcher(store, embedder, spec)
    began = time.perf_counter()
    searcher.search("keybaord", mode="keyword", typos=True)
    yield {"what": "the first typo, which reads the words of the rows", "p50 ms": _ms(time.perf_counter() - began)}
    words = len(set(" ".join((searcher.rows.kept_words() or {}).values()).split()))
    yield {"what": "words of the rows", "p50 ms": words}
    for mode in MODES[:2] if chosen.store == "postgres" else MODES[1:2]:
        dice = random.Random(5)
        times: dict[str, list[float]] = {}
        for _ in range(QUERIES):
            text = dice.choice(some)
            query = " ".join(dice.sample(text.split(), min(3, len(text.split()))))
            asked = {
                "as it is": (query, False), f"as it is{ON}": (query, True),
                "one typo": (typo := spoiled(query, dice), False), f"one typo{ON}": (typo, True),
            }  # fmt: skip
            # Whoever is first finds less in the caches.
            searcher.search(query, mode=mode, typos=False)
            searcher.search(typo, mode=mode, typos=False)
            for name in dice.sample(list(asked), len(asked)):
                began = time.perf_counter()
                searcher.search(asked[name][0], mode=mode, typos=asked[name][1])
                times.setdefault(name, []).append(time.perf_counter() - began)
        for name, taken in times.items():
            ordered = sorted(taken)
            p5, p50, p95 = (ordered[int(share * len(ordered))] for share in (0.05, 0.5, 0.95))
            # Of each query with and without, a moment apart: a busy machine slows both.
            more = [on - off for on, off in zip(taken, times[name.removesuffix(ON)], strict=True)]
            extra = {"extra p50 ms": _ms(statistics.median(more))} if name.endswith(ON) else {}
            yield {"what": f"{mode}: {name}", "p5 ms": _ms(p5), "p50 ms": _ms(p50), "p95 ms": _ms(p95), **extra}
    store.close()


def writing(state: Path, chosen: argparse.Namespace) -> Iterator[Found]:
    some = products()
    model = LocalEmbedder("sentence-transformers/all-MiniLM-L6-v2", precision="int8")
    embedder, dice = HashEmbedder(384), random.Random(7)
    taken: dict[bool, list[float]] = {True: [], False: []}
    embedding = []
    for turn in range(ROUNDS):
        numbered = list(enumerate(dice.sample(some, 5 * BATCH)))
        batches = [entries(numbered[start : start + BATCH], embedder) for start in range(0, len(numbered), BATCH)]
        for kept in (True, False) if turn % 2 else (False, True):
            spec = TableSpec("typos", "id", ColumnType.INTEGER, 384, (), "english", keeps_words=kept)
            name = f"typos_{time.time_ns()}"
            store = store_of(chosen.store, state, name)
            rows = store.prepare(spec)
            began = time.perf_counter()
            for batch in batches:
                rows.write(WriteBatch(batch))
            taken[kept].append(1000 * (time.perf_counter() - began) / len(batches))
            store.close()
        began = time.perf_counter()
        model.embed([text for _, text in numbered[:256]])
        embedding.append(1000 * (time.perf_counter() - began) * BATCH / 256)
    extra = statistics.median(on - off for on, off in zip(taken[True], taken[False], strict=True))
    plain, embeds = statistics.median(taken[False]), statistics.median(embedding)
    yield {"what": "writing 1,000 rows", "ms": round(plain, 1)}
    yield {"what": "keeping their words", "ms": round(extra, 1)}
    yield {"what": "embedding them", "ms": round(embeds, 1)}
    yield {"what": "share of writing", "ms": f"{100 * extra / plain:.1f} %"}
    yield {"what": "share of writing and embedding", "ms": f"{100 * extra / (plain + embeds):.2f} %"}


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)


PARTS = {"quality": quality, "speed": speed, "writing": writing}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--state", type=Path, default=Path(".rowvec/typos"))
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--store", choices=("postgres", "libsql"), default="postgres")
    chosen = parser.parse_args(arguments)
    chosen.state.mkdir(parents=True, exist_ok=True)
    for part in chosen.parts:
        rows: list[Found] = []
        for row in PARTS[part](chosen.state, chosen):
            rows.append(row)
            print(json.dumps(row), flush=True)
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = Table(*names, title=part)
        for row in rows:
            table.add_row(*(str(row.get(name, "")) for name in names))
        Console().print(table)
        RESULTS.mkdir(exist_ok=True)
        store: Any = "" if part == "quality" else f"-{chosen.store}"
        (RESULTS / f"typos-{part}{store}.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
