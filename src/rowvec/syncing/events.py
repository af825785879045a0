"""Following a stream of change events: the vectors of the rows that change, and how far it came, in one transaction.

Events come in batches; of each row only the newest event of a batch is carried out. What it makes of the row is
planned against the ledger as in a full sync, so that a text which did not change costs nothing. With a row's vector
the position of its event in the database's log is kept (`rowvec.sources.events.position`), for deleted rows too: an
event that comes again, or late, is told from a new one, whatever way it comes. The offsets of the streams are written
in the transaction that completes their batch. So a replay changes nothing, and after a kill at most the texts that were
being embedded are embedded again.
"""

from __future__ import annotations

import datetime as dt
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from rowvec.errors import DeletionGuard, EmbedderError, SourceError, SourceUnavailable, StoreError
from rowvec.generations.lifecycle import Tell, complete, course, say_nothing
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Selection
from rowvec.sources.events.compaction import compacted
from rowvec.sources.events.envelope import Effect, Event
from rowvec.sources.events.position import Position, is_older
from rowvec.sources.events.stream import EventBatch, EventStream, untold_value
from rowvec.stores.base import Ledger
from rowvec.support import logs
from rowvec.support.killpoints import Step, reached
from rowvec.support.retry import PATIENCE, patiently
from rowvec.syncing.batches import Answer, embed_batch, of_like_length
from rowvec.syncing.pages import circumstances, new_failure
from rowvec.syncing.plan import Circumstances, plan
from rowvec.syncing.report import Bill, save_failed
from rowvec.syncing.rows import COMMIT_SECONDS, Progress
from rowvec.types import Change, Document, Entry, Key, Kind, Report, Row, Stored, TextVector, WriteBatch

BATCH_EVENTS = 1000
RECORD_SECONDS = 10.0
"""The record of a run that goes on and on is brought up to date so often."""
_KEYS_AT_ONCE = 5000

Chunk = list[list[Change]]
"""Texts for one call of the embedder: for each, the changes that share it."""


def events_of(pipeline: Pipeline, options: Options) -> EventStream | None:
    """The change events that a sync with these options carries out; None where it compares rows."""
    source = pipeline.source
    compares = options.force or options.full or not options.whole
    return source if isinstance(source, EventStream) and not compares else None


def sync_events(
    pipeline: Pipeline,
    events: EventStream,
    *,
    follow: bool = False,
    from_start: bool = False,
    allow_delete: bool = False,
    accept: bool = False,
    batch_events: int = BATCH_EVENTS,
    progress: Progress | None = None,
    tell: Tell = say_nothing,
    stop: threading.Event | None = None,
) -> Report:
    """Carry out the change events that are not carried out yet.

    Args:
        follow: wait for more until `stop` is set, instead of ending with the last one there is.
        from_start: read every stream from its beginning; what is known already is recognised.
        allow_delete: carry out a TRUNCATE.
        accept: a new generation goes live although it is worse, lacks rows or was rolled back.
        progress: called in this thread after every batch with the counts so far.
        tell: called with what the user should know of generations, in whole sentences.

    Returns:
        The counts. `reasons` also holds the events that were left out, each with the reason.

    Raises:
        Locked: another sync of this pipeline is at work.
        DeletionGuard: the table was truncated.
        StoreError: the vectors are of another model or text recipe, which events alone cannot mend.
        GenerationHeld: the events that are left do not tell of all the rows that the live generation has.
        SourceError, EmbedderError: what ended the run; everything carried out before is kept.
    """
    stop = stop or threading.Event()
    store = pipeline.store
    with store.lock():
        # Not before: to prepare can mean to drop what another sync is filling.
        chosen = course(pipeline, accept=accept)
        if chosen.note:
            tell(chosen.note)
        # After a rollback the live generation is followed, whatever model the config names.
        pipeline, before = chosen.pipeline, chosen.ledger
        _check_same_recipe(pipeline, before, rebuild=from_start and not follow)
        store.prepare(pipeline.spec)
        work = _Following(pipeline, events, circumstances(pipeline, before, Options()), allow_delete, progress, stop)
        work.run = store.begin_run()
        logs.note(run=work.run)
        try:
            work.carry_out({} if from_start else patiently(stop, store.offsets), follow, batch_events)
        except BaseException as error:
            save_failed(store, work.run, work.report, error)
            raise
        if from_start and not stop.is_set():
            complete(chosen, accept=accept, tell=tell, accounted=work.gone + work.report.empty + work.report.failed)
        store.save_run(work.run, work.report, "interrupted" if stop.is_set() and not follow else "done")
    return work.report


def _check_same_recipe(pipeline: Pipeline, ledger: Ledger, *, rebuild: bool) -> None:
    spec = pipeline.spec
    if rebuild or not ledger.filled or (ledger.recipe, ledger.fingerprint) == (spec.recipe, spec.fingerprint):
        return
    raise StoreError(
        f"The vectors in {pipeline.store.location} were made by another model or from other text settings; events tell"
        " only of rows that change from now on.",
        hint="Compare with the table once (rowvec sync --full), or read all events again (rowvec sync --from-start).",
    )


class _Following:
    def __init__(
        self,
        pipeline: Pipeline,
        events: EventStream,
        at: Circumstances,
        allow_delete: bool,
        progress: Progress | None,
        stop: threading.Event,
    ) -> None:
        self.pipeline = pipeline
        self.store = pipeline.store
        self.events = events
        self.at = at
        self.allow_delete = allow_delete
        self.progress = progress
        self.stop = stop
        self.report = Report()
        self.bill = Bill(pipeline.embedder, self.report)
        self.run = 0
        self.gone = 0.0
        """So many rows at most are gone, as the events say."""
        self.recorded_at = self.committed_at = time.monotonic()
        names = (*pipeline.text_columns, *(column.name for column in pipeline.spec.metadata))
        self.needed = frozenset(names) | events.filtered

    def carry_out(self, offsets: Mapping[str, str], follow: bool, size: int) -> None:
        """Carry out batch after batch; a stream that does not answer is asked again, from where it was left."""
        places = dict(offsets)
        heard_at = time.monotonic()
        while True:
            try:
                for batch in self.events.batches(places, size, follow=follow, stop=self.stop):
                    if batch.read:
                        self._take(batch)
                    places.update(batch.offsets)
                    heard_at = time.monotonic()
                return
            except SourceUnavailable:
                if self.stop.wait(1.0) or time.monotonic() - heard_at > PATIENCE:
                    raise

    def _take(self, batch: EventBatch) -> None:
        self.at = Circumstances(dt.datetime.now(dt.UTC), model_changed=self.at.model_changed)
        self.report.read += batch.read
        for reason, times in batch.skipped.items():
            self._count(reason, times)
        pending: list[Event] = []
        for event in batch.events:
            if event.effect is Effect.TRUNCATE:
                self._write(self._carry_out(pending))
                pending = []
                self._truncate(event)
            else:
                pending.append(event)
        last = self._carry_out(pending)
        last.offsets = dict(batch.offsets)
        self._write(last)
        if self.progress is not None:
            self.progress(self.report)
        if time.monotonic() - self.recorded_at > RECORD_SECONDS:
            self.recorded_at = time.monotonic()
            patiently(self.stop, self.store.save_run, self.run, self.report, "running")

    def _count(self, reason: str, times: int = 1) -> None:
        if times:
            self.report.reasons[reason] = self.report.reasons.get(reason, 0) + times

    # What the events make of the rows

    def _carry_out(self, events: Sequence[Event]) -> WriteBatch:
        """Embed what must be; what is returned is not written yet."""
        newest = self._newest(events)
        batch = WriteBatch(positions={key: str(event.position) for key, event in newest.items() if event.position})
        if not newest:
            return batch
        stored = patiently(self.stop, self.store.lookup, list(newest))
        documents: list[Document] = []
        gone: list[Key] = []
        for key, row in self._rows(newest).items():
            try:
                if isinstance(row, SourceError):
                    raise row
                if row is None or not self.events.wanted(row):
                    gone.append(key)
                else:
                    documents.append(self.pipeline.to_document(row))
            except SourceError as error:
                batch.failures.append(new_failure(key, error, b"", stored.get(key), self.at.now))
                self.report.failed += 1
        self._remove(gone, stored, batch)
        wanted = [change for change in plan(documents, stored, self.at) if self._sort_out(change, batch)]
        return self._embed(wanted, batch)

    def _newest(self, events: Sequence[Event]) -> dict[Key, Event]:
        """The last event of each row that is not older than what the store holds of it."""
        keys = list(dict.fromkeys(event.key for event in events))
        kept = patiently(self.stop, self.store.positions, keys) if keys else {}
        newest, left_out = compacted(events, {key: Position.parse(text) for key, text in kept.items()})
        for reason, times in left_out.items():
            self._count(reason, times)
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
        self._count("read again from the table", len(keys))
        pages = self.events.rows.pages(len(keys), selection=Selection(keys=tuple(keys)))
        return {row.key: row for page in pages for row in page}

    def _remove(self, keys: Sequence[Key], stored: Mapping[Key, Stored], batch: WriteBatch) -> None:
        self.gone += len(keys)
        if self.pipeline.keep_missing:
            return
        batch.deletes += [key for key in keys if key in stored]
        self.report.deleted += len(batch.deletes)
        self._count("gone from the source", len(batch.deletes))

    def _sort_out(self, change: Change, batch: WriteBatch) -> bool:
        """Count a change and deal with it, unless it needs a vector: then say so."""
        report, kind, key = self.report, change.kind, change.document.key
        if kind is Kind.UNCHANGED:
            report.unchanged += 1
            if change.before is not None and change.before.failure is not None:
                batch.recovered.append(key)
            return False
        self._count(change.reason)
        if kind is Kind.UPDATE:
            batch.updates.append(change.document)
            report.updated += 1
        elif kind is Kind.DELETE:
            batch.deletes.append(key)
            report.deleted += 1
        elif kind is Kind.FAILED:
            report.waiting += 1
        report.empty += kind in (Kind.DELETE, Kind.EMPTY)
        return kind in (Kind.INSERT, Kind.EMBED)

    def _truncate(self, event: Event) -> None:
        """The table was emptied: every row goes whose change is not newer than that."""
        self.gone = math.inf
        if self.pipeline.keep_missing:
            return
        rows = patiently(self.stop, self.store.count)
        if rows and not self.allow_delete:
            raise DeletionGuard(
                f"The table was truncated; {rows:,} rows in {self.store.location} would be deleted."
                " Nothing was deleted.",
                hint="If that is right, run it again with --allow-delete.",
            )
        after: Key | None = None
        while keys := patiently(self.stop, self.store.keys, after, _KEYS_AT_ONCE):
            after = keys[-1]
            kept = patiently(self.stop, self.store.positions, keys)
            gone = [key for key in keys if key not in kept or not is_older(event.position, Position.parse(kept[key]))]
            positions = dict.fromkeys(gone, str(event.position)) if event.position is not None else {}
            self._write(WriteBatch(deletes=gone, positions=positions))
            self.report.deleted += len(gone)
            self._count("table truncated", len(gone))

    # Embedding and writing

    def _embed(self, changes: Sequence[Change], batch: WriteBatch) -> WriteBatch:
        """Add an entry or a failure for each change; what is embedded early is written early."""
        sharing: dict[bytes, list[Change]] = {}
        for change in changes:
            sharing.setdefault(change.document.text_hash, []).append(change)
        if not sharing:
            return batch
        known = patiently(self.stop, self.store.vectors_of_texts, list(sharing))
        for text_hash, vector in known.items():
            self._add_entries(sharing.pop(text_hash), vector, batch, reused=True)
        problem: BaseException | None = None
        embedder = self.pipeline.embedder
        waiting = of_like_length(embedder, sharing.values(), lambda same: same[0].document.text)
        for chunk, future in self._answers(waiting):
            try:
                self._take_answer(future.result(), chunk, batch)
                batch = self._written_when_due(batch)
            except BaseException as error:
                # What is on its way is paid for: it is waited for and kept.
                self.bill.settle()
                problem = problem or error
                waiting.clear()
        if problem is not None:
            self._write(_finished(batch))
            raise problem
        return batch

    def _answers(self, waiting: list[Chunk]) -> Iterator[tuple[Chunk, Future[Answer]]]:
        """Each chunk with its answer; one waits in line, so that no thread of the embedder ever does."""
        running: dict[Future[Answer], Chunk] = {}
        concurrency = self.pipeline.embedder.concurrency
        with ThreadPoolExecutor(concurrency, thread_name_prefix="rowvec-embed") as pool:
            while waiting or running:
                while waiting and len(running) <= concurrency:
                    chunk = waiting.pop()
                    running[pool.submit(self._embed_chunk, [same[0].document.text for same in chunk])] = chunk
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future

    def _embed_chunk(self, texts: list[str]) -> Answer:
        reached(Step.BEFORE_EMBED)
        answer = patiently(self.stop, embed_batch, self.pipeline.embedder, texts, Answer())
        reached(Step.AFTER_EMBED)
        return answer

    def _take_answer(self, answer: Answer, chunk: Chunk, batch: WriteBatch) -> None:
        report = self.report
        report.texts += len(chunk)
        report.tokens += answer.tokens
        report.cost += answer.cost
        self.bill.settle()
        report.cost_estimated |= answer.estimated
        for same, vector in zip(chunk, answer.vectors, strict=True):
            if isinstance(vector, EmbedderError):
                for change in same:
                    document, before = change.document, change.before
                    failure = new_failure(document.key, vector, document.text_hash, before, self.at.now)
                    batch.failures.append(failure)
                report.failed += len(same)
            else:
                self._add_entries(same, vector, batch)

    def _add_entries(
        self, changes: list[Change], vector: TextVector, batch: WriteBatch, *, reused: bool = False
    ) -> None:
        for index, change in enumerate(changes):
            expected = change.before.text_hash if change.before is not None else None
            batch.entries.append(Entry(change.document, vector.vector, expected, vector.truncated))
            self.report.reused += reused or index > 0
            self.report.truncated += vector.truncated
            if change.kind is Kind.INSERT:
                self.report.inserted += 1
            else:
                self.report.embedded += 1

    def _written_when_due(self, batch: WriteBatch) -> WriteBatch:
        due = self.pipeline.embedder.billed or time.monotonic() - self.committed_at >= COMMIT_SECONDS
        if not due:
            return batch
        finished = _finished(batch)
        self._write(finished)
        rest = {key: text for key, text in batch.positions.items() if key not in finished.positions}
        return WriteBatch(positions=rest)

    def _write(self, batch: WriteBatch) -> None:
        self.committed_at = time.monotonic()
        if len(batch):
            self.report.conflicts += patiently(self.stop, self.store.write, batch)


def _finished(batch: WriteBatch) -> WriteBatch:
    """The same batch without the positions of rows that it does not deal with yet."""
    settled = {entry.document.key for entry in batch.entries} | {failure.key for failure in batch.failures}
    settled |= {document.key for document in batch.updates} | {*batch.deletes, *batch.recovered}
    positions = {key: text for key, text in batch.positions.items() if key in settled}
    return WriteBatch(batch.entries, batch.updates, batch.deletes, batch.failures, batch.recovered, positions)
