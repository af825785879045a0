"""How a pipeline is kept: its status, the sync at work, the rows that failed."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from rowvec.errors import RowvecError
from rowvec.generations.lifecycle import course
from rowvec.pipeline import Pipeline
from rowvec.pipeline_status import Status, Work
from rowvec.pipeline_status import status as gather
from rowvec.pipeline_status.work import work
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.clocks import now_of

WORK_SECONDS = 1.0
FAILURES_AT_ONCE = 1000
STATUS_SECONDS = 5.0
"""Seconds that a status is kept: it counts rows, and a page that reloads must not become a burden."""
LONG, REST, MOST_REST = 5.0, 3, 60.0
"""A status that took 5 s or longer is kept three times as long, up to a minute: of ten million rows, counting reads
10 GB."""


class Operations:
    """Of one pipeline. For several threads: what one has found serves those who ask at the same time."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._gathering = threading.Lock()
        self._status: tuple[float, Status | RowvecError] | None = None
        self._rest = 0.0
        """Seconds until the next one may be gathered."""
        self._looking = threading.Lock()
        self._work: tuple[float, Work | None] | None = None

    def status(self, seconds: float = STATUS_SECONDS) -> Status:
        """Coverage, lag, failures and runs, at most `seconds` old; older where it takes long to find them out.

        Raises:
            SourceError, StoreError: one of them does not answer.
        """
        with self._gathering:
            now = time.monotonic()
            if self._status is None or now - self._status[0] > max(seconds, self._rest):
                found = self._gathered()
                # An error too, and as old as its end: whoever waited for it must not wait again, one by one.
                self._status = (time.monotonic(), found)
                took = self._status[0] - now
                self._rest = min(REST * took, MOST_REST) if took >= LONG and isinstance(found, Status) else 0.0
            found = self._status[1]
        if isinstance(found, RowvecError):
            raise found.with_traceback(None)
        return found

    def work(self) -> Work | None:
        """The sync at work now, at most WORK_SECONDS old; None where there is none, or where nobody can tell."""
        with self._looking:
            if self._work is None or time.monotonic() - self._work[0] > WORK_SECONDS:
                store = self._pipeline.store
                try:
                    latest = next(iter(store.runs(1)), None) if store.ledger().exists else None
                    found = work(latest, store.holder())
                except RowvecError:
                    found = None
                self._work = (time.monotonic(), found)
            return self._work[1]

    def stop_sync(self) -> int | None:
        """Ask the sync at work to end cleanly. Returns its run; None where there is none.

        Raises:
            StoreError: the store does not answer, or its role may not write.
        """
        running = self.work()
        if running is None:
            return None
        self._pipeline.store.ask_to_stop(running.run)
        self._work = None
        return running.run

    def retry_failures(self) -> int:
        """Let the next sync try every failed row again, however long its next try is away. Returns their number.

        Raises:
            Locked: a sync is at work.
            StoreError: the store does not answer, or its role may not write.
        """
        pipeline = course(self._pipeline).pipeline
        with pipeline.store.lock():
            rows = pipeline.store.generation(pipeline.spec)
            if rows is None:
                return 0
            now = now_of(pipeline.store)
            failed = [replace(failure, next_try=now) for failure in rows.failures()]
            for start in range(0, len(failed), FAILURES_AT_ONCE):
                rows.write(WriteBatch(failures=failed[start : start + FAILURES_AT_ONCE]))
        self._status = None
        return len(failed)

    def _gathered(self) -> Status | RowvecError:
        try:
            return gather(self._pipeline)
        except RowvecError as error:
            return error
