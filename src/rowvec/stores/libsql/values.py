"""Keys, metadata and filters as libSQL holds them.

SQLite has five types; what is not among them is kept as text that sorts as the value does. Decimals keep their
digits as text and are compared as numbers.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from rowvec.errors import DataRefused, StoreError
from rowvec.stores.filter_sql import SORTABLE, sortable
from rowvec.support.decimals import dumps, loads
from rowvec.support.intervals import interval_of
from rowvec.types import Column, ColumnType, Key, is_bigint

DECLARED: dict[ColumnType, str] = {
    ColumnType.INTEGER: "INTEGER",
    ColumnType.BOOLEAN: "INTEGER",
    ColumnType.NUMBER: "REAL",
    ColumnType.BYTES: "BLOB",
}
"""The declared type of a column; TEXT for the others."""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_TEXT_COLUMN, _INTEGER_COLUMN = ColumnType.TEXT, ColumnType.INTEGER


def key_in(key: Key) -> int | str:
    return key if isinstance(key, int) else _text(str(key))


def value_in(value: Any, column: Column) -> Any:
    """A value for a column.

    Raises:
        ValueError, TypeError: it is of another type than the column.
    """
    if value is None:
        return None
    match column.type:
        case ColumnType.TEXT:
            return _text(_checked(value, str))
        case ColumnType.INTEGER | ColumnType.NUMBER:
            return _number(value)
        case ColumnType.DECIMAL:
            return str(value if isinstance(value, Decimal) else Decimal(str(_number(value))))
        case ColumnType.BOOLEAN:
            return int(_checked(value, bool))
        case ColumnType.BYTES:
            return bytes(_checked(value, bytes | bytearray | memoryview))
        case ColumnType.JSON | ColumnType.ARRAY:
            return _text(dumps(value))
        case ColumnType.UUID:
            return str(UUID(str(value)))
        case ColumnType.INTERVAL:
            return f"{sortable(interval_of(value).span)} {interval_of(value)}"
        case _:
            return _moment(value, column.type)


def value_out(value: Any, column: Column) -> Any:
    if value is None:
        return None
    match column.type:
        case ColumnType.DECIMAL:
            return Decimal(value)
        case ColumnType.BOOLEAN:
            return bool(value)
        case ColumnType.JSON | ColumnType.ARRAY:
            return loads(value)
        case ColumnType.UUID:
            return UUID(value)
        case ColumnType.DATE:
            return dt.date.fromisoformat(value)
        case ColumnType.TIME:
            return dt.time.fromisoformat(value)
        case ColumnType.TIMESTAMP:
            return dt.datetime.fromisoformat(value)
        case ColumnType.INTERVAL:
            return value[SORTABLE + 1 :]
        case _:
            return value


def row_in(values: Sequence[Any], columns: Sequence[Column], key: Key) -> tuple[Any, ...]:
    """The metadata of one row.

    Raises:
        StoreError: a value does not fit its column; says which.
    """
    if len(values) != len(columns):
        raise StoreError(f"Row {key} has {len(values)} metadata values for {len(columns)} columns.")
    fitting: list[Any] = []
    for value, column in zip(values, columns, strict=True):
        try:
            # What most values are, in fewer steps.
            if type(value) is str and column.type is _TEXT_COLUMN:
                fitting.append(_text(value))
            elif type(value) is int and column.type is _INTEGER_COLUMN and is_bigint(value):
                fitting.append(value)
            else:
                fitting.append(value_in(value, column))
        except (TypeError, ValueError, ArithmeticError) as error:
            raise DataRefused(
                f"Row {key}: the value of {column.name!r} does not fit a {column.type} column: {error}"
            ) from None
    return tuple(fitting)


def _checked(value: Any, wanted: Any) -> Any:
    if not isinstance(value, wanted):
        raise TypeError(f"{value!r} is a {type(value).__name__}")
    return value


def _number(value: Any) -> int | float | None:
    if isinstance(value, Decimal):
        return float(value) if value.as_tuple().exponent else int(value)
    if isinstance(_checked(value, int | float), bool):
        raise TypeError(f"{value!r} is a bool")
    return None if isinstance(value, float) and math.isnan(value) else value


def _text(value: str) -> str:
    # The driver gives text back only up to its first NUL.
    if "\0" in value:
        raise ValueError("it holds a NUL character")
    if not value.isascii():
        value.encode()
    return value


def _moment(value: Any, kind: ColumnType) -> str:
    """ISO 8601, in UTC and with microseconds, so that text order is time order."""
    wanted: type[dt.date | dt.time] = {
        ColumnType.DATE: dt.date,
        ColumnType.TIME: dt.time,
        ColumnType.TIMESTAMP: dt.datetime,
    }[kind]
    if isinstance(value, str):
        value = wanted.fromisoformat(value)
    if kind is ColumnType.TIMESTAMP and type(value) is dt.date:
        value = dt.datetime.combine(value, dt.time())
    _checked(value, wanted)
    if kind is ColumnType.DATE:
        return dt.date(value.year, value.month, value.day).isoformat()
    if kind is ColumnType.TIMESTAMP and value.tzinfo is not None:
        value = value.astimezone(dt.UTC)
    return str(value.isoformat(timespec="microseconds"))
