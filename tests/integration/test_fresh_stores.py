"""A store made at once is like one that went through every version, and a run does not read again what it has read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rowvec.errors import GenerationChanged
from rowvec.stores.libsql import migrations as file_migrations
from rowvec.stores.libsql.database import Statement
from rowvec.stores.libsql.local import LocalDatabase
from rowvec.stores.libsql.schema import BOOKKEEPING as FILE_TABLES
from rowvec.stores.postgres import migrations
from rowvec.stores.postgres.books import Bookkeeping
from rowvec.stores.postgres.schema import BOOKKEEPING
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.write_batch import WriteBatch
from rowvec.syncing.run import sync
from rowvec.types import Document, Entry
from tests.support import digest, simple_pipeline

SHAPE = (
    """select table_name, column_name, ordinal_position, data_type, is_nullable, column_default, identity_generation
       from information_schema.columns where table_schema = 'rowvec' order by 1, 3""",
    """select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
       where connamespace = 'rowvec'::regnamespace order by 1, 2""",
    "select tablename, indexname, indexdef from pg_indexes where schemaname = 'rowvec' order by 1, 2",
    "select relname, relacl::text from pg_class where relnamespace = 'rowvec'::regnamespace order by 1",
    "select version from rowvec.meta order by 1",
)


class Counted(LocalDatabase):
    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.create()
        self.transactions = 0

    def transact(self, statements: Sequence[Statement]) -> Any:
        self.transactions += 1
        return super().transact(statements)

    def shape(self) -> list[list[tuple[Any, ...]]]:
        own = "select type, name, tbl_name, sql from sqlite_master order by type, name"
        return [self.query(own), self.query("select version from rowvec_meta order by version")]


def test_a_fresh_file_is_made_in_one_transaction_and_is_like_an_upgraded_one(tmp_path: Path) -> None:
    oldest, fresh = Counted(tmp_path / "oldest.db"), Counted(tmp_path / "fresh.db")
    oldest.transact([Statement(sql) for sql in FILE_TABLES])
    steps = len(file_migrations.MIGRATIONS)
    assert len(file_migrations.upgrade(oldest)) == len(file_migrations.upgrade(fresh)) == steps
    assert (oldest.transactions, fresh.transactions) == (steps + 1, 1)
    assert oldest.shape() == fresh.shape()
    assert {"rowvec_unfit", "rowvec_placements", "rowvec_spending"} <= {name for _, name, *_ in fresh.shape()[0]}
    assert len(fresh.query("select id from rowvec_identity")) == 1
    assert file_migrations.upgrade(fresh) == []


def test_a_file_that_an_older_program_began_meanwhile_is_brought_up_to_date(tmp_path: Path) -> None:
    fresh, other = Counted(tmp_path / "fresh.db"), Counted(tmp_path / "other.db")
    file_migrations.upgrade(other)

    def slower(statements: Sequence[Statement]) -> Any:
        fresh.transact = Counted.transact.__get__(fresh)  # type: ignore[method-assign]
        for step in file_migrations.MIGRATIONS[:4]:
            fresh.transact([*step.work(fresh), file_migrations._record(step.number)])
        return fresh.transact(statements)

    fresh.transact = slower  # type: ignore[method-assign]
    file_migrations.upgrade(fresh)
    assert fresh.shape() == other.shape()


def test_fresh_books_are_made_in_one_transaction_and_are_like_upgraded_ones(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:

        def shape() -> list[list[tuple[Any, ...]]]:
            return [connection.execute(sql).fetchall() for sql in SHAPE]  # type: ignore[arg-type]

        def transactions() -> int:
            found = connection.execute("select count(distinct xmin::text) from rowvec.meta").fetchone()
            assert found is not None
            return int(found[0])

        steps = len(migrations.MIGRATIONS)
        connection.execute("create schema rowvec")
        connection.execute(BOOKKEEPING)
        assert len(migrations.upgrade(connection, "here", create=True) or ()) == steps
        upgraded, each = shape(), transactions()
        connection.execute("drop schema rowvec cascade")
        assert migrations.upgrade(connection, "here", create=False) is None
        assert len(migrations.upgrade(connection, "here", create=True) or ()) == steps
        assert (each, transactions()) == (steps, 1)
        assert shape() == upgraded
        assert migrations.upgrade(connection, "here", create=False) == []


ROWS = {number: f"thing {number}" for number in range(20)}


def test_a_sync_with_nothing_to_do_reads_the_books_once_for_each_decision(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(postgres_url, "vectors", pipeline="things")
    pipeline = simple_pipeline(store=store, rows=ROWS)
    assert sync(pipeline).inserted == 20
    read: list[object] = []
    known = Bookkeeping.known
    monkeypatch.setattr(Bookkeeping, "known", lambda self, connection: read.append(1) or known(self, connection))
    assert sync(pipeline).unchanged == 20
    store.close()
    # The ledger; what takes long, before the transaction; in it; what was filled; whether that is live.
    assert len(read) == 5


def test_books_that_are_dropped_beside_us_are_missed_and_made_again(postgres_url: str) -> None:
    store = PostgresStore(postgres_url, "vectors", pipeline="things")
    pipeline = simple_pipeline(store=store, rows=ROWS)
    sync(pipeline)
    assert store.ledger().fingerprint is not None
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("drop schema rowvec cascade")
    assert store.ledger().fingerprint is None
    assert sync(pipeline).unchanged == 20
    assert store.ledger().fingerprint is not None
    store.close()


def test_what_was_read_once_is_proven_again_by_the_write(postgres_url: str) -> None:
    store = PostgresStore(postgres_url, "vectors", pipeline="things")
    pipeline = simple_pipeline(store=store, rows=ROWS)
    sync(pipeline)
    with store.lock():
        generation = store.prepare(pipeline.spec)
        new = Document(21, "new", ("new", 1), digest("new"), digest("new, 1"))
        vector = pipeline.embedder.embed_query("new")
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("update rowvec.generations set changed_at = now() + interval '1 second'")
        with pytest.raises(GenerationChanged):
            generation.write(WriteBatch([Entry(new, vector, None)]))
    store.close()
