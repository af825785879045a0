"""Rows that a store refuses: each costs itself and is listed with its reason; all others are stored in the same run."""

from __future__ import annotations

import csv
import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from rowvec.errors import DataRefused, StoreError
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.events.files import EventFiles
from rowvec.sources.events.stream import EventSettings
from rowvec.stores.base import Store
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.write_batch import WriteBatch
from rowvec.syncing import refusals
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from rowvec.testing.generation import MemoryGeneration
from rowvec.types import Embedded, Vectors
from tests.integration.debezium_rig import lines, put
from tests.integration.stores_rig import Open
from tests.support import rows_of, simple_pipeline, vectors_match_rows


def in_table(store: Store, *statements: str) -> None:
    """Carry out statements of an owner of the table; a libSQL file is open in this process already."""
    if isinstance(store, PostgresStore):
        with psycopg.connect(store._sessions._url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())
    else:
        assert isinstance(store, LibsqlStore)
        from rowvec.stores.libsql.database import Statement

        store._database.transact([Statement(statement) for statement in statements])


def rows(count: int) -> dict[Any, str]:
    return {key: f"row {key}" for key in range(count)}


def refuse_forbidden(store: Store) -> None:
    """A rule of the user's own over the rows of 13."""
    if isinstance(store, PostgresStore):
        in_table(store, "alter table vectors add constraint no_thirteen check (price <> 13)")
        return
    in_table(
        store,
        "create trigger no_thirteen before insert on vectors when new.price = 13 begin"
        " select raise(abort, 'thirteen is not sold here'); end",
    )


def fill(pipeline: Pipeline, count: int) -> MemorySource:
    assert isinstance(pipeline.source, MemorySource)
    pipeline.source.rows.update({key: {"id": key, "name": name, "price": 1} for key, name in rows(count).items()})
    return pipeline.source


def priced(pipeline: Pipeline, bad: Sequence[int]) -> None:
    assert isinstance(pipeline.source, MemorySource)
    for key in bad:
        pipeline.source.rows[key]["price"] = 13


def test_a_key_too_long_for_the_stores_index_costs_itself(postgres_url: str, data: Path) -> None:
    with (data / "cases" / "long_key.csv").open(newline="") as file:
        given = list(csv.DictReader(file))
    name = next(column for column in given[0] if column != "id")
    named = {row["id"]: row[name] or "x" for row in given}
    store = PostgresStore(postgres_url, "vectors", pipeline="things")
    source = MemorySource({key: {"name": text, "price": 1} for key, text in named.items()})
    pipeline = simple_pipeline(source, store)
    report = sync(pipeline)
    (failure,) = rows_of(pipeline).failures()
    assert len(str(failure.key)) > 2704
    assert "index row size" in failure.error
    assert (report.inserted, report.failed) == (len(given) - 1, 1)
    assert rows_of(pipeline).count() == len(given)
    again = sync(pipeline)
    assert (again.texts, again.waiting, again.unchanged) == (0, 1, len(given) - 1), "it waits, and nothing is paid"
    retried = sync(pipeline, Options(retry_failed=True))
    assert (retried.failed, rows_of(pipeline).failures()[0].attempts) == (1, 2)
    store.close()


@pytest.mark.parametrize(("count", "bad_rows"), [(1000, 1), (1000, 20), (250, 50)])
def test_a_rule_of_the_users_own_costs_the_metadata_that_breaks_it_and_no_vector(
    opened: Open, count: int, bad_rows: int
) -> None:
    bad = random.Random(1).sample(range(count), bad_rows)
    pipeline = simple_pipeline(store=opened(), rows={})
    sync(pipeline)
    refuse_forbidden(pipeline.store)
    fill(pipeline, count)
    priced(pipeline, bad)
    report = sync(pipeline)
    assert (report.inserted, report.failed, report.unfit) == (count, 0, len(bad))
    listed = rows_of(pipeline).unfit()
    assert sorted(int(each.key) for each in listed) == sorted(bad)
    assert {each.column for each in listed} == {"price"}
    assert rows_of(pipeline).status().unfit == len(bad)
    vectors_match_rows(pipeline, rows(count))
    assert rows_of(pipeline).metadata([bad[0]]) == {bad[0]: {"price": None}}
    assert sync(pipeline).unchanged == count


def test_corrected_and_deleted_metadata_leaves_the_list(opened: Open) -> None:
    pipeline = simple_pipeline(store=opened(), rows={})
    sync(pipeline)
    refuse_forbidden(pipeline.store)
    source = fill(pipeline, 10)
    priced(pipeline, [2, 3, 4])
    sync(pipeline)
    assert [each.key for each in rows_of(pipeline).unfit()] == [2, 3, 4]
    source.rows[2]["price"] = 5
    del source.rows[3]
    sync(pipeline)
    assert [each.key for each in rows_of(pipeline).unfit()] == [4]
    assert [each.key for each in rows_of(pipeline).unfit([4, 5])] == [4]
    assert rows_of(pipeline).metadata([2]) == {2: {"price": 5}}


@pytest.mark.parametrize("factor", [1e5, 1e-9])
def test_a_vector_that_half_precision_cannot_hold_costs_its_row_alone(postgres_url: str, factor: float) -> None:
    def spoil(vectors: Vectors) -> Vectors:
        vectors[1] *= np.float32(factor) / np.abs(vectors[1]).max()
        return vectors

    store = PostgresStore(postgres_url, "vectors", pipeline="things", storage="halfvec")
    embedder = HashEmbedder(chunk_texts=20)
    embedder.spoil = spoil
    pipeline = simple_pipeline(store=store, rows=rows(20), embedder=embedder)
    report = sync(pipeline)
    assert (report.inserted, report.failed) == (19, 1)
    [failure] = rows_of(pipeline).failures()
    assert f"vector is {factor:.6g}" in failure.error and "65,504" in failure.error and "store.storage" in failure.error
    store.close()


@pytest.mark.parametrize(("count", "bad_rows"), [(1000, 1), (1000, 20), (250, 50)])
def test_rows_that_a_trigger_refuses_fail_alone(postgres_url: str, count: int, bad_rows: int) -> None:
    bad = random.Random(2).sample(range(count), bad_rows)
    store = PostgresStore(postgres_url, "vectors", pipeline="things")
    pipeline = simple_pipeline(store=store, rows={})
    sync(pipeline)
    in_table(
        store,
        f"create table refused as select unnest(array{bad}) as id",
        "create function look() returns trigger language plpgsql as $$ begin if exists (select from refused r"
        " where r.id = new.id) then raise exception 'not that one' using errcode = 'XY123'; end if; return new; end $$",
        "create trigger look before insert on vectors for each row execute function look()",
    )
    fill(pipeline, count)
    report = sync(pipeline)
    assert (report.inserted, report.failed) == (count - len(bad), len(bad))
    failures = rows_of(pipeline).failures()
    assert sorted(int(failure.key) for failure in failures) == sorted(bad)
    assert all("not that one" in failure.error for failure in failures)
    retried = sync(pipeline, Options(retry_failed=True))
    assert (retried.inserted, retried.failed) == (0, len(bad))
    in_table(store, "drop trigger look on vectors")
    assert sync(pipeline, Options(retry_failed=True)).inserted == len(bad)
    assert rows_of(pipeline).failures() == []
    store.close()


def test_a_deletion_that_a_foreign_key_refuses_costs_itself(postgres_url: str) -> None:
    store = PostgresStore(postgres_url, "vectors", pipeline="things")
    pipeline = simple_pipeline(store=store, rows=rows(20))
    sync(pipeline)
    in_table(store, "create table pins (id bigint references vectors (id))", "insert into pins values (3)")
    assert isinstance(pipeline.source, MemorySource)
    for key in (2, 3, 4):
        del pipeline.source.rows[key]
    report = sync(pipeline)
    assert (report.deleted, report.failed) == (2, 1)
    (failure,) = rows_of(pipeline).failures()
    assert failure.key == 3
    assert "foreign key" in failure.error
    in_table(store, "drop table pins")
    assert sync(pipeline).deleted == 1
    assert rows_of(pipeline).failures() == []
    store.close()


def test_what_is_not_of_the_data_is_not_halved(postgres_url: str) -> None:
    store = PostgresStore(postgres_url, "vectors", pipeline="things")
    pipeline = simple_pipeline(store=store, rows={})
    sync(pipeline)
    in_table(
        store,
        "create sequence tries",
        "create function full_disk() returns trigger language plpgsql as $$ begin perform nextval('tries');"
        " raise exception 'no space left' using errcode = '53100'; end $$",
        "create trigger full_disk before insert on vectors execute function full_disk()",
    )
    fill(pipeline, 100)
    with pytest.raises(StoreError, match="no space left") as caught:
        sync(pipeline)
    assert not isinstance(caught.value, DataRefused)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select last_value from tries").fetchone() <= (2,)  # type: ignore[operator]
    assert rows_of(pipeline).failures() == []
    store.close()


class Refusing(MemoryGeneration):
    """Refuses batches with one of the `bad` keys, or all of them."""

    bad: frozenset[int] | None = frozenset()
    tries = 0

    def write(self, batch: WriteBatch) -> int:
        keys = {entry.document.key for entry in batch.entries} | set(batch.deletes)
        type(self).tries += 1
        if keys and (self.bad is None or keys & self.bad):
            raise DataRefused("The store refuses it.")
        return super().write(batch)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Refusing]]:
    monkeypatch.setattr(MemoryStore, "handle", Refusing)
    Refusing.tries = 0
    yield Refusing
    Refusing.bad = frozenset()


def test_the_tries_that_bad_rows_cost_are_bounded(refusing: type[Refusing]) -> None:
    pipeline = simple_pipeline(rows=rows(2000))
    refusing.bad = frozenset({7, 1001})
    report = sync(pipeline)
    assert (report.inserted, report.failed) == (1998, 2)
    assert refusing.tries < 80


def test_a_store_that_refuses_every_row_ends_the_run(refusing: type[Refusing], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "HOPELESS", 5)
    refusing.bad = None
    with pytest.raises(DataRefused, match="The store refuses it"):
        sync(simple_pipeline(rows=rows(2000)))
    assert refusing.tries < 60


def test_offsets_of_change_events_are_kept_after_the_rows_of_their_batch(refusing: type[Refusing]) -> None:
    pipeline = simple_pipeline(rows=rows(4))
    sync(pipeline)
    generation = rows_of(pipeline)
    refusing.bad = frozenset({2})
    writer = refusals.RowWriter(generation, threading.Event())
    written = writer.write(
        WriteBatch(deletes=[1, 2, 3], positions={1: "a", 2: "b", 3: "c", 9: "d"}, offsets={"s": "7"})
    )
    assert written.refused == {2: "deletes"}
    assert generation.offsets() == {"s": "7"}
    assert generation.positions([1, 2, 3, 9]) == {1: "a", 2: "b", 3: "c", 9: "d"}
    assert sorted(generation.lookup([0, 1, 2, 3])) == [0, 2]


def test_change_events_of_rows_that_the_store_refuses_cost_themselves(postgres_url: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(lines(put(number, f"row {number}", number + 1) for number in range(60)))
    store = PostgresStore(postgres_url, "vectors", pipeline="things")
    pipeline = simple_pipeline(EventFiles([str(path)], EventSettings("id")), store)
    store.prepare(pipeline.spec)
    in_table(store, "alter table vectors add constraint known check (id not in (7, 33))")
    report = sync(pipeline)
    assert (report.inserted, report.failed) == (58, 2)
    assert sorted(int(failure.key) for failure in rows_of(pipeline).failures()) == [7, 33]
    assert rows_of(pipeline).positions([6, 7]).keys() == {6, 7}
    assert sync(pipeline).read == 0, "the events are carried out"
    store.close()


def test_deletions_and_rows_are_tried_within_one_budget(
    refusing: type[Refusing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "HOPELESS", 5)
    pipeline = simple_pipeline(rows=rows(20))
    sync(pipeline)
    assert isinstance(pipeline.source, MemorySource)
    pipeline.source.rows[0]["name"] = "another"
    for key in range(10, 18):
        del pipeline.source.rows[key]
    refusing.bad = frozenset(range(10, 18))
    report = sync(pipeline)
    assert (report.embedded, report.deleted, report.failed) == (1, 0, 8), "the store has taken a row in this run"


def test_a_row_that_the_store_refuses_is_counted_as_failed_alone(refusing: type[Refusing]) -> None:
    class Short(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> Embedded:
            return super().embed(texts)._replace(truncated=range(len(texts)))

    pipeline = simple_pipeline(rows=dict.fromkeys(range(6), "the same"), embedder=Short())
    refusing.bad = frozenset({1, 2})
    report = sync(pipeline)
    assert (report.inserted, report.failed) == (4, 2)
    assert (report.reused, report.truncated) == (3, 4)
