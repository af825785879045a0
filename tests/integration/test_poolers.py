"""A real PgBouncer between rowvec and its databases, shared with the user's own application."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from rowvec.errors import RowvecError, SourceError, StoreError
from rowvec.filters import parse
from rowvec.pipeline import Pipeline
from rowvec.searcher import Mode, Searcher
from rowvec.sources.sql import SqlSource
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index.index import IndexSpec
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from tests.servers.pgbouncer import pgbouncer
from tests.support import rows_of, simple_pipeline, vectors_match_rows

MODES: tuple[Mode, ...] = ("semantic", "keyword", "hybrid")
ROWS = {key: f"row {key}" for key in range(1, 61)}
SETTINGS = "select name, setting from pg_settings where name !~ '^(hnsw|ivfflat)[.]' order by name"
"""But for those of the extension, which are there once a session has used it."""


def store_at(url: str) -> PostgresStore:
    return PostgresStore(url, "shop.things", pipeline="things", index=None, statement_seconds=20)


@contextmanager
def pipeline_at(url: str, rows: str | None = None) -> Iterator[Pipeline]:
    """Vectors at one URL, rows at another."""
    source = SqlSource(rows or url, table="things", key="id")
    with closing(source), closing(store_at(url)) as store:
        pipeline = simple_pipeline(source, store, HashEmbedder())
        yield replace(pipeline, spec=replace(pipeline.spec, language="english"))


@pytest.fixture
def database(postgres_url: str) -> str:
    """Rows with their vectors, an index and keywords; a few settings of its own."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create table things (id integer primary key, name text, price integer)")
        connection.execute("create table orders (id integer)")
        for key, name in ROWS.items():
            connection.execute("insert into things values (%s, %s, 1)", [key, name])
    with pipeline_at(postgres_url) as pipeline:
        sync(pipeline)
        rows_of(pipeline).index.build(IndexSpec())
    return postgres_url


class Application:
    """The user's own program: it holds every session of the pool in turn, and writes on each."""

    def __init__(self, url: str, sessions: int) -> None:
        self.url, self.sessions = url, sessions

    def on_each(self, *statements: str) -> dict[int, list[Any]]:
        """Answers by the pid of the server's process that gave them."""
        answers: dict[int, list[Any]] = {}
        clients = [psycopg.connect(self.url) for _ in range(self.sessions)]
        for client in clients:
            (pid,) = client.execute("select pg_backend_pid()").fetchone() or (0,)
            answers[pid] = [client.execute(statement.encode()).fetchall() for statement in statements]
            client.execute("insert into orders values (1)")
        for client in clients:
            client.commit()
            client.close()
        assert len(answers) == self.sessions
        return answers


def test_searches_leave_nothing_behind_on_the_sessions_of_the_pool(database: str) -> None:
    with pgbouncer(database, "transaction", pool_size=3) as pooled:
        application = Application(pooled, 3)
        before = application.on_each(SETTINGS)
        with pipeline_at(pooled) as pipeline:
            searcher = Searcher.of(pipeline)
            for mode in MODES:
                for key in (3, 4, 5, 6, 7, 8, 9):
                    assert searcher.search(f"row {key}", mode=mode, limit=3).hits[0].key == key
                    searcher.search(f"row {key}", mode=mode, limit=3, where=parse("price = 1"))
            assert len(searcher.similar(7, limit=2).hits) == 2
            rows_of(pipeline).status()
            pipeline.store.runs()
            assert pipeline.source.count() == len(ROWS)
            assert sum(len(page) for page in pipeline.source.pages(7)) == len(ROWS)
        assert application.on_each(SETTINGS) == before
        locks = "select count(*) from pg_locks where locktype = 'advisory'"
        assert set(map(str, application.on_each(locks).values())) == {"[[(0,)]]"}


def test_many_search_at_once_while_the_application_works(database: str) -> None:
    """Prepared statements and settings of one session would be met, or missed, on another."""
    problems: list[BaseException] = []
    done = threading.Event()
    with pgbouncer(database, "transaction", pool_size=3) as pooled, closing(store_at(pooled)) as store:

        def work() -> None:
            while not done.is_set():
                try:
                    with psycopg.connect(pooled) as connection:
                        connection.execute("insert into orders values (2)")
                except psycopg.Error as error:
                    problems.append(error)

        def search() -> None:
            with pipeline_at(database) as pipeline:
                searcher = Searcher.of(replace(pipeline, store=store))
                for key in ROWS:
                    try:
                        assert searcher.search(f"row {key}", mode="hybrid", limit=1).hits[0].key == key
                    except (RowvecError, AssertionError) as error:
                        problems.append(error)

        busy = threading.Thread(target=work)
        threads = [threading.Thread(target=search) for _ in range(2)]
        for thread in (busy, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        busy.join()
    assert problems == []


def test_a_sync_refuses_a_pooler_in_transaction_mode_and_leaves_no_lock(database: str) -> None:
    with pgbouncer(database, "transaction", pool_size=2) as pooled:
        application = Application(pooled, 2)
        before = application.on_each(SETTINGS)
        with pipeline_at(pooled, database) as pipeline:
            for change in (
                lambda: sync(pipeline),
                rows_of(pipeline).index.drop,
                lambda: pipeline.store.rollback(pipeline.spec),
            ):
                with pytest.raises(StoreError, match="a pooler in transaction mode") as raised:
                    change()
                assert "session mode" in str(raised.value.hint)
        assert application.on_each(SETTINGS) == before
    with pipeline_at(database) as pipeline:
        assert sync(pipeline).unchanged == len(ROWS)


def test_a_sync_is_refused_while_others_use_the_pool_too(database: str) -> None:
    """They take the sessions that were ours a moment ago."""
    done = threading.Event()
    with pgbouncer(database, "transaction", pool_size=4) as pooled:

        def work() -> None:
            with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as connection:
                while not done.is_set():
                    connection.execute("select count(*) from things")

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                with pipeline_at(pooled, database) as pipeline, pytest.raises(StoreError, match="transaction mode"):
                    sync(pipeline)
        finally:
            done.set()
            for thread in threads:
                thread.join()


def test_a_sync_works_through_a_pooler_in_session_mode(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("update things set name = 'another' where id = 5")
    with pgbouncer(database, "session", pool_size=10) as pooled:
        with pipeline_at(pooled) as pipeline:
            assert sync(pipeline).embedded == 1
            vectors_match_rows(pipeline, {**ROWS, 5: "another"})
        sessions = Application(pooled, 2).on_each("show default_transaction_read_only", "show statement_timeout")
        assert set(map(str, sessions.values())) == {"[[('off',)], [('0',)]]"}


def test_a_pooler_in_statement_mode_is_named(database: str) -> None:
    with pgbouncer(database, "statement") as pooled, closing(store_at(pooled)) as store:
        for look in (store.ledger, lambda: store.begin_run("things")):
            with pytest.raises(StoreError, match="a pooler in statement mode"):
                look()


def test_rows_are_read_in_utc_whatever_the_role_says_and_nothing_of_that_stays(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table moments (id integer primary key, at timestamptz, long interval)")
        connection.execute("insert into moments values (1, '2026-03-01 12:00+00', '1 day 02:00')")
        connection.execute("create role limited login password 'pw'")
        for setting in ("datestyle = 'German'", "timezone = 'Asia/Tokyo'", "intervalstyle = 'iso_8601'"):
            connection.execute(f"alter role limited set {setting}".encode())
        connection.execute("grant all on moments, orders to limited")
    try:
        with pgbouncer(database, "transaction", pool_size=2) as pooled:
            url = pooled.replace("postgres@", "limited@")
            application = Application(url, 2)
            before = application.on_each(SETTINGS)
            with closing(SqlSource(url, table="moments", key="id")) as source:
                ((row,),) = source.pages(10)
            assert row.values["at"].isoformat() == "2026-03-01T12:00:00+00:00"
            assert row.values["long"].total_seconds() == 26 * 3600
            assert application.on_each(SETTINGS) == before
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("drop owned by limited")
            connection.execute("drop role limited")


def test_nothing_is_listened_to_on_a_session_that_others_get(database: str) -> None:
    """What LISTEN leaves there keeps the server's queue from ever being emptied."""
    with (
        pgbouncer(database, "transaction", pool_size=2) as pooled,
        closing(SqlSource(pooled, table="things", key="id")) as source,
    ):
        with pytest.raises(SourceError, match="pooler in transaction mode"), source.notifier().listening():
            pytest.fail("it listens")
        channels = Application(pooled, 2).on_each("select count(*) from pg_listening_channels()")
        assert set(map(str, channels.values())) == {"[[(0,)]]"}
    with (
        pgbouncer(database, "session") as pooled,
        closing(SqlSource(pooled, table="things", key="id")) as source,
        source.notifier().listening() as heard,
    ):
        assert not heard.take(0)


def test_a_source_behind_a_pooler_in_statement_mode_says_so_at_once(database: str) -> None:
    with pgbouncer(database, "statement") as pooled, pytest.raises(SourceError, match="statement pooling") as raised:
        SqlSource(pooled, table="things", key="id")
    assert not raised.value.transient
