"""What the routes share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    closing: threading.Event = field(default_factory=threading.Event)
    """Set when the server ends: what would stay open for long ends too."""


Pick = Callable[..., object]
"""A dependency that gives the Service a request is for."""


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def only_pipeline(request: Request) -> Service:
    return choose(context_of(request).services, None)


async def named_pipeline(
    request: Request, name: Annotated[str, Path(description="A pipeline of rowvec.toml.")]
) -> Service:
    return choose(context_of(request).services, name)
