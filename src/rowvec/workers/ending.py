"""Whether the worker was told to end: a range is then handed back after the batch in hand, for another worker.

Celery waits for the tasks in hand, and a range may take longer than whoever ends a worker is ready to wait.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.signals import worker_shutting_down

LOOK_SECONDS = 0.2

_told = mmap.mmap(-1, 1)
"""Shared by the worker, which hears the signal, and the processes that it forks, which do the work."""


@worker_shutting_down.connect
def _tell(**_: Any) -> None:
    _told[0] = 1


@contextmanager
def told_to_end() -> Iterator[threading.Event]:
    """An event that is set when the worker is told to end."""
    stop, over = threading.Event(), threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            if _told[0]:
                stop.set()
                return

    thread = threading.Thread(target=look, name="rowvec-ending", daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        over.set()
        thread.join()
