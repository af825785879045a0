"""What every store promises of facets, of browsing, and of the pages that follow each other."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from rowvec.filters import Filter, Order, Place, bind, browsed, facet_columns, facets_of, matches, parse, place_value
from rowvec.filters.facets import Facet, RangeFacet, ValueCount, ValueFacet
from rowvec.stores.base import GenerationHandle
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.contract.samples import EMBEDDER, SPEC, Opener, document, entry, rows, write
from rowvec.types import Column, ColumnType, Entry, Key

COLUMNS = (
    Column("supplier", ColumnType.TEXT),
    Column("owner", ColumnType.TEXT, ignores_case=True),
    Column("stock", ColumnType.INTEGER),
    Column("price", ColumnType.NUMBER),
    Column("cost", ColumnType.DECIMAL),
    Column("active", ColumnType.BOOLEAN),
    Column("day", ColumnType.DATE),
    Column("opens", ColumnType.TIME),
    Column("seen", ColumnType.TIMESTAMP),
    Column("takes", ColumnType.INTERVAL),
    Column("ref", ColumnType.UUID),
    Column("100% \"odd\" 'name'", ColumnType.TEXT),
    Column("attrs", ColumnType.JSON),
)
NAMES = [column.name for column in COLUMNS]
COUNTED = [column.name for column in COLUMNS if column.type not in (ColumnType.INTERVAL, ColumnType.JSON)]
UTC = dt.UTC


def _row(number: int) -> tuple[Any, ...]:
    """Few values, many of them missing, and the odd ones of each type."""
    return (
        (None, "HP", "Canon", "", "Ärzte 😀", "hp")[number % 6],
        (None, "ann", "ANN", "Bob")[number % 4],
        (None, -5, 0, 7, 2**40)[number % 5],
        (None, math.nan, 0.1, 0.3, -2.5, 99.75)[number % 6],
        (None, Decimal("0.10"), Decimal("12.50"), Decimal("-3"), Decimal("1e9"))[number % 5],
        (None, True, False)[number % 3],
        (None, dt.date(2024, 2, 29), dt.date(2023, 12, 31), dt.date(2025, 1, 1))[number % 4],
        (None, dt.time(9, 30), dt.time(17))[number % 3],
        (None, dt.datetime(2024, 1, 1, tzinfo=UTC), dt.datetime(2024, 1, 1, 13, 30, 15, 250_000, UTC))[number % 3],
        (None, "1 mon", "30 days", "2 days", "-1 days +02:00:00")[number % 5],
        (None, UUID(int=7), UUID(int=2**127))[number % 3],
        (None, "%s", 'a"b', "?")[number % 4],
        (None, {"color": "red", "size": 5}, {"color": "blue", "size": "5"})[number % 3],
    )


ROWS: Mapping[Key, tuple[Any, ...]] = {number: _row(number) for number in range(1, 44)}
HELD: Mapping[Key, Mapping[str, Any]] = {key: dict(zip(NAMES, row, strict=True)) for key, row in ROWS.items()}
WHERES = [None, "stock >= 0", "active or supplier = 'HP'", "attrs.color = 'red'", "price > 1000000 and false"]


def filled(opened: Opener) -> GenerationHandle:
    spec = replace(SPEC, metadata=COLUMNS)
    store = opened(spec)
    write(store, *(entry(key, f"thing {key}", *row) for key, row in ROWS.items()), spec=spec)
    return rows(store, spec)


def condition(text: str | None) -> Filter | None:
    return None if text is None else bind(parse(text), COLUMNS)


def passing(where: Filter | None) -> dict[Key, Mapping[str, Any]]:
    return {key: row for key, row in HELD.items() if where is None or matches(where, row)}


def test_facets_count_all_rows_that_pass(opened: Opener) -> None:
    handle = filled(opened)
    for text, most in itertools.product(WHERES, (1, 100)):
        where, columns = condition(text), facet_columns(COUNTED, COLUMNS, most)
        found, expected = handle.facets(columns, where, most=most), facets_of(passing(where).values(), columns, most)
        assert found.rows == expected.rows
        for name in COUNTED:
            assert_same(found.columns[name], expected.columns[name])


def assert_same(found: Facet, expected: Facet) -> None:
    if isinstance(found, RangeFacet) and isinstance(expected, RangeFacet):
        assert found.mean == pytest.approx(expected.mean)
        found, expected = replace(found, mean=None), replace(expected, mean=None)
    assert found == expected


def test_without_columns_the_rows_are_counted(opened: Opener) -> None:
    handle = filled(opened)
    assert (handle.facets([]).rows, handle.facets([], condition("active")).rows) == (43, 15)


def test_a_row_without_a_vector_is_not_counted_and_a_failed_one_neither(opened: Opener) -> None:
    spec = replace(SPEC, metadata=COLUMNS)
    store = opened(spec)
    assert rows(store, spec).facets([]).rows == 0
    assert rows(store, spec).browse(10) == []


ORDERS = [None, *(Order(column, falling) for column in COLUMNS[:-1] for falling in (False, True))]


def test_rows_are_browsed_in_every_order_page_by_page(opened: Opener) -> None:
    handle = filled(opened)
    for order, text in itertools.product(ORDERS, (None, "not supplier = 'Canon'")):
        where = condition(text)
        expected = browsed(passing(where), order, None)
        assert handle.browse(100, where, order=order) == expected
        assert handle.browse(7, where, order=order, offset=5) == expected[5:12]
        pages, after = [], None
        while page := handle.browse(9, where, order=order, after=after):
            pages.append(page)
            after = place(order, page[-1])
        assert list(itertools.chain.from_iterable(pages)) == expected
        assert all(len(page) == 9 for page in pages[:-1])


def place(order: Order | None, key: Key) -> Place:
    return Place(None if order is None else place_value(HELD[key][order.column.name], order), key)


def test_an_offset_beyond_the_end_gives_nothing(opened: Opener) -> None:
    handle = filled(opened)
    assert handle.browse(10, offset=43) == []
    assert handle.browse(10, offset=2**31 - 1) == []
    assert handle.browse(10, offset=42) == [43]


def test_a_page_goes_on_after_a_row_that_is_gone(opened: Opener) -> None:
    handle, order = filled(opened), Order(COLUMNS[2], falling=True)
    first = handle.browse(10, order=order)
    after = place(order, first[-1])
    rest = handle.browse(100, order=order, after=after)

    handle.write(WriteBatch(deletes=[first[-1], rest[0]]))
    assert handle.browse(100, order=order, after=after) == rest[1:]


def test_ten_thousand_values_are_counted_and_texts_of_any_length(opened: Opener) -> None:
    """From this many rows on, a store may have an index for facets, which must not refuse a row."""
    columns = (Column("part", ColumnType.TEXT), Column("stock", ColumnType.INTEGER), Column("odd %", ColumnType.TEXT))
    spec = replace(SPEC, metadata=columns, language=None, keeps_texts=False)
    store, same = opened(spec), EMBEDDER.embed_query("same")
    for first in range(0, 10_000, 2_000):
        made = (
            Entry(document(n, "same", f"part {n:05}", n % 7, None), same, None) for n in range(first, first + 2_000)
        )
        write(store, *made, spec=spec)
    store.activate(spec)
    long = "".join(hashlib.sha256(str(n).encode()).hexdigest() for n in range(100))
    write(store, entry(10_000, "same", "part 09999", 7, long), entry(10_001, "same", long, None, "x"), spec=spec)
    for where, rows_in, distinct in (None, 10_002, 10_001), ("stock = 7 or \"odd %\" = 'x'", 2, 2):
        bound = None if where is None else bind(parse(where), columns)
        found = rows(store, spec).facets(columns, bound, most=2)
        part, stock, odd = (found.columns[column.name] for column in columns)
        assert isinstance(part, ValueFacet)
        assert isinstance(stock, RangeFacet)
        assert isinstance(odd, ValueFacet)
        assert (found.rows, part.distinct, part.missing) == (rows_in, distinct, 0)
        assert ValueCount("part 09999", 1 if where else 2) in part.values
        assert part.other == rows_in - sum(each.count for each in part.values)
        assert (stock.missing, sum(each.count for each in stock.bins)) == (1, rows_in - 1)
        assert {each.value for each in odd.values} == {long, "x"}
        assert odd.missing == rows_in - 2
    assert rows(store, spec).browse(2, order=Order(columns[2])) == (
        [10_000, 10_001] if long < "x" else [10_001, 10_000]
    )


def test_equal_scores_are_in_the_order_of_the_keys_however_many_are_asked_for(opened: Opener) -> None:
    store = opened(SPEC)
    keys: Sequence[int] = [9, 3, 12, 1, 30, 7, 100, 2]
    write(store, *(entry(key, "the same text") for key in keys))
    vector = EMBEDDER.embed_query("something")
    for limit in range(1, len(keys) + 1):
        assert list(rows(store).nearest(vector, limit).keys) == sorted(keys)[:limit]
        assert list(rows(store).keyword("text", limit).keys) == sorted(keys)[:limit]
