"""The rows that a statement works with, as two values: an array of what JSON can say, and the bytes of all the rest.

To bind ten values of each row takes longer than to write the rows. A float is given as an integer and how often that
is halved, of which SQLite makes that very float: decimals it reads in a way that may miss the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from rowvec.stores.libsql.database import Statement, Values

ROWS = 500
"""Rows in one statement."""
BYTES = 2**20
"""Of values in one statement of several rows: over HTTP it has to fit into one request."""
_LONGEST = 62
"""Bits that one step shifts, within an integer of SQLite."""


class _Kind(Enum):
    PLAIN = "PLAIN"
    HALVED = "HALVED"
    HEX = "HEX"


class LeftOut(NamedTuple):
    """A float that is too large or too small to be given: null stands in its place."""

    row: int
    column: str
    value: float


class NewRows:
    """`new`, a table of rows, for the head of a statement. `left_out` names what is to be written by itself.

    Args:
        told: the names of the columns of `values`, quoted where need be.
        values: of each row; None, int, float, str or bytes.
        packed: further columns: how many bytes each has, the same in all rows.
        data: the values of those columns, one row after the other; anything that is made of bytes.

    Raises:
        ValueError: a value of `data` has another number of bytes; raised by `statements`.
    """

    def __init__(
        self,
        told: Sequence[str],
        values: Sequence[Sequence[Any]],
        packed: Mapping[str, int] | None = None,
        data: Sequence[Any] = (),
    ) -> None:
        packed = packed or {}
        kinds = [_kind(set(map(type, column))) for column in zip(*values, strict=True)]
        self.left_out: list[LeftOut] = []
        self._values = values
        if any(kind is not _Kind.PLAIN for kind in kinds):
            self._values = [self._said(row, place, kinds, told) for place, row in enumerate(values)]
        self._data, self._packed, self._bytes = data, len(packed), sum(packed.values())
        columns = [*_told(kinds), *_cut(packed)]
        self._head = f"with new ({', '.join([*told, *packed])}) as (select {', '.join(columns)} from json_each(?1))"

    def _said(self, row: Sequence[Any], place: int, kinds: Sequence[_Kind], told: Sequence[str]) -> list[Any]:
        said: list[Any] = []
        for value, kind, column in zip(row, kinds, told, strict=True):
            if kind is _Kind.PLAIN:
                said.append(value)
            elif kind is _Kind.HEX:
                said.append(None if value is None else value.hex())
            elif type(value) is not float:
                said += (value, None)
            else:
                halved = _halved(value)
                if halved is None:
                    self.left_out.append(LeftOut(place, column, value))
                said += halved or (None, None)
        return said

    def statements(self, sql: str, *more: Any) -> list[Statement]:
        """Those that do `sql` for all of the rows; `more` are the values of its own `?`."""
        made: list[Statement] = []
        for start in range(0, len(self._values), ROWS):
            made += self._of(f"{self._head} {sql}", start, min(start + ROWS, len(self._values)), more)
        return made

    def _of(self, sql: str, start: int, end: int, more: Values) -> Iterator[Statement]:
        told = json.dumps(self._values[start:end], ensure_ascii=False, separators=(",", ":"))
        data = b"".join(self._data[start * self._packed : end * self._packed])
        if len(data) != self._bytes * (end - start):
            raise ValueError("A hash or a vector has another length than its column.")
        if len(told) + len(data) <= BYTES or end - start == 1:
            yield Statement(sql, (told, data, *more) if self._packed else (told, *more))
            return
        middle = (start + end) // 2
        yield from self._of(sql, start, middle, more)
        yield from self._of(sql, middle, end, more)


def _kind(types: Collection[type]) -> _Kind:
    if float in types:
        return _Kind.HALVED
    return _Kind.HEX if bytes in types else _Kind.PLAIN


def _told(kinds: Sequence[_Kind]) -> Iterator[str]:
    """Columns out of an array, which has two numbers for a float."""
    place = 0
    for kind in kinds:
        value = f"value ->> {place}"
        if kind is _Kind.HALVED:
            place += 1
            halvings = f"value ->> {place}"
            once, twice = f"1 << min({halvings}, {_LONGEST})", f"1 << max(({halvings}) - {_LONGEST}, 0)"
            yield f"iif({halvings} is null, {value}, ({value}) * 1.0 / ({once}) / ({twice}))"
        else:
            yield f"unhex({value})" if kind is _Kind.HEX else value
        place += 1


def _cut(packed: Mapping[str, int]) -> Iterator[str]:
    """Columns out of the bytes, where `key` is the place of a row."""
    start, row = 1, sum(packed.values())
    for size in packed.values():
        yield f"substr(?2, {start} + {row} * key, {size})"
        start += size


def _halved(value: float) -> tuple[int, int] | None:
    """An integer, and how often it is halved."""
    try:
        above, below = value.as_integer_ratio()
    except OverflowError:
        return None  # It is infinite.
    halvings = below.bit_length() - 1
    return (above, halvings) if above.bit_length() <= _LONGEST and halvings <= 2 * _LONGEST else None
