"""Rows in a partitioned table: read whole, by a cursor, and as they change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import psycopg
import pytest

from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import CursorSettings
from rowvec.sources.sql import SqlSource
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from tests.support import rows_of, simple_pipeline, vectors_match_rows

TABLE = """
create table things (id integer, name text, changed timestamptz not null default clock_timestamp(), primary key (id))
    partition by range (id);
create table things_few partition of things for values from (0) to (100);
create table things_many partition of things for values from (100) to (1000) partition by hash (id);
create table things_many_0 partition of things_many for values with (modulus 2, remainder 0);
create table things_many_1 partition of things_many for values with (modulus 2, remainder 1);
create table things_rest partition of things default;
"""
ROWS = {key: f"row {key}" for key in (1, 50, 99, 100, 101, 500, 999, 1000, 5000)}


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(TABLE)
        for key, name in ROWS.items():
            connection.execute("insert into things (id, name) values (%s, %s)", [key, name])
        yield connection


@pytest.fixture
def pipeline(postgres_url: str, connection: object) -> Iterator[Pipeline]:
    with (
        closing(SqlSource(postgres_url, table="things", key="id", columns=["name"], cursor="changed")) as source,
        closing(PostgresStore(postgres_url, "shop.things", pipeline="things", index=None)) as store,
    ):
        yield replace(simple_pipeline(source, store, HashEmbedder()), cursor=CursorSettings())


def test_rows_of_all_partitions_are_read_once_in_the_order_of_their_keys(pipeline: Pipeline) -> None:
    assert pipeline.source.count() == len(ROWS)
    for size in (1, 2, 100):
        assert [row.key for page in pipeline.source.pages(size) for row in page] == list(ROWS)
    assert sync(pipeline).inserted == len(ROWS)
    vectors_match_rows(pipeline, ROWS)


def test_a_row_that_moves_to_another_partition_and_one_of_a_new_partition_are_followed(
    pipeline: Pipeline, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    sync(pipeline)
    connection.execute("update things set id = 300, changed = clock_timestamp() where id = 50")
    connection.execute("create table things_far partition of things for values from (10000) to (20000)")
    connection.execute("insert into things_far (id, name) values (10500, 'far')")
    connection.execute("delete from things_many where id = 999")
    done = sync(pipeline, Options(full=True))
    assert (done.inserted, done.deleted) == (2, 2)
    rows = {key: name for key, name in ROWS.items() if key not in (50, 999)}
    vectors_match_rows(pipeline, {**rows, 300: "row 50", 10500: "far"})


def test_a_partition_that_is_detached_takes_its_rows_along(
    pipeline: Pipeline, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    sync(pipeline)
    connection.execute("alter table things detach partition things_few")
    done = sync(pipeline, Options(full=True))
    assert done.deleted == 3
    assert rows_of(pipeline).count() == len(ROWS) - 3


def test_a_trigger_names_rows_of_every_partition_that_are_written_through_the_table(
    pipeline: Pipeline, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    assert isinstance(pipeline.source, SqlSource)
    notifier = pipeline.source.notifier()
    notifier.carry_out(notifier.install_sql())
    with notifier.listening() as heard:
        heard.take(0)
        connection.execute("update things set name = 'new' where id in (1, 100, 5000)")
        named: set[object] = set()
        for _ in range(20):
            named |= set(heard.take(1).keys)
            if len(named) == 3:
                break
    assert named == {1, 100, 5000}
