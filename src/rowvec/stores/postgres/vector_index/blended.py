"""Rows that are as near as their best passage and their own vector together are.

Half of the score is in one list, ordered by the vectors of rows, and half in another, ordered by those of passages.
Both are read from the top; a row that neither has shown so far is at most as near as the two last ones together. So
reading ends as soon as enough of those that were seen are nearer than that: the threshold algorithm (Fagin, Lotem and
Naor, "Optimal aggregation algorithms for middleware", 2003). A row without passages counts in the first list alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.postgres.connect import one_snapshot
from rowvec.stores.postgres.vector_index.nearest import (
    DISTANCE,
    EVERYTHING,
    Condition,
    Serving,
    VectorTable,
    is_narrow,
    nearest,
    ranked,
)
from rowvec.types import Key, Ranked, Vector

Connection = psycopg.Connection[Any]

ROWS, PASSAGES = 20, 20
"""Read of each list at first, beside what is asked for."""
GROWTH, ROUNDS = 2, 3
"""How much more is read each time, and how often at most: an approximate index is not worth more."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two tables, with the index that serves it."""

    table: VectorTable
    index: Serving | None


def blended(
    connection: Connection, rows: Side, passages: Side, vector: Vector, limit: int, where: Condition | None
) -> Ranked:
    """Up to `limit` keys by falling score, and whether every matching row and passage was compared."""
    with one_snapshot(connection):
        if limit < 1:
            return Ranked([], [], exact=True, complete=True)
        if rows.index is None and passages.index is None:
            return _all(connection, rows.table, passages.table, vector, limit, where, few=False)
        if where is not None and is_narrow(connection, rows.table, where):
            return _all(connection, rows.table, passages.table, vector, limit, where, few=True)
        found = _united(connection, rows, passages, vector, limit, where)
    return Ranked(found.keys[:limit], found.scores[:limit], exact=False, complete=True)


def scores(
    connection: Connection, rows: VectorTable, passages: VectorTable, vector: Vector, keys: Sequence[Key]
) -> Ranked:
    """Of those of the keys that have a vector, the nearest first."""
    found = Condition(sql.SQL("t.{} = any(%s)").format(rows.key), [list(keys)])
    return _all(connection, rows, passages, vector, None, found, few=True)


def _united(
    connection: Connection, rows: Side, passages: Side, vector: Vector, limit: int, where: Condition | None
) -> Ranked:
    of_passages = None if where is None else _through(rows.table, where)
    many, parts = 2 * limit + ROWS, 2 * limit + PASSAGES
    for _ in range(ROUNDS):
        near = _ask(connection, rows, vector, many, where)
        near_parts = _ask(connection, passages, vector, parts, of_passages)
        own = dict(zip(near.keys, near.scores, strict=True))
        best: dict[Key, float] = {}
        for key, score in zip(near_parts.keys, near_parts.scores, strict=True):
            best.setdefault(key, score)
        last = near.scores[-1] if len(near.keys) == many else -math.inf
        last_part = near_parts.scores[-1] if len(near_parts.keys) == parts else -math.inf
        found = _best(connection, rows.table, passages.table, vector, limit, own, best, (last, last_part))
        unseen = max(last, (last + last_part) / 2)
        if len(found.keys) < limit or found.scores[limit - 1] >= unseen:
            break
        many, parts = GROWTH * many, GROWTH * parts
    return found


def _best(
    connection: Connection,
    rows: VectorTable,
    passages: VectorTable,
    vector: Vector,
    limit: int,
    own: dict[Key, float],
    best: dict[Key, float],
    last: tuple[float, float],
) -> Ranked:
    """Those that may be among the first `limit`, with their scores: all are compared whose bound is above the worst."""

    def bound(key: Key) -> float:
        if key not in best:
            # It may have no passages.
            return max(own[key], (own[key] + last[1]) / 2)
        return (own.get(key, last[0]) + best[key]) / 2

    bounds = sorted(((bound(key), key) for key in {*own, *best}), key=lambda each: -each[0])
    keys = [key for _, key in bounds]
    first = min(len(keys), 2 * limit)
    found = scores(connection, rows, passages, vector, keys[:first])
    worst = found.scores[limit - 1] if len(found.keys) >= limit else -math.inf
    more = [key for high, key in bounds[first:] if high >= worst]
    if not more:
        return found
    others = scores(connection, rows, passages, vector, more)
    both = sorted(
        zip([*found.scores, *others.scores], [*found.keys, *others.keys], strict=True), key=lambda each: -each[0]
    )
    return Ranked([key for _, key in both], [score for score, _ in both], exact=False, complete=True)


def _ask(connection: Connection, side: Side, vector: Vector, limit: int, where: Condition | None) -> Ranked:
    if side.index is None:
        # The index of the other side has set it for the rest of the transaction.
        connection.execute("set local enable_seqscan to default")
    return nearest(connection, side.table, vector, limit, where, side.index, spare=1)


def _through(rows: VectorTable, where: Condition) -> Condition:
    """The same filter for passages: that of their rows. Both tables are called `t`, each where it is meant."""
    statement = sql.SQL("t.key in (select t.{key} from {table} t where t.{embedding} is not null and {where})")
    return Condition(statement.format(key=rows.key, where=where.sql, **rows.names.parts), where.values)


def _all(
    connection: Connection,
    rows: VectorTable,
    passages: VectorTable,
    vector: Vector,
    limit: int | None,
    where: Condition | None,
    *,
    few: bool,
) -> Ranked:
    """Compare every matching row and all its passages.

    Args:
        few: look up the passages of each row; otherwise read them all at once.
    """
    condition = where or EVERYTHING
    grouped = (
        "lateral (select min(p.embedding {op} %b) as near from {passages} p where p.key = t.{key}) best on true"
        if few
        else "(select p.key, min(p.embedding {op} %b) as near from {passages} p group by 1) best on best.key = t.{key}"
    )
    statement = sql.SQL(
        # The fence keeps the planner from an approximate index, which could leave out matching rows.
        "select key, coalesce((own + near) / 2, own) as distance from (select t.{key} as key,"
        f" t.{{embedding}} {{op}} %b as own, best.near from {{table}} t left join {grouped}"
        " where t.{embedding} is not null and {where} offset 0) compared order by distance, key limit %s"
    ).format(
        key=rows.key, op=sql.SQL(DISTANCE[rows.metric]), passages=passages.names.sql, where=condition.sql,
        **rows.names.parts,
    )  # fmt: skip
    found = connection.execute(statement, [vector, vector, *condition.values, limit], binary=True).fetchall()
    return ranked(rows, found, exact=True)
