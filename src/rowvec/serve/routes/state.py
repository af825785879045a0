"""Health, status, metrics, and what there is to search."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Depends, Query
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from rowvec.auditing.neighbours import BOUND, ROWS
from rowvec.pipeline_status import Status
from rowvec.serve.context import Pick, context_of
from rowvec.serve.guard.guard import AUTHORISED
from rowvec.serve.models import Plain
from rowvec.serve.parameters import Router
from rowvec.serve.problems import RESPONSES
from rowvec.serve.replies import json_reply
from rowvec.serve.service import CHECK_SECONDS, Service
from rowvec.serve.state_models import HealthReply, PipelineInfo, PipelinesReply, QualityReply, StatusReply

UNREADY: dict[int | str, dict[str, Any]] = {
    **RESPONSES,
    503: {"model": HealthReply, "description": "Not every pipeline can be searched"},
}
MOST_COMPARED = 10_000
EXPOSITION: dict[int | str, dict[str, Any]] = {
    **RESPONSES,
    200: {"description": "Prometheus' text format", "content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}},
}


def state_routes(pick: Pick) -> Router:
    """The routes about the pipeline that `pick` gives."""
    router = Router(tags=["state"], responses=RESPONSES)

    @router.get("/status", response_model=StatusReply, summary="How far the vectors are in step with the rows")
    async def status(request: Request, service: Service = Depends(pick)) -> Response:
        return json_reply(status_dict(await context_of(request).side_threads.run(service.operations.status)))

    @router.get("/quality", response_model=QualityReply, summary="Rows worth a look")
    async def quality(
        request: Request,
        service: Service = Depends(pick),
        rows: Annotated[
            int, Plain, Query(ge=1, le=MOST_COMPARED, description="As many are compared with their nearest.")
        ] = ROWS,
        bound: Annotated[
            float, Plain, Query(gt=0, le=1, description="Cosine from which on two rows are a pair.")
        ] = BOUND,
        fresh: Annotated[
            bool, Query(description="Look again; else what was found in the last 10 minutes will do.")
        ] = False,
    ) -> Response:
        look = await context_of(request).side_threads.run(service.looks.look, rows, bound, fresh)
        return json_reply({**look.found.as_dict(), "at": look.at})

    @router.get("/metrics", response_class=Response, responses=EXPOSITION, summary="Metrics of the whole server")
    async def metrics(request: Request) -> Response:
        context = context_of(request)
        # Not in the pool: a server whose threads are all busy must still say so.
        body = await asyncio.to_thread(context.metrics.exposition)
        return Response(body, media_type=CONTENT_TYPE_LATEST)

    return router


def server_routes() -> Router:
    """The routes about the server as a whole."""
    router = Router(tags=["state"], responses=RESPONSES)

    @router.get("/health", response_model=HealthReply, responses=UNREADY, summary="Can every pipeline be searched?")
    async def health(request: Request) -> Response:
        return await _health(request, context_of(request).services.values())

    @router.get("/health/live", summary="Does the server answer at all?")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/pipelines", response_model=PipelinesReply, summary="What there is to search")
    async def pipelines(request: Request) -> PipelinesReply:
        return PipelinesReply(pipelines=[pipeline_info(service) for service in context_of(request).services.values()])

    return router


def health_routes(pick: Pick) -> Router:
    router = Router(tags=["state"], responses=UNREADY)

    @router.get("/health", response_model=HealthReply, summary="Can this pipeline be searched?")
    async def health(request: Request, service: Service = Depends(pick)) -> Response:
        return await _health(request, [service])

    return router


async def _health(request: Request, services: Iterable[Service]) -> Response:
    # One check of a pipeline is for all who ask, also for those who may not see all rows.
    services = [service.whole for service in services]
    await asyncio.gather(*(asyncio.to_thread(service.check, CHECK_SECONDS) for service in services))
    ready = all(service.problem is None for service in services)
    details = {service.name: _details(service) for service in services}
    reply = {"live": True, "ready": ready, "details": details if request.scope.get(AUTHORISED) else None}
    return json_reply(reply, 200 if ready else 503)


def _details(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = {"ready": service.problem is None, "problem": service.problem}
    return {**found, "missing_parts": missing} if (missing := service.missing_parts) else found


def pipeline_info(service: Service) -> PipelineInfo:
    spec, made = service.pipeline.spec, service.embedder.fingerprint
    return PipelineInfo.model_validate(
        {
            "name": service.name,
            "key": spec.key,
            "key_type": spec.key_type.value,
            "model": made.model,
            "dimension": made.dimension,
            "modes": service.modes,
            "columns": [{"name": column.name, "type": column.type.value} for column in spec.metadata],
            "ranking": asdict(service.pipeline.ranking),
            "reranks": service.pipeline.reranker is not None,
            "billed": service.embedder.bills_queries or service.pipeline.reranker is not None,
            "card": asdict(service.pipeline.card),
        }
    )


def status_dict(status: Status) -> dict[str, object]:
    """A status without the address of the store, which is the operator's business."""
    return {name: value for name, value in status.as_dict().items() if name != "where"}
