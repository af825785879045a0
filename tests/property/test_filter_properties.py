"""Every filter can be written down and read back; every database finds what the definition says."""

from __future__ import annotations

import datetime as dt
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowvec.errors import SearchError
from rowvec.filters import (
    And,
    Compare,
    Filter,
    Not,
    Op,
    Or,
    bind,
    check,
    compares,
    from_json,
    matches,
    parse,
    paths,
    render,
    to_json,
)
from rowvec.stores.filter_sql import POSTGRES, SQLITE, compile_filter
from rowvec.stores.libsql.values import value_in
from rowvec.types import Column, ColumnType

# Writing and reading

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NAMES = TEXT | st.sampled_from(["price", "AND", "not", '"', "lt", "a b", "true"])
SCALARS = st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
CONDITIONS = (
    st.builds(
        Compare, NAMES, st.sampled_from([op for op in Op if op not in (Op.IN, Op.BETWEEN, Op.IS_NULL)]), SCALARS
    )
    | st.builds(Compare, NAMES, st.just(Op.IN), st.lists(SCALARS, max_size=3).map(tuple))
    | st.builds(Compare, NAMES, st.just(Op.BETWEEN), st.tuples(SCALARS, SCALARS))
    | st.builds(Compare, NAMES, st.just(Op.IS_NULL))
)  # fmt: skip


def trees(conditions: st.SearchStrategy[Compare]) -> st.SearchStrategy[Filter]:
    def larger(part: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
        parts = st.just(()) | st.lists(part, min_size=2, max_size=3).map(tuple)
        return st.builds(And, parts) | st.builds(Or, parts) | st.builds(Not, part)

    return st.recursive(conditions, larger, max_leaves=12)


@given(trees(CONDITIONS))
def test_what_is_rendered_is_parsed_to_the_same_filter(where: Filter) -> None:
    # By repr, because to Python True equals 1 and 1 equals 1.0.
    assert repr(parse(render(where))) == repr(where)


@given(trees(CONDITIONS))
def test_what_is_written_as_json_is_read_as_the_same_filter(where: Filter) -> None:
    assert repr(from_json(json.loads(json.dumps(to_json(where))))) == repr(where)


PIECES = st.sampled_from(["a", "<", "=", "(", ")", "and", "or", "not", "'x'", "1", "in", "is", "null", ",", '"'])


@given(st.text() | st.lists(PIECES).map(" ".join))
def test_any_text_is_a_filter_within_the_limits_or_a_search_error(text: str) -> None:
    with suppress(SearchError):
        check(parse(text))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["and", "or", "not", "a", "<", "in", "between", "is_null"]), inner, max_size=3
        )
    ),
)


@given(JSON)
def test_any_json_is_a_filter_within_the_limits_or_a_search_error(value: Any) -> None:
    with suppress(SearchError):
        check(from_json(value))


# Meaning: one row of every type, in every database

KEYS = ["a", "a.b", '"', '""', 'a"b', "1", "-1", "0", "é😀", "\\", "\n", "$", "[0]", "a b", "%s", "?", "#-1", "\x7f"]
LETTERS = st.text(st.sampled_from(list("aAbIiжЖßſKkσς%_*?[]^-\\'. 1")), max_size=4)
MOMENTS = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=st.just(dt.UTC))
VALUES: Mapping[ColumnType, st.SearchStrategy[Any]] = {
    ColumnType.INTEGER: st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1),
    ColumnType.NUMBER: st.sampled_from([-1.5, 0.0, 0.1, 2.0, 1e300]),
    ColumnType.DECIMAL: st.sampled_from([Decimal("-1.50"), Decimal("0"), Decimal("0.1"), Decimal("2"), Decimal("1e9")]),
    ColumnType.BOOLEAN: st.booleans(),
    ColumnType.TEXT: LETTERS,
    ColumnType.DATE: st.dates(dt.date(2024, 1, 1), dt.date(2024, 1, 4)) | st.dates(),
    ColumnType.TIME: st.sampled_from([dt.time(0), dt.time(9, 30), dt.time(9, 30, 0, 1), dt.time.max]),
    ColumnType.TIMESTAMP: MOMENTS | st.sampled_from([dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 1, 1)]),
    ColumnType.INTERVAL: st.sampled_from(
        ["1 mon", "30 days", "720:00:00", "-1 days +02:03:04", "00:00:00", "00:00:00.000001", "1 year 2 mons -3 days",
         "360 days", "-00:30:00", "2700000 years"]
    ),
    ColumnType.UUID: st.uuids() | st.uuids().map(lambda found: type(found)(int=found.int % 3)),
    ColumnType.JSON: st.sampled_from([1, "a", True, {"a": 1}, {"a": "a"}, [1, "a"], [True, 0.1], [[1]], ["b"], []])
    | st.sampled_from([{"a": {"b": True}}, {"a": {"b": 10**15}}, {"a": [1, "a"]}, {"a": None}, {"a": -0.5}])
    | st.dictionaries(
        st.sampled_from(KEYS), st.sampled_from(["aB", "ß", 1, None, True, {"a": "Жж"}, {'"': 5}, ["a"]]), max_size=3
    ),
    ColumnType.ARRAY: st.lists(st.sampled_from([1, 0, 1.0, 0.1, True, False, "a", "A", "1", "true", None]), max_size=3),
}  # fmt: skip
MEMBERS = st.sampled_from([1, 0, 0.1, True, False, "a", "A", "1", "true", "'"])
COLUMNS = [Column(f'{kind} "%s" value', kind) for kind in VALUES]
COLUMNS.append(Column("of any case", ColumnType.TEXT, ignores_case=True))
ODD = {
    ColumnType.NUMBER: st.sampled_from([math.nan, math.inf, -math.inf, 9.9e299]),
    ColumnType.DECIMAL: st.sampled_from([Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity")]),
}
HELD = {kind: st.none() | values | ODD.get(kind, st.none()) for kind, values in VALUES.items()}
ROWS = st.fixed_dictionaries({column.name: HELD[column.type] for column in COLUMNS})
EQUAL, ORDER = {Op.EQ, Op.NE, Op.IN}, {Op.LT, Op.LE, Op.GT, Op.GE, Op.BETWEEN}
OPERATORS = {
    ColumnType.TEXT: EQUAL | ORDER | {Op.CONTAINS, Op.LIKE, Op.SAME},
    ColumnType.BOOLEAN: EQUAL,
    ColumnType.UUID: EQUAL,
    ColumnType.JSON: {Op.CONTAINS},
    ColumnType.ARRAY: {Op.CONTAINS},
}


@st.composite
def conditions_inside(draw: st.DrawFn, column: Column) -> Compare:
    """On what a JSON column holds at `a`, at `b` in that, or at a name that is in none of the values."""
    values = draw(st.sampled_from([st.sampled_from([1, -0.5, 10**15]), LETTERS, st.booleans()]))
    allowed = {Op.EQ, Op.NE, Op.IN, Op.IS_NULL, Op.CONTAINS}
    value = draw(values)
    if not isinstance(value, bool):
        allowed |= ORDER
    if isinstance(value, str):
        allowed |= {Op.LIKE, Op.SAME}
    op = draw(st.sampled_from([op for op in Op if op in allowed]))
    step = st.sampled_from(["a", "b", "c", *(paths.quoted(key) for key in KEYS)])
    name = ".".join([column.name, *draw(st.lists(step, min_size=1, max_size=2))])
    if op is Op.IS_NULL:
        return Compare(name, op)
    if op in (Op.IN, Op.BETWEEN):
        return Compare(name, op, (value, draw(values)))
    return Compare(name, op, value)


@st.composite
def typed_conditions(draw: st.DrawFn) -> Compare:
    column = draw(st.sampled_from(COLUMNS))
    if column.type is ColumnType.JSON and draw(st.booleans()):
        return draw(conditions_inside(column))
    values = MEMBERS if column.type in (ColumnType.JSON, ColumnType.ARRAY) else VALUES[column.type]
    op = draw(st.sampled_from([op for op in Op if op is Op.IS_NULL or op in OPERATORS.get(column.type, EQUAL | ORDER)]))
    if op is Op.IS_NULL:
        return Compare(column.name, op)
    if op is Op.IN:
        return Compare(column.name, op, tuple(draw(st.lists(values, max_size=3))))
    return Compare(column.name, op, draw(st.tuples(values, values) if op is Op.BETWEEN else values))


BOUND = trees(typed_conditions()).map(lambda where: bind(where, COLUMNS))


@given(BOUND)
def test_a_bound_filter_that_is_written_down_binds_to_itself(where: Filter) -> None:
    assert bind(where, COLUMNS) == where
    assert bind(parse(render(where)), COLUMNS) == where
    assert bind(from_json(to_json(where)), COLUMNS) == where


@given(BOUND, ROWS)
def test_a_row_is_found_by_a_filter_or_its_negation_or_has_a_null(where: Filter, row: Mapping[str, Any]) -> None:
    found = [matches(where, row), matches(Not(where), row)]
    assert found != [True, True]
    always_known = not any(value is None or value != value for value in row.values())
    if always_known and not any(each.path for each in compares(where)):
        assert any(found)


PG_TYPES = {
    ColumnType.INTEGER: "bigint",
    ColumnType.NUMBER: "double precision",
    ColumnType.DECIMAL: "numeric",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.TEXT: "text",
    ColumnType.DATE: "date",
    ColumnType.TIME: "time",
    ColumnType.TIMESTAMP: "timestamptz",
    ColumnType.INTERVAL: "interval",
    ColumnType.UUID: "uuid",
    ColumnType.JSON: "jsonb",
    ColumnType.ARRAY: "jsonb",
}


def found_by_postgres(connection: psycopg.Connection[Any], where: Filter, row: Mapping[str, Any]) -> bool:
    condition, values = compile_filter(where, POSTGRES)
    selected, held = [], []
    for column in COLUMNS:
        value = row[column.name]
        if column.type in (ColumnType.JSON, ColumnType.ARRAY) and value is not None:
            value = json.dumps(value)
        selected.append(f"%s::{PG_TYPES[column.type]} as " + POSTGRES.name(column.name, "t")[2:])
        held.append(value)
    query = f"select count(*) from (select {', '.join(selected)}) as t where {condition}"
    return connection.execute(query.encode(), [*held, *values]).fetchone() == (1,)


def found_by_sqlite(connection: sqlite3.Connection, where: Filter, row: Mapping[str, Any]) -> bool:
    condition, values = compile_filter(where, SQLITE)
    stored = [value_in(row[column.name], column) for column in COLUMNS]
    connection.execute("delete from item")
    connection.execute(f"insert into item values ({', '.join('?' * len(stored))})", stored)
    return connection.execute(f"select count(*) from item as t where {condition}", values).fetchone() == (1,)


@pytest.fixture(scope="module")
def postgres(server: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("set time zone 'UTC'")
        yield connection


@pytest.fixture(scope="module")
def sqlite() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    declared = {ColumnType.INTEGER: "INTEGER", ColumnType.BOOLEAN: "INTEGER", ColumnType.NUMBER: "REAL"}
    columns = ", ".join(f"{SQLITE.name(c.name, 't')[2:]} {declared.get(c.type, 'TEXT')}" for c in COLUMNS)
    connection.execute(f"create table item ({columns})")
    yield connection
    connection.close()


PATIENT = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@PATIENT
@given(where=BOUND, rows=st.lists(ROWS, min_size=1, max_size=4))
def test_postgresql_finds_what_the_definition_says(
    postgres: psycopg.Connection[Any], where: Filter, rows: Sequence[Mapping[str, Any]]
) -> None:
    for row in rows:
        assert found_by_postgres(postgres, where, row) is matches(where, row)


@PATIENT
@given(where=BOUND, rows=st.lists(ROWS, min_size=1, max_size=4))
def test_sqlite_finds_what_the_definition_says(
    sqlite: sqlite3.Connection, where: Filter, rows: Sequence[Mapping[str, Any]]
) -> None:
    for row in rows:
        assert found_by_sqlite(sqlite, where, row) is matches(where, row)


@pytest.mark.parametrize("letters", ["a", "жЖ", "[", "%", "\\", "^", "]", "-", "İßſK"])
def test_the_longest_substring_is_found_in_both_databases(
    postgres: psycopg.Connection[Any], sqlite: sqlite3.Connection, letters: str
) -> None:
    text = (letters * 1_000)[:1_000]
    column = next(column for column in COLUMNS if column.type is ColumnType.TEXT)
    where = bind(Compare(column.name, Op.CONTAINS, text), COLUMNS)
    for held, found in ((f"x{text}y", True), (text[1:], False)):
        row = dict.fromkeys([column.name for column in COLUMNS]) | {column.name: held}
        answers = [matches(where, row), found_by_postgres(postgres, where, row), found_by_sqlite(sqlite, where, row)]
        assert answers == [found] * 3
