"""Rows that are as near as their best passage and their own vector together are.

Half of the score is in one list, ordered by the vectors of rows, and half in another, ordered by those of passages.
The beginnings of both are read, and every row that either shows is compared. What the end of the other list allows (the
bounds of Fagin, Lotem and Naor, "Optimal aggregation algorithms for middleware", 2003) leaves no row out:
an index misses some of what is near, so a row that its list does not show may be nearer than its end. A row that
neither shows is not looked for: tuning measures how much effort finds enough of the nearest rows, and to read more of
both lists found fewer of them than more effort does. A row without passages counts in the first list alone.

One statement reads both lists and compares their rows: as a rule a search asks once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.postgres.connect import iterates, one_snapshot
from rowvec.stores.postgres.session import Settings, set_local
from rowvec.stores.postgres.statements import Statements
from rowvec.stores.postgres.vector_index import repeated
from rowvec.stores.postgres.vector_index.nearest import (
    DISTANCE,
    EVERYTHING,
    Condition,
    Serving,
    VectorTable,
    is_narrow,
    order_by,
    ranked,
)
from rowvec.stores.postgres.vector_index.ordering import MAX_EF, SETTING, candidates, effort_of, scan
from rowvec.types import Key, Ranked, Vector

Connection = psycopg.Connection[Any]
Indexes = tuple[Serving | None, Serving | None]
"""Those that serve the vectors of rows and of passages."""
Distances = list[tuple[Key, float]]

READ, LEAST = 2, 20
"""How many are read of each list for each row that is asked for, and the fewest."""
SHARE = 2
"""Of what an index has looked at, the nearest half is read."""
FILTERED = 1.5
"""So much more effort with a filter, which drops a part of what was found: where half of 100,000 rows pass, recall
rises from 0.987 to 0.992 with it."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What one reading of both lists has shown. Distances are infinite where a list has ended before.

    Attributes:
        compared: with their distances, nearest first.
        full: whether each list gave as many as are read of it at least.
        last: the distances at the ends of both lists.
    """

    compared: Distances
    full: tuple[bool, bool]
    last: tuple[float, float]


class Blend:
    """Searches rows by their own vectors and by those of their passages."""

    def __init__(self, rows: VectorTable, passages: VectorTable) -> None:
        self._rows, self._passages = rows, passages
        self._known = Statements()

    def nearest(
        self, connection: Connection, indexes: Indexes, vector: Vector, limit: int, where: Condition | None
    ) -> Ranked:
        """Up to `limit` keys by falling score, and whether every matching row and passage was compared."""
        if limit < 1:
            return Ranked([], [], exact=True, complete=True)
        if indexes == (None, None):
            few = where is not None and is_narrow(connection, self._rows, where)
            return self._all(connection, vector, limit, where or EVERYTHING, few=few)
        settings = _settings(indexes, where, _many(limit), iterates(connection))
        if where is None:
            with one_snapshot(connection, settings):
                return self._united(connection, indexes, vector, limit, None)
        with one_snapshot(connection):
            if is_narrow(connection, self._rows, where):
                return self._all(connection, vector, limit, where, few=True)
            connection.execute(set_local(settings))
            return self._united(connection, indexes, vector, limit, where)

    def scores(
        self, connection: Connection, vector: Vector, keys: Sequence[Key], where: Condition = EVERYTHING
    ) -> Ranked:
        """Of those of the keys that have a vector and pass, the nearest first."""
        return ranked(self._rows, self._distances(connection, vector, keys, where), exact=True)

    def _united(
        self, connection: Connection, indexes: Indexes, vector: Vector, limit: int, where: Condition | None
    ) -> Ranked:
        read = self._read(connection, indexes, vector, limit, where)
        served = indexes[0] if read.full[0] else None, indexes[1] if read.full[1] else None
        if served != indexes:
            # An index gives up where too few of many rows match.
            connection.execute("set local enable_seqscan to default")
            read = self._read(connection, served, vector, limit, where)
        found = self._completed(connection, served, vector, limit, where, read)
        return ranked(self._rows, found[:limit], exact=False)

    def _completed(
        self,
        connection: Connection,
        indexes: Indexes,
        vector: Vector,
        limit: int,
        where: Condition | None,
        read: _Read,
    ) -> Distances:
        """The same, with rows of texts that the indexes leave out."""
        more: set[Key] = set()
        tables = ((self._rows, where), (self._passages, where and self._through(where)))
        for (table, condition), index, end in zip(tables, indexes, read.last, strict=True):
            near = index.repeated.near(vector, table.metric, end) if index else []
            if near:
                text, values = (condition or EVERYTHING).sql, (condition or EVERYTHING).values
                rows = repeated.rows_of(connection, table.names, table.key, near, _many(limit), text, values)
                more.update(key for key, _ in rows)
        more.difference_update(key for key, _ in read.compared)
        if not more:
            return read.compared
        others = self._distances(connection, vector, list(more))
        # What is not a number, the distance of a vector of zeros, is not near either.
        return sorted([*read.compared, *others], key=lambda each: (math.isnan(each[1]), each[1], each[0]))

    # Statements

    def _read(
        self, connection: Connection, indexes: Indexes, vector: Vector, limit: int, where: Condition | None
    ) -> _Read:
        conditions = (where or EVERYTHING, self._through(where) if where else EVERYTHING)
        values: list[Any] = []
        many = _many(limit)
        for index, condition in zip(indexes, conditions, strict=True):
            values += [vector, *condition.values, *([index.asked(vector)] if index else [])]
        values += [vector, vector]
        # A plan for any values of a filter would be one for none.
        rows = connection.execute(
            self._reading(indexes, where, conditions, many),
            values,
            binary=True,
            prepare=False if where else None,
        ).fetchall()
        if not rows:
            return _Read([], (False, False), (math.inf, math.inf))
        own, passages, last, last_passage = rows[0][2:]
        ends = (math.inf if last is None else last, math.inf if last_passage is None else last_passage)
        return _Read([(key, distance) for key, distance, *_ in rows], (own >= many, passages >= many), ends)

    def _reading(
        self, indexes: Indexes, where: Condition | None, conditions: tuple[Condition, Condition], many: int
    ) -> bytes | sql.Composed:
        def made() -> sql.Composed:
            lists = [
                _list(table, index, condition, many)
                for table, index, condition in zip((self._rows, self._passages), indexes, conditions, strict=True)
            ]
            return sql.SQL(_READING).format(
                rows=lists[0], parts=lists[1], key=self._rows.key, op=sql.SQL(DISTANCE[self._rows.metric]),
                passages=self._passages.names.sql, **self._rows.names.parts,
            )  # fmt: skip

        # Numbers in its text let the server keep one plan for all vectors.
        given = (
            index and (index.status.definition, candidates(index.status, many), _effort(index, where, many))
            for index in indexes
        )
        return made() if where is not None else self._known.text((*given, many), made)

    def _distances(
        self, connection: Connection, vector: Vector, keys: Sequence[Key], where: Condition = EVERYTHING
    ) -> Distances:
        text = sql.SQL("t.{} = any(%s) and {}").format(self._rows.key, where.sql)
        found = Condition(text, [list(keys), *where.values])
        return self._compare(connection, vector, None, found, few=True)

    def _all(self, connection: Connection, vector: Vector, limit: int | None, where: Condition, *, few: bool) -> Ranked:
        return ranked(self._rows, self._compare(connection, vector, limit, where, few=few), exact=True)

    def _compare(
        self, connection: Connection, vector: Vector, limit: int | None, where: Condition, *, few: bool
    ) -> Distances:
        """Compare every matching row and all its passages.

        Args:
            few: look up the passages of each row; otherwise read them all at once.
        """
        statement = sql.SQL(_COMPARING).format(
            grouped=sql.SQL(_LOOKED_UP if few else _GROUPED).format(
                passages=self._passages.names.sql, key=self._rows.key, op=sql.SQL(DISTANCE[self._rows.metric])
            ),
            key=self._rows.key, op=sql.SQL(DISTANCE[self._rows.metric]), where=where.sql, **self._rows.names.parts,
        )  # fmt: skip
        return connection.execute(statement, [vector, vector, *where.values, limit], binary=True).fetchall()

    def _through(self, where: Condition) -> Condition:
        """The same filter for passages: that of their rows. Both tables are called `t`, each where it is meant.

        As one value it is looked up for each passage that the index gives; as a join it would be worked out for all
        rows first.
        """
        statement = sql.SQL(
            "(select t.{embedding} is not null and {where} from (select t.key) of (key)"
            " join {table} t on t.{key} = of.key)"
        )
        parts = self._rows.names.parts
        return Condition(statement.format(key=self._rows.key, where=where.sql, **parts), where.values)


def _many(limit: int) -> int:
    """How many are read of each list at least."""
    return max(LEAST, READ * limit)


def _length(index: Serving | None, where: Condition, many: int) -> int:
    """How many are read of a list: more with more effort, since one row may have very many of the nearest passages."""
    if where is not EVERYTHING:
        # An index has to look at very many others for each that passes.
        return many
    if index is None or index.status.kind != "hnsw" or index.status.is_coarse:
        return SHARE * many
    return max(many, _effort(index, where, many) // SHARE)


def _effort(index: Serving, where: Condition | None, many: int) -> int:
    """ef_search or probes for a list of that length."""
    filtered = where is not None and where is not EVERYTHING
    effort = round(effort_of(index.status) * (FILTERED if filtered else 1))
    return min(MAX_EF, max(effort, candidates(index.status, many))) if index.status.kind == "hnsw" else effort


def _settings(indexes: Indexes, where: Condition | None, many: int, iterates: bool) -> Settings:
    """For both lists; the effort of each is set by the list itself, see `_list`."""
    least: dict[str, int] = {}
    for index in indexes:
        if index is not None:
            # The planner counts on it, and might compare all rows for the larger one.
            kind, effort = index.status.kind, _effort(index, where, many)
            least[kind] = min(effort, least.get(kind, effort))
    return {name: value for kind, effort in least.items() for name, value in scan(kind, effort, iterates).items()}


def _list(table: VectorTable, index: Serving | None, where: Condition, many: int) -> sql.Composed:
    """The nearest of one table, by its index or by comparing all."""
    held: sql.Composable = sql.SQL("true")
    order: sql.Composable = held
    given = length = _length(index, where, many)
    near = "select t.{key} as key, t.{embedding} {op} %b as distance from {table} t where t.{embedding} is not null"
    if index is None:
        # The fence keeps the planner from an approximate index, which could leave out matching rows.
        text = f"select * from ({near} and {{where}} offset 0) compared order by distance limit {{length}}"
    else:
        text = f"{near} and {{where}} and {{held}} order by {{order}} limit {{given}}"
        if index.status.is_coarse:
            text = f"select * from ({text}) compared order by distance limit {{length}}"
        held, order = index.repeated.condition, order_by(table, index)
        given = max(length, candidates(index.status, many))
        # A condition without columns is looked at once, before the index is read.
        held = sql.SQL("{} and (select set_config({}, {}, true)) is not null").format(
            held, sql.Literal(SETTING[index.status.kind]), sql.Literal(str(_effort(index, where, many)))
        )
    return sql.SQL(text).format(
        key=table.key, op=sql.SQL(DISTANCE[table.metric]), where=where.sql, held=held, order=order,
        length=sql.Literal(length), given=sql.Literal(given), **table.names.parts,
    )  # fmt: skip


_LOOKED_UP = "lateral (select min(p.embedding {op} %b) as near from {passages} p where p.key = t.{key}) best on true"
_GROUPED = "(select p.key, min(p.embedding {op} %b) as near from {passages} p group by 1) best on best.key = t.{key}"
_COMPARING = (
    # The fence keeps the planner from an approximate index, which could leave out matching rows.
    "select key, coalesce((own + near) / 2, own) as distance from (select t.{key} as key,"
    " t.{embedding} {op} %b as own, best.near from {table} t left join {grouped}"
    " where t.{embedding} is not null and {where} offset 0) compared order by distance, key limit %s"
)
_READING = (
    "with own as materialized ({rows}), parts as materialized ({parts}),"
    " ends as materialized (select * from (select count(*) as rows, max(distance) as last from own) a,"
    " (select count(*) as passages, max(distance) as last_passage from parts) b),"
    " seen as (select key, own.distance from own full join (select distinct key from parts) others using (key))"
    " select key, coalesce((own + near) / 2, own) as distance, rows, passages, last, last_passage"
    # The first list has distances already. A row of the second one may have lost its vector.
    " from ends cross join (select seen.key, coalesce(seen.distance, (select t.{embedding} {op} %b from {table} t"
    " where t.{key} = seen.key and t.{embedding} is not null)) as own,"
    " (select min(p.embedding {op} %b) from {passages} p where p.key = seen.key) as near from seen offset 0) compared"
    " where own is not null order by distance, key"
)
