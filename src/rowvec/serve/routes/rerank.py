"""`POST /v1/rerank` in the format of Cohere and Jina, so that their clients work against the pipeline's own reranker.

`/v2/rerank`, where Cohere's newer clients ask, is the same.
"""

from __future__ import annotations

from secrets import token_hex
from typing import Any

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from rowvec.serve.choosing import choose_by_model
from rowvec.serve.context import Pick, context_of
from rowvec.serve.openai_models import RerankReply, RerankRequest
from rowvec.serve.parameters import Router
from rowvec.serve.problems import OPENAI_RESPONSES
from rowvec.serve.replies import json_reply
from rowvec.serve.service import Service


def rerank_routes(pick: Pick) -> Router:
    router = Router(tags=["embeddings"], responses=OPENAI_RESPONSES)

    @router.post("/v2/rerank", include_in_schema=False)
    @router.post(
        "/v1/rerank", response_model=RerankReply, response_model_exclude_none=True, summary="Put texts into order"
    )
    async def rerank(request: Request, body: RerankRequest, picked: Service | None = Depends(pick)) -> Response:
        context = context_of(request)
        service = picked or choose_by_model(context.services, body.model)
        scores = await context.threads.run(service.rerank, body.query, body.texts)
        best = sorted(range(len(scores)), key=lambda place: -scores[place])[: body.top_n]
        results: list[dict[str, Any]] = [{"index": place, "relevance_score": scores[place]} for place in best]
        if body.return_documents:
            for each in results:
                each["document"] = {"text": body.texts[each["index"]]}
        return json_reply({"id": token_hex(8), "model": body.model or service.name, "results": results})

    return router
