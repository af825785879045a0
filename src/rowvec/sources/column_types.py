"""The types of three databases as rowvec's words."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

from rowvec.types import ColumnType

_NAMES = {
    ColumnType.INTEGER: "int integer tinyint smallint mediumint bigint int2 int4 int8 serial bigserial year oid",
    ColumnType.NUMBER: "real float double float4 float8",
    ColumnType.DECIMAL: "numeric decimal dec fixed number money",
    ColumnType.BOOLEAN: "bool boolean",
    ColumnType.TEXT: "text char character varchar bpchar name citext clob nchar nvarchar string enum set"
    " tinytext mediumtext longtext xml inet cidr timetz",
    ColumnType.DATE: "date",
    ColumnType.TIME: "time",
    ColumnType.TIMESTAMP: "timestamp timestamptz datetime",
    ColumnType.INTERVAL: "interval",
    ColumnType.UUID: "uuid guid uniqueidentifier",
    ColumnType.JSON: "json jsonb",
    ColumnType.BYTES: "blob bytea binary varbinary tinyblob mediumblob longblob",
}
_BY_NAME = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_BY_VALUE: dict[type, ColumnType] = {
    bool: ColumnType.BOOLEAN,
    int: ColumnType.INTEGER,
    float: ColumnType.NUMBER,
    Decimal: ColumnType.DECIMAL,
    str: ColumnType.TEXT,
    dt.datetime: ColumnType.TIMESTAMP,
    dt.date: ColumnType.DATE,
    dt.time: ColumnType.TIME,
    dt.timedelta: ColumnType.INTERVAL,
    UUID: ColumnType.UUID,
    dict: ColumnType.JSON,
    list: ColumnType.ARRAY,
    bytes: ColumnType.BYTES,
}


def named(declared: str) -> ColumnType | None:
    """The type a database calls `declared`, such as `DECIMAL(10,2)` or `tinyint(1)`; None for a word nobody knows.

    MySQL's `tinyint(1)` and `bit(1)` are its booleans.
    """
    declared = declared.strip().lower()
    if declared in ("tinyint(1)", "bit(1)"):
        return ColumnType.BOOLEAN
    if declared.endswith("[]"):
        return ColumnType.ARRAY
    return _BY_NAME.get(re.split(r"[\s(]", declared)[0])


def named_freely(declared: str) -> ColumnType | None:
    """The same where any name will do: read as SQLite reads it, by the words in it; None where it says nothing.

    Only that `FLOATING POINT`, an integer by those rules (https://www.sqlite.org/datatype3.html, section 3.1), is none.
    """
    declared = declared.strip().lower()
    if not declared:
        return None
    if (known := named(declared)) is not None:
        return known
    for kind, fragments in (
        (ColumnType.NUMBER, ("real", "floa", "doub")),
        (ColumnType.INTEGER, ("int",)),
        (ColumnType.TEXT, ("char", "clob", "text")),
        (ColumnType.BYTES, ("blob",)),
    ):
        if any(fragment in declared for fragment in fragments):
            return kind
    return ColumnType.TEXT


def inferred(values: Iterable[Any]) -> ColumnType:
    """The type of a column that declares none, from a sample of its values.

    The one type that all of them have; NUMBER for integers and floats together, DECIMAL where decimals are among
    them; JSON for lists and objects; TEXT for every other mixture, and without a value to look at.
    """
    kinds = {_BY_VALUE.get(type(value), ColumnType.TEXT) for value in values if value is not None}
    if len(kinds) > 1 and kinds <= {ColumnType.INTEGER, ColumnType.NUMBER, ColumnType.DECIMAL}:
        return ColumnType.DECIMAL if ColumnType.DECIMAL in kinds else ColumnType.NUMBER
    if kinds == {ColumnType.ARRAY, ColumnType.JSON}:
        return ColumnType.JSON
    return kinds.pop() if len(kinds) == 1 else ColumnType.TEXT
