"""One pass over rows: which of them are compared, and which vectors go since their rows are gone.

One thread reads and plans pages, as many as the engine has room for; see `rowvec.syncing.engine` for the rest.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context

from rowvec.pipeline import Options, Pipeline
from rowvec.stores.base import GenerationHandle
from rowvec.stores.runs import Report
from rowvec.support.clocks import Clock
from rowvec.support.retry import patiently
from rowvec.syncing import cursor
from rowvec.syncing.deletion import Guard, knows_share, missing
from rowvec.syncing.engine import Engine
from rowvec.syncing.pages import Page, planned_pages
from rowvec.syncing.plan import Circumstances
from rowvec.syncing.refusals import Tries
from rowvec.syncing.report import Running
from rowvec.types import Key, Kind

END = object()
"""The reader's last signal, where no error ended it."""


class Pass:
    """Once over the chosen rows of a pipeline.

    Args:
        report: what is counted goes here.
        live: the live generation, where `generation` is filled beside it.
        seconds: after this time no further page is read; `ended` then says that rows are left.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        generation: GenerationHandle,
        options: Options,
        at: Circumstances,
        running: Running,
        report: Report,
        *,
        seconds: float | None = None,
        live: GenerationHandle | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.generation = generation
        self.options = options
        self.at = at
        self.report = report
        self.running, self.stop = running, running.stop
        tries = Tries(clock=Clock(at.now))
        self.guard = self._guard(tries)
        # Whoever sent a range opened the guard: in a first fill, what others have written by now is not a measure.
        opens = None if _of_part(options) else self.guard.open
        self.engine = Engine(
            pipeline, generation, running, report,
            force=at.force and not options.reuse, progress=running.progress, amend=opens, tries=tries, live=live,
        )  # fmt: skip
        self.last = math.inf if seconds is None else time.monotonic() + seconds
        """No page is read after that."""
        self.ended = True
        self.room = threading.Semaphore(1)
        self.owed_room = 0
        """Pages that were taken, and whose room the reader has not got back yet."""
        self.matched = self.new = 0
        """Rows that the ledger held when their page was read, and those that it has got since."""
        self.emptied: list[Key] = []
        """Rows in the ledger that have no text any more, until it is known that they are not too many."""

    def carry_out(self) -> None:
        self.running.enter("counting rows", self.report)
        refused = self.counted is not None and self.counted.refusal is not None
        reading = cursor.choose(
            self.pipeline, self.generation, self.options, self.at, self.stop,
            entries=self.counted.rows if self.counted is not None else 0, refused=refused,
        )  # fmt: skip
        self.options = reading.options
        self.report.comparison, self.report.incremental = reading.comparison, reading.incremental
        if not _of_part(self.options):  # What is left of a walk was counted when that began.
            self.report.to_compare = reading.rows if reading.rows is not None else self._to_compare()
        self.running.enter("comparing rows", self.report)
        with self.engine, self._reader():
            self._embed()
        if self.stop.is_set():
            return
        self.running.enter("deleting what is gone", self.report)
        self._delete(reading)
        if self.ended and not self.stop.is_set():
            cursor.keep(
                self.pipeline, self.generation, reading, self.stop,
                conflicts=self.report.conflicts, entries=self._entries, more=self.new - self.guard.deleted,
            )  # fmt: skip

    def _to_compare(self) -> int | None:
        """How many rows are read; None where to count them would take time that nothing else needs."""
        options = self.options
        if options.followed or options.retry_failed:
            return None
        named = options.selection
        if named is not None and not named.ranges:
            count = len(named.keys)
        else:
            count = patiently(self.stop, self.pipeline.source.count, named)
        return min(count, options.limit) if options.limit else count

    def _entries(self) -> int:
        """Rows of the ledger now; counted again only where some may have come or gone."""
        if self.counted is not None and not self.new and not self.guard.deleted:
            return self.counted.rows
        return patiently(self.stop, self.generation.count)

    def _guard(self, tries: Tries) -> Guard:
        options = self.options
        # Whoever follows a table names rows and lets them go: that must not take time by the size of the table. Of a
        # range of a fleet the rows were counted by whoever sent it.
        counts = not (_of_part(options) or options.followed or (options.names_rows and options.allow_delete))
        self.counted = patiently(self.stop, self.generation.standing) if counts else None
        return Guard(
            self.pipeline, self.generation, self.report, self.stop,
            standing=self.counted, allowed=options.allow_delete,
            whole=options.whole, tries=tries,
        )  # fmt: skip

    @contextmanager
    def _reader(self) -> Iterator[None]:
        """A thread that puts pages into the engine's signals; at their end END, or the error that ended them."""
        signals, abort = self.engine.signals, self.engine.abort

        def read() -> None:
            try:
                for page in planned_pages(self.pipeline, self.generation, self.at, self.options, abort):
                    signals.put(page)
                    while not self.room.acquire(timeout=0.1) and not abort.is_set():
                        pass
                    if time.monotonic() > self.last:
                        self.ended = False
                        break
                signals.put(END)
            except BaseException as error:
                signals.put(error)

        thread = threading.Thread(target=copy_context().run, args=(read,), name="rowvec-reader", daemon=True)
        thread.start()
        try:
            yield
        finally:
            abort.set()
            thread.join()

    def _embed(self) -> None:
        engine, reading = self.engine, True
        while reading or engine.busy:
            signal = engine.hear(flush=not reading)
            if isinstance(signal, BaseException):
                raise signal
            if isinstance(signal, Page):
                self._take(signal)
            reading = reading and signal is not END
            if signal is not None:
                engine.tick()
            while self.owed_room and not engine.full:
                self.owed_room -= 1
                self.room.release()
        engine.writer.commit()

    def _take(self, page: Page) -> None:
        self.report.read += len(page.rows)
        self.report.last_key = page.rows[-1].key
        self.matched += page.known
        self.new += len(page.rows) - page.known - sum(change.kind is Kind.EMPTY for change in page.changes)
        self.emptied += self.engine.take(page)
        self.owed_room += 1

    def _delete(self, reading: cursor.Reading) -> None:
        """Delete what is in the ledger and should not be."""
        pipeline, options, stop, guard = self.pipeline, self.options, self.stop, self.guard
        sweeps = self.ended and knows_share(options) and not pipeline.keep_missing
        named = options.selection is not None
        if sweeps and not named:
            # With the rows that have lost their text and are not deleted yet: the source holds them too.
            entries = self._entries() if reading.incremental else 0
            sweeps = missing(pipeline, reading, (guard.rows or 0) - self.matched, entries, stop) > 0
        gone = guard.gone(options.selection, len(self.emptied), self.running.progress) if sweeps else []
        # Of a range of a fleet it is known what share of that range goes.
        of_part = None if guard.rows is not None or options.followed else self.matched
        guard.check(len(gone), len(self.emptied), of_part)
        guard.delete(self.emptied)
        guard.delete_gone(gone, self.running.progress)
        if options.whole and self.ended and not stop.is_set():
            guard.settle()


def _of_part(options: Options) -> bool:
    """A range of a fleet."""
    return options.after is not None or options.until is not None
