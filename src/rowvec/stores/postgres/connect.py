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

from rowvec.errors import RowvecError, StoreError, StoreUnavailable
from rowvec.retry import KEEPALIVES
from rowvec.stores.postgres.embedded import revive
from rowvec.stores.processes import is_gone

CONNECT_TIMEOUT = 10
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


def _doubled(part: sql.Composable) -> sql.Composable:
    if isinstance(part, sql.Composed):
        return sql.Composed([_doubled(inner) for inner in part])
    if isinstance(part, sql.Identifier):
        return sql.Identifier(*(name.replace("%", "%%") for name in part._obj))
    return part


def connect(url: str, purpose: str) -> psycopg.Connection[Any]:
    """An autocommit connection that reads and writes vectors as numpy arrays where the extension is installed.

    Args:
        purpose: shown in pg_stat_activity, so that a held lock can be traced to its process.

    Raises:
        StoreUnavailable: no answer. StoreError: refused.
    """
    # PostgreSQL cuts a name after 63 bytes: first what is needed to find the process.
    name = f"{_process(os.getpid())}, {purpose}".encode()[:63].decode(errors="ignore")
    where = describe(url)
    with translated(where):
        options = {"autocommit": True, "application_name": name, "cursor_factory": _Cursor, **_options(url)}
        try:
            connection = _opened(url, options)
        except psycopg.OperationalError as error:
            raise _connect_error(where, error) from None
        connection.execute("set time zone 'UTC'")
        use_vectors(connection)
    return connection


def _opened(url: str, options: dict[str, Any]) -> psycopg.Connection[Any]:
    try:
        return psycopg.connect(url, **options)
    except psycopg.OperationalError:
        # The embedded server may have crashed, or been stopped, under a process that lives for long.
        if not revive(url):
            raise
    return psycopg.connect(url, **options)


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
    defaults = {"connect_timeout": CONNECT_TIMEOUT, **KEEPALIVES}
    return {option: value for option, value in defaults.items() if option not in given}


def use_vectors(connection: psycopg.Connection[Any]) -> str | None:
    """Teach a connection the vector types, wherever the extension lives; return its version, None without it."""
    found = connection.execute(
        "select e.extversion, n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace"
        " where e.extname = 'vector'"
    ).fetchone()
    if found is None:
        return None
    version, schema = found
    if not knows_vectors(connection):
        connection.execute(
            "select set_config('search_path',"
            " concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(%s)), false)",
            [schema],
        )
        register_vector(connection)
    return str(version)


def knows_vectors(connection: psycopg.Connection[Any]) -> bool:
    return connection.adapters.types.get("vector") is not None


def single(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    """The one row of a statement that always gives one."""
    row = cursor.fetchone()
    assert row is not None
    return tuple(row)


def version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise the driver's errors as StoreUnavailable (try again) or StoreError (mend something)."""
    try:
        yield
    except RowvecError:
        raise
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreError(
            f"No permission in {where}: {_first_line(error)}",
            hint="The role needs CREATE on the database, for rowvec's own schema, and USAGE and CREATE on the"
            " table's schema; or let an administrator run the first sync.",
        ) from error
    except psycopg.errors.DiskFull as error:
        raise StoreError(
            f"The disk of {where} is full: {_first_line(error)}", hint="Free space, then run it again."
        ) from error
    except psycopg.errors.ProgramLimitExceeded as error:
        raise StoreError(
            f"{where} refused a statement: {_first_line(error)}",
            hint="A row of it has to fit into 8 kB, long texts apart: name fewer columns in store.metadata.",
        ) from error
    except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable) as error:
        raise StoreError(
            f"{where} refused a statement: {_first_line(error)}",
            hint="`rowvec sync` makes what store.metadata and store.language ask for; the columns of a table of your"
            " own are yours to make.",
        ) from error
    except psycopg.errors.QueryCanceled as error:
        raise StoreUnavailable(f"{where} cancelled a statement: {_first_line(error)}") from error
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        psycopg.errors.SerializationFailure,
        psycopg.errors.DeadlockDetected,
    ) as error:
        raise StoreUnavailable(f"{where} does not answer: {_first_line(error)}") from error
    except psycopg.Error as error:
        raise StoreError(f"{where} refused a statement: {_first_line(error)}") from error


def _connect_error(where: str, error: psycopg.OperationalError) -> RowvecError:
    text = _first_line(error)
    if "password authentication failed" in text or "no password supplied" in text:
        return StoreError(
            f"{where} refused the user name or password.", hint="Check store.url, or the variable it names."
        )
    if "does not exist" in text:
        return StoreError(f"{where}: {text}", hint="Create it, or correct store.url.")
    return StoreUnavailable(f"{where} does not answer: {text}", hint="Is the server running, and store.url right?")


def _first_line(error: BaseException) -> str:
    """What the server said, or why it could not be reached; libpq puts an address before it and advice behind it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reasons = [line for line in lines if " failed: " in line]
    return reasons[-1].rpartition(" failed: ")[2] if reasons else lines[0]


def qualified(schema: str, table: str) -> sql.Identifier:
    return sql.Identifier(schema, table)
