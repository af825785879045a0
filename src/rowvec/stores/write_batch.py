"""What one transaction of a store does."""

from __future__ import annotations

from dataclasses import dataclass, field

from rowvec.stores.guarding import Guarding
from rowvec.types import Document, Entry, Failure, Key


@dataclass(slots=True)
class WriteBatch:
    """What one transaction of a store does, all of it or nothing."""

    entries: list[Entry] = field(default_factory=list)
    updates: list[Document] = field(default_factory=list)
    deletes: list[Key] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    recovered: list[Key] = field(default_factory=list)
    """Rows that failed before and are as they should be again, without a new vector."""
    positions: dict[Key, str] = field(default_factory=dict)
    """Where in the database's log the change of a row stands that its vector, or its absence, follows from."""
    offsets: dict[str, str] = field(default_factory=dict)
    """How far each stream of change events has been carried out, this batch included."""
    guard: Guarding | None = None
    """None where nobody guards: the deletions are carried out and not counted."""

    def __len__(self) -> int:
        """Nothing but what is to be done: 0 for a batch that would change nothing."""
        return sum(len(getattr(self, name)) for name in self.__dataclass_fields__ if name != "guard")
