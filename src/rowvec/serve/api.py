"""The application: routes, the guard around them, and what happens at start and end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from rowvec import __version__
from rowvec.errors import ConfigError
from rowvec.evaluation.query_log import QueryLog
from rowvec.serve import problems
from rowvec.serve.background import Background
from rowvec.serve.context import Context, context_of, named_pipeline, only_pipeline, pipeline_if_one
from rowvec.serve.guard.guard import Guard
from rowvec.serve.metrics import Metrics
from rowvec.serve.page import page
from rowvec.serve.parameters import only_known
from rowvec.serve.routes.compare import compare_routes
from rowvec.serve.routes.embeddings import embeddings_routes, models_routes
from rowvec.serve.routes.events import event_routes
from rowvec.serve.routes.map import MapFile, map_routes
from rowvec.serve.routes.rerank import rerank_routes
from rowvec.serve.routes.row import row_routes
from rowvec.serve.routes.search import search_routes
from rowvec.serve.routes.state import health_routes, server_routes, state_routes
from rowvec.serve.routes.tasks import task_routes
from rowvec.serve.routes.work import work_routes
from rowvec.serve.service import Service
from rowvec.serve.settings import ServeSettings
from rowvec.serve.threads import Threads

logger = logging.getLogger("rowvec.serve")

CHECK_SECONDS = 30.0
"""Seconds between two looks whether another model's vectors have replaced those that are searched."""
SIDE_THREADS = 4
PACKED = 16_000
"""Bytes of a reply from which on it is packed."""
DESCRIPTION = "Search rows by meaning, by words, or by both; embed texts with the model that embedded the rows."


def create_app(
    services: Mapping[str, Service], settings: ServeSettings | None = None, queries: QueryLog | None = None
) -> FastAPI:
    """The API and the page over `services`, by pipeline name. Models are loaded when the application starts.

    Args:
        queries: the log of what people ask.

    Raises:
        ConfigError: there is no pipeline to serve.
    """
    if not services:
        raise ConfigError("There is no pipeline to serve.", hint="Declare one in rowvec.toml, or run `rowvec init`.")
    settings = settings or ServeSettings()
    threads = Threads(settings.workers, settings.waiting)
    # A source or a broker that does not answer must not keep searches from their threads.
    side_threads = Threads(SIDE_THREADS, settings.waiting)
    places = settings.embedding_places
    embedding_threads = Threads(places, places, "The server embeds as many lists of texts as it can.")
    background = Background()
    metrics = Metrics(services, lambda: threads.busy, background, queries)
    app = FastAPI(
        title="rowvec",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        dependencies=[Depends(only_known)],
        # Spans and log records would carry what people search for.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.context = Context(
        services, settings, threads, side_threads, embedding_threads, metrics, background, queries
    )
    problems.install(app, page.not_found)
    _include_routes(app, services)
    page.install(app)
    _install_mcp(app)
    # Not for short replies: packing one would cost a search more than sending it.
    app.add_middleware(GZipMiddleware, minimum_size=PACKED, compresslevel=1)
    hosts = {host for service in services.values() for host in service.pipeline.card.image_hosts}
    app.add_middleware(Guard, settings=settings, metrics=metrics, page=page.not_found, image_hosts=hosts)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(settings.origins),
            allow_methods=["GET", "HEAD", "POST"],
            # Clients send headers of their own, such as x-stainless-lang; none of them means anything here.
            allow_headers=["*"],
        )
    return app


def _include_routes(app: FastAPI, services: Mapping[str, Service]) -> None:
    """All of the API. What is about one pipeline has an address with its name, and one without for a server of one."""
    app.include_router(server_routes())
    app.include_router(event_routes())
    app.include_router(task_routes())
    app.include_router(models_routes())
    for pick, prefix in ((only_pipeline, ""), (named_pipeline, "/pipelines/{name}")):
        app.include_router(search_routes(pick), prefix=prefix)
        app.include_router(state_routes(pick), prefix=prefix)
        app.include_router(work_routes(pick), prefix=prefix)
    for routes in (embeddings_routes, rerank_routes):
        app.include_router(routes(pipeline_if_one))
        app.include_router(routes(named_pipeline), prefix="/pipelines/{name}")
    app.include_router(health_routes(named_pipeline), prefix="/pipelines/{name}")
    maps = {name: MapFile(service, service.map_file) for name, service in services.items()}
    app.include_router(map_routes(maps))
    app.include_router(row_routes(maps))
    app.include_router(compare_routes())


def _install_mcp(app: FastAPI) -> None:
    """The tools for agents, where the extra for them is installed."""
    app.state.mcp_sessions = nullcontext
    if find_spec("mcp") is None:
        return
    from mcp.server.mcpserver import Context as Call

    from rowvec.serve.mcp_server import Tools, routes

    context: Context = app.state.context

    def visible(call: Call[Any, Any]) -> Mapping[str, Service]:
        request = call.request_context.request
        assert request is not None, "a call over HTTP has its request, and that its rights"
        return context_of(request).services

    server = Tools(visible, context.threads, context.side_threads, context.searched).server()
    app.router.routes += routes(server, context.settings.max_body)
    app.state.mcp_sessions = server.session_manager.run


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    context: Context = app.state.context
    for service in context.services.values():
        await asyncio.to_thread(service.warm)
    checking = asyncio.create_task(_check(context))
    try:
        async with app.state.mcp_sessions():
            yield
    finally:
        checking.cancel()
        for threads in (context.threads, context.side_threads, context.embedding_threads):
            threads.close()


async def _check(context: Context) -> None:
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        for service in context.services.values():
            try:
                await asyncio.to_thread(service.check)
            except Exception:
                # The next check may work, and the other pipelines need theirs.
                logger.exception("The check of the pipeline %s failed.", service.name)
