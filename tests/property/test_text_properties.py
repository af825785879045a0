"""What holds for every text, value and set of keys."""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rowvec.documents.text import Documents, build_recipe, metadata_hash
from rowvec.documents.values import clean, shown
from rowvec.sources.sql import SqlSource
from rowvec.support.redaction import redact
from rowvec.types import Column, ColumnType, Row

any_text = st.text(st.characters(exclude_categories=()))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.decimals(allow_nan=False)
    | any_text
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(dt.UTC))
    | st.uuids()
    | st.binary()
)
values = scalars | st.lists(scalars) | st.dictionaries(any_text, scalars)
COLUMNS = [Column("id", ColumnType.INTEGER), Column("a", ColumnType.TEXT), Column("b", ColumnType.BOOLEAN)]
RECIPES = [
    build_recipe(COLUMNS, "id", columns="*", repeat={"a": 2}),
    build_recipe(COLUMNS, "id", template="{{ a }} {{ b }}"),
    build_recipe(COLUMNS, "id", lines=["A: {a} ({b})", "{b}"]),
]


@given(any_text)
def test_clean_text_is_valid_and_as_long_as_it_can_be(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert clean(cleaned) == cleaned
    if "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert cleaned == text


@given(values, values)
def test_every_recipe_makes_text_that_every_database_takes(a: Any, b: Any) -> None:
    for recipe in RECIPES:
        text = recipe.render(Row(1, {"id": 1, "a": a, "b": b}))
        text.encode()
        assert "\0" not in text
        assert text == text.strip()


@given(values)
def test_an_empty_value_is_as_good_as_null(value: Any) -> None:
    row, null = (Row(1, {"id": 1, "a": each, "b": True}) for each in (value, None))
    if not shown(value):
        assert all(recipe.render(row) == recipe.render(null) for recipe in RECIPES)


@given(st.lists(scalars, max_size=4), st.lists(scalars, max_size=4))
def test_two_lists_of_metadata_have_one_hash_only_if_they_are_one(left: list[Any], right: list[Any]) -> None:
    same = list(map(repr, left)) == list(map(repr, right))
    assert (metadata_hash(left) == metadata_hash(right)) == same


@given(any_text, any_text)
def test_a_string_kept_as_metadata_has_the_hash_of_its_clean_form(name: str, other: str) -> None:
    columns = [Column("id", ColumnType.INTEGER), Column("a", ColumnType.TEXT)]
    documents = Documents(build_recipe(columns, "id", columns=["a"]), columns[1:])
    one, two = (documents(Row(1, {"id": 1, "a": each})) for each in (name, other))
    assert (one.row_hash == two.row_hash) == (clean(name) == clean(other))


@given(st.text(), st.sampled_from(["postgresql", "mysql", "libsql"]))
def test_a_password_of_any_characters_is_hidden(password: str, scheme: str) -> None:
    assert redact(f"{scheme}://me:{password}@127.0.0.1:5432/shop") == f"{scheme}://me:***@127.0.0.1:5432/shop"


sqlite_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)


@settings(max_examples=40, deadline=None)
@given(
    st.sets(sqlite_text, max_size=12) | st.sets(st.integers(-(2**63), 2**63 - 1), max_size=12),
    st.integers(1, 5),
    st.sampled_from(["", "collate nocase", "collate rtrim"]),
)
def test_pages_of_any_size_hold_every_key_once(keys: set[Any], size: int, collation: str) -> None:
    kind = "integer" if keys and isinstance(next(iter(keys)), int) else f"text {collation}"
    with TemporaryDirectory() as folder:
        with closing(sqlite3.connect(Path(folder) / "t.db")) as database:
            database.execute(f"create table t (id {kind})")
            database.executemany("insert into t values (?)", [(key,) for key in keys])
            database.commit()
        with closing(SqlSource("sqlite:///t.db", table="t", key="id", base=Path(folder))) as source:
            read = [row.key for page in source.pages(size) for row in page]
            assert len(read) == len(keys)
            assert set(read) == keys == source.existing(read)
            for key in read[:3]:
                assert [row.key for page in source.pages(size, after=key) for row in page] == read[
                    read.index(key) + 1 :
                ]
