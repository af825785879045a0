"""What every store promises of metadata and of filters."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest

from rowvec.filters import And, Compare, Filter, Not, Op, Or, bind, from_json, matches, parse, to_json
from rowvec.stores.base import GenerationHandle
from rowvec.testing.contract.samples import SPEC, WHEN, Opener, entry, rows, vector_of, write
from rowvec.types import Column, ColumnType

ALL_TYPES = (
    Column("stock", ColumnType.INTEGER),
    Column("price", ColumnType.NUMBER),
    Column("cost", ColumnType.DECIMAL),
    Column("active", ColumnType.BOOLEAN),
    Column("label", ColumnType.TEXT),
    Column("day", ColumnType.DATE),
    Column("opens", ColumnType.TIME),
    Column("seen", ColumnType.TIMESTAMP),
    Column("takes", ColumnType.INTERVAL),
    Column("ref", ColumnType.UUID),
    Column("extra", ColumnType.JSON),
    Column("tags", ColumnType.ARRAY),
    Column("blob", ColumnType.BYTES),
)
VALUES = (
    2**40 + 1,
    2.5,
    Decimal("12.50"),
    True,
    "naïve 'quoted' 😀",
    dt.date(2026, 2, 28),
    dt.time(9, 30),
    WHEN,
    "1 year 2 mons -3 days +04:05:06.5",
    UUID(int=77),
    {"size": [1, 2], "ß": None},
    ["red", "blå"],
    b"\x00\xff",
)


def test_metadata_of_every_type_comes_back_as_it_was(opened: Opener) -> None:
    spec = replace(SPEC, metadata=ALL_TYPES)
    store = opened(spec)
    write(store, entry(1, "lamp", *VALUES), entry(2, "chair", *[None] * len(VALUES)), spec=spec)
    names = [column.name for column in ALL_TYPES]
    assert rows(store, spec).metadata([1, 2, 3]) == {
        1: dict(zip(names, VALUES, strict=True)),
        2: dict.fromkeys(names),
    }


FILTERED = {
    1: (5, 9.5, Decimal("0.10"), True, "red lamp", dt.date(2026, 1, 1), ["red", "sale"]),
    2: (0, 20.0, Decimal("10.00"), False, "blue lamp", dt.date(2026, 2, 1), ["blue"]),
    3: (7, 100.25, Decimal("9.90"), True, "Red chair", dt.date(2025, 12, 31), []),
    4: (None, None, None, None, None, None, None),
    5: (2**40, -1.0, Decimal("-3"), False, "100%_off", dt.date(2026, 1, 1), ["sale", "red", "%"]),
}
FILTER_COLUMNS = tuple(
    column for column in ALL_TYPES if column.name in ("stock", "price", "cost", "active", "label", "day", "tags")
)
RED, CHEAP = Compare("label", Op.CONTAINS, "red"), Compare("price", Op.LT, 20)
FILTERS: list[Filter] = [
    Compare("stock", Op.EQ, 0),
    Compare("stock", Op.EQ, 2**40),
    Compare("stock", Op.NE, 5),
    CHEAP,
    Compare("price", Op.LE, 20.0),
    Compare("price", Op.GT, Decimal("9.5")),
    Compare("price", Op.GE, 9.5),
    Compare("cost", Op.GT, 9),
    Compare("cost", Op.BETWEEN, (Decimal("0.1"), 10)),
    Compare("cost", Op.EQ, Decimal("10")),
    Compare("cost", Op.IN, (Decimal("9.9"), -3)),
    Compare("active", Op.EQ, True),
    Compare("active", Op.NE, True),
    Compare("label", Op.EQ, "red lamp"),
    Compare("label", Op.EQ, "' or 1=1 --"),
    Compare("label", Op.IN, ("red lamp", "100%_off", "nothing")),
    Compare("label", Op.IS_NULL),
    RED,
    Compare("label", Op.CONTAINS, "%_"),
    Compare("day", Op.BETWEEN, (dt.date(2026, 1, 1), dt.date(2026, 1, 31))),
    Compare("day", Op.GE, dt.date(2026, 1, 1)),
    Compare("tags", Op.CONTAINS, "sale"),
    Compare("tags", Op.CONTAINS, "%"),
    Not(Compare("tags", Op.CONTAINS, "sale")),
    Not(CHEAP),
    Not(Not(CHEAP)),
    Not(Compare("price", Op.IS_NULL)),
    And((RED, CHEAP)),
    Or((RED, Compare("stock", Op.EQ, 0))),
    And((Or((RED, Compare("active", Op.EQ, False))), Not(Compare("stock", Op.IN, (0, 5))))),
    Not(And((RED, CHEAP))),
    Not(Or((RED, CHEAP))),
]


@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_a_filter_passes_the_rows_that_sql_would(opened: Opener, where: Filter) -> None:
    spec = replace(SPEC, metadata=FILTER_COLUMNS)
    store = opened(spec)
    write(store, *(entry(key, f"thing {key}", *values) for key, values in FILTERED.items()), spec=spec)
    names = [column.name for column in FILTER_COLUMNS]
    bound = bind(where, FILTER_COLUMNS)
    expected = {key for key, values in FILTERED.items() if matches(bound, dict(zip(names, values, strict=True)))}
    ranked = rows(store, spec).nearest(vector_of("query"), 10, bound)
    assert set(ranked.keys) == expected
    assert ranked.complete
    assert set(rows(store, spec).keyword("thing", 10, bound).keys) == expected


def test_values_that_are_equal_in_python_alone_stay_apart(opened: Opener) -> None:
    columns = (Column("tags", ColumnType.ARRAY),)
    spec, found = replace(SPEC, metadata=columns), {1: [1], 2: [True], 3: ["1"], 4: [0, False], 5: [0]}
    store = opened(spec)
    write(store, *(entry(key, f"thing {key}", tags) for key, tags in found.items()), spec=spec)
    seen, asked = rows(store, spec), [Compare("tags", Op.CONTAINS, value) for value in (1, True, 0, False)]
    for where in asked * 2:
        bound = bind(where, columns)
        expected = {key for key, tags in found.items() if matches(bound, {"tags": tags})}
        assert set(seen.nearest(vector_of("query"), 10, bound).keys) == expected
        assert set(seen.metadata(list(found), bound)) == expected


SPANS = {1: "2 days", 2: "26:00:00", 3: "10 days", 4: None, 5: "1 mon", 6: "30 days", 7: "-1 days +02:00:00"}
TAKES = (Column("takes", ColumnType.INTERVAL),)
LONGER: list[tuple[Compare, set[int]]] = [
    (Compare("takes", Op.GT, "2 days"), {3, 5, 6}),
    (Compare("takes", Op.BETWEEN, ("1 hour", "2 days")), {1, 2}),
    (Compare("takes", Op.EQ, "P30D"), {5, 6}),
    (Compare("takes", Op.IN, ("1 day 2 hours", dt.timedelta(days=10))), {2, 3}),
    (Compare("takes", Op.NE, "1 month"), {1, 2, 3, 7}),
    (Compare("takes", Op.LT, "0 s"), {7}),
    (Compare("takes", Op.IS_NULL), {4}),
]


def passing(
    opened: Opener, columns: tuple[Column], values: Mapping[int, object], where: Filter, found: set[int]
) -> GenerationHandle:
    """Rows with these values, of which the filter finds those and no others."""
    spec = replace(SPEC, metadata=columns)
    store = opened(spec)
    write(store, *(entry(key, f"thing {key}", value) for key, value in values.items()), spec=spec)
    bound = bind(where, columns)
    assert {key for key, value in values.items() if matches(bound, {columns[0].name: value})} == found
    assert set(rows(store, spec).nearest(vector_of("query"), 10, bound).keys) == found
    return rows(store, spec)


@pytest.mark.parametrize(("where", "found"), LONGER, ids=str)
def test_durations_are_compared_by_how_long_they_are(opened: Opener, where: Compare, found: set[int]) -> None:
    there = passing(opened, TAKES, SPANS, where, found)
    assert there.metadata([5])[5] == {"takes": "1 mon"}


NUMBERS = {1: math.nan, 2: 0.5, 3: -1.0, 4: None, 5: 0.0}
MEASURED = (Column("d", ColumnType.NUMBER),)
MISSING: list[tuple[str, set[int]]] = [
    ("d > 0", {2}),
    ("not d > 0", {3, 5}),
    ("d != 0.5", {3, 5}),
    ("d between -1e300 and 1e300", {2, 3, 5}),
    ("not d in (0, 7)", {2, 3}),
    ("d is null", {1, 4}),
]


@pytest.mark.parametrize(("where", "found"), MISSING)
def test_nan_counts_as_null(opened: Opener, where: str, found: set[int]) -> None:
    passing(opened, MEASURED, NUMBERS, parse(where), found)


NAMES = {
    1: "Müller",
    2: "MÜLLER",
    3: "müller@A.de",
    4: None,
    5: "straße",
    6: "STRASSE",
    7: "hp_1",
    8: "HP_1",
    9: "hpx1",
}
OWNER = (Column("owner", ColumnType.TEXT, ignores_case=True),)
ANY_CASE: list[tuple[Filter, set[int]]] = [
    (Compare("owner", Op.EQ, "mÜller"), {1, 2}),
    (Compare("owner", Op.EQ, "Hp_1"), {7, 8}),
    (Compare("owner", Op.NE, "HP_1"), {1, 2, 3, 5, 6, 9}),
    (Not(Compare("owner", Op.EQ, "MÜLLER")), {3, 5, 6, 7, 8, 9}),
    (Compare("owner", Op.IN, ("MÜLLER@a.DE", "Hp_1", "STRAßE")), {3, 5, 7, 8}),
    (Not(Compare("owner", Op.IN, ("ÄÖ", "straSSe"))), {1, 2, 3, 5, 7, 8, 9}),
    (Compare("owner", Op.BETWEEN, ("H", "i")), {7, 8, 9}),
    (Compare("owner", Op.LT, "HP_1"), set()),
    (Compare("owner", Op.GE, "S"), {5, 6}),
    (Compare("owner", Op.LIKE, "mü%"), {1, 2, 3}),
    (Compare("owner", Op.CONTAINS, "P_"), {7, 8}),
    (Compare("owner", Op.IS_NULL), {4}),
]


@pytest.mark.parametrize(("where", "found"), ANY_CASE, ids=str)
def test_a_column_that_ignores_case_is_filtered_without_it(opened: Opener, where: Filter, found: set[int]) -> None:
    there = passing(opened, OWNER, NAMES, where, found)
    assert there.metadata([2])[2] == {"owner": "MÜLLER"}


ATTRS = (Column("attrs", ColumnType.JSON), Column("label", ColumnType.TEXT))
INSIDE: dict[int, tuple[object, str | None]] = {
    1: ({"color": "red", "size": 5, "a.b": {"2024": True}, 'q"uote': "x", "tags": ["red", 1]}, "HP"),
    2: ({"color": "RED", "size": "5", "größe 😀": 1.5, "back\\slash": {"new\nline": "y"}}, "hp"),
    3: ({"color": None, "size": 7, "tags": "red", "a": {"b": 1}}, "Straße"),
    4: (None, None),
    5: ([{"color": "red"}], "STRASSE"),
    6: ("red", "Ärzte"),
    7: ({"$": 0, "[0]": 1, "-1": 2, "color": {"red": "red"}, "": 3}, "ÄRZTE"),
}
PATHS: list[tuple[str, set[int]]] = [
    ("attrs.color = 'red'", {1}),
    ("attrs.color ~= 'Red'", {1, 2}),
    ("not attrs.color ~= 'Red'", set()),
    ("attrs.color != 'blue'", {1, 2}),
    ("attrs.size > 4", {1, 3}),
    ("attrs.size = '5'", {2}),
    ("attrs.size = 5", {1}),
    ("attrs.size is null", {4, 5, 6, 7}),
    ("attrs.color is null", {3, 4, 5, 6}),
    ('attrs."a.b".2024', {1}),
    ('attrs."a.b"."2024" = true', {1}),
    ("attrs.a.b = 1", {3}),
    ('attrs."q""uote" = \'x\'', {1}),
    ('attrs."größe 😀" between 1 and 2', {2}),
    ("attrs.\"back\\slash\".\"new\nline\" in ('y', 'z')", {2}),
    ("attrs.tags contains 'red'", {1}),
    ("attrs.tags contains 1", {1}),
    ("attrs.tags contains true", set()),
    ('attrs."$" = 0 and attrs."[0]" = 1 and attrs."-1" = 2', {7}),
    ("attrs.0 is not null", set()),
    ("attrs.color.red like 'R%'", {7}),
    ("label ~= 'hP'", {1, 2}),
    ("label ~= 'ärzte'", {6, 7}),
    ("label ~= 'STRAßE'", {3}),
    ("not label ~= 'HP'", {3, 5, 6, 7}),
    ("label ~= 'h_' or label ~= '%'", set()),
]


def test_a_filter_reaches_into_json_and_ignores_case_where_it_is_asked_to(opened: Opener) -> None:
    spec = replace(SPEC, metadata=ATTRS)
    store = opened(spec)
    write(store, *(entry(key, f"thing {key}", *values) for key, values in INSIDE.items()), spec=spec)
    names = [column.name for column in ATTRS]
    held = {key: dict(zip(names, values, strict=True)) for key, values in INSIDE.items()}
    for text, found in PATHS:
        for where in (parse(text), from_json(to_json(parse(text)))):
            bound = bind(where, ATTRS)
            assert {key for key, values in held.items() if matches(bound, values)} == found, text
            assert set(rows(store, spec).nearest(vector_of("query"), 10, bound).keys) == found, text
            assert set(rows(store, spec).keyword("thing", 10, bound).keys) == found, text
