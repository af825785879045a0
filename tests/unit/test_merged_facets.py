"""The facets of several parts are those of one table, and no row is counted more often than that takes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rowvec.filters.facets import Facets, RangeFacet, facets_of
from rowvec.stores.part import Spans
from rowvec.stores.partitioned import merging
from rowvec.types import Column, ColumnType

COLUMNS = (
    Column("name", ColumnType.TEXT),
    Column("price", ColumnType.NUMBER),
    Column("day", ColumnType.DATE),
    Column("nothing", ColumnType.INTEGER),
)


def row(number: int) -> dict[str, Any]:
    return {
        "name": f"name {number % 7}" if number % 5 else None,
        "price": number**1.5 if number % 3 else None,
        "day": dt.date(2020, 1, 1) + dt.timedelta(days=number),
        "nothing": None,
    }


class Parts:
    """Answers as several parts do, and notes what it is asked."""

    def __init__(self, parts: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        self.parts = parts
        self.asked: list[tuple[list[str], Spans]] = []

    def __call__(self, columns: Sequence[Column], listed: int, spans: Spans) -> list[Facets]:
        self.asked.append(([column.name for column in columns], spans))
        return [facets_of(rows, columns, listed, spans) for rows in self.parts]


def plain(facets: Facets) -> dict[str, Any]:
    """With a mean that need not be the same to the last digit."""
    price = facets.columns["price"]
    assert isinstance(price, RangeFacet)
    mean: Any = pytest.approx(price.mean)
    return {**facets.columns, "price": replace(price, mean=mean)}


def test_bins_are_counted_once_between_the_ends_of_all_parts() -> None:
    rows = [row(number) for number in range(300)]
    parts = Parts([rows[:120], rows[120:], []])
    merged = merging.facets(parts, COLUMNS, 4)
    expected = facets_of(rows, COLUMNS, 4)
    assert merged.rows == expected.rows
    assert plain(merged) == expected.columns
    ends = {"price": (1.0, 299**1.5), "day": (dt.date(2020, 1, 1), dt.date(2020, 10, 26))}
    assert parts.asked == [([column.name for column in COLUMNS], {}), (["price", "day"], ends)]


def test_only_a_column_of_very_many_values_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "ALL_VALUES", 2)
    rows = [row(number) | {"kind": "one"} for number in range(300)]
    parts, columns = Parts([rows[::2], rows[1::2]]), [COLUMNS[0], Column("kind", ColumnType.TEXT)]
    assert merging.facets(parts, columns, 2).columns == facets_of(rows, columns, 2).columns
    assert parts.asked == [(["name", "kind"], {}), (["name"], {})]
