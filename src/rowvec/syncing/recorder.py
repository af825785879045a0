"""Keeping the record of a run up to date while it is at work."""

from __future__ import annotations

import math
import threading
import time
from collections import deque

from rowvec.stores.base import Store
from rowvec.stores.runs import Report
from rowvec.support.retry import patiently
from rowvec.syncing.report import Running

RECORD_SECONDS = 3.0
"""The record of a run that takes longer is brought up to date so often."""
QUIET_SECONDS = 30.0
"""So often while nothing happens: where change events are followed, none may come for hours."""
FIRST_RECORD_SECONDS = 1.0
"""Soon after the begin, so that whoever looks sees what is done."""
PACE_SECONDS = 10.0
"""What the pace of a run is measured over."""


class Recorder:
    """Saves the counts of a run now and then, measures its pace, and hears whether somebody asked it to stop.

    Args:
        report: of the pass at work.
        abort: whoever waits for the database gives up when it is set.
    """

    def __init__(self, store: Store, running: Running, report: Report, abort: threading.Event) -> None:
        self._store, self._running, self._report, self._abort = store, running, report, abort
        began = time.monotonic()
        self._due = began + FIRST_RECORD_SECONDS
        self._recorded: dict[str, object] = {}
        self._recorded_at = -math.inf
        self._paces: deque[tuple[float, int]] = deque([(began, report.settled)])

    def tick(self, *, busy: bool) -> None:
        """Measure the pace, and record what is due.

        Args:
            busy: there are texts to be embedded.
        """
        self._measure()
        if time.monotonic() >= self._due:
            self.record(busy=busy)

    def _measure(self) -> None:
        """Keep a point a second, and take the pace from the oldest of them."""
        now, report = time.monotonic(), self._report
        if now - self._paces[-1][0] >= 1.0:
            self._paces.append((now, report.settled))
        while len(self._paces) > 2 and now - self._paces[1][0] >= PACE_SECONDS:
            self._paces.popleft()
        began, settled = self._paces[0]
        if now - began >= 1.0:
            report.per_second = max(0.0, (report.settled - settled) / (now - began))

    def record(self, *, busy: bool) -> None:
        now, running = time.monotonic(), self._running
        self._due = now + RECORD_SECONDS
        so_far = running.so_far(self._report)
        said = {name: value for name, value in so_far.as_dict().items() if name not in ("taken_at", "per_second")}
        if said == self._recorded and not busy and now - self._recorded_at < QUIET_SECONDS:
            asked = patiently(self._abort, self._is_asked_to_stop)
        else:
            asked = patiently(self._abort, self._store.save_run, running.number, so_far, "running")
            self._recorded, self._recorded_at = said, now
        if asked and not running.stop.is_set():
            running.tell("Somebody asked this sync to stop: the batches in hand are finished, and it ends.")
            running.stop.set()

    def _is_asked_to_stop(self) -> bool:
        return any(run.stopping for run in self._store.runs(1) if run.id == self._running.number)
