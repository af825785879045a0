"""Whose clock says what time it is: hosts may disagree, and what is compared must come from one of them.

What a store keeps is stamped by the store's clock, and a cursor column by the source's. So each is asked for the time
where its stamps are compared with it.
"""

from __future__ import annotations

import datetime as dt
import socket
import time
from typing import Any, Protocol, runtime_checkable

from rowvec.support.figures import seconds

MOST = dt.timedelta(seconds=30)
"""Clocks that differ by more are reported. Search tokens allow for as much."""
SET = "Have every host take its time from the network (NTP), for example by systemd-timesyncd or chrony."


@runtime_checkable
class Timed(Protocol):
    """A store or source whose host has a clock of its own."""

    def now(self) -> dt.datetime:
        """The time there, with its zone."""
        ...


def here() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def now_of(part: Any) -> dt.datetime:
    """The time by the clock of a store or source; by that of this host where it has none."""
    return part.now() if isinstance(part, Timed) else here()


def ahead(part: Any) -> dt.timedelta:
    """How far the clock of this host is ahead of that of a store or source, at least; negative where it is behind.

    The answer was written at some moment while it was waited for, so clocks that agree at one of them do agree: a
    server that takes a minute to answer is not one whose clock is wrong.
    """
    if not isinstance(part, Timed):
        return dt.timedelta()
    before, there, after = here(), part.now(), here()
    return between(before, there, after)


def between(before: dt.datetime, there: dt.datetime, after: dt.datetime) -> dt.timedelta:
    """How far a clock is ahead of another one, at least; negative where it is behind.

    Args:
        before, after: what it said before and after the other one was asked.
        there: what that one said.
    """
    return max(before - there, dt.timedelta()) + min(after - there, dt.timedelta())


class Clock:
    """Goes on from what another host's clock said, without asking again.

    Args:
        said: the time there at this moment; by default that of this host.
    """

    def __init__(self, said: dt.datetime | None = None) -> None:
        self._said, self._heard_at = said or here(), time.monotonic()

    def now(self) -> dt.datetime:
        return self._said + dt.timedelta(seconds=time.monotonic() - self._heard_at)


def difference(ahead: dt.timedelta, whose: str) -> str | None:
    """A sentence on clocks that differ by more than `MOST`; None where they do not.

    Args:
        ahead: of this host's clock.
        whose: the other clock is.
    """
    if abs(ahead) <= MOST:
        return None
    where = "ahead of" if ahead > dt.timedelta() else "behind"
    return f"the clock of {socket.gethostname()} is {seconds(abs(ahead).total_seconds())} {where} that of {whose}"
