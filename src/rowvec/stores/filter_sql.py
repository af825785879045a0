"""Filters as SQL with bound values, for every dialect the same answers as `filters.matches`.

No value is ever written into the SQL, and of names only those of columns, quoted.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from rowvec.filters import And, Compare, Filter, Not, Op, Or, Wild, letter_cases, lowered, pattern
from rowvec.support.decimals import dumps
from rowvec.support.stretches import stretches
from rowvec.types import ColumnType

Sql = tuple[str, list[Any]]
"""A condition, and the values of its placeholders in order."""

SORTABLE = 21
_OFFSET = 10**20
_EQUALITY = frozenset({Op.EQ, Op.NE, Op.IN, Op.SAME})
_ODD = re.compile(r'["\\\x00-\x1f\x7f]')
_AT_ONCE = 2_000
"""Characters of the texts that one regular expression looks for."""
_ORDER = frozenset({Op.LT, Op.LE, Op.GT, Op.GE, Op.BETWEEN})


def sortable(span: dt.timedelta) -> str:
    """A span in `SORTABLE` digits whose order as texts is that of the spans."""
    return f"{span // dt.timedelta(microseconds=1) + _OFFSET:0{SORTABLE}}"


class Postgres:
    """PostgreSQL through psycopg. Arrays and JSON are jsonb.

    Args:
        own: columns of a table of the user's own with their SQL types, as `format_type` gives them.
    """

    placeholder = "%s"

    def __init__(self, own: Mapping[str, str] | None = None) -> None:
        self._read_as = {name: form for name, kind in (own or {}).items() if (form := self._form(kind)) is not None}

    @staticmethod
    def _form(kind: str) -> str | None:
        if kind.endswith("[]"):
            return "to_jsonb({})"
        # By way of text, because a 32-bit float 0.1 is 0.10000000149 as one of 64 bits, which no filter asks for.
        return "{}::text::double precision" if kind == "real" else None

    def name(self, column: str, alias: str) -> str:
        # psycopg takes a lone % for the start of a placeholder, within quotes too.
        return f"{alias}." + '"' + column.replace('"', '""').replace("%", "%%") + '"'

    def column(self, where: Compare, alias: str) -> str:
        """The column, in a type that knows the operators: one of the user's own table may be `money` or `citext`."""
        name = self.name(where.column, alias)
        if where.path:
            return name
        if where.column in self._read_as:
            return self._read_as[where.column].format(name)
        return name + ("::text" if where.ignores_case else "::numeric" if where.type is ColumnType.DECIMAL else "")

    def inside(self, name: str, where: Compare) -> Sql:
        """What a JSON column holds at the end of a path, if it has the type that is compared."""
        steps = " -> ".join(["%s::text"] * len(where.path))
        found, text = f"({name}::jsonb -> {steps})", f"({name}::jsonb #>> %s)"
        if where.op is Op.IS_NULL:
            return f"nullif({found}, 'null'::jsonb)", [*where.path]
        kind, cast = {
            ColumnType.TEXT: ("string", text), ColumnType.NUMBER: ("number", f"{text}::numeric"),
            ColumnType.BOOLEAN: ("boolean", f"{text}::boolean"), ColumnType.ARRAY: ("array", f"({name}::jsonb #> %s)"),
        }[_known(where)]  # fmt: skip
        return f"case when jsonb_typeof{found} = '{kind}' then {cast} end", [*where.path, list(where.path)]

    def operand(self, name: str, where: Compare) -> str:
        """What is compared: by code point where texts are ordered, whatever the collation of the database."""
        if where.ignores_case:
            return self._lower(name)
        return f'({name}) collate "C"' if where.type is ColumnType.TEXT and where.op in _ORDER else name

    def is_null(self, name: str, where: Compare) -> str:
        may_be_nan = where.type in (ColumnType.NUMBER, ColumnType.DECIMAL) and not where.path
        return f"{name} is null or {name} = 'NaN'" if may_be_nan else f"{name} is null"

    def unknown(self, name: str, where: Compare, *, negated: bool) -> str:
        """What is added because NaN counts as unknown, and PostgreSQL holds it to be the greatest number of all.

        Unknown may be false where nothing negates it, and true where something does: no row is found by either.
        """
        if where.type not in (ColumnType.NUMBER, ColumnType.DECIMAL) or where.path:
            return ""
        if where.op in (Op.GT, Op.GE, Op.NE):
            return "" if negated else f" and {name} <> 'NaN'"
        return f" or {name} = 'NaN'" if negated else ""

    def value(self, value: Any, where: Compare) -> Any:
        # As a numeric, like what JSON holds: a number of 400 digits would be an error as a float.
        in_json = where.path and where.type is ColumnType.NUMBER and not isinstance(value, Decimal)
        return Decimal(repr(value)) if in_json else value

    def member(self, operand: str, values: list[Any]) -> Sql:
        return f"{operand} = any(%s)", [values]

    def _lower(self, name: str) -> str:
        return f'lower({name} collate "C")'

    def among(self, name: str, texts: list[str]) -> Sql:
        """One of these texts, whatever the case of their letters. An index serves where they are ASCII."""
        plain, others = _by_letters(texts)
        parts, values = [], list[Any]()
        if plain:
            parts.append(f"{self._lower(name)} = any(%s)")
            values.append(plain)
        expressions = ["".join(map(self._letter, text)) for text in others]
        if expressions:
            parts.append(f"{name} ~ any(%s)")
            cut = stretches(map(len, expressions), len(expressions), _AT_ONCE)
            values.append([f"^(?:{'|'.join(expressions[some])})$" for some in cut])
        return " or ".join(parts) or "false", values

    def like(self, name: str, parts: list[str | Wild]) -> Sql:
        """A regular expression of one bracket a letter: `ilike` knows the case of ASCII only where the locale is C."""
        wild = {Wild.ANY: ".*", Wild.ONE: "."}
        first, last = parts[:1] != [Wild.ANY], parts[-1:] != [Wild.ANY]
        inner = parts[0 if first else 1 : len(parts) if last else -1]
        written = "".join(wild[part] if isinstance(part, Wild) else self._letter(part) for part in inner)
        return f"{name} ~ %s", ["^" * first + written + "$" * last]

    def _letter(self, letter: str) -> str:
        (cases,) = letter_cases(letter)
        return f"[{cases}]" if len(cases) > 1 else re.escape(cases)

    def place(self, where: Compare, alias: str) -> str:
        """What rows are ordered by: as `operand`, with NaN for null."""
        found = self.operand(self.column(where, alias), where)
        return f"nullif({found}, 'NaN')" if where.type in (ColumnType.NUMBER, ColumnType.DECIMAL) else found

    def counted(self, where: Compare, alias: str) -> str:
        """What facets count: null for what counts as missing."""
        name = self.column(where, alias)
        match where.type:
            case ColumnType.NUMBER:
                return f"case when abs({name}) < 1e300 then {name} end"
            case ColumnType.DECIMAL:
                return f"case when abs({name}) < 1e300 then {name}::double precision end"
            case ColumnType.DATE | ColumnType.TIMESTAMP:
                return f"case when {name} between '0001-01-01' and '9999-12-31 23:59:59.999999' then {name} end"
        return self._lower(name) if where.ignores_case else name

    def text(self, expression: str) -> str:
        """A value on its way out, in a column of values of several types."""
        return f"({expression})::text"

    def by_code_point(self, expression: str) -> str:
        return f'{expression} collate "C"'

    def mean(self, expression: str) -> str:
        # The server's avg() fails where the square of a number is too large for a float.
        return f"(sum({expression}) / nullif(count({expression}), 0))::double precision"

    def element(self, name: str, value: Any, inner: list[Any]) -> Sql:
        # A list on the right: '[1]' @> '1' is true as well, but so is '1' @> '1'.
        return f"({name})::jsonb @> %s::jsonb", [*inner, dumps([value])]


class Sqlite:
    """SQLite and libSQL. Decimals, dates, times and UUIDs are text, arrays and JSON are JSON text, booleans 0 and 1."""

    placeholder = "?"
    _NOT_FINITE = "when 'NaN' then null when 'Infinity' then 9e999 when '-Infinity' then -9e999"
    """What a decimal's text says and a cast reads as 0."""
    _MOMENT = 26
    """Characters of YYYY-MM-DDTHH:MM:SS.ffffff, which what is stored may follow with +00:00."""

    def name(self, column: str, alias: str) -> str:
        return f"{alias}." + '"' + column.replace('"', '""') + '"'

    def column(self, where: Compare, alias: str) -> str:
        return self.name(where.column, alias)

    def inside(self, name: str, where: Compare) -> Sql:
        """See `Postgres.inside`."""
        kind, value, path = self._at(name, where.path)
        if where.op is Op.IS_NULL:
            return value, path
        kinds = {
            ColumnType.TEXT: "'text'", ColumnType.NUMBER: "'integer', 'real'", ColumnType.BOOLEAN: "'true', 'false'",
            ColumnType.ARRAY: "'array'",
        }[_known(where)]  # fmt: skip
        return f"case when {kind} in ({kinds}) then {value} end", [*path, *path]

    def _at(self, name: str, path: tuple[str, ...]) -> tuple[str, str, list[Any]]:
        """The type and the value of what is at the end of a path, and the values that each of the two takes."""
        if not any(_ODD.search(step) for step in path):
            return f"json_type({name}, ?)", f"json_extract({name}, ?)", ["$" + "".join(f'."{step}"' for step in path)]
        # A path of SQLite cannot say every key.
        joined, held = [], name
        for at in range(len(path)):
            joined.append(f"json_each({held}) as s{at}")
            held = f"case s{at}.type when 'object' then s{at}.value end"
        found = f"from {', '.join(joined)} where {' and '.join(f's{at}.key = ?' for at in range(len(path)))}"
        return f"(select s{len(path) - 1}.type {found})", f"(select s{len(path) - 1}.value {found})", [*path]

    def is_null(self, name: str, where: Compare) -> str:
        # A number that is NaN is stored as null; a decimal is stored as its text.
        return f"{name} is null or {name} = 'NaN'" if where.type is ColumnType.DECIMAL else f"{name} is null"

    def unknown(self, name: str, where: Compare, *, negated: bool) -> str:
        return ""

    def operand(self, name: str, where: Compare) -> str:
        if where.type is ColumnType.DECIMAL:
            return f"case {name} {self._NOT_FINITE} else cast({name} as real) end"
        if where.type is ColumnType.INTERVAL:
            return f"substr({name}, 1, {SORTABLE})"
        if where.ignores_case:
            return f"lower({name})"
        return f"substr({name}, 1, {self._MOMENT})" if where.type is ColumnType.TIMESTAMP else name

    def value(self, value: Any, where: Compare) -> Any:
        match value:
            case bool():
                return int(value)
            case Decimal():
                return float(value)
            case dt.datetime():
                return value.isoformat(timespec="microseconds")[: self._MOMENT]
            case dt.timedelta():
                return sortable(value)
            case dt.time():
                return value.isoformat(timespec="microseconds")
            case dt.date() | UUID():
                return str(value)
        return value

    def member(self, operand: str, values: list[Any]) -> Sql:
        return f"{operand} in ({', '.join('?' * len(values))})", values

    def among(self, name: str, texts: list[str]) -> Sql:
        """See `Postgres.among`; `lower` knows ASCII only."""
        plain, others = _by_letters(texts)
        parts, values = [], list[Any]()
        if plain:
            parts.append(f"lower({name}) in ({', '.join('?' * len(plain))})")
            values += plain
        if others:
            found = f"exists (select 1 from json_each(?) as wanted where {name} glob wanted.value)"
            # A missing text is unknown, where exists() alone would say false.
            parts.append(f"case when {name} is not null then {found} end")
            values.append(json.dumps(["".join(map(self._letter, text)) for text in others]))
        return " or ".join(parts) or "false", values

    def like(self, name: str, parts: list[str | Wild]) -> Sql:
        """`like` knows the case of ASCII only; `glob` with one bracket a letter knows all, at ten times the price."""
        if all(isinstance(part, Wild) or part.isascii() for part in parts):
            written = "".join(
                part.value if isinstance(part, Wild) else re.sub(r"([\\%_])", r"\\\1", part) for part in parts
            )
            return rf"{name} like ? escape '\'", [written]
        wild = {Wild.ANY: "*", Wild.ONE: "?"}
        return f"{name} glob ?", ["".join(wild[p] if isinstance(p, Wild) else self._letter(p) for p in parts)]

    def _letter(self, letter: str) -> str:
        (cases,) = letter_cases(letter)
        return f"[{cases}]" if len(cases) > 1 or cases in "*?[" else cases

    def place(self, where: Compare, alias: str) -> str:
        """See `Postgres.place`. A number that is NaN is stored as null."""
        return self.operand(self.column(where, alias), where)

    def counted(self, where: Compare, alias: str) -> str:
        """See `Postgres.counted`."""
        name = self.operand(self.column(where, alias), where)
        if where.type in (ColumnType.NUMBER, ColumnType.DECIMAL):
            return f"case when abs({name}) < 1e300 then {name} end"
        return name

    def text(self, expression: str) -> str:
        return expression

    def by_code_point(self, expression: str) -> str:
        return expression

    def mean(self, expression: str) -> str:
        return f"avg({expression})"

    def element(self, name: str, value: Any, inner: list[Any]) -> Sql:
        """json_each walks objects and scalars too, and gives true as 1: the types are looked at."""
        if isinstance(value, bool):
            test, values = f"member.type = '{json.dumps(value)}'", []
        else:
            types = "'text'" if isinstance(value, str) else "'integer', 'real'"
            test = f"member.type in ({types}) and member.value = ?"
            values = [float(value) if isinstance(value, Decimal) else value]
        found = f"exists (select 1 from json_each({name}) as member where {test})"
        # A missing array is unknown, where exists() alone would say false.
        return f"case when json_type({name}) = 'array' then {found} when {name} is not null then false end", [
            *inner,
            *inner,
            *values,
            *inner,
        ]


def _by_letters(texts: list[str]) -> tuple[list[str], list[str]]:
    """Those of ASCII letters only, in lower case, and the others."""
    return [lowered(text) for text in texts if text.isascii()], [text for text in texts if not text.isascii()]


def _known(where: Compare) -> ColumnType:
    if where.type is None:
        raise TypeError(f"The filter on {where.name!r} is not bound: call filters.bind() first.")
    return where.type


Dialect = Postgres | Sqlite
POSTGRES = Postgres()
SQLITE = Sqlite()


def compile_filter(where: Filter, dialect: Dialect, alias: str = "t", *, negated: bool = False) -> Sql:
    """A bound filter as a condition on the row `alias`, in brackets where it needs them.

    Args:
        where: what `filters.bind` returned.
        alias: of the table that holds the columns, written into the SQL as it is.
        negated: an odd number of `not` stands before it.

    Raises:
        TypeError: the filter is not bound.
    """
    if isinstance(where, Not):
        inner, values = compile_filter(where.part, dialect, alias, negated=not negated)
        return f"(not {inner})", values
    if isinstance(where, And | Or):
        parts = [compile_filter(part, dialect, alias, negated=negated) for part in where.parts]
        word, empty = (" and ", "true") if isinstance(where, And) else (" or ", "false")
        text = f"({word.join(part for part, _ in parts)})" if parts else empty
        return text, [value for _, values in parts for value in values]
    text, values = _condition(where, dialect, alias, negated=negated)
    return f"({text})", values


def _condition(where: Compare, dialect: Dialect, alias: str, *, negated: bool) -> Sql:
    name, inner = dialect.column(where, alias), list[Any]()
    if where.path:
        name, inner = dialect.inside(name, where)
    if where.op is Op.IS_NULL:
        return dialect.is_null(name, where), inner
    kind = _known(where)
    looks_for = where.op is Op.LIKE or (where.op is Op.CONTAINS and kind is ColumnType.TEXT)
    if looks_for or (where.op is Op.SAME and where.path):
        text, values = dialect.like(name, pattern(where))
        return text, [*inner, *values]
    if where.op is Op.CONTAINS:
        return dialect.element(name, where.value, inner)
    if where.ignores_case and where.op in _EQUALITY:
        text, values = dialect.among(name, list(where.values))
        return (f"not ({text})" if where.op is Op.NE else text), values
    if not where.values:
        return "false", []
    operand, mark = dialect.operand(name, where), dialect.placeholder
    values = [dialect.value(lowered(value) if where.ignores_case else value, where) for value in where.values]
    if where.op is Op.IN:
        text, values = dialect.member(operand, values)
    elif where.op is Op.BETWEEN:
        text = f"{operand} between {mark} and {mark}"
    else:
        text = f"{operand} {where.op.value} {mark}"
    return text + dialect.unknown(name, where, negated=negated), [*inner, *values]
