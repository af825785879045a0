"""Vector indexes and keys that an audit must find wanting."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import libsql
import psycopg
import pytest

from rowvec.auditing.audit import audit
from rowvec.auditing.repair import repair
from rowvec.documents.text import Documents, build_recipe
from rowvec.errors import StoreError
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.sql import SqlSource
from rowvec.stores.auditor import Drift
from rowvec.stores.index import IndexSpec, IndexStatus
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index.index import spec_of
from rowvec.stores.write_batch import WriteBatch
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from tests.support import rows_of, simple_pipeline

ROWS = {key: f"thing number {key}" for key in range(1, 241)}
EVERY_ROW = 10**9
Run = Callable[..., Any]


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[tuple[Pipeline, PostgresStore, Run]]:
    with (
        closing(PostgresStore(postgres_url, "vectors", pipeline="things")) as store,
        psycopg.connect(postgres_url, autocommit=True) as connection,
    ):
        pipeline = simple_pipeline(rows=ROWS, store=store, embedder=HashEmbedder(32))
        sync(pipeline)
        yield pipeline, store, connection.execute


def detail(pipeline: Pipeline, drift: Drift = Drift.INDEX) -> str:
    """What the only finding says."""
    findings = audit(pipeline, sample=EVERY_ROW, settle=0).findings
    assert list(findings) == [drift]
    return findings[drift].detail


def repaired(pipeline: Pipeline) -> bool:
    left = repair(pipeline, audit(pipeline, sample=EVERY_ROW, settle=0)).left
    return not left and not audit(pipeline, sample=EVERY_ROW, settle=0).findings


def set_flag(run: Run, flag: str, value: bool) -> None:
    run(f"update pg_index set {flag} = %s where indexrelid = 'vectors_vectors_1'::regclass", [value])


@pytest.mark.parametrize("kind", ["hnsw", "ivfflat"])
def test_a_sound_index_is_measured(postgres: tuple[Pipeline, PostgresStore, Run], kind: Any) -> None:
    pipeline, store, _ = postgres
    assert audit(pipeline, sample=EVERY_ROW, settle=0).index is None
    rows_of(pipeline).index.build(IndexSpec(kind, lists=4 if kind == "ivfflat" else None))
    store.close()
    result = audit(pipeline, sample=EVERY_ROW, settle=0)
    assert not result.findings
    assert result.index is not None
    assert result.index.queries == 30
    assert result.index.recall > 0.9
    assert result.index.unreachable == []


def test_an_invalid_index_is_built_anew_as_it_was(postgres: tuple[Pipeline, PostgresStore, Run]) -> None:
    pipeline, store, run = postgres
    rows_of(pipeline).index.build(IndexSpec(m=8, ef_construction=40))
    set_flag(run, "indisvalid", False)
    store.close()
    assert detail(pipeline) == "invalid: vectors_vectors_1"
    assert repaired(pipeline)
    (index,) = rows_of(pipeline).index.status()
    assert index.valid
    assert (spec_of(index).m, spec_of(index).ef_construction) == (8, 40)


def test_an_index_that_lacks_rows_is_found_out_and_built_anew(postgres: tuple[Pipeline, PostgresStore, Run]) -> None:
    pipeline, store, run = postgres
    rows_of(pipeline).index.build(IndexSpec())
    # What is written now does not get into the index.
    set_flag(run, "indisready", False)
    store.close()
    rows_of(pipeline).write(WriteBatch(deletes=list(range(1, 121))))
    sync(pipeline)
    set_flag(run, "indisready", True)
    store.close()
    assert detail(pipeline).endswith("of 30 rows are not found by their own vectors")
    assert repaired(pipeline)


def test_an_index_that_is_wanted_and_missing(
    postgres: tuple[Pipeline, PostgresStore, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, store, _ = postgres
    assert not audit(pipeline, settle=0).findings, "so few rows need none"
    monkeypatch.setattr("rowvec.stores.postgres.audit.AUTO_ROWS", 200)
    assert detail(pipeline) == "none for 240 vectors"
    with store.lock():
        assert not audit(pipeline, settle=0).findings, "the sync at work will build it"
    assert repaired(pipeline)
    assert len(rows_of(pipeline).index.status()) == 1


def test_an_index_that_is_being_built_is_not_invalid(
    postgres: tuple[Pipeline, PostgresStore, Run], postgres_url: str
) -> None:
    pipeline, _, run = postgres
    with ThreadPoolExecutor(1) as pool, psycopg.connect(postgres_url) as writer:
        # The build waits for this transaction to end.
        writer.execute("update vectors set truncated = truncated where id = 1")
        building = pool.submit(rows_of(pipeline).index.build, IndexSpec())
        waiting = "select count(*) from pg_stat_progress_create_index where index_relid <> 0 and lockers_total > 0"
        while run(waiting).fetchone() == (0,):
            assert not building.done()
        with closing(PostgresStore(postgres_url, "vectors", pipeline="things")) as other:
            beside = simple_pipeline(pipeline.source, other, HashEmbedder(32))
            assert [index.valid for index in rows_of(beside).index.status()] == [False]
            assert not audit(beside, settle=0).findings
        writer.commit()
        building.result()
    assert not audit(pipeline, settle=0).findings


def test_two_rows_of_one_key_are_named_with_what_to_do(postgres: tuple[Pipeline, PostgresStore, Run]) -> None:
    pipeline, _, run = postgres
    run("alter table vectors drop constraint vectors_pkey")
    run("insert into vectors select * from vectors where id in (5, 6)")
    result = audit(pipeline, settle=0)
    finding = result.findings[Drift.DUPLICATE]
    assert (finding.count, sorted(finding.keys)) == (2, [5, 6])
    assert 'ADD UNIQUE ("id")' in finding.detail
    with pytest.raises(StoreError, match="no unique index"):
        repair(pipeline, result)


def test_metadata_of_every_type_is_compared_as_a_write_would_store_it(postgres_url: str, tmp_path: Path) -> None:
    """The vector table is another's: it keeps fewer digits, shorter texts and no time zone."""
    with closing(sqlite3.connect(tmp_path / "rows.db")) as database, database:
        database.execute(
            "create table things (id integer primary key, name text, price decimal(10, 3), rating double,"
            " seen timestamp, day date, good boolean, tags json, raw blob)"
        )
        values = "'thing', '10.126', 0.1, '2026-03-01 12:30:15.250001', '2026-03-01', 1, '{\"a\": [1, null]}', x'00ff'"
        database.execute(
            f"insert into things values (1, {values}), (2, null, null, null, null, null, null, null, null)"
        )
        database.execute("insert into things (id, name, tags) values (3, 'żółć ''quoted'' \\ \" {}', '[]')")
    with (
        closing(SqlSource(f"sqlite:///{tmp_path / 'rows.db'}", table="things", key="id")) as source,
        closing(PostgresStore(postgres_url, "vectors", pipeline="things")) as store,
        psycopg.connect(postgres_url, autocommit=True) as connection,
    ):
        connection.execute("create extension vector")
        connection.execute(
            "create table vectors (id bigint primary key, embedding vector(8), name varchar(100), price numeric(10, 2),"
            " rating real, seen timestamp, day date, good boolean, tags json, raw bytea)"
        )
        embedder = HashEmbedder()
        metadata = tuple(column for column in source.columns if column.name != "id")
        recipe = build_recipe(source.columns, "id", template="text {{ id }}")
        plain = simple_pipeline(source, store, embedder)
        spec = replace(plain.spec, metadata=metadata)
        pipeline = replace(plain, to_document=Documents(recipe, metadata), spec=spec)
        sync(pipeline)
        assert not audit(pipeline, settle=0).findings
        connection.execute("update vectors set price = price + 0.01 where id = 1")
        connection.execute("update vectors set tags = '{}' where id = 3")
        connection.execute("update vectors set good = false where id = 2")
        result = audit(pipeline, settle=0)
        assert set(result.findings[Drift.METADATA].keys) == {1, 2, 3}
        assert repair(pipeline, result).left == []


@pytest.mark.parametrize("kind", ["postgres", "libsql"])
def test_what_is_audited_is_the_live_generation(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    store: PostgresStore | LibsqlStore
    if kind == "postgres":
        store = PostgresStore(request.getfixturevalue("postgres_url"), "vectors", pipeline="things")
    else:
        store = LibsqlStore(str(tmp_path / "vectors.db"), table="vectors")
    with closing(store):
        pipeline = simple_pipeline(rows=ROWS, store=store)
        sync(pipeline)
        other = simple_pipeline(pipeline.source, store, HashEmbedder(16, model="newer"))
        sync(other, Options(limit=5))
        store.prepare(pipeline.spec)
        rows_of(pipeline).write(WriteBatch(deletes=[3, 4]))
        result = audit(other, settle=0)
        assert {drift: list(found.keys) for drift, found in result.findings.items()} == {Drift.MISSING: [3, 4]}
        assert result.entries == len(ROWS) - 2
        with pytest.raises(StoreError, match="another model"):
            repair(other, result)
        sync(other)
        assert not audit(other, sample=EVERY_ROW, settle=0).findings


# libSQL


@pytest.fixture
def diskann(tmp_path: Path) -> Iterator[tuple[Pipeline, LibsqlStore, Run]]:
    path = str(tmp_path / "vectors.db")
    with closing(LibsqlStore(path, table="vectors")) as store, closing(libsql.connect(path, timeout=10)) as database:
        rows = dict(list(ROWS.items())[:80])
        pipeline = simple_pipeline(rows=rows | {81: rows[1]}, store=store, embedder=HashEmbedder(32))
        sync(pipeline)
        rows_of(pipeline).index.build()

        def run(statement: str) -> None:
            database.execute(statement)
            database.commit()

        yield pipeline, store, run


SIDE = "rowvec_distinct_vectors_1"


def test_a_sound_diskann_index_is_measured(diskann: tuple[Pipeline, LibsqlStore, Run]) -> None:
    pipeline, _, _ = diskann
    result = audit(pipeline, sample=EVERY_ROW, settle=0)
    assert not result.findings
    assert result.index is not None
    assert result.index.recall > 0.9


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (f"delete from {SIDE} where rowid in (select rowid from {SIDE} not indexed limit 3)", "77 of 77 indexed"),
        ("drop trigger rowvec_indexed_update_vectors_1", "rowvec_indexed_update_vectors_1 not there"),
        (f"insert into {SIDE} select 12345, embedding from vectors where id = 5", "1 entry without a row"),
        ("drop index rowvec_diskann_vectors_1", "rowvec_diskann_vectors_1 not there"),
    ],
)
def test_a_damaged_diskann_index_is_built_anew(
    diskann: tuple[Pipeline, LibsqlStore, Run], statement: str, says: str
) -> None:
    pipeline, _, run = diskann
    run(statement)
    assert says in detail(pipeline)
    assert repaired(pipeline)
    assert rows_of(pipeline).status().index == IndexStatus("diskann")
