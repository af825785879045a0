"""The one seam where the errors of PostgreSQL's driver become rowvec's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from rowvec.errors import DataRefused, RowvecError, StatementCancelled, StoreError, StoreUnavailable
from rowvec.stores.pulse import Silent
from rowvec.support.addresses import is_unusable
from rowvec.support.poolers import STATEMENT_MODE

_REFUSED: list[tuple[tuple[type[psycopg.Error], ...], type[StoreError], str, str | None]] = [
    (
        (psycopg.errors.InsufficientPrivilege,), StoreError, "No permission in {}",
        "The role needs CREATE on the database, for rowvec's own schema, and USAGE and CREATE on the table's schema; or"
        " let an administrator run the first sync.",
    ),
    ((psycopg.errors.DiskFull,), StoreError, "The disk of {} is full", "Free space, then run it again."),
    (
        (psycopg.errors.UndefinedTable,), StoreError, "{} refused a statement",
        "`rowvec sync` makes the tables of a pipeline; a table of your own is yours to make.",
    ),
    (
        (psycopg.errors.UndefinedColumn,), StoreError, "{} refused a statement",
        "`rowvec sync` makes what store.metadata and store.language ask for; the columns of a table of your own are"
        " yours to make. If source.key was changed: a table keeps the key that it was made for.",
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
    except Silent as error:
        raise StoreUnavailable(f"{location} does not answer: {error}") from error
    except psycopg.Error as error:
        if isinstance(error, psycopg.errors.ProtocolViolation) and STATEMENT_MODE in str(error):
            raise StoreError(
                f"{location} is behind a pooler in statement mode, which takes no transactions.",
                hint="Set store.url to the database itself, or to a pooler in transaction mode.",
            ) from error
        if error.sqlstate is None and is_unusable(_first_line(error)):
            raise _unusable(error) from error
        if is_of_the_data(error):
            raise DataRefused(f"{location} refused a row: {_first_line(error)}", hint=_hint(error)) from error
        kind, said, hint = next((kind, said, hint) for types, kind, said, hint in _REFUSED if isinstance(error, types))
        raise kind(f"{said.format(location)}: {_first_line(error)}", hint=hint) from error


def connect_error(location: str, error: psycopg.OperationalError) -> RowvecError:
    text = _first_line(error)
    if is_unusable(text):
        return _unusable(error)
    if "password authentication failed" in text or "no password supplied" in text:
        return StoreError(
            f"{location} refused the user name or password.", hint="Check store.url, or the variable it names."
        )
    if "does not exist" in text:
        return StoreError(f"{location}: {text}", hint="Create it, or correct store.url.")
    return StoreUnavailable(f"{location} does not answer: {text}", hint="Is the server running, and store.url right?")


def _unusable(error: psycopg.Error) -> StoreError:
    return StoreError(
        f"store.url cannot be used: {_first_line(error)}",
        hint="Correct its host, its port or what it says after its question mark.",
    )


def _first_line(error: BaseException) -> str:
    """What the server said, or why it could not be reached; libpq puts an address before it and advice behind it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reasons = [line for line in lines if " failed: " in line]
    return reasons[-1].rpartition(" failed: ")[2] if reasons else lines[0]
