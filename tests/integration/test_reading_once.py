"""Views and queries are read by one statement, as SQLite, PostgreSQL and MariaDB have them."""

from __future__ import annotations

import resource
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pymysql
import pytest
import sqlalchemy as sa

from rowvec.errors import SourceError, SourceUnavailable
from rowvec.pipeline import Options
from rowvec.sources import ahead
from rowvec.sources.base import Selection
from rowvec.sources.sql import SqlSource
from rowvec.syncing.pages import row_pages
from rowvec.types import Key
from tests.integration.sql_rig import TRICKY, Open, Run, mariadb_database, postgres_database
from tests.support import simple_pipeline

Database = tuple[str, Run]
ROWS = 100
GROUPED = "select id, max(name) as name from t group by id"


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def database(request: Any, tmp_path: Path) -> Iterator[Database]:
    """Its URL, and what runs a statement in it."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            connection = stack.enter_context(closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)))
            yield f"sqlite:///{tmp_path / 'shop.db'}", connection.execute
        else:
            made = postgres_database if request.param == "postgres" else mariadb_database
            yield stack.enter_context(made())


def fill(run: Run, rows: int = ROWS, name: str = "name", kind: str = "int") -> None:
    run(f"create table t (id {kind}, name text)")
    for start in range(1, rows + 1, 500):
        values = ", ".join(f"({n}, '{name} {n}')" for n in range(start, min(start + 500, rows + 1)))
        run(f"insert into t values {values}")


def read(some: SqlSource, page: int = 7, **options: Any) -> list[Key]:
    """The keys of all rows, as a sync reads them."""
    pipeline = simple_pipeline(source=some, page_size=page)
    return [row.key for rows in row_pages(pipeline, Options(**options), threading.Event()) for row in rows]


def statements(some: SqlSource) -> list[str]:
    """Those that read rows, as they come."""
    found: list[str] = []

    def note(*arguments: Any) -> None:
        if "ORDER BY" in arguments[2]:
            found.append(arguments[2])

    sa.event.listen(some._database.engine, "before_cursor_execute", note)
    return found


def test_a_query_is_read_by_one_statement(database: Database, source: Open) -> None:
    url, run = database
    fill(run)
    some = source(url, query=GROUPED)
    asked = statements(some)
    assert read(some) == list(range(1, ROWS + 1))
    # The second one says that nothing has come after the last row.
    assert len(asked) == 2
    assert read(some, limit=10) == list(range(1, 11))
    assert read(some, after=40, until=60) == list(range(41, 61))
    assert read(some, selection=Selection(keys=(1, 99, 777))) == [1, 99]


@pytest.mark.parametrize("rows", [0, 1, 2, 6, 7, 8, 14, 15])
def test_any_number_of_rows_is_read_whole(database: Database, source: Open, rows: int) -> None:
    url, run = database
    run("create table t (id int, name text)")
    for number in range(1, rows + 1):
        run(f"insert into t values ({number}, 'name {number}')")
    assert read(source(url, query=GROUPED, key="id")) == list(range(1, rows + 1))


def test_a_view_and_a_table_without_an_index_are_read_once_and_one_with_an_index_in_pages(
    database: Database, source: Open
) -> None:
    url, run = database
    fill(run)
    run("create view v as select * from t")
    run("create table indexed (id int primary key, name text)")
    run("insert into indexed select * from t")
    for table, times in (("v", 2), ("t", 2), ("indexed", 11)):
        some = source(url, table=table)
        asked = statements(some)
        assert read(some, page=10) == list(range(1, ROWS + 1))
        assert len(asked) == times, table
    run("create index by_id on t (id)")
    some = source(url, table="t")
    assert some.read_ahead(10, stop=threading.Event()) is None


def test_a_file_that_is_full_is_followed_by_another_statement(
    database: Database, source: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, run = database
    fill(run, rows=2_000, name="name " * 100)
    monkeypatch.setattr(ahead, "STRETCH_BYTES", 300_000)
    some = source(url, query=GROUPED)
    asked = statements(some)
    assert read(some, page=50) == list(range(1, 2_001))
    assert 4 < len(asked) < 9
    assert some.count() == 2_000, "the connection can be used again"


def test_text_keys_are_all_read_whatever_their_collation(database: Database, source: Open) -> None:
    url, run = database
    run("create table t (id varchar(20), name text)")
    for key in TRICKY:
        quoted = key.replace("'", "''").replace("\\", "\\\\" if url.startswith("mysql") else "\\")
        run(f"insert into t values ('{quoted}', 'x')")
    found = read(source(url, query="select * from t"), page=2)
    assert sorted(map(str, found)) == sorted(TRICKY)


def test_keys_without_a_row_of_their_own_are_refused(database: Database, source: Open) -> None:
    url, run = database
    fill(run)
    run("insert into t values (50, 'again')")
    with pytest.raises(SourceError, match="id = 50 on more than one row"):
        read(source(url, query="select * from t"), page=50)
    run("delete from t where id = 50")
    run("insert into t values (null, 'none')")
    with pytest.raises(SourceError, match="is null"):
        read(source(url, query="select * from t"))


def test_a_key_on_two_rows_is_refused_where_the_file_is_full_between_them(
    database: Database, source: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, run = database
    fill(run)
    run("insert into t values (50, 'again')")
    monkeypatch.setattr(ahead, "STRETCH_BYTES", 1)
    with pytest.raises(SourceError, match="id = 50 on more than one row"):
        read(source(url, query="select * from t"), page=50)


def test_ranges_of_a_query_are_those_of_a_table(database: Database, source: Open) -> None:
    url, run = database
    fill(run)
    run("create table indexed (id int primary key, name text)")
    run("insert into indexed select * from t")
    paged, once = source(url, table="indexed"), source(url, query=GROUPED)
    for size in (1, 7, 50, 100, 101):
        assert list(once.boundaries(size)) == list(paged.boundaries(size))


def test_a_stopped_read_ends(database: Database, source: Open) -> None:
    url, run = database
    fill(run)
    stop = threading.Event()
    stop.set()
    pages = source(url, query=GROUPED).read_ahead(10, stop=stop)
    assert pages is not None
    assert len(list(pages)) == 1


def test_a_full_disk_is_said(database: Database, source: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    url, run = database
    fill(run, rows=1_000, name="name " * 100)
    some = source(url, query=GROUPED)
    monkeypatch.setattr(ahead, "HELD_BYTES", 10_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(SourceError, match=r"do not fit into .*File too large") as caught:
            read(some, page=50)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "TMPDIR" in str(caught.value.hint)
    assert read(some, page=50) == list(range(1, 1_001))


# --- a connection that breaks ---


def cut(url: str, name: str | None = None) -> None:
    """End the connections of others to this database."""
    name = name or url.rpartition("/")[2]
    if url.startswith("postgresql"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = %s and application_name = 'rowvec source'",
                [name],
            )
        return
    with closing(pymysql.connect(host="127.0.0.1", user="root")) as server, server.cursor() as cursor:
        cursor.execute("select id from information_schema.processlist where db = %s and command <> 'Sleep'", [name])
        for (number,) in cursor.fetchall():
            cursor.execute(f"kill {number}")


def after_page(monkeypatch: pytest.MonkeyPatch, number: int, work: Callable[[], object]) -> None:
    """Do that when this many pages were read ahead."""
    put, seen = ahead.Ahead.put, []

    def noted(self: Any, page: Any) -> None:
        put(self, page)
        seen.append(page)
        if len(seen) == number:
            work()

    monkeypatch.setattr(ahead.Ahead, "put", noted)


@pytest.mark.parametrize("made", [postgres_database, mariadb_database])
def test_reading_goes_on_behind_the_last_row_when_the_connection_breaks(
    made: Any, source: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with made() as (url, run):
        # More than the driver and the socket hold.
        fill(run, rows=30_000, name="name " * 100)
        some = source(url, query=GROUPED)
        asked = statements(some)
        after_page(monkeypatch, 3, lambda: cut(url))
        assert read(some, page=100) == list(range(1, 30_001))
        assert len(asked) == 3
        some.close()


def test_a_server_that_is_gone_before_the_first_row_is_said(source: Open) -> None:
    with postgres_database() as (url, run):
        fill(run)
        some = source(url, query=GROUPED)
        name = url.rpartition("/")[2]
        elsewhere = url.replace(name, "postgres")
        with psycopg.connect(elsewhere, autocommit=True) as server:
            server.execute(f"alter database {name} allow_connections false")
        cut(elsewhere, name)
        with pytest.raises((SourceUnavailable, SourceError), match="not currently accepting connections"):
            some.read_ahead(10, stop=threading.Event())


def test_no_transaction_is_open_while_pages_are_handed_out(source: Open) -> None:
    with postgres_database() as (url, run):
        fill(run)
        pages = source(url, query="select * from t").read_ahead(4, stop=threading.Event())
        assert pages is not None
        next(pages)
        run("set lock_timeout = '2s'")
        run("alter table t add column late text")
        assert sum(map(len, pages)) == ROWS - 4


# --- what a driver cannot read ---


def test_times_that_python_has_not_are_read_as_text_on_a_later_page_too(source: Open) -> None:
    with postgres_database() as (url, run):
        run("create table t (id int, day date)")
        run("insert into t select n, case when n = 80 then 'infinity'::date else '2024-01-01' end"
            " from generate_series(1, 100) n")  # fmt: skip
        some = source(url, query="select * from t")
        pages = some.read_ahead(7, stop=threading.Event())
        assert pages is not None
        days = {row.key: row.values["day"] for page in pages for row in page}
        assert len(days) == ROWS
        assert days[80] == "infinity"
        assert days[99] == days[1]


def test_bad_text_of_sqlite_is_read_as_far_as_it_goes(tmp_path: Path, source: Open) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as connection:
        fill(connection.execute)
        connection.execute("update t set name = cast(x'61ff62' as text) where id = 80")
        some = source(f"sqlite:///{tmp_path / 'shop.db'}", query="select * from t")
        pages = some.read_ahead(7, stop=threading.Event())
        assert pages is not None
        names = {row.key: row.values["name"] for page in pages for row in page}
        assert len(names) == ROWS
        assert names[80] == "a\ufffdb"


# --- tables in parts ---


@pytest.mark.parametrize(("key", "ahead_of_use"), [("id, day", False), ("day, id", True)])
def test_a_partitioned_table_is_read_whole(source: Open, key: str, ahead_of_use: bool) -> None:
    with postgres_database() as (url, run):
        run(f"create table t (id bigint, day int, name text, primary key ({key})) partition by range (day)")
        for part in range(4):
            run(f"create table t_{part} partition of t for values from ({part}) to ({part + 1})")
        run("insert into t select n, n % 4, 'row ' || n from generate_series(1, 100) n")
        some = source(url, table="t")
        asked = statements(some)
        assert read(some, page=10) == list(range(1, 101))
        assert len(asked) == (2 if ahead_of_use else 11)
        assert some.existing([1, 2, 1000]) == {1, 2}


def test_uuids_are_read_ahead(source: Open) -> None:
    with postgres_database() as (url, run):
        run("create table t (id uuid, name text)")
        run("insert into t select gen_random_uuid(), 'x' from generate_series(1, 20)")
        found = read(source(url, query="select * from t"))
        assert len(set(found)) == 20
        assert all(isinstance(key, UUID) for key in found)
