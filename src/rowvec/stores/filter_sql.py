"""Filters as SQL with bound values, for every dialect the same answers as `filters.matches`.

No value is ever written into the SQL, and of names only those of columns, quoted.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from decimal import Decimal
from typing import Any
from uuid import UUID

from rowvec.filters import And, Compare, Filter, Not, Op, Or, letter_cases
from rowvec.types import ColumnType

Sql = tuple[str, list[Any]]
"""A condition, and the values of its placeholders in order."""

_ORDER = frozenset({Op.LT, Op.LE, Op.GT, Op.GE, Op.BETWEEN})


class Postgres:
    """PostgreSQL through psycopg. Arrays and JSON are jsonb."""

    placeholder = "%s"

    def name(self, column: str, alias: str) -> str:
        # psycopg takes a lone % for the start of a placeholder, within quotes too.
        return f"{alias}." + '"' + column.replace('"', '""').replace("%", "%%") + '"'

    def operand(self, name: str, where: Compare) -> str:
        """What is compared: by code point where texts are ordered, whatever the collation of the database."""
        return f'{name} collate "C"' if where.type is ColumnType.TEXT and where.op in _ORDER else name

    def value(self, value: Any, where: Compare) -> Any:
        return value

    def member(self, operand: str, values: list[Any]) -> Sql:
        return f"{operand} = any(%s)", [values]

    def substring(self, name: str, text: str) -> Sql:
        """A regular expression of one bracket a letter: `ilike` knows the case of ASCII only where the locale is C."""
        pattern = "".join(f"[{cases}]" if len(cases) > 1 else re.escape(cases) for cases in letter_cases(text))
        return f"{name} ~ %s", [pattern]

    def element(self, name: str, value: Any) -> Sql:
        # A list on the right: '[1]' @> '1' is true as well, but so is '1' @> '1'.
        return f"{name}::jsonb @> %s::jsonb", [json.dumps([value])]


class Sqlite:
    """SQLite and libSQL. Decimals, dates, times and UUIDs are text, arrays and JSON are JSON text, booleans 0 and 1."""

    placeholder = "?"
    _MOMENT = 26
    """Characters of YYYY-MM-DDTHH:MM:SS.ffffff, which what is stored may follow with +00:00."""

    def name(self, column: str, alias: str) -> str:
        return f"{alias}." + '"' + column.replace('"', '""') + '"'

    def operand(self, name: str, where: Compare) -> str:
        if where.type is ColumnType.DECIMAL:
            return f"cast({name} as real)"
        return f"substr({name}, 1, {self._MOMENT})" if where.type is ColumnType.TIMESTAMP else name

    def value(self, value: Any, where: Compare) -> Any:
        match value:
            case bool():
                return int(value)
            case Decimal():
                return float(value)
            case dt.datetime():
                return value.isoformat(timespec="microseconds")[: self._MOMENT]
            case dt.time():
                return value.isoformat(timespec="microseconds")
            case dt.date() | UUID():
                return str(value)
        return value

    def member(self, operand: str, values: list[Any]) -> Sql:
        return f"{operand} in ({', '.join('?' * len(values))})", values

    def substring(self, name: str, text: str) -> Sql:
        """`like` knows the case of ASCII only; `glob` with one bracket a letter knows all, at ten times the price."""
        if text.isascii():
            return rf"{name} like ? escape '\'", ["%" + re.sub(r"([\\%_])", r"\\\1", text) + "%"]
        bracketed = (f"[{cases}]" if len(cases) > 1 or cases in "*?[" else cases for cases in letter_cases(text))
        return f"{name} glob ?", [f"*{''.join(bracketed)}*"]

    def element(self, name: str, value: Any) -> Sql:
        """json_each walks objects and scalars too, and gives true as 1: the types are looked at."""
        if isinstance(value, bool):
            test, values = f"member.type = '{json.dumps(value)}'", []
        else:
            types = "'text'" if isinstance(value, str) else "'integer', 'real'"
            test, values = f"member.type in ({types}) and member.value = ?", [value]
        found = f"exists (select 1 from json_each({name}) as member where {test})"
        # A missing array is unknown, where exists() alone would say false.
        return f"case when json_type({name}) = 'array' then {found} when {name} is not null then false end", values


Dialect = Postgres | Sqlite
POSTGRES = Postgres()
SQLITE = Sqlite()


def compile_filter(where: Filter, dialect: Dialect, alias: str = "t") -> Sql:
    """A bound filter as a condition on the row `alias`, in brackets where it needs them.

    Args:
        where: what `filters.bind` returned.
        alias: of the table that holds the columns, written into the SQL as it is.

    Raises:
        TypeError: the filter is not bound.
    """
    if isinstance(where, Not):
        inner, values = compile_filter(where.part, dialect, alias)
        return f"(not {inner})", values
    if isinstance(where, And | Or):
        parts = [compile_filter(part, dialect, alias) for part in where.parts]
        word, empty = (" and ", "true") if isinstance(where, And) else (" or ", "false")
        text = f"({word.join(part for part, _ in parts)})" if parts else empty
        return text, [value for _, values in parts for value in values]
    text, values = _condition(where, dialect, alias)
    return f"({text})", values


def _condition(where: Compare, dialect: Dialect, alias: str) -> Sql:
    if where.type is None:
        raise TypeError(f"The filter on {where.column!r} is not bound: call filters.bind() first.")
    name = dialect.name(where.column, alias)
    if where.op is Op.IS_NULL:
        return f"{name} is null", []
    if where.op is Op.CONTAINS:
        if where.type is ColumnType.TEXT:
            return dialect.substring(name, where.value)
        return dialect.element(name, where.value)
    if not where.values:
        return "false", []
    operand, mark = dialect.operand(name, where), dialect.placeholder
    values = [dialect.value(value, where) for value in where.values]
    if where.op is Op.IN:
        return dialect.member(operand, values)
    if where.op is Op.BETWEEN:
        return f"{operand} between {mark} and {mark}", values
    return f"{operand} {where.op.value} {mark}", values
