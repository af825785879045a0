"""A filter as a tree of values, and the limits it is held to."""

from __future__ import annotations

import datetime as dt
import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

from rowvec.errors import SearchError
from rowvec.filters.paths import written
from rowvec.filters.values import clipped, described, printable
from rowvec.types import ColumnType

MAX_DEPTH = 20
"""And, Or and Not inside each other."""
MAX_CONDITIONS = 200
MAX_VALUES = 1_000
"""Of one `in`."""
MAX_VALUES_IN_ALL = 10_000
MAX_TEXT = 10_000
"""Characters of one value."""
MAX_SUBSTRING = 1_000
"""Characters of what a text is to contain, or of a pattern."""
MAX_WILDCARDS = 10
"""Signs in one `like` that stand for any text: each can multiply the ways to try."""


class Op(enum.StrEnum):
    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    IN = "in"
    BETWEEN = "between"
    IS_NULL = "is null"
    CONTAINS = "contains"
    LIKE = "like"
    SAME = "~="


@dataclass(frozen=True, slots=True)
class Compare:
    """`column op value`; the value is a tuple for IN and BETWEEN, None for IS_NULL.

    `type` is that of the column and is filled in by `bind`. `path` leads to a value inside a JSON column: `bind` takes
    it from what follows the name of such a column, `attrs.color`, and `type` is then that of the values compared with.
    """

    column: str
    op: Op
    value: Any = None
    type: ColumnType | None = None
    path: tuple[str, ...] = ()
    ignores_case: bool = False
    """The column does, or the operator; filled in by `bind`."""

    @property
    def name(self) -> str:
        """As it is written: the column, and what leads inside it."""
        return written(self.column, self.path) if self.path else self.column

    @property
    def values(self) -> tuple[Any, ...]:
        if self.op is Op.IS_NULL:
            return ()
        return self.value if self.op in (Op.IN, Op.BETWEEN) else (self.value,)


@dataclass(frozen=True, slots=True)
class And:
    """True for every row if it has no parts."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """False for every row if it has no parts."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


Filter: TypeAlias = Compare | And | Or | Not


def comparison(column: str, op: Op, value: Any) -> Filter:
    """`column op value`, where a value of None asks for nulls: `price = null` is `price is null`.

    Raises:
        SearchError: another operator with None.
    """
    if op is Op.IS_NULL:
        return Compare(column, op)
    if value is None and op in (Op.EQ, Op.NE):
        missing = Compare(column, Op.IS_NULL)
        return missing if op is Op.EQ else Not(missing)
    if value is None or (op in (Op.IN, Op.BETWEEN) and None in value):
        raise SearchError(
            f"The filter on {clipped(column)} uses null with {op.value!r}, which no row can satisfy.",
            hint=f"Ask for nulls on their own: ... or {printable(column)} is null",
        )
    return Compare(column, op, value)


def compares(where: Filter) -> Iterator[Compare]:
    """The conditions of a filter that is within its limits."""
    if isinstance(where, Compare):
        yield where
    else:
        for part in (where.part,) if isinstance(where, Not) else where.parts:
            yield from compares(part)


def check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise SearchError(f"The filter is nested more than {MAX_DEPTH} deep.", hint="Write it flatter.")


def check(where: Filter) -> None:
    """Hold a filter, however it came about, to the limits.

    Raises:
        SearchError: too deep, too many conditions or values, a value too long or not one that can be compared.
    """
    conditions = values = 0
    pending: list[tuple[Filter, int]] = [(where, 0)]
    while pending:
        part, depth = pending.pop()
        check_depth(depth)
        if isinstance(part, And | Or):
            pending += [(inner, depth + 1) for inner in part.parts]
        elif isinstance(part, Not):
            pending.append((part.part, depth + 1))
        else:
            conditions += 1
            values += len(part.values)
            _check_values(part)
        # An empty `and` or `or` costs as much as a condition.
        conditions += isinstance(part, And | Or) and not part.parts
        if conditions > MAX_CONDITIONS:
            raise SearchError(
                f"The filter has more than {MAX_CONDITIONS} conditions.", hint="Join equalities with `in`."
            )
        if values > MAX_VALUES_IN_ALL:
            raise SearchError(f"The filter has more than {MAX_VALUES_IN_ALL:,} values in all.")


def _check_values(part: Compare) -> None:
    name = clipped(part.column)
    if part.op is Op.BETWEEN and len(part.values) != 2:
        raise SearchError(f"`between` on {name} has {len(part.values)} values; it takes the lowest and the highest.")
    if len(part.values) > max(MAX_VALUES, 2):
        raise SearchError(f"`in` on {name} has {len(part.values):,} values; the maximum is {MAX_VALUES:,}.")
    is_pattern = (
        part.op in (Op.LIKE, Op.SAME) or part.ignores_case or (part.op is Op.CONTAINS and part.type is ColumnType.TEXT)
    )
    longest = MAX_SUBSTRING if is_pattern else MAX_TEXT
    if part.op is Op.LIKE and isinstance(part.value, str) and part.value.count("%") > MAX_WILDCARDS:
        raise SearchError(f"`like` on {name} has more than {MAX_WILDCARDS} %.", hint="Use fewer, or `contains`.")
    for value in part.values:
        if isinstance(value, str):
            _check_text(value, name, longest)
        elif isinstance(value, int | float):
            _check_number(value, name)
        elif not isinstance(value, None | Decimal | dt.date | dt.time | dt.timedelta | UUID):
            raise SearchError(f"The filter on {name} has {described(value)} where one value belongs.")


def _check_text(value: str, name: str, longest: int) -> None:
    if len(value) > longest:
        raise SearchError(f"The filter on {name} has a text of {len(value):,} characters; the maximum is {longest:,}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SearchError(f"The filter on {name} has half a surrogate pair, which is not text.") from None
    if "\0" in value:
        raise SearchError(f"The filter on {name} has a NUL character, which databases cannot hold in a text.")


def _check_number(value: float, name: str) -> None:
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise SearchError(f"The filter on {name} has a number that is infinite, too large, or not a number (NaN).")
