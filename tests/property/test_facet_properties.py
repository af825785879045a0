"""Facets and orders of drawn rows: both databases count what the definition says, and what plain SQL counts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowvec.filters import Facets, Filter, Order, Place, browsed, facet_columns, facets_of, matches, place_value
from rowvec.filters.facets import COUNTED, DATES, NUMBERS, RangeFacet, ValueFacet
from rowvec.filters.ordering import UNORDERED
from rowvec.stores.facet_sql import Passing, count_facets, page
from rowvec.stores.filter_sql import POSTGRES, SQLITE, Dialect, compile_filter
from rowvec.stores.libsql.values import value_in
from rowvec.types import ColumnType
from tests.property.test_filter_properties import BOUND, COLUMNS, PATIENT, PG_TYPES, ROWS

NAMES = [column.name for column in COLUMNS if column.type in COUNTED | NUMBERS | DATES]
ORDERS = st.none() | st.builds(
    Order, st.sampled_from([column for column in COLUMNS if column.type not in UNORDERED]), st.booleans()
)
DRAWN = st.lists(ROWS, max_size=12)
Row = Mapping[str, Any]


class Database:
    """A table `item` of the drawn rows, whose key is their number."""

    dialect: Dialect

    def __init__(self, run: Callable[[str, list[Any]], list[tuple[Any, ...]]]) -> None:
        self.run = run

    def fill(self, rows: Sequence[Row]) -> None:
        self.run("delete from item", [])
        marks = ", ".join([self.dialect.placeholder] * (len(COLUMNS) + 1))
        for number, row in enumerate(rows):
            self.run(f"insert into item values ({marks})", [number, *self.held(row)])

    def held(self, row: Row) -> list[Any]:
        raise NotImplementedError

    def passing(self, where: Filter, part: str = "") -> Passing:
        return Passing("item", compile_filter(where, self.dialect), self.dialect, part)

    def facets(self, where: Filter, most: int, part: str = "") -> Facets:
        return count_facets(self.run, self.passing(where, part), facet_columns(NAMES, COLUMNS, most), NAMES, most)

    def counted(self, name: str, where: Filter) -> dict[Any, int]:
        """By plain SQL."""
        text, values = compile_filter(where, self.dialect)
        column = self.dialect.name(name, "t")
        return dict(self.run(f"select {column}, count(*) from item t where {text} group by 1", values))

    def browse(self, where: Filter, order: Order | None, after: Place | None, limit: int, offset: int) -> list[Any]:
        place = None if after is None else (after, after.key)
        condition = compile_filter(where, self.dialect)
        text, values = page(self.dialect, "item", 't."number"', condition, order, place, limit, offset)
        return [key for (key,) in self.run(text, values)]


class PostgresTable(Database):
    dialect = POSTGRES

    def held(self, row: Row) -> list[Any]:
        json_types = (ColumnType.JSON, ColumnType.ARRAY)
        values = [(row[column.name], column.type) for column in COLUMNS]
        return [json.dumps(value) if kind in json_types and value is not None else value for value, kind in values]


class SqliteTable(Database):
    dialect = SQLITE

    def held(self, row: Row) -> list[Any]:
        return [value_in(row[column.name], column) for column in COLUMNS]


@pytest.fixture(scope="module")
def postgres(server: str) -> Iterator[Database]:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("set time zone 'UTC'")
        columns = ", ".join(f"{POSTGRES.name(c.name, 't')[2:]} {PG_TYPES[c.type]}" for c in COLUMNS)
        connection.execute(f"create temp table item (number bigint, {columns})".replace("%%", "%").encode())

        def run(text: str, values: list[Any]) -> list[tuple[Any, ...]]:
            found = connection.execute(text.encode(), values)
            return found.fetchall() if found.description else []

        yield PostgresTable(run)


@pytest.fixture(scope="module")
def sqlite() -> Iterator[Database]:
    connection = sqlite3.connect(":memory:")
    declared = {ColumnType.INTEGER: "INTEGER", ColumnType.BOOLEAN: "INTEGER", ColumnType.NUMBER: "REAL"}
    columns = ", ".join(f"{SQLITE.name(c.name, 't')[2:]} {declared.get(c.type, 'TEXT')}" for c in COLUMNS)
    connection.execute(f"create table item (number integer, {columns})")
    yield SqliteTable(lambda text, values: connection.execute(text, values).fetchall())
    connection.close()


@PATIENT
@given(where=BOUND, rows=DRAWN, most=st.sampled_from([1, 2, 50]), split=st.booleans())
def test_postgresql_counts_what_the_definition_says(
    postgres: Database, where: Filter, rows: Sequence[Row], most: int, split: bool
) -> None:
    counts_are_right(postgres, where, rows, most, "(number %% 2 = 0)" if split else "")


@PATIENT
@given(where=BOUND, rows=DRAWN, most=st.sampled_from([1, 2, 50]))
def test_sqlite_counts_what_the_definition_says(
    sqlite: Database, where: Filter, rows: Sequence[Row], most: int
) -> None:
    counts_are_right(sqlite, where, rows, most, "")


def counts_are_right(database: Database, where: Filter, rows: Sequence[Row], most: int, part: str) -> None:
    database.fill(rows)
    found = database.facets(where, most, part)
    kept = [row for row in rows if matches(where, row)]
    expected = facets_of(kept, facet_columns(NAMES, COLUMNS, most), most)
    assert found.rows == expected.rows == len(kept)
    for name in NAMES:
        mine, its = found.columns[name], expected.columns[name]
        if isinstance(mine, RangeFacet) and isinstance(its, RangeFacet):
            assert mine.mean == (its.mean and pytest.approx(its.mean, rel=1e-9, abs=1e-9))
            mine, its = replace(mine, mean=None), replace(its, mean=None)
            assert sum(each.count for each in mine.bins) + mine.missing == len(kept)
            assert all(a.end == b.start for a, b in zip(mine.bins, mine.bins[1:], strict=False))
        assert mine == its, name
    text = next(column.name for column in COLUMNS if column.type is ColumnType.TEXT)
    listed = found.columns[text]
    assert isinstance(listed, ValueFacet)
    by_sql = database.counted(text, where)
    assert listed.missing == by_sql.pop(None, 0)
    assert listed.distinct == len(by_sql)
    assert all(by_sql[each.value] == each.count for each in listed.values)
    assert listed.other == sum(by_sql.values()) - sum(each.count for each in listed.values)


@PATIENT
@given(where=BOUND, rows=DRAWN, order=ORDERS, limit=st.integers(1, 5))
def test_postgresql_browses_as_the_definition_says(
    postgres: Database, where: Filter, rows: Sequence[Row], order: Order | None, limit: int
) -> None:
    pages_are_right(postgres, where, rows, order, limit)


@PATIENT
@given(where=BOUND, rows=DRAWN, order=ORDERS, limit=st.integers(1, 5))
def test_sqlite_browses_as_the_definition_says(
    sqlite: Database, where: Filter, rows: Sequence[Row], order: Order | None, limit: int
) -> None:
    pages_are_right(sqlite, where, rows, order, limit)


def pages_are_right(database: Database, where: Filter, rows: Sequence[Row], order: Order | None, limit: int) -> None:
    database.fill(rows)
    kept: dict[Any, Row] = {number: row for number, row in enumerate(rows) if matches(where, row)}
    expected = browsed(kept, order, None)
    assert database.browse(where, order, None, 100, 0) == expected
    assert database.browse(where, order, None, limit, 2) == expected[2 : 2 + limit]
    found: list[Any] = []
    after = None
    while page_ := database.browse(where, order, after, limit, 0):
        found += page_
        last = kept[page_[-1]]
        after = Place(None if order is None else place_value(last[order.column.name], order), page_[-1])
        assert browsed(kept, order, after) == expected[len(found) :]
    assert found == expected
