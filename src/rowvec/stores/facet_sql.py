"""Facets and pages of rows as SQL, for every dialect the same answers as `filters.facets_of` and `filters.browsed`.

The rows that pass are read once, however many columns are counted. Numbers and dates take a second statement: the edges
of their bins follow from the least and the greatest value.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from rowvec.filters import Compare, Facets, Op, Order, Place
from rowvec.filters.facets import COUNTED, NUMBERS, Edges, Facet, edges, range_facet, value_facet
from rowvec.stores.filter_sql import Dialect, Sql
from rowvec.types import Column, ColumnType

Ask: TypeAlias = Callable[[str, list[Any]], Sequence[tuple[Any, ...]]]
"""Sends one statement and gives its rows."""


@dataclass(frozen=True, slots=True)
class Passing:
    """The rows that facets count.

    Attributes:
        table: quoted.
        condition: on its rows, called `t`.
    """

    table: str
    condition: Sql
    dialect: Dialect

    def rows(self, columns: Sequence[Column]) -> Sql:
        """Their values as c0, c1 and so on, in a table `m` that is made once."""
        chosen = [f"{self.dialect.counted(_operand(each), 't')} as c{at}" for at, each in enumerate(columns)]
        condition, values = self.condition
        selected = ", ".join(chosen) or "1"
        return f"with m as materialized (select {selected} from {self.table} t where {condition})", list(values)


def count_facets(ask: Ask, passing: Passing, columns: Sequence[Column], names: Sequence[str], most: int) -> Facets:
    """
    Args:
        ask: sees the same rows each time that it is called.
        columns: as the table calls them; `names`, as the user does.
    """
    dialect = passing.dialect
    text, values = passing.rows(columns)
    nothing = dialect.text("null")
    parts = [f"select -1, {nothing}, {nothing}, count(*), 0, 0.0 from m"]
    parts += [
        _values(at, dialect, most) if _is_listed(each) else _extent(at, each, dialect)
        for at, each in enumerate(columns)
    ]
    found: dict[int, list[tuple[Any, ...]]] = {}
    for at, *rest in ask(f"{text} {' union all '.join(parts)}", values):
        found.setdefault(at, []).append(tuple(rest))
    rows = int(found[-1][0][2])
    made: dict[int, Facet] = {}
    spread: dict[int, tuple[Edges, tuple[Any, Any, float | None, int]]] = {}
    for at, column in enumerate(columns):
        if _is_listed(column):
            made[at] = _value_facet(found.get(at, ()), column, rows)
            continue
        low, high, held, _, mean = found[at][0]
        if held == 0:
            made[at] = range_facet(column, None, None, None, rows, None)
        else:
            low, high = _read(low, column), _read(high, column)
            spread[at] = edges(column.type, low, high), (low, high, mean, rows - held)
    counts = _bins(ask, passing, columns, {at: between for at, (between, _) in spread.items()})
    for at, (between, (low, high, mean, missing)) in spread.items():
        made[at] = range_facet(columns[at], low, high, mean, missing, between, counts.get(at))
    return Facets(rows, {name: made[at] for at, name in enumerate(names)})


def _is_listed(column: Column) -> bool:
    return column.type in COUNTED


def _operand(column: Column) -> Compare:
    return Compare(column.name, Op.EQ, None, column.type, ignores_case=column.ignores_case)


def _values(at: int, dialect: Dialect, most: int) -> str:
    """The most frequent values, each with its count, the number of all values and of all rows that have one."""
    value = dialect.by_code_point("v")
    return (
        f"select * from (select {at}, v, {dialect.text('null')}, n, count(*) over (), sum(n) over () from"
        f" (select {dialect.text(f'c{at}')} as v, count(*) as n from m where c{at} is not null group by c{at}) g{at}"
        f" order by n desc, {value} limit {most}) h{at}"
    )


def _extent(at: int, column: Column, dialect: Dialect) -> str:
    low, high = dialect.text(f"min(c{at})"), dialect.text(f"max(c{at})")
    mean = f"avg(c{at})" if column.type in NUMBERS else "null"
    return f"select {at}, {low}, {high}, count(c{at}), 0, cast({mean} as double precision) from m"


def _value_facet(found: Sequence[tuple[Any, ...]], column: Column, rows: int) -> Facet:
    distinct, held = (int(found[0][3]), int(found[0][4])) if found else (0, 0)
    return value_facet([(_read(value, column), int(n)) for value, _, n, *_ in found], rows - held, distinct, held)


def _bins(
    ask: Ask, passing: Passing, columns: Sequence[Column], spread: Mapping[int, Edges]
) -> dict[int, dict[int, int]]:
    if not spread:
        return {}
    text, values = passing.rows(columns)
    parts = []
    for at, between in spread.items():
        bucket, more = _bucket(f"c{at}", between.inner, 0, _operand(columns[at]), passing.dialect)
        parts.append(f"select {at}, {bucket}, count(*) from m where c{at} is not null group by 2")
        values += more
    counts: dict[int, dict[int, int]] = {}
    for at, number, count in ask(f"{text} {' union all '.join(parts)}", values):
        counts.setdefault(at, {})[number] = count
    return counts


def _bucket(name: str, inner: Sequence[Any], first: int, where: Compare, dialect: Dialect) -> Sql:
    """The number of the bin, by halves: five comparisons find one of 32."""
    if not inner:
        return str(first), []
    middle = len(inner) // 2
    below, few = _bucket(name, inner[:middle], first, where, dialect)
    above, more = _bucket(name, inner[middle + 1 :], first + middle + 1, where, dialect)
    edge = dialect.value(inner[middle], where)
    return f"case when {name} < {dialect.placeholder} then {below} else {above} end", [edge, *few, *more]


def _read(value: Any, column: Column) -> Any:
    """What a database gave, as a value of the column."""
    match column.type:
        case ColumnType.INTEGER:
            return int(value)
        case ColumnType.NUMBER | ColumnType.DECIMAL:
            return float(value)
        case ColumnType.BOOLEAN:
            return value in (1, "1", "true")
        case ColumnType.UUID:
            return UUID(value)
        case ColumnType.TIME:
            return dt.time.fromisoformat(value)
        case ColumnType.DATE:
            return dt.date.fromisoformat(value)
        case ColumnType.TIMESTAMP:
            moment = dt.datetime.fromisoformat(value)
            return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    return value


def page(
    dialect: Dialect, table: str, key: str, condition: Sql, order: Order | None, after: tuple[Place, Any] | None,
    limit: int, offset: int,
) -> Sql:  # fmt: skip
    """The statement that gives the keys of a page.

    Args:
        table, key: quoted; the key as a column of `t`.
        order: on a column as the table calls it.
        after: a place, and its key as the table holds it.
    """
    parts, values = [condition[0]], list(condition[1])
    placed = None if order is None else dialect.place(order.operand, "t")
    if after is not None:
        text, more = _behind(dialect, key, placed, order, *after)
        parts.append(text)
        values += more
    way = "desc" if order is not None and order.falling else "asc"
    by = f"{key} asc" if placed is None else f"{placed} {way} nulls last, {key} asc"
    mark = dialect.placeholder
    wanted = f"select {key} from {table} t where {' and '.join(parts)} order by {by} limit {mark} offset {mark}"
    return wanted, [*values, limit, offset]


def _behind(dialect: Dialect, key: str, placed: str | None, order: Order | None, after: Place, stored: Any) -> Sql:
    mark = dialect.placeholder
    if placed is None or order is None:
        return f"{key} > {mark}", [stored]
    if after.value is None:
        return f"({placed} is null and {key} > {mark})", [stored]
    value, sign = dialect.value(after.value, order.operand), "<" if order.falling else ">"
    text = f"({placed} {sign} {mark} or {placed} is null or ({placed} = {mark} and {key} > {mark}))"
    return text, [value, value, stored]
