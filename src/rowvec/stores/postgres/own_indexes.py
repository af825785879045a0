"""Indexes that rowvec makes beside those of vectors: found by how their names begin, dropped while others work."""

from __future__ import annotations

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
