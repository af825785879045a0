"""What is written next, and when: one transaction of the store for many rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rowvec.errors import EmbedderError
from rowvec.stores.abilities import TakesMany
from rowvec.stores.base import GenerationHandle
from rowvec.stores.runs import Report
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.tracing import span
from rowvec.syncing.divided import Divided
from rowvec.syncing.pages import new_failure
from rowvec.syncing.refusals import RowWriter, Tries
from rowvec.types import Change, Document, Entry, Key, Kind, TextVector

COMMIT_SECONDS = 2.0
COMMIT_ROWS = 2000
"""Unless the store says that it takes more."""
COMMIT_BYTES = 16 * 2**20


class Writer:
    """
    Args:
        report: what becomes of rows is counted there.
        abort: set when nobody waits any more for a database that does not answer.
        amend: called with each batch before it is written.
        tries: of the run, which others that write in it share.

    Attributes:
        batch: what is written next; whoever knows more about it may add to it.
        vectors: those in it, by the hash of their text: until they are written, the ledger does not know them.
    """

    def __init__(
        self,
        generation: GenerationHandle,
        report: Report,
        abort: threading.Event,
        amend: Callable[[WriteBatch], None] | None,
        tries: Tries | None = None,
    ) -> None:
        self.batch = WriteBatch()
        self.vectors: dict[bytes, TextVector] = {}
        tries = tries or Tries()
        self._rows, self._clock = RowWriter(generation, abort, tries), tries.clock
        self._report, self._amend = report, amend
        self._counted: dict[Key, tuple[tuple[str, ...], Document]] = {}
        """Rows in the batch, and the fields of the report that each is counted in."""
        self._parts: dict[Key, Divided] = {}
        """Rows of which the batch has a part."""
        self._most = generation.rows_at_once if isinstance(generation, TakesMany) else COMMIT_ROWS
        self._bytes = 0
        """Texts and vectors in the batch: a store keeps the words of each row, so the text goes along."""
        self._committed_at = time.monotonic()

    def update(self, change: Change) -> None:
        self.batch.updates.append(change.document)
        self._bytes += len(change.document.text)
        self._count(change.document, ("updated",))

    def add(self, change: Change, vector: TextVector, *, reused: bool) -> None:
        document = change.document
        expected = change.before.text_hash if change.before is not None else None
        self.batch.entries.append(Entry(document, vector.vector, expected, vector.truncated))
        self.vectors[document.text_hash] = vector
        self._bytes += len(document.text) + vector.vector.nbytes
        kind = "inserted" if change.kind is Kind.INSERT else "embedded"
        if reused or vector.truncated:
            self._count(document, (kind, *["reused"] * reused, *["truncated"] * vector.truncated))
        else:
            self._count(document, (kind,))

    def add_row(self, row: Divided) -> None:
        """A row of which every passage has its vector or was refused."""
        change, report, entry, problem = row.change, self._report, row.entry(), row.problem
        if entry is None:
            assert problem is not None
            self.fail(change, problem)
            return
        self._append(entry)
        self.vectors.update({passage.text_hash: TextVector(passage.vector) for passage in entry.passages})
        report.divided += 1
        report.passages += len(entry.passages)
        truncated = ("truncated",) * entry.truncated
        if problem is not None:
            # Behind the entry: what is written of the row does away with the failure that it had before.
            self._fail(change, problem)
            self._count(entry.document, ("failed", *truncated))
            return
        reused = ("reused",) * (row.reused == len(row.pieces))
        kind = "inserted" if change.kind is Kind.INSERT else "embedded"
        self._count(entry.document, (kind, *reused, *truncated))

    def add_part(self, row: Divided) -> None:
        """What is there of a row: it was paid for. The row is counted when it is whole."""
        entry = None if row.unfit else row.entry()
        if entry is not None:
            self._append(entry)
            self._parts[entry.document.key] = row

    def _append(self, entry: Entry) -> None:
        self.batch.entries.append(entry)
        vectors = [entry.vector, *(passage.vector for passage in entry.passages)]
        self._bytes += len(entry.document.text) + sum(vector.nbytes for vector in vectors)

    def fail(self, change: Change, error: EmbedderError) -> None:
        self._fail(change, error)
        self._report.failed += 1

    def _fail(self, change: Change, error: EmbedderError) -> None:
        document, now = change.document, self._clock.now()
        self.batch.failures.append(new_failure(document.key, error, document.text_hash, change.before, now))

    def commit(self) -> None:
        self._committed_at = time.monotonic()
        if not len(self.batch):
            return
        batch, self.batch, self._bytes = self.batch, WriteBatch(), 0
        if self._amend is not None:
            self._amend(batch)
        counted, self._counted = self._counted, {}
        parts, self._parts = self._parts, {}
        with span("rowvec.write", {"rowvec.rows": len(batch)}):
            written = self._rows.write(batch)
        report = self._report
        report.conflicts += written.conflicts
        report.unfit += written.unfit
        for key, place in written.refused.items():
            # What was counted when it was decided did not come about.
            if place in ("entries", "updates"):
                if key in parts:
                    parts[key].refused()
                    continue  # It is counted when the row is whole.
                names, document = counted[key]
                for name in names:
                    setattr(report, name, getattr(report, name) - 1)
                report.unfit -= len(document.unfit)
            report.failed += place != "failures"
        self.vectors.clear()

    def _count(self, document: Document, names: tuple[str, ...]) -> None:
        self._counted[document.key] = names, document
        for name in names:
            setattr(self._report, name, getattr(self._report, name) + 1)
        self._report.unfit += len(document.unfit)

    def commit_when_due(self) -> None:
        full = len(self.batch) >= self._most or self._bytes >= COMMIT_BYTES
        if full or time.monotonic() - self._committed_at >= COMMIT_SECONDS:
            self.commit()
