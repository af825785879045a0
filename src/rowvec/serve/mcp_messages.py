"""Messages of JSON-RPC before the SDK acts on them, on stdin and over HTTP.

The SDK takes the last value of a name that is twice in an object, so that a search would go on without its first
filter.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import AsyncIterator
from io import TextIOWrapper
from typing import Any, Self

from anyio import AsyncFile
from mcp.types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rowvec.support.json_objects import RepeatedName, once


def refusal(text: str | bytes, unread: Exception | None = None) -> JSONRPCError | None:
    """The answer to a message that is not passed on; None for one that is.

    Args:
        unread: why the SDK cannot read it.
    """
    if unread is not None:
        return _unread(unread)
    try:
        json.loads(text, object_pairs_hook=once)
    except RepeatedName as error:
        what = ErrorData(code=INVALID_REQUEST, message=f"The name {error}. Leave one of the two out.")
        return JSONRPCError(jsonrpc="2.0", id=None if error.name == "id" else _id(text), error=what)
    except (ValueError, RecursionError):
        # The SDK says so.
        return None
    return None


def _id(text: str | bytes) -> int | str | None:
    message = json.loads(text)
    found = message.get("id") if isinstance(message, dict) else None
    return found if isinstance(found, int | str) else None


def _unread(error: Exception) -> JSONRPCError:
    reasons = error.errors(include_url=False, include_input=False) if isinstance(error, ValidationError) else []
    if any(each["type"] == "json_invalid" for each in reasons):
        what = ErrorData(code=PARSE_ERROR, message=f"The line is not JSON: {reasons[0]['ctx']['error']}.")
    else:
        what = ErrorData(code=INVALID_REQUEST, message="The line is not a message of JSON-RPC 2.0.")
    return JSONRPCError(jsonrpc="2.0", id=None, error=what)


class Lines(AsyncFile[str]):
    """The lines of stdin, and in `taken` those that the SDK has taken: it makes one message or error of each."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.taken: deque[str] = deque()

    @classmethod
    def of_stdin(cls) -> Self:
        """Stdin itself is empty then: what a library reads there, or a child, is not taken from the messages."""
        told = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, sys.stdin.fileno())
        os.close(nothing)
        return cls(TextIOWrapper(told, encoding="utf-8", errors="replace"))

    async def __aiter__(self) -> AsyncIterator[str]:
        while line := await self.readline():
            self.taken.append(line)
            yield line


class Once:
    """The SDK's endpoint for HTTP, behind that look."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        refused = refusal(body)
        if refused is not None:
            said = refused.model_dump_json(by_alias=True, exclude_unset=True)
            await Response(said, 400, media_type="application/json")(scope, receive, send)
            return
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, again, send)
