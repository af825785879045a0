"""What the routes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Path
from starlette.requests import Request

from rowvec.serve.background import Background
from rowvec.serve.metrics import Metrics
from rowvec.serve.service import Service, choose
from rowvec.serve.settings import ServeSettings
from rowvec.serve.threads import Threads


@dataclass(frozen=True, slots=True)
class Context:
    services: Mapping[str, Service]
    settings: ServeSettings
    threads: Threads
    side_threads: Threads
    """For what asks the source of the rows or the broker of the workers."""
    embedding_threads: Threads
    """For lists of texts, which take long: searches have threads of their own."""
    metrics: Metrics
    background: Background


Pick = Callable[..., object]
"""A dependency that gives the Service a request is for."""


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


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
