"""Asking the workers for a sync, and how far it is. Needs the `celery` extra and a worker that listens."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from fastapi import Path as PathParameter
from pydantic import BaseModel, Field
from starlette.requests import Request

from rowvec.errors import BrokerUnavailable, ConfigError, RowvecError
from rowvec.serve.background import Background
from rowvec.serve.choosing import choose
from rowvec.serve.context import context_of
from rowvec.serve.models import Request as RequestModel
from rowvec.serve.parameters import Router
from rowvec.serve.problems import RESPONSES, Problem
from rowvec.serve.service import Service

logger = logging.getLogger("rowvec.serve")

LARGEST_BATCH = 1_000_000
TASK = "rowvec.generate_embeddings"
TASK_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
STATES: dict[str, Literal["queued", "running", "done", "failed"]] = {
    "QUEUED": "queued",
    "STARTED": "running",
    "PROGRESS": "running",
    "RETRY": "queued",
    "SUCCESS": "done",
}


class GenerateRequest(RequestModel):
    pipeline: Annotated[
        str | None, Field(description="Pipeline name. Optional if there is only one.", max_length=200)
    ] = None
    batch_size: Annotated[int, Field(ge=1, le=LARGEST_BATCH, description="Maximum number of rows to embed.")] = 100


class QueuedReply(BaseModel):
    id: str
    task_name: str
    status: Literal["queued"]
    message: str
    workers: Annotated[
        int | None, Field(description="Workers that listen now; null if the broker cannot say. With 0 the task waits.")
    ] = None


class TaskReply(BaseModel):
    id: str
    status: Literal["queued", "running", "done", "failed"]
    progress: Annotated[dict[str, Any] | None, Field(description="Counts so far, while it is running.")] = None
    result: Annotated[dict[str, Any] | None, Field(description="`processed`, `failed` and perhaps `skipped`.")] = None
    error: str | None = None


def task_routes() -> Router:
    """The routes about background work. Celery is imported when one of them is asked for."""
    router = Router(prefix="/api/tasks", tags=["tasks"], responses=RESPONSES)

    @router.post("/generate-embeddings", summary="Ask a worker to embed rows that need it")
    async def generate_embeddings(request: Request, body: GenerateRequest) -> QueuedReply:
        context = context_of(request)
        service = choose(context.services, body.pipeline)
        number = await context.side_threads.run(_queue, service, body.batch_size)
        # By itself: to ask the workers takes seconds, in which the next requests are sent.
        return _queued(number, await context.side_threads.run(_listeners, context.background))

    @router.get("/{id}", summary="How far a task is")
    async def task(request: Request, id: Annotated[str, PathParameter(description="As queued.")]) -> TaskReply:
        return await context_of(request).side_threads.run(_look, id)

    return router


def _queue(service: Service, batch_size: int) -> str:
    with _workers() as celery:
        store_id, newest = _standing(service)
        number: str = celery.send(
            celery.generate_embeddings, store_id=store_id, pipeline=service.name, batch_size=batch_size,
            after_run=newest,
        )  # fmt: skip
    return number


def _listeners(background: Background) -> int | None:
    queue = background.look(idle=False)
    return queue.workers if queue is not None else None


def _queued(number: str, workers: int | None) -> QueuedReply:
    message = f"Task queued with ID: {number}"
    if workers == 0:
        message += ". No worker listens now: it waits until `rowvec worker` runs."
    return QueuedReply(id=number, task_name=TASK, status="queued", message=message, workers=workers)


def _standing(service: Service) -> tuple[str | None, int | None]:
    """Which store it is, and the newest run in it."""
    from rowvec.workers.jobs import newest_run

    try:
        return service.pipeline.store.identity(), newest_run(service.pipeline)
    except RowvecError:
        return None, None  # The task can wait for a store that does not answer now; no run counts as later then.


def _look(number: str) -> TaskReply:
    if not TASK_ID.fullmatch(number):
        raise _unknown(number)
    with _workers() as celery:
        found = celery.state_of(number)
    state, result = found["status"], found["result"]
    if state == "PENDING":
        raise _unknown(number)
    status = STATES.get(state, "failed")
    return TaskReply(
        id=number,
        status=status,
        progress=result if state == "PROGRESS" else None,
        result=result if status == "done" else None,
        error=str(getattr(result, "message", type(result).__name__)) if status == "failed" else None,
    )


@contextmanager
def _workers() -> Iterator[Any]:
    """The module that sends tasks.

    Raises:
        Problem: 503, because Celery is not installed, there is no config, or the broker does not answer.
    """
    try:
        from rowvec.workers import celery
    except ModuleNotFoundError as error:
        hint = "pip install 'rowvec[celery]'"
        raise Problem(503, "Background work is not installed on this server.", hint) from error
    try:
        yield celery
    except BrokerUnavailable as error:
        logger.warning("%s", error.message)
        raise Problem(
            503, "The broker of the workers does not answer.", "Try again in a moment.", retry_after=5
        ) from error
    except ConfigError as error:
        logger.warning("No task can be sent: %s", error)
        raise Problem(503, "This server is not set up for background work.", "Its log says what is missing.") from error


def _unknown(number: str) -> Problem:
    return Problem(404, f"There is no task {number[:50]!r}.", "Its result may have expired.")
