"""The steps that bring rowvec's own tables in a libSQL database up to date, and how far they are.

`rowvec_meta` has a row for each step that was carried out, written in the transaction of the step: a step that two
processes begin at once is carried out by one of them, and fails in the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from rowvec import __version__
from rowvec.errors import StoreError
from rowvec.stores import migrations as shared
from rowvec.stores.libsql import guarding
from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.schema import BOOKKEEPING
from rowvec.stores.libsql.values import quoted
from rowvec.stores.libsql.write import marks, now
from rowvec.stores.migrations import Migration, Standing
from rowvec.types import Check

META = "rowvec_meta"
_CREATE = (
    f"create table if not exists {META} (version integer primary key, program text not null, applied_at text not null)"
)
_VERSION = f"select version, program from {META} order by version desc limit 1"


class State(NamedTuple):
    standing: Standing | None
    """None where rowvec has no tables yet."""
    lacking: list[str]
    """Columns that every version has and this database has not, as `table.column`."""
    columns: dict[str, list[str]]
    """Of each of rowvec's own tables that are there."""


def declared() -> dict[tuple[str, str], str]:
    """By table and column, how the statements that make the tables declare it."""
    found = {}
    for statement in BOOKKEEPING:
        table, body = re.findall(r"create table if not exists (\w+) \((.*)\)", statement, re.DOTALL)[0]
        for part in re.split(r",(?![^(]*\))", body):
            name, _, kind = " ".join(part.split()).partition(" ")
            if name != "primary":
                found[table, name.strip('"')] = kind
    return found


def look(database: Database) -> State:
    tables = [*dict.fromkeys(table for table, _ in declared()), META]
    sql = f"""select m.name, c.name from sqlite_master m, pragma_table_info(m.name) c
              where m.type = 'table' and m.name in ({marks(len(tables))})"""
    columns: dict[str, list[str]] = {}
    for table, column in database.query(sql, tuple(tables)) if database.exists() else []:
        columns.setdefault(table, []).append(column)
    if not columns.keys() & {"rowvec_generations", META}:
        return State(None, [], columns)
    lacking = [f"{table}.{name}" for table, name in declared() if name not in columns.get(table, ())]
    found = database.query(_VERSION) if META in columns else []
    return State(Standing(*found[0]) if found else Standing(0), lacking, columns)


def refuse_newer(state: State, location: str) -> None:
    """Raises StoreError where a newer rowvec has changed the store."""
    shared.refuse_newer(state.standing, MIGRATIONS, location)


def guard() -> Statement:
    """Fails, and the transaction that it is in with it, where a newer rowvec has changed the store."""
    # No query: the engine computes the rows of one only when they are asked for. It changes nothing.
    overflow = f"case when version > {shared.latest(MIGRATIONS)} then abs(-9223372036854775807 - 1) else 0 end"
    return Statement(f"update {META} set version = version where {overflow}")


def upgrade(database: Database) -> list[str]:
    """Make rowvec's own tables where there are none, and carry out every step that is pending, each in a transaction
    of its own; returns what was done, in words.

    Raises:
        StoreError: a newer rowvec has changed the store.
    """
    state = look(database)
    refuse_newer(state, database.location)
    done = []
    if state.standing is not None and state.lacking:
        _settle(database, _complete(database), lambda found: not found.lacking)
        done.append(f"added what version {state.standing.version} lacked: {', '.join(state.lacking)}")
    for step in shared.pending(state.standing, MIGRATIONS):
        _settle(database, [*step.work(database), _record(step.number)], partial(_reached, step.number))
        done.append(f"version {step.number}: {step.what}")
    return done


def _settle(database: Database, statements: list[Statement], settled: Callable[[State], bool]) -> None:
    try:
        database.transact(statements)
    except StoreError:
        # Another process was faster, or it was carried out and the answer was lost.
        if not settled(look(database)):
            raise


def _reached(version: int, state: State) -> bool:
    return state.standing is not None and state.standing.version >= version


def line(database: Database) -> Check:
    """What `rowvec check` says."""
    state = look(database)
    return shared.line(state.standing, MIGRATIONS, state.lacking)


def _record(version: int) -> Statement:
    return Statement(
        f"insert into {META} (version, program, applied_at) values (?, ?, ?)", (version, __version__, now())
    )


# The steps


def _complete(database: Database) -> list[Statement]:
    """Every table and column that the first version has; what is there stays as it is."""
    columns = look(database).columns
    made = [Statement(sql) for sql in (*BOOKKEEPING, _CREATE)]
    for (table, name), kind in declared().items():
        if table in columns and name not in columns[table] and not re.search("primary key|unique", kind):
            default = " default " + ("''" if kind.startswith("text") else "0") if "not null" in kind else ""
            made.append(Statement(f"alter table {table} add column {quoted(name)} {kind}{default}"))
    return made


def _mark_rendering(database: Database) -> list[Statement]:
    hashes = "recipe <> '' and recipe not glob '*[^0-9a-f]*'"
    return [Statement(f"update rowvec_generations set recipe = recipe || '.1' where {hashes}")]


def _remember_deletions(database: Database) -> list[Statement]:
    return [Statement(sql) for sql in guarding.TABLES]


MIGRATIONS: list[Migration[Callable[[Database], list[Statement]]]] = [
    Migration(1, "a version for what the store keeps", _complete),
    Migration(2, "the number of the rendering rules beside the text settings", _mark_rendering),
    Migration(3, "a memory for the deletion guard", _remember_deletions),
]
"""In order, numbered from 1 without a gap. One that was released is never changed."""
