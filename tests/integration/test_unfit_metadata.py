"""Metadata that its column cannot hold: null is stored and listed, and the row keeps its vector. One rule for all."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rowvec.auditing.audit import audit
from rowvec.cli.failures import grouped
from rowvec.documents.text import Documents, build_recipe
from rowvec.pipeline import Pipeline
from rowvec.pipeline_status import status
from rowvec.sources.base import Source
from rowvec.sources.files.source import FilesSource
from rowvec.stores.base import Store, TableSpec
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from rowvec.types import Column, ColumnType, State, UnfitValue
from tests.integration.sql_rig import Open as OpenSource
from tests.integration.sql_rig import mariadb_database
from tests.support import rows_of


@pytest.fixture(params=["postgres", "libsql", "memory"])
def store(request: pytest.FixtureRequest, quick_folder: Path) -> Iterator[Store]:
    with ExitStack() as stack:
        if request.param == "postgres":
            opened: Store = PostgresStore(request.getfixturevalue("postgres_url"), "vectors", pipeline="things")
        elif request.param == "libsql":
            opened = LibsqlStore(str(quick_folder / "vectors.db"), table="vectors")
        else:
            opened = MemoryStore()
        stack.callback(opened.close)
        yield opened


def pipeline_of(
    source: Source, store: Store, text: str, columns: Sequence[Column], embedder: HashEmbedder | None = None
) -> Pipeline:
    embedder = embedder or HashEmbedder()
    recipe = build_recipe(source.columns, source.key, columns=[text])
    spec = TableSpec(
        "things",
        source.key,
        source.key_type,
        embedder.fingerprint.dimension,
        metadata=tuple(columns),
        fingerprint=embedder.fingerprint,
        recipe=recipe.fingerprint,
    )
    return Pipeline("things", source, Documents(recipe, columns), (text,), embedder, store, spec)


def reasons(pipeline: Pipeline) -> dict[tuple[Any, str], str]:
    return {(each.key, each.column): each.reason.partition(" (")[0] for each in rows_of(pipeline).unfit()}


def test_a_moment_beyond_the_calendar_in_utc_keeps_its_vector(data: Path, store: Store) -> None:
    source = FilesSource([str(data / "cases" / "far_dates.jsonl")], key="id")
    pipeline = pipeline_of(source, store, "n", [column for column in source.columns if column.name == "u"])
    report = sync(pipeline)
    assert (report.inserted, report.failed, report.unfit) == (3, 0, 2)
    assert set(reasons(pipeline).values()) == {"outside the years 1 to 9999 in UTC"}
    assert [key for key, _ in reasons(pipeline)] == [1, 2]
    told = status(pipeline)
    assert (told.current, told.failures, told.unfit) == (3, 0, 2)
    found = audit(pipeline, settle=0)
    assert (found.findings, found.failed, found.unfit) == ({}, 0, 2)
    assert sync(pipeline).unchanged == 3


def test_what_mariadb_can_say_and_a_column_cannot_is_null(store: Store, source: OpenSource) -> None:
    with mariadb_database() as (url, run):
        run("set sql_mode = ''")
        run(
            "create table t (id int primary key, name varchar(20), bits bit(8), day date, big bigint unsigned,"
            " clock time)"
        )
        run("insert into t values (1, 'one', b'11001000', '2024-00-10', 18446744073709551615, '26:30:00')")
        run("insert into t values (2, 'two', b'00001000', '0000-00-00', 7, '12:30:00')")
        some = source(url, table="t", key="id")
        pipeline = pipeline_of(some, store, "name", some.columns[2:])
        report = sync(pipeline)
        assert (report.inserted, report.failed) == (2, 0)
        assert (report.unfit, status(pipeline).unfit) == (5, 5)
        found = reasons(pipeline)
        assert found[1, "bits"] == "bytes that are not UTF-8"
        assert found[1, "day"] == "not a value of type date"
        assert found[1, "big"] == "more than 64 bits"
        assert found[1, "clock"] == "not a time of day"
        assert found[2, "day"] == "outside the years 1 to 9999"
        assert (2, "big") not in found
        stored = rows_of(pipeline).metadata([1, 2])
        assert set(stored[1].values()) == {None}
        assert (stored[2]["day"], stored[2]["big"], str(stored[2]["clock"])) == (None, 7, "12:30:00")
        assert audit(pipeline, settle=0).findings == {}
        run("update t set day = '2024-01-10', big = 5 where id = 1")
        assert sync(pipeline).updated == 1
        assert (1, "day") not in reasons(pipeline)
        run("delete from t where id = 2")
        sync(pipeline)
        assert {key for key, _ in reasons(pipeline)} <= {1}
        pipeline.source.close()


@pytest.mark.parametrize("share", [0.001, 0.01, 0.02, 0.2])
def test_any_share_of_unfit_metadata_costs_no_vector(store: Store, share: float) -> None:
    bad = set(random.Random(5).sample(range(1000), max(1, int(1000 * share))))
    rows = {key: {"name": f"row {key}", "price": "cheap" if key in bad else str(key)} for key in range(1000)}
    pipeline = pipeline_of(MemorySource(rows), store, "name", [Column("price", ColumnType.INTEGER)])
    report = sync(pipeline)
    assert (report.inserted, report.failed, report.unfit) == (1000, 0, len(bad))
    assert {key for key, _ in reasons(pipeline)} == bad
    assert sync(pipeline).unchanged == 1000


def test_a_value_that_is_unfit_in_another_way_or_null_now_is_followed(store: Store) -> None:
    source = MemorySource({1: {"name": "a", "price": "cheap"}, 2: {"name": "b", "price": "dear"}})
    pipeline = pipeline_of(source, store, "name", [Column("price", ColumnType.INTEGER)])
    sync(pipeline)
    source.rows[1]["price"], source.rows[2]["price"] = 2**70, None
    report = sync(pipeline)
    assert (report.updated, report.texts) == (2, 0)
    assert reasons(pipeline) == {(1, "price"): "more than 64 bits"}


def test_each_generation_has_its_own_list(store: Store) -> None:
    source = MemorySource({key: {"name": f"row {key}", "price": "cheap" if key == 1 else key} for key in range(5)})
    columns = [Column("price", ColumnType.INTEGER)]
    sync(pipeline_of(source, store, "name", columns))
    source.rows[2]["price"] = "dear"
    other = pipeline_of(source, store, "name", columns, HashEmbedder(24))
    sync(other)
    source.rows[1]["price"] = 1
    sync(other)
    assert [each.key for each in rows_of(other).unfit()] == [2]
    store.rollback(other.spec)
    first = pipeline_of(source, store, "name", columns)
    assert [each.key for each in rows_of(first).unfit()] == [1, 2], "as of when it was live"
    store.drop_generation(State.PREVIOUS, other.spec)
    assert [each.key for each in rows_of(first).unfit()] == [1, 2]


def test_reasons_are_grouped_whatever_keys_and_numbers_are_in_them() -> None:
    listed = [UnfitValue(key, "price", f"Row {key}: more than {key} bits") for key in range(50)]
    groups = grouped((each.reason, each.key, each) for each in [*listed, UnfitValue(7, "day", "not a date")])
    assert [len(group) for group in groups] == [50, 1]
    named = [UnfitValue(f"key {word}", "price", f"Row 'key {word}': 8192 is too much") for word in "abc"]
    assert [len(group) for group in grouped((each.reason, each.key, each) for each in named)] == [3]
