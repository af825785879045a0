"""Filters against the columns that there are."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rowvec.errors import SearchError
from rowvec.filters.tree import And, Compare, Filter, Not, Op, Or, check, comparison
from rowvec.filters.values import CONVERT, EXPECTED, clipped, described
from rowvec.types import Column, ColumnType

_EQUALITY = frozenset({Op.EQ, Op.NE, Op.IN})
_ORDER = frozenset({Op.LT, Op.LE, Op.GT, Op.GE, Op.BETWEEN})
_OPERATORS: dict[ColumnType, frozenset[Op]] = {
    ColumnType.TEXT: _EQUALITY | _ORDER | {Op.CONTAINS},
    ColumnType.BOOLEAN: _EQUALITY,
    ColumnType.UUID: _EQUALITY,
    ColumnType.JSON: frozenset({Op.CONTAINS}),
    ColumnType.ARRAY: frozenset({Op.CONTAINS}),
    ColumnType.BYTES: frozenset(),
}
"""Types not named here are compared and ordered. `is null` suits every type."""


def bind(where: Filter, columns: Sequence[Column]) -> Filter:
    """The same filter with each value converted to the type of its column, ready for a store or `matches`.

    Conversion is strict: `"12"` is not an integer, `1` is not a boolean. Dates, times and UUIDs are text in ISO 8601
    and with hyphens; a decimal may be text, because a JSON number cannot hold all its digits. Binding twice changes
    nothing.

    Raises:
        SearchError: beyond the limits; an unknown column, with the nearest name; an operator or a value that does not
            suit the column's type.
    """
    check(where)
    bound = _bound(where, {column.name: column.type for column in columns})
    check(bound)
    return bound


def _bound(where: Filter, types: Mapping[str, ColumnType]) -> Filter:
    if isinstance(where, Not):
        return Not(_bound(where.part, types))
    if isinstance(where, And | Or):
        return replace(where, parts=tuple(_bound(part, types) for part in where.parts))
    if where.column not in types:
        raise unknown_column(where.column, types)
    kind = types[where.column]
    if where.op is Op.IS_NULL:
        return Compare(where.column, where.op, None, kind)
    if None in where.values:
        return _bound(comparison(where.column, where.op, where.value), types)
    _check_operator(where, kind)
    values = tuple(_converted(where, value, kind) for value in where.values)
    return Compare(where.column, where.op, values if isinstance(where.value, tuple) else values[0], kind)


def unknown_column(name: str, known: Mapping[str, Any] | Sequence[str]) -> SearchError:
    # Any case first: difflib takes `PRICE` and `price` for strangers.
    nearest = [other for other in known if other.lower() == name.lower()] or difflib.get_close_matches(name, known, 1)
    names = ", ".join(known) or "none"
    hint = f"Did you mean {nearest[0]!r}?" if nearest else f"The metadata columns are: {names}."
    return SearchError(f"There is no metadata column {clipped(name)}.", hint=hint)


def _check_operator(where: Compare, kind: ColumnType) -> None:
    allowed = _OPERATORS.get(kind, _EQUALITY | _ORDER)
    if where.op not in allowed:
        names = [op.value for op in Op if op in allowed] + ["is null"]
        raise SearchError(
            f"The column {clipped(where.column)} holds {kind} values, which {where.op.value!r} does not suit.",
            hint=f"It can be used with: {', '.join(names)}.",
        )


def _converted(where: Compare, value: Any, kind: ColumnType) -> Any:
    try:
        converted = CONVERT[kind](value)
        if kind is ColumnType.INTEGER and where.op in _EQUALITY and isinstance(converted, float):
            raise ValueError("a fraction, which no integer equals")
    except (TypeError, ValueError, ArithmeticError) as error:
        reason = f" ({error})" if isinstance(error, ValueError) and len(str(error)) < 60 else ""
        raise SearchError(
            f"The column {clipped(where.column)} holds {kind} values; {described(value)} is not one{reason}.",
            hint=f"Write {EXPECTED[kind]}.",
        ) from None
    return converted
