"""`POST /v1/embeddings` in OpenAI's format, so that its clients work against the pipeline's own model.

Source of the format: OpenAI's API reference, "Create embeddings".
"""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from rowvec.serve.context import Pick, context_of
from rowvec.serve.models import EmbeddingsReply, EmbeddingsRequest, embeddings_reply
from rowvec.serve.problems import RESPONSES, Problem
from rowvec.serve.replies import json_reply
from rowvec.serve.service import Service


def embeddings_routes(pick: Pick) -> APIRouter:
    router = APIRouter(tags=["embeddings"], responses=RESPONSES)

    @router.post("/v1/embeddings", response_model=EmbeddingsReply, summary="Embed texts as a sync would")
    async def embeddings(request: Request, body: EmbeddingsRequest, service: Service = Depends(pick)) -> Response:
        fingerprint = service.embedder.fingerprint
        if body.dimensions not in (None, fingerprint.dimension):
            raise Problem(422, f"'dimensions': {fingerprint.model} gives {fingerprint.dimension}.", "Leave it out.")
        vectors, tokens = await context_of(request).threads.run(service.embed, body.texts)
        return json_reply(embeddings_reply(vectors, tokens, fingerprint.model, body.encoding_format))

    return router
