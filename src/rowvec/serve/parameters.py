"""Query parameters that a route does not have, or would take one of, are refused, and so are the fields of a body:
without its filter a search looks right and is wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute
from starlette.requests import Request

from rowvec.serve.problems import Problem, did_you_mean

if TYPE_CHECKING:
    from fastapi.dependencies.models import Dependant

FILTERS = ("where", "filters")
"""What a filter is called in an address and in a body."""
MOST_BYTES = 100_000
"""A longer body holds texts, and its filter is not worth reading them twice."""


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


async def only_once(request: Request) -> None:
    """
    Raises:
        Problem: 422, an object in the body has a field twice, of which the last one would count.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or route.body_field is None:
        return
    body = await request.body()
    if len(body) > MOST_BYTES:
        return

    # What is not JSON is told where the body is read.
    with suppress(ValueError, RecursionError):
        _check(json.loads(body, object_pairs_hook=_Pairs))


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON, with the fields that it has twice."""


def _check(body: Any) -> None:
    pending = [(body, False)]
    while pending:
        value, in_filter = pending.pop()
        if isinstance(value, _Pairs):
            given = Counter(name for name, _ in value)
            twice = next((name for name, times in given.items() if times > 1), None)
            if twice is not None:
                text = f"The body has {twice[:60]!r} {given[twice]} times in one object."
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
