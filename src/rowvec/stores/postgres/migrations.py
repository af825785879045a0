"""The steps that bring schema `rowvec` up to date, and how far it is.

`rowvec.meta` has a row for each step that was carried out. A step holds a lock of the whole table while it works, and
every transaction that writes vectors reads it: none of them writes into a layout that has just been replaced.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from rowvec import __version__
from rowvec.errors import StoreError
from rowvec.stores import migrations as shared
from rowvec.stores.migrations import Migration, Standing
from rowvec.stores.postgres import guarding, leases, placements
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.schema import BOOKKEEPING, table_columns
from rowvec.types import Check

Connection = psycopg.Connection[Any]

META = """
create table if not exists rowvec.meta (
    version integer primary key,
    program text not null,
    applied_at timestamp with time zone not null default now()
);
grant select on rowvec.meta to public;
"""
IDENTITY = """
create table if not exists rowvec.identity (
    id uuid primary key
);
grant select on rowvec.identity to public;
"""
"""One row: which store this is, wherever it is reached from."""
COVERED = "hashes_cover_model"
IDENTIFIED = 3
"""From this version on there is one."""
_COLUMNS = """
select c.relname, a.attname from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where n.nspname = 'rowvec' and c.relkind = 'r'
"""
_VERSION = "select version, program from rowvec.meta order by version desc limit 1"
_EMPTY = {"text": "''", "jsonb": "'{}'", "boolean": "false", "bytea": "''", "timestamp": "now()"}
LOCK_SECONDS = 10


class State(NamedTuple):
    standing: Standing | None
    """None where there are no books yet."""
    lacking: list[str]
    """Columns that every version has and this store has not, as `table.column`."""


@cache
def declared(tables: str) -> dict[tuple[str, str], str]:
    """By table and column, how the statements that make the tables declare it."""
    found = {}
    for name, body in re.findall(r"create table if not exists rowvec\.(\w+) \(\n(.*?)\n\);", tables, re.DOTALL):
        for column, kind in re.findall(r"^    (\w+) (.+?),?$", body, re.MULTILINE):
            if column != "primary":
                found[name, column] = kind
    return found


def look(connection: Connection) -> State:
    """Two questions of the catalogue and the books; nothing is changed."""
    there = set(connection.execute(_COLUMNS).fetchall())
    tables = {table for table, _ in there}
    if not tables & {"generations", "meta"}:
        return State(None, [])
    standing = _standing(connection) if "meta" in tables else Standing(0)
    wanted = BOOKKEEPING + "".join(tables for number, tables, _ in LATER_TABLES if standing.version >= number)
    return State(standing, [".".join(each) for each in declared(wanted) if each not in there])


def identity(connection: Connection) -> str:
    """Of the store; "" where it has none yet."""
    if connection.execute("select to_regclass('rowvec.identity')").fetchone() == (None,):
        return ""
    found = connection.execute("select id from rowvec.identity").fetchone()
    return "" if found is None else str(found[0])


def _standing(connection: Connection) -> Standing:
    found = connection.execute(_VERSION).fetchone()
    return Standing(0) if found is None else Standing(*found)


def refuse_newer(connection: Connection, location: str) -> None:
    """Raises StoreError where a newer rowvec has changed the store. One question where it has a version."""
    try:
        standing = _standing(connection)
    except psycopg.errors.UndefinedTable:
        return
    shared.refuse_newer(standing, MIGRATIONS, location)


def refuse_newer_than_known(version: int | None, program: str | None, location: str) -> None:
    """The same for an answer that is known: the number of the last step, and who carried it out."""
    shared.refuse_newer(Standing(version or 0, program or ""), MIGRATIONS, location)


def guard(connection: Connection, location: str) -> None:
    """The same in a transaction that writes: until it ends no step changes the books."""
    shared.refuse_newer(_standing(connection), MIGRATIONS, location)


def upgrade(connection: Connection, location: str, *, create: bool) -> list[str] | None:
    """Carry out every step that is pending, each in a transaction of its own, or all in one where there are no books
    yet; returns what was done, in words, or None where there are no books and none were wanted.

    Args:
        create: make the books where there are none.

    Raises:
        StoreError: a newer rowvec has changed the store.
    """
    state = look(connection)
    shared.refuse_newer(state.standing, MIGRATIONS, location)
    if state.standing is None and not create:
        return None
    done = []
    if state.standing is not None and state.lacking:
        with _alone(connection):
            complete(connection)
            for number, _, work in LATER_TABLES:
                if state.standing.version >= number:
                    work(connection)
        done.append(f"added what version {state.standing.version} lacked: {', '.join(state.lacking)}")
    steps = shared.pending(state.standing, MIGRATIONS)
    # A new store has nothing that a step could lose, and each commit waits for the disk.
    for part in [steps] if state.standing is None else [[step] for step in steps]:
        with _alone(connection):
            before = look(connection).standing
            for step in shared.pending(before, part):
                step.work(connection)
                connection.execute(
                    "insert into rowvec.meta (version, program) values (%s, %s)", [step.number, __version__]
                )
                done.append(f"version {step.number}: {step.what}")
    return done


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """A transaction that no other step and no writer is in."""
    with connection.transaction():
        # `if not exists` still races with another process that creates the same objects.
        connection.execute("select pg_advisory_xact_lock(hashtextextended('rowvec.bookkeeping', 0))")
        connection.execute(f"set local lock_timeout = '{LOCK_SECONDS}s'")
        if connection.execute("select to_regclass('rowvec.meta')").fetchone() != (None,):
            connection.execute("lock table rowvec.meta in access exclusive mode")
        yield


def line(connection: Connection) -> Check:
    """What `rowvec check` says."""
    standing, lacking = look(connection)
    return shared.line(standing, MIGRATIONS, lacking)


def explain(connection: Connection, error: StoreError, location: str) -> None:
    """Say what stands behind a statement that met a table or column which is not there.

    Raises:
        StoreError: the store is of another version than this program.
    """
    missing = error.__cause__
    if not isinstance(missing, psycopg.errors.UndefinedColumn | psycopg.errors.UndefinedTable):
        return
    standing, lacking = look(connection)
    shared.refuse_newer(standing, MIGRATIONS, location)
    if lacking or (standing is not None and shared.pending(standing, MIGRATIONS)):
        raise shared.older(location, str(missing).splitlines()[0])


# The steps


def complete(connection: Connection) -> None:
    """Every table and column that the first version has; what is there stays as it is."""
    there = set(connection.execute(_COLUMNS).fetchall())
    leases.make_schema(connection)
    connection.execute(BOOKKEEPING)
    connection.execute(META)
    tables = {table for table, _ in there}
    for (table, column), kind in declared(BOOKKEEPING).items():
        if table not in tables or (table, column) in there or "primary key" in kind:
            continue
        filled = "not null" in kind and "default" not in kind
        default = f" default {_EMPTY.get(kind.split()[0], '0')}" if filled else ""
        connection.execute(f"alter table rowvec.{table} add column {column} {kind}{default}")
        if filled:
            connection.execute(f"alter table rowvec.{table} alter column {column} drop default")


def _mark_rendering(connection: Connection) -> None:
    connection.execute("update rowvec.generations set recipe = recipe || '.1' where recipe ~ '^[0-9a-f]+$'")


def _identify(connection: Connection) -> None:
    connection.execute(IDENTITY)
    new = "insert into rowvec.identity select %s where not exists (select from rowvec.identity)"
    connection.execute(new, [uuid.uuid4()])


def _cover_the_model(connection: Connection) -> None:
    """See rowvec.support.hashes. Hashes of a generation whose model nobody can read stay as they are.

    To do it twice would undo it: the column says that it was done, also in a store that lost its version.
    """
    if ("generations", COVERED) in connection.execute(_COLUMNS).fetchall():
        return
    connection.execute(f"alter table rowvec.generations add column {COVERED} boolean not null default true")
    rows = connection.execute(
        "select scope, state, fingerprint from rowvec.generations where state in ('live', 'building', 'previous')"
    ).fetchall()
    for scope, state, said in rows:
        try:
            digest = shared.fingerprint_of(said).digest()
        except ValueError:
            continue
        names = _names(connection, scope, state)
        if names is not None:
            _mask(connection, names.sql, names.parts["text_hash"], digest)
            _mask(connection, sql.Identifier("rowvec", "failures"), sql.Identifier("text_hash"), digest, names.scope)


def _names(connection: Connection, scope: str, state: str) -> Names | None:
    """What the generation is called: a table, or a column of a table of the user's own; None where it is gone."""
    dots = [place for place, letter in enumerate(scope) if letter == "."]
    for live in [Names.parse(scope), *(Names.parse(scope[:dot], scope[dot + 1 :]) for dot in dots[1:])]:
        names = {"building": live.building, "previous": live.previous}.get(state, live)
        if names.own("text_hash") in table_columns(connection, names):
            return names
    return None


def _mask(
    connection: Connection, table: sql.Composable, column: sql.Composable, digest: bytes, scope: str | None = None
) -> None:
    halves = [
        sql.SQL("int8send(('x' || encode(substring({} from {} for 8), 'hex'))::bit(64)::bigint # {})").format(
            column, sql.Literal(start + 1), sql.Literal(int.from_bytes(digest[start : start + 8], "big", signed=True))
        )
        for start in (0, 8)
    ]
    only = sql.SQL("") if scope is None else sql.SQL("and scope = {}").format(sql.Literal(scope))
    statement = sql.SQL("update {} set {} = {} where octet_length({}) = 16 {}")
    connection.execute(statement.format(table, column, sql.SQL(" || ").join(halves), column, only))


SPENDING = """
create table if not exists rowvec.spending (
    scope text primary key,
    cost double precision not null
);
"""
"""On the reranker, in US dollars."""
UNFIT = """
create table if not exists rowvec.unfit (
    scope text not null,
    key text not null,
    "column" text not null,
    reason text not null
);
create index if not exists unfit_scope on rowvec.unfit (scope);
create index if not exists unfit_key on rowvec.unfit using hash (key);
"""


def _list_unfit(connection: Connection) -> None:
    connection.execute(UNFIT)


def _take_long_keys(connection: Connection) -> None:
    """An index that sorts takes up to 2,704 bytes, and a key that is longer is a row that fails."""
    connection.execute(
        "alter table rowvec.failures drop constraint if exists failures_pkey;"
        " create index if not exists failures_scope on rowvec.failures (scope);"
        " create index if not exists failures_key on rowvec.failures using hash (key)"
    )


def _remember_deletions(connection: Connection) -> None:
    connection.execute(guarding.TABLES)


def _keep_spending(connection: Connection) -> None:
    connection.execute(SPENDING)


def _keep_leases(connection: Connection) -> None:
    connection.execute(leases.TABLE)


def _keep_placements(connection: Connection) -> None:
    connection.execute(placements.TABLE)


def _expect_passages(connection: Connection) -> None:
    """Texts and passages stand beside each table of vectors, whose next sync makes them where they are missing.

    The number keeps out whoever would write a row and leave its passages and its text as they were.
    """


ASIDE = """
create table if not exists rowvec.stops (
    run bigint primary key
);
create table if not exists rowvec.evaluations (
    id bigint generated always as identity primary key,
    scope text not null,
    made_at timestamp with time zone not null default now(),
    record jsonb not null
);
create index if not exists evaluations_scope on rowvec.evaluations (scope, id desc);
"""


def _listen_and_remember(connection: Connection) -> None:
    connection.execute(ASIDE)


LATER_TABLES: list[tuple[int, str, Callable[[Connection], None]]] = [
    (IDENTIFIED, IDENTITY, _identify),
    (5, guarding.TABLES, _remember_deletions),
    (6, UNFIT, _list_unfit),
    (7, "", _take_long_keys),
    (9, ASIDE, _listen_and_remember),
    (10, SPENDING, _keep_spending),
    (11, leases.TABLE, _keep_leases),
    (12, placements.TABLE, _keep_placements),
]
"""Tables that a later step made, and how a store that lost one gets it again: each of these can be done twice."""

MIGRATIONS: list[Migration[Callable[[Connection], None]]] = [
    Migration(1, "a version for what the store keeps", complete),
    Migration(2, "the number of the rendering rules beside the text settings", _mark_rendering),
    Migration(IDENTIFIED, "an identity of the store", _identify),
    Migration(4, "the model in the hash of every text", _cover_the_model),
    Migration(5, "a memory for the deletion guard", _remember_deletions),
    Migration(6, "a list of the metadata values that are null because they do not fit", _list_unfit),
    Migration(7, "failures of rows with long keys", _take_long_keys),
    Migration(8, "texts and passages beside the rows", _expect_passages),
    Migration(9, "requests to stop a sync, and results of evaluations", _listen_and_remember),
    Migration(10, "what searches spend", _keep_spending),
    Migration(11, "locks behind a pooler in transaction mode", _keep_leases),
    Migration(12, "how rows are spread over several tables", _keep_placements),
]
"""In order, numbered from 1 without a gap. One that was released is never changed."""
