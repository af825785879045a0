"""Whether the process was asked to stop, for code that waits deep inside the work to be stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_stop: ContextVar[threading.Event | None] = ContextVar("rowvec_stop", default=None)


@contextmanager
def stopped_by(event: threading.Event) -> Iterator[None]:
    """What this thread waits for inside ends when `event` is set."""
    token = _stop.set(event)
    try:
        yield
    finally:
        _stop.reset(token)


def stop_event() -> threading.Event | None:
    return _stop.get()


def asked_to_stop(*, wait: float) -> bool:
    """Waits up to `wait` seconds for the wish to stop."""
    event = _stop.get()
    if event is None:
        time.sleep(wait)
        return False
    return event.wait(wait)
