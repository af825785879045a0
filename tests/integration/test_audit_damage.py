"""An audit finds every damage done by hand, calls nothing else damaged, and repairs it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import libsql
import psycopg
import pytest

from rowvec.auditing.audit import audit
from rowvec.auditing.findings import Audit
from rowvec.auditing.repair import repair
from rowvec.pipeline import Pipeline
from rowvec.sources.sql import SqlSource
from rowvec.stores.auditor import Drift
from rowvec.stores.base import TableSpec
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.write_batch import WriteBatch
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.types import Column, ColumnType, Document, Key, Row
from tests.integration.damage_rig import LibsqlHands, PostgresHands, Spoiler, inflict
from tests.support import digest, rows_of, simple_pipeline, vectors_match_rows

DAMAGES = int(os.environ.get("ROWVEC_TEST_DAMAGES", "99"))
MANY = int(os.environ.get("ROWVEC_TEST_DAMAGES", "1000"))
EVERY_ROW = 10**9
WORDS = [
    "amber",
    "basalt",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "granite",
    "harbour",
    "island",
    "juniper",
    "kelp",
    "lichen",
    "meadow",
]


def names_of(count: int, dice: Random) -> dict[Key, str]:
    return {key: f"{' '.join(dice.choices(WORDS, k=dice.randrange(1, 9)))} {key}" for key in range(1, count + 1)}


def sqlite_rows(path: Path, names: dict[Key, str]) -> SqlSource:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table things (id integer primary key, name text, price integer)")
        database.executemany("insert into things values (?, ?, ?)", [(key, name, 7) for key, name in names.items()])
    return SqlSource(f"sqlite:///{path}", table="things", key="id")


# In place: the vectors stand in the table of the rows.


def titled(row: Row) -> Document:
    text = row.values["name"] or ""
    return Document(row.key, text, (), digest(text), digest(""))


@pytest.fixture
def in_place(postgres_url: str) -> Iterator[tuple[Pipeline, PostgresHands, dict[Key, str]]]:
    names = names_of(3 * DAMAGES, Random(5))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create extension vector")
        connection.execute("create table things (id bigint primary key, name text, price integer, active boolean)")
        with connection.cursor() as cursor:
            cursor.executemany("insert into things values (%s, %s, 7, true)", list(names.items()))
            ghosts = [(10**6 + number, "not for search") for number in range(DAMAGES)]
            cursor.executemany("insert into things values (%s, %s, 7, false)", ghosts)
        embedder = HashEmbedder()
        source = SqlSource(postgres_url, table="things", key="id", where="active")
        source.select(["name", "price"])
        spec = TableSpec(
            "things", "id", ColumnType.INTEGER, embedder.fingerprint.dimension,
            metadata=(Column("price", ColumnType.INTEGER),), fingerprint=embedder.fingerprint, recipe="name",
        )  # fmt: skip
        with closing(source), closing(PostgresStore(postgres_url, "things", pipeline="t", column="embedding")) as store:
            store.apply(spec)
            pipeline = Pipeline("things", source, titled, ("name",), embedder, store, spec)
            sync(pipeline)
            yield pipeline, PostgresHands(connection, Names.parse("things", "embedding"), spec, metadata=None), names


def test_damage_in_a_table_of_the_users_own_is_found_and_repaired(
    in_place: tuple[Pipeline, PostgresHands, dict[Key, str]],
) -> None:
    pipeline, hands, names = in_place
    damaged_and_repaired(pipeline, hands, names, DAMAGES, seed=6)
    # The user's own columns are nobody else's to repair.
    assert hands.connection.execute("select count(*) from things where price = 7").fetchone() == (len(names) + DAMAGES,)


@contextmanager
def postgres(url: str, source: SqlSource) -> Iterator[tuple[Pipeline, Spoiler]]:
    with (
        closing(PostgresStore(url, "shop.vectors", pipeline="things")) as store,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        pipeline = simple_pipeline(source, store)
        sync(pipeline)
        yield pipeline, PostgresHands(connection, Names.parse("shop.vectors"), pipeline.spec)


@contextmanager
def libsql_file(path: Path, source: SqlSource) -> Iterator[tuple[Pipeline, Spoiler]]:
    with closing(LibsqlStore(str(path), table="vectors")) as store:
        pipeline = simple_pipeline(source, store)
        sync(pipeline)
        connection = libsql.connect(str(path), timeout=10)
        yield pipeline, LibsqlHands(connection, "vectors", "rowvec_keywords_vectors_1")
        connection.close()


@pytest.fixture(params=["postgres", "libsql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def opened(
    kind: str, request: pytest.FixtureRequest, folder: Path, names: dict[Key, str]
) -> Iterator[tuple[Pipeline, Spoiler]]:
    with closing(sqlite_rows(folder / "rows.db", names)) as source:
        if kind == "postgres":
            with postgres(request.getfixturevalue("postgres_url"), source) as both:
                yield both
        else:
            with libsql_file(folder / "vectors.db", source) as both:
                yield both


FOLLOWING = (Drift.WORD_COUNTS, Drift.LOST_PASSAGES)
"""What damage to rows entails: words and texts beside them that no row has any more."""


def found(result: Audit) -> dict[Drift, set[Key]]:
    findings = {drift: finding for drift, finding in result.findings.items() if drift not in FOLLOWING}
    assert all(finding.count == max(len(finding.keys), 1) for finding in findings.values())
    return {drift: set(finding.keys) for drift, finding in findings.items()}


def damaged_and_repaired(pipeline: Pipeline, hands: Spoiler, names: dict[Key, str], number: int, seed: int) -> None:
    dice = Random(seed)
    healthy = audit(pipeline, sample=EVERY_ROW, settle=0)
    assert not healthy.findings
    assert healthy.sample is not None
    assert healthy.sample.rows == len(names)
    damage = inflict(hands, number, list(names), range(10**6, 10**6 + number), dice)
    rows_of(pipeline).write(WriteBatch(failures=damage.failures))
    if isinstance(pipeline.store, PostgresStore):
        # A column of another type is news to connections that have read it before; an audit has new ones.
        pipeline.store.close()

    result = audit(pipeline, sample=EVERY_ROW, settle=0)
    assert found(result) == damage.done
    assert sum(map(len, damage.done.values())) >= number

    repaired = repair(pipeline, result)
    assert repaired.left == []
    assert repaired.failed == 0
    after = audit(pipeline, sample=EVERY_ROW, settle=0)
    assert not after.findings
    vectors_match_rows(pipeline, names)
    assert all(row["price"] == 7 for row in rows_of(pipeline).metadata(list(names)).values())
    assert set(rows_of(pipeline).keyword(" ".join(WORDS), len(names) + 10).keys) == set(names)
    assert sync(pipeline).written == 0


def test_every_damage_is_found_and_repaired(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    names = names_of(2 * DAMAGES, Random(1))
    with opened(kind, request, tmp_path, names) as (pipeline, hands):
        damaged_and_repaired(pipeline, hands, names, DAMAGES, seed=2)


@pytest.mark.slow
def test_a_thousand_damages_are_found_and_repaired(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    names = names_of(3 * MANY, Random(3))
    with opened(kind, request, tmp_path, names) as (pipeline, hands):
        damaged_and_repaired(pipeline, hands, names, MANY, seed=4)
