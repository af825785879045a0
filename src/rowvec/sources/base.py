"""What a source of rows can do."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from rowvec.support.suggestions import check_column
from rowvec.types import Check, Column, ColumnType, Key, Row


@dataclass(frozen=True, slots=True)
class Selection:
    """Keys a user named: single ones, and inclusive ranges (`--keys 1,5,10-20`)."""

    keys: tuple[Key, ...] = ()
    ranges: tuple[tuple[Key, Key], ...] = ()


CursorValue: TypeAlias = int | float | str | dt.date | dt.datetime
"""A value of a cursor column. A string is a time as ISO 8601 writes it."""


@dataclass(frozen=True, slots=True)
class CursorSettings:
    """How a cursor column is trusted."""

    lag: dt.timedelta | int | None = None
    """A transaction may commit so much later than its cursor says; None for the default of the column's type."""
    full_every: dt.timedelta = dt.timedelta(days=1)
    """All rows are compared so often, whatever the cursor says."""


@runtime_checkable
class Incremental(Protocol):
    """A source whose rows may tell when they changed."""

    cursor: str | None
    """The column that grows with each change; None where no column does."""
    identity: str
    """What is read, in one text: another table, query or condition gives another one. Without a password."""

    def newest(self, below: CursorValue | None = None) -> CursorValue | None:
        """The highest cursor value there is, below another where one is given; None where no row has one."""
        ...

    def changed(self, since: CursorValue, limit: int) -> list[Key]:
        """Keys of the rows whose cursor is not below `since`, and of those without one, as of one moment.

        No key comes twice. More than `limit` keys mean that there may be others.
        """
        ...


@runtime_checkable
class CountsChanged(Protocol):
    """An `Incremental` source that can say how many rows have changed without reading them."""

    def beyond(self, mark: CursorValue, until: CursorValue, limit: int) -> int:
        """How many rows have a cursor above `mark` and not above `until`; counted up to `limit`."""
        ...


@runtime_checkable
class Divisible(Protocol):
    """A source whose rows can be cut into ranges of keys."""

    def boundaries(self, size: int) -> Iterator[Key]:
        """The last key of each full range of `size` rows, in key order. Fewer rows may come after the last of them."""
        ...


@runtime_checkable
class ReadsAhead(Protocol):
    """A source for which each page would cost as much as all of them, such as a view that the database sorts first."""

    def read_ahead(
        self,
        size: int,
        *,
        stop: threading.Event,
        selection: Selection | None = None,
        after: Key | None = None,
        until: Key | None = None,
        limit: int | None = None,
    ) -> Iterator[list[Row]] | None:
        """Pages as `Source.pages` gives them, read by one statement into a temporary file; None if those are as good.

        No connection or transaction is held open when it returns. There may be more rows after those that it gives:
        where the file would be too large, where the connection broke, and after `stop` was set.

        Args:
            limit: the most rows.

        Raises:
            SourceError: as `Source.pages`; the disk is full.
            SourceUnavailable: the database did not answer, and no row was read.
        """
        ...


@runtime_checkable
class Witnessed(Protocol):
    """A source that can prove that another process reads the same rows."""

    def witness(self) -> str | None:
        """What server, table and condition are, as the server itself knows them, without an address.

        Two processes with the same witness read the same rows. Of others that is not known: None, or another text,
        which a restart of the server gives too.
        """
        ...

    def rows_between(self, after: Key | None, until: Key | None) -> int:
        """How many rows have a key above `after` and not above `until`."""
        ...


@runtime_checkable
class Retyped(Protocol):
    """A source whose columns may get other types, come and go while it is open."""

    def retyped(self) -> bool:
        """Whether they are others than when it was opened: what is read would not be of its type.

        Raises:
            SourceError, SourceUnavailable: it cannot be read now.
        """
        ...


def names_of(columns: Sequence[Column], key: str, chosen: Iterable[str]) -> tuple[str, ...]:
    """The names of the chosen columns and of the key, in the source's own order.

    Raises:
        ConfigError: one of them is not there.
    """
    names = {column.name: None for column in columns}
    wanted = {key, *chosen}
    for name in sorted(wanted - names.keys()):
        check_column(name, list(names), "source.columns")
    return tuple(name for name in names if name in wanted)


class Notifier(Protocol):
    """Tells of the rows of one table that change, by a trigger that is installed once."""

    schema: str
    table: str
    channel: str

    def installed(self) -> bool: ...

    def install_sql(self) -> list[str]:
        """The statements that make the trigger."""
        ...

    def uninstall_sql(self) -> list[str]: ...

    def prepares(self) -> bool:
        """Whether the server keeps prepared transactions, in which nothing can be notified."""
        ...

    def carry_out(self, statements: Sequence[str]) -> None:
        """
        Raises:
            SourceError: the user may not do that.
        """
        ...

    def listening(self) -> AbstractContextManager[Any]:
        """See `rowvec.syncing.watch.Heard`."""
        ...


@runtime_checkable
class Watchable(Protocol):
    """A source whose rows can be followed as they change."""

    def notifier(self) -> Notifier:
        """
        Raises:
            ConfigError: it is not a table that a trigger can be put on.
        """
        ...


@runtime_checkable
class Checked(Protocol):
    """A source that knows what may go wrong with it."""

    def checks(self) -> list[Check]:
        """Lines for `rowvec check`."""
        ...


class Source(Protocol):
    """Rows with one unique key each, readable in key order."""

    key: str
    key_type: ColumnType

    @property
    def columns(self) -> Sequence[Column]:
        """Every column of the source, the key too, in the source's own order."""
        ...

    def select(self, columns: Sequence[str]) -> None:
        """Read only these columns and the key from now on."""
        ...

    def count(self, selection: Selection | None = None) -> int:
        """How many rows a full read gives."""
        ...

    def pages(
        self,
        size: int,
        *,
        selection: Selection | None = None,
        after: Key | None = None,
        until: Key | None = None,
    ) -> Iterator[list[Row]]:
        """Yield pages of at most `size` rows in key order, none of them empty.

        `after` (exclusive) and `until` (inclusive) bound the keys. No connection or transaction is held
        open between two pages.

        Raises:
            SourceError: a key is null or appears twice; a column is missing; the row cannot be read.
            SourceUnavailable: the database did not answer.
        """
        ...

    def existing(self, keys: Sequence[Key]) -> set[Key]:
        """Those of `keys` that the source holds now, its `where` applied."""
        ...

    def close(self) -> None: ...
