"""Connections to PostgreSQL: sessions of our own, and those that a pooler lends to others too."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.abc import AdaptContext
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from rowvec.errors import StoreError
from rowvec.stores.postgres.driver_errors import connect_error, translated
from rowvec.stores.postgres.embedded import revive
from rowvec.stores.postgres.intervals import register_intervals
from rowvec.support.identifiers import LONGEST, clipped
from rowvec.support.poolers import STATEMENT_MODE, server_pid
from rowvec.support.postgres_settings import ENCODING, SETTINGS, set_statements
from rowvec.support.processes import is_gone, place
from rowvec.support.retry import KEEPALIVES

if TYPE_CHECKING:
    from rowvec.stores.postgres.leases import Leases

CONNECT_TIMEOUT = 10
LIMITS = {
    "statement_timeout": 0,
    "lock_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "idle_session_timeout": 140_000,
    "transaction_timeout": 170_000,
}
"""Settings that would end what takes long, and the version of PostgreSQL that brought them."""
HNSW, SHORT_VECTORS = (0, 5, 0), (0, 7, 0)
"""The versions of pgvector that brought HNSW; halfvec, bits and sub-vectors."""


def describe(url: str) -> str:
    """User, host, port and database of a connection string, never its password."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        return "the store's database"
    host = parts.get("host") or "localhost"
    # The embedded server's socket is in the folder of its data.
    if str(host).startswith("/") and os.path.exists(f"{host}/PG_VERSION"):
        return f"the embedded PostgreSQL ({os.path.realpath(str(host))})"
    return f"{parts.get('user') or 'default user'}@{host}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"


class _Cursor(psycopg.Cursor[Any]):
    """Takes names with a percent sign in them: where values go with a statement, psycopg reads it as a placeholder.

    And has each statement do what a session that a pooler lends to others cannot remember.
    """

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        if params is not None and isinstance(query, sql.Composed):
            query = _doubled(query)
        session = self.connection
        if not isinstance(session, Session):
            return super().execute(query, params, **options)
        if session.single_statements:
            return self._with_settings(session, query, params)
        if session.guard is None or session.info.transaction_status is not TransactionStatus.IDLE:
            return super().execute(query, params, **options)
        with session.transaction():
            return super().execute(query, params, **options)

    def _with_settings(self, session: Session, query: Any, params: Any) -> Self:
        """Sent in one message, statements are one transaction to the server, and one statement to a pooler."""
        written = psycopg.ClientCursor(session).mogrify(query, params)
        super().execute(session.prefix() + written.encode(), binary=False)
        while self.nextset():
            pass
        return self

    def execute_outside(self, query: Any) -> None:
        """For a statement that no transaction may hold."""
        super().execute(query)


def rendered(statement: sql.Composed) -> bytes:
    """Its text, for a statement that is executed with values again and again."""
    return _doubled(statement).as_bytes(None)


def _doubled(part: sql.Composable) -> sql.Composable:
    if isinstance(part, sql.Composed):
        return sql.Composed([_doubled(inner) for inner in part])
    if isinstance(part, sql.Identifier):
        return sql.Identifier(*(name.replace("%", "%%") for name in part._obj))
    return part


class Session(psycopg.Connection[Any]):
    """An autocommit connection. Behind a pooler its settings may be those of other clients in the next moment.

    Attributes:
        name: shown in pg_stat_activity.
        pid: of the server's process that answered first.
        behind_pooler: whoever accepted the connection is not who answers it.
        path: the search path on which the extension's types are found; None where that is the one there is.
        iterates: see the function of that name.
        ready: it was asked what its extension can do.
        guard: how every transaction begins; None where the session keeps its settings and its locks itself.
        leases: its locks, where it cannot keep them.
        single_statements: the pooler takes no transactions.
        more: settings for the next of those statements, each ended by a semicolon.
        statement_seconds: after which each of them is cancelled.
        server: which one of several it is, where that was asked.
    """

    name = ""
    pid = 0
    behind_pooler = False
    path: str | None = None
    iterates: bool = False
    ready: bool = False
    guard: Callable[[Session], None] | None = None
    leases: Leases | None = None
    single_statements: bool = False
    more: str = ""
    statement_seconds: float | None = None
    server = ""
    _opening: tuple[Any, bytes] = (None, b"")

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        if self.single_statements:
            yield psycopg.Transaction(self)
            return
        begins = self.info.transaction_status is TransactionStatus.IDLE
        with super().transaction(savepoint_name, force_rollback) as begun:
            if begins and self.guard is not None:
                self.guard(self)
            yield begun

    def prefix(self) -> bytes:
        """Settings for the statement that follows in the same message."""
        settings = self.settings(local=True, statement_seconds=self.statement_seconds)
        return settings + b"; " + self.more.encode()

    def opening(self, statement_seconds: float | None) -> bytes:
        """Statements that begin a transaction which reads one state of the tables, under rowvec's settings."""
        chosen = (self.path, statement_seconds)
        if self._opening[0] != chosen:
            settings = self.settings(local=True, statement_seconds=statement_seconds)
            self._opening = (chosen, b"begin isolation level repeatable read, read only; " + settings)
        return self._opening[1]

    def settings(self, *, local: bool, statement_seconds: float | None = None) -> bytes:
        """Statements that set whatever rowvec relies on, for the transaction (`local`) or for the session.

        Args:
            statement_seconds: a statement that takes longer is cancelled; None for no limit.
        """
        limits = [name for name, since in LIMITS.items() if self.info.server_version >= since]
        chosen = {**SETTINGS, **dict.fromkeys(limits, "0")}
        if not local:
            # Writers count on seeing what others have committed since, statement by statement.
            chosen |= {"default_transaction_isolation": "read committed", "default_transaction_deferrable": "off"}
        if statement_seconds is not None:
            chosen["statement_timeout"] = str(int(1000 * statement_seconds))
        said = [set_statements(chosen, local=local)]
        # A list of names that the server has quoted.
        said += [] if self.path is None else [f"set {_scope(local)} search_path to {self.path}"]
        return "; ".join(said).encode() + b"; " + self.named(local=local)

    def named(self, *, local: bool) -> bytes:
        """The statement that gives it its name."""
        name = sql.Literal(self.name).as_bytes(None)
        return f"set {_scope(local)} application_name to ".encode() + name


def _scope(local: bool) -> str:
    return "local" if local else "session"


def connect(url: str, purpose: str, *, like: AdaptContext | None = None) -> Session:
    """An autocommit connection that reads and writes vectors as numpy arrays where the extension is installed.

    Nothing is set on one that a pooler lends to others too; not even a name, which others would then go by.

    Args:
        purpose: shown in pg_stat_activity, so that a held lock can be traced to its process.
        like: the types of another connection to this database, which takes twelve questions less.

    Raises:
        StoreUnavailable: no answer. StoreError: refused.
    """
    with translated(describe(url)):
        session = _named(url, purpose, like)
        try:
            if use_vectors(session) is None and like is not None:
                # The extension was dropped, and may come back with other types.
                session.close()
                return connect(url, purpose)
        except psycopg.errors.ProtocolViolation as error:
            if STATEMENT_MODE not in str(error):
                raise
            # It has closed the connection.
            session = _named(url, purpose)
            session.single_statements = True
            use_vectors(session)
    return session


def _named(url: str, purpose: str, like: AdaptContext | None = None) -> Session:
    with translated(describe(url)):
        try:
            session = _opened(url, like)
        except psycopg.OperationalError as error:
            raise connect_error(describe(url), error) from None
        # PostgreSQL cuts a name after 63 bytes: first what is needed to find the process.
        session.name = clipped(f"{_process(os.getpid())}, {purpose}", LONGEST)
        session.pid = server_pid(session)
        session.behind_pooler = session.pid != session.info.backend_pid
        if session.behind_pooler:
            session.prepare_threshold = None
        else:
            session.execute(session.settings(local=False))
    return session


def _opened(url: str, like: AdaptContext | None) -> Session:
    try:
        return Session.connect(url, autocommit=True, cursor_factory=_Cursor, context=like, **_options(url))
    except psycopg.OperationalError:
        # The embedded server may have crashed, or been stopped, under a process that lives for long.
        if not revive(url):
            raise
    return Session.connect(url, autocommit=True, cursor_factory=_Cursor, context=like, **_options(url))


def _process(pid: int) -> str:
    # Machines may have one name: a session of another one must not be ended for a process that is not here.
    here = hashlib.sha256(place().encode()).hexdigest()[:6]
    return f"rowvec pid {pid} on {socket.gethostname()[:20]} {here}"


def of_a_process_that_is_gone(name: str) -> bool:
    """Whether a connection of that name was opened on this machine, by a process that has ended."""
    found = re.match(r"rowvec pid (\d+) on ", name)
    return found is not None and name.startswith(_process(int(found[1])) + ",") and is_gone(int(found[1]))


def _options(url: str) -> dict[str, Any]:
    """What a connection string leaves to us."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        # Its message quotes the string, with the password in it.
        raise StoreError(
            "store.url is not a PostgreSQL connection string.",
            hint="Such as postgresql://user:password@host:5432/database, with % codes for special characters.",
        ) from None
    defaults = {"connect_timeout": CONNECT_TIMEOUT, **KEEPALIVES}
    # With the first message: until it knows better, the driver reads what a SQL_ASCII database sends as bytes.
    return {"client_encoding": ENCODING, **{name: value for name, value in defaults.items() if name not in given}}


def use_vectors(connection: psycopg.Connection[Any]) -> str | None:
    """Teach a connection the vector types, wherever the extension lives; return its version, None without it."""
    with connection.transaction():
        if isinstance(connection, Session) and not connection.single_statements:
            connection.execute(connection.named(local=True))
        found = connection.execute(
            "select e.extversion, case when n.nspname <> all(current_schemas(true)) then"
            " concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(n.nspname)) end,"
            " has_schema_privilege(n.oid, 'usage'), quote_ident(n.nspname), quote_ident(current_user),"
            " (select t.oid from pg_type t where t.typnamespace = n.oid and t.typname = 'vector')"
            " from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'"
        ).fetchone()
        if found is None:
            return None
        version, path, allowed, place, role, oid = found
        if not allowed:
            raise StoreError(
                f"The role {role} may not use the schema {place}, where pgvector is.",
                hint=f"Let an administrator run: GRANT USAGE ON SCHEMA {place} TO {role};",
            )
        known = connection.adapters.types.get("vector")
        current = known is not None and known.oid == oid
        own = connection if isinstance(connection, Session) else None
        if current and (own is None or own.ready):
            return str(version)
        if path is not None:
            if own is not None:
                own.path = path
            lasts = own is not None and not own.behind_pooler
            connection.execute(f"set {_scope(not lasts)} search_path to {path}".encode())
        if not current:
            register_vector(connection)
            register_intervals(connection)
        if own is not None:
            # A setting is known once something has loaded the library, whatever the extension's own version says.
            asked = "select current_setting(case when '[1]'::vector is not null then %s end, true)"
            own.iterates = single(own.execute(asked, ["hnsw.iterative_scan"])) != (None,)
            own.ready = True
    return str(version)


def iterates(connection: psycopg.Connection[Any]) -> bool:
    """Whether pgvector reads an index on where a filter leaves too few rows of it."""
    return not isinstance(connection, Session) or connection.iterates


def knows_vectors(connection: psycopg.Connection[Any]) -> bool:
    return connection.adapters.types.get("vector") is not None


def single(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    """The one row of a statement that always gives one."""
    row = cursor.fetchone()
    assert row is not None
    return tuple(row)


@contextmanager
def one_snapshot(connection: psycopg.Connection[Any], settings: str = "") -> Iterator[None]:
    """See one state of the tables in several statements that only read.

    Inside a caller's transaction its isolation level stands.

    Args:
        settings: statements that set something for the transaction; they cost no round trip of their own.
    """
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        if settings:
            connection.execute(settings.encode())
        yield
        return
    if isinstance(connection, Session) and connection.single_statements:
        # Each statement sees a state of its own. Whoever searches asks afterwards whether a generation was swapped.
        before, connection.more = connection.more, f"{settings}; " if settings else connection.more
        try:
            yield
        finally:
            connection.more = before
        return
    if isinstance(connection, Session) and connection.guard is not None:
        settings = f"{connection.settings(local=True).decode()}; {settings}"
    outside(connection, f"begin isolation level repeatable read, read only; {settings}".encode())
    try:
        yield
    except BaseException:
        with suppress(psycopg.Error):
            connection.rollback()
        raise
    connection.commit()


def outside(connection: psycopg.Connection[Any], statement: bytes | sql.Composed) -> None:
    """Execute what no transaction may hold, such as the building of an index beside others. On a session that a pooler
    lends to others too it goes by the settings of the role."""
    cursor = connection.cursor()
    if isinstance(cursor, _Cursor):
        cursor.execute_outside(statement)
    else:
        cursor.execute(statement)


def is_lent(connection: psycopg.Connection[Any]) -> bool:
    """A pooler gives the session to others between two transactions."""
    return isinstance(connection, Session) and connection.guard is not None


def version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
