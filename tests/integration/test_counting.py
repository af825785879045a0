"""Rows of a large table are counted by indexes, and the count is that of the table whatever was done to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import sql

from rowvec.pipeline import Pipeline
from rowvec.stores.postgres import counting
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource
from tests.models import Models
from tests.support import count_statistics, rows_of, simple_pipeline

ROWS = 3_000
NAMES = Names.parse("shop.things")


@pytest.fixture
def pipeline(postgres_url: str, models: Models, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    monkeypatch.setattr(counting, "AUTO_ROWS", 1_000)
    with closing(PostgresStore(postgres_url, "shop.things", pipeline="things", index=None)) as store:
        source = MemorySource({n: {"name": f"row {n}"} for n in range(ROWS)})
        yield models.of(HashEmbedder(64), simple_pipeline(source=source, store=store))


def indexes(url: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(
            "select c.relname, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid"
            " where i.indrelid = to_regclass('shop.things') and c.relname like 'rowvec_apart_%' order by 1"
        ).fetchall()


def test_the_counts_are_those_of_the_table(pipeline: Pipeline, postgres_url: str) -> None:
    sync(pipeline)
    assert len(indexes(postgres_url)) == 1
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for change in (
            "select 1",
            "update shop.things set embedding = null where id % 7 = 0",
            "update shop.things set truncated = true where id % 5 = 0",
            "delete from shop.things where id % 3 = 0",
            "update shop.things set embedding = array_fill(1, array[64])::vector where embedding is null and id > 500",
        ):
            connection.execute(change.encode())
            expected = connection.execute(
                "select count(*) filter (where embedding is not null), count(*) filter (where truncated)"
                " from shop.things"
            ).fetchone()
            status = rows_of(pipeline).status()
            assert (status.rows, status.truncated) == expected


def test_no_vector_is_read_for_a_count(pipeline: Pipeline, postgres_url: str) -> None:
    sync(pipeline)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("vacuum analyze shop.things")
        # So few rows are read as fast as an index.
        connection.execute("set enable_seqscan = off; set enable_bitmapscan = off")
        counted = sql.SQL(counting._FEW).format(**NAMES.parts)
        plan = [line for (line,) in connection.execute(sql.SQL("explain {}").format(counted)).fetchall()]
        assert counting.vectors(connection, NAMES) == (ROWS, 0)
    assert any("Index Only Scan" in line for line in plan), plan
    assert any(counting.MARK in line for line in plan), plan
    assert not any("Seq Scan" in line for line in plan), plan


def test_a_build_that_was_cut_off_is_made_again_and_a_second_sync_makes_none(
    pipeline: Pipeline, postgres_url: str
) -> None:
    sync(pipeline)
    made = indexes(postgres_url)
    sync(pipeline)
    assert indexes(postgres_url) == made
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            f"update pg_index set indisvalid = false where indexrelid = 'shop.{made[0][0]}'::regclass".encode()
        )
    assert rows_of(pipeline).status().rows == ROWS
    sync(pipeline)
    (again,) = indexes(postgres_url)
    assert again[1] and again != made[0]


def test_rows_that_were_replaced_stay_known_to_the_vacuum_of_the_server(pipeline: Pipeline, postgres_url: str) -> None:
    sync(pipeline)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("alter table shop.things set (autovacuum_enabled = off)")
        connection.execute("alter table shop.things add column changed integer; create index on shop.things (changed)")

        def after(change: str) -> tuple[Any, ...] | None:
            """Rows that count as dead, and how often the table was vacuumed."""
            connection.execute(change.encode())
            count_statistics(connection)
            counting.ensure(connection, NAMES)
            count_statistics(connection)
            return connection.execute(
                "select n_dead_tup, vacuum_count from pg_stat_all_tables where relid = 'shop.things'::regclass"
            ).fetchone()

        (_, vacuums) = after("select 1") or (0, 0)
        for number in range(3):
            # The new rows make a vacuum due.
            dead, vacuums_now = after(
                f"update shop.things set changed = {number} where id % 10 = 0 and id < {ROWS};"
                " insert into shop.things (id, text_hash, row_hash, truncated, embedding)"
                f" select id + {ROWS * (number + 1)}, text_hash, row_hash, truncated, embedding"
                f" from shop.things where id < {ROWS // 10}"
            ) or (0, 0)
            assert (dead, vacuums_now) == (ROWS // 10 * (number + 1), vacuums + number + 1)
        assert after("select 1") == (dead, vacuums_now), "nothing has changed"


def test_the_table_of_a_new_model_gets_one_of_its_own(pipeline: Pipeline, postgres_url: str, models: Models) -> None:
    sync(pipeline)
    before = indexes(postgres_url)
    renewed = models.of(HashEmbedder(32), simple_pipeline(source=pipeline.source, store=pipeline.store))
    sync(renewed)
    after = indexes(postgres_url)
    assert len(after) == 1 and after != before
    assert rows_of(renewed).status().rows == ROWS
