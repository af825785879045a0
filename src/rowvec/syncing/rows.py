"""Carrying out a plan: read, embed and write, overlapped, with bounded memory.

One thread reads and plans pages, `embedder.concurrency` threads embed batches, and the calling thread
writes. Every decision is taken in the calling thread, from one queue of events, so there is no shared
state to guard. What has been embedded is committed every few seconds, or as it arrives where it cost
money; a process that is killed repeats at most that.
"""

from __future__ import annotations

import datetime as dt
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from random import Random

from rowvec.embedders.base import AbsentEmbedder
from rowvec.errors import EmbedderError, EmbedderUnavailable, StoreError
from rowvec.pipeline import Options, Pipeline
from rowvec.support.killpoints import Step, reached
from rowvec.support.retry import patiently
from rowvec.syncing import cursor
from rowvec.syncing.batches import Answer, embed_batch, of_like_length
from rowvec.syncing.deletion import check_share, delete_emptied, delete_missing
from rowvec.syncing.pages import Page, missing_keys, new_failure, planned_pages
from rowvec.syncing.plan import Circumstances
from rowvec.syncing.report import Bill, Record, add_cost
from rowvec.types import Change, Entry, Key, Kind, Report, TextVector, WriteBatch

COMMIT_SECONDS = 2.0
COMMIT_ROWS = 2000
STOP_SECONDS = 0.2
WINDOW_TEXTS = 2048
"""Texts that are sorted by length together, so that a batch holds texts of like length."""
WINDOW_BYTES = 16 * 2**20
DEAD_AFTER = 3
"""So many batches in a row without an answer mean that the service is down, not that the batches are bad."""

Progress = Callable[[Report], None]
Signal = Page | BaseException | tuple[list[Change], Future[Answer]]
"""What the calling thread hears of: a page, the end of reading by an error, an answered batch."""


class Pass:
    """Once over the chosen rows of a pipeline.

    Args:
        report: what is counted goes here.
        seconds: no page is read when so many have gone by; `ended` then says that rows are left.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        options: Options,
        at: Circumstances,
        run: Record,
        progress: Progress | None,
        stop: threading.Event,
        report: Report,
        seconds: float | None,
    ) -> None:
        self.pipeline = pipeline
        self.options = options
        self.at = at
        self.run = run
        self.report = report
        self.last = math.inf if seconds is None else time.monotonic() + seconds
        """No page is read after that."""
        self.ended = True
        self.progress = progress
        self.stop = stop
        self.abort = threading.Event()
        self.events: queue.Queue[Signal | None] = queue.Queue()
        self.room = threading.Semaphore(1)
        self.owed_room = 0
        self.window: list[Change] = []
        """Changes whose texts are not cut into batches yet."""
        self.window_bytes = 0
        self.chunks: list[list[Change]] = []
        self.dice = Random(0)
        self.waiting: dict[bytes, list[Change]] = {}
        """Changes by the hash of a text that is being embedded: the first of them was sent, the others share."""
        self.ready: dict[bytes, TextVector] = {}
        """Vectors embedded but not yet committed, for identical texts that come meanwhile."""
        self.batch = WriteBatch()
        self.batch_bytes = 0
        """Text in it: a store keeps the words of each row, so the text goes along until it is written."""
        self.committed_at = time.monotonic()
        self.in_flight = 0
        self.unanswered = 0
        self.matched = 0
        self.bill = Bill(pipeline.embedder, report)
        self.emptied: list[Key] = []
        """Rows in the ledger that have no text any more, until it is known that they are not too many."""

    def carry_out(self) -> None:
        reading = cursor.choose(self.pipeline, self.options, self.at, self.stop)
        self.options = reading.options
        self.report.comparison, self.report.incremental = reading.comparison, reading.incremental
        self.report.to_compare = reading.rows
        # Whoever follows a table names rows and lets them go: that must not take time by the size of the table.
        counts = self._guards and not (self.options.names_rows and self.options.allow_delete)
        present = patiently(self.stop, self.pipeline.store.count) if counts else 0
        with self._reader(), self._pool() as pool:
            try:
                self._loop(pool)
            except Exception as error:
                self.abort.set()
                self._finish_in_flight(error)
                raise
        if self.stop.is_set():
            return
        self._delete(present, reading)
        if self.ended and not self.stop.is_set():
            cursor.keep(self.pipeline, reading, self.stop, conflicts=self.report.conflicts)

    @contextmanager
    def _reader(self) -> Iterator[None]:
        def read() -> None:
            try:
                for page in planned_pages(self.pipeline, self.at, self.options, self.abort):
                    self.events.put(page)
                    while not self.room.acquire(timeout=0.1) and not self.abort.is_set():
                        pass
                    if time.monotonic() > self.last:
                        self.ended = False
                        break
                self.events.put(None)
            except BaseException as error:
                self.events.put(error)

        thread = threading.Thread(target=read, name="rowvec-reader", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.abort.set()
            thread.join()

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        pool = ThreadPoolExecutor(self.pipeline.embedder.concurrency, thread_name_prefix="rowvec-embed")
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _loop(self, pool: ThreadPoolExecutor) -> None:
        reading = True
        while reading or self.in_flight or self.window or self.chunks:
            self._submit(pool, flush=not reading)
            if not reading and not self.in_flight:
                continue
            event = self._next_event()
            if event is None:
                reading = False
            elif isinstance(event, BaseException):
                raise event
            elif isinstance(event, Page):
                self._take_page(event)
            else:
                self._take_answer(*event)
            self._commit_when_due()
            if self.progress is not None:
                self.progress(self.report)
        self._commit()

    def _next_event(self) -> Signal | None:
        """Wait for it; a wish to stop reaches the reading thread even where that waits for a database."""
        while True:
            if self.stop.is_set():
                self.abort.set()
            with suppress(queue.Empty):
                return self.events.get(timeout=STOP_SECONDS)

    # Pages

    def _take_page(self, page: Page) -> None:
        report = self.report
        report.read += len(page.rows)
        report.last_key = page.rows[-1].key
        report.unchanged += page.unchanged
        report.failed += len(page.failures)
        self.matched += page.known
        self.batch.recovered += page.recovered
        self.batch.failures += page.failures
        wanted = [change for change in page.changes if self._sort_out(change)]
        known = self.ready | self._stored_vectors(wanted)
        for change in wanted:
            text_hash = change.document.text_hash
            vector = known.get(text_hash)
            if vector is not None:
                self._add_entry(change, vector, reused=True)
            elif isinstance(self.pipeline.embedder, AbsentEmbedder):
                self.report.waiting += 1
            elif text_hash in self.waiting:
                self.waiting[text_hash].append(change)
            else:
                self.waiting[text_hash] = [change]
                self.window.append(change)
                self.window_bytes += len(change.document.text)
        self.owed_room += 1
        self._make_room()

    def _sort_out(self, change: Change) -> bool:
        """Count a change and deal with it, unless it needs a vector: then say so."""
        report = self.report
        kind = change.kind
        reasons = report.reasons
        reasons[change.reason] = reasons.get(change.reason, 0) + 1
        if kind is Kind.UPDATE:
            self.batch.updates.append(change.document)
            self.batch_bytes += len(change.document.text)
            report.updated += 1
        elif kind is Kind.DELETE:
            self.emptied.append(change.document.key)
        elif kind is Kind.FAILED:
            report.waiting += 1
        report.empty += kind in (Kind.DELETE, Kind.EMPTY)
        return kind in (Kind.INSERT, Kind.EMBED)

    def _stored_vectors(self, changes: list[Change]) -> dict[bytes, TextVector]:
        """Vectors of identical texts that are stored already; they cost nothing."""
        if not changes or self.at.force:
            return {}
        hashes = list({change.document.text_hash for change in changes})
        return patiently(self.abort, self.pipeline.store.vectors_of_texts, hashes)

    def _make_room(self) -> None:
        while self.owed_room and len(self.window) < WINDOW_TEXTS and self.window_bytes < WINDOW_BYTES:
            self.owed_room -= 1
            self.room.release()

    # Batches

    def _submit(self, pool: ThreadPoolExecutor, *, flush: bool) -> None:
        """Keep every embedding thread busy; one batch waits in line so that none has to wait for a decision."""
        concurrency = self.pipeline.embedder.concurrency
        if self.stop.is_set():
            # Texts that were not sent are forgotten: the next sync finds them again.
            self._cut_window()
            self.chunks.clear()
        full = len(self.window) >= WINDOW_TEXTS or self.window_bytes >= WINDOW_BYTES
        while self.in_flight <= concurrency:
            if not self.chunks and (flush or full or self.in_flight < concurrency):
                self._cut_window()
            if not self.chunks:
                return
            chunk = self.chunks.pop()
            self.in_flight += 1
            future = pool.submit(_embed_chunk, self.pipeline, [change.document.text for change in chunk])
            future.add_done_callback(partial(self._answered, chunk))

    def _cut_window(self) -> None:
        """Cut the texts gathered so far into batches of like length, in mixed order so that progress is even."""
        self.chunks += of_like_length(self.pipeline.embedder, self.window, lambda change: change.document.text)
        self.dice.shuffle(self.chunks)
        self.window.clear()
        self.window_bytes = 0
        self._make_room()

    def _answered(self, chunk: list[Change], future: Future[Answer]) -> None:
        self.events.put((chunk, future))

    def _take_answer(self, chunk: list[Change], future: Future[Answer]) -> None:
        self.in_flight -= 1
        try:
            answer = future.result()
        except EmbedderError as error:
            self.bill.settle()
            self.unanswered += 1
            if not isinstance(error, EmbedderUnavailable) or self.unanswered >= DEAD_AFTER:
                raise
            answer = Answer([error] * len(chunk))
        else:
            self.unanswered = 0
            self.report.texts += len(chunk)
        self.report.tokens += answer.tokens
        self.report.cost += answer.cost
        self.bill.settle()
        self.report.cost_estimated |= answer.estimated
        for change, vector in zip(chunk, answer.vectors, strict=True):
            sharing = self.waiting.pop(change.document.text_hash)
            if isinstance(vector, EmbedderError):
                for one in sharing:
                    self._add_failure(one, vector)
                continue
            self.ready[change.document.text_hash] = vector
            for index, one in enumerate(sharing):
                self._add_entry(one, vector, reused=index > 0)
        if self.pipeline.embedder.billed:
            # Before the vectors: what they cost is on record even if the process dies right after.
            patiently(self.abort, self.pipeline.store.save_run, self.run.number, self._recorded(), "running")
            self._commit()

    def _recorded(self) -> Report:
        """The report of the run, with the cost of a pass beside it that is not added to it yet."""
        if self.report is self.run.report:
            return self.report
        recorded = replace(self.run.report)
        add_cost(recorded, self.report)
        return recorded

    def _add_entry(self, change: Change, vector: TextVector, *, reused: bool) -> None:
        expected = change.before.text_hash if change.before is not None else None
        self.batch.entries.append(Entry(change.document, vector.vector, expected, vector.truncated))
        self.batch_bytes += len(change.document.text)
        self.report.reused += reused
        self.report.truncated += vector.truncated
        if change.kind is Kind.INSERT:
            self.report.inserted += 1
        else:
            self.report.embedded += 1

    def _add_failure(self, change: Change, error: EmbedderError) -> None:
        document = change.document
        now = dt.datetime.now(dt.UTC)
        self.batch.failures.append(new_failure(document.key, error, document.text_hash, change.before, now))
        self.report.failed += 1

    def _finish_in_flight(self, problem: Exception) -> None:
        """After an error: keep what the batches in hand still bring, in order not to pay for it again."""
        try:
            while self.in_flight:
                event = self.events.get()
                if isinstance(event, tuple):
                    with suppress(EmbedderError):
                        self._take_answer(*event)
            self._commit()
        except StoreError as error:
            # The first error is the one to tell of.
            problem.add_note(f"What was in hand could not be stored either: {error.message}")

    # Writing

    def _commit_when_due(self) -> None:
        full = len(self.batch) >= COMMIT_ROWS or self.batch_bytes >= WINDOW_BYTES
        if full or time.monotonic() - self.committed_at >= COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        self.committed_at = time.monotonic()
        if not len(self.batch):
            return
        batch = self.batch
        self.batch, self.batch_bytes = WriteBatch(), 0
        self.report.conflicts += patiently(self.abort, self.pipeline.store.write, batch)
        self.ready.clear()

    # Rows that are gone, or have lost their text

    @property
    def _guards(self) -> bool:
        """All rows are looked at, or those that the user named, or all that changed: it is known what share goes."""
        options = self.options
        return options.whole or options.names_rows or options.changed is not None

    def _delete(self, present: int, reading: cursor.Reading) -> None:
        """Delete what is in the ledger and should not be; `present` counts the ledger before this run."""
        sweeps = self.ended and self._guards and not self.pipeline.keep_missing
        missing = max(0, self._missing(present, reading)) if sweeps else 0
        if not self.options.allow_delete and self.options.limit is None:
            # Of a range of a fleet it is known what share of that range goes.
            check_share(self.pipeline, missing, present if self._guards else self.matched, len(self.emptied))
        delete_emptied(self.pipeline, self.report, self.stop, self.emptied)
        if missing:
            delete_missing(self.pipeline, self.report, self.stop, self.options.selection, self.progress)

    def _missing(self, present: int, reading: cursor.Reading) -> int:
        """So many entries of the ledger are of rows that are gone from the source."""
        if self.options.selection is not None:
            return sum(map(len, missing_keys(self.pipeline, self.stop, self.options.selection)))
        if reading.incremental:
            entries = patiently(self.stop, self.pipeline.store.count) - len(self.emptied)
            return cursor.vanished(self.pipeline, reading, entries, self.stop)
        return present - self.matched


def _embed_chunk(pipeline: Pipeline, texts: list[str]) -> Answer:
    reached(Step.BEFORE_EMBED)
    answer = Answer()
    try:
        embed_batch(pipeline.embedder, texts, answer)
    except EmbedderUnavailable as error:
        if not answer.vectors:
            raise
        # Part of it was answered, and is kept; the rest is tried again like any row that failed.
        answer.vectors += [error] * (len(texts) - len(answer.vectors))
    reached(Step.AFTER_EMBED)
    return answer
