"""What happens now, as server-sent events: a sync at work, every second or two, and when everything is worth a look.

Source of the format: WHATWG HTML, "Server-sent events". The pages read it with `fetch`, which can send the API key.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rowvec.errors import RowvecError
from rowvec.serve.choosing import choose
from rowvec.serve.context import Context, context_of
from rowvec.serve.page.bodies import work_html
from rowvec.serve.service import Service

WORK_SECONDS = 1.5
LOOK_SECONDS = 10.0
"""How often a page looks at everything again while nothing is at work."""
LONGEST = 300.0
"""A page asks again after that; a connection that nobody reads any more does not stay for ever."""
BEAT = 0.25
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def install(app: FastAPI) -> None:
    @app.get("/ui/events", include_in_schema=False)
    async def events(request: Request, pipeline: str | None = None) -> Response:
        context = context_of(request)
        services = list(context.services.values()) if pipeline is None else [choose(context.services, pipeline)]
        return StreamingResponse(_events(context, services), media_type="text/event-stream", headers=HEADERS)


async def _events(context: Context, services: Sequence[Service]) -> AsyncIterator[str]:
    before: dict[str, tuple[int | None, str]] = {}
    ends, looked = time.monotonic() + LONGEST, time.monotonic()
    while time.monotonic() < ends:
        look = False
        for service in services:
            run, html = await context.side_threads.run(_work, service)
            known = before.get(service.name)
            before[service.name] = (run, html)
            if known is None or known[1] != html:
                yield _event("work", {"pipeline": service.name, "html": html})
            look |= known is not None and known[0] != run
        if look or time.monotonic() - looked > LOOK_SECONDS:
            looked = time.monotonic()
            yield _event("look", {})
        waits = time.monotonic() + WORK_SECONDS
        while time.monotonic() < waits:
            if context.closing.is_set():
                return
            await asyncio.sleep(BEAT)


def _work(service: Service) -> tuple[int | None, str]:
    """The number of the run at work, and what the page shows of it."""
    try:
        found = service.operations.work()
    except RowvecError:
        return None, ""
    return (found.run if found else None), work_html(service.name, found)


def _event(name: str, data: dict[str, str]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
