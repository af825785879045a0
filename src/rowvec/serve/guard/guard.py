"""The layer around the whole API: who may ask, how often and how much; what is counted; what never leaks.

Plain ASGI, because it runs for every request: a middleware class of the framework would cost more than a search.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rowvec.serve.guard.auth import Headers, Keys, Visitors, is_public, opens
from rowvec.serve.guard.limits import RateLimit, bounded, too_large
from rowvec.serve.guard.traces import note_answer, request_span
from rowvec.serve.metrics import Metrics
from rowvec.serve.parameters import check_encoding
from rowvec.serve.problems import OPENAI_PATH, Problem, is_person
from rowvec.serve.settings import ServeSettings

logger = logging.getLogger("rowvec.serve")

AUTHORISED = "rowvec.authorised"
"""Key of the ASGI scope: True for a caller with a right key, and for everybody if the server has no key."""
GRANT = "rowvec.grant"
"""Key of the ASGI scope: what the caller's search token opens; None for a caller who may see everything."""
UNLIMITED = frozenset({"/health", "/health/live"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src {}; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def security_headers(image_hosts: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """Args: image_hosts: origins besides this server that pictures may come from."""
    return [
        (b"content-security-policy", POLICY.format(" ".join(["'self'", *sorted(set(image_hosts))])).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
    ]


Page = Callable[[Request, int], Response]


class Guard:
    """
    Args:
        page: answers a person in a browser who asks for an address that needs a key, and which no page is.
        image_hosts: origins besides this server that pictures of a page may come from.
    """

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, metrics: Metrics, page: Page, image_hosts: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._page = page
        self._headers = security_headers(image_hosts)
        self._settings = settings
        self._metrics = metrics
        self._keys = Keys(settings.api_keys)
        self._visitors = Visitors(settings)
        self._rate = RateLimit(settings.rate, max(1.0, 2 * settings.rate))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0
        head = scope["method"] == "HEAD"
        if head:
            # Answered as GET is, without the body.
            scope = {**scope, "method": "GET"}

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers]
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            with request_span(scope) as traced:
                try:
                    await self._answer(scope, receive, sending)
                finally:
                    note_answer(traced, scope, status or 500)
        except Exception:
            incident = secrets.token_hex(8)
            logger.exception("Request %s failed: %s %s", incident, scope["method"], scope["path"])
            if status:
                raise  # Half an answer is out: only a broken connection can show it to the caller.
            problem = Problem(500, f"It failed: id {incident}.", "The server's log has the details under this id.")
            await problem.response(scope["path"])(scope, receive, sending)
        finally:
            self._metrics.request(scope, status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            most = self._admit(scope)
        except Problem as refusal:
            person = refusal.status_code == 401 and is_person(Request(scope))
            response = self._page(Request(scope), 401) if person else refusal.response(scope["path"])
            await response(scope, receive, send)
            return
        await self._app(scope, bounded(receive, most), send)

    def _admit(self, scope: Scope) -> int:
        """Let a request in and return how many bytes its body may have.

        Raises:
            Problem: it is refused.
        """
        headers: Headers = dict(scope["headers"])
        path: str = scope["path"]
        self._visitors.check(path, headers)
        caller = self._keys.caller(headers)
        scope[AUTHORISED], scope[GRANT] = caller.whole, caller.grant
        if path not in UNLIMITED:
            # Whoever sends wrong keys is known by the address: each wrong key is not a new caller.
            client = scope.get("client")
            wait = self._rate.wait(caller.name or (client[0] if client else ""))
            if wait:
                raise Problem(429, "Too many requests.", f"Wait {wait:.1f} s.", retry_after=wait)
        if not is_public(path):
            if caller.refusal is not None:
                raise caller.refusal
            if not caller.whole and not opens(path):
                raise Problem(
                    403,
                    "A search token does not open this.",
                    "It opens searches, compare and the pages of its rows. Use the API key.",
                )
        check_encoding(scope)
        most = self._settings.max_embeddings_body if OPENAI_PATH.match(path) else self._settings.max_body
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > most:
            raise too_large(most)
        return most
