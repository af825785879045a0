"""Whether keyword search finds words in another inflection than the row has them, set up by `rowvec init` alone.

    python -m benchmarks.inflection [ru pl] [--rows 1000] [--queries 250]

1,000 product classes, 250 queries of two content words each in another case or number than in the row. The relevant
rows are those that hold both lemmas. The forms are made by pymorphy3 (Russian) and morfeusz2 (Polish), which only this
benchmark needs: `pip install pymorphy3 morfeusz2`. The language of the keyword index is the one that `init` writes.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.relevance_data import cpv
from rich.console import Console
from rich.table import Table

from rowvec.config.load import load
from rowvec.config.starter import starter
from rowvec.evaluation.measures import evaluate
from rowvec.sources.propose import propose
from rowvec.stores.base import GenerationHandle, TableSpec
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.embedded import embedded_url
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.contract.samples import DIMENSION, NAME, entry
from rowvec.types import ColumnType

RESULTS = Path(__file__).parent / "results"
Forms = Callable[[str], tuple[str, list[str]] | None]
"""A word's lemma and its other forms, shortest first; None for what is not a noun or an adjective."""


def russian() -> Forms:
    import pymorphy3

    analyzer = pymorphy3.MorphAnalyzer()

    def forms(word: str) -> tuple[str, list[str]] | None:
        parsed = analyzer.parse(word)[0]
        if parsed.tag.POS not in ("NOUN", "ADJF"):
            return None
        return parsed.normal_form, [each.word for each in parsed.lexeme]

    return forms


def polish() -> Forms:
    import morfeusz2

    analyzer = morfeusz2.Morfeusz()

    def forms(word: str) -> tuple[str, list[str]] | None:
        for _, _, (_, lemma, tag, _, _) in analyzer.analyse(word):
            if tag.split(":")[0] in ("subst", "adj"):
                plain = lemma.partition(":")[0]
                made = [form for form, its, kind, _, _ in analyzer.generate(plain) if kind[:3] == tag[:3]]
                return plain, made
        return None

    return forms


LANGUAGES = {"ru": ("ru", russian), "pl": ("pl", polish)}
_WORD = re.compile(r"[^\W\d_]{4,}")


def queries_of(names: dict[int, str], forms: Forms, count: int) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Queries of two words in other forms, and the rows that hold both lemmas."""
    dice = random.Random(7)
    lemmas: dict[int, dict[str, list[str]]] = {}
    for key, name in names.items():
        found = (forms(word) for word in _WORD.findall(name.lower()))
        lemmas[key] = dict(each for each in found if each)
    queries: dict[str, str] = {}
    judgements: dict[str, dict[str, int]] = {}
    keys = sorted(names)
    dice.shuffle(keys)
    for key in keys:
        there = set(_WORD.findall(names[key].lower()))
        other = {lemma: [form for form in made if form not in there] for lemma, made in lemmas[key].items()}
        chosen = [lemma for lemma, made in other.items() if made]
        if len(chosen) < 2 or len(queries) == count:
            continue
        pair = dice.sample(chosen, 2)
        queries[str(key)] = " ".join(dice.choice(other[lemma]) for lemma in pair)
        judgements[str(key)] = {str(each): 1 for each, its in lemmas.items() if set(pair) <= its.keys()}
    return queries, judgements


def language_by_init(names: dict[int, str], folder: Path) -> str | None:
    with closing(sqlite3.connect(folder / "shop.db")) as database, database:
        database.execute("create table classes (id integer primary key, name text)")
        database.executemany("insert into classes values (?, ?)", names.items())
    url = f"sqlite:///{folder}/shop.db"
    (folder / "rowvec.toml").write_text(starter(propose(url), url), encoding="utf-8")
    return load(folder).pipeline().store.language


def _keys(rows: GenerationHandle, query: str, depth: int) -> Sequence[object]:
    return rows.keyword(query, depth).keys


def measure(language: str, rows: int, count: int) -> list[dict[str, object]]:
    column, forms = LANGUAGES[language]
    named = [row[column] for row in cpv() if row[column].strip()]
    names = dict(enumerate(random.Random(1).sample(named, rows)))
    queries, judgements = queries_of(names, forms(), count)
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        chosen = language_by_init(names, folder)
        for kind, words in (("as init sets it", chosen), ("simple", "simple")):
            spec = TableSpec("classes", "id", ColumnType.INTEGER, DIMENSION, (NAME,), words)
            url = embedded_url(folder / "state")
            for store in (
                PostgresStore(url, f"classes_{words}", pipeline="classes"),
                LibsqlStore(str(folder / f"{words}.db"), table="classes"),
            ):
                with closing(store):
                    rows_of = store.prepare(spec)
                    rows_of.write(WriteBatch([entry(key, name) for key, name in names.items()]))
                    run = partial(_keys, rows_of)
                    scores = evaluate(run, queries, judgements, ("nDCG@10",))
                    found.append(
                        {
                            "texts": language,
                            "language": f"{words} ({kind})",
                            "store": type(store).__name__.removesuffix("Store"),
                            "queries": len(queries),
                            "nDCG@10": round(scores.means["nDCG@10"], 3),
                        }
                    )
    return found


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("languages", nargs="*", default=list(LANGUAGES))
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--queries", type=int, default=250)
    chosen = parser.parse_args(arguments)
    found = [row for language in chosen.languages for row in measure(language, chosen.rows, chosen.queries)]
    table = Table(*found[0])
    for row in found:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "inflection.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
