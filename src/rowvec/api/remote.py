"""One `rowvec serve`, as a client sees it: requests with a key, tried again where that helps, and errors in words."""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import tenacity

from rowvec.api.tokens import KEY_VARIABLE
from rowvec.errors import ConfigError, SearchError, ServerError, ServerSlow, ServerUnavailable, TokenRefused
from rowvec.support.forks import begins_again, leave_to_parent
from rowvec.support.services import Answer, EndlessAnswer, checked_key, exchanged, http_client, quoted, retry_after

LONGEST_TIMEOUT = 86_400
"""Seconds. The clock of a socket ends somewhere beyond."""
MOST_BYTES = 2**28
"""Of an answer."""
LATE = 10
"""An answer may take this many times as long to its end as the server may be silent."""
CONNECTIONS = 10
"""Kept open between requests."""
LONGEST_WAIT = 10.0
"""Seconds between two tries, whatever the server asks for."""
PASSING = frozenset({408, 429, 502, 503})
"""Statuses of what may pass when it is asked again."""


class Remote:
    """Safe to use from several threads.

    Args:
        url: of the server, such as `https://search.example.com`.
        key: an API key or a search token.
        timeout: seconds that a try may wait for the server to say something.
        tries: how often a request is sent at most.

    Raises:
        ConfigError: not the address of a server, or a key that no request can carry.
    """

    def __init__(self, url: str, key: str | None, *, timeout: float, tries: int) -> None:
        try:
            parts = urlsplit(url)
            named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            named = False
        if not named:
            raise ConfigError("This is not the address of a server.", hint='Write it as "https://search.example.com".')
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                f"The address of {parts.hostname} holds more than a host and a path.",
                hint="Give the API key as `key`, and leave everything else out.",
            )
        if not 0 < timeout <= LONGEST_TIMEOUT or tries < 1:
            raise ConfigError(
                f"timeout is {timeout} and tries is {tries}.",
                hint=f"The timeout is above 0 and at most {LONGEST_TIMEOUT:,} seconds; at least one try is needed.",
            )
        self.url = url.rstrip("/")
        self._key = checked_key(key, KEY_VARIABLE)
        self._timeout = timeout
        self._connect()
        begins_again(self)
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, ServerUnavailable)),
            wait=_wait,
            stop=tenacity.stop_after_attempt(tries),
            reraise=True,
        )

    def _connect(self) -> None:
        self._http = http_client(self.url, self._key, self._timeout, CONNECTIONS)
        # Retrievers of frameworks are rarely closed.
        self.close = weakref.finalize(self, self._http.close)

    def begin_again(self) -> None:
        """In a forked process."""
        self.close.detach()
        leave_to_parent(self._http)
        self._connect()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Raises as `post` does."""
        return self._retrying(self._send, "GET", path, params, None)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """
        Raises:
            SearchError: the server cannot answer that request. TokenRefused: it does not take the key.
            ServerUnavailable: it gave no answer, however often it was asked. ServerError: it is not a rowvec, or
                it failed.
        """
        try:
            written = json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise SearchError(f"The request cannot be written as JSON: {error}.") from None
        return self._retrying(self._send, "POST", path, None, written)

    def _send(self, method: str, path: str, params: Mapping[str, Any] | None, body: bytes | None) -> dict[str, Any]:
        import httpx2

        try:
            headers = None if body is None else {"content-type": "application/json"}
            answer = exchanged(
                self._http, method, self.url + path, params=params, content=body, headers=headers,
                most_bytes=MOST_BYTES, seconds=LATE * self._timeout,
            )  # fmt: skip
        except httpx2.TimeoutException as error:
            # Asked again, it would have the work twice.
            raise ServerSlow(
                f"{self.url} gave no answer within {self._timeout:g} s.",
                hint="Try again later, or with a longer timeout.",
            ) from error
        except httpx2.RequestError as error:
            said = quoted(str(error), self._key) or type(error).__name__
            hint = "Is `rowvec serve` running there?"
            raise ServerUnavailable(f"{self.url} cannot be reached: {said}", hint) from error
        except EndlessAnswer as error:
            raise ServerError(f"{self.url} {error}.", hint="Is this a `rowvec serve`?") from error
        if 200 <= answer.status < 300:
            return self._read(answer)
        raise self._refusal(answer)

    def _read(self, answer: Answer) -> dict[str, Any]:
        found = _json(answer)
        if not isinstance(found, dict):
            raise ServerError(f"{self.url} answers with something else than JSON.", hint="Is this a `rowvec serve`?")
        return found

    def _refusal(self, answer: Answer) -> Exception:
        status, found = answer.status, _json(answer)
        wait = retry_after(answer.headers, time.time())
        if status == 504:
            # A gateway gave up. Asked again, the server would have the work twice.
            return ServerSlow(f"{self.url} gave no answer in time.", hint="Try again later.")
        error = found.get("error") if isinstance(found, dict) else None
        if not isinstance(error, dict) or not isinstance(error.get("message"), str):
            if status in PASSING:
                return ServerUnavailable(f"{self.url} answered {status}.", retry_after=wait)
            leads = quoted(answer.headers.get("location", ""), self._key) if 300 <= status < 400 else ""
            what = f"It leads to {leads}: use that address." if leads else "Is this a `rowvec serve`?"
            return ServerError(f"{self.url} answered {status}.", hint=what)
        message, said = quoted(error["message"], self._key), error.get("hint")
        hint = quoted(said, self._key) if isinstance(said, str) else None
        if status in (401, 403):
            return TokenRefused(message, hint)
        if status in PASSING:
            return ServerUnavailable(message, hint, retry_after=wait)
        return SearchError(message, hint) if status < 500 else ServerError(message, hint)


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError):
        return None


_growing = tenacity.wait_random_exponential(multiplier=0.1, max=LONGEST_WAIT)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ServerUnavailable) else None
    return _growing(state) if asked is None else min(asked, LONGEST_WAIT)
