"""What there is of a vector table, in numbers."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.postgres import index
from rowvec.stores.postgres.bookkeeping import Bookkeeping
from rowvec.stores.postgres.connect import single, use_vectors
from rowvec.stores.postgres.names import Names

Connection = psycopg.Connection[Any]


def of_table(connection: Connection, names: Names, key: str, books: Bookkeeping) -> dict[str, Any]:
    """What `rowvec status` shows of the live generation."""
    row = single(
        connection.execute(
            sql.SQL(
                "select count(*) filter (where {embedding} is not null), count(*) filter (where {truncated}),"
                " pg_total_relation_size(%s::regclass) from {table}"
            ).format(**names.parts),
            [names.sql.as_string(connection)],
        )
    )
    failed = single(
        connection.execute(
            sql.SQL(
                "select count(*), count(*) filter (where exists (select"
                " from {table} where {key}::text = f.key and {known}))"
                " from rowvec.failures f where scope = %s"
            ).format(key=sql.Identifier(key), **names.parts),
            [names.scope],
        )
    )
    version = use_vectors(connection)
    return {
        "index": next((found.as_dict() for found in index.find(connection, names) if found.valid), None),
        "rows": row[0], "truncated": row[1], "bytes": row[2], "failures": failed[0], "stale": failed[1],
        "pgvector": version, "totals": books.totals(connection),
    }  # fmt: skip
