"""What a source of rows can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rowvec.types import Column, ColumnType, Key, Row


@dataclass(frozen=True, slots=True)
class Selection:
    """Keys a user named: single ones, and inclusive ranges (`--keys 1,5,10-20`)."""

    keys: tuple[Key, ...] = ()
    ranges: tuple[tuple[Key, Key], ...] = ()


@runtime_checkable
class Divisible(Protocol):
    """A source whose rows can be cut into ranges of keys."""

    def boundaries(self, size: int) -> Iterator[Key]:
        """The last key of each full range of `size` rows, in key order. Fewer rows may come after the last of them."""
        ...


class Source(Protocol):
    """Rows with one unique key each, readable in key order."""

    key: str
    key_type: ColumnType
    columns: Sequence[Column]
    """Every column of the source, the key too, in the source's own order."""

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
