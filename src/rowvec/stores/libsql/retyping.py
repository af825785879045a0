"""Columns of a vector table that have another type now. SQLite cannot change the type of a column: a table with the new
columns takes the rows over, and then the name (https://www.sqlite.org/lang_altertable.html, section 7).

The side tables of keywords and of the vector index stay as they are: they know a row by its rowid and by its vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rowvec.stores.base import TableSpec
from rowvec.stores.columns import is_lossless
from rowvec.stores.filter_sql import SORTABLE
from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.schema import OWN, Tables, failure_table, vector_table
from rowvec.stores.libsql.values import DECLARED, quoted
from rowvec.types import Column, ColumnType


def other_types(spec: TableSpec, before: Mapping[str, str]) -> list[Column]:
    """Metadata columns that had another type before.

    Args:
        before: name and type of each column, as the books have them.
    """
    return [column for column in spec.metadata if before.get(column.name, str(column.type)) != str(column.type)]


def statements(
    database: Database, tables: Tables, spec: TableSpec, key_type: str, before: Mapping[str, str], columns: set[str]
) -> list[Statement]:
    """What gives the table, and the failures beside it, the columns that they have now.

    Args:
        key_type: of the keys that are there.
        before: see `other_types`.
        columns: that the table has.
    """
    values = {name: quoted(name) for name in OWN}
    lost = False
    for column in spec.metadata:
        was = before.get(column.name, str(column.type))
        value = _value(column, was) if column.name in columns else "null"
        lost |= value == "null"
        values[column.name] = value
    if lost:
        # The next sync writes what stands beside every vector again.
        values["row_hash"] = "zeroblob(16)"
    integers, now_integers = (kind == ColumnType.INTEGER for kind in (key_type, spec.key_type))
    key = quoted(spec.key)
    values[spec.key] = key if integers == now_integers else f"cast({key} as {'integer' if now_integers else 'text'})"
    if not now_integers:
        values["rowvec_id"] = key if integers else "rowvec_id"
    # The index for facets is made again with the columns that there are then.
    found = database.query(
        "select sql from sqlite_master where tbl_name = ? and type in ('index', 'trigger') and sql is not null"
        " and name <> ?",
        (tables.name, tables.plain("facets")),
    )
    made = _rebuilt(tables.name, vector_table, spec, values)
    if integers != now_integers:
        names = ("error", "attempts", "failed_at", "next_try", "text_hash")
        kind = "integer" if now_integers else "text"
        failures = {name: name for name in names} | {"key": f'cast("key" as {kind})'}
        made += _rebuilt(f"rowvec_failures_{tables.target}_{tables.number}", failure_table, spec, failures)
    return [*made, *(Statement(sql) for (sql,) in found)]


def _value(column: Column, was: str) -> str:
    """The value of a column of the type `was` as one of the other; `null` where it cannot be told."""
    name, old = quoted(column.name), ColumnType(was)
    if not is_lossless(old, column.type):
        return "null"
    declared, now = (DECLARED.get(kind, "TEXT") for kind in (old, column.type))
    if old is ColumnType.BOOLEAN and column.type is ColumnType.TEXT:
        return f"case {name} when 1 then 'yes' when 0 then 'no' end"
    if old is ColumnType.INTERVAL and column.type is ColumnType.TEXT:
        return f"substr({name}, {SORTABLE + 2})"
    return name if declared == now else f"cast({name} as {now})"


def _rebuilt(
    name: str, made: Callable[[str, TableSpec], str], spec: TableSpec, values: Mapping[str, str]
) -> list[Statement]:
    table, other = quoted(name), quoted(f"{name}_rowvec_retyped")
    into = ", ".join(quoted(name) for name in values)
    return [
        Statement(made(other, spec)),
        Statement(f"insert into {other} ({into}) select {', '.join(values.values())} from {table}"),
        Statement(f"drop table {table}"),
        Statement(f"alter table {other} rename to {table}"),
    ]
