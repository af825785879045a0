"""Trying again what may pass: the one policy for sources and stores."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import tenacity

from rowvec.errors import RowvecError

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which an unreachable database ends the run."""
KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""For libpq: a host that vanished without a word is noticed after a minute; Linux alone would wait for two hours."""
SERVER_KEEPALIVES = {
    "tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3, "tcp_user_timeout": 60_000,
    "client_connection_check_interval": 5_000,
}  # fmt: skip
"""The same for a session of PostgreSQL: it ends, and its locks with it, a minute after its client's host vanished. The
last one ends a long statement soon after its client. Not every system can do all of it."""


def is_transient(error: BaseException) -> bool:
    return isinstance(error, RowvecError) and error.transient


def patiently(
    stop: threading.Event,
    work: Callable[..., T],
    *args: Any,
    patience: float = PATIENCE,
    tell: Callable[[RowvecError], None] | None = None,
) -> T:
    """Call `work(*args)` until it passes, a terminal error comes, `patience` seconds are over or `stop` is set.

    Args:
        tell: called with the error each time before it is tried again.
    """

    def failed(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if tell is not None and isinstance(error, RowvecError):
            tell(error)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_transient),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
        stop=tenacity.stop_any(tenacity.stop_after_delay(patience), tenacity.stop_when_event_set(stop)),
        sleep=tenacity.sleep_using_event(stop),
        before_sleep=failed,
        reraise=True,
    )
    return retrying(work, *args)
