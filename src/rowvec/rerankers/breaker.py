"""A reranker that does not answer is left alone for a while, so that searches do not wait for it in vain.

This is the circuit breaker of Nygard, "Release It!" (2007): closed while all is well, open after FAILURES in a row, and
after REST one caller at a time finds out whether it can be closed again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FAILURES = 3
"""In a row."""
REST = 30.0
"""Seconds."""


class Breaker:
    """Safe across threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._until = 0.0

    def admits(self) -> bool:
        """Whether to ask. Of the callers after a rest only the first one is let through: the others wait for what it
        finds, REST at most."""
        with self._lock:
            if self._failures < FAILURES:
                return True
            now = self._clock()
            if now < self._until:
                return False
            self._until = now + REST
            return True

    def succeeded(self) -> None:
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES:
                self._until = self._clock() + REST

    @property
    def left(self) -> float:
        """Seconds of the rest."""
        with self._lock:
            return max(0.0, self._until - self._clock())
