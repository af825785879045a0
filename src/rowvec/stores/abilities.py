"""What some stores can do beside what every store can."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from rowvec.stores.away import Away
from rowvec.stores.base import SearchedStore, Store, TableSpec
from rowvec.types import Progress, Ranked, Vectors


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a replica is behind its primary."""

    standby: bool = True
    """It follows another server. False for a primary."""
    seconds: float | None = None
    """It is behind by so much at most: since the last transaction that it has; 0 where it has all that was written;
    None where the server does not say."""
    bytes: int | None = None
    """Of the primary's log that it has not carried out yet."""

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@runtime_checkable
class Follows(Protocol):
    """A store that may be opened at a replica of another one."""

    def lag(self, primary: Store) -> Lag:
        """
        Raises:
            StoreError: they are not one store.
        """
        ...


@runtime_checkable
class DividesWork(Protocol):
    """A store in which several processes may sync disjoint ranges of keys at once."""

    divides_work: bool
    layout: int
    """The version of what it keeps, as this rowvec writes it."""

    def lock(self, part: str | None = None) -> AbstractContextManager[None]:
        """Hold the lock of one range; the pipeline's own lock keeps ranges out, and they keep it out.

        Raises:
            Locked: somebody else holds that range, or the whole.
        """
        ...

    def run_mark(self, run: int) -> str | None:
        """What the record of a run says in this store, and in no other, not even in a copy that was made before it;
        None without such a record."""
        ...


@runtime_checkable
class AltersTable(Protocol):
    """A store whose books, or whose table of the user's own, may lack what a sync needs."""

    def apply(self, spec: TableSpec) -> list[str]:
        """Make what is missing; returns what was done."""
        ...


@runtime_checkable
class MovesRows(Protocol):
    """A store whose rows lie in parts, the number of which the settings say."""

    def must_move(self) -> bool:
        """Some rows may be in another part than the settings say."""
        ...

    def moves(self, spec: TableSpec) -> Mapping[int, int]:
        """How many rows the next sync moves to which part, by its number from 1 on."""
        ...

    def move(
        self, spec: TableSpec, progress: Progress | None = None, moved: Callable[[int], None] | None = None
    ) -> int:
        """Bring every row to its part, under the lock, while searches go on; returns how many rows were moved.

        Args:
            moved: called with the number of rows each time that some have got there.
        """
        ...


@runtime_checkable
class LacksParts(Protocol):
    """A store whose rows lie in parts, of which some may not answer."""

    away: Away

    def without(self, missing: frozenset[int]) -> SearchedStore:
        """The other parts, as searches see them.

        Args:
            missing: the numbers, from 0 on, of those that are left out.

        Raises:
            PartUnavailable: no other part is left.
        """
        ...


@runtime_checkable
class IndexesWords(Protocol):
    """A store whose keyword index has a format."""

    def has_other_words(self, spec: TableSpec) -> bool:
        """The live keyword index is of another format or language than a sync would make."""
        ...


@runtime_checkable
class TakesMany(Protocol):
    """A generation that does better with more rows in one write than others."""

    rows_at_once: int
    """The most that it is given."""


@runtime_checkable
class ComparesMany(Protocol):
    """A generation that compares its rows with many vectors in one reading."""

    def compared(self, vectors: Vectors, limit: int, progress: Progress | None = None) -> list[Ranked]:
        """The same as an exact search by each of the vectors.

        Args:
            vectors: shape (queries, dimension).
        """
        ...
