"""The order in which rows are browsed: `price desc`. Rows without a value come last, and equal values by key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rowvec.errors import SearchError
from rowvec.filters.binding import unknown_column
from rowvec.filters.meaning import comparable, lowered
from rowvec.filters.tree import Compare, Op
from rowvec.filters.values import clipped
from rowvec.types import Column, ColumnType, Key

UNORDERED = (ColumnType.JSON, ColumnType.ARRAY, ColumnType.BYTES)
_FORM = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^\s",]+))(?:\s+(?P<way>asc|desc))?\s*', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Order:
    """By a metadata column: numbers and moments by size, texts by code point, `false` before `true`."""

    column: Column
    falling: bool = False

    @property
    def name(self) -> str:
        return f"{self.column.name} {'desc' if self.falling else 'asc'}"

    @property
    def operand(self) -> Compare:
        """How a filter compares the column: an order follows the same rule."""
        return Compare(self.column.name, Op.LT, None, self.column.type, ignores_case=self.column.ignores_case)


class Place(NamedTuple):
    """A row in an order: what comes after it is the next page."""

    value: Any
    """Of the column of the order, as a filter compares it. None where there is no such column."""
    key: Key


def parse_order(text: str, columns: Sequence[Column]) -> Order:
    """
    Args:
        text: a column, in double quotes if it is not one word, and `asc` or `desc`.

    Raises:
        SearchError: it cannot be read, there is no such column, or its values have no order.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise SearchError(
            f"The order {clipped(text)} cannot be read.",
            hint='Write one column, and asc or desc: price desc. A name of several words is in quotes: "unit price".',
        )
    name = found["plain"] or found["quoted"].replace('""', '"')
    known = {column.name: column for column in columns}
    if name not in known:
        raise unknown_column(name, known)
    if known[name].type in UNORDERED:
        raise SearchError(f"The column {clipped(name)} holds {known[name].type} values, which have no order.")
    return Order(known[name], (found["way"] or "").lower() == "desc")


def place_value(value: Any, order: Order) -> Any:
    """A value of the column as the order compares it; None for what has no place, such as NaN."""
    value = comparable(value, order.operand)
    return lowered(value) if value is not None and order.column.ignores_case else value


def browsed(rows: Mapping[Key, Mapping[str, Any]], order: Order | None, after: Place | None) -> list[Key]:
    """The keys in that order: by definition, what every store must answer."""
    keys: list[Any] = sorted(rows)
    if order is None:
        return [key for key in keys if after is None or key > after.key]
    places = {key: place_value(rows[key][order.column.name], order) for key in keys}
    held = [key for key in keys if places[key] is not None]
    # A stable sort leaves equal values in the order of their keys, also where it is reversed.
    held.sort(key=lambda key: places[key], reverse=order.falling)
    listed = held + [key for key in keys if places[key] is None]
    return listed if after is None else list(_behind(listed, places, order, after))


def _behind(listed: Iterable[Any], places: Mapping[Any, Any], order: Order, after: Place) -> Iterable[Key]:
    for key in listed:
        value = places[key]
        if value == after.value:
            behind = key > after.key
        elif value is None or after.value is None:
            behind = value is None
        else:
            behind = value < after.value if order.falling else value > after.value
        if behind:
            yield key
