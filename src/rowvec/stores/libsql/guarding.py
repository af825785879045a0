"""What the deletion guard remembers: how many rows there were, how many of them were deleted since, and a refusal."""

from __future__ import annotations

import datetime as dt
import json

from rowvec.errors import StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.guarding import GUARDED_FOR, OUTGROWN, Refusal, over_half
from rowvec.stores.libsql import clock
from rowvec.stores.libsql.clock import NOW
from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.values import quoted
from rowvec.stores.libsql.write import chunks, keys_in, marks, moment
from rowvec.stores.write_batch import WriteBatch

TABLES = (
    """create table if not exists rowvec_deletions (
        target text not null, since text not null, rows integer not null, removed integer not null default 0,
        primary key (target, since)
    )""",
    "create table if not exists rowvec_refusals (target text primary key, since text not null, said text not null)",
)
_KEYS = 1000
"""Keys in one statement."""
_OVER = "malformed JSON"
"""What the engine says where `_CHECK` fails: there is no function that fails on purpose."""
_CHECK = (
    "update rowvec_deletions set removed = removed where target = ? and case when removed * 2 > rows"
    " and not (? and (select count(*) from {vectors}) + ? >= ? * rows)"
    " then json('more than half of ' || target) else 0 end"
)
_COUNTED = f"""insert into rowvec_deletions (target, since, rows)
    select ?, {NOW}, (select count(*) from {{vectors}}) + ? where ? or not exists (select 1 from rowvec_deletions
        where target = ? and (rows > 0 or not (? or exists (select 1 from {{vectors}})))) on conflict do nothing"""
_GIVEN = f"""insert into rowvec_deletions (target, since, rows) select ?, {NOW}, ? where ? or not exists
    (select 1 from rowvec_deletions where target = ? and (rows * 2 > ? or ? = 0)) on conflict do nothing"""
"""A moment without rows says that the ledger is being filled; it counts nothing, and stays until that has ended."""
_FILLED = """delete from rowvec_deletions where target = ? and removed = 0
    and exists (select 1 from rowvec_deletions where target = ? and rows = 0)"""


def statements(database: Database, tables: Tables, spec: TableSpec, batch: WriteBatch) -> list[Statement]:
    """To be carried out before anything else of a batch; one of them fails where it deletes too much."""
    guard, owner = batch.guard, tables.owner
    if guard is None:
        return []
    made = []
    if guard.resolved or guard.allowed:
        made.append(Statement("delete from rowvec_refusals where target = ?", (owner,)))
    if guard.allowed:
        return [*made, Statement("delete from rowvec_deletions where target = ?", (owner,))]
    if guard.filled:
        return [*made, Statement(_FILLED, (owner, owner))]
    expire = f"""delete from rowvec_deletions where target = ? and rows > 0 and since < {clock.ago(GUARDED_FOR)}
        and not exists (select 1 from rowvec_refusals where target = ?)"""
    made.append(Statement(expire, (owner, owner)))
    always, rows = int(bool(guard.refused)), guard.rows
    if rows is None:
        others = _rows_elsewhere(database, owner, batch)
        values = (owner, others, always, owner, others)
        made.append(Statement(_COUNTED.format(vectors=tables.vectors), values))
    else:
        made.append(Statement(_GIVEN, (owner, rows, always, owner, rows, rows)))
    if guard.refused:
        insert = f"insert into rowvec_refusals (target, since, said) values (?, {NOW}, ?) on conflict do nothing"
        made.append(Statement(insert, (owner, guard.refused)))
    for part in chunks(batch.deletes, _KEYS):
        count = f"""update rowvec_deletions set removed = removed + (select count(*) from {tables.vectors} as t
            where t.{quoted(spec.key)} in ({marks(len(part))}) and t.created_at < rowvec_deletions.since)
            where target = ? and rows > 0"""
        made.append(Statement(count, (*keys_in(part), owner)))
    deleted = guard.elsewhere.deleted if guard.elsewhere else ()
    for part in chunks(deleted, _KEYS):
        count = """update rowvec_deletions set removed = removed + (select count(*) from json_each(?)
            where value < rowvec_deletions.since) where target = ? and rows > 0"""
        made.append(Statement(count, (json.dumps([moment(at) for at in part]), owner)))
    if not batch.deletes and not deleted:
        return made
    others = guard.elsewhere.rows() if guard.elsewhere and guard.told else 0
    return [*made, Statement(_CHECK.format(vectors=tables.vectors), (owner, int(guard.told), others, OUTGROWN))]


def _rows_elsewhere(database: Database, owner: str, batch: WriteBatch) -> int:
    """Where a moment is kept that counts, they do not matter."""
    guard = batch.guard
    if guard is None or guard.elsewhere is None:
        return 0
    kept = "select 1 from rowvec_deletions where target = ? and rows > 0 limit 1"
    return 0 if not guard.refused and database.query(kept, (owner,)) else guard.elsewhere.rows()


def explain(database: Database, tables: Tables, error: StoreError, location: str) -> None:
    """Raises DeletionGuard where that is what the error of a batch means."""
    if _OVER in error.message:
        latest = "select rows, since from rowvec_deletions where target = ? order by removed * 1.0 / rows desc limit 1"
        found = database.query(latest, (tables.owner,))
        rows, since = found[0] if found else (0, clock.read(database))
        raise over_half(location, rows, dt.datetime.fromisoformat(since)) from None


def refusal(database: Database, tables: Tables) -> Refusal | None:
    # An older rowvec made no such table.
    if not database.query("select 1 from sqlite_master where name = 'rowvec_refusals'"):
        return None
    found = database.query("select since, said from rowvec_refusals where target = ?", (tables.owner,))
    return found_refusal(*found[0]) if found else None


def found_refusal(since: str, said: str) -> Refusal:
    return Refusal(dt.datetime.fromisoformat(since), said)
