"""What a table of rowvec's own cannot have a key or a metadata column be called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rowvec.errors import ConfigError
from rowvec.testing.contract.samples import EMBEDDER, SPEC, Opener, entry, rows, write
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
