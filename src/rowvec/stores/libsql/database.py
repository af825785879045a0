"""What the store needs of a database: one query, or several statements in one transaction.

Nothing else is asked for, so that a transaction is one HTTP request where the database is far away. Every
transaction that the store sends may be sent twice without harm, so that one whose answer was lost can be tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from rowvec.errors import DataRefused, StoreError, StoreUnavailable

Values: TypeAlias = tuple[Any, ...]
Query: TypeAlias = Callable[[str, Values], list[Values]]
Answer = TypeVar("Answer")


class Statement(NamedTuple):
    sql: str
    values: Values = ()
    """None, int, float, str or bytes, one for each `?`."""


def fail_unless(query: str, values: Values = ()) -> Statement:
    """A statement that fails, and its transaction with it, unless the query finds a row.

    SQLite has `raise` for triggers only, and no other function that fails: this one is an integer overflow.
    """
    return Statement(f"select case when exists ({query}) then 0 else abs(-9223372036854775807 - 1) end", values)


class Database(Protocol):
    """Safe to use from several threads at once."""

    location: str
    """For messages, without a token."""

    def exists(self) -> bool:
        """Whether there is a database to ask; False only for a file that is not there."""
        ...

    def check_place(self) -> None:
        """
        Raises:
            StoreError, MissingExtraError: `create` would fail.
        """
        ...

    def create(self) -> None:
        """Make the database if it is not there yet."""
        ...

    def query(self, sql: str, values: Values = ()) -> list[Values]: ...

    def in_one_snapshot(self, work: Callable[[Query], Answer]) -> Answer:
        """Call `work`, all of whose queries see the same rows; it may be called again after a failure. Over HTTP it
        takes two requests more than its queries do."""
        ...

    def transact(
        self, statements: Sequence[Statement], *, before_commit: Callable[[], None] | None = None
    ) -> list[int]:
        """Carry out all of the statements or none; how many rows each of them changed."""
        ...

    def close(self) -> None: ...


_KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        "file is not a database",
        "The file is not a libSQL or SQLite database.",
        "Give the store another path; rowvec never overwrites a file that it did not make.",
    ),
    (
        "disk image is malformed",
        "The database file is damaged.",
        "Restore it from a copy, or move it away and sync again: the vectors can be made again from the rows.",
    ),
    (
        "disk is full",
        "The disk is full; nothing of the last batch was written.",
        "Make room and sync again: it goes on where it stopped.",
    ),
    (
        "readonly",
        "The database can be read but not written.",
        "Check the owner and permissions of the file and its folder, or whether the token is read-only.",
    ),
    (
        "unable to open",
        "The database file cannot be opened.",
        "Check that its folder exists and that this user may write there.",
    ),
    ("disk i/o error", "The disk refused to read or write.", "Check the disk and its free space, then sync again."),
    (
        "no such column",
        "A column that is needed is not there.",
        "Run `rowvec check --apply`, or `rowvec sync` once. If source.key was changed: a table keeps the key that it"
        " was made for, so give the store another table name.",
    ),
    (
        "no such table",
        "The table of this pipeline is not there.",
        "Run `rowvec sync` to make it, or `rowvec check --apply`.",
    ),
    (
        "no such function: vector",
        "This database has no vector functions: it is not libSQL.",
        "Use a libSQL file, Turso or sqld.",
    ),
    (
        "no such module: fts5",
        "This database has no full-text search (FTS5).",
        "Set the store's language to none to do without keyword search.",
    ),
)
_OF_THE_STATEMENT = (
    "integer overflow", "syntax error", "no such", "not authorized", "out of memory", "interrupted", "too many",
    "transaction", "misuse", "corrupt",
)  # fmt: skip
"""What the engine says for other reasons than a value: the first is that of `fail_unless`. Whatever else it says is of
a row, and another row may pass: a trigger of the user's own may say anything."""
_TRANSIENT = ("database is locked", "database table is locked", "database schema has changed", "sqlite_busy", "busy")


def translated(message: str, location: str) -> StoreError:
    """The error a user should see for what a driver or a server said; neither gives more than words."""
    plain = message.lower()
    for said, problem, hint in _KNOWN:
        if said in plain:
            return StoreError(f"{location}: {problem} ({message})", hint=hint)
    if any(said in plain for said in _TRANSIENT):
        return StoreUnavailable(f"{location}: another process is writing to the database. ({message})")
    if not any(said in plain for said in _OF_THE_STATEMENT):
        advice = (
            "A constraint of the table refuses the row: change that, or the row." if "constraint" in plain else None
        )
        return DataRefused(f"{location} refused a row: {message}", hint=advice)
    return StoreError(f"{location}: {message}")
