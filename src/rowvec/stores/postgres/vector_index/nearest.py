"""Nearest vectors: by an index where it serves, by comparing every matching row where that is better."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from rowvec.stores.index import IndexStatus, Part
from rowvec.stores.postgres.arrays import key_array
from rowvec.stores.postgres.connect import iterates, rows_under, single
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.statements import Statements
from rowvec.stores.postgres.vector_index import repeated
from rowvec.stores.postgres.vector_index.centre import around, text_of
from rowvec.stores.postgres.vector_index.estimates import Estimates
from rowvec.stores.postgres.vector_index.ordering import asked_of, candidates, held_of, settings
from rowvec.stores.postgres.vector_index.repeated import Repeated
from rowvec.types import Key, Ranked, Vector

Connection = psycopg.Connection[Any]

DISTANCE = {"cosine": "<=>", "l2": "<->", "ip": "<#>"}
HAMMING_DISTANCE = "<~>"
EXACT_ROWS = 2500
"""So few matching rows are compared faster one by one than an index finds them among the others."""
EXACT_BYTES, MOST_EXACT_ROWS = 8 * 2**20, 10_000
"""Up to that many where vectors are short: of a million rows, 9,000 took 20 ms, and one that skips others 52."""


@dataclass(frozen=True)
class Condition:
    """A compiled filter: a boolean SQL expression over the vector table aliased `t`, and its values."""

    sql: sql.Composable
    values: Sequence[Any] = ()
    parts: Sequence[Part] = ()
    """Each holds every row that passes."""
    is_part: bool = False
    """It says that rows are of one part, and nothing else."""
    columns: Set[str] = frozenset()
    """That are compared."""

    @cached_property
    def text(self) -> str:
        """The expression. Conditions of the same text differ in their values alone."""
        return self.sql.as_string(None)

    @cached_property
    def whole(self) -> str:
        """The expression with its values."""
        return f"{self.text} {self.values!r}"


EVERYTHING = Condition(sql.SQL("true"))


@dataclass(frozen=True, slots=True)
class Serving:
    """The index that searches are answered from, and what it leaves out."""

    status: IndexStatus
    repeated: Repeated

    @property
    def centre(self) -> str:
        """What its bits are relative to."""
        return text_of(self.status.definition)

    def asked(self, vector: Vector) -> Vector:
        """What it compares in place of the vector; `order_by` has the place for it."""
        return around(vector, self.centre, self.status.dimensions or vector.size)

    def is_all_of(self, where: Condition) -> bool:
        """The index holds the rows that pass, and no others."""
        return self.status.part is not None and where.is_part


@dataclass(frozen=True, slots=True)
class VectorTable:
    """What a nearest-neighbour statement must know of the table."""

    names: Names
    key: sql.Identifier
    metric: str
    storage: str
    dimension: int
    estimates: Estimates = field(default_factory=Estimates, compare=False, repr=False)
    statements: Statements = field(default_factory=Statements, compare=False, repr=False)

    def statement(self, text: str, where: Condition) -> bytes:
        """
        Args:
            text: with the fields {key}, {op} for the distance, {where}, and those of `Names.parts`.
        """
        parts = self.names.parts
        return self.statements.text(
            (text, where.text),
            lambda: sql.SQL(text).format(
                key=self.key, op=sql.SQL(DISTANCE[self.metric]), where=where.sql, **parts
            ),
        )  # fmt: skip


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
    filtered = where is not None and not (index is not None and index.is_all_of(where))
    if index is None:
        return _exact(connection, table, vector, limit, condition)
    share = _share(connection, table, condition, index) if filtered else None
    given = candidates(index.status, limit, share=share)
    if share is not None:
        # Or as many as an index of bits would have to look at.
        most = max(exact_rows(table), given / share) if index.status.is_coarse else exact_rows(table)
        if is_narrow(connection, table, condition, most):
            return _exact(connection, table, vector, limit, condition)
    # The index of a part says itself that its rows pass. A statement without parameters for that is planned once.
    found = _approximate(connection, table, vector, limit, condition if filtered else EVERYTHING, index, given)
    if len(found) < limit:
        return _exact(connection, table, vector, limit, condition)
    near = index.repeated.near(vector, table.metric, found[-1][1])
    if near:
        values = condition.values
        more = repeated.rows_of(connection, table.names, table.key, near, limit, condition.sql, values)
        found = sorted([*found, *more], key=lambda row: (row[1], row[0]))[:limit]
    return ranked(table, found, exact=False)


def similarities(
    connection: Connection, table: VectorTable, vector: Vector, keys: Sequence[Key], where: Condition = EVERYTHING
) -> Ranked:
    """Those of the keys that have a vector and pass, in no order."""
    statement = table.statement(
        "select t.{key}, t.{embedding} {op} %b from {table} t"
        " where t.{key} = any(%s) and t.{embedding} is not null and {where}",
        where,
    )
    rows = connection.execute(statement, [vector, key_array(keys), *where.values], binary=True).fetchall()
    return ranked(table, rows, exact=True)


def exact_rows(table: VectorTable) -> int:
    """Matching rows of one vector that are compared one by one, at most."""
    size = table.dimension * (2 if table.storage == "halfvec" else 4)
    return max(EXACT_ROWS, min(MOST_EXACT_ROWS, EXACT_BYTES // size))


def _share(connection: Connection, table: VectorTable, where: Condition, index: Serving) -> float:
    """Of all rows, that the planner expects to match; above 0. Only an index that is coarse is searched by it."""
    rows = expected_rows(connection, table, EVERYTHING) if index.status.is_coarse else 0.0
    return min(1.0, max(1.0, expected_rows(connection, table, where)) / rows) if rows > 1 else 1.0


def is_narrow(connection: Connection, table: VectorTable, where: Condition, most: float | None = None) -> bool:
    """The planner expects so few rows to match, up to `most` or EXACT_ROWS, that they are compared one by one."""
    return expected_rows(connection, table, where) <= (most or EXACT_ROWS)


def expected_rows(connection: Connection, table: VectorTable, where: Condition) -> float:
    """How many rows the planner expects to match."""
    return table.estimates.rows(where.whole, lambda: _estimate(connection, table, where))


def _estimate(connection: Connection, table: VectorTable, where: Condition) -> float:
    statement = sql.SQL("explain (format json) select 1 from {} t where {}").format(table.names.sql, where.sql)
    plan = single(connection.execute(statement, list(where.values)))[0]
    return float(plan[0]["Plan"]["Plan Rows"])


def _exact(connection: Connection, table: VectorTable, vector: Vector, limit: int, where: Condition) -> Ranked:
    statement = table.statement(
        # The fence keeps the planner from an approximate index, which could leave out matching rows.
        "select key, distance from (select t.{key} as key, t.{embedding} {op} %b as distance from {table} t"
        " where t.{embedding} is not null and {where} offset 0) compared order by distance, key limit %s",
        where,
    )
    rows = connection.execute(statement, [vector, *where.values, limit], binary=True).fetchall()
    return ranked(table, rows, exact=True)


def _approximate(
    connection: Connection,
    table: VectorTable,
    vector: Vector,
    limit: int,
    where: Condition,
    serving: Serving,
    given: int,
) -> list[tuple[Key, float]]:
    index = serving.status
    filtered = where is not EVERYTHING
    # Numbers in its text let the server keep one plan for all vectors.
    numbers = (None, None) if filtered else (given, limit)
    statement = table.statements.text(
        (
            "by index", index.precision, index.dimensions, serving.centre, serving.repeated.definition, where.text,
            numbers,
        ),
        lambda: _by_index(table, serving, where, numbers),
    )  # fmt: skip
    asked = serving.asked(vector)
    values = [vector, *where.values, asked, given, limit] if filtered else [vector, asked]
    chosen = settings(index, given, filtered=filtered, iterates=iterates(connection))
    # A plan for any values of a filter would suit none. After five searches it would take the place of the others, and
    # give other rows: what one page has shown would come again on the next.
    rows = rows_under(connection, chosen, statement, values, prepare=not filtered)
    if len(rows) < limit and connection.info.transaction_status is not TransactionStatus.IDLE:
        # What is asked next in this transaction is for the planner to decide.
        connection.execute("set local enable_seqscan to default")
    return rows


def _by_index(
    table: VectorTable, serving: Serving, where: Condition, numbers: tuple[int | None, int | None]
) -> sql.Composed:
    """
    Args:
        numbers: of candidates, and of rows; None for a placeholder.
    """
    most, last = (sql.Placeholder() if number is None else sql.Literal(number) for number in numbers)
    # The index orders by what it holds; the outer query orders its candidates by the stored vectors.
    return sql.SQL(
        "with candidates as materialized (select t.{key} as key, t.{embedding} {op} %b as distance from {table} t"
        " where t.{embedding} is not null and {where} and {held} order by {order} limit {most})"
        " select key, distance from candidates order by distance, key limit {last}"
    ).format(
        key=table.key, where=where.sql, held=serving.repeated.condition, order=order_by(table, serving),
        op=sql.SQL(DISTANCE[table.metric]), most=most, last=last, **table.names.parts,
    )  # fmt: skip


def order_by(table: VectorTable, serving: Serving) -> sql.Composed:
    """What makes the planner read rows `t` from the index, nearest first.

    One more value is what the index compares in place of the vector (`Serving.asked`).
    """
    index = serving.status
    how = (index.precision, index.dimensions, table.storage, table.dimension, serving.centre)
    column, given = held_of("t.{embedding}", *how), asked_of(*how)
    operator = HAMMING_DISTANCE if index.precision == "bit" else DISTANCE[table.metric]
    return sql.SQL(f"{column} {operator} {given}").format(**table.names.parts)


def ranked(table: VectorTable, rows: Sequence[tuple[Key, float]], *, exact: bool) -> Ranked:
    scores = [1 - distance if table.metric == "cosine" else -distance for _, distance in rows]
    return Ranked([key for key, _ in rows], scores, exact=exact, complete=True)
