"""Nearest vectors: by an index where it serves, by comparing every matching row where that is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.index import IndexStatus
from rowvec.stores.postgres.connect import one_snapshot, single
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.vector_index import repeated
from rowvec.stores.postgres.vector_index.estimates import Estimates
from rowvec.stores.postgres.vector_index.ordering import candidates, held_of, settings
from rowvec.stores.postgres.vector_index.repeated import Repeated
from rowvec.types import Key, Ranked, Vector

Connection = psycopg.Connection[Any]

DISTANCE = {"cosine": "<=>", "l2": "<->", "ip": "<#>"}
HAMMING_DISTANCE = "<~>"
EXACT_ROWS = 2500
"""So few matching rows are compared faster one by one than an index finds them among the others."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled filter: a boolean SQL expression over the vector table aliased `t`, and its values."""

    sql: sql.Composable
    values: Sequence[Any] = ()


EVERYTHING = Condition(sql.SQL("true"))


@dataclass(frozen=True, slots=True)
class Serving:
    """The index that searches are answered from, and what it leaves out."""

    status: IndexStatus
    repeated: Repeated


@dataclass(frozen=True, slots=True)
class VectorTable:
    """What a nearest-neighbour statement must know of the table."""

    names: Names
    key: sql.Identifier
    metric: str
    storage: str
    dimension: int
    estimates: Estimates = field(default_factory=Estimates, compare=False, repr=False)


def nearest(
    connection: Connection,
    table: VectorTable,
    vector: Vector,
    limit: int,
    where: Condition | None,
    index: Serving | None,
) -> Ranked:
    """Up to `limit` keys by rising distance, and whether every matching row was compared.

    With a filter the planner's estimate decides: few matching rows are compared one by one, many are taken
    from the index by pgvector's iterative scan. If that comes back short, everything is compared after all, so
    an answer never holds fewer rows than match.
    """
    condition = where or EVERYTHING
    if index is None or (where is not None and is_narrow(connection, table, where)):
        return _exact(connection, table, vector, limit, condition)
    found = _approximate(connection, table, vector, limit, condition, index)
    if len(found) < limit:
        return _exact(connection, table, vector, limit, condition)
    near = index.repeated.near(vector, table.metric, found[-1][1])
    if near:
        values = condition.values
        more = repeated.rows_of(connection, table.names, table.key, near, limit, condition.sql, values)
        found = sorted([*found, *more], key=lambda row: (row[1], row[0]))[:limit]
    return ranked(table, found, exact=False)


def similarities(connection: Connection, table: VectorTable, vector: Vector, keys: Sequence[Key]) -> Ranked:
    """Those of the keys that have a vector, in no order."""
    statement = sql.SQL(
        "select {key}, {embedding} {op} %b from {table} where {key} = any(%s) and {embedding} is not null"
    ).format(key=table.key, op=sql.SQL(DISTANCE[table.metric]), **table.names.parts)
    rows = connection.execute(statement, [vector, list(keys)], binary=True).fetchall()
    return ranked(table, rows, exact=True)


def is_narrow(connection: Connection, table: VectorTable, where: Condition) -> bool:
    """The planner expects so few rows to match that they are compared one by one."""
    filtered = f"{where.sql!r} {where.values!r}"
    return table.estimates.rows(filtered, lambda: _estimate(connection, table, where)) <= EXACT_ROWS


def _estimate(connection: Connection, table: VectorTable, where: Condition) -> float:
    """How many rows the planner expects to match."""
    statement = sql.SQL("explain (format json) select 1 from {} t where {}").format(table.names.sql, where.sql)
    plan = single(connection.execute(statement, list(where.values)))[0]
    return float(plan[0]["Plan"]["Plan Rows"])


def _exact(connection: Connection, table: VectorTable, vector: Vector, limit: int, where: Condition) -> Ranked:
    statement = sql.SQL(
        # The fence keeps the planner from an approximate index, which could leave out matching rows.
        "select key, distance from (select t.{key} as key, t.{embedding} {op} %b as distance from {table} t"
        " where t.{embedding} is not null and {where} offset 0) compared order by distance, key limit %s"
    ).format(key=table.key, op=sql.SQL(DISTANCE[table.metric]), where=where.sql, **table.names.parts)
    rows = connection.execute(statement, [vector, *where.values, limit], binary=True).fetchall()
    return ranked(table, rows, exact=True)


def _approximate(
    connection: Connection, table: VectorTable, vector: Vector, limit: int, where: Condition, serving: Serving
) -> list[tuple[Key, float]]:
    index = serving.status
    # The index orders by what it holds; the outer query orders its candidates by the stored vectors.
    statement = sql.SQL(
        "with candidates as materialized (select t.{key} as key, t.{embedding} from {table} t"
        " where t.{embedding} is not null and {where} and {held} order by {order} limit %s)"
        " select key, {embedding} {op} %b as distance from candidates order by distance, key limit %s"
    ).format(
        key=table.key, where=where.sql, held=serving.repeated.condition, order=order_by(table, index),
        op=sql.SQL(DISTANCE[table.metric]), **table.names.parts,
    )  # fmt: skip
    filtered = where is not EVERYTHING
    given = candidates(index, limit, filtered=filtered)
    values = [*where.values, vector, given, vector, limit]
    with one_snapshot(connection):
        connection.execute(settings(index, given, filtered=filtered))
        rows = connection.execute(statement, values, binary=True).fetchall()
        if len(rows) < limit:
            # What is asked next in this transaction is for the planner to decide.
            connection.execute("set local enable_seqscan to default")
        return rows


def order_by(table: VectorTable, index: IndexStatus) -> sql.Composed:
    """What makes the planner read rows `t` from the index, nearest first; the vector is one more value."""
    column, given = (
        held_of(each, index.precision, index.dimensions, table.storage, table.dimension)
        for each in ("t.{embedding}", "%b")
    )
    operator = HAMMING_DISTANCE if index.precision == "bit" else DISTANCE[table.metric]
    return sql.SQL(f"{column} {operator} {given}").format(**table.names.parts)


def ranked(table: VectorTable, rows: Sequence[tuple[Key, float]], *, exact: bool) -> Ranked:
    scores = [1 - distance if table.metric == "cosine" else -distance for _, distance in rows]
    return Ranked([key for key, _ in rows], scores, exact=exact, complete=True)
