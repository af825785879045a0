"""A real PgBouncer between rowvec and its databases, shared with the user's own application."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from rowvec.errors import Locked, RowvecError, SourceError, StoreError
from rowvec.filters import parse
from rowvec.pipeline import Pipeline
from rowvec.searcher import Mode, Searcher
from rowvec.sources.sql import SqlSource
from rowvec.stores.postgres.session import Session
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index.index import IndexSpec
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.types import State
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


def test_a_sync_works_through_a_pooler_in_transaction_mode_and_leaves_nothing_behind(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("update things set name = 'another' where id = 5; delete from things where id = 6")
    with pgbouncer(database, "transaction", pool_size=3) as pooled:
        application = Application(pooled, 3)
        before = application.on_each(SETTINGS)
        with pipeline_at(pooled) as pipeline:
            changed = sync(pipeline)
            assert (changed.embedded, changed.deleted) == (1, 1)
            rows = {key: name for key, name in ROWS.items() if key != 6}
            vectors_match_rows(pipeline, {**rows, 5: "another"})
            rows_of(pipeline).index.drop()
            rows_of(pipeline).index.build(IndexSpec())
            assert rows_of(pipeline).index.tune(0.9, queries=5)
            assert Searcher.of(pipeline).search("another", limit=1).hits[0].key == 5
            (line,) = [each for each in pipeline.store.checks(pipeline.spec) if each.what == "pooler"]
            assert line.ok
            assert pipeline.store.runs(1)[0].outcome == "done"
            pipeline.store.spend(0.5)
            assert pipeline.store.totals().rerank_cost == 0.5
            assert pipeline.store.holder() is None
        assert application.on_each(SETTINGS) == before
        left = "select relname from pg_class where relpersistence = 't' and relname like 'rowvec%'"
        locks = "select count(*) from pg_locks where locktype = 'advisory'"
        assert set(map(str, application.on_each(left, locks).values())) == {"[[], [(0,)]]"}
    with psycopg.connect(database) as connection:
        assert connection.execute("select * from rowvec.leases").fetchall() == []


def test_generations_are_made_swapped_and_dropped_through_a_pooler_in_transaction_mode(database: str) -> None:
    with pgbouncer(database, "transaction", pool_size=3) as pooled, pipeline_at(pooled) as pipeline:
        other = replace(pipeline, embedder=(embedder := HashEmbedder(model="other")))
        other = replace(other, spec=replace(pipeline.spec, fingerprint=embedder.fingerprint))
        assert sync(other).inserted == len(ROWS)
        assert Searcher.of(other).search("row 9", limit=1).hits[0].key == 9
        other.store.rollback(other.spec)
        assert pipeline.store.ledger().fingerprint == pipeline.spec.fingerprint
        other.store.drop_generation(State.PREVIOUS, other.spec)
        assert [each.state for each in other.store.generations(other.spec)] == [State.LIVE]


@pytest.mark.parametrize("part", [None, "1..5"])
def test_a_lease_and_a_lock_of_a_session_keep_each_other_out(database: str, part: str | None) -> None:
    with (
        pgbouncer(database, "transaction", pool_size=4) as pooled,
        closing(store_at(pooled)) as lent,
        closing(store_at(pooled)) as other,
        closing(store_at(database)) as own,
    ):
        with lent.lock(part):
            for store in (other, own):
                with pytest.raises(Locked, match="at work: process"), store.lock():
                    pytest.fail("two at once")
                with store.lock("6..9") if part else nullcontext():
                    pass
                assert str(os.getpid()) in str(store.holder())
        with own.lock(part), pytest.raises(Locked, match="at work: rowvec pid"), lent.lock():
            pytest.fail("two at once")
        for store in (lent, other, own):
            with store.lock():
                pass


def test_work_on_the_indexes_waits_for_that_under_a_lease(database: str) -> None:
    lease = "insert into rowvec.leases values ('indexes of shop.things', '', %s, 'elsewhere', 1, 'another')"
    with (
        pgbouncer(database, "transaction", pool_size=4) as pooled,
        pipeline_at(pooled) as lent,
        pipeline_at(database) as own,
        psycopg.connect(database, autocommit=True) as connection,
        ThreadPoolExecutor() as threads,
    ):
        connection.execute(lease, [uuid4()])
        dropping = [threads.submit(rows_of(each).index.drop) for each in (own, lent)]
        assert not wait(dropping, timeout=1.5).done
        connection.execute("delete from rowvec.leases")
        assert sorted(each.result() for each in dropping) == [0, 1]


def test_whoever_was_silent_for_long_has_lost_the_lease_and_writes_nothing(database: str) -> None:
    with (
        pgbouncer(database, "transaction", pool_size=4) as pooled,
        pipeline_at(pooled, database) as paused,
        pipeline_at(database) as other,
        psycopg.connect(database, autocommit=True) as connection,
    ):
        with ExitStack() as held:
            held.enter_context(paused.store.lock())
            paused.store.prepare(paused.spec)
            # As if neither the process nor its beat had run meanwhile.
            connection.execute("update rowvec.leases set beat = beat - interval '61 s'")
            assert sync(other).unchanged == len(ROWS)
            runs = len(other.store.runs())
            with pytest.raises(Locked, match="was silent for over 60 s"):
                paused.store.begin_run("things")
            assert len(other.store.runs()) == runs
        connection.execute("update things set name = 'later' where id = 7")
        assert sync(paused).embedded == 1
        vectors_match_rows(other, {**ROWS, 7: "later"})


def test_a_lease_is_kept_while_its_transaction_is_open_however_old_it_is(database: str) -> None:
    with (
        pgbouncer(database, "transaction", pool_size=4) as pooled,
        closing(store_at(pooled)) as lent,
        closing(store_at(database)) as own,
        psycopg.connect(database, autocommit=True) as connection,
        lent.lock(),
    ):
        connection.execute("update rowvec.leases set beat = beat - interval '61 s'")
        with psycopg.connect(database) as writing:
            writing.execute("select from rowvec.leases for key share")
            with pytest.raises(Locked, match="whose last transaction has not ended"), own.lock():
                pytest.fail("two at once")
        with own.lock():
            pass


def test_the_lease_of_a_killed_process_is_free_at_once(database: str) -> None:
    held = """import sys, time
from rowvec.stores.postgres.store import PostgresStore
with PostgresStore(sys.argv[1], "shop.things", pipeline="things").lock():
    print("held", flush=True)
    time.sleep(60)
"""
    with pgbouncer(database, "transaction", pool_size=4) as pooled, ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", held, pooled], stdout=subprocess.PIPE, text=True)
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with closing(store_at(pooled)) as store:
            with pytest.raises(Locked, match=f"process {process.pid} on "), store.lock():
                pytest.fail("two at once")
            process.kill()
            process.wait()
            with store.lock():
                pass


def test_two_syncs_through_one_pool_leave_one_state(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("update things set name = 'new ' || name where id <= 30")
    with pgbouncer(database, "transaction", pool_size=4) as pooled, ThreadPoolExecutor(2) as threads:

        def work() -> int:
            with pipeline_at(pooled, database) as pipeline:
                try:
                    return sync(pipeline).embedded
                except Locked:
                    return 0

        # One of them may come late enough to find nothing to do.
        assert sum(each.result() for each in [threads.submit(work) for _ in range(2)]) == 30
    with pipeline_at(database) as pipeline:
        vectors_match_rows(pipeline, {key: f"new {name}" if key <= 30 else name for key, name in ROWS.items()})


def test_a_sync_works_while_others_use_the_pool_too(database: str) -> None:
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
            for number in range(5):
                with psycopg.connect(database, autocommit=True) as connection:
                    connection.execute("update things set name = %s where id = 5", [f"name {number}"])
                with pipeline_at(pooled, database) as pipeline:
                    assert sync(pipeline).embedded == 1
                    vectors_match_rows(pipeline, {**ROWS, 5: f"name {number}"})
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


def test_searches_work_through_a_pooler_in_statement_mode(database: str) -> None:
    with pgbouncer(database, "statement", pool_size=3) as pooled:
        application_settings = f"select md5(string_agg(name || setting, ',' order by name)) from ({SETTINGS}) s"
        with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as application:
            before = application.execute(application_settings.encode()).fetchall()
        with pipeline_at(pooled, database) as pipeline:
            searcher = Searcher.of(pipeline)
            for mode in MODES:
                for key in (3, 4, 5):
                    assert searcher.search(f"row {key}", mode=mode, limit=3).hits[0].key == key
                    cheap = searcher.search(f"row {key}", mode=mode, limit=3, where=parse("price = 1"))
                    assert cheap.hits[0].key == key
            assert len(searcher.similar(7, limit=2).hits) == 2
            assert len(searcher.browse(limit=5).hits) == 5
            assert rows_of(pipeline).status().rows == len(ROWS)
        with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as application:
            assert application.execute(application_settings.encode()).fetchall() == before


def test_the_effort_of_an_index_reaches_a_server_behind_a_pooler_in_statement_mode(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pipeline_at(database) as pipeline:
        index = rows_of(pipeline).index
        assert index is not None
        index.build(IndexSpec())
    said: list[bytes] = []
    prefix = Session.prefix

    def told(self: Session) -> bytes:
        said.append(prefix(self))
        return said[-1]

    with pgbouncer(database, "statement", pool_size=3) as pooled, pipeline_at(pooled, database) as pipeline:
        monkeypatch.setattr(Session, "prefix", told)
        assert Searcher.of(pipeline).search("row 3", limit=3).hits[0].key == 3
        assert any(b"hnsw.ef_search" in each for each in said)
        # A search that fails leaves nothing of it for the next one.
        vector = pipeline.embedder.embed_query("row 3")
        monkeypatch.setattr("rowvec.stores.postgres.vector_index.nearest.order_by", lambda *_: sql.SQL("nothing"))
        with pytest.raises(RowvecError):
            rows_of(pipeline).nearest(vector, 3)
        monkeypatch.undo()
        said.clear()
        monkeypatch.setattr(Session, "prefix", told)
        assert rows_of(pipeline).count() == len(ROWS)
        assert said and not any(b"hnsw.ef_search" in each for each in said)


def test_a_session_that_turns_out_to_be_lent_has_its_lock_taken_again_as_a_lease(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = "select count(*) from rowvec.leases where scope = 'shop.things'"
    with (
        pgbouncer(database, "session", pool_size=10) as pooled,
        closing(store_at(pooled)) as store,
        psycopg.connect(database, autocommit=True) as connection,
    ):
        with store.lock():
            assert connection.execute(held).fetchone() == (0,)
            with monkeypatch.context() as patch:
                patch.setattr("rowvec.support.poolers.server_pid", lambda _: -1)
                with pytest.raises(StoreError, match="gave the session of this sync to others"):
                    store.begin_run("things")
            store.begin_run("things")
            assert connection.execute(held).fetchone() == (1,)
            with closing(store_at(database)) as other, pytest.raises(Locked), other.lock():
                pytest.fail("two at once")
        assert connection.execute(held).fetchone() == (0,)


def test_a_sync_names_a_pooler_in_statement_mode(database: str) -> None:
    with pgbouncer(database, "statement") as pooled, pipeline_at(pooled, database) as pipeline:
        for change in (lambda: sync(pipeline), rows_of(pipeline).index.drop):
            with pytest.raises(StoreError, match="a pooler in statement mode, which takes no transactions"):
                change()
        ((line),) = [each for each in pipeline.store.checks(pipeline.spec) if not each.ok]
        assert line.detail == "a pooler in statement mode: searches work, a sync does not."
    with pipeline_at(database) as pipeline:
        assert sync(pipeline).unchanged == len(ROWS)


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
