"""Facets and pages of rows as SQL, for every dialect the same answers as `filters.facets_of` and `filters.browsed`.

The rows that pass are read once, however many columns are counted. Numbers and dates take a second statement: the edges
of their bins follow from the least and the greatest value.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from rowvec.filters import Compare, Facets, Op, Order, Place
from rowvec.filters.facets import COUNTED, NUMBERS, Edges, Facet, RangeFacet, edges, range_facet, value_facet
from rowvec.stores.filter_sql import Dialect, Sql
from rowvec.types import Column, ColumnType

COVERED = frozenset(ColumnType) - {ColumnType.JSON, ColumnType.ARRAY, ColumnType.BYTES}
"""What an index for facets can have. Filters may use columns that are not counted."""

Ask: TypeAlias = Callable[[str, list[Any]], Sequence[tuple[Any, ...]]]
"""Sends one statement and gives its rows."""


@dataclass(frozen=True, slots=True)
class Passing:
    """The rows that facets count.

    Attributes:
        table: quoted.
        condition: on its rows, called `t`.
        part: a further condition on them. Those that meet it and those that do not are read each for themselves,
            because each have an index of their own.
    """

    table: str
    condition: Sql
    dialect: Dialect
    part: str = ""

    def rows(self, columns: Sequence[Column]) -> Sql:
        """Their values as c0, c1 and so on, in a table `m`. Databases make it once if it is read more than once."""
        chosen = [f"{self.dialect.counted(_operand(each), 't')} as c{at}" for at, each in enumerate(columns)]
        condition, values = self.condition
        read = f"select {', '.join(chosen) or '1'} from {self.table} t where {condition}"
        if not self.part:
            return f"with m as ({read})", list(values)
        return f"with m as ({read} and {self.part} union all {read} and not {self.part})", [*values, *values]


class _Counted(NamedTuple):
    """A row of the answer: of a column of values one of them, of a column of numbers or dates all of them."""

    low: Any
    """The value, or the least one."""
    high: Any
    number: int
    """Of rows with that value."""
    distinct: int
    held: int
    """Rows that have a value."""
    rows: int
    mean: float | None


def count_facets(
    ask: Ask, passing: Passing, columns: Sequence[Column], names: Sequence[str], most: int,
    spans: Mapping[str, tuple[Any, Any]] | None = None,
) -> Facets:  # fmt: skip
    """
    Args:
        ask: sees the same rows each time that it is called.
        columns: as the table calls them; `names`, as the user does.
        spans: see `stores.part.PartHandle.facets`.
    """
    text, values = passing.rows(columns)
    if not columns:
        return Facets(int(ask(f"{text} select count(*) from m", values)[0][0]), {})
    given = {at: spans[name] for at, name in enumerate(names) if spans and name in spans}
    parts = [
        _values(at, passing.dialect, most) if _is_listed(each) else _extent(at, passing.dialect, each)
        for at, each in enumerate(columns)
        if at not in given
    ]
    found: dict[int, list[_Counted]] = {}
    for at, *rest in ask(f"{text} {' union all '.join(parts)}", values) if parts else ():
        found.setdefault(at, []).append(_Counted(*rest))
    made: dict[int, Facet] = {}
    for at, column in enumerate(columns):
        if at in given:
            made[at] = range_facet(column, *given[at], None, 0, None)
        elif _is_listed(column):
            made[at] = _value_facet(found.get(at, ()), column)
        else:
            made[at] = _extents(found[at][0], column)
    counted = {at: (each.min, each.max) for at, each in made.items() if isinstance(each, RangeFacet)}
    if spans is not None:
        counted = given
    spread = {at: edges(columns[at].type, *ends) for at, ends in counted.items() if ends[0] is not None}
    for at, counts in _bins(ask, passing, columns, spread).items():
        facet = made[at]
        assert isinstance(facet, RangeFacet)
        made[at] = range_facet(columns[at], facet.min, facet.max, facet.mean, facet.missing, spread[at], counts)
    rows = max((int(each[0].rows) for each in found.values()), default=0)
    return Facets(rows, {name: made[at] for at, name in enumerate(names)})


def asks_twice(columns: Sequence[Column]) -> bool:
    return not all(map(_is_listed, columns))


def _is_listed(column: Column) -> bool:
    return column.type in COUNTED


def _operand(column: Column) -> Compare:
    return Compare(column.name, Op.EQ, None, column.type, ignores_case=column.ignores_case)


def _values(at: int, dialect: Dialect, most: int) -> str:
    """The most frequent values; null comes after them, if there is room."""
    value, text = dialect.by_code_point("v"), dialect.text
    return (
        f"select * from (select {at}, v, {text('null')}, n, count(v) over (),"
        " sum(n) filter (where v is not null) over (), sum(n) over (), cast(null as double precision)"
        f" from (select {text(f'c{at}')} as v, count(*) as n from m group by c{at}) g{at}"
        f" order by v is null, n desc, {value} limit {most}) h{at}"
    )


def _extent(at: int, dialect: Dialect, column: Column) -> str:
    low, high = dialect.text(f"min(c{at})"), dialect.text(f"max(c{at})")
    mean = dialect.mean(f"c{at}") if column.type in NUMBERS else "null"
    return f"select {at}, {low}, {high}, 0, 0, count(c{at}), count(*), cast({mean} as double precision) from m"


def _value_facet(found: Sequence[_Counted], column: Column) -> Facet:
    if not found:
        return value_facet([], 0, 0, 0)
    rows, held = int(found[0].rows), int(found[0].held or 0)
    best = [(_read(each.low, column), int(each.number)) for each in found if each.low is not None]
    return value_facet(best, rows - held, int(found[0].distinct), held)


def _extents(found: _Counted, column: Column) -> RangeFacet:
    """Without bins."""
    missing = int(found.rows - found.held)
    if not found.held:
        return range_facet(column, None, None, None, missing, None)
    return range_facet(column, _read(found.low, column), _read(found.high, column), found.mean, missing, None)


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
    counts: dict[int, dict[int, int]] = {at: {} for at in spread}
    for at, number, count in ask(f"{text} {' union all '.join(parts)}", values):
        counts[at][number] = count
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
