"""An index that has the metadata of all rows side by side. Facets read it alone: a table is mostly vectors.

PostgreSQL refuses a row whose entry in such an index would be long. So rows with long texts are left out, and a second
index lists those: facets count both parts.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from rowvec.stores.base import TableSpec
from rowvec.stores.facet_sql import COVERED
from rowvec.stores.postgres.connect import outside, single
from rowvec.stores.postgres.locks import alone
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.own_indexes import drop, marked
from rowvec.types import Column, ColumnType

Connection = psycopg.Connection[Any]

MARK = "rowvec_facets_"
REST = "_rest"
"""The index of the rows that are left out has this behind its name."""
MOST = 30
"""Columns. PostgreSQL takes 32 in one index."""
SHORT = 100
"""Bytes that the texts of a column have on average. Longer ones are for reading, not for counting."""
LONGEST = 1_200
"""Bytes of all texts of a row. An entry may have 2,704."""
_SAMPLE = 1_000


@dataclass(frozen=True, slots=True)
class FacetIndex:
    columns: frozenset[str]
    fits: str
    """The condition on a row `t` to be in it; the other index has the others. Empty if every row is."""

    @property
    def parts(self) -> list[str]:
        """What is added to a condition for the rows of each of the two; nothing where there is one."""
        return [f" and {self.fits}", f" and not {self.fits}"] if self.fits else [""]


def ensure(connection: Connection, names: Names, spec: TableSpec) -> None:
    """Make that of a large table where it has none."""
    if not any(column.type in COVERED for column in spec.metadata):
        return
    mark = MARK + hashlib.blake2b(repr((spec.key, spec.metadata)).encode(), digest_size=4).hexdigest()
    with alone(connection, names.scope):
        there = marked(connection, names, MARK)
        # An index of the rest alone is what a build that was cut off has left.
        good = {name for name, valid in there.items() if valid and name.startswith(mark) and not name.endswith(REST)}
        chosen = [] if good else _chosen(connection, names, spec)
        if chosen:
            _build(connection, names, spec, chosen, f"{mark}_{uuid.uuid4().hex[:8]}")
        for name in there.keys() - good - {f"{name}{REST}" for name in good}:
            drop(connection, names, name)


def _build(connection: Connection, names: Names, spec: TableSpec, columns: Sequence[Column], name: str) -> None:
    fits = _fits([*columns, Column(spec.key, spec.key_type)])
    held = f"{_quoted('embedding')} is not null"
    others = f" where {held} and not {fits}" if fits else None
    included = ", ".join(_quoted(column.name) for column in columns)
    table, key = names.sql.as_string(connection), _quoted(spec.key)
    where = f"{held} and {fits}" if fits else held
    if others:
        # First: the other one alone says that both are there.
        outside(connection, f"create index concurrently {_quoted(name + REST)} on {table} ({key}){others}".encode())
    statement = f"create index concurrently {_quoted(name)} on {table} ({key}) include ({included}) where {where}"
    outside(connection, statement.encode())


def _chosen(connection: Connection, names: Names, spec: TableSpec) -> list[Column]:
    able = [column for column in spec.metadata if column.type in COVERED]
    widths = ", ".join(f"coalesce(avg(octet_length({_quoted(column.name)}::text)), 0)" for column in able)
    listed = ", ".join(_quoted(column.name) for column in able)
    sample = f"select {widths} from (select {listed} from {names.sql.as_string(connection)} limit {_SAMPLE}) t"
    found = single(connection.execute(sample.encode()))
    return [column for column, width in zip(able, found, strict=True) if width <= SHORT][:MOST]


def _fits(columns: Sequence[Column]) -> str:
    """The same words in the index and in a query, so that the planner sees that one serves the other."""
    texts = [column for column in columns if column.type in (ColumnType.TEXT, ColumnType.DECIMAL)]
    lengths = [
        f"coalesce(octet_length({_quoted(each.name)}{'' if each.type is ColumnType.TEXT else '::text'}), 0)"
        for each in texts
    ]
    return f"({' + '.join(lengths)} <= {LONGEST})" if lengths else ""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def find(connection: Connection, names: Names, spec: TableSpec) -> FacetIndex | None:
    row = connection.execute(
        "select array_agg(a.attname::text) from pg_index i join pg_class c on c.oid = i.indexrelid"
        " join pg_attribute a on a.attrelid = c.oid where i.indrelid = to_regclass(%s) and i.indisvalid"
        " and starts_with(c.relname, %s) and i.indnatts > 1 group by c.oid order by c.oid desc limit 1",
        [names.sql.as_string(connection), MARK],
    ).fetchone()
    if row is None:
        return None
    held = frozenset(row[0])
    columns = [column for column in spec.metadata if column.name in held]
    # In a query a percent sign would begin a placeholder.
    fits = _fits([*columns, Column(spec.key, spec.key_type)]).replace("%", "%%")
    return FacetIndex(frozenset(column.name for column in columns), fits)
