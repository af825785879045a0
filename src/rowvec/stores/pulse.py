"""Telling a server that is slow from one that says nothing more.

A server that is frozen, or whose network swallows packets, does not end its connections: whoever waits for an answer
waits for ever, and no limit that the server keeps would help. A server that works on a long statement still lets others
in. So while a statement gets no answer, and nobody else in this process gets one, the server is asked over a connection
of its own. Where that gets none either, all who wait give up, and whoever comes later is told at once, until it answers
again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rowvec.errors import StoreUnavailable

ASKED_AFTER = 0.3
"""Share of the limit after which a silent server is asked; it has the rest for its answer."""
AGAIN_SECONDS = 1.0
"""A server that did not answer is asked again after that long, when somebody wants to read. Nobody waits for longer."""

Address = dict[str, Any]


class Silent(Exception):
    """The server says nothing. A store raises StoreUnavailable because of it."""


class Pulse:
    """Of one server. Safe to use from several threads.

    Args:
        ask: whether an answer comes over a new connection to an address. A refusal is an answer, too. It takes up to
            the seconds it is given for each of its steps.
        seconds: after which a server that says nothing is given up.
    """

    def __init__(self, ask: Callable[[Address, float], bool], seconds: float) -> None:
        self._ask = ask
        self.seconds = seconds
        self._changing = threading.Condition(threading.RLock())
        self._asked: float | None = None
        """When that was asked which has no answer yet."""
        self._heard = -math.inf
        self._silent_since: float | None = None
        self._ended = -math.inf
        """When the last question ended without an answer."""
        self._address: Address = {}
        self._opening = 0

    @property
    def in_doubt(self) -> bool:
        """It will be known soon whether the server answers."""
        return self._asked is not None or self._opening > 0

    def watch(self, address: Address, since: float, limit: float | None) -> None:
        """Called now and then while a statement gets no answer.

        Args:
            since: when the server last said something to it, by `time.monotonic`.
            limit: seconds after which the server itself cancels the statement; None for never.

        Raises:
            Silent: it is of no use to wait any longer.
        """
        now = time.monotonic()
        if limit is not None and now - since > limit + self.seconds:
            # Others may get answers: the process that works for this connection does not give any.
            raise Silent(
                f"it has said nothing for {limit + self.seconds:g} s, and has not cancelled the statement either"
            )
        with self._changing:
            if self._silent_since is None:
                if now - max(since, self._heard) < ASKED_AFTER * self.seconds:
                    return
                if self._asked is None:
                    self._start(address)
                if now - max(self._asked or now, self._heard) < (1 - ASKED_AFTER) * self.seconds:
                    return
                self._fall_silent()
        self.check()

    def check(self) -> None:
        """
        Raises:
            Silent: the server did not answer when it was last asked.
        """
        since = self._silent_since
        if since is not None:
            raise Silent(f"it has said nothing for {time.monotonic() - since:.0f} s, not even to a new connection")

    def admit(self) -> None:
        """Let somebody read, unless the server does not answer; see whether it does again.

        Raises:
            Silent: it does not.
        """
        if self._silent_since is None:
            return
        with self._changing:
            due = self._asked is None and time.monotonic() - self._ended >= AGAIN_SECONDS
            if due:
                self._start(self._address)
                self._changing.wait_for(lambda: self._asked is None, AGAIN_SECONDS)
        self.check()

    @contextmanager
    def opening(self) -> Iterator[None]:
        """While a connection is opened. A server that says nothing to it counts as silent."""
        with self._changing:
            self._opening += 1
        try:
            yield
        except StoreUnavailable as error:
            if isinstance(error.__cause__, Silent):
                with self._changing:
                    self._fall_silent()
            raise
        else:
            self.forget()
        finally:
            with self._changing:
                self._opening -= 1

    def heard(self) -> None:
        """It has answered somebody."""
        if self._silent_since is None:
            self._heard = time.monotonic()
        else:
            self.forget()

    def forget(self) -> None:
        """It answers, or it is another server from now on."""
        with self._changing:
            self._heard, self._silent_since = time.monotonic(), None

    def _fall_silent(self) -> None:
        self._ended = time.monotonic()
        if self._silent_since is None:
            self._silent_since = self._ended - self.seconds

    def _start(self, address: Address) -> None:
        # First: where no thread can be started, nobody is asked, and the next one tries again.
        threading.Thread(target=self._listen, args=(address,), name="rowvec-pulse", daemon=True).start()
        self._asked, self._address = time.monotonic(), address

    def _listen(self, address: Address) -> None:
        answered = False
        try:
            answered = self._ask(address, (1 - ASKED_AFTER) * self.seconds)
        finally:
            self._hear(answered=answered)

    def _hear(self, *, answered: bool) -> None:
        with self._changing:
            asked, self._asked = self._asked, None
            if answered:
                self.forget()
            elif asked is None or self._heard < asked:
                self._fall_silent()
            self._changing.notify_all()
