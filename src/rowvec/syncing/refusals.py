"""Writing so that a row which the store refuses costs itself and nothing else.

      a batch ──▶ written
         │
         │ DataRefused: the store refuses it for a value in it
         ▼
      halved, each half a transaction of its own, until a row stands alone
         │
         ▼ a row alone
      without its metadata? ── yes ──▶ written with null where a value does not fit, which is listed
         │ no
         ▼
      a failure, with the store's reason

An error of another kind, such as a full disk, a lost connection or a lock, is not of a row: it ends the run, or is
waited for. A batch of n rows with b bad ones among them takes up to 2 b log2(2 n / b) transactions. A store that has
refused HOPELESS rows one after the other, and has taken none in this run, ends the run with what it says.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from rowvec.errors import DataRefused
from rowvec.stores.base import GenerationHandle
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.clocks import Clock
from rowvec.support.retry import patiently
from rowvec.syncing.pages import new_failure
from rowvec.types import Document, Entry, Key, Unfit

HOPELESS = 1000
ONE_BY_ONE = 50
"""Columns of metadata that are tried one after the other; a row that has more keeps none where it is refused."""
ROWS = ("entries", "updates", "deletes", "failures", "recovered")
"""The fields of a batch that are about one row each."""


@dataclass(slots=True)
class Written:
    conflicts: int = 0
    refused: dict[Key, str] = field(default_factory=dict)
    """Rows that could not be stored, changed or deleted, by the field of the batch that they were in; they are on
    record as failures."""
    unfit: int = 0
    """Metadata values that the store did not take."""


@dataclass(slots=True)
class Tries:
    """What the store has taken and refused in one run, whoever of it writes."""

    taken: bool = False
    refused: int = 0
    """Rows one after the other."""
    clock: Clock = field(default_factory=Clock)
    """Of the store, which says when a row that failed is due again."""

    def passed(self) -> None:
        self.taken, self.refused = True, 0


class RowWriter:
    """Writes batches into one generation, for one run.

    Args:
        abort: set when nobody waits any more for a store that does not answer.
        tries: of the whole run, where others write in it too.
    """

    def __init__(self, generation: GenerationHandle, abort: threading.Event, tries: Tries | None = None) -> None:
        self._generation, self._abort, self._tries = generation, abort, tries or Tries()

    def write(self, batch: WriteBatch) -> Written:
        """
        Raises:
            DataRefused: the store refuses every row.
            StoreError: what is wrong is not a row.
        """
        written = Written()
        self._write(batch, written)
        return written

    def _write(self, batch: WriteBatch, written: Written) -> None:
        try:
            written.conflicts += self._attempt(batch)
        except DataRefused as error:
            halves = list(_halves(batch))
            if not halves:
                self._alone(batch, error, written)
            for half in halves:
                self._write(half, written)
        else:
            self._tries.passed()

    def _attempt(self, batch: WriteBatch) -> int:
        return patiently(self._abort, self._generation.write, batch)

    def _alone(self, batch: WriteBatch, error: DataRefused, written: Written) -> None:
        """One row, or nothing but how far change events have come, which has to be kept."""
        name, item = next(_rows(batch), ("", None))
        if item is None:
            raise error
        self._tries.refused += 1
        if self._tries.refused >= HOPELESS and not self._tries.taken:
            raise error
        key = _key(item)
        if isinstance(item, Entry | Document) and self._without_metadata(batch, name, item, error, written):
            return
        written.refused[key] = name
        if isinstance(item, Entry) and item.partial:
            return  # What becomes of the whole row is decided, and put on record, later.
        stored = self._generation.lookup([key])
        text_hash = item.document.text_hash if isinstance(item, Entry) else getattr(item, "text_hash", b"")
        failure = new_failure(key, error, text_hash, stored.get(key), self._tries.clock.now())
        for listed in (WriteBatch(failures=[failure], positions=batch.positions), WriteBatch(failures=[failure])):
            try:
                self._attempt(listed)
            except DataRefused:
                # A key that a position cannot have: the change comes again, and is refused again.
                continue
            return

    def _without_metadata(
        self, batch: WriteBatch, name: str, item: Entry | Document, error: DataRefused, written: Written
    ) -> bool:
        """Write a row with as much of its metadata as the store takes; False where that is not what it refuses."""
        document = item.document if isinstance(item, Entry) else item
        columns = self._generation.spec.metadata
        places = [place for place, value in enumerate(document.metadata) if value is not None]
        if not places or len(columns) != len(document.metadata):
            return False
        nothing = document._replace(metadata=(None,) * len(document.metadata))
        try:
            conflicts = self._attempt(_with(batch, name, item, nothing))
        except DataRefused:
            return False
        kept, unfit = nothing, list(document.unfit)
        if len(places) > ONE_BY_ONE:
            unfit += [Unfit(columns[place].name, error.message) for place in places]
            places = []
        for place in places:
            values = list(kept.metadata)
            values[place] = document.metadata[place]
            fuller = kept._replace(metadata=tuple(values))
            try:
                # What was just written holds the new hash already, so that this is not a conflict.
                self._attempt(_with(batch, name, item, fuller))
            except DataRefused as refused:
                unfit.append(Unfit(columns[place].name, refused.message))
            else:
                kept = fuller
        written.unfit += len(unfit) - len(document.unfit)
        self._attempt(_with(batch, name, item, kept._replace(unfit=tuple(unfit))))
        written.conflicts += conflicts
        self._tries.passed()
        return True


def _with(batch: WriteBatch, name: str, item: Entry | Document, document: Document) -> WriteBatch:
    changed: dict[str, Any] = {name: [item._replace(document=document) if isinstance(item, Entry) else document]}
    return replace(batch, **changed)


def _rows(batch: WriteBatch) -> Iterator[tuple[str, Any]]:
    for name in ROWS:
        for item in getattr(batch, name):
            yield name, item


def _key(item: Any) -> Key:
    if isinstance(item, Entry):
        return item.document.key
    found: Key = getattr(item, "key", item)
    return found


def _halves(batch: WriteBatch) -> Iterator[WriteBatch]:
    """The first half of the rows, then the other; in the end, how far change events have come. Nothing for one row."""
    rows = list(_rows(batch))
    named = {_key(item) for _, item in rows}
    settled = {key: position for key, position in batch.positions.items() if key not in named}
    rest = WriteBatch(positions=settled, offsets=batch.offsets)
    if len(rows) + bool(len(rest)) < 2:
        # Positions of rows that need nothing else, one by one.
        if not rows and len(settled) + bool(batch.offsets) > 1:
            yield from (WriteBatch(positions={key: position}) for key, position in settled.items())
            yield WriteBatch(offsets=batch.offsets)
        return
    middle = max(1, len(rows) // 2)
    for part in (rows[:middle], rows[middle:]):
        half = WriteBatch(guard=batch.guard)
        for name, item in part:
            getattr(half, name).append(item)
            key = _key(item)
            if key in batch.positions:
                half.positions[key] = batch.positions[key]
        if part:
            yield half
    if len(rest):
        yield rest
