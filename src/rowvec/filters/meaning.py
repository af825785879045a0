"""What a filter means."""

from __future__ import annotations

import datetime as dt
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from rowvec.filters.tree import And, Compare, Filter, Not, Op, Or
from rowvec.types import ColumnType


def matches(where: Filter, metadata: Mapping[str, Any]) -> bool:
    """Whether a row is found by a bound filter: by definition, what every store must answer."""
    return _truth(where, metadata) is True


def _truth(where: Filter, metadata: Mapping[str, Any]) -> bool | None:
    """True, false, or None for unknown, by SQL's tables."""
    if isinstance(where, Not):
        inner = _truth(where.part, metadata)
        return None if inner is None else not inner
    if isinstance(where, And | Or):
        decisive = isinstance(where, Or)
        outcomes = [_truth(part, metadata) for part in where.parts]
        return decisive if decisive in outcomes else None if None in outcomes else not decisive
    if where.type is None:
        raise TypeError(f"The filter on {where.column!r} is not bound: call bind() first.")
    value = _comparable(metadata[where.column])
    if where.op is Op.IS_NULL:
        return value is None
    if where.op is Op.IN and not where.value:
        return False
    return None if value is None else _TESTS[where.op](value, where)


def _comparable(value: Any) -> Any:
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        return value.replace(tzinfo=dt.UTC)
    return None if isinstance(value, float) and math.isnan(value) else value


def letter_cases(text: str) -> list[str]:
    """For each character, all the characters that it equals when case does not count.

    One list for Python, PostgreSQL and SQLite makes their answers the same whatever the locale of the database,
    SQLite's own `lower` knowing ASCII alone. Only pairs of single characters count: ß is not ss.
    """

    def cases(character: str) -> str:
        lower, upper = character.lower(), character.upper()
        found = {character, lower, upper, lower.upper(), upper.lower()}
        return "".join(sorted(case for case in found if len(case) == 1))

    return [cases(character) for character in text]


def _contains(value: Any, where: Compare) -> bool:
    if where.type is ColumnType.TEXT:
        pattern = "".join(f"[{re.escape(cases)}]" for cases in letter_cases(where.value))
        return re.search(pattern, value) is not None
    if not isinstance(value, list | tuple):
        return False
    # To Python, True equals 1; to JSON it does not.
    boolean = isinstance(where.value, bool)
    return any(member == where.value and isinstance(member, bool) is boolean for member in value)


def _binary(test: Callable[[Any, Any], Any]) -> Callable[[Any, Compare], bool]:
    return lambda value, where: bool(test(value, where.value))


_TESTS: dict[Op, Callable[[Any, Compare], bool]] = {
    Op.EQ: _binary(operator.eq),
    Op.NE: _binary(operator.ne),
    Op.LT: _binary(operator.lt),
    Op.LE: _binary(operator.le),
    Op.GT: _binary(operator.gt),
    Op.GE: _binary(operator.ge),
    Op.IN: lambda value, where: value in where.value,
    Op.BETWEEN: lambda value, where: bool(where.value[0] <= value <= where.value[1]),
    Op.CONTAINS: _contains,
}
