"""Connections to PostgreSQL, and the one seam where its driver's errors become rowvec's."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from rowvec.errors import RowvecError, StoreError, StoreUnavailable
from rowvec.support.processes import is_gone
from rowvec.support.retry import KEEPALIVES

CONNECT_TIMEOUT = 10
STYLES = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}
"""What values are written and read in, whatever the server, the database or the role says."""
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
        return f"the embedded PostgreSQL ({host})"
    return f"{parts.get('user') or 'default user'}@{host}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"


class _Cursor(psycopg.Cursor[Any]):
    """Takes names with a percent sign in them: where values go with a statement, psycopg reads it as a placeholder."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        if params is not None and isinstance(query, sql.Composed):
            query = _doubled(query)
        return super().execute(query, params, **options)


def _doubled(part: sql.Composable) -> sql.Composable:
    if isinstance(part, sql.Composed):
        return sql.Composed([_doubled(inner) for inner in part])
    if isinstance(part, sql.Identifier):
        return sql.Identifier(*(name.replace("%", "%%") for name in part._obj))
    return part


class Session(psycopg.Connection[Any]):
    """An autocommit connection. Behind a pooler its settings may be those of other clients in the next moment.

    Attributes:
        pid: of the server's process that answered first.
        behind_pooler: whoever accepted the connection is not who answers it.
        path: the search path on which the extension's types are found; None where that is the one there is.
    """

    pid = 0
    behind_pooler = False
    path: str | None = None
    _opening: tuple[Any, bytes] = (None, b"")

    def opening(self, statement_seconds: float | None) -> bytes:
        """Statements that begin a transaction which reads one state of the tables, under rowvec's settings."""
        chosen = (self.path, statement_seconds)
        if self._opening[0] != chosen:
            settings = self.settings(local=True, statement_seconds=statement_seconds)
            self._opening = (chosen, f"begin isolation level repeatable read, read only; {settings}".encode())
        return self._opening[1]

    def settings(self, *, local: bool, statement_seconds: float | None = None) -> str:
        """Statements that set whatever rowvec relies on, for the transaction (`local`) or for the session.

        Args:
            statement_seconds: a statement that takes longer is cancelled; None for no limit.
        """
        limits = [name for name, since in LIMITS.items() if self.info.server_version >= since]
        chosen = {**STYLES, **dict.fromkeys(limits, "0")}
        if statement_seconds is not None:
            chosen["statement_timeout"] = str(int(1000 * statement_seconds))
        scope = "local" if local else "session"
        said = [f"set {scope} {name} to '{value}'" for name, value in chosen.items()]
        # A list of names that the server has quoted.
        said += [] if self.path is None else [f"set {scope} search_path to {self.path}"]
        return "; ".join(said)


def connect(url: str, purpose: str) -> Session:
    """An autocommit connection that reads and writes vectors as numpy arrays where the extension is installed.

    Nothing is set on it: it may be one that a pooler lends to others too.

    Args:
        purpose: shown in pg_stat_activity, so that a held lock can be traced to its process.

    Raises:
        StoreUnavailable: no answer. StoreError: refused.
    """
    # PostgreSQL cuts a name after 63 bytes: first what is needed to find the process.
    name = f"{_process(os.getpid())}, {purpose}".encode()[:63].decode(errors="ignore")
    location = describe(url)
    with translated(location):
        try:
            session = Session.connect(
                url, autocommit=True, application_name=name, cursor_factory=_Cursor, **_options(url)
            )
        except psycopg.OperationalError as error:
            raise _connect_error(location, error) from None
        (session.pid,) = single(session.execute("select pg_backend_pid()"))
        # A pooler hands out keys for cancelling of its own, whatever its mode is.
        session.behind_pooler = session.pid != session.info.backend_pid
        if session.behind_pooler:
            session.prepare_threshold = None
        use_vectors(session)
    return session


def _process(pid: int) -> str:
    return f"rowvec pid {pid} on {socket.gethostname()[:20]}"


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
            "store.url is no connection string of PostgreSQL.",
            hint="Such as postgresql://user:password@host:5432/database, with % codes for special characters.",
        ) from None
    defaults = {"connect_timeout": CONNECT_TIMEOUT, "client_encoding": "utf8", **KEEPALIVES}
    return {option: value for option, value in defaults.items() if option not in given}


def use_vectors(connection: psycopg.Connection[Any]) -> str | None:
    """Teach a connection the vector types, wherever the extension lives; return its version, None without it."""
    found = connection.execute(
        "select e.extversion, case when n.nspname <> all(current_schemas(true)) then"
        " concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(n.nspname)) end"
        " from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'"
    ).fetchone()
    if found is None:
        return None
    version, path = found
    if not knows_vectors(connection):
        with connection.transaction():
            if path is not None:
                connection.execute(f"set local search_path to {path}".encode())
            register_vector(connection)
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
def one_snapshot(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """See one state of the tables in several statements that only read.

    Inside a caller's transaction its isolation level stands.
    """
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        yield
        return
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        yield


def version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


_TIMED_OUT = (
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.IdleSessionTimeout,
    # The driver may be older than this one, which PostgreSQL has since version 17.
    getattr(psycopg.errors, "TransactionTimeout", psycopg.errors.IdleSessionTimeout),
)


@contextmanager
def translated(location: str) -> Iterator[None]:
    """Raise the driver's errors as StoreUnavailable (try again) or StoreError (mend something)."""
    try:
        yield
    except RowvecError:
        raise
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreError(
            f"No permission in {location}: {_first_line(error)}",
            hint="The role needs CREATE on the database, for rowvec's own schema, and USAGE and CREATE on the"
            " table's schema; or let an administrator run the first sync.",
        ) from error
    except psycopg.errors.DiskFull as error:
        raise StoreError(
            f"The disk of {location} is full: {_first_line(error)}", hint="Free space, then run it again."
        ) from error
    except psycopg.errors.ProgramLimitExceeded as error:
        raise StoreError(
            f"{location} refused a statement: {_first_line(error)}",
            hint="A row of it has to fit into 8 kB, long texts apart: name fewer columns in store.metadata.",
        ) from error
    except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable) as error:
        raise StoreError(
            f"{location} refused a statement: {_first_line(error)}",
            hint="`rowvec sync` makes what store.metadata and store.language ask for; the columns of a table of your"
            " own are yours to make.",
        ) from error
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise StoreError(
            f"{location} takes no writes: {_first_line(error)}",
            hint="Is it a standby, or is default_transaction_read_only set for the role or the database?",
        ) from error
    except psycopg.errors.QueryCanceled as error:
        raise StoreUnavailable(f"{location} cancelled a statement: {_first_line(error)}") from error
    except psycopg.errors.ConfigurationLimitExceeded as error:
        raise StoreError(
            f"{location} stopped a statement: {_first_line(error)}",
            hint="An administrator's limit, which rowvec may not lift: ALTER ROLE ... SET temp_file_limit = -1;",
        ) from error
    except _TIMED_OUT as error:
        raise StoreUnavailable(
            f"{location} ended the connection: {_first_line(error)}",
            hint="A limit of the role, the database or the server. `rowvec check` names those that there are.",
        ) from error
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        psycopg.errors.SerializationFailure,
        psycopg.errors.DeadlockDetected,
    ) as error:
        raise StoreUnavailable(f"{location} does not answer: {_first_line(error)}") from error
    except psycopg.Error as error:
        raise StoreError(f"{location} refused a statement: {_first_line(error)}") from error


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
