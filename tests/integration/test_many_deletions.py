"""200,000 rows that are gone at once: more than a statement of SQLite has variables, or a message of PostgreSQL
parameters."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pytest

from rowvec.sources.base import Selection
from rowvec.sources.sql import SqlSource
from rowvec.stores.base import Store
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.contract.samples import SPEC
from rowvec.types import Document, Entry
from tests.integration.sql_rig import mariadb_database

MANY, LEFT = 200_000, 10
SPEC_OF_KEYS = replace(SPEC, language=None, keeps_texts=False, metadata=())


@pytest.fixture(params=["postgres", "libsql"])
def store(request: pytest.FixtureRequest, quick_folder: Path) -> Callable[[], Store]:
    if request.param == "libsql":
        return lambda: LibsqlStore(str(quick_folder / "vectors.db"), table="things")
    url = request.getfixturevalue("postgres_url")
    return lambda: PostgresStore(url, "shop.things", pipeline="things", index=None)


def test_a_store_deletes_them_in_one_batch(store: Callable[[], Store]) -> None:
    vector = np.ones(SPEC_OF_KEYS.dimension, dtype=np.float32)

    def entry(key: int) -> Entry:
        return Entry(Document(key, "same", (), b"t" * 16, b"r" * 16), vector, None)

    with closing(store()) as opened:
        handle = opened.prepare(SPEC_OF_KEYS)
        # Few of them are there: what counts is how many are named.
        handle.write(WriteBatch(entries=[entry(key) for key in range(0, MANY, 20)]))
        handle.write(WriteBatch(deletes=list(range(MANY - 20 * LEFT))))
        assert handle.keys(None, 100) == [MANY - 20 * number for number in range(LEFT, 0, -1)]
        assert len(handle.lookup(list(range(MANY)))) == LEFT


@pytest.mark.parametrize("kind", ["postgres", "sqlite", "mariadb"])
def test_a_source_is_asked_for_them(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "shop.db")) as database, database:
            database.execute("create table things (id integer primary key, name text)")
            database.executemany("insert into things values (?, 'a')", [(MANY - 1,), (7,)])
        url = f"sqlite:///{tmp_path}/shop.db"
        asked_for(url)
    elif kind == "postgres":
        url = request.getfixturevalue("postgres_url")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create table things (id integer primary key, name text)")
            connection.execute(f"insert into things values ({MANY - 1}, 'a'), (7, 'a')".encode())
        asked_for(url)
    else:
        with mariadb_database() as (url, run):
            run("create table things (id integer primary key, name text)")
            run(f"insert into things values ({MANY - 1}, 'a'), (7, 'a')")
            asked_for(url)


def asked_for(url: str) -> None:
    """As a sync does once it knows them, and when it looks which of its keys are still there."""
    with closing(SqlSource(url, table="things", key="id")) as source:
        assert source.existing(list(range(MANY))) == {7, MANY - 1}
        selection = Selection(keys=tuple(range(MANY)))
        assert [row.key for page in source.pages(2000, selection=selection) for row in page] == [7, MANY - 1]
        assert source.count(selection) == 2
