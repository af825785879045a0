"""Partial indexes: one for each value of a column that very many rows have, such as a large tenant.

An index of all rows is searched with the filter of a tenant by looking at more of its rows than without one. An index
that holds the rows of the tenant alone needs no filter. PostgreSQL uses it for a statement that names the value itself:
a parameter could be any value. So a search adds the condition of the index, as the index has it, to its statement.

The comment of an index says of which rows it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from rowvec.filters import And, Compare, Filter, Op
from rowvec.stores.index import PART_TYPES, Part
from rowvec.stores.postgres.names import Names

Connection = psycopg.Connection[Any]

MARK = "_vectors_part_"
"""In the names of these indexes."""
MOST = 100
"""Values that get an index, those with the most rows first."""
KEPT = 0.5
"""An index stays until its value has fewer rows than this share of those it was made for."""
_COMMENT = "rowvec: "


def condition(part: Part | None) -> sql.Composable:
    """True of the rows of a part; of all where there is none."""
    if part is None:
        return sql.SQL("true")
    return sql.SQL("{} = {}").format(sql.Identifier(part.column), sql.Literal(part.value))


def mark(connection: Connection, names: Names, index: str, part: Part) -> None:
    """Say in the comment of an index what it holds. Until then it is one whose build was cut off."""
    text = _COMMENT + json.dumps({"column": part.column, "value": part.value})
    statement = sql.SQL("comment on index {} is {}").format(sql.Identifier(names.schema, index), sql.Literal(text))
    connection.execute(statement)


def is_named(index: str) -> bool:
    """The index has the name of a partial one. A table may have a name that holds the mark too."""
    return re.search(rf"{MARK}\d+$", index) is not None


def part_of(comment: str | None) -> Part | None:
    if comment is None or not comment.startswith(_COMMENT):
        return None
    try:
        return Part(**json.loads(comment.removeprefix(_COMMENT)))
    except (ValueError, TypeError):
        return None


def parts_in(where: Filter) -> tuple[list[Part], bool]:
    """The parts of a table that hold every row which passes a filter, and whether the filter says nothing else."""
    every = _conjuncts(where)
    found = list(dict.fromkeys(part for each in every if (part := _part(each)) is not None))
    return found, len(found) == 1 and all(map(_part, every))


def _conjuncts(where: Filter) -> list[Filter]:
    return [each for part in where.parts for each in _conjuncts(part)] if isinstance(where, And) else [where]


def _part(where: Filter) -> Part | None:
    if not isinstance(where, Compare) or where.type not in PART_TYPES or where.ignores_case or where.path:
        return None
    values = where.values if where.op in (Op.EQ, Op.IN) else ()
    return Part(where.column, _plain(values[0])) if len(set(values)) == 1 else None


def large(connection: Connection, names: Names, column: str, least: int, there: Sequence[Part]) -> list[Part]:
    """The parts that should have an index, by what the last ANALYZE saw, the largest first.

    Args:
        least: rows that make an index worth its upkeep.
        there: parts that have one. They keep it a little longer, so that it does not come and go.
    """
    row = connection.execute(
        "select format_type(a.atttypid, a.atttypmod) from pg_attribute a"
        " where a.attrelid = to_regclass(%s) and a.attname = %s and not a.attisdropped",
        [names.sql.as_string(connection), column],
    ).fetchone()
    if row is None:
        return []
    statement = sql.SQL(
        "select v, f * c.reltuples from pg_class c join pg_stats s"
        " on (s.schemaname, s.tablename, s.attname) = (%s, %s, %s),"
        " lateral unnest(s.most_common_vals::text::{type}[], s.most_common_freqs) common (v, f)"
        " where c.oid = to_regclass(%s) order by 2 desc limit %s"
    ).format(type=sql.SQL(row[0]))
    given = [names.schema, names.table, column, names.sql.as_string(connection), MOST]
    counted = [(Part(column, _plain(value)), rows) for value, rows in connection.execute(statement, given)]
    known = set(there)
    return [part for part, rows in counted if rows >= least * (KEPT if part in known else 1)]


def _plain(value: Any) -> Any:
    """As a comment holds it."""
    return str(value) if isinstance(value, UUID) else value
