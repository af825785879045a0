"""Connections: how many there may be, and how long one may take to ask or to listen.

uvicorn waits for ever for the rest of a request. Whoever opens connections and says nothing would take one descriptor
of the process after the other, until it can neither accept callers nor open its database.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from rowvec.serve.problems import Problem
from rowvec.serve.settings import ServeSettings

logger = logging.getLogger("rowvec.serve")

HEAD_SECONDS = 10.0
"""From the opening of a connection, or the answer before, to the last header of a request."""
BODY_SECONDS = 60.0
"""From its last header to the end of its body."""
READ_SECONDS = 60.0
"""For the caller to take what waits to be sent."""
MOST = 1000
BACKLOG = 128
LOG_SECONDS = 10.0
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

SLOW = Problem(408, "The request took too long to arrive.", "Send the headers within 10 s and the body within 60 s.")
FULL = Problem(503, "The server has too many connections.", "Try again in a moment.", retry_after=1)


def uvicorn_settings(settings: ServeSettings) -> dict[str, Any]:
    """How uvicorn listens."""
    return {
        "http": Connection,
        "backlog": BACKLOG,
        "access_log": False,
        "server_header": False,
        "proxy_headers": bool(settings.trusted_proxies),
        # Said even where it is empty: else the environment's FORWARDED_ALLOW_IPS counts.
        "forwarded_allow_ips": list(settings.trusted_proxies),
    }


@cache
def most_connections() -> int:
    """Half of the descriptors: the rest is for databases, models and files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(8, min(MOST, soft // 2))


class Connection(H11Protocol):
    """One connection. What it waits for has a limit in time; when there are too many, the one makes room that has been
    silent longest, first among those that never asked for anything."""

    _timer: asyncio.TimerHandle | None = None
    _awaited: object = None
    _silent_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # As in uvicorn.
        super().connection_made(transport)
        self._silent_since = self.loop.time()
        if len(self.connections) > most_connections():
            silent = [each for each in self.connections if isinstance(each, Connection) and each._asks_nothing]
            min(silent, key=lambda each: (each.cycle is not None, each._silent_since))._refuse(FULL)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._silent_since = self.loop.time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    @property
    def _asks_nothing(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        """Time what is awaited from the caller, once for each head, each body, and each answer to be taken."""
        if self.flow.write_paused or self.transport.is_closing():
            self._await("taking", READ_SECONDS, self.transport.abort)
        elif self._asks_nothing:
            self._await(("head after", self.cycle), HEAD_SECONDS, lambda: self._refuse(SLOW))
        elif self.cycle.more_body:
            self._await(("body of", self.cycle), BODY_SECONDS, lambda: self._refuse(SLOW))
        else:
            self._stop()

    def _await(self, what: object, seconds: float, otherwise: Callable[[], None]) -> None:
        if what != self._awaited:
            self._stop()
            self._awaited, self._timer = what, self.loop.call_later(seconds, otherwise)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._awaited = self._timer = None

    def _refuse(self, problem: Problem) -> None:
        """Say why, unless an answer is on its way, and close."""
        self.connections.discard(self)
        if self._asks_nothing or not self.cycle.response_started:
            self.transport.write(_raw(problem))
        self.transport.close()
        self._watch()


def _raw(problem: Problem) -> bytes:
    response = problem.response()
    status = HTTPStatus(problem.status_code)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), b"connection: close"]
    lines += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body)


def speak_seldom(loop: asyncio.AbstractEventLoop) -> None:
    """Let `loop` say once in a while that the process has no descriptors left: asyncio does for each try, with a
    traceback, some thousand times a second."""
    said = float("-inf")

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal said
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in EXHAUSTED):
            loop.default_exception_handler(context)
        elif loop.time() - said > LOG_SECONDS:
            said = loop.time()
            logger.warning("No connection can be accepted: %s. `ulimit -n` allows more descriptors.", error.strerror)

    loop.set_exception_handler(handle)
