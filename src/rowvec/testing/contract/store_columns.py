"""Keys and metadata columns whose names rowvec or the database uses for something else."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest

from rowvec.errors import ConfigError, StoreError
from rowvec.filters import And, Compare, Not, Op
from rowvec.testing.contract.samples import EMBEDDER, SPEC, Opener, entry, failure, rows, write
from rowvec.types import Column, ColumnType

DATABASES = pytest.mark.parametrize("unprepared", ["postgres", "libsql-file", "libsql-http"], indirect=True)
OWN = ("embedding", "text_hash", "row_hash", "truncated", "created_at", "updated_at")


LONG = "How satisfied are you with the service that you received from us in the last twelve months?"


def metadata(name: str) -> tuple[Column, ...]:
    return (*SPEC.metadata, Column(name, ColumnType.TIMESTAMP))


def is_kept_under_its_name(opened: Opener, *names: str) -> None:
    """Whatever the table calls them: written, written again by a store that was opened again, filtered by and read."""
    spec = replace(SPEC, metadata=tuple(Column(name, ColumnType.TEXT) for name in names))
    first = opened(spec)
    assert write(first, entry(1, "lamp", *(f"old {name}" for name in names)), spec=spec) == 0
    store = opened(spec)
    before = rows(store, spec).lookup([1])[1].text_hash
    said = dict(zip(names, (f"{place} {name}" for place, name in enumerate(names)), strict=True))
    assert write(store, entry(1, "desk", *said.values(), expected=before), spec=spec) == 0
    assert rows(store, spec).metadata([1]) == {1: said}
    lamp = EMBEDDER.embed_query("lamp")
    for name in names:
        same, other = Compare(name, Op.EQ, said[name]), Compare(name, Op.EQ, "other")
        assert rows(store, spec).nearest(lamp, 1, And((same, Not(other)))).keys == [1]
        assert rows(store, spec).nearest(lamp, 1, other).keys == []
        assert rows(store, spec).keyword("desk", 1, same).keys == [1]
    assert all(each.ok for each in store.checks(spec))


@pytest.mark.parametrize("name", OWN)
def test_metadata_may_have_the_name_of_a_column_of_rowvecs_own(opened: Opener, name: str) -> None:
    is_kept_under_its_name(opened, name)


def test_metadata_may_have_all_those_names_at_once_and_odd_ones(opened: Opener) -> None:
    is_kept_under_its_name(
        opened, *OWN, "xmin", "ctid", "rowid", "oid", "rowvec_text", "select", 'a"b', "50% off.x", "😀"
    )


def test_metadata_may_have_a_name_that_postgres_would_cut(opened: Opener) -> None:
    is_kept_under_its_name(opened, LONG, LONG[:63], f"{LONG} Why?", "é" * 40, "é" * 41, "x" * 63)


@DATABASES
def test_two_columns_that_would_be_stored_under_one_name_are_named(unprepared: Opener) -> None:
    spec = replace(SPEC, metadata=(*metadata("created_at"), Column("source_created_at", ColumnType.TEXT)))
    with pytest.raises(ConfigError, match="'created_at' and 'source_created_at', which are one column"):
        unprepared(spec).prepare(spec)


@DATABASES
def test_a_key_of_a_taken_name_is_refused(unprepared: Opener) -> None:
    spec = replace(SPEC, key="text_hash")
    with pytest.raises(ConfigError, match="The key cannot be called 'text_hash'"):
        unprepared(spec).generation(spec)


@DATABASES
def test_the_key_is_no_metadata_column_too(unprepared: Opener) -> None:
    spec = replace(SPEC, metadata=(*SPEC.metadata, Column(SPEC.key, SPEC.key_type)))
    with pytest.raises(ConfigError, match=f"store.metadata names '{SPEC.key}', which is the key"):
        unprepared(spec).prepare(spec)


@pytest.mark.parametrize("name", ["Created_At", "ROWID"])
def test_such_a_name_may_be_in_capitals(opened: Opener, name: str) -> None:
    is_kept_under_its_name(opened, name)


@pytest.mark.parametrize("unprepared", ["libsql-file"], indirect=True)
def test_two_columns_that_are_one_to_libsql_are_named(unprepared: Opener) -> None:
    spec = replace(SPEC, metadata=metadata("NAME"))
    with pytest.raises(ConfigError, match="names 'name' and 'NAME', which are one column"):
        unprepared(spec).prepare(spec)
    other = replace(SPEC, metadata=(Column("ä", ColumnType.TEXT), Column("Ä", ColumnType.TEXT)))
    unprepared(other).prepare(other)


def test_a_column_may_have_a_name_that_the_store_uses_in_its_statements(opened: Opener) -> None:
    names = ("expected", "text", "new", "old", "excluded", "distance", "score", "k", "t", "s")
    spec = replace(SPEC, metadata=tuple(Column(name, ColumnType.TEXT) for name in names))
    store = opened(spec)
    assert write(store, entry(1, "lamp", *names), spec=spec) == 0
    assert write(store, entry(1, "desk", *names, expected=rows(store, spec).lookup([1])[1].text_hash), spec=spec) == 0
    assert rows(store, spec).metadata([1])[1] == dict(zip(names, names, strict=True))
    assert rows(store, spec).keyword("desk", 5).keys == [1]


@pytest.mark.parametrize("name", ["expected", "text"])
def test_a_key_may_have_such_a_name(opened: Opener, name: str) -> None:
    spec = replace(SPEC, key=name, key_type=ColumnType.TEXT)
    store = opened(spec)
    assert write(store, entry("one", "lamp"), entry("two", "chair"), spec=spec) == 0
    assert rows(store, spec).keyword("lamp", 5).keys == ["one"]
    assert rows(store, spec).nearest(EMBEDDER.embed_query("chair"), 1).keys == ["two"]


@pytest.mark.parametrize(
    ("old", "value", "new", "kept"),
    [
        (ColumnType.INTEGER, 5, ColumnType.NUMBER, 5.0),
        (ColumnType.INTEGER, 2**62 + 1, ColumnType.DECIMAL, Decimal(2**62 + 1)),
        (ColumnType.INTEGER, 5, ColumnType.TEXT, "5"),
        (ColumnType.NUMBER, 19.99, ColumnType.DECIMAL, Decimal("19.99")),
        (ColumnType.NUMBER, 5.5, ColumnType.TEXT, "5.5"),
        (ColumnType.DATE, dt.date(2026, 1, 2), ColumnType.TEXT, "2026-01-02"),
        (ColumnType.INTERVAL, "1 mon -2 days", ColumnType.TEXT, "1 mon -2 days"),
    ],
)
@DATABASES
def test_a_column_is_widened_with_its_values(
    unprepared: Opener, old: ColumnType, value: object, new: ColumnType, kept: object
) -> None:
    spec = replace(SPEC, metadata=(Column("v", old),))
    store = unprepared(spec)
    store.prepare(spec)
    write(store, entry(1, "lamp", value), spec=spec)
    wider = replace(spec, metadata=(Column("v", new),))
    found = store.prepare(wider)
    assert found.metadata([1])[1] == {"v": kept}
    assert found.keyword("lamp", 5).keys == [1]
    assert found.lookup([1])[1].text_hash == entry(1, "lamp", value).document.text_hash
    assert found.vector(1) is not None
    again = entry(2, "desk", kept)
    assert write(store, again, spec=wider) == 0
    assert rows(store, wider).metadata([2])[2] == {"v": kept}
    assert store.prepare(wider).count() == 2


@pytest.mark.parametrize("kind", [ColumnType.INTEGER, ColumnType.INTERVAL, ColumnType.DECIMAL])
@DATABASES
def test_a_column_of_a_type_that_cannot_hold_its_values_is_filled_anew(unprepared: Opener, kind: ColumnType) -> None:
    spec = replace(SPEC, metadata=(Column("v", ColumnType.TEXT), Column("n", ColumnType.INTEGER)))
    store = unprepared(spec)
    store.prepare(spec)
    write(store, entry(1, "lamp", "x", 7), spec=spec)
    other = replace(spec, metadata=(Column("v", kind), Column("n", ColumnType.INTEGER)))
    found = store.prepare(other)
    assert found.metadata([1])[1] == {"v": None, "n": 7}
    assert found.lookup([1])[1].row_hash != entry(1, "lamp", "x", 7).document.row_hash
    assert found.vector(1) is not None


def test_integer_keys_become_text_with_everything_that_belongs_to_them(opened: Opener) -> None:
    store = opened(SPEC)
    write(store, entry(1, "lamp"), entry(10, "desk"))
    write(store, failures=[failure(3)])
    spec = replace(SPEC, key_type=ColumnType.TEXT)
    found = store.prepare(spec)
    assert found.lookup(["1", "10"])["1"].text_hash == entry(1, "lamp").document.text_hash
    assert [each.key for each in found.failures()] == ["3"]
    assert found.nearest(EMBEDDER.embed_query("desk"), 1).keys == ["10"]
    assert found.metadata(["1"])["1"] == {"name": "lamp"}
    assert write(store, entry("A12", "chair"), spec=spec) == 0
    assert rows(store, spec).keys(None, 10) == ["1", "10", "3", "A12"]
    assert rows(store, spec).keyword("chair", 5).keys == ["A12"]


@DATABASES
def test_text_keys_become_integers_only_while_there_are_none(unprepared: Opener) -> None:
    spec = replace(SPEC, key_type=ColumnType.TEXT)
    store = unprepared(spec)
    store.prepare(spec)
    store.prepare(SPEC)
    write(store, entry(1, "lamp"))
    store.prepare(spec)
    with pytest.raises(StoreError, match="key"):
        store.prepare(SPEC)
