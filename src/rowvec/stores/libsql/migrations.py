"""The steps that bring rowvec's own tables in a libSQL database up to date, and how far they are.

`rowvec_meta` has a row for each step that was carried out, written in the transaction of the step: a step that two
processes begin at once is carried out by one of them, and fails in the other.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

from rowvec import __version__
from rowvec.errors import GenerationChanged, Locked, StoreError
from rowvec.stores import migrations as shared
from rowvec.stores.libsql import guarding, placements
from rowvec.stores.libsql.clock import NOW
from rowvec.stores.libsql.database import Database, Statement, Values
from rowvec.stores.libsql.index import renewed_triggers
from rowvec.stores.libsql.schema import BOOKKEEPING, WORDS, Tables, text_table
from rowvec.stores.libsql.values import quoted
from rowvec.stores.libsql.write import KEYS, chunks, marks
from rowvec.stores.migrations import Migration, Standing
from rowvec.support.hashes import covered
from rowvec.types import Check, Fingerprint

META = "rowvec_meta"
_CREATE = (
    f"create table if not exists {META} (version integer primary key, program text not null, applied_at text not null)"
)
IDENTITY = "create table if not exists rowvec_identity (id text primary key)"
"""One row: which store this is, wherever it is reached from."""
COVERED = "hashes_cover_model"
_MARK_COVERED = f"alter table rowvec_generations add column {COVERED} integer not null default 1"
IDENTIFIED = 3
"""From this version on there is one."""
_VERSION = f"select version, program from {META} order by version desc limit 1"


class State(NamedTuple):
    standing: Standing | None
    """None where rowvec has no tables yet."""
    lacking: list[str]
    """Columns that every version has and this database has not, as `table.column`."""
    columns: dict[str, list[str]]
    """Of each of rowvec's own tables that are there."""


@cache
def declared(statements: tuple[str, ...] = BOOKKEEPING) -> dict[tuple[str, str], str]:
    """By table and column, how the statements that make the tables declare it."""
    found = {}
    for statement in statements:
        table, body = re.findall(r"create table if not exists (\w+) \((.*)\)", statement, re.DOTALL)[0]
        for part in re.split(r",(?![^(]*\))", body):
            name, _, kind = " ".join(part.split()).partition(" ")
            if name != "primary":
                found[table, name.strip('"')] = kind
    return found


def look(database: Database) -> State:
    later = [statement for _, statements, _ in LATER_TABLES for statement in statements]
    tables = [*dict.fromkeys(table for table, _ in declared((*BOOKKEEPING, *later))), META]
    sql = f"""select m.name, c.name from sqlite_master m, pragma_table_info(m.name) c
              where m.type = 'table' and m.name in ({marks(len(tables))})"""
    columns: dict[str, list[str]] = {}
    for table, column in database.query(sql, tuple(tables)) if database.exists() else []:
        columns.setdefault(table, []).append(column)
    if not columns.keys() & {"rowvec_generations", META}:
        return State(None, [], columns)
    found = database.query(_VERSION) if META in columns else []
    standing = Standing(*found[0]) if found else Standing(0)
    of_later = [made for number, mades, _ in LATER_TABLES if standing.version >= number for made in mades]
    wanted = declared((*BOOKKEEPING, *of_later))
    lacking = [f"{table}.{name}" for table, name in wanted if name not in columns.get(table, ())]
    return State(standing, lacking, columns)


def identity(database: Database) -> str:
    """Of the store; "" where it has none yet."""
    there = "select 1 from sqlite_master where name = 'rowvec_identity'"
    if not database.exists() or not database.query(there):
        return ""
    found = database.query("select id from rowvec_identity")
    return str(found[0][0]) if found else ""


def refuse_newer(state: State, location: str) -> None:
    """Raises StoreError where a newer rowvec has changed the store."""
    shared.refuse_newer(state.standing, MIGRATIONS, location)


def has_unfit(database: Database) -> bool:
    return has_table(database, "rowvec_unfit")


def has_table(database: Database, name: str) -> bool:
    """A store that no sync of this version has seen may lack what a later step makes."""
    return bool(database.query("select 1 from sqlite_master where name = ?", (name,)))


def guard(aim: Tables | None = None, token: str | None = None) -> Statement:
    """Fails, and the transaction that it is in with it, where a newer rowvec has changed the store.

    Args:
        aim: it fails too where this generation has lost its place.
        token: it fails too where the lock is another's.
    """
    refused = [f"version > {shared.latest(MIGRATIONS)}"]
    values: list[object] = []
    if aim is not None and aim.since:
        refused.append(f"not exists ({_STANDS})")
        values += _place(aim)
    if token is not None:
        refused.append(f"not exists ({_HELD})")
        values.append(token)
    # No query: the engine computes the rows of one only when they are asked for. It changes nothing.
    overflow = f"case when {' or '.join(refused)} then abs(-9223372036854775807 - 1) else 0 end"
    return Statement(f"update {META} set version = version where {overflow}", tuple(values))


def explain(database: Database, location: str, aim: Tables | None, token: str | None) -> None:
    """Say why the guard refused, where it did.

    Raises:
        GenerationChanged: the generation has lost its place.
        Locked: the lock is another's.
        StoreError: a newer rowvec has changed the store.
    """
    refuse_newer(look(database), location)
    if aim is not None and aim.since and not database.query(_STANDS, _place(aim)):
        raise GenerationChanged.at(location)
    if token is not None and not database.query(_HELD, (token,)):
        raise Locked(
            f"{location}: this process was silent for long, and another one has its lock now. It wrote nothing after"
            " that.",
            hint="Run it again: it begins with what is there now.",
        )


_STANDS = "select 1 from rowvec_generations where target = ? and state = ? and number = ? and since = ?"
_HELD = "select 1 from rowvec_locks where token = ?"


def _place(aim: Tables) -> Values:
    return (aim.target, aim.state, aim.number, aim.since)


def upgrade(database: Database) -> list[str]:
    """Make rowvec's own tables where there are none, and carry out every step that is pending, each in a transaction
    of its own; returns what was done, in words.

    Raises:
        StoreError: a newer rowvec has changed the store.
    """
    state = look(database)
    refuse_newer(state, database.location)
    done = []
    if not state.columns:
        _settle(database, _whole(database), lambda found: found.standing is not None)
        done = [_said(step) for step in MIGRATIONS]
        # Where an older rowvec was faster, the steps that it does not know are left.
        state = look(database)
    elif state.standing is not None and state.lacking:
        missing = [
            statement
            for number, _, work in LATER_TABLES
            if state.standing.version >= number
            for statement in work(database)
        ]
        _settle(database, [*_complete(database), *missing], lambda found: not found.lacking)
        done.append(f"added what version {state.standing.version} lacked: {', '.join(state.lacking)}")
    for step in shared.pending(state.standing, MIGRATIONS):
        _settle(database, [*step.work(database), _record(step.number)], partial(_reached, step.number))
        done.append(_said(step))
    return list(dict.fromkeys(done))


def _said(step: Migration[Any]) -> str:
    return f"version {step.number}: {step.what}"


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
    return Statement(f"insert into {META} (version, program, applied_at) values (?, ?, {NOW})", (version, __version__))


def _whole(database: Database) -> list[Statement]:
    """What all steps together make where there is nothing yet, in one transaction: each of them waits for the disk."""
    made = [Statement(sql) for sql in (*BOOKKEEPING, _CREATE)]
    later = [statement for _, _, work in LATER_TABLES for statement in work(database)]
    return [*made, Statement(_MARK_COVERED), *later, *(_record(step.number) for step in MIGRATIONS)]


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


def _identify(database: Database) -> list[Statement]:
    new = "insert into rowvec_identity select ? where not exists (select 1 from rowvec_identity)"
    return [Statement(IDENTITY), Statement(new, (str(uuid.uuid4()),))]


def _cover_the_model(database: Database) -> list[Statement]:
    """See rowvec.support.hashes. Hashes of a generation whose model nobody can read stay as they are.

    To do it twice would undo it: the column says that it was done, also in a store that lost its version.
    """
    if COVERED in look(database).columns.get("rowvec_generations", ()):
        return []
    there = {quoted(name) for (name,) in database.query("select name from sqlite_master where type = 'table'")}
    done = [Statement(_MARK_COVERED)]
    if quoted("rowvec_generations") not in there:
        return []
    for target, state, number, said in database.query(
        "select target, state, number, fingerprint from rowvec_generations where fingerprint is not null"
    ):
        if state not in WORDS.values():
            continue
        try:
            fingerprint = shared.fingerprint_of(said)
        except ValueError:
            continue
        tables = Tables(target, state, number)
        for name in (tables.vectors, tables.failures):
            if name in there:
                done += _masked(database, name, fingerprint)
    return done


def _masked(database: Database, table: str, fingerprint: Fingerprint) -> list[Statement]:
    old = [held for (held,) in database.query(f"select distinct text_hash from {table} where length(text_hash) = 16")]
    return [
        Statement(
            f"""with new (old, text_hash) as (values {", ".join(["(?, ?)"] * len(part))})
                update {table} as t set text_hash = new.text_hash from new where t.text_hash = new.old""",
            tuple(each for held in part for each in (held, covered(held, fingerprint))),
        )
        for part in chunks(old, KEYS)
    ]


_UNFIT = """create table if not exists rowvec_unfit (
        target text not null, "key" text not null, "column" text not null, reason text not null,
        primary key (target, "key", "column")
    ) without rowid"""


_SPENDING = "create table if not exists rowvec_spending (target text primary key, cost real not null)"


def _keep_spending(database: Database) -> list[Statement]:
    """On the reranker, in US dollars."""
    return [Statement(_SPENDING)]


def _list_unfit(database: Database) -> list[Statement]:
    return [Statement(_UNFIT)]


def _remember_deletions(database: Database) -> list[Statement]:
    return [Statement(sql) for sql in guarding.TABLES]


def _keep_texts(database: Database) -> list[Statement]:
    """A table for the text of each row in every generation. The texts are not here: rows without a row hash are
    brought by the next sync that compares all rows."""
    there = {name for (name,) in database.query("select name from sqlite_master where type = 'table'")}
    if "rowvec_generations" not in there:
        return []
    made = []
    for target, state, number in database.query("select target, state, number from rowvec_generations"):
        tables = Tables(target, state, number)
        if state in WORDS.values() and tables.name in there and tables.plain("kept_texts") not in there:
            made += [Statement(sql) for sql in text_table(tables)]
            made.append(Statement(f"update {tables.vectors} set row_hash = zeroblob(16)"))
    return made


ASIDE = (
    "create table if not exists rowvec_stops (run integer primary key)",
    """create table if not exists rowvec_evaluations (
        id integer primary key, target text not null, made_at text not null, record text not null
    )""",
)


def _listen_and_remember(database: Database) -> list[Statement]:
    return [Statement(sql) for sql in ASIDE]


def _keep_placements(database: Database) -> list[Statement]:
    return [Statement(placements.TABLE)]


LATER_TABLES: list[tuple[int, Sequence[str], Callable[[Database], list[Statement]]]] = [
    (IDENTIFIED, (IDENTITY,), _identify),
    (5, guarding.TABLES, _remember_deletions),
    (6, (_UNFIT,), _list_unfit),
    (9, ASIDE, _listen_and_remember),
    (10, (_SPENDING,), _keep_spending),
    (11, (placements.TABLE,), _keep_placements),
]
"""Tables that a later step made, and how a store that lost one gets it again: each of these can be done twice."""

MIGRATIONS: list[Migration[Callable[[Database], list[Statement]]]] = [
    Migration(1, "a version for what the store keeps", _complete),
    Migration(2, "the number of the rendering rules beside the text settings", _mark_rendering),
    Migration(IDENTIFIED, "an identity of the store", _identify),
    Migration(4, "the model in the hash of every text", _cover_the_model),
    Migration(5, "a memory for the deletion guard", _remember_deletions),
    Migration(6, "a list of the metadata values that are null because they do not fit", _list_unfit),
    Migration(7, "triggers of vector indexes that take a vector which is there already", renewed_triggers),
    Migration(8, "the text of each row, beside its vector", _keep_texts),
    Migration(9, "requests to stop a sync, and results of evaluations", _listen_and_remember),
    Migration(10, "what searches spend", _keep_spending),
    Migration(11, "how rows are spread over several tables", _keep_placements),
]
"""In order, numbered from 1 without a gap. One that was released is never changed."""
