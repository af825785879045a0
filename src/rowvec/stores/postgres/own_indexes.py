"""Indexes that rowvec makes on a table: made and dropped while others work, found by how their names begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.postgres.connect import outside
from rowvec.stores.postgres.names import Names

Connection = psycopg.Connection[Any]


def marked(connection: Connection, names: Names, mark: str) -> dict[str, bool]:
    """The indexes of the vector table whose names begin so, and whether each can be used."""
    rows = connection.execute(
        "select c.relname, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid"
        " where i.indrelid = to_regclass(%s) and starts_with(c.relname, %s)",
        [names.sql.as_string(connection), mark],
    )
    return dict(rows.fetchall())


def drop(connection: Connection, names: Names, name: str) -> None:
    statement = sql.SQL("drop index concurrently if exists {}")
    outside(connection, statement.format(sql.Identifier(names.schema, name)))


def make(connection: Connection, names: Names, name: str, how: str, conditions: Sequence[sql.Composable] = ()) -> None:
    """
    Args:
        how: the method, with its columns and settings.
        conditions: on the rows that it holds; all of them must be met.
    """
    statement = sql.SQL("create index concurrently {name} on {table} using {how}{where}").format(
        name=sql.Identifier(name),
        table=names.sql,
        how=sql.SQL(how),
        where=sql.SQL(" where ") + sql.SQL(" and ").join(conditions) if conditions else sql.SQL(""),
    )
    outside(connection, statement)
