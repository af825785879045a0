"""Filters against the columns that there are."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rowvec.errors import SearchError
from rowvec.filters.meaning import json_types
from rowvec.filters.paths import divisions
from rowvec.filters.tree import MAX_DEPTH, MAX_SUBSTRING, And, Compare, Filter, Not, Op, Or, check, compares, comparison
from rowvec.filters.values import CONVERT, EXPECTED, clipped, described, number_in_json
from rowvec.types import Column, ColumnType

SECOND_NAME = "let source.query give it under another name too, and add that name to store.metadata."
ADDING = (
    "To use another column of the rows, add it to store.metadata and run `rowvec sync`."
    f" It cannot be the key: {SECOND_NAME}"
)
_EQUALITY = frozenset({Op.EQ, Op.NE, Op.IN})
_ORDER = frozenset({Op.LT, Op.LE, Op.GT, Op.GE, Op.BETWEEN})
_OPERATORS: dict[ColumnType, frozenset[Op]] = {
    ColumnType.TEXT: _EQUALITY | _ORDER | {Op.CONTAINS, Op.LIKE, Op.SAME},
    ColumnType.BOOLEAN: _EQUALITY,
    ColumnType.UUID: _EQUALITY,
    ColumnType.JSON: frozenset({Op.CONTAINS}),
    ColumnType.ARRAY: frozenset({Op.CONTAINS}),
    ColumnType.BYTES: frozenset(),
}
"""Types not named here are compared and ordered. `is null` suits every type."""


def bind(where: Filter, columns: Sequence[Column], key: str = "") -> Filter:
    """The same filter with each value converted to the type of its column, ready for a store or `matches`.

    Conversion is strict: `"12"` is not an integer, `1` is not a boolean. Dates, times and UUIDs are text in ISO 8601
    and with hyphens; a decimal may be text, because a JSON number cannot hold all its digits. Binding twice changes
    nothing.

    Args:
        key: the name of the key, which is not a metadata column; for the error that names it.

    Raises:
        SearchError: beyond the limits; an unknown column, with the nearest name; an operator or a value that does not
            suit the column's type.
    """
    check(where)
    if any(each.column == key for each in compares(where)) and key not in [column.name for column in columns]:
        raise SearchError(
            f"A filter cannot use the key {clipped(key)}.",
            hint=SECOND_NAME.capitalize(),
        )
    bound = _bound(where, {column.name: column for column in columns})
    check(bound)
    return bound


def _bound(where: Filter, known: Mapping[str, Column]) -> Filter:
    if isinstance(where, Not):
        return Not(_bound(where.part, known))
    if isinstance(where, And | Or):
        return replace(where, parts=tuple(_bound(part, known) for part in where.parts))
    where = _located(where, known)
    if None in where.values and where.op is not Op.IS_NULL:
        return _bound(comparison(where.name, where.op, where.value), known)
    if where.op is Op.IS_NULL:
        return replace(where, value=None, type=known[where.column].type)
    column = known[where.column]
    kind = _type_inside(where) if where.path else column.type
    _check_operator(where, kind)
    folds = where.op is Op.SAME or (column.ignores_case and kind is ColumnType.TEXT and not where.path)
    values = tuple(_converted(where, value, kind) for value in where.values)
    return replace(where, value=values if isinstance(where.value, tuple) else values[0], type=kind, ignores_case=folds)


def _located(where: Compare, known: Mapping[str, Column]) -> Compare:
    """With its path, if it names what is inside a JSON column. A column that has the whole name comes first."""
    if where.path or where.column in known:
        return where
    for column, path in divisions(where.column):
        if column in known and known[column].type is ColumnType.JSON:
            _check_path(where.column, column, path)
            return replace(where, column=column, path=path)
    raise unknown_column(where.column, known)


def _check_path(name: str, column: str, path: tuple[str, ...]) -> None:
    steps = "".join(path)
    if all(path) and len(path) <= MAX_DEPTH and len(steps) <= MAX_SUBSTRING and "\0" not in steps:
        try:
            steps.encode()
        except UnicodeEncodeError:
            pass
        else:
            return
    raise SearchError(
        f"{clipped(name)} is not a path inside the column {clipped(column)}.",
        hint=f"A path has up to {MAX_DEPTH} keys of objects, with dots between them. Keys that are not one word are in"
        ' double quotes: attrs."unit price".',
    )


def _type_inside(where: Compare) -> ColumnType:
    """The type that a value inside JSON must have to be compared."""
    if where.op is Op.CONTAINS:
        return ColumnType.ARRAY
    found = {next(iter(json_types(value)), ColumnType.TEXT) for value in where.values}
    if len(found) > 1:
        raise SearchError(
            f"The filter on {clipped(where.name)} mixes values of different types.",
            hint="A value inside JSON has its own type: compare it with text, with numbers, or with true and false.",
        )
    return found.pop() if found else ColumnType.TEXT


def unknown_column(name: str, known: Mapping[str, Column]) -> SearchError:
    """A filter has looked inside JSON before; what else names a column takes a whole one."""
    holder = next((each for each, _ in divisions(name) if each in known and known[each].type is ColumnType.JSON), None)
    if holder is not None:
        return SearchError(
            f"{clipped(name)} is inside the JSON column {clipped(holder)}, where only filters look.",
            hint="Give it a column of its own, such as a generated one, and add that to store.metadata.",
        )
    # Any case first: difflib takes `PRICE` and `price` for strangers.
    nearest = [other for other in known if other.lower() == name.lower()] or difflib.get_close_matches(name, known, 1)
    names = ", ".join(known) or "none"
    hint = f"Did you mean {nearest[0]!r}?" if nearest else f"The metadata columns are: {names}. {ADDING}"
    return SearchError(f"There is no metadata column {clipped(name)}.", hint=hint)


def _check_operator(where: Compare, kind: ColumnType) -> None:
    allowed = _OPERATORS.get(kind, _EQUALITY | _ORDER)
    if where.op not in allowed:
        names = [op.value for op in Op if op in allowed] + ["is null"]
        raise SearchError(
            f"The column {clipped(where.name)} holds {kind} values, which {where.op.value!r} does not suit.",
            hint=f"It can be used with: {', '.join(names)}.",
        )


def _converted(where: Compare, value: Any, kind: ColumnType) -> Any:
    try:
        in_json = where.path and kind is ColumnType.NUMBER
        converted = number_in_json(value) if in_json else CONVERT[kind](value)
        if kind is ColumnType.INTEGER and where.op in _EQUALITY and isinstance(converted, float):
            raise ValueError("a fraction, which no integer equals")
    except (TypeError, ValueError, ArithmeticError) as error:
        reason = f" ({error})" if isinstance(error, ValueError) and len(str(error)) < 60 else ""
        raise SearchError(
            f"The column {clipped(where.name)} holds {kind} values; {described(value)} is not one{reason}.",
            hint=f"Write {EXPECTED[kind]}.",
        ) from None
    return converted
