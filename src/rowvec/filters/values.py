"""The values of a filter, made into values of a column's type: strictly, or with a reason why not."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

from rowvec.support.intervals import interval_of
from rowvec.support.plain_numbers import is_plain, uuid_of
from rowvec.types import ColumnType, is_bigint

_DIGITS = 300
_MOMENT = re.compile(r"[0-9W-]+(?:[Tt ][0-9:.,]+(?:[Zz]|[-+][0-9:.]+)?)?")
NAMES_OF_NULL = frozenset({"null", "none", "nil", "undefined"})
"""What other languages call a missing value."""


def clipped(text: str) -> str:
    """A name or text in quotes for a message, cut where it is long."""
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}..."


def printable(text: str, longest: int = 60) -> str:
    """Input as part of a message: cut, and with spaces for what would break a line or cannot be encoded."""
    shown = "".join(character if character.isprintable() else " " for character in text[:longest])
    return shown if len(text) <= longest else f"{shown}..."


def described(value: Any) -> str:
    """What a value is, in a user's words."""
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    for kind, name in _NAMES.items():
        if isinstance(value, kind):
            return f"the {name} {clipped(value) if isinstance(value, str) else str(value)[:60]}"
    return _OTHERS.get(type(value), f"a {type(value).__name__}")


_NAMES: dict[type, str] = {
    str: "text",
    int: "integer",
    float: "number",
    Decimal: "decimal",
    dt.datetime: "timestamp",
    dt.date: "date",
    dt.time: "time",
    dt.timedelta: "duration",
    UUID: "UUID",
}
_OTHERS: dict[type, str] = {type(None): "null", list: "a list", tuple: "a list", dict: "an object"}

EXPECTED: dict[ColumnType, str] = {
    ColumnType.INTEGER: "a whole number without quotes, such as 100",
    ColumnType.NUMBER: "a number without quotes, such as 99.5",
    ColumnType.DECIMAL: "a number such as 99.50",
    ColumnType.BOOLEAN: "true or false",
    ColumnType.TEXT: "text in quotes",
    ColumnType.DATE: "a date in quotes, such as '2024-05-01'",
    ColumnType.TIME: "a time of day in quotes, such as '12:30'",
    ColumnType.TIMESTAMP: "a date or time in quotes, such as '2024-05-01' or '2024-05-01T12:30:00Z'",
    ColumnType.INTERVAL: "a duration in quotes, such as '2 days', '1 hour 30 min' or 'P2D'",
    ColumnType.UUID: "a UUID in quotes, such as '6f1c2f0e-8a55-4a53-9d0c-0d1f4a3b2c1d'",
    ColumnType.JSON: "text, a number, true or false",
    ColumnType.ARRAY: "text, a number, true or false",
}


def _number_of(value: Any) -> int | float | Decimal:
    if isinstance(value, Decimal):
        return _sized(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return value


def _sized(number: Decimal) -> Decimal:
    """A decimal that can be worked with: 1e999999 is eight characters, and as an integer a million digits."""
    if not number.is_finite():
        raise ValueError("not a finite number")
    if number and (abs(number.adjusted()) > _DIGITS or len(number.as_tuple().digits) > _DIGITS):
        raise ValueError(f"more than {_DIGITS} digits")
    return number


def _integer(value: Any) -> int | float:
    """A fraction stays one: `price < 99.5` is a fair question about integers."""
    number = _number_of(value)
    if number != int(number):
        return float(number)
    if not is_bigint(number):
        raise ValueError("more than 64 bits")
    return int(number)


def _number(value: Any) -> float:
    number = float(_number_of(value))
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


def number_in_json(value: Any) -> int | float | Decimal:
    """JSON has no types of numbers: one that no double holds, such as an id, is compared to its last digit."""
    number, exact = _number(value), _number_of(value)
    if isinstance(exact, int) and abs(exact) >= 2**53 and is_bigint(exact):
        return exact
    return number if isinstance(exact, float) or Decimal(repr(number)) == exact else Decimal(exact)


def _decimal(value: Any) -> Decimal:
    # By way of its digits: Decimal(0.1) has 55 of them.
    number = _sized(Decimal(value if isinstance(value, str) else str(_number_of(value))))
    if isinstance(value, str) and not is_plain(value.removeprefix("+")):
        raise ValueError("not written as a number")
    return number


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _date(value: Any) -> dt.date:
    if isinstance(value, str):
        return dt.date.fromisoformat(value)
    if type(value) is not dt.date:
        raise TypeError
    return value


def _time(value: Any) -> dt.time:
    time = dt.time.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(time, dt.time):
        raise TypeError
    if time.tzinfo is not None:
        raise ValueError("it has an offset from UTC")
    return time


def _timestamp(value: Any) -> dt.datetime:
    if isinstance(value, str):
        if _MOMENT.fullmatch(value) is None:
            # Python takes any character between a date and a time.
            raise ValueError("not written as a date or time")
        value = dt.datetime.fromisoformat(value)
    elif type(value) is dt.date:
        value = dt.datetime(value.year, value.month, value.day)
    if not isinstance(value, dt.datetime):
        raise TypeError
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def _interval(value: Any) -> dt.timedelta:
    if not isinstance(value, str | dt.timedelta):
        raise TypeError
    return interval_of(value).span


def _uuid(value: Any) -> UUID:
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str):
        raise TypeError
    return uuid_of(value)


def _member(value: Any) -> str | float | Decimal | bool:
    """A scalar as JSON holds it."""
    if isinstance(value, str | bool):
        return value
    return _integer(value) if isinstance(value, int) else number_in_json(value)


def _nothing(value: Any) -> Any:
    raise TypeError


CONVERT: dict[ColumnType, Callable[[Any], Any]] = {
    ColumnType.INTEGER: _integer,
    ColumnType.NUMBER: _number,
    ColumnType.DECIMAL: _decimal,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.TEXT: _text,
    ColumnType.DATE: _date,
    ColumnType.TIME: _time,
    ColumnType.TIMESTAMP: _timestamp,
    ColumnType.INTERVAL: _interval,
    ColumnType.UUID: _uuid,
    ColumnType.JSON: _member,
    ColumnType.ARRAY: _member,
    ColumnType.BYTES: _nothing,
}
"""Each raises TypeError for a value of the wrong kind, ValueError with the reason or ArithmeticError for one that does
not fit."""
