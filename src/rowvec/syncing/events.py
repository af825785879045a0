"""Following a stream of change events: the vectors of the rows that change, and how far it came, in one transaction.

Events come in batches; of each row only the newest event of a batch is carried out. What it makes of the row is
planned against the ledger as in a full sync, so that a text which did not change costs nothing. With a row's vector
the position of its event in the database's log is kept (`rowvec.sources.events.position`), for deleted rows too: an
event that comes again, or late, is told from a new one, whatever way it comes. The offsets of the streams are written
in the transaction that completes their batch. So a replay changes nothing, and after a kill at most the texts that were
being embedded are embedded again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rowvec.documents.text import settings_and_rendering
from rowvec.embedders.base import AbsentEmbedder
from rowvec.errors import SourceError, SourceUnavailable, StoreError
from rowvec.pipeline import Pipeline
from rowvec.sources.base import Selection
from rowvec.sources.events.compaction import compacted
from rowvec.sources.events.envelope import Effect, Event
from rowvec.sources.events.position import Position, is_older
from rowvec.sources.events.stream import EventBatch, EventStream, untold_value
from rowvec.stores.base import GenerationHandle, TableSpec
from rowvec.stores.guarding import Standing
from rowvec.stores.ledger import Ledger
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.clocks import Clock
from rowvec.support.figures import count
from rowvec.support.retry import PATIENCE, patiently
from rowvec.syncing.deletion import KEYS_AT_ONCE, Guard
from rowvec.syncing.engine import Engine
from rowvec.syncing.pages import new_failure, planned
from rowvec.syncing.plan import Circumstances
from rowvec.syncing.refusals import Tries
from rowvec.syncing.report import Running
from rowvec.types import Failure, Key, Kind, Reason, Row, Stored

BATCH_EVENTS = 1000
GUARD_SECONDS = 3600.0
"""Whoever follows for long counts the rows so often, so that the guard protects what came in meanwhile."""


def check_same_recipe(pipeline: Pipeline, ledger: Ledger) -> None:
    """Raises StoreError where the vectors are of another model or text recipe, which events alone cannot put right.

    Other rendering rules do not count: they change few texts, which come with the next event of their row.
    """
    spec = pipeline.spec
    if not ledger.filled or _made_of(ledger) == _made_of(spec):
        return
    raise StoreError(
        f"The vectors in {pipeline.store.location} were made by another model or from other text settings; events tell"
        " only of rows that change from now on.",
        hint="Compare with the table once (rowvec sync --full), or read all events again (rowvec sync --from-start).",
    )


def _made_of(vectors: Ledger | TableSpec) -> tuple[object, ...]:
    return vectors.fingerprint, settings_and_rendering(vectors.recipe)[0]


class Following:
    """The events of a stream, batch after batch.

    Args:
        at: of the moment and what has changed; the moment is taken again for each batch.
        allow_delete: carry out a TRUNCATE, and delete more than half of the rows.

    Attributes:
        gone: maximum number of rows that are gone, as the events say.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        generation: GenerationHandle,
        events: EventStream,
        at: Circumstances,
        running: Running,
        *,
        allow_delete: bool,
    ) -> None:
        self.pipeline = pipeline
        self.generation = generation
        self.events = events
        self.at = at
        self.running = running
        self.report, self.stop = running.report, running.stop
        self.allow_delete = allow_delete
        self.tries = Tries(clock=Clock(at.now))
        self.guard = self._new_guard()
        self.guarded_at = -math.inf
        self.engine = Engine(pipeline, generation, running, running.report, amend=self._amend, tries=self.tries)
        self.writer = self.engine.writer
        self.doomed: list[Key] = []
        """Rows that the events of a batch delete."""
        self.positions: dict[Key, str] = {}
        """Of the events that are being carried out, and whose rows are not written yet."""
        self.gone = 0.0
        names = (*pipeline.text_columns, *(column.name for column in pipeline.spec.metadata))
        self.needed = frozenset(names) | events.filtered

    @property
    def accounted(self) -> float:
        """How many rows of the live generation a new one need not have, as far as the events tell."""
        return self.gone + self.report.empty + self.report.failed

    def carry_out(self, offsets: Mapping[str, str], *, follow: bool, size: int) -> None:
        """Carry out batch after batch; a stream that does not answer is asked again, from where it was left."""
        places = dict(offsets)
        heard_at = time.monotonic()
        with self.engine:
            while True:
                try:
                    for batch in self.events.batches(places, size, follow=follow, stop=self.stop):
                        if batch.read and not self._take(batch):
                            return
                        if not batch.read:
                            self.engine.tick()
                        places.update(batch.offsets)
                        heard_at = time.monotonic()
                    return
                except SourceUnavailable:
                    if self.stop.wait(1.0) or time.monotonic() - heard_at > PATIENCE:
                        raise

    def _new_guard(self, standing: Standing | None = None) -> Guard:
        return Guard(
            self.pipeline,
            self.generation,
            self.report,
            self.stop,
            standing=standing,
            allowed=self.allow_delete,
            told=True,
            tries=self.tries,
        )

    def _take(self, batch: EventBatch) -> bool:
        """Returns False where it was stopped before all of it was carried out."""
        self.at = replace(self.at, now=self.tries.clock.now())
        if time.monotonic() - self.guarded_at >= GUARD_SECONDS:
            self.guard = self._new_guard(patiently(self.stop, self.generation.standing))
            self.guarded_at = time.monotonic()
        self.report.read += batch.read
        for reason, times in batch.skipped.items():
            self.report.count(reason, times)
        pending: list[Event] = []
        for event in batch.events:
            if event.effect is Effect.TRUNCATE:
                if not self._carry_out(pending):
                    return False
                pending = []
                self._truncate(event)
            else:
                pending.append(event)
        complete = self._carry_out(pending, batch.offsets)
        if self.running.progress is not None:
            self.running.progress(self.report)
        return complete

    # What the events make of the rows

    def _carry_out(self, events: Sequence[Event], offsets: Mapping[str, str] | None = None) -> bool:
        """Embed what must be and write it all, `offsets` with the last of it; False where it was stopped before."""
        newest = self._newest(events)
        self.positions = {key: str(event.position) for key, event in newest.items() if event.position}
        self.doomed = []
        if newest:
            self._embed(newest)
        if self.engine.forgot:
            self.writer.commit()
            return False
        if self.doomed:
            # What is new is written even where the deletions are refused.
            self.writer.commit()
        # Of the rows that needed nothing, too.
        last = WriteBatch() if self.doomed else self.writer.batch
        last.positions.update(self.positions)
        last.offsets.update(offsets or {})
        self.positions = {}
        if self.doomed:
            self.guard.delete(self.doomed, last)
        self.writer.commit()
        self.engine.tick()
        return True

    def _embed(self, newest: Mapping[Key, Event]) -> None:
        stored = patiently(self.stop, self.generation.lookup, list(newest))
        rows: list[Row] = []
        gone: list[Key] = []
        failures: list[Failure] = []
        for key, row in self._rows(newest).items():
            try:
                if isinstance(row, SourceError):
                    raise row
                if row is None or not self.events.wanted(row):
                    gone.append(key)
                else:
                    rows.append(row)
            except SourceError as error:
                failures.append(new_failure(key, error, b"", stored.get(key), self.at.now))
        self._remove(gone, stored)
        page = planned(self.pipeline.documents, rows, stored, self.at)
        page.failures += failures
        embedder = self.pipeline.embedder
        if isinstance(embedder, AbsentEmbedder) and any(c.kind in (Kind.INSERT, Kind.EMBED) for c in page.changes):
            # Nobody would come back to these rows when their events are over.
            raise embedder.problem
        self.doomed += self.engine.take(page)
        self.engine.drain()

    def _amend(self, batch: WriteBatch) -> None:
        self.guard.open(batch)
        self._add_positions(batch)

    def _add_positions(self, batch: WriteBatch) -> None:
        """Those of the rows that a batch settles: what is written early is not carried out again."""
        settled = {entry.document.key for entry in batch.entries} | {failure.key for failure in batch.failures}
        settled |= {document.key for document in batch.updates} | {*batch.recovered}
        for key in settled & self.positions.keys():
            batch.positions[key] = self.positions.pop(key)

    def _newest(self, events: Sequence[Event]) -> dict[Key, Event]:
        """The last event of each row that is not older than what the store holds of it."""
        keys = list(dict.fromkeys(event.key for event in events))
        kept = patiently(self.stop, self.generation.positions, keys) if keys else {}
        newest, left_out = compacted(events, {key: Position.parse(text) for key, text in kept.items()})
        for reason, times in left_out.items():
            self.report.count(reason, times)
        return newest

    def _rows(self, newest: Mapping[Key, Event]) -> dict[Key, Row | SourceError | None]:
        """The row of each key; None where it is gone, an error where the events do not tell all of it."""
        rows: dict[Key, Row | SourceError | None] = {}
        partial: list[Key] = []
        for key, event in newest.items():
            untold = event.missing & self.needed
            if event.effect is Effect.REMOVE:
                rows[key] = None
            elif not untold:
                rows[key] = self.events.row(event)
            elif self.events.rows is not None:
                partial.append(key)
            else:
                rows[key] = untold_value(key, min(untold))
        if partial:
            rows.update(dict.fromkeys(partial))
            rows.update(patiently(self.stop, self._read_again, partial))
        return rows

    def _read_again(self, keys: Sequence[Key]) -> dict[Key, Row]:
        assert self.events.rows is not None
        self.report.count("read again from the table", len(keys))
        pages = self.events.rows.pages(len(keys), selection=Selection(keys=tuple(keys)))
        return {row.key: row for page in pages for row in page}

    def _remove(self, keys: Sequence[Key], stored: Mapping[Key, Stored]) -> None:
        self.gone += len(keys)
        if self.pipeline.keep_missing:
            return
        known = [key for key in keys if key in stored]
        self.doomed += known
        self.report.count(Reason.GONE, len(known))

    def _truncate(self, event: Event) -> None:
        """The table was emptied: every row goes whose change is not newer than that."""
        self.gone = math.inf
        if self.pipeline.keep_missing:
            return
        rows = patiently(self.stop, self.generation.count)
        if rows and not self.allow_delete:
            self.guard.refuse(
                f"The table was truncated; {count(rows, 'row')} in {self.pipeline.store.location} would be deleted.",
                "If that is right, run it again with --allow-delete.",
            )
        after: Key | None = None
        while keys := patiently(self.stop, self.generation.keys, after, KEYS_AT_ONCE):
            after = keys[-1]
            kept = patiently(self.stop, self.generation.positions, keys)
            gone = [key for key in keys if key not in kept or not is_older(event.position, Position.parse(kept[key]))]
            position = {} if event.position is None else dict.fromkeys(gone, str(event.position))
            self.guard.delete(gone, WriteBatch(positions=position))
            self.report.count("table truncated", len(gone))
