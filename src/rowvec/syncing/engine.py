"""Embedding what changes need, and writing it: what a pass over rows and a stream of change events have in common.

      whoever knows what changes            the calling thread                     `concurrency` threads
      (`rows`, `events`)                    decides, counts, writes                embed
                     │
                     │ take(page)
                     ▼
      counted; metadata, failures, ──────────────────────────────────▶ batch
      recovered rows                                                     ▲ ▲
                     │ texts                                             │ │
      has a vector, in this batch or in the ledger? ──── yes ────────────┘ │
                     │ no: a text that does not fit is `divided` into passages, which go the same way
                     │ no: `waiting` shares each text among its changes    │
                     ▼                                                     │
      window         up to 2,048 texts or 16 MiB, then it is full          │ vectors, or texts refused
                     │ cut by length, when full or a thread is idle        │
                     ▼                                                     │
      chunks ────────┬─ one more on its way than there are threads ─▶ embed a batch
                     ▲                                                     │
                     └───────── no answer: see `outage` ───────────────────┘

      batch          (`writer`) one transaction of the store: after 2 s, 2,000 rows (10,000 in PostgreSQL) or 16 MiB of
                     texts and vectors, and with each answer that cost money, when the record of the run knows what it
                     cost

Every decision is taken in the calling thread, which hears of answers, and of pages where another thread reads them,
through one queue. All that threads share beside it is what they learn of the service (`batches.Limits`), which has a
lock. In the queue are at most the answers on their way and the pages
that the reader has room for. A process that is killed repeats at most what was not committed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from random import Random
from types import TracebackType
from typing import NamedTuple, Self

from rowvec.embedders.base import AbsentEmbedder
from rowvec.errors import EmbedderError, EmbedderUnavailable, StoreError
from rowvec.pipeline import Pipeline
from rowvec.stores.base import GenerationHandle
from rowvec.stores.runs import OnReport, Report
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.retry import patiently
from rowvec.syncing.batches import Answer, Limits, answer_to, of_like_length
from rowvec.syncing.divided import Divided, Part, as_whole, divided
from rowvec.syncing.outage import Chunk, Outage
from rowvec.syncing.pages import Page
from rowvec.syncing.recorder import Recorder
from rowvec.syncing.refusals import Tries
from rowvec.syncing.report import Bill, Running
from rowvec.syncing.reuse import Reuse
from rowvec.syncing.writer import Writer
from rowvec.types import Change, Key, Kind, TextVector

STOP_SECONDS = 0.2
WINDOW_TEXTS = 2048
"""Texts that are sorted by length together, so that a batch holds texts of like length."""
WINDOW_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Answered:
    chunk: Chunk
    future: Future[Answer]


class Sent(NamedTuple):
    """A text to be embedded, as the document of a row or of a passage."""

    change: Change
    length: int
    """Texts of like length are sent together; a passage has that of the longest of its row."""


class Engine:
    """A context: what is on its way when it ends by an error is waited for and kept, since it is paid for.

    Args:
        report: what is counted goes here.
        force: embed even what has a vector.
        progress: called after every answer and every page, and now and then while there are none.
        amend: called with each batch before it is written.
        tries: what the store has refused in this run, whoever writes.
        live: the live generation, where another one is filled beside it.

    Attributes:
        signals: what the calling thread hears of; others may put something into it, which `hear` gives back.
        abort: set when the run is stopped or has failed: who waits for a database gives up.
        writer: has what is written next.
        forgot: it was stopped, and left texts out that had not been sent.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        generation: GenerationHandle,
        running: Running,
        report: Report,
        *,
        force: bool = False,
        progress: OnReport | None = None,
        amend: Callable[[WriteBatch], None] | None = None,
        tries: Tries | None = None,
        live: GenerationHandle | None = None,
    ) -> None:
        self.signals: queue.Queue[object] = queue.Queue()
        self.abort = threading.Event()
        self.writer = Writer(generation, report, self.abort, amend, tries)
        self.forgot = False
        self._embedder = pipeline.embedder
        self._fingerprint, self._cutter = pipeline.spec.fingerprint, pipeline.cutter()
        self._reuse = Reuse(self._fingerprint, generation, live, self._ask)
        self._running, self._report, self._force, self._progress = running, report, force, progress
        self._pool = ThreadPoolExecutor(self._embedder.concurrency, thread_name_prefix="rowvec-embed")
        self._limits = Limits()
        self._outage = Outage(running.patience, running.tell, self._limits)
        self._bill = Bill(self._embedder, report)
        self._window: list[Sent] = []
        self._window_bytes = 0
        self._chunks: list[Chunk] = []
        """To be sent, the last one first."""
        self._dice = Random(0)
        self._waiting: dict[bytes, list[Change | Part]] = {}
        """Rows and passages by the hash of a text that is being embedded: the first was sent, the others share."""
        self._in_flight = 0
        self._recorder = Recorder(pipeline.store, running, report, self.abort)
        report.budget = self._bill.limit

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Exception):
                self.abort.set()
                self._finish_in_flight(error)
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def busy(self) -> bool:
        """There are texts to be embedded."""
        return bool(self._in_flight or self._window or self._chunks or self._outage.waiting)

    @property
    def full(self) -> bool:
        """Texts enough are in hand: more would only take memory."""
        return len(self._window) >= WINDOW_TEXTS or self._window_bytes >= WINDOW_BYTES

    def take(self, page: Page) -> list[Key]:
        """Count the changes of a page, and embed what needs it; returns the keys of rows that have lost their text."""
        self._report.unchanged += page.unchanged
        self._report.failed += len(page.failures)
        self.writer.batch.recovered += page.recovered
        self.writer.batch.failures += page.failures
        wanted = [change for change in page.changes if self._sort_out(change)]
        known = self.writer.vectors | self._stored_vectors(wanted)
        unknown = []
        absent = isinstance(self._embedder, AbsentEmbedder)
        for change in wanted:
            whole = as_whole(change)
            vector = known.get(whole.document.text_hash)
            if vector is not None:
                self.writer.add(whole, vector, reused=True)
            elif absent:
                self._report.waiting += 1
            else:
                unknown.append(change)
        rows = divided(self._cutter, unknown, self._fingerprint)
        known = self._known_texts(rows)
        for row in rows:
            if isinstance(row, Divided):
                self._take_row(row, known)
            elif (vector := known.get(row.document.text_hash)) is not None:
                self.writer.add(row, vector, reused=True)
            else:
                self._want(row, row, len(row.document.text))
        return [change.document.key for change in page.changes if change.kind is Kind.DELETE]

    def drain(self) -> None:
        """Wait until all that was taken is embedded; after a stop, what was sent."""
        while self.busy:
            self.hear(flush=True)

    def hear(self, *, flush: bool) -> object:
        """Send what can be sent, and wait for the next signal; None where that was an answer.

        Args:
            flush: nothing more is taken before this returns: the window is sent however little is in it.
        """
        while True:
            self._send(flush=flush)
            if flush and not self.busy:
                return None
            if self.stop.is_set():
                self.abort.set()
            pause = self._outage.seconds_left()
            with suppress(queue.Empty):
                signal = self.signals.get(timeout=min(pause, STOP_SECONDS) if pause > 0 else STOP_SECONDS)
                break
            self.tick()
        if not isinstance(signal, Answered):
            return signal
        self._take_answer(signal)
        self.tick()
        return None

    def tick(self) -> None:
        """After each signal, and while there is none: write what is due, and say how far it is."""
        self.writer.commit_when_due()
        self._recorder.tick(busy=self.busy)
        if self._progress is not None:
            self._progress(self._report)

    @property
    def stop(self) -> threading.Event:
        return self._running.stop

    # What is taken

    def _ask(self, handle: GenerationHandle, hashes: list[bytes]) -> dict[bytes, TextVector]:
        return patiently(self.abort, handle.vectors_of_texts, hashes)

    def _want(self, change: Change, taker: Change | Part, length: int) -> None:
        """Embed the text of a change, unless that is being done."""
        text_hash = change.document.text_hash
        if text_hash in self._waiting:
            self._waiting[text_hash].append(taker)
        else:
            self._waiting[text_hash] = [taker]
            self._window.append(Sent(change, length))
            self._window_bytes += len(change.document.text)

    def _take_row(self, row: Divided, known: dict[bytes, TextVector]) -> None:
        for place, text_hash in enumerate(row.hashes):
            vector = known.get(text_hash)
            if vector is not None:
                row.take(place, vector, reused=True)
            else:
                self._want(row.text(place), Part(row, place), row.longest)
        if row.whole:
            self.writer.add_row(row)
        elif self._window:
            # The text stays in memory; what waits for nothing to be sent must not count, or it would wait for ever.
            self._window_bytes += len(row.change.document.text)

    def _known_texts(self, rows: list[Divided | Change]) -> dict[bytes, TextVector]:
        """Vectors of passages, and of whole texts in the live generation."""
        parts = list({text_hash for row in rows if isinstance(row, Divided) for text_hash in row.hashes})
        if self._force or not (self._reuse.elsewhere or parts):
            return self.writer.vectors
        whole = [row.document.text_hash for row in rows if isinstance(row, Change)]
        return self.writer.vectors | self._reuse.of_passages(parts) | self._reuse.of_whole(whole)

    def _sort_out(self, change: Change) -> bool:
        """Count a change and deal with it, unless it needs a vector: then say so."""
        report, kind = self._report, change.kind
        report.count(change.reason)
        if kind is Kind.INSERT or kind is Kind.EMBED:
            return True
        if kind is Kind.UPDATE:
            self.writer.update(change)
        elif kind is Kind.FAILED:
            report.waiting += 1
        report.empty += kind in (Kind.DELETE, Kind.EMPTY)
        return False

    def _stored_vectors(self, changes: list[Change]) -> dict[bytes, TextVector]:
        """Vectors of identical texts that are stored already; they cost nothing."""
        if not changes or self._force:
            return {}
        return self._reuse.of_texts(list({as_whole(change).document.text_hash for change in changes}))

    # Batches

    def _send(self, *, flush: bool) -> None:
        """Keep every embedding thread busy; one batch waits in line so that none has to wait for a decision."""
        if self.stop.is_set() and (self._window or self._chunks or self._outage.waiting):
            # The next sync finds them again.
            self.forgot = True
            self._window.clear()
            self._window_bytes = 0
            self._chunks.clear()
            self._outage.forget()
        concurrency = self._embedder.concurrency
        while self._in_flight <= concurrency and self._outage.may_send(self._in_flight):
            if not self._chunks and (flush or self.full or self._in_flight < concurrency):
                self._cut_window()
            if self._outage.wants_a_word(in_line=bool(self._chunks)):
                self._submit(Chunk([]))
            elif self._chunks:
                self._submit(self._chunks.pop())
            else:
                return

    def _submit(self, chunk: Chunk) -> None:
        self._in_flight += 1
        self._report.phase = "embedding"
        # What is logged there is about the same run.
        work = partial(answer_to, self._embedder, chunk.texts, self._limits, once=chunk.suspect or self._outage.down)
        future = self._pool.submit(copy_context().run, work)
        future.add_done_callback(lambda done: self.signals.put(Answered(chunk, done)))

    def _cut_window(self) -> None:
        """Cut the texts gathered so far into batches of like length, in mixed order so that progress is even."""
        # The passages of a row go together, so that it is soon whole.
        cut = of_like_length(self._embedder, self._window, lambda sent: sent.length)
        self._chunks += (Chunk([sent.change for sent in part]) for part in cut)
        self._dice.shuffle(self._chunks)
        self._window.clear()
        self._window_bytes = 0

    def _take_answer(self, signal: Answered) -> None:
        self._in_flight -= 1
        chunk, answer = signal.chunk, signal.future.result()
        done = len(answer.vectors) if chunk.changes else 0
        self._report.texts += sum(not isinstance(each, EmbedderError) for each in answer.vectors[:done])
        self._bill.settle(answer)
        begun: dict[int, Divided] = {}
        for change, vector in zip(chunk.changes, answer.vectors, strict=False):
            self._take_vector(change, vector, begun)
        if self._embedder.billed:
            for row in begun.values():
                if not row.whole:
                    self.writer.add_part(row)
            # Before the vectors: what they cost is on record even if the process dies right after.
            self._recorder.record(busy=self.busy)
            self.writer.commit()
        if answer.vectors:
            whole = answer.problem is None and not any(isinstance(each, EmbedderError) for each in answer.vectors)
            self._line_up(self._outage.answered(chunk, whole=whole))
            if not chunk.changes:
                # It is the texts: those that got no answer come first, before others are tried in vain.
                self._chunks.sort(key=lambda each: each.suspect)
        if answer.problem is not None:
            chunk.changes = chunk.changes[done:]
            self._go_without(chunk, answer.problem)

    def _take_vector(self, change: Change, vector: TextVector | EmbedderError, rows: dict[int, Divided]) -> None:
        """
        Args:
            rows: gets those that the text is a passage of.
        """
        for index, one in enumerate(self._waiting.pop(change.document.text_hash)):
            if isinstance(one, Part):
                one.row.take(one.place, vector, reused=index > 0)
                if one.row.whole:
                    self.writer.add_row(one.row)
                rows[id(one.row)] = one.row
            elif isinstance(vector, EmbedderError):
                self.writer.fail(one, vector)
            else:
                self.writer.add(one, vector, reused=index > 0)

    def _go_without(self, chunk: Chunk, problem: EmbedderError) -> None:
        """A chunk, or the rest of it, got no answer: it comes again, after the others, unless that is useless."""
        if not isinstance(problem, EmbedderUnavailable):
            raise problem
        chunk.problem = problem
        self._line_up(self._outage.unanswered(chunk, problem, stopped=self.stop.is_set()))

    def _line_up(self, chunks: list[Chunk]) -> None:
        """Parts of a batch come next, what is sent again comes after the others; what is to blame fails."""
        self._chunks += (chunk for chunk in chunks if not chunk.tries)
        self._chunks[:0] = (chunk for chunk in chunks if chunk.tries)
        failed, self._outage.failed = self._outage.failed, []
        for chunk in failed:
            assert chunk.problem is not None
            for change in chunk.changes:
                self._take_vector(change, chunk.problem, {})

    def _finish_in_flight(self, problem: Exception) -> None:
        try:
            while self._in_flight:
                signal = self.signals.get()
                if isinstance(signal, Answered):
                    with suppress(EmbedderError):
                        self._take_answer(signal)
            self.writer.commit()
        except StoreError as error:
            # The first error is the one to tell of.
            same = isinstance(problem, StoreError) and problem.message == error.message
            problem.add_note("What was in hand could not be stored either" + ("." if same else f": {error.message}"))
