"""Every kind of database as source with every kind of store: rows come, change and go, and the vectors follow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rowvec.filters import bind, parse
from rowvec.searcher import Searcher
from rowvec.sources.sql import SqlSource
from rowvec.stores.base import Store
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from tests.integration.sql_rig import Run, mariadb_database
from tests.servers.hrana import serving
from tests.support import simple_pipeline, vectors_match_rows

Database = tuple[str, Run]
"""URL, and what runs a statement."""


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        with closing(sqlite3.connect(tmp_path / "rows.db", isolation_level=None)) as database:
            yield f"sqlite:///{tmp_path / 'rows.db'}", database.execute
    elif request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        with psycopg.connect(url, autocommit=True) as connection:
            yield url, connection.execute
    else:
        with mariadb_database() as database:
            yield database


@pytest.fixture(params=["postgres", "libsql-file", "libsql-http"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "postgres":
        with closing(PostgresStore(request.getfixturevalue("postgres_url"), "vectors", pipeline="things")) as store:
            yield store
    elif request.param == "libsql-file":
        with closing(LibsqlStore(str(tmp_path / "vectors.db"), table="vectors")) as store:
            yield store
    else:
        with serving(tmp_path) as server, closing(LibsqlStore(server.url("vectors"), table="vectors")) as store:
            yield store


def test_vectors_follow_rows_that_come_change_and_go(rows: Database, store: Store) -> None:
    url, run = rows
    run("create table things (id integer primary key, name varchar(100), price integer)")
    names: dict[Any, str] = {key: f"thing number {key}" for key in range(1, 41)}
    names |= {-7: "a thing before all", 41: "thing number 1", 42: "żółć, 東京, 😀", 43: 'it\'s "quoted" 100%', 44: ""}
    for key, name in names.items():
        quoted = name.replace("'", "''")
        run(f"insert into things values ({key}, '{quoted}', {abs(key)})")
    run("insert into things values (45, null, 45)")
    pipeline = simple_pipeline(SqlSource(url, table="things", key="id"), store, page_size=10)

    first = sync(pipeline)
    del names[44]
    assert (first.inserted, first.empty, first.reused) == (44, 2, 1)
    vectors_match_rows(pipeline, names)

    run("update things set name = 'thing of another name' where id = 5")
    run("update things set price = 1000 where id = 6")
    run("delete from things where id in (7, 8)")
    run("insert into things values (100, 'a new thing', 1)")
    names |= {5: "thing of another name", 100: "a new thing"}
    del names[7], names[8]
    second = sync(pipeline)
    assert (second.inserted, second.embedded, second.updated, second.deleted) == (1, 1, 1, 2)
    vectors_match_rows(pipeline, names)

    third = sync(pipeline)
    assert (third.written, third.unchanged) == (0, len(names))
    assert [one.outcome for one in store.runs()] == ["done"] * 3

    searcher = Searcher.of(pipeline)
    assert searcher.search("żółć, 東京, 😀", limit=1).hits[0].key == 42
    assert searcher.search("another name", mode="keyword", limit=1).hits[0].key == 5
    dear = bind(parse("price > 999"), pipeline.spec.metadata)
    assert [hit.key for hit in searcher.search("thing", mode="hybrid", where=dear).hits] == [6]
    pipeline.source.close()
