"""Stopping the sync at work, and letting failed rows be tried again."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from pydantic import BaseModel, Field
from starlette.requests import Request

from rowvec.errors import Locked
from rowvec.serve.context import Pick, context_of
from rowvec.serve.parameters import Router
from rowvec.serve.problems import RESPONSES, Problem, conflict
from rowvec.serve.service import Service


class StopReply(BaseModel):
    run: Annotated[int, Field(description="The run that was asked. It finishes the batches in hand.")]


class RetryReply(BaseModel):
    rows: Annotated[int, Field(description="Failed rows that are due now: the next sync tries them.")]


def work_routes(pick: Pick) -> Router:
    router = Router(tags=["tasks"], responses=RESPONSES)

    @router.post("/sync/stop", summary="Ask the sync at work to end cleanly", responses=conflict("No sync is at work."))
    async def stop(request: Request, service: Service = Depends(pick)) -> StopReply:
        run = await context_of(request).side_threads.run(service.operations.stop_sync)
        if run is None:
            raise Problem(409, "No sync is at work.", "GET /status says what is.")
        return StopReply(run=run)

    @router.post(
        "/failures/retry",
        summary="Let the next sync try every failed row again",
        responses=conflict("A sync is at work."),
    )
    async def retry(request: Request, service: Service = Depends(pick)) -> RetryReply:
        return RetryReply(rows=await context_of(request).side_threads.run(_retry, service))

    return router


def _retry(service: Service) -> int:
    try:
        return service.operations.retry_failures()
    except Locked as error:
        raise Problem(409, "A sync is at work.", "Try again when it has ended.") from error
