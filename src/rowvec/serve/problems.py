"""Whatever goes wrong, as one shape of reply: `{"error": {"message": …, "hint": …}}`.

Addresses that OpenAI's clients use answer in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`, and
with 400 where the others say 422.

A message says what the caller can act on. What only the operator can act on, such as the name of a database host
or the text of a statement, goes to the log.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rowvec.errors import (
    BudgetExceeded,
    EmbedderError,
    NoVectors,
    PartUnavailable,
    RateLimited,
    RowvecError,
    SearchError,
    SourceError,
    StatementCancelled,
    StoreError,
    TextRefused,
)
from rowvec.serve.models import ErrorReply
from rowvec.serve.openai_models import OpenAIErrorReply
from rowvec.support.suggestions import suggestion

logger = logging.getLogger("rowvec.serve")


OPENAI_PATH = re.compile(r"(/pipelines/[^/]+)?/v[12]/")
"""The addresses of OpenAI's, Cohere's and Jina's clients."""
CODES = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}
"""Of an error in OpenAI's shape, by its status."""


class Problem(HTTPException):
    """A request that is answered with an error.

    An HTTPException, because that is what FastAPI lets through where a body is read.

    Args:
        param: the field of the request that is wrong.
    """

    def __init__(
        self,
        status: int,
        message: str,
        hint: str | None = None,
        *,
        retry_after: float | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(status, message)
        self.message = message
        self.hint = hint
        self.retry_after = retry_after
        self.param = param

    def response(self, path: str = "") -> Response:
        """
        Args:
            path: of the request; it decides the shape.
        """
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.status_code == 401:
            headers["WWW-Authenticate"] = "Bearer"
        status, error = self.status_code, {"message": self.message, "hint": self.hint}
        if OPENAI_PATH.match(path):
            status, error = 400 if status == 422 else status, self._in_openais_shape()
        # Escaped to ASCII: a message may quote half a surrogate pair, which UTF-8 cannot encode.
        return Response(json.dumps({"error": error}), status, headers, media_type="application/json")

    def _in_openais_shape(self) -> dict[str, str | None]:
        return {
            "message": f"{self.message} {self.hint}" if self.hint else self.message,
            "type": "invalid_request_error" if self.status_code < 500 else "server_error",
            "param": self.param,
            "code": CODES.get(self.status_code),
        }


def of_rowvec(error: RowvecError) -> Problem:
    """What a caller learns about an error inside rowvec."""
    if isinstance(error, SearchError | TextRefused):
        return Problem(422, error.message, error.hint)
    logger.warning("%s: %s", type(error).__name__, error)
    if isinstance(error, BudgetExceeded):
        return Problem(503, "The budget for the embedding model is spent.", "Keyword search and known queries work.")
    if isinstance(error, StatementCancelled):
        return Problem(422, "The database took longer for this than a request may take.", "Use a simpler filter.")
    if isinstance(error, NoVectors):
        return Problem(503, "There are no vectors yet.", "`rowvec sync` embeds the rows.", retry_after=1)
    wait = (error.retry_after if isinstance(error, RateLimited) else None) or 1
    if isinstance(error, PartUnavailable):
        said = f"Part {error.part + 1} of the vector store does not answer now."
        return Problem(503, said, 'Try again in a moment, or send "partial": true to search the others.', retry_after=1)
    where = {StoreError: "vector store", SourceError: "source of the rows", EmbedderError: "embedding model"}
    what = next((name for kind, name in where.items() if isinstance(error, kind)), "server")
    return Problem(503, f"The {what} does not answer now.", "Try again in a moment.", retry_after=wait)


SAME = {
    "q": ("query",), "text": ("query", "input"), "filter": ("where", "filters"), "filters": ("where",),
    "where": ("filters",), "top_k": ("limit",), "k": ("limit",), "n": ("limit",), "size": ("limit",),
}  # fmt: skip
"""What other search APIs call the same thing."""


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A hint with the field or parameter of that meaning, or of nearly that name."""
    meant = next((each for each in SAME.get(name.lower(), ()) if each in known), None)
    return f"Did you mean {meant!r}?" if meant else suggestion(name, known)


def of_validation(errors: Sequence[Mapping[str, Any]], known: Sequence[str] = ()) -> Problem:
    """The first thing wrong with a request; nothing that was sent is repeated.

    Args:
        known: the fields of the body.
    """
    # What is unknown comes first: it is probably what is missing, by another name.
    first = next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])
    if first["type"] == "json_invalid":
        return Problem(400, "The body is not JSON.", 'Send a JSON object, such as {"query": "brake pads"}.')
    where, *path = first["loc"]
    # A step such as `dict[str,any]` is one of the forms that a value may have.
    has_forms = first["type"] != "extra_forbidden"
    name = ".".join(str(step) for step in path if not (has_forms and "[" in str(step)))
    if first["type"] == "missing" or not path:
        what = f"{name!r} is missing" if path else f"The {where} is missing or not a JSON object"
        hint = "Send a JSON object, as application/json." if where == "body" and not path else None
        return Problem(422, f"{what}.", hint, param=name or None)
    if first["type"] == "extra_forbidden":
        return Problem(
            422, f"There is no field {name[:60]!r} here.", did_you_mean(name, known) if known else None, param=name[:60]
        )
    message = str(first["msg"]).removeprefix("Value error, ")
    return Problem(422, f"{name[:60]!r}: {message[:1].lower()}{message[1:].rstrip('.')}.", param=name[:60])


def install(app: FastAPI, page: Callable[[Request, int], Response] | None = None) -> None:
    """Let every error that `app` raises on purpose be answered in the one shape.

    Args:
        page: answers a person in a browser who asks for an address that is not there.
    """

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return error.response(request.url.path)

    async def rowvec_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RowvecError)
        return of_rowvec(error).response(request.url.path)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return of_validation(error.errors(), _fields(request)).response(request.url.path)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = {
            400: ("The body is not JSON.", "Send UTF-8 encoded JSON that is not nested too deeply."),
            404: ("There is nothing at this address.", "GET /docs lists what there is."),
            405: ("This address does not take that method.", "GET /docs lists the methods."),
        }
        if error.status_code == 404 and page is not None and is_person(request):
            return page(request, 404)
        message, hint = said.get(error.status_code, (str(error.detail), None))
        response = Problem(error.status_code, message, hint).response(request.url.path)
        response.headers.update(error.headers or {})
        return response

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RowvecError, rowvec_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)


def is_person(request: Request) -> bool:
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


def _fields(request: Request) -> list[str]:
    """The fields of the body that the route of a request takes; those of a field that is an object with its name."""
    body = getattr(request.scope.get("route"), "body_field", None)
    fields = getattr(body and body.field_info.annotation, "model_fields", {})
    inner = [
        f"{name}.{each}"
        for name, field in fields.items()
        for model in get_args(field.annotation)
        for each in getattr(model, "model_fields", ())
    ]
    return [*fields, *inner]


def _documented(description: str, message: str, hint: str | None = None) -> dict[str, Any]:
    example = {"error": {"message": message, "hint": hint}}
    return {"model": ErrorReply, "description": description, "content": {"application/json": {"example": example}}}


def _in_openais_shape(status: int | str, documented: Mapping[str, Any]) -> dict[str, Any]:
    said = documented["content"]["application/json"]["example"]["error"]
    example = json.loads(bytes(Problem(int(status), said["message"], said["hint"]).response("/v1/").body))
    return {**documented, "model": OpenAIErrorReply, "content": {"application/json": {"example": example}}}


def conflict(message: str) -> dict[int | str, dict[str, Any]]:
    """For a route that can also be refused because of what is there now; `message` is an example."""
    return {409: _documented("What is there now does not allow it", message)}


RESPONSES: dict[int | str, dict[str, Any]] = {
    400: _documented(
        "Not JSON, an address that is not UTF-8, a Host that is not served, or no pipeline named among several",
        "The body is not JSON.",
    ),
    401: _documented("The API key is missing or wrong", "The API key is missing or wrong."),
    403: _documented("Sent by a page of another origin", "Pages of other origins may not call this server."),
    404: _documented("No such pipeline or row", "There is no row 7."),
    408: _documented("The request did not arrive in time", "The request took too long to arrive."),
    413: _documented("The body is too large", "The body is larger than 1,000,000 bytes."),
    422: _documented(
        "The request asks for something impossible", "There is no metadata column 'prise'.", "Did you mean 'price'?"
    ),
    429: _documented("Too many requests; Retry-After says how many seconds to wait", "Too many requests."),
    500: _documented("A defect of the server; its log has the details under the id", "It failed: id 5f0c1d2e."),
    503: _documented(
        "The database or the model does not answer now, there are no vectors yet, or the server has no room for the"
        " request",
        "The vector store does not answer now.",
    ),
}
"""What each route can answer besides success, for the OpenAPI document."""

OPENAI_RESPONSES = {status: _in_openais_shape(status, said) for status, said in RESPONSES.items() if status != 422}
"""The same in OpenAI's shape. "4XX" keeps FastAPI from documenting a 422 of its own."""
OPENAI_RESPONSES["4XX"] = {**OPENAI_RESPONSES[400], "description": "The request asks for something impossible"}
