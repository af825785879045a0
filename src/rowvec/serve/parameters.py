"""Query parameters that a route does not have, or would take one of, are refused, and so are the fields of a body, and
what is not text: without its filter a search looks right and is wrong."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from fastapi.routing import APIRoute, APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from rowvec.serve.problems import Problem, did_you_mean
from rowvec.support.decimals import loads, may_be_far
from rowvec.support.json_objects import RepeatedName, once, repeated

if TYPE_CHECKING:
    from fastapi.dependencies.models import Dependant

FILTERS = ("where", "filters")
"""What a filter is called in an address and in a body."""
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


async def only_known(request: Request) -> None:
    """
    Raises:
        Problem: 422, with the name that was probably meant.
    """
    route = request.scope.get("route")
    # The page keeps its state in the address, and its own script reads it.
    if not request.query_params or not isinstance(route, APIRoute) or not route.include_in_schema:
        return
    known = dict(_names(route.dependant))
    unknown = next((name for name in request.query_params if name not in known), None)
    if unknown is not None:
        raise Problem(422, f"There is no parameter {unknown[:60]!r} here.", did_you_mean(unknown, list(known)))
    given = Counter(name for name, _ in request.query_params.multi_items())
    twice = next((name for name, times in given.items() if times > 1 and not known[name]), None)
    if twice is not None:
        text = f"The parameter {twice!r} is there {given[twice]} times, and one would be taken."
        raise Problem(422, text, _hint(twice in FILTERS))


def check_encoding(scope: Scope) -> None:
    """Refuse an address that is not text: what stood in place of its bytes would be looked for.

    Bytes that a client left as they are, as curl does, are read as if it had written them as %C3%BC.

    Raises:
        Problem: 400.
    """
    query: bytes = scope.get("query_string", b"")
    if not query.isascii():
        query = scope["query_string"] = _NOT_ASCII.sub(lambda byte: b"%%%02X" % ord(byte[0]), query)
    for part, what in ((query, "The query"), (scope.get("raw_path") or b"", "The path")):
        if b"%" not in part:
            continue
        try:
            unquote_to_bytes(part).decode()
        except UnicodeDecodeError as error:
            wrong = error.object[error.start]
            raise Problem(
                400,
                f"{what} of the address has %{wrong:02X} where that is not UTF-8.",
                "Write text as UTF-8 before you escape it: ü is %C3%BC.",
            ) from None


class Router(APIRouter):
    """Its routes refuse a body that has a field twice in one object, of which the last one would count."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(route_class=OnceRoute, **settings)


class OnceRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            return await handle(_Request(request.scope, request.receive))

        return answer


class _Request(Request):
    async def json(self) -> Any:
        """
        Raises:
            Problem: 422, with the field that is there twice.
        """
        if not hasattr(self, "_json"):
            body = await self.body()
            text = body.decode(json.detect_encoding(body), "surrogatepass")
            try:
                self._json = _exact(json.loads(text, object_pairs_hook=once), text)
            except RepeatedName:
                # Read again, to know whether it is in a filter.
                _check(json.loads(text, object_pairs_hook=_Pairs))
                raise
        return self._json


def _exact(body: Any, text: str) -> Any:
    """The body, whose filters have all digits of their numbers, as filters in the command line have. No other field
    takes a number that a double does not hold."""
    if isinstance(body, dict) and not body.keys().isdisjoint(FILTERS) and may_be_far(text):
        exact = loads(text)
        return body | {name: exact[name] for name in FILTERS if name in body}
    return body


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON, with the fields that it has twice."""


def _check(body: Any) -> None:
    pending = [(body, False)]
    while pending:
        value, in_filter = pending.pop()
        if isinstance(value, _Pairs):
            times = Counter(name for name, _ in value)
            if len(times) < len(value):
                twice = repeated(value)
                text = f"The body has {twice[:60]!r} {times[twice]} times in one object."
                raise Problem(422, text, _hint(in_filter or twice in FILTERS))
            pending += [(inner, in_filter or name in FILTERS) for name, inner in value]
        elif isinstance(value, list):
            pending += [(inner, in_filter) for inner in value]


def _hint(in_filter: bool) -> str:
    return "Join conditions by `and`." if in_filter else "Leave one of them out."


def _names(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """With each name, whether it may be there several times."""
    for parameter in dependant.query_params:
        yield parameter.alias, isinstance(parameter.default, list)
    for inner in dependant.dependencies:
        yield from _names(inner)
