"""Limits of the role or the server are lifted where rowvec may, said where not; what the server ends is tried again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from rowvec.errors import StoreError, StoreUnavailable
from rowvec.stores.postgres.driver_errors import translated
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.write_batch import WriteBatch
from tests.integration.test_postgres_store import entry, open_store, spec
from tests.support import as_role

SHORT = ("statement_timeout = '500ms'", "lock_timeout = '500ms'", "idle_in_transaction_session_timeout = '1s'",
         "idle_session_timeout = '1s'")  # fmt: skip


@pytest.fixture
def limited(postgres_url: str) -> Iterator[str]:
    """URL of a role with short limits that may do anything else."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create role rowvec_limited superuser login password 'pw'")
        for setting in SHORT:
            connection.execute(f"alter role rowvec_limited set {setting}".encode())
        if connection.info.server_version >= 170000:
            connection.execute("alter role rowvec_limited set transaction_timeout = '1s'")
        yield as_role(postgres_url, "rowvec_limited", "pw")
        ours = "select 1 from pg_stat_activity where usename = 'rowvec_limited'"
        while connection.execute(ours).fetchone():
            pass  # Their temporary tables go after their clients.
        connection.execute("reassign owned by rowvec_limited to current_user")
        connection.execute("drop owned by rowvec_limited")
        connection.execute("drop role rowvec_limited")


def slow(connection: psycopg.Connection[Any]) -> object:
    return connection.execute("select pg_sleep(1.2)").fetchone()


def test_what_takes_long_is_not_ended_by_a_limit_of_the_role(limited: str) -> None:
    with closing(open_store(limited)) as store:
        filled = store.prepare(spec())
        filled.write(WriteBatch(entries=[entry(1)]))
        with store.lock():
            store._write(slow)
            threading.Event().wait(1.2)
            assert filled.count() == 1
        store._read(slow)


def test_a_search_has_the_limit_of_its_own_all_the_same(limited: str) -> None:
    with closing(PostgresStore(limited, "things_vectors", pipeline="things", statement_seconds=0.1)) as store:
        with pytest.raises(StoreUnavailable, match="statement timeout"):
            store._read(slow)
        assert not store.ledger().exists


def test_check_names_the_limits_that_are_lifted_and_those_that_are_not(limited: str, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("alter role rowvec_limited set temp_file_limit = '10MB'")
        connection.execute("alter role rowvec_limited nosuperuser")
        connection.execute("create extension if not exists vector")
        connection.execute("grant all on schema public to rowvec_limited")
    with closing(open_store(limited)) as store:
        lines = [line for line in store.checks(spec()) if line.what == "limits"]
    assert "statement_timeout = 0.5 s" in lines[0].detail
    assert "lifted on rowvec's own connections" in lines[0].detail
    assert "temp_file_limit = 10,240 kB, which rowvec may not lift" in lines[1].detail
    assert all(line.ok for line in lines)


def test_check_says_that_a_role_may_not_write(limited: str, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create extension vector")
        connection.execute("alter role rowvec_limited set default_transaction_read_only = on")
    with closing(open_store(limited)) as store:
        wrong = [line for line in store.checks(spec()) if not line.ok]
        assert [(line.what, "takes no writes" in line.detail) for line in wrong] == [("limits", True)]
        with pytest.raises(StoreError, match="takes no writes") as raised:
            store.prepare(spec())
        assert "default_transaction_read_only" in str(raised.value.hint)


def test_a_transaction_that_the_server_ended_for_its_length_may_pass_when_tried_again(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        if connection.info.server_version < 170000:
            pytest.skip("transaction_timeout came with PostgreSQL 17")
        connection.execute("set local transaction_timeout = '20ms'")
        with pytest.raises(StoreUnavailable, match="transaction timeout"), translated("there"):
            slow(connection)


def test_what_the_server_calls_a_deadlock_is_tried_again(postgres_url: str) -> None:
    """Of two that wait for each other it ends the one that looks first: ours."""
    tries: list[int] = []
    with closing(open_store(postgres_url)) as store, psycopg.connect(postgres_url) as other:
        store.prepare(spec()).write(WriteBatch(entries=[entry(1), entry(2)]))
        other.execute("set deadlock_timeout = '60s'")
        other.execute("select from things_vectors where id = 2 for update")

        def work(connection: psycopg.Connection[Any]) -> None:
            tries.append(1)
            connection.execute("set deadlock_timeout = '50ms'")
            with connection.transaction():
                connection.execute("select from things_vectors where id = 1 for update")
                if len(tries) == 1:
                    crossing.start()
                connection.execute("select from things_vectors where id = 2 for update")

        def cross() -> None:
            other.execute("select from things_vectors where id = 1 for update")
            other.rollback()

        crossing = threading.Thread(target=cross)
        store._write(work)
        crossing.join()
    assert len(tries) > 1


def test_a_reader_does_not_wait_for_others_without_a_limit(postgres_url: str) -> None:
    busy, done = threading.Event(), threading.Event()
    with closing(
        PostgresStore(postgres_url, "things_vectors", pipeline="things", readers=1, statement_seconds=0.5)
    ) as store:

        def hold(_: psycopg.Connection[Any]) -> None:
            busy.set()
            done.wait()

        holder = threading.Thread(target=store._read, args=(hold,))
        holder.start()
        busy.wait()
        try:
            with pytest.raises(StoreUnavailable, match="all 1 connections for reading were busy"):
                store.ledger()
        finally:
            done.set()
            holder.join()
        assert not store.ledger().exists
