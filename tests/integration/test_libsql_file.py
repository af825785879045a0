"""What the libSQL store does with the files that people have: foreign, damaged, full, shared, changed by hand."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rowvec.errors import ConfigError, DataRefused, Locked, StoreError, StoreUnavailable
from rowvec.filters import Compare, Op
from rowvec.stores.base import GenerationHandle, TableSpec, existing
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.libsql.database import Statement
from rowvec.stores.libsql.local import LocalDatabase
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.words import MANY_PARTS, KeptWords
from rowvec.stores.runs import Report
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.killpoints import Step
from rowvec.testing import HashEmbedder
from rowvec.types import Column, ColumnType, Document, Entry, Stored, Unfit
from tests.support import digest

DIMENSION = 8
EMBEDDER = HashEmbedder(DIMENSION)
SPEC = TableSpec("items", "id", ColumnType.INTEGER, DIMENSION, (Column("name", ColumnType.TEXT),))


def rows(store: LibsqlStore, spec: TableSpec = SPEC) -> GenerationHandle:
    return existing(store, spec)


def entry(key: int, text: str, *metadata: object, expected: bytes | None = None) -> Entry:
    values = metadata or (text,)
    return Entry(Document(key, text, values, digest(text), digest(repr(values))), EMBEDDER.embed_query(text), expected)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors.db"


def opened(path: Path | str, spec: TableSpec = SPEC) -> LibsqlStore:
    store = LibsqlStore(str(path), table="items")
    store.prepare(spec)
    return store


@pytest.fixture
def store(path: Path) -> Iterator[LibsqlStore]:
    store = opened(path)
    yield store
    store.close()


def by_hand(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """What somebody does to the file with another tool; gives the rows of the last statement."""
    database = LocalDatabase(str(path))
    rows = [database.query(sql) for sql in statements][-1]
    database.close()
    return rows


# Files


def test_asking_a_file_that_is_not_there_makes_none(path: Path) -> None:
    store = LibsqlStore(str(path), table="items")
    assert store.ledger().exists is False
    assert all(check.ok for check in store.checks(SPEC))
    assert not path.exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"folder .*nowhere does not exist"):
        opened(tmp_path / "nowhere" / "vectors.db")


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        opened(tmp_path)


def test_a_file_of_something_else_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_text("a letter, not a database. " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not a libSQL or SQLite database"):
        opened(path)
    assert path.read_bytes() == before


def test_a_damaged_file_is_told_from_a_foreign_one(path: Path) -> None:
    store = opened(path)
    rows(store).write(WriteBatch([entry(key, f"item {key}") for key in range(500)]))
    store.close()
    by_hand(path, "pragma wal_checkpoint(truncate)")
    damaged = bytearray(path.read_bytes())
    damaged[4096:] = os.urandom(len(damaged) - 4096)
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match="damaged") as caught:
        rows(opened(path)).lookup([1])
    assert caught.value.hint is not None


def test_a_file_that_may_only_be_read_can_be_searched_and_not_written(store: LibsqlStore, path: Path) -> None:
    rows(store).write(WriteBatch([entry(1, "lamp")]))
    reader = opened(f"file:{path}?mode=ro")
    assert rows(reader).nearest(EMBEDDER.embed_query("lamp"), 1).keys == [1]
    assert rows(reader).keyword("lamp", 1).keys == [1]
    with pytest.raises(StoreError, match="can be read but not written"):
        rows(reader).write(WriteBatch([entry(2, "chair")]))
    with pytest.raises(StoreError, match="can be read but not written"):
        opened(f"file:{path}?mode=ro", replace(SPEC, language="simple"))
    reader.close()


def test_a_write_that_finds_no_room_changes_nothing_and_succeeds_later(store: LibsqlStore, path: Path) -> None:
    rows(store).write(WriteBatch([entry(1, "lamp")]))
    batch = WriteBatch([entry(key, f"item {key} " * 50) for key in range(2, 500)], deletes=[1])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name("vectors.db-wal").stat().st_size, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"disk") as caught:
            rows(store).write(batch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.hint is not None
    assert rows(store).keys(None, 10) == [1]
    assert rows(store).write(batch) == 0
    assert rows(store).count() == 498


def test_a_closed_store_says_so(path: Path) -> None:
    store = opened(path)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        rows(store).count()


def test_an_unknown_metric_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="manhattan"):
        LibsqlStore(str(path), table="items", metric="manhattan")


# Tables


def test_a_table_that_rowvec_did_not_make_is_refused_and_kept(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table items (id integer primary key, name text)")
        connection.execute("insert into items values (1, 'mine')")
    connection.close()
    with pytest.raises(StoreError, match="not made by rowvec"):
        opened(path)
    assert by_hand(path, "select * from items") == [(1, "mine")]


def test_a_table_is_adopted_when_only_its_bookkeeping_is_gone(store: LibsqlStore, path: Path) -> None:
    rows(store).write(WriteBatch([entry(1, "lamp")]))
    by_hand(path, "drop table rowvec_generations")
    again = opened(path)
    assert again.ledger().filled
    assert rows(again).nearest(EMBEDDER.embed_query("lamp"), 1).keys == [1]


def test_another_metric_is_refused(store: LibsqlStore, path: Path) -> None:
    with pytest.raises(StoreError, match="metric is cosine, the pipeline asks for l2"):
        LibsqlStore(str(path), table="items", metric="l2").prepare(SPEC)


def test_a_metadata_column_added_to_the_settings_is_added_to_the_table(store: LibsqlStore, path: Path) -> None:
    rows(store).write(WriteBatch([entry(1, "lamp")]))
    wider = replace(SPEC, metadata=(*SPEC.metadata, Column("price", ColumnType.NUMBER)))
    again = rows(opened(path, wider), wider)
    assert again.metadata([1]) == {1: {"name": "lamp", "price": None}}
    again.write(WriteBatch([entry(2, "chair", "chair", 9.5)]))
    assert again.nearest(EMBEDDER.embed_query("lamp"), 5, Compare("price", Op.GT, 9)).keys == [2]


def test_a_column_whose_name_changes_its_case_in_the_source_is_the_same_column(store: LibsqlStore, path: Path) -> None:
    rows(store).write(WriteBatch([entry(1, "lamp")]))
    spec = replace(SPEC, metadata=(Column("Name", ColumnType.TEXT),))
    again = opened(path, spec)
    assert rows(again, spec).metadata([1]) == {1: {"Name": "lamp"}}
    again.close()


def test_a_value_that_does_not_fit_its_column_is_named(store: LibsqlStore) -> None:
    with pytest.raises(StoreError, match=r"Row 7.*'name'"):
        rows(store).write(WriteBatch([entry(7, "lamp", 5)]))


def test_two_tables_in_one_file_know_nothing_of_each_other(store: LibsqlStore, path: Path) -> None:
    other = LibsqlStore(str(path), table="others")
    other.prepare(replace(SPEC, pipeline="others", key_type=ColumnType.TEXT))
    rows(store).write(WriteBatch([entry(1, "lamp")]))
    with store.lock(), other.lock():
        other.begin_run("items")
    assert (rows(other).count(), rows(store).count()) == (0, 1)
    assert (len(other.runs()), store.runs()) == (1, [])


def test_another_language_brings_every_row_back_for_its_words(store: LibsqlStore, path: Path) -> None:
    rows(store).write(WriteBatch([entry(1, "running lamps")]))
    assert rows(store).keyword("lamp", 5).keys == [1]
    spec = replace(SPEC, language="simple")
    simple = rows(opened(path, spec), spec)
    assert simple.lookup([1])[1].row_hash == bytes(16)
    simple.write(WriteBatch(updates=[entry(1, "running lamps").document]))
    assert simple.keyword("lamp", 5).keys == []
    assert simple.keyword("lamps", 5).keys == [1]


# Changes by hand


def test_a_row_deleted_by_hand_leaves_the_keywords_too_and_can_come_back(store: LibsqlStore, path: Path) -> None:
    rows(store).write(WriteBatch([entry(1, "lamp"), entry(2, "chair")]))
    by_hand(path, "delete from items where id = 1")
    assert rows(store).lookup([1]) == {}
    assert rows(store).keyword("lamp", 5).keys == []
    assert rows(store).write(WriteBatch([entry(1, "lamp")])) == 0
    assert rows(store).keyword("lamp", 5).keys == [1]


def test_a_vector_set_to_null_by_hand_is_missing_and_is_put_back(store: LibsqlStore, path: Path) -> None:
    rows(store).write(WriteBatch([entry(1, "lamp")]))
    by_hand(path, "update items set embedding = null")
    assert rows(store).lookup([1]) == {1: Stored(None, None)}
    assert rows(store).nearest(EMBEDDER.embed_query("lamp"), 5).keys == []
    assert rows(store).write(WriteBatch([entry(1, "lamp", expected=None)])) == 0
    assert rows(store).nearest(EMBEDDER.embed_query("lamp"), 5).keys == [1]


def test_vacuuming_a_file_with_text_keys_keeps_words_and_rows_together(path: Path) -> None:
    spec = replace(SPEC, key_type=ColumnType.TEXT)
    store = opened(path, spec)
    rows(store, spec).write(WriteBatch([entry(f"k{n}", f"word{n}") for n in range(20)]))  # type: ignore[arg-type]
    rows(store, spec).write(WriteBatch(deletes=[f"k{n}" for n in range(0, 20, 2)]))
    store.close()
    by_hand(path, "vacuum")
    assert rows(opened(path, spec), spec).keyword("word7", 5).keys == ["k7"]


# Several processes


def test_a_store_gives_up_when_another_connection_writes_for_too_long(store: LibsqlStore, path: Path) -> None:
    impatient = LocalDatabase(str(path), patience=0.2)

    def interfere() -> None:
        with pytest.raises(StoreUnavailable, match="another process is writing"):
            impatient.transact([])
        assert rows(store).count() == 0

    LocalDatabase(str(path)).transact([], before_commit=interfere)
    assert rows(store).write(WriteBatch([entry(1, "lamp")])) == 0
    impatient.close()


def test_a_store_waits_for_another_connection_that_writes(store: LibsqlStore, path: Path) -> None:
    writing = threading.Event()
    waited = threading.Thread(target=lambda: writing.wait(30) and rows(store).write(WriteBatch([entry(1, "lamp")])))
    waited.start()

    def hold() -> None:
        writing.set()
        waited.join(0.3)
        assert waited.is_alive()

    LocalDatabase(str(path)).transact([], before_commit=hold)
    waited.join()
    assert rows(store).count() == 1


HOLDER = """
    import sys, time
    from rowvec.stores.libsql import LibsqlStore
    from tests.integration.test_libsql_file import SPEC
    store = LibsqlStore(sys.argv[1], table="items")
    store.prepare(SPEC)
    with store.lock():
        store.begin_run("items")
        print("holding", flush=True)
        time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free_at_once_and_its_run_is_lost(store: LibsqlStore, path: Path) -> None:
    program = [sys.executable, "-c", textwrap.dedent(HOLDER), str(path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        with pytest.raises(Locked, match=f"process {holder.pid} on "), store.lock():
            pytest.fail("both hold the lock")
        assert store.runs()[0].outcome == "running"
        holder.send_signal(signal.SIGKILL)
    with store.lock():
        assert store.runs()[0].outcome == "lost"


def test_a_lock_from_another_machine_ends_when_it_is_silent_for_long(store: LibsqlStore, path: Path) -> None:
    values = "'items', 't', 'elsewhere', 1, 'process 1 on elsewhere', '2026-03-01T12:00', julianday('now') * 86400"
    by_hand(path, f"insert into rowvec_locks values ({values})")
    with pytest.raises(Locked, match="process 1 on elsewhere, since 2026-03-01"), store.lock():
        pytest.fail("both hold the lock")
    by_hand(path, "update rowvec_locks set beat = beat - 61")
    with store.lock():
        assert rows(store).count() == 0


def write_for_ever(store: LibsqlStore) -> None:
    while True:
        rows(store).write(WriteBatch(deletes=[1]))
        time.sleep(0.01)


def test_a_sync_that_was_silent_for_so_long_that_it_lost_its_lock_writes_no_more(
    store: LibsqlStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowvec.stores.libsql.lease.LEASE_SECONDS", 0.2)
    with store.lock():
        by_hand(path, "update rowvec_locks set token = 'of somebody else'")
        with pytest.raises(Locked, match="another one has its lock now"):
            write_for_ever(store)
    assert by_hand(path, "select token from rowvec_locks") == [("of somebody else",)]


KILLED = """
    import os, signal, sys
    from rowvec.support import killpoints
    from rowvec.stores.libsql import LibsqlStore
    from rowvec.stores.write_batch import WriteBatch
    from tests.integration.test_libsql_file import SPEC, entry, rows
    store = LibsqlStore(sys.argv[1], table="items")
    store.prepare(SPEC)
    rows(store).write(WriteBatch([entry(1, "lamp")]))
    killpoints.observer = lambda step: step == sys.argv[2] and os.kill(os.getpid(), signal.SIGKILL)
    changed = entry(1, "red lamp", expected=entry(1, "lamp").document.text_hash)
    rows(store).write(WriteBatch([entry(2, "chair"), changed]))
"""


@pytest.mark.parametrize(
    ("step", "left"), [(Step.WRITE_BEFORE_COMMIT, ["lamp"]), (Step.WRITE_AFTER_COMMIT, ["red lamp", "chair"])]
)
def test_a_batch_is_whole_or_absent_after_a_kill(path: Path, step: Step, left: list[str]) -> None:
    program = [sys.executable, "-c", textwrap.dedent(KILLED), str(path), step]
    ended = subprocess.run(program, cwd=Path(__file__).parents[2], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    store = opened(path)
    keys = rows(store).keys(None, 10)
    assert [values["name"] for values in rows(store).metadata(keys).values()] == left
    assert [rows(store).keyword(name.split()[-1], 1).keys for name in left] == [[key] for key in keys]
    assert by_hand(path, "pragma integrity_check") == [("ok",)]


def test_malformed_json_in_an_index_of_the_users_own_is_about_the_row(store: LibsqlStore, path: Path) -> None:
    by_hand(path, "create index own on items (json_extract(name, '$.a'))")
    with pytest.raises(DataRefused, match="malformed JSON"):
        rows(store).write(WriteBatch([entry(1, "a lamp", "not JSON")]))


@pytest.mark.parametrize("table", ["unfit", "deletions", "refusals", "identity", "stops", "evaluations", "spending"])
def test_a_table_of_rowvecs_own_that_was_lost_is_made_again(store: LibsqlStore, path: Path, table: str) -> None:
    by_hand(path, f"drop table rowvec_{table}")
    with closing(LibsqlStore(str(path), table="items")) as other:
        other.prepare(SPEC)
        assert rows(other).write(WriteBatch([entry(1, "lamp", "a name")])) == 0
        other.save_evaluation({"queries": 1})
        other.spend(0.25)
        with other.lock():
            run = other.begin_run("items")
            other.ask_to_stop(run)
            assert other.save_run(run, Report(), "running") is True
        assert (len(other.evaluations()), other.totals().rerank_cost) == (1, 0.25)


def test_a_list_of_unfit_metadata_that_is_empty_costs_a_large_batch_one_question(
    store: LibsqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    query, transact = LocalDatabase.query, LocalDatabase.transact

    def counted(database: LocalDatabase, sql: str, *given: object) -> object:
        asked.append(sql)
        return query(database, sql, *given)  # type: ignore[arg-type]

    def carried_out(database: LocalDatabase, statements: Sequence[Statement], **given: object) -> object:
        asked.extend(statement.sql for statement in statements)
        return transact(database, statements, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalDatabase, "query", counted)
    monkeypatch.setattr(LocalDatabase, "transact", carried_out)

    def about_unfit(batch: WriteBatch) -> int:
        asked.clear()
        rows(store).write(batch)
        return sum("rowvec_unfit" in sql for sql in asked)

    made = [entry(key, f"text {key}") for key in range(500)]
    assert about_unfit(WriteBatch(entries=made)) == 1
    bad = made[7]._replace(document=made[7].document._replace(unfit=(Unfit("name", "too long"),)))
    assert about_unfit(WriteBatch(entries=[bad])) == 2
    assert [each.key for each in rows(store).unfit()] == [7]
    assert about_unfit(WriteBatch(updates=[each.document for each in made])) == 1 + 1
    assert rows(store).unfit() == []


def test_words_that_are_written_while_parts_are_made_one_are_kept(store: LibsqlStore, path: Path) -> None:
    spec, tables = replace(SPEC, keeps_words=True), Tables("items")
    store.prepare(spec)
    with closing(LocalDatabase(str(path))) as database:
        words = KeptWords(database, tables, spec)
        add = f"insert into {tables.kept_words} (words) values (?)"
        database.transact([Statement(add, (f"word{number}",)) for number in range(MANY_PARTS + 1)])
        tidied = words.tidied()
        database.transact([Statement(add, ("meanwhile",))])
        before = words.parts() or {}
        database.transact(tidied)
        # As after an answer that was lost.
        database.transact(tidied)
        after = words.parts() or {}
    assert set(" ".join(before.values()).split()) == set(" ".join(after.values()).split())
    assert len(after) == 3


def test_every_number_and_every_byte_is_stored_to_the_last_bit(path: Path) -> None:
    columns = (Column("n", ColumnType.NUMBER), Column("i", ColumnType.INTEGER), Column("b", ColumnType.BYTES))
    spec = replace(SPEC, metadata=columns)
    numbers = [0.1, 9.99, 1e300, 5e-324, float("inf"), -1e-40, 2.0**70, 3, None, 0.1 + 0.2]
    integers = [0, 2**63 - 1, -(2**63), 2**53 + 1, None, 1, 2, 3, 4, 5]
    parts = [b"", b"\0\xff", None, b"x" * 3000, *[b"\x80"] * 6]
    told = list(zip(numbers, integers, parts, strict=True))
    with closing(opened(path, spec)) as store:
        live = rows(store, spec)

        def stored() -> list[tuple[object, ...]]:
            found = live.metadata(list(range(len(told))))
            return [tuple(found[key].values()) for key in range(len(told))]

        assert live.write(WriteBatch(entries=[entry(key, "a", *each) for key, each in enumerate(told)])) == 0
        assert stored() == told
        turned = told[::-1]
        entries = [entry(key, "a", *each, expected=digest("a")) for key, each in enumerate(turned)]
        assert live.write(WriteBatch(updates=[each.document for each in entries])) == 0
        assert stored() == turned
        stale = [
            each._replace(expected=digest("another"))
            for each in map(entry, range(3), "bcd", *zip(*told[:3], strict=True))
        ]
        assert live.write(WriteBatch(entries=stale)) == 3
        assert stored() == turned, "what another has written meanwhile stays"
