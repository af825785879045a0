"""The types of columns that nobody declares, told by their values, and kept from one sync to the next.

A type holds every value without loss. It only ever widens: an integer that is joined by 5.5 is a number, and one that
is joined by `A12` is text. What was told once is remembered, so that a file whose later rows say less, or other
things, does not change what is there already.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from rowvec.documents.values import clean
from rowvec.errors import SourceError
from rowvec.sources.column_types import inferred
from rowvec.types import Column, ColumnType, is_bigint

CELLS_AT_ONCE = 50_000
EXACT_INTEGERS = 2**53
"""Up to here a float holds every integer."""
EXACT_DIGITS = 15
"""A decimal of up to this many digits is still told from every other one as a float."""
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_FAR = re.compile(r"[eE][-+]?[0-9]{3}|[0-9]{300}")
_BOOLEAN = re.compile(r"true|false|True|False|TRUE|FALSE")
_DATES = (
    (ColumnType.DATE, re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")),
    (
        ColumnType.TIMESTAMP,
        re.compile(
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[-+][0-9]{2}:?[0-9]{2})?"
        ),
    ),
)
_WIDER = {
    frozenset({ColumnType.INTEGER, ColumnType.NUMBER}): ColumnType.NUMBER,
    frozenset({ColumnType.INTEGER, ColumnType.DECIMAL}): ColumnType.DECIMAL,
    frozenset({ColumnType.NUMBER, ColumnType.DECIMAL}): ColumnType.DECIMAL,
    frozenset({ColumnType.DATE, ColumnType.TIMESTAMP}): ColumnType.TIMESTAMP,
    frozenset({ColumnType.ARRAY, ColumnType.JSON}): ColumnType.JSON,
}


def widened(first: ColumnType | None, second: ColumnType | None) -> ColumnType | None:
    """The narrowest type that holds the values of both without loss; None is that of no value."""
    if first is None or second is None or first is second:
        return first or second
    return _WIDER.get(frozenset({first, second}), ColumnType.TEXT)


class Tally:
    """The types of columns by all of their values.

    Args:
        numbers: strings count as numbers and booleans too, as in CSV; as dates they count in any case.
    """

    def __init__(self, *, numbers: bool) -> None:
        self._numbers = numbers
        self.types: dict[str, ColumnType | None] = {}
        """In the order in which the columns were first seen."""
        self._large: set[str] = set()
        """Columns of integers that a float does not hold."""

    def add(self, rows: Iterable[Mapping[str, Any]], names: Collection[str] | None = None) -> None:
        """
        Args:
            names: the columns to look at; all of them when None.
        """
        remaining = iter(rows)
        at_once = max(1, CELLS_AT_ONCE // max(len(names or ()), 50))
        while some := list(islice(remaining, at_once)):
            columns: dict[str, list[Any]] = {}
            for row in some:
                for name, value in row.items():
                    if self.types.get(name, None) is not ColumnType.TEXT and (names is None or name in names):
                        columns.setdefault(name, []).append(value)
            for name, values in columns.items():
                self.see(name, values)

    def see(self, name: str, values: Iterable[Any]) -> None:
        kind, large = _type_of([value for value in values if value is not None], self._numbers)
        if large:
            self._large.add(name)
        found = widened(self.types.get(name), kind)
        self.types[name] = ColumnType.DECIMAL if found is ColumnType.NUMBER and name in self._large else found


def _type_of(values: Sequence[Any], numbers: bool) -> tuple[ColumnType | None, bool]:
    """The type of some values, and whether there are integers among them that a float does not hold."""
    if not values:
        return None, False
    if all(isinstance(value, str) for value in values):
        return _type_of_texts(values, numbers)
    kind = inferred(values)
    integers = [value for value in values if type(value) is int]
    large = kind in (ColumnType.INTEGER, ColumnType.NUMBER) and any(abs(each) > EXACT_INTEGERS for each in integers)
    if large and (kind is ColumnType.NUMBER or not all(map(is_bigint, integers))):
        kind = ColumnType.DECIMAL
    return kind, large


def _type_of_texts(values: Sequence[str], numbers: bool) -> tuple[ColumnType, bool]:
    if numbers:
        if all(map(_BOOLEAN.fullmatch, values)):
            return ColumnType.BOOLEAN, False
        if all(map(_INTEGER.fullmatch, values)):
            longest = max(values, key=len)
            large = len(longest) > EXACT_DIGITS
            # Of 19 digits some fit into 64 bits.
            fits = len(longest) < 19 or (len(longest) <= 20 and all(is_bigint(int(each)) for each in values))
            return (ColumnType.INTEGER if fits else ColumnType.DECIMAL), large
        if all(map(_NUMBER.fullmatch, values)):
            exact = all(len(each) <= EXACT_DIGITS or _digits(each) <= EXACT_DIGITS for each in values)
            exact = exact and all(map(_in_reach, filter(_FAR.search, values)))
            large = not exact
            return (ColumnType.NUMBER if exact else ColumnType.DECIMAL), large
    for kind, pattern in _DATES:
        if all(map(pattern.fullmatch, values)):
            return kind, False
    if all(any(pattern.fullmatch(value) for _, pattern in _DATES) for value in values):
        return ColumnType.TIMESTAMP, False
    return ColumnType.TEXT, False


def _in_reach(number: str) -> bool:
    """A float of it is neither infinite nor, of something else than 0, zero."""
    value = float(number)
    return math.isfinite(value) and (value != 0 or not _digits(number))


def _digits(number: str) -> int:
    return len(re.split("[eE]", number)[0].lstrip("-0.").replace(".", ""))


def arranged(
    found: Mapping[str, ColumnType | None],
    remembered: Sequence[Column],
    *,
    declared: Collection[str] = (),
    keep_absent: bool = False,
) -> list[Column]:
    """The columns in the order in which they were first seen, new ones last; their types widened by those remembered.

    So a column list in another order, or a row that is gone, changes the text of no other row.

    Args:
        declared: columns whose type is not told by values: it stays as it was found.
        keep_absent: a column that is not found is one whose values are all null.

    Raises:
        SourceError: a name that no store can keep.
    """
    odd = next((name for name in found if clean(name) != name), None)
    if odd is not None:
        raise SourceError(
            f"The column {odd!r} has a NUL or half of a surrogate pair in its name, which a store cannot keep.",
            hint="Give it another name.",
        )
    before = {column.name: column for column in remembered}
    names = [name for name in before if keep_absent or name in found]
    names += [name for name in found if name not in before]
    return [_arranged(name, found.get(name), before.get(name), name in declared) for name in names]


def _arranged(name: str, found: ColumnType | None, before: Column | None, declared: bool) -> Column:
    was = None if before is None or not before.told else before.type
    kind = found if declared and found is not None else widened(was, found)
    return Column(
        name, kind or ColumnType.TEXT, told=kind is not None, was_boolean=before is not None and before.yes_no
    )


def in_order(columns: Sequence[Column], remembered: Sequence[Column]) -> list[Column]:
    """Columns whose types are declared, in the order in which they were first seen."""
    found = {column.name: column.type if column.told else None for column in columns}
    folding = {column.name for column in columns if column.ignores_case}
    return [
        replace(column, ignores_case=column.name in folding)
        for column in arranged(found, remembered, declared=found.keys())
    ]


def changes(before: Sequence[Column], now: Sequence[Column]) -> Iterator[str]:
    """In sentences, what is of another type than it was, new, or gone."""
    was = {column.name: column for column in before}
    there = {column.name for column in now}
    for column in now:
        old = was.get(column.name)
        if old is None:
            yield f"The column {column.name!r} ({column.type}) is new: it comes last where a text has all columns."
        elif old.told and old.type is not column.type:
            yield f"The column {column.name!r} is {column.type} now, and was {old.type}."
        elif column.told and not old.told:
            yield f"The column {column.name!r} is {column.type}: no value had told that before."
    for column in before:
        if column.name not in there:
            yield f"The column {column.name!r} is gone."
