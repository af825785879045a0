"""When the next request may go out: a provider's limits per minute, and one gate that a 429 shuts for all threads."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Mapping

from rowvec.errors import ConfigError, EmbedderUnavailable
from rowvec.support.services import number_in, retry_after


class Pace:
    """Spreads a limit evenly over the minute: an amount books the time that it takes at that rate.

    This is the leaky bucket as a queue (virtual scheduling, ITU-T I.371 annex A, with no tolerance for bursts): one
    number says when the bucket is empty again, and a booking is a start time. Never more than the limit and one
    request lie in any minute, which a bucket that starts full cannot promise.
    """

    def __init__(self, per_minute: float) -> None:
        if not per_minute > 0:
            raise ConfigError(
                f"The limit per minute is {per_minute}; it must be more than 0.", hint="Give a number above 0."
            )
        self._per_second = per_minute / 60
        self._free_at = 0.0

    def book(self, amount: float, now: float) -> float:
        """The time, on the clock of `now`, at which `amount` may start."""
        start = max(now, self._free_at)
        self._free_at = start + self.seconds(amount)
        return start

    def seconds(self, amount: float) -> float:
        return amount / self._per_second

    def correct(self, amount: float) -> None:
        """What was booked turned out to be larger by this amount, or smaller if it is negative."""
        self._free_at += self.seconds(amount)


class Limiter:
    """Requests and tokens per minute over all threads, and the gate. Every wait ends at once on `close`."""

    def __init__(self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None) -> None:
        self._requests = Pace(requests_per_minute) if requests_per_minute is not None else None
        self._tokens = Pace(tokens_per_minute) if tokens_per_minute is not None else None
        self._shut_until = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def acquire(self, tokens: int) -> None:
        """Waits until one request of this many tokens may go out.

        Raises:
            EmbedderUnavailable: the embedder was closed meanwhile.
        """
        with self._lock:
            now = time.monotonic()
            start = max(
                self._requests.book(1, now) if self._requests else now,
                self._tokens.book(tokens, now) if self._tokens else now,
            )
        # The gate may be shut again while this thread sleeps, so it is asked again on waking.
        while (wait := max(start, self._shut_until) - time.monotonic()) > 0:
            self.sleep(wait)
        if self._closed.is_set():
            raise EmbedderUnavailable("The embedder was closed.")

    def least_seconds(self, requests: int, tokens: int) -> float:
        """How long this many requests and tokens take under the limits."""
        return max(
            self._requests.seconds(requests) if self._requests else 0.0,
            self._tokens.seconds(tokens) if self._tokens else 0.0,
        )

    def correct(self, tokens: int) -> None:
        """The answer billed this many tokens more than were booked; fewer if negative."""
        if self._tokens:
            with self._lock:
                self._tokens.correct(tokens)

    def shut(self, seconds: float) -> None:
        """No thread sends anything for this long."""
        with self._lock:
            self._shut_until = max(self._shut_until, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        """
        Raises:
            EmbedderUnavailable: the embedder was closed meanwhile.
        """
        if self._closed.wait(seconds):
            raise EmbedderUnavailable("The embedder was closed.")

    def close(self) -> None:
        self._closed.set()


def pause(stated: float | None, refusals: int) -> float:
    """Seconds to wait after the `refusals`-th 429 in a row.

    What the service states is kept to, and never undercut; a service that states nothing, or "now" again and again,
    is asked more and more rarely. The jitter lets several clients of one account come back apart.
    """
    if stated is None:
        return min(60.0, 2.0 ** (refusals - 1)) * random.uniform(0.75, 1.25)
    return max(stated, min(5.0, 0.02 * 2.0 ** (refusals - 1))) * random.uniform(1.0, 1.1)


def stated_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait as a 429 says it, None when it does not.

    Read in this order: `retry-after-ms`; `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3); OpenAI's
    `x-ratelimit-reset-requests` and `-tokens` ("1s", "6m0s", "20ms"); `X-RateLimit-Reset`, the time in
    milliseconds since 1970, as OpenRouter sends it.

    Args:
        headers: with lower-case names, or a mapping that ignores case.
        now: seconds since 1970.
    """
    if (milliseconds := number_in(headers.get("retry-after-ms"))) is not None:
        return max(0.0, milliseconds / 1000)
    if "retry-after" in headers:
        return retry_after(headers, now)
    waits = {name: _duration(headers.get(f"x-ratelimit-reset-{name}", "")) for name in ("requests", "tokens")}
    spent = [wait for name, wait in waits.items() if headers.get(f"x-ratelimit-remaining-{name}") == "0"]
    known = [wait for wait in (spent or waits.values()) if wait is not None]
    if known:
        return max(known)
    if (reset := number_in(headers.get("x-ratelimit-reset"))) is not None:
        return max(0.0, reset / 1000 - now)
    return None


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _duration(text: str) -> float | None:
    parts = re.findall(r"([\d.]+)(ms|s|m|h|d)", text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else None
