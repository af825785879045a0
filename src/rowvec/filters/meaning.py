"""What a filter means."""

from __future__ import annotations

import datetime as dt
import enum
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from rowvec.filters.tree import And, Compare, Filter, Not, Op, Or
from rowvec.support.intervals import interval_of
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
    value = comparable(_inside(metadata[where.column], where) if where.path else metadata[where.column], where)
    if where.op is Op.IS_NULL:
        return value is None
    if where.op is Op.IN and not where.value:
        return False
    if value is None:
        return None
    return (_FOLDED if where.ignores_case else _TESTS)[where.op](value, where)


def _inside(value: Any, where: Compare) -> Any:
    """What a JSON value holds at the end of a path; null if there is nothing, or a value of another type."""
    for step in where.path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if where.op is Op.IS_NULL or where.type in json_types(value) else None


def json_types(value: Any) -> tuple[ColumnType, ...]:
    """As what a JSON value can be compared."""
    if isinstance(value, bool):
        return (ColumnType.BOOLEAN,)
    if isinstance(value, int | float | Decimal):
        return (ColumnType.NUMBER,)
    if isinstance(value, str):
        return (ColumnType.TEXT,)
    return (ColumnType.ARRAY,) if isinstance(value, list | tuple) else ()


def comparable(value: Any, where: Compare) -> Any:
    if where.type is ColumnType.INTERVAL and isinstance(value, str):
        return interval_of(value).span
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        return value.replace(tzinfo=dt.UTC)
    return None if isinstance(value, float | Decimal) and math.isnan(value) else value


class Wild(enum.Enum):
    """What stands in a pattern for characters that are not named."""

    ANY = "%"
    ONE = "_"


def pattern(where: Compare) -> list[str | Wild]:
    """What a text has to look like from its first to its last character, for `contains`, `like` and `~=`."""
    if where.op is Op.CONTAINS:
        return [Wild.ANY, *where.value, Wild.ANY]
    if where.op is Op.SAME:
        return list(where.value)
    signs = {wild.value: wild for wild in Wild}
    parts: list[str | Wild] = []
    characters = iter(where.value)
    for character in characters:
        # A backslash at the very end stands for itself.
        parts.append(next(characters, "\\") if character == "\\" else signs.get(character, character))
    return parts


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


def lowered(text: str) -> str:
    """A text as it is ordered where case does not count. ASCII alone, so that no locale has a say."""
    return text.translate(_LOWER)


_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


def _contains(value: Any, where: Compare) -> bool:
    if where.type is ColumnType.TEXT:
        return _like(value, where)
    if not isinstance(value, list | tuple):
        return False
    # To Python, True equals 1; to JSON it does not.
    boolean = isinstance(where.value, bool)
    return any(member == where.value and isinstance(member, bool) is boolean for member in value)


def _like(value: str, where: Compare) -> bool:
    return _fits(value, pattern(where))


def _fits(value: str, parts: Sequence[str | Wild]) -> bool:
    wild = {Wild.ANY: ".*", Wild.ONE: "."}
    expression = "".join(
        wild[part] if isinstance(part, Wild) else f"[{re.escape(letter_cases(part)[0])}]" for part in parts
    )
    return re.fullmatch(expression, value, re.DOTALL) is not None


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
    Op.LIKE: _like,
}


def _among(value: str, where: Compare) -> bool:
    return any(_fits(value, list(other)) for other in where.values)


def _in_order(value: str, where: Compare) -> bool:
    values = tuple(map(lowered, where.values))
    return _TESTS[where.op](lowered(value), replace(where, value=values if where.op is Op.BETWEEN else values[0]))


_FOLDED: dict[Op, Callable[[Any, Compare], bool]] = {
    **dict.fromkeys((Op.LT, Op.LE, Op.GT, Op.GE, Op.BETWEEN), _in_order),
    Op.EQ: _among,
    Op.SAME: _among,
    Op.NE: lambda value, where: not _among(value, where),
    Op.IN: _among,
    Op.CONTAINS: _contains,
    Op.LIKE: _like,
}
"""Where case does not count. Texts are equal if each letter is; only ASCII counts for their order."""
