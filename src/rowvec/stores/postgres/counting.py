"""Counting the rows of a large table without reading it: a table is mostly vectors.

PostgreSQL counts all rows by an index alone where it knows that everybody sees them. What must not be counted, or is
counted apart, is a row without a vector, or one whose text was cut: there are few, and an index lists them.
"""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.postgres.connect import outside, single
from rowvec.stores.postgres.locks import alone
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.own_indexes import drop, marked
from rowvec.stores.postgres.vector_index.index import AUTO_ROWS

Connection = psycopg.Connection[Any]

MARK = "rowvec_apart_"
_APART = "{embedding} is null or {truncated}"
_ALL = "select count(*) filter (where {embedding} is not null), count(*) filter (where {truncated}) from {table}"
_FEW = (
    "select (select count(*) from {table}) - count(*) filter (where {embedding} is null),"
    f" count(*) filter (where {{truncated}}) from {{table}} where {_APART}"
)


def ensure(connection: Connection, names: Names) -> None:
    """Make the index of a large table where it has none, and let it know which pages are settled."""
    with alone(connection, names.scope):
        there = marked(connection, names, MARK)
        for name in (name for name, valid in there.items() if not valid):
            # What a build that was cut off has left.
            drop(connection, names, name)
        if not any(there.values()):
            statement = sql.SQL(f"create index concurrently {{name}} on {{table}} ({{truncated}}) where {_APART}")
            made = sql.Identifier(f"{MARK}{uuid.uuid4().hex[:8]}")
            outside(connection, statement.format(name=made, **names.parts))
        if _unsettled(connection, names):
            # Or each entry of an index is looked up in the table. The other indexes are left as they are: that would
            # take long. Rows that were replaced count as gone then, and the server's own vacuum would never come
            # for their entries: ANALYZE counts them again.
            statement = sql.SQL("vacuum (analyze, index_cleanup off, truncate off, skip_locked) {}")
            outside(connection, statement.format(names.sql))


def is_large(connection: Connection, names: Names) -> bool:
    count = sql.SQL("select count(*) from (select from {} limit %s) t").format(names.sql)
    return bool(single(connection.execute(count, [AUTO_ROWS]))[0] >= AUTO_ROWS)


def vectors(connection: Connection, names: Names) -> tuple[int, int]:
    """How many rows have a vector, and how many have a text that was cut."""
    statement = _FEW if any(marked(connection, names, MARK).values()) else _ALL
    rows, truncated = single(connection.execute(sql.SQL(statement).format(**names.parts)))
    return int(rows), int(truncated)


def _unsettled(connection: Connection, names: Names) -> bool:
    """Of many pages PostgreSQL does not know that everybody sees all of their rows, and could know it.

    A page with a row that was replaced stays unsettled until the server's own vacuum has cleaned the indexes.
    """
    row = connection.execute(
        "select s.n_ins_since_vacuum > 0.02 * s.n_live_tup"
        " or (c.relallvisible < 0.9 * c.relpages and s.n_dead_tup <= 0.02 * s.n_live_tup)"
        " from pg_class c left join pg_stat_all_tables s on s.relid = c.oid where c.oid = to_regclass(%s)",
        [names.sql.as_string(connection)],
    ).fetchone()
    return row == (True,)
