"""How often and how much a caller may send."""

from __future__ import annotations

import time
from collections import OrderedDict

from starlette.types import Message, Receive

from rowvec.serve.problems import Problem

MOST_CALLERS = 10_000
"""Beyond these, the caller who was silent longest is forgotten, and starts again with a full bucket."""


class RateLimit:
    """A token bucket for each caller: `burst` requests at once, refilled with `rate` a second."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, caller: str, now: float | None = None) -> float:
        """Take one token; 0.0 where there was one, else the seconds until there is one."""
        now = time.monotonic() if now is None else now
        tokens, seen = self._buckets.get(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - seen) * self._rate)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - 1 if allowed else tokens, now)
        self._buckets.move_to_end(caller)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self._rate


def too_large(most: int) -> Problem:
    return Problem(413, f"The body is larger than {most:,} bytes.", "Send less at once.")


def bounded(receive: Receive, most: int) -> Receive:
    """`receive`, refusing a body that turns out to be larger than `most` bytes whatever its header said.

    Raises, where the body is read:
        Problem: 413.
    """
    total = 0

    async def limited() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > most:
            raise too_large(most)
        return message

    return limited
