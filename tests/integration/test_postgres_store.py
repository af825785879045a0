"""What the PostgreSQL store does beyond the contract of every store."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pgvector import HalfVector
from psycopg.conninfo import make_conninfo
from psycopg.types import TypeInfo

from rowvec.errors import Locked, StoreError, StoreUnavailable
from rowvec.stores.base import GenerationHandle, TableSpec, existing
from rowvec.stores.postgres.connect import connect, describe
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.runs import Report
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing import HashEmbedder
from rowvec.types import Column, ColumnType, Document, Entry, Failure, Key
from tests.support import digest, ended, forked

EMBEDDER = HashEmbedder(dimension=4)
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
STRANGE = ["", "a,b", "{a}", '"', "\\", "it's", "null", "NULL", "%s", "😀", " ", "a\nb"]
KEYS: dict[ColumnType, list[Key]] = {
    ColumnType.INTEGER: [-(2**63), -1, 0, 7, 2**63 - 1],
    ColumnType.TEXT: list(STRANGE),
    ColumnType.UUID: [UUID(int=number) for number in (0, 1, 2**128 - 1)],
}


def spec(key_type: ColumnType = ColumnType.INTEGER, *, language: str | None = None) -> TableSpec:
    return TableSpec("things", "id", key_type, 4, language=language, fingerprint=EMBEDDER.fingerprint, recipe="name")


def rows(store: PostgresStore, wanted: TableSpec | None = None) -> GenerationHandle:
    return existing(store, wanted or spec())


def entry(key: Key) -> Entry:
    text = f"text of {key}"
    return Entry(Document(key, text, (), digest(text), digest("")), EMBEDDER.embed_query(text), None)


def open_store(url: str) -> PostgresStore:
    return PostgresStore(url, "things_vectors", pipeline="things", index=None)


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = open_store(postgres_url)
    yield store
    store.close()


def value(url: str, statement: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("key_type", KEYS)
def test_keys_of_every_form_are_found_again(store: PostgresStore, key_type: ColumnType) -> None:
    keys = KEYS[key_type]
    filled = store.prepare(spec(key_type))
    filled.write(WriteBatch(entries=[entry(key) for key in keys]))
    assert {key: stored.text_hash for key, stored in filled.lookup(keys).items()} == {
        key: digest(f"text of {key}") for key in keys
    }


@pytest.mark.parametrize("key_type", KEYS)
def test_failures_are_found_beside_vectors_and_alone(store: PostgresStore, key_type: ColumnType) -> None:
    with_vector, alone, *_ = KEYS[key_type]
    failures = [Failure(key, "refused", 2, NOW, NOW, digest("new text")) for key in (with_vector, alone)]
    filled = store.prepare(spec(key_type))
    filled.write(WriteBatch(entries=[entry(with_vector)]))
    filled.write(WriteBatch(failures=failures))
    found = filled.lookup(KEYS[key_type])
    assert found.keys() == {with_vector, alone}
    for stored in found.values():
        assert stored.failure is not None
        assert (stored.failure.attempts, stored.failure.text_hash) == (2, digest("new text"))
    assert found[with_vector].text_hash == digest(f"text of {with_vector}")
    assert found[alone].text_hash is None


def test_a_reader_from_before_the_extension_reads_vectors_after_it(store: PostgresStore) -> None:
    assert not store.ledger().exists, "this opened a connection to a database without the extension"
    store.prepare(spec())
    rows(store).write(WriteBatch(entries=[entry(1)]))
    vector = rows(store).vector(1)
    assert vector is not None
    assert vector.shape == (4,)


def test_to_prepare_and_complete_what_is_so_already_writes_nothing(store: PostgresStore, postgres_url: str) -> None:
    store.prepare(spec())
    store.activate(spec())
    before = value(postgres_url, "select pg_current_xact_id()::text::bigint")
    store.prepare(spec())
    store.activate(spec())
    after = value(postgres_url, "select pg_current_xact_id()::text::bigint")
    assert isinstance(before, int)
    assert after == before + 1, "the only transaction that got a number was that of this question"


def test_the_search_path_of_a_long_lived_connection_does_not_grow(store: PostgresStore) -> None:
    def path(connection: psycopg.Connection[object]) -> object:
        return connection.execute("show search_path").fetchone()

    store.prepare(spec())
    before = store._write(path)
    store.prepare(spec())
    assert store._write(path) == before


def test_a_connection_without_a_search_path_finds_the_extension(store: PostgresStore, postgres_url: str) -> None:
    store.prepare(spec())
    with closing(open_store(make_conninfo(postgres_url, options="-c search_path="))) as other:
        other.prepare(spec())
        rows(other).write(WriteBatch(entries=[entry(1)]))
        assert rows(other).nearest(EMBEDDER.embed_query("text of 1"), 1).keys == [1]


def test_metadata_and_keywords_that_no_sync_has_made_yet_are_said(store: PostgresStore) -> None:
    store.prepare(spec())
    rows(store).write(WriteBatch(entries=[entry(1)]))
    wanted = replace(spec(language="english"), metadata=(Column("colour", ColumnType.TEXT),))
    for look in (lambda: rows(store, wanted).metadata([1]), lambda: rows(store, wanted).keyword("text", 1)):
        with pytest.raises(StoreError) as raised:
            look()
        assert "`rowvec sync` makes" in str(raised.value.hint)
    document = Document(1, "text of 1", ("red",), digest("text of 1"), digest(""))
    with pytest.raises(StoreError, match=r"no column for 'colour' of store\.metadata yet"):
        rows(store, wanted).auditor().inspect([document])


def test_the_temporary_tables_of_a_long_lived_connection_do_not_pile_up(store: PostgresStore) -> None:
    for key in range(5):
        store.prepare(spec())
        rows(store).write(WriteBatch(entries=[entry(key)]))
    count = "select count(*) from pg_class where relnamespace = pg_my_temp_schema() and relkind = 'r'"
    assert store._write(lambda connection: connection.execute(count).fetchone()) == (1,)


def test_a_table_of_another_precision_is_refused_with_what_to_set(store: PostgresStore, postgres_url: str) -> None:
    store.prepare(spec())
    other = replace(spec(), fingerprint=HashEmbedder(8, model="other").fingerprint, dimension=8)
    half = PostgresStore(postgres_url, "things_vectors", pipeline="things", storage="halfvec")
    with closing(half):
        for look, asked in ((half.prepare, spec()), (half.checks, spec()), (half.checks, other)):
            with pytest.raises(StoreError, match=r"holds vectors as vector, but store\.storage is halfvec"):
                look(asked)


def test_the_lock_names_its_process(store: PostgresStore, postgres_url: str) -> None:
    other = open_store(postgres_url)
    with store.lock(), pytest.raises(Locked, match=rf"rowvec pid {os.getpid()} on .*since \d{{4}}-"), other.lock():
        pytest.fail("two held the lock")
    with other.lock():
        pass
    other.close()


@pytest.fixture
def stranger(postgres_url: str, store: PostgresStore) -> Iterator[str]:
    """URL for a role that may read and write what `store` made, and owns nothing."""
    store.prepare(spec())
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create role rowvec_stranger login password 'pw'")
        for schema in ("public", "rowvec"):
            connection.execute(f"grant usage, create on schema {schema} to rowvec_stranger".encode())
            connection.execute(f"grant all on all tables in schema {schema} to rowvec_stranger".encode())
        yield make_conninfo(postgres_url, user="rowvec_stranger", password="pw")
        connection.execute("drop owned by rowvec_stranger cascade")
        connection.execute("drop role rowvec_stranger")


def test_a_role_that_may_not_see_since_when_hears_who_holds_the_lock(store: PostgresStore, stranger: str) -> None:
    with closing(open_store(stranger)) as other, store.lock():
        store.begin_run("things")
        assert [run.outcome for run in other.runs()] == ["running"]
        with pytest.raises(Locked, match=rf"rowvec pid {os.getpid()} on "), other.lock():
            pytest.fail("two held the lock")


def test_a_role_that_could_not_rename_the_table_hears_so_before_it_embeds(store: PostgresStore, stranger: str) -> None:
    rows(store).write(WriteBatch(entries=[entry(1)]))
    made = HashEmbedder(dimension=4, model="another").fingerprint
    with closing(open_store(stranger)) as other:
        other.prepare(spec())
        rows(other).write(WriteBatch(entries=[entry(2)]))
        for look in (other.prepare, other.checks):
            with pytest.raises(StoreError, match=r"'rowvec_stranger' could not .* does not own public.things_vectors"):
                look(replace(spec(), fingerprint=made))
    assert rows(store).count() == 2


def test_a_sync_in_another_database_of_the_server_holds_nothing_here(store: PostgresStore, server: str) -> None:
    store.prepare(spec())
    with store.lock():
        store.begin_run("things")
    with closing(open_store(server)) as elsewhere, elsewhere.lock():
        assert [run.outcome for run in store.runs()] == ["lost"]


def test_a_lock_that_is_let_go_while_its_holder_is_looked_for_is_taken(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = store._sessions.table_lock.holder
    with closing(open_store(postgres_url)) as other, ExitStack() as held:
        held.enter_context(other.lock())

        def holder(connection: psycopg.Connection[Any]) -> str | None:
            held.close()
            return find(connection)

        monkeypatch.setattr(store._sessions.table_lock, "holder", holder)
        with store.lock():
            pass


def test_the_lock_of_a_process_that_was_killed_in_a_long_statement_is_waited_for(
    store: PostgresStore, postgres_url: str
) -> None:
    """The server does not look at the connection before the statement ends."""

    def hold() -> None:
        other = open_store(postgres_url)
        with other.lock():
            other.begin_run("things")
            other._write(lambda connection: connection.execute("select pg_sleep(1.5)"))

    store.prepare(spec())
    holder = forked(hold)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        while not connection.execute("select 1 from pg_stat_activity where query ~ '^select pg_sleep'").fetchone():
            pass
        os.kill(holder, signal.SIGKILL)
        assert ended(holder) == -signal.SIGKILL
        assert [run.outcome for run in store.runs()] == ["lost"]
        assert connection.execute("select 1 from pg_locks where locktype = 'advisory' and granted").fetchone()
    with store.lock():
        pass


def test_a_connection_that_broke_is_opened_anew_and_takes_the_lock_again(
    store: PostgresStore, postgres_url: str
) -> None:
    store.prepare(spec())
    other = open_store(postgres_url)
    with store.lock():
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name like 'rowvec%' and pid <> pg_backend_pid()"
            )
        with pytest.raises(StoreUnavailable):
            rows(store).write(WriteBatch(entries=[entry(1)]))
        rows(store).write(WriteBatch(entries=[entry(1)]))
        with pytest.raises(Locked), other.lock():
            pytest.fail("the lock was lost with the connection")
    other.close()
    assert rows(store).count() == 1


def test_a_lock_that_the_server_still_keeps_for_a_connection_that_broke_here_is_taken_from_it(
    store: PostgresStore, postgres_url: str
) -> None:
    """As where the address of a machine has changed: nobody tells the server."""
    store.prepare(spec())
    with store.lock():
        writer = store._sessions._writer
        assert writer is not None
        kept_open = os.dup(writer.fileno())
        broken, other_end = socket.socketpair()
        other_end.close()
        os.dup2(broken.fileno(), writer.fileno())
        broken.close()
        with pytest.raises(StoreUnavailable):
            rows(store).write(WriteBatch(entries=[entry(1)]))
        assert held(postgres_url), "the server has not noticed"
        rows(store).write(WriteBatch(entries=[entry(1)]))
    os.close(kept_open)
    assert not held(postgres_url)
    assert rows(store).count() == 1


def held(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        # Other tests may be at work in other databases of the same server.
        return connection.execute(
            "select pid from pg_locks where locktype = 'advisory' and granted"
            " and database = (select oid from pg_database where datname = current_database())"
        ).fetchall()


@pytest.mark.parametrize(
    "url",
    ["postgresql://ada:s3cret@db.example:6543/shop", "host=db.example port=6543 user=ada password=s3cret dbname=shop"],
)
def test_a_database_is_named_without_its_password(url: str) -> None:
    assert describe(url) == "ada@db.example:6543/shop"


@pytest.mark.parametrize(
    "table", ["unfit", "deletions", "refusals", "identity", "failures", "stops", "evaluations", "spending"]
)
def test_a_table_of_rowvecs_own_that_was_lost_is_made_again(
    store: PostgresStore, postgres_url: str, table: str
) -> None:
    store.prepare(spec(ColumnType.TEXT) if table == "failures" else spec())
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"drop table rowvec.{table}".encode())
    with closing(open_store(postgres_url)) as other:
        text_keys = spec(ColumnType.TEXT) if table == "failures" else spec()
        other.prepare(text_keys)
        now = dt.datetime.now(dt.UTC)
        long = Failure("k" * 3000, "refused", 1, now, now, digest("bad"))
        rows(other, text_keys).write(WriteBatch(failures=[long] if table == "failures" else []))
        other.save_evaluation({"queries": 1})
        other.spend(0.25)
        with other.lock():
            run = other.begin_run("items")
            other.ask_to_stop(run)
            assert other.save_run(run, Report(), "running") is True
        assert (len(other.evaluations()), other.totals().rerank_cost) == (1, 0.25)


def test_types_that_an_update_of_the_extension_brought_are_known_to_the_next_connection(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as former:
        former.execute("create extension if not exists vector")
        former.commit()
        vector = TypeInfo.fetch(former, "vector")
        assert vector is not None
        # As it was with pgvector 0.6.
        vector.register(former)
        with closing(connect(postgres_url, "test", like=former)) as connection:
            (half,) = connection.execute("select '[1, 2]'::halfvec").fetchone() or ("",)
    assert isinstance(half, HalfVector)
