"""Query parameters that a route does not have are refused: without its filter a search looks right and is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi.routing import APIRoute
from starlette.requests import Request

from rowvec.serve.problems import Problem, did_you_mean

if TYPE_CHECKING:
    from fastapi.dependencies.models import Dependant


async def only_known(request: Request) -> None:
    """
    Raises:
        Problem: 422, with the name that was probably meant.
    """
    route = request.scope.get("route")
    # The page keeps its state in the address, and its own script reads it.
    if not request.query_params or not isinstance(route, APIRoute) or not route.include_in_schema:
        return
    known = list(_names(route.dependant))
    unknown = next((name for name in request.query_params if name not in known), None)
    if unknown is not None:
        raise Problem(422, f"There is no parameter {unknown[:60]!r} here.", did_you_mean(unknown, known))


def _names(dependant: Dependant) -> Iterator[str]:
    for parameter in dependant.query_params:
        yield parameter.alias
    for inner in dependant.dependencies:
        yield from _names(inner)
