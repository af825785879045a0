"""Connections to PostgreSQL, and the one seam where its driver's errors become rowvec's."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from rowvec.errors import DataRefused, RowvecError, StatementCancelled, StoreError, StoreUnavailable
from rowvec.stores.postgres.embedded import revive
from rowvec.stores.postgres.intervals import register_intervals
from rowvec.support.identifiers import LONGEST, clipped
from rowvec.support.poolers import STATEMENT_MODE, server_pid
from rowvec.support.postgres_settings import ENCODING, SETTINGS, set_statements
from rowvec.support.processes import is_gone, place
from rowvec.support.retry import KEEPALIVES

CONNECT_TIMEOUT = 10
LIMITS = {
    "statement_timeout": 0,
    "lock_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "idle_session_timeout": 140_000,
    "transaction_timeout": 170_000,
}
"""Settings that would end what takes long, and the version of PostgreSQL that brought them."""
OLDEST_GOOD_PGVECTOR = (0, 8, 4)


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
    """Takes names with a percent sign in them: where values go with a statement, psycopg reads it as a placeholder."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        if params is not None and isinstance(query, sql.Composed):
            query = _doubled(query)
        return super().execute(query, params, **options)


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
    """

    name = ""
    pid = 0
    behind_pooler = False
    path: str | None = None
    _opening: tuple[Any, bytes] = (None, b"")

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


def connect(url: str, purpose: str) -> Session:
    """An autocommit connection that reads and writes vectors as numpy arrays where the extension is installed.

    Nothing is set on one that a pooler lends to others too; not even a name, which others would then go by.

    Args:
        purpose: shown in pg_stat_activity, so that a held lock can be traced to its process.

    Raises:
        StoreUnavailable: no answer. StoreError: refused.
    """
    location = describe(url)
    with translated(location):
        try:
            session = _opened(url)
        except psycopg.OperationalError as error:
            raise _connect_error(location, error) from None
        # PostgreSQL cuts a name after 63 bytes: first what is needed to find the process.
        session.name = clipped(f"{_process(os.getpid())}, {purpose}", LONGEST)
        session.pid = server_pid(session)
        session.behind_pooler = session.pid != session.info.backend_pid
        if session.behind_pooler:
            session.prepare_threshold = None
        else:
            session.execute(session.settings(local=False))
        use_vectors(session)
    return session


def _opened(url: str) -> Session:
    try:
        return Session.connect(url, autocommit=True, cursor_factory=_Cursor, **_options(url))
    except psycopg.OperationalError:
        # The embedded server may have crashed, or been stopped, under a process that lives for long.
        if not revive(url):
            raise
    return Session.connect(url, autocommit=True, cursor_factory=_Cursor, **_options(url))


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
        if isinstance(connection, Session):
            connection.execute(connection.named(local=True))
        found = connection.execute(
            "select e.extversion, case when n.nspname <> all(current_schemas(true)) then"
            " concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(n.nspname)) end"
            " from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'"
        ).fetchone()
        if found is None:
            return None
        version, path = found
        if not knows_vectors(connection):
            if path is not None:
                own = isinstance(connection, Session) and not connection.behind_pooler
                connection.execute(f"set {_scope(not own)} search_path to {path}".encode())
            register_vector(connection)
            register_intervals(connection)
            if isinstance(connection, Session):
                connection.path = path
    return str(version)


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
    connection.execute(f"begin isolation level repeatable read, read only; {settings}".encode())
    try:
        yield
    except BaseException:
        with suppress(psycopg.Error):
            connection.rollback()
        raise
    connection.commit()


def version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


_REFUSED: list[tuple[tuple[type[psycopg.Error], ...], type[StoreError], str, str | None]] = [
    (
        (psycopg.errors.InsufficientPrivilege,), StoreError, "No permission in {}",
        "The role needs CREATE on the database, for rowvec's own schema, and USAGE and CREATE on the table's schema; or"
        " let an administrator run the first sync.",
    ),
    ((psycopg.errors.DiskFull,), StoreError, "The disk of {} is full", "Free space, then run it again."),
    (
        (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable), StoreError, "{} refused a statement",
        "`rowvec sync` makes what store.metadata and store.language ask for; the columns of a table of your own are"
        " yours to make.",
    ),
    (
        (psycopg.errors.ReadOnlySqlTransaction,), StoreError, "{} takes no writes",
        "Is it a standby, or is default_transaction_read_only set for the role or the database?",
    ),
    (
        (psycopg.errors.ConfigurationLimitExceeded,), StoreError, "{} stopped a statement",
        "It is an administrator's limit, which rowvec may not lift. `rowvec check` names those that there are.",
    ),
    ((psycopg.errors.QueryCanceled,), StatementCancelled, "{} cancelled a statement", None),
    (
        (
            psycopg.errors.IdleInTransactionSessionTimeout,
            psycopg.errors.IdleSessionTimeout,
            # The driver may be older than this one, which PostgreSQL has since version 17.
            getattr(psycopg.errors, "TransactionTimeout", psycopg.errors.IdleSessionTimeout),
        ),
        StoreUnavailable, "{} ended the connection",
        "It is a limit of the role, the database or the server. `rowvec check` names those that there are.",
    ),
    (
        (
            psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.SerializationFailure,
            psycopg.errors.DeadlockDetected,
        ),
        StoreUnavailable, "{} does not answer", None,
    ),
    ((psycopg.Error,), StoreError, "{} refused a statement", None),
]  # fmt: skip
"""What an error of the driver becomes: the first line that fits. StoreUnavailable says that it may pass."""


_OF_THE_DATA = frozenset({"09", "21", "22", "23", "27", "38", "39", "44", "54", "P0"})
"""Classes of SQLSTATE that say what is wrong with a value, or come out of a function or trigger of the user's own."""
_BY_RULE = ("exec_stmt_raise", "ExecWithCheckOptions")
"""Functions of the server behind `raise` in a trigger, whatever its SQLSTATE, and behind row-level security."""


def is_of_the_data(error: psycopg.Error) -> bool:
    """Another row may pass where this one did not."""
    state = error.sqlstate
    if state is None:
        # The driver's own word about a value: a NUL in a text, for example.
        return isinstance(error, psycopg.DataError)
    if state[:2] in _OF_THE_DATA:
        return True
    # A trigger may ask for another try, or say that something else is wrong.
    return error.diag.source_function in _BY_RULE and state[:2] not in ("08", "40", "53", "55", "57", "58")


def _hint(error: psycopg.Error) -> str | None:
    """What to do about a row that the server refuses."""
    if error.diag.source_function == "_bt_check_third_page":
        return "A key can have up to 2,704 bytes in PostgreSQL: use a shorter key, such as a hash of it, in a query."
    if isinstance(error, psycopg.errors.ProgramLimitExceeded):
        return "A row has to fit into 8 kB, long texts apart: name fewer columns in store.metadata."
    if isinstance(error, psycopg.errors.RaiseException) or error.diag.source_function in _BY_RULE:
        return "A trigger or a policy of the table refuses the row: change that, or the row."
    if isinstance(error, psycopg.IntegrityError):
        return "A constraint of the table refuses the row: change that, or the row."
    return None


@contextmanager
def translated(location: str) -> Iterator[None]:
    """Raise the driver's errors as StoreUnavailable (try again) or StoreError (fix something)."""
    try:
        yield
    except psycopg.Error as error:
        if isinstance(error, psycopg.errors.ProtocolViolation) and STATEMENT_MODE in str(error):
            raise StoreError(
                f"{location} is behind a pooler in statement mode, which takes no transactions.",
                hint="Set store.url to the database itself. Searches work behind a pooler in transaction mode too.",
            ) from error
        if is_of_the_data(error):
            raise DataRefused(f"{location} refused a row: {_first_line(error)}", hint=_hint(error)) from error
        kind, said, hint = next((kind, said, hint) for types, kind, said, hint in _REFUSED if isinstance(error, types))
        raise kind(f"{said.format(location)}: {_first_line(error)}", hint=hint) from error


def _connect_error(location: str, error: psycopg.OperationalError) -> RowvecError:
    text = _first_line(error)
    if "password authentication failed" in text or "no password supplied" in text:
        return StoreError(
            f"{location} refused the user name or password.", hint="Check store.url, or the variable it names."
        )
    if "does not exist" in text:
        return StoreError(f"{location}: {text}", hint="Create it, or correct store.url.")
    return StoreUnavailable(f"{location} does not answer: {text}", hint="Is the server running, and store.url right?")


def _first_line(error: BaseException) -> str:
    """What the server said, or why it could not be reached; libpq puts an address before it and advice behind it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reasons = [line for line in lines if " failed: " in line]
    return reasons[-1].rpartition(" failed: ")[2] if reasons else lines[0]


def qualified(schema: str, table: str) -> sql.Identifier:
    return sql.Identifier(schema, table)
