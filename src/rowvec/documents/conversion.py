"""What a value of a database, a file or an event is as a value of a declared type.

What a type cannot say is a Misfit, or one of CONVERSION_ERRORS; a converter never guesses.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np

from rowvec.documents.values import clean, shortest, shown
from rowvec.support.decimals import MOST_DIGITS, loads
from rowvec.support.intervals import interval_of
from rowvec.support.plain_numbers import uuid_of
from rowvec.types import ColumnType, is_bigint

CONVERSION_ERRORS = (ValueError, TypeError, ArithmeticError, OSError, RecursionError)
"""What a converter raises for a value that is not of its type; OSError comes from the clock, for a far year."""


class Misfit(ValueError):
    """A value that its type cannot say. The message never quotes the value."""


_NUMERIC_DIGITS = (131_072, 16_383)
"""Of PostgreSQL's numeric, before the decimal point and after it."""
_MILLISECONDS_FROM = 10**11
_JULIAN_DAYS = (1_721_425.5, 5_373_484.5)
"""Of the years 1 to 9999."""
_EPOCH_AS_JULIAN = 2_440_587.5
_INTEGER = re.compile(r"\s*[-+]?[0-9]+\s*")
_OUTSIDE_CALENDAR = re.compile(r"-?infinity|.* BC|\d{5,}-.*|0000-.*|-\d+-.*")
_TRUE = frozenset({"1", "t", "true", "y", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "n", "no", "off"})


def key_converter(kind: ColumnType) -> Callable[[Any], Any]:
    """Makes a value of a file or an event a key; raises one of CONVERSION_ERRORS."""
    return {ColumnType.TEXT: text_key, ColumnType.INTEGER: integer_key}.get(kind) or converter(kind)


def integer_key(value: Any) -> int | None:
    """A key as an integer. What is written in another way than that integer, such as `007`, would become its twin.

    Raises:
        ValueError, TypeError: it is not an integer, or written in another way.
    """
    if isinstance(value, bool):
        raise TypeError("a boolean")
    key = _to_integer(value)
    if isinstance(value, str) and key is not None and str(key) != value:
        raise ValueError("not as an integer is written")
    return key


def text_key(value: Any) -> str:
    """A key as text. White space at its ends belongs to it: `char(6)` pads with it, and the table is asked for it so.

    Raises:
        ValueError: it holds a NUL or half of a surrogate pair, which no store keeps.
    """
    key = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else shown(value)
    if clean(key) != key:
        raise ValueError("not what a store keeps")
    return key


def truth(value: Any) -> Any:
    """The value of a boolean column as a boolean; itself where it is neither true nor false."""
    try:
        return value if type(value) is bool or value is None else _to_boolean(value)
    except ValueError:
        return value


def converter(kind: ColumnType) -> Callable[[Any], Any]:
    """The function that makes a value, not null, one of type `kind`.

    It gives None for what the type cannot say but a database can: an empty string where a number, date or
    boolean should be, and a date outside the years 1 to 9999 (`infinity`, BC, MySQL's zero dates). It raises
    one of CONVERSION_ERRORS if the value is not of that type.
    """
    return _CONVERT[kind]


def metadata_converter(kind: ColumnType) -> Callable[[Any], Any]:
    """The same for a value that is stored: what a database can say and the type cannot is an error here, not None."""
    convert = converter(kind)
    if kind not in (ColumnType.DATE, ColumnType.TIMESTAMP):
        return convert

    def strict(value: Any) -> Any:
        converted = convert(value)
        if converted is None and not (isinstance(value, str) and not value.strip()):
            raise Misfit(_OUTSIDE_YEARS)
        return converted

    return strict


def misfit(value: Any, kind: ColumnType, error: Exception) -> str:
    """Why a value cannot be stored, in words that are the same for all such values of a column and quote none."""
    what = f"{error}" if isinstance(error, Misfit) else f"not a value of type {kind}"
    return f"{what} (it is read as {type(value).__name__})"


_OUTSIDE_YEARS = "outside the years 1 to 9999"


def _to_integer(value: Any) -> int | None:
    if type(value) is int and is_bigint(value):
        return value
    if isinstance(value, str):
        if not value.strip():
            return None
        if not _INTEGER.fullmatch(value):
            # int() takes 1_0 for 10, and the digits of every script.
            raise ValueError("not a whole number")
    number: int = int(value)
    if not isinstance(value, str) and number != value:
        raise Misfit("not a whole number")
    if not is_bigint(number):
        raise Misfit("more than 64 bits")
    return number


def _to_number(value: Any) -> float | None:
    if isinstance(value, str) and not _plain(value):
        return None
    return shortest(value) if isinstance(value, np.floating) and not isinstance(value, float) else float(value)


def _plain(text: str) -> str:
    """A number as text without the white space at its ends. Raises ValueError for what only Python writes so: 1_0."""
    if "_" in text or not text.isascii():
        raise ValueError("not a number")
    return text.strip()


def _to_decimal(value: Any) -> Decimal | None:
    if not isinstance(value, Decimal):
        text = _plain(value) if isinstance(value, str) else repr(value) if isinstance(value, float) else value
        if text == "":
            return None
        value = Decimal(text)
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and (value.adjusted() >= _NUMERIC_DIGITS[0] or exponent < -_NUMERIC_DIGITS[1]):
        raise Misfit("more digits than a decimal has")
    return Decimal(value)


def _to_boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, bytes) and len(value) == 1 and value in b"\0\1":
        return value == b"\1"
    word = shown(value).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    if word:
        raise Misfit("neither true nor false")
    return None


def _to_text(value: Any) -> str:
    if isinstance(value, str):
        return value if value.isascii() and "\0" not in value else clean(value)
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return clean(bytes(value).decode())
        except UnicodeDecodeError:
            raise Misfit("bytes that are not UTF-8") from None
    return clean(shown(value))


def _to_timestamp(value: Any) -> dt.datetime | None:
    if isinstance(value, str):
        text = value.strip()
        if not text or _OUTSIDE_CALENDAR.fullmatch(text):
            return None
        value = dt.datetime.fromisoformat(text)
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        # SQLite has no type for dates. A number in such a column is Unix time, in seconds or milliseconds; a REAL is a
        # Julian day (https://www.sqlite.org/datatype3.html, 2.2), where it is one of these years.
        number = float(value)
        if isinstance(value, float) and _JULIAN_DAYS[0] <= number < _JULIAN_DAYS[1]:
            return _of_julian_day(number)
        return dt.datetime.fromtimestamp(number / 1000 if abs(number) >= _MILLISECONDS_FROM else number, dt.UTC)
    elif type(value) is dt.date:
        return dt.datetime(value.year, value.month, value.day)
    if not isinstance(value, dt.datetime):
        raise TypeError("not a timestamp")
    # One moment has one form, whatever time zone the session shows it in.
    try:
        return value if value.tzinfo is None else value.astimezone(dt.UTC)
    except OverflowError:
        raise Misfit(_OUTSIDE_YEARS + " in UTC") from None


def _of_julian_day(day: float) -> dt.datetime:
    """To the millisecond, which is what a double of that size says, and SQLite too."""
    milliseconds = round((day - _EPOCH_AS_JULIAN) * 86_400_000)
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=milliseconds)


def _to_date(value: Any) -> dt.date | None:
    if type(value) is dt.date:
        return value
    moment = value if isinstance(value, dt.datetime) else _to_timestamp(value)
    return None if moment is None else moment.date()


def _to_time(value: Any) -> dt.time | None:
    if isinstance(value, dt.timedelta):
        if not dt.timedelta() <= value < dt.timedelta(days=1):
            raise Misfit("not a time of day")
        return (dt.datetime.min + value).time()
    if isinstance(value, str):
        return dt.time.fromisoformat(value.strip()) if value.strip() else None
    if isinstance(value, dt.time):
        return value
    raise TypeError("not a time")


def _to_interval(value: Any) -> str | None:
    if isinstance(value, str) and not value.strip():
        return None
    if not isinstance(value, str | dt.timedelta):
        raise TypeError("not a duration")
    return str(interval_of(value))


def _to_uuid(value: Any) -> UUID | None:
    if isinstance(value, UUID):
        return value
    if isinstance(value, bytes):
        return UUID(bytes=value)
    if not isinstance(value, str):
        raise TypeError("not a UUID")
    return uuid_of(value.strip()) if value.strip() else None


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        value = bytes(value).decode()
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = loads(value)
        except ValueError:
            # One driver parses JSON, another hands over its source: a string that is not JSON was parsed already.
            return clean(value)
    return _json_value(value)


def _to_array(value: Any) -> list[Any] | None:
    if isinstance(value, str):
        value = loads(value) if value.strip() else None
    if value is None:
        return None
    if not isinstance(value, list | tuple | set | frozenset):
        raise TypeError("not a list")
    members = sorted(value, key=shown) if isinstance(value, set | frozenset) else value
    return [_json_value(member) for member in members]


def _json_value(value: Any) -> Any:
    """`value` with nothing in it that JSON cannot say; keys sorted, so that equal objects look equal."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float | Decimal):
        # A decimal may be finite where its double is not.
        finite = value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)
        return _json_number(value) if finite else None
    if isinstance(value, Mapping):
        return {clean(str(key)): _json_value(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_json_value(member) for member in value]
    return clean(value if isinstance(value, str) else shown(value))


def _json_number(value: float | Decimal) -> int | float | Decimal | str:
    """A number of JSON with every digit: a float where that has all of them. One of thousands of digits is its text."""
    if isinstance(value, float) or Decimal(repr(float(value))) == value:
        return float(value)
    if abs(value.adjusted()) > MOST_DIGITS:
        return str(value)
    return int(value) if value == value.to_integral_value() else value


def _to_bytes(value: Any) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else bytes(memoryview(value))


_CONVERT: dict[ColumnType, Callable[[Any], Any]] = {
    ColumnType.INTEGER: _to_integer,
    ColumnType.NUMBER: _to_number,
    ColumnType.DECIMAL: _to_decimal,
    ColumnType.BOOLEAN: _to_boolean,
    ColumnType.TEXT: _to_text,
    ColumnType.DATE: _to_date,
    ColumnType.TIME: _to_time,
    ColumnType.TIMESTAMP: _to_timestamp,
    ColumnType.INTERVAL: _to_interval,
    ColumnType.UUID: _to_uuid,
    ColumnType.JSON: _to_json,
    ColumnType.ARRAY: _to_array,
    ColumnType.BYTES: _to_bytes,
}
