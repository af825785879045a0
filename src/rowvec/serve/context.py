"""What the routes share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from fastapi import Path
from starlette.requests import Request

from rowvec.api.tokens import Grant
from rowvec.errors import SearchError
from rowvec.evaluation.query_log import QueryLog
from rowvec.searcher import SearchResult
from rowvec.serve.background import Background
from rowvec.serve.choosing import choose
from rowvec.serve.guard.guard import GRANT
from rowvec.serve.metrics import Metrics
from rowvec.serve.problems import Problem
from rowvec.serve.service import Service
from rowvec.serve.settings import ServeSettings
from rowvec.serve.threads import Threads


@dataclass(frozen=True, slots=True)
class Context:
    services: Mapping[str, Service]
    """For a caller with a search token, those that it opens, each with the rows that it shows."""
    settings: ServeSettings
    threads: Threads
    side_threads: Threads
    """For what asks the source of the rows or the broker of the workers."""
    embedding_threads: Threads
    """For lists of texts, which take long: searches have threads of their own."""
    metrics: Metrics
    background: Background
    queries: QueryLog | None = None
    """The log of what people asked."""
    closing: threading.Event = field(default_factory=threading.Event)
    """Set when the server ends: what would stay open for long ends too."""

    def searched(
        self, service: Service, mode: str, query: str, where: Mapping[str, Any] | str | None, result: SearchResult
    ) -> str | None:
        """Count a search and note it in the log; the id that it has there."""
        self.metrics.searched(service.name, mode, result)
        if self.queries is None:
            return None
        keys = [hit.key for hit in result.hits]
        return self.queries.record(service.name, mode, query, where, keys, result.milliseconds)


SEEN = "rowvec.context"
"""Key of the ASGI scope: the context of a request with a search token, made once."""
Pick = Callable[..., object]
"""A dependency that gives the Service a request is for."""


def context_of(request: Request) -> Context:
    """What a request may use.

    Raises:
        Problem: 403, its search token does not fit the pipelines of this server.
    """
    context: Context = request.app.state.context
    grant: Grant | None = request.scope[GRANT]
    if grant is None:
        return context
    if SEEN not in request.scope:
        request.scope[SEEN] = replace(context, services=_granted(context.services, grant))
    seen: Context = request.scope[SEEN]
    return seen


def _granted(services: Mapping[str, Service], grant: Grant) -> Mapping[str, Service]:
    found = {}
    for name, where in grant.pipelines.items():
        try:
            if name in services:
                found[name] = services[name].within(where)
        except SearchError as error:
            what = f"The search token's filter does not fit the pipeline {name!r}: {error.message}"
            raise Problem(403, what, error.hint) from error
    if not found:
        raise Problem(403, "This server has no pipeline that the search token opens.")
    return found


async def only_pipeline(request: Request) -> Service:
    return choose(context_of(request).services, None)


async def pipeline_if_one(request: Request) -> Service | None:
    """None where there are several: the body says which."""
    services = context_of(request).services
    return choose(services, None) if len(services) == 1 else None


async def named_pipeline(
    request: Request, name: Annotated[str, Path(description="A pipeline of rowvec.toml.")]
) -> Service:
    return choose(context_of(request).services, name)
