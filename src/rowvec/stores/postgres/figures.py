"""What there is of a vector table, in numbers."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.postgres import runs
from rowvec.stores.postgres.connect import single, use_vectors
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.vector_index import index

Connection = psycopg.Connection[Any]

_HAS_VECTOR = "exists (select from {table} where {key}::text = f.key and {embedding} is not null)"


def of_table(connection: Connection, names: Names, key: str) -> dict[str, Any]:
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
    failed, stale = failures(connection, names, key)
    version = use_vectors(connection)
    return {
        "index": next((found.as_dict() for found in index.find(connection, names) if found.valid), None),
        "rows": row[0], "truncated": row[1], "bytes": row[2], "failures": failed, "stale": stale,
        "pgvector": version, "totals": runs.totals(connection, names.scope),
    }  # fmt: skip


def failures(connection: Connection, names: Names, key: str) -> tuple[int, int]:
    """Rows of a generation that failed, and how many of them have a vector, of a text that they had before."""
    counted = f"select count(*), count(*) filter (where {_HAS_VECTOR}) from rowvec.failures f where scope = %s"
    found: tuple[int, int] = single(
        connection.execute(sql.SQL(counted).format(key=sql.Identifier(key), **names.parts), [names.scope])
    )
    return found


def lost(connection: Connection, live: Names, building: Names, key: str) -> int:
    """Rows with a current vector in the live generation that failed in the one that is being built."""
    query = f"""select count(*) from rowvec.failures f where scope = %s and {_HAS_VECTOR}
        and not exists (select from rowvec.failures also where also.scope = %s and also.key = f.key)"""
    (count,) = single(
        connection.execute(sql.SQL(query).format(key=sql.Identifier(key), **live.parts), [building.scope, live.scope])
    )
    return int(count)
