"""What a table of rowvec's own cannot have a key or a metadata column be called."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest

from rowvec.errors import ConfigError, StoreError
from rowvec.testing.contract.samples import EMBEDDER, SPEC, Opener, entry, failure, rows, write
from rowvec.types import Column, ColumnType

DATABASES = pytest.mark.parametrize("unprepared", ["postgres", "libsql-file", "libsql-http"], indirect=True)
OWN = ("embedding", "text_hash", "row_hash", "truncated", "created_at", "updated_at")


def metadata(name: str) -> tuple[Column, ...]:
    return (*SPEC.metadata, Column(name, ColumnType.TIMESTAMP))


@DATABASES
@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("step", ["generation", "prepare", "checks"])
def test_a_metadata_column_of_a_taken_name_is_refused_with_a_way_out(unprepared: Opener, name: str, step: str) -> None:
    spec = replace(SPEC, metadata=metadata(name))
    store = unprepared(spec)
    with pytest.raises(ConfigError, match=f"store.metadata names '{name}'.*item_embeddings") as caught:
        getattr(store, step)(spec)
    assert caught.value.hint is not None
    assert f"select {name} as other_name" in caught.value.hint
    assert not store.ledger().exists


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


@pytest.mark.parametrize("unprepared", ["libsql-file", "libsql-http"], indirect=True)
def test_libsql_takes_names_that_differ_in_case_for_the_same(unprepared: Opener) -> None:
    spec = replace(SPEC, metadata=metadata("Created_At"))
    with pytest.raises(ConfigError, match="'Created_At'"):
        unprepared(spec).prepare(spec)


@pytest.mark.parametrize("unprepared", ["libsql-file"], indirect=True)
def test_two_columns_that_are_one_to_libsql_are_named(unprepared: Opener) -> None:
    spec = replace(SPEC, metadata=metadata("NAME"))
    with pytest.raises(ConfigError, match="names 'name' and 'NAME', which are one column"):
        unprepared(spec).prepare(spec)
    other = replace(SPEC, metadata=(Column("ä", ColumnType.TEXT), Column("Ä", ColumnType.TEXT)))
    unprepared(other).prepare(other)


@pytest.mark.parametrize("unprepared", ["postgres"], indirect=True)
def test_postgres_tells_them_apart(unprepared: Opener) -> None:
    spec = replace(SPEC, metadata=metadata("Created_At"))
    unprepared(spec).prepare(spec)


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


@DATABASES
def test_a_column_of_a_type_that_cannot_hold_its_values_is_filled_anew(unprepared: Opener) -> None:
    spec = replace(SPEC, metadata=(Column("v", ColumnType.TEXT), Column("n", ColumnType.INTEGER)))
    store = unprepared(spec)
    store.prepare(spec)
    write(store, entry(1, "lamp", "x", 7), spec=spec)
    other = replace(spec, metadata=(Column("v", ColumnType.INTEGER), Column("n", ColumnType.INTEGER)))
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
