"""Connections to PostgreSQL: sessions of our own, and those that a pooler lends to others too."""

from __future__ import annotations

import hashlib
import math
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.abc import AdaptContext
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo, TransactionStatus
from psycopg.types.json import set_json_loads

from rowvec.errors import StoreError
from rowvec.stores.postgres.driver_errors import connect_error, translated
from rowvec.stores.postgres.embedded import revive
from rowvec.stores.postgres.intervals import register_intervals
from rowvec.stores.postgres.session import Cursor, Session, Settings, scope_of, set_local
from rowvec.stores.pulse import Address, Silent
from rowvec.support.addresses import postgres_address
from rowvec.support.decimals import loads
from rowvec.support.identifiers import LONGEST, clipped
from rowvec.support.poolers import STATEMENT_MODE, server_pid
from rowvec.support.postgres_settings import ENCODING
from rowvec.support.processes import is_gone, place
from rowvec.support.retry import KEEPALIVES

CONNECT_TIMEOUT = 10
PIPELINES = psycopg.Pipeline.is_supported()
"""The driver can send several statements in one message: its own library is of PostgreSQL 14 or later."""
EVERYWHERE = "postgres"
"""A database that nearly every server has."""
HNSW, SHORT_VECTORS = (0, 5, 0), (0, 7, 0)
"""The versions of pgvector that brought HNSW; halfvec, bits and sub-vectors."""


def describe(url: str) -> str:
    """User, host, port and database of a connection string, never its password."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        return "the store's database"
    host = str(parts.get("host") or "")
    # The embedded server's socket is in the folder of its data.
    if host.startswith("/") and os.path.exists(f"{host}/PG_VERSION"):
        return f"the embedded PostgreSQL ({os.path.realpath(host)})"
    return postgres_address(parts)


def connect(url: str, purpose: str, seconds: float | None = None, *, like: AdaptContext | None = None) -> Session:
    """An autocommit connection that reads and writes vectors as numpy arrays where the extension is installed.

    Nothing is set on one that a pooler lends to others too; not even a name, which others would then go by.

    Args:
        purpose: shown in pg_stat_activity, so that a held lock can be traced to its process.
        seconds: after which a server that says nothing is given up, while it lets us in; the URL may say another limit.
        like: the types of another connection to this database, which takes twelve questions less.

    Raises:
        StoreUnavailable: no answer. StoreError: refused.
    """
    with translated(describe(url)):
        session = _named(url, purpose, seconds, like)
        try:
            if use_vectors(session) is None and like is not None:
                # The extension was dropped, and may come back with other types.
                session.close()
                return connect(url, purpose, seconds)
        except psycopg.errors.ProtocolViolation as error:
            if STATEMENT_MODE not in str(error):
                raise
            # It has closed the connection.
            session = _named(url, purpose, seconds)
            session.single_statements = True
            use_vectors(session)
    return session


def _named(url: str, purpose: str, seconds: float | None, like: AdaptContext | None = None) -> Session:
    with translated(describe(url)):
        try:
            session = _opened(url, seconds, like)
        except psycopg.OperationalError as error:
            # The error itself may quote the URL.
            silent = Silent(str(error)) if isinstance(error, psycopg.errors.ConnectionTimeout) else None
            raise connect_error(describe(url), error) from silent
        # PostgreSQL cuts a name after 63 bytes: first what is needed to find the process.
        session.name = clipped(f"{_process(os.getpid())}, {purpose}", LONGEST)
        session.pid = server_pid(session)
        session.behind_pooler = session.pid != session.info.backend_pid
        if session.behind_pooler:
            session.prepare_threshold = None
        else:
            session.execute(session.settings(local=False))
    return session


def _opened(url: str, seconds: float | None, like: AdaptContext | None = None) -> Session:
    options = _options(url, seconds)
    try:
        session = Session.connect(url, autocommit=True, cursor_factory=Cursor, context=like, **options)
    except psycopg.OperationalError as error:
        # The embedded server may have crashed, or been stopped, under a process that lives for long.
        if isinstance(error, psycopg.errors.ConnectionTimeout) or not revive(url):
            raise
        session = Session.connect(url, autocommit=True, cursor_factory=Cursor, context=like, **options)
    set_json_loads(_exact, session)
    info = session.info
    session.address = {"host": info.host, "port": info.port, "hostaddr": info.hostaddr or None}
    if seconds is not None:
        session.watch = _limited(seconds)
    return session


def _exact(raw: str | bytes) -> Any:
    """JSON with every digit of its numbers."""
    return loads(raw if isinstance(raw, str) else bytes(raw).decode())


def _limited(seconds: float) -> Callable[[Session, float], None]:
    def watch(_: Session, since: float) -> None:
        if time.monotonic() - since > seconds:
            raise Silent(f"it has said nothing for {seconds:g} s")

    return watch


def answers(url: str, address: Address, seconds: float) -> bool:
    """Whether the server at an address answers over a new connection.

    A pooler lets in whoever comes: only a statement tells of the server behind it. And that waits where all sessions of
    the pool are busy, however well the server is. Sessions of another database are another pool.

    Args:
        address: in the place of that of the URL; empty for that one.
        seconds: for which all is waited for, and each step of a login.
    """
    at, other = make_conninfo(url, **{**address, "connect_timeout": max(2, math.ceil(seconds))}), False
    try:
        with _opened(at, seconds / 2) as session:
            other = session.info.dbname != EVERYWHERE
            session.execute("select 1")
    except Silent:
        return other and _answers_at_all(make_conninfo(at, dbname=EVERYWHERE), seconds / 2)
    except psycopg.Error as error:
        # It lets no more in, or is about to end.
        return "FATAL" in str(error)
    return True


def _answers_at_all(url: str, seconds: float) -> bool:
    # What a pooler says by itself, such as that it leads to no such database, tells nothing of the server.
    with suppress(Silent, psycopg.Error), _opened(url, seconds) as session:
        session.execute("select 1")
        return True
    return False


def _process(pid: int) -> str:
    # Machines may have one name: a session of another one must not be ended for a process that is not here.
    here = hashlib.sha256(place().encode()).hexdigest()[:6]
    return f"rowvec pid {pid} on {socket.gethostname()[:20]} {here}"


def of_a_process_that_is_gone(name: str) -> bool:
    """Whether a connection of that name was opened on this machine, by a process that has ended."""
    found = re.match(r"rowvec pid (\d+) on ", name)
    return found is not None and name.startswith(_process(int(found[1])) + ",") and is_gone(int(found[1]))


def _options(url: str, seconds: float | None) -> dict[str, Any]:
    """What a connection string leaves to us."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        # Its message quotes the string, with the password in it.
        if (name := _unknown_parameter(url)) is not None:
            raise StoreError(
                f"store.url has the parameter {name!r}, which the driver of PostgreSQL does not take.",
                hint="Correct it or leave it out; managed servers write some for other drivers.",
            ) from None
        raise StoreError(
            "store.url is not a PostgreSQL connection string.",
            hint="Such as postgresql://user:password@host:5432/database, with % codes for special characters.",
        ) from None
    timeout = CONNECT_TIMEOUT if seconds is None else min(CONNECT_TIMEOUT, math.ceil(seconds))
    defaults = {"connect_timeout": timeout, **KEEPALIVES}
    # With the first message: until it knows better, the driver reads what a SQL_ASCII database sends as bytes.
    return {"client_encoding": ENCODING, **{name: value for name, value in defaults.items() if name not in given}}


def _unknown_parameter(url: str) -> str | None:
    """The first name after the question mark that libpq does not know. What may be part of a password is none."""
    query = url.partition("?")[2]
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    names = [] if "@" in query else [part.partition("=")[0] for part in query.split("&")]
    return next((name for name in names if name not in known and re.fullmatch(r"[A-Za-z_]{1,40}", name)), None)


def use_vectors(connection: psycopg.Connection[Any]) -> str | None:
    """Teach a connection the vector types, wherever the extension lives; return its version, None without it."""
    own = connection if isinstance(connection, Session) else None
    shared = own is None or own.behind_pooler
    # What is set on a session of our own stays; on one that others use too it is for one transaction.
    with connection.transaction() if shared else nullcontext():
        if own is not None and own.behind_pooler and not own.single_statements:
            own.execute(own.named(local=True))
        found = connection.execute(
            "select e.extversion, case when n.nspname <> all(current_schemas(true)) then"
            " concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(n.nspname)) end,"
            " has_schema_privilege(n.oid, 'usage'), quote_ident(n.nspname), quote_ident(current_user),"
            " (select array_agg(t.oid order by t.typname) from pg_type t where t.typnamespace = n.oid"
            " and t.typname in ('halfvec', 'vector'))"
            " from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'"
        ).fetchone()
        if found is None:
            return None
        version, path, allowed, place, role, kinds = found
        if not allowed:
            raise StoreError(
                f"The role {role} may not use the schema {place}, where pgvector is.",
                hint=f"Let an administrator run: GRANT USAGE ON SCHEMA {place} TO {role};",
            )
        # An update of the extension brings further types.
        known = (connection.adapters.types.get(name) for name in ("halfvec", "vector"))
        current = [each.oid for each in known if each is not None] == kinds
        if current and (own is None or own.ready):
            return str(version)
        if path is not None:
            if own is not None:
                own.path = path
            connection.execute(f"set {scope_of(shared)} search_path to {path}".encode())
        if not current:
            register_vector(connection)
            register_intervals(connection)
        if own is not None:
            own.iterates, own.ready = None, True
    return str(version)


def iterates(connection: psycopg.Connection[Any]) -> bool:
    """Whether pgvector reads an index on where a filter leaves too few rows of it."""
    if not isinstance(connection, Session):
        return True
    if connection.iterates is None:
        # A setting is known once something has loaded the library, whatever the extension's own version says. Only a
        # search asks: to load it takes the server longer than to look a row up.
        asked = "select current_setting(case when '[1]'::vector is not null then %s end, true)"
        connection.iterates = single(connection.execute(asked, ["hnsw.iterative_scan"])) != (None,)
    return connection.iterates


def knows_vectors(connection: psycopg.Connection[Any]) -> bool:
    return connection.adapters.types.get("vector") is not None


def single(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    """The one row of a statement that always gives one."""
    row = cursor.fetchone()
    assert row is not None
    return tuple(row)


@contextmanager
def one_snapshot(connection: psycopg.Connection[Any], settings: Settings | None = None) -> Iterator[None]:
    """See one state of the tables in several statements that only read.

    Inside a caller's transaction its isolation level stands.

    Args:
        settings: for the transaction; they cost no round trip of their own.
    """
    said = set_local(settings or {})
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        if said:
            connection.execute(said)
        yield
        return
    if isinstance(connection, Session) and connection.single_statements:
        # Each statement sees a state of its own. Whoever searches asks afterwards whether a generation was swapped.
        before, connection.more = connection.more, f"{said.decode()}; " if said else connection.more
        try:
            yield
        finally:
            connection.more = before
        return
    if isinstance(connection, Session) and connection.guard is not None:
        said = connection.settings(local=True) + b"; " + said
    outside(connection, b"begin isolation level repeatable read, read only; " + said)
    try:
        yield
    except BaseException:
        with suppress(psycopg.Error):
            connection.rollback()
        raise
    connection.commit()


def rows_under(
    connection: psycopg.Connection[Any], settings: Settings, statement: bytes, values: Sequence[Any], *, prepare: bool
) -> list[Any]:
    """What one statement that only reads gives under settings of its own.

    On a free session both go in one message: a transaction around them would take two round trips more.

    Args:
        prepare: the server may keep its plan.
    """
    kept = None if prepare else False
    if not isinstance(connection, Session) or not connection.is_free or not PIPELINES:
        with one_snapshot(connection, settings):
            return connection.execute(statement, values, binary=True, prepare=kept).fetchall()
    named = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
    # What is sent together is one transaction.
    with connection.pipeline():
        connection.execute(f"select {named}".encode())
        found = connection.execute(statement, values, binary=True, prepare=kept)
    return found.fetchall()


def outside(connection: psycopg.Connection[Any], statement: bytes | sql.Composed) -> None:
    """Execute what no transaction may hold, such as the building of an index beside others. On a session that a pooler
    lends to others too it goes by the settings of the role."""
    cursor = connection.cursor()
    if isinstance(cursor, Cursor):
        cursor.execute_outside(statement)
    else:
        cursor.execute(statement)


def is_lent(connection: psycopg.Connection[Any]) -> bool:
    """A pooler gives the session to others between two transactions."""
    return isinstance(connection, Session) and connection.guard is not None


def version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
