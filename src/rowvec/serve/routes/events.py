"""What people did with the hits of a query: for the log of queries."""

from __future__ import annotations

from starlette.requests import Request

from rowvec.serve.context import Context, context_of
from rowvec.serve.models import EventReply, EventRequest
from rowvec.serve.parameters import Router
from rowvec.serve.problems import RESPONSES, Problem


def event_routes() -> Router:
    router = Router(tags=["search"], responses=RESPONSES)

    @router.post("/events", status_code=202, summary="Say that a hit was opened or wanted")
    async def event(request: Request, body: EventRequest) -> EventReply:
        context = context_of(request)
        await context.side_threads.run(_record, context, body)
        return EventReply(recorded=True)

    return router


def _record(context: Context, body: EventRequest) -> None:
    if context.queries is None:
        raise Problem(404, "This server keeps no log of queries.", "[serve.queries] in rowvec.toml switches it on.")
    asked = context.queries.asked(body.query_id)
    if asked is None or asked[0] not in context.services:
        raise Problem(404, f"There is no query {body.query_id!r} in the log.", "It may have been too old to be kept.")
    keys = [str(key) for key in asked[1]]
    if str(body.key) not in keys:
        raise Problem(422, f"The row {str(body.key)[:100]!r} is not a hit of that query.")
    position = body.position or keys.index(str(body.key)) + 1
    if not context.queries.event(body.query_id, body.key, body.type, position):
        raise Problem(503, "The log of queries cannot be written now.", "Try again in a moment.", retry_after=1)
