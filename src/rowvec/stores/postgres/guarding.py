"""What the deletion guard remembers: how many rows there were, how many of them were deleted since, and a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.guarding import GUARDED_FOR, OUTGROWN, Guarding, Refusal, Standing, over_half
from rowvec.stores.postgres.connect import single
from rowvec.stores.postgres.names import Names
from rowvec.types import Key

Connection = psycopg.Connection[Any]

TABLES = """
create table if not exists rowvec.deletions (
    scope text not null,
    since timestamp with time zone not null,
    rows bigint not null,
    removed bigint not null default 0,
    primary key (scope, since)
);
create table if not exists rowvec.refusals (
    scope text primary key,
    since timestamp with time zone not null,
    said text not null
);
"""
_REFUSAL = "select since, said from rowvec.refusals where scope = %s"
_EXPIRE = (
    "delete from rowvec.deletions where scope = %s and rows > 0 and since < now() - %s"
    " and not exists (select from rowvec.refusals where scope = %s)"
)
_KEEP = (
    "insert into rowvec.deletions (scope, since, rows) select %(scope)s, now(), %(rows)s where %(always)s or not exists"
    " (select from rowvec.deletions where scope = %(scope)s and (rows * 2 > %(rows)s or %(rows)s = 0))"
    " on conflict do nothing"
)
"""A moment without rows says that the ledger is being filled; it counts nothing, and stays until that has ended."""
_FILLED = (
    "delete from rowvec.deletions where scope = %s and removed = 0"
    " and exists (select from rowvec.deletions where scope = %s and rows = 0)"
)


def standing(connection: Connection, known: sql.Composed, scope: str) -> Standing:
    """
    Args:
        known: selects every key of the ledger; takes the scope.
    """
    statement = sql.SQL(
        "select n, since, said, exists (select from rowvec.deletions where scope = %s and rows = 0)"
        " from (select count(*) as n from ({}) known) counted left join rowvec.refusals on scope = %s"
    ).format(known)
    rows, since, said, filling = single(connection.execute(statement, [scope, scope, scope]))
    return Standing(rows, None if said is None else Refusal(since, said), filling)


def refusal(connection: Connection, scope: str) -> Refusal | None:
    try:
        found = connection.execute(_REFUSAL, [scope]).fetchone()
    except psycopg.errors.UndefinedTable:  # An older rowvec wrote the store.
        return None
    return None if found is None else Refusal(*found)


def settle(
    connection: Connection, names: Names, key: sql.Identifier, guard: Guarding, deletes: Sequence[Key], location: str
) -> None:
    """In the transaction of a batch, before anything else of it is written.

    Raises:
        DeletionGuard: more than half of the rows of one moment would be deleted since then.
    """
    scope = names.scope
    if guard.resolved or guard.allowed:
        connection.execute("delete from rowvec.refusals where scope = %s", [scope])
    if guard.allowed:
        connection.execute("delete from rowvec.deletions where scope = %s", [scope])
        return
    if guard.filled:
        connection.execute(_FILLED, [scope, scope])
        return
    connection.execute(_EXPIRE, [scope, GUARDED_FOR, scope])
    _keep(connection, names, guard)
    if guard.refused:
        connection.execute(
            "insert into rowvec.refusals (scope, since, said) values (%s, now(), %s) on conflict do nothing",
            [scope, guard.refused],
        )
    others = list(guard.elsewhere.deleted) if guard.elsewhere else []
    if deletes or others:
        # Rows of a table of the user's own do not say since when they have a vector: all of them count.
        older = "t.created_at < d.since" if names.column is None else "true"
        statement = (
            "update rowvec.deletions d set removed = removed + (select count(*) from {table} t"
            f" where t.{{key}} = any(%s) and {{known}} and {older})"
            " + (select count(*) from unnest(%s::timestamptz[]) other where other < d.since)"
            " where scope = %s and rows > 0"
            " returning rows, since, removed"
        )
        counted = connection.execute(sql.SQL(statement).format(key=key, **names.parts), [list(deletes), others, scope])
        for rows, since, removed in counted.fetchall():
            if removed * 2 > rows and not (guard.told and _counted(connection, names, guard) >= OUTGROWN * rows):
                raise over_half(location, rows, since)


def _counted(connection: Connection, names: Names, guard: Guarding) -> int:
    counted = sql.SQL("select count(*) from {table} where {known}").format(**names.parts)
    return int(single(connection.execute(counted))[0]) + (guard.elsewhere.rows() if guard.elsewhere else 0)


def _keep(connection: Connection, names: Names, guard: Guarding) -> None:
    rows = guard.rows
    if rows is None:
        asked = "select not exists (select from rowvec.deletions where scope = %s and rows > 0)"
        if not guard.refused and single(connection.execute(asked, [names.scope])) == (False,):
            return
        rows = _counted(connection, names, guard)
    connection.execute(_KEEP, {"scope": names.scope, "rows": rows, "always": bool(guard.refused)})
