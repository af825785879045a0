"""Carrying out a plan: read, embed and write, overlapped, with bounded memory.

One thread reads and plans pages, `embedder.concurrency` threads embed batches, and the calling thread
writes. Every decision is taken in the calling thread, from one queue of events, so there is no shared
state to guard. What has been embedded is committed every few seconds, or as it arrives where it cost
money; a process that is killed repeats at most that.
"""

from __future__ import annotations

import datetime as dt
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from random import Random
from typing import Literal

from rowvec.batches import Answer, embed_batch
from rowvec.embedders.base import PaidEmbedder
from rowvec.errors import DeletionGuard, EmbedderError, EmbedderUnavailable, RowvecError
from rowvec.plan import Circumstances
from rowvec.pricing import Budget
from rowvec.retry import patiently
from rowvec.steps import Step, reached
from rowvec.stream import Options, Page, Pipeline, circumstances, missing_keys, new_failure, planned_pages
from rowvec.types import Change, Entry, Kind, Report, TextVector, WriteBatch

COMMIT_SECONDS = 2.0
COMMIT_ROWS = 2000
STOP_SECONDS = 0.2
WINDOW_TEXTS = 2048
"""Texts that are sorted by length together, so that a batch holds texts of like length."""
WINDOW_BYTES = 16 * 2**20
DEAD_AFTER = 3
"""So many batches in a row without an answer mean that the service is down, not that the batches are bad."""

Progress = Callable[[Report], None]
Outcome = Literal["done", "failed", "interrupted"]
Event = Page | BaseException | tuple[list[Change], Future[Answer]]
"""What the calling thread hears of: a page, the end of reading by an error, an answered batch."""


def sync(
    pipeline: Pipeline,
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Report:
    """Make the vectors of a pipeline match its rows.

    Args:
        progress: called in this thread after every event with the counts so far.
        stop: when set, the batches in hand are finished and written, then the run ends as interrupted.

    Raises:
        Locked: another sync of this pipeline is at work.
        DeletionGuard: more than half of the vectors would be deleted.
        SourceError, EmbedderError, StoreError: what ended the run; everything embedded before is kept.
    """
    options = options or Options()
    store = pipeline.store
    with store.lock():
        # Not before: to prepare can mean to drop what another sync is filling.
        before = store.ledger()
        store.prepare(pipeline.spec)
        run = store.begin_run()
        at = circumstances(pipeline, before, options)
        work = _Sync(pipeline, options, at, run, progress, stop or threading.Event())
        try:
            work.carry_out()
        except BaseException as error:
            # What ended the run is what the user must see, even where its record cannot be written.
            outcome: Outcome = "failed" if isinstance(error, Exception) else "interrupted"
            text = error.message if isinstance(error, RowvecError) else type(error).__name__
            try:
                store.save_run(run, work.report, outcome, text)
            except RowvecError as record_error:
                error.add_note(f"The record of the run could not be written: {record_error.message}")
            raise
        interrupted = stop is not None and stop.is_set()
        if options.whole and not interrupted:
            store.complete(pipeline.spec)
        store.save_run(run, work.report, "interrupted" if interrupted else "done")
    return work.report


class _Sync:
    def __init__(
        self,
        pipeline: Pipeline,
        options: Options,
        at: Circumstances,
        run: int,
        progress: Progress | None,
        stop: threading.Event,
    ) -> None:
        self.pipeline = pipeline
        self.options = options
        self.at = at
        self.run = run
        self.report = Report()
        self.progress = progress
        self.stop = stop
        self.abort = threading.Event()
        self.events: queue.Queue[Event | None] = queue.Queue()
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
        self.committed_at = time.monotonic()
        self.in_flight = 0
        self.unanswered = 0
        self.matched = 0
        budget = pipeline.embedder.budget if isinstance(pipeline.embedder, PaidEmbedder) else Budget()
        self.tokens_before, self.cost_before = budget.tokens, budget.spent

    def carry_out(self) -> None:
        present = patiently(self.stop, self.pipeline.store.count) if self.options.whole else 0
        with self._reader(), self._pool() as pool:
            try:
                self._loop(pool)
            except Exception:
                self.abort.set()
                self._finish_in_flight()
                raise
        if self.options.whole and not self.stop.is_set():
            self._sweep(present)

    @contextmanager
    def _reader(self) -> Iterator[None]:
        def read() -> None:
            try:
                for page in planned_pages(self.pipeline, self.at, self.options, self.abort):
                    self.events.put(page)
                    while not self.room.acquire(timeout=0.1) and not self.abort.is_set():
                        pass
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

    def _next_event(self) -> Event | None:
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
            report.updated += 1
        elif kind is Kind.DELETE:
            self.batch.deletes.append(change.document.key)
            report.deleted += 1
            report.empty += 1
        elif kind is Kind.EMPTY:
            report.empty += 1
        elif kind is Kind.FAILED:
            report.waiting += 1
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
        embedder = self.pipeline.embedder
        chunk: list[Change] = []
        size = 0
        for change in sorted(self.window, key=lambda change: len(change.document.text)):
            # Four characters a token is near enough to share out work; the embedder cuts to its real limits.
            tokens = len(change.document.text) // 4 + 1
            if chunk and (len(chunk) == embedder.chunk_texts or size + tokens > embedder.chunk_tokens):
                self.chunks.append(chunk)
                chunk, size = [], 0
            chunk.append(change)
            size += tokens
        if chunk:
            self.chunks.append(chunk)
        self.dice.shuffle(self.chunks)
        self.window.clear()
        self.window_bytes = 0
        self._make_room()

    def _answered(self, chunk: list[Change], future: Future[Answer]) -> None:
        self.events.put((chunk, future))

    def _take_answer(self, chunk: list[Change], future: Future[Answer]) -> None:
        self.in_flight -= 1
        self.report.texts += len(chunk)
        try:
            answer = future.result()
        except EmbedderUnavailable as error:
            self._settle_bill()
            self.unanswered += 1
            if self.unanswered >= DEAD_AFTER:
                raise
            answer = Answer([error] * len(chunk))
        else:
            self.unanswered = 0
        self.report.tokens += answer.tokens
        self.report.cost += answer.cost
        self._settle_bill()
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
            patiently(self.abort, self.pipeline.store.save_run, self.run, self.report, "running")
            self._commit()

    def _settle_bill(self) -> None:
        """What the service billed, answers of no use included: the budget knows, the answers' sum does not."""
        embedder = self.pipeline.embedder
        if isinstance(embedder, PaidEmbedder):
            self.report.tokens = embedder.budget.tokens - self.tokens_before
            self.report.cost = embedder.budget.spent - self.cost_before
            self.report.cost_lost = embedder.budget.lost

    def _add_entry(self, change: Change, vector: TextVector, *, reused: bool) -> None:
        expected = change.before.text_hash if change.before is not None else None
        self.batch.entries.append(Entry(change.document, vector.vector, expected, vector.truncated))
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

    def _finish_in_flight(self) -> None:
        """After an error: keep what the batches in hand still bring, in order not to pay for it again."""
        while self.in_flight:
            event = self.events.get()
            if isinstance(event, tuple):
                with suppress(EmbedderError):
                    self._take_answer(*event)
        self._commit()

    # Writing

    def _commit_when_due(self) -> None:
        if len(self.batch) >= COMMIT_ROWS or time.monotonic() - self.committed_at >= COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        self.committed_at = time.monotonic()
        if not len(self.batch):
            return
        batch = self.batch
        self.batch = WriteBatch()
        self.report.conflicts += patiently(self.abort, self.pipeline.store.write, batch)
        self.ready.clear()

    # Rows gone from the source

    def _sweep(self, present: int) -> None:
        """Delete what is in the ledger and not in the source; `present` counts the ledger before this run."""
        missing = present - self.matched
        if missing <= 0 or self.pipeline.keep_missing:
            return
        if missing > present / 2 and not self.options.allow_delete:
            raise DeletionGuard(
                f"{missing:,} of the {present:,} rows in {self.pipeline.store.where} are gone from the source:"
                " more than half. Nothing was deleted.",
                hint="If that is right, run it again with --allow-delete; if not, look at the source and its `where`.",
            )
        for keys in missing_keys(self.pipeline, self.stop):
            patiently(self.abort, self.pipeline.store.write, WriteBatch(deletes=keys))
            self.report.deleted += len(keys)
            reasons = self.report.reasons
            reasons["gone from the source"] = reasons.get("gone from the source", 0) + len(keys)
            if self.progress is not None:
                self.progress(self.report)


def _embed_chunk(pipeline: Pipeline, texts: list[str]) -> Answer:
    reached(Step.BEFORE_EMBED)
    answer = embed_batch(pipeline.embedder, texts)
    reached(Step.AFTER_EMBED)
    return answer
