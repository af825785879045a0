"""Deleting the vectors of rows that are gone or have lost their text, unless those are too many to be believed.

One guard decides, whoever deletes. Without `--allow-delete`

- a run deletes at most half of the rows that the ledger held before it, and
- of the rows of an earlier moment at most half are deleted in all, by however many runs (`guarding.GUARDED_FOR`).

The second is decided by the store, in the transaction that deletes: other workers of a fleet delete too.

A refusal is remembered. Until it is allowed, or until all rows were compared and no more than that would go, whoever
compares a part of the rows, such as a range of a fleet, deletes nothing. Change events name the rows that go: of these
the store alone decides.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rowvec.errors import DeletionGuard
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Selection
from rowvec.stores.base import GenerationHandle
from rowvec.stores.guarding import HINT, Guarding, Refusal, Standing
from rowvec.stores.runs import OnReport, Report
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.figures import count
from rowvec.support.keys import key_bytes
from rowvec.support.retry import patiently
from rowvec.support.stretches import stretches
from rowvec.syncing import cursor
from rowvec.syncing.pages import missing_keys
from rowvec.syncing.refusals import RowWriter, Tries
from rowvec.types import Key, Reason

KEYS_AT_ONCE = 5000
BYTES_AT_ONCE = 2**20
"""Of keys in one batch of deletions."""
MOST_KEYS = 200_000
"""Number of keys of rows that are gone which are held in memory until it is known that they are not too many."""


def too_many(gone: int, present: int) -> bool:
    """More than half of what is there, which is never deleted unasked."""
    return gone > present / 2


def check_share(pipeline: Pipeline, missing: int, present: int, emptied: int = 0) -> None:
    """
    Args:
        missing: the number of the `present` entries of the ledger that are not in the source.
        emptied: the number of others that are in the source and whose text is empty now.

    Raises:
        DeletionGuard: that is more than half of them.
    """
    if too_many(missing + emptied, present):
        raise DeletionGuard(f"{_share(pipeline, missing, present, emptied)} Nothing was deleted.", hint=HINT)


def _share(pipeline: Pipeline, missing: int, present: int, emptied: int) -> str:
    of_all = f" of the {count(present, 'row')} in {pipeline.store.location}"
    said = [f"{missing:,}{of_all} {'is' if missing == 1 else 'are'} gone from the source"] if missing else []
    if emptied:
        said.append(f"{emptied:,}{'' if missing else of_all} {'has' if emptied == 1 else 'have'} no text any more")
    return f"{' and '.join(said)}: more than half."


def knows_share(options: Options) -> bool:
    """All rows are looked at, or those that the user named, or all that changed: it is known what share goes."""
    return options.whole or options.names_rows or options.changed is not None


def missing(pipeline: Pipeline, reading: cursor.Reading, absent: int, entries: int, stop: threading.Event) -> int:
    """How many entries of the ledger are of rows that are gone from the source, where the user named no rows.

    Args:
        absent: entries that the rows compared did not meet.
        entries: in the ledger, when what was read is written.
    """
    if reading.incremental:
        return cursor.vanished(pipeline, reading, entries, stop)
    return max(0, absent)


class Guard:
    """Deletes for one run over one generation, or refuses to.

    Args:
        report: what is deleted is counted there.
        standing: the ledger before the run; None where it was not counted.
        whole: all rows are compared, so that a refusal which stands may turn out to be resolved.
        told: change events tell of the rows that go, which may be those that the run itself has written: what stood
            there before is guarded by the store alone.
        tries: what the store has refused in this run, whoever writes.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        generation: GenerationHandle,
        report: Report,
        stop: threading.Event,
        *,
        standing: Standing | None,
        allowed: bool,
        whole: bool = False,
        told: bool = False,
        tries: Tries | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.allowed = allowed
        self.rows = standing.rows if standing is not None else None
        self.report = report
        self._generation, self._stop, self._whole = generation, stop, whole
        self._told = told
        self._standing = standing
        self.deleted = 0
        """By this guard."""
        self._opened = False
        self._writer = RowWriter(generation, stop, tries)

    @property
    def refusal(self) -> Refusal | None:
        if self._standing is None:
            return patiently(self._stop, self._generation.refusal)
        return self._standing.refusal

    def open(self, batch: WriteBatch) -> None:
        """The first batch of a run has the store keep what stood there before it."""
        if not self._opened:
            self._opened = True
            if self.rows is not None or not self.allowed:
                batch.guard = Guarding(self.rows)

    def delete(self, keys: Sequence[Key], last: WriteBatch | None = None) -> None:
        """Delete, as many at once as every server takes.

        Args:
            last: what is written together with the last of them.

        Raises:
            DeletionGuard: they are too many; what is deleted by then is half of the rows at most.
        """
        if not keys:
            return
        self.check(len(keys))
        for part in _parts(keys):
            ends = part.stop >= len(keys)
            batch = last if ends and last is not None else WriteBatch()
            batch.deletes = list(keys[part])
            batch.guard = Guarding(self.rows, allowed=self.allowed, told=self._told)
            self._opened = True
            try:
                # Those that the store refuses to delete are on record as failures.
                refused = len(self._writer.write(batch).refused)
            except DeletionGuard as error:
                self.refuse(error.message)
            deleted = len(batch.deletes) - refused
            self.deleted += deleted
            self.report.deleted += deleted
            self.report.failed += refused

    def check(self, missing: int, emptied: int = 0, present: int | None = None) -> None:
        """
        Args:
            present: the rows of which these go; without it, the rows before the run.

        Raises:
            DeletionGuard: they are more than half, with what was deleted before, or a refusal stands.
        """
        if self.allowed or not missing + emptied:
            return
        if not (self._whole or self._told) and self.refusal is not None:
            self.refuse("")
        present = self.rows if present is None else present
        if present is not None and not self._told and too_many(self.deleted + missing + emptied, present):
            self.refuse(_share(self.pipeline, missing, present, emptied))

    def refuse(self, said: str, hint: str = HINT) -> None:
        """Remember it, so that every later run refuses too.

        Raises:
            DeletionGuard: with the words of the first refusal, where one stands.
        """
        before = self.refusal
        words = f"{said} {f'{self.deleted:,} others were' if self.deleted else 'Nothing was'} deleted."
        if before is None:
            note = Guarding(self.rows, refused=words)
            patiently(self._stop, self._generation.write, WriteBatch(guard=note))
        raise DeletionGuard(words if before is None else before.words, hint=hint)

    def gone(self, selection: Selection | None, emptied: int, progress: OnReport | None = None) -> list[Key]:
        """Ask the source for every key of the ledger, or of a selection; returns those that are gone, to be deleted.

        Where they are more than fit into memory, the first of them are deleted meanwhile.

        Raises:
            DeletionGuard: they are too many; nothing was deleted then.
        """
        held: list[Key] = []
        number, over = 0, False
        for keys in missing_keys(self.pipeline, self._generation, self._stop, selection):
            number += len(keys)
            over = over or (
                not self.allowed and self.rows is not None and too_many(self.deleted + number + emptied, self.rows)
            )
            if over:
                held.clear()
                continue
            held += keys
            if len(held) >= MOST_KEYS:
                self.delete_gone(held, progress)
                number, held = number - len(held), []
        if over:
            self.check(number, emptied)
        return held

    def delete_gone(self, keys: Sequence[Key], progress: OnReport | None = None) -> None:
        """Each part is asked of the source again before it is deleted, where that is some time ago."""
        self.check(len(keys))
        for part in _parts(keys):
            some = keys[part]
            if len(some) < len(keys):
                existing = patiently(self._stop, self.pipeline.source.existing, some)
                some = [key for key in some if key not in existing]
            self.delete(some)
            self.report.count(Reason.GONE, len(some))
            if progress is not None:
                progress(self.report)

    def sweep(self) -> None:
        """Look for every key of the ledger in the source, and delete those that are gone; all rows were compared."""
        if not self.pipeline.keep_missing:
            self.delete_gone(self.gone(None, 0))
        self.settle()

    def settle(self) -> None:
        """All rows were compared, and what is gone is deleted: a refusal that stood is resolved, and a ledger that was
        empty when it began is filled."""
        standing = self._standing
        if standing is None:
            return
        filled = standing.filling or (not standing.rows and self._opened)
        if filled or standing.refusal is not None:
            note = Guarding(self.rows, resolved=True, filled=filled)
            patiently(self._stop, self._generation.write, WriteBatch(guard=note))
            self._standing = standing._replace(refusal=None, filling=False)


def _parts(keys: Sequence[Key]) -> list[slice]:
    return list(stretches(map(key_bytes, keys), KEYS_AT_ONCE, BYTES_AT_ONCE))
