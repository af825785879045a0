"""`POST /v1/embeddings` in OpenAI's format, so that its clients work against the pipeline's own model.

Source of the format: OpenAI's API reference, "Create embeddings".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from rowvec.embedders.base import Embedder
from rowvec.errors import EmbedderError
from rowvec.serve.context import Pick, context_of
from rowvec.serve.models import EmbeddingsReply, EmbeddingsRequest, embeddings_reply
from rowvec.serve.problems import RESPONSES, Problem
from rowvec.serve.replies import json_reply
from rowvec.serve.service import Service
from rowvec.syncing.batches import embed_batch
from rowvec.types import Vector


def embeddings_routes(pick: Pick) -> APIRouter:
    router = APIRouter(tags=["embeddings"], responses=RESPONSES)

    @router.post("/v1/embeddings", response_model=EmbeddingsReply, summary="Embed texts as a sync would")
    async def embeddings(request: Request, body: EmbeddingsRequest, service: Service = Depends(pick)) -> Response:
        # One model for all of them, although another generation may go live meanwhile.
        embedder = service.embedder
        fingerprint = embedder.fingerprint
        if body.dimensions not in (None, fingerprint.dimension):
            raise Problem(422, f"'dimensions': {fingerprint.model} gives {fingerprint.dimension}.", "Leave it out.")
        vectors, tokens = await context_of(request).threads.run(_embed, embedder, body.texts)
        return json_reply(embeddings_reply(vectors, tokens, fingerprint.model, body.encoding_format))

    return router


def _embed(embedder: Embedder, texts: Sequence[str]) -> tuple[list[Vector], int]:
    """The vectors that a sync would store for rows of these texts, and how many tokens they took.

    Raises:
        EmbedderError: the model does not answer, or refuses a text.
    """
    vectors: list[Vector] = []
    tokens = 0
    for chunk in _chunks(embedder, texts):
        answer = embed_batch(embedder, chunk)
        tokens += answer.tokens
        for embedded in answer.vectors:
            if isinstance(embedded, EmbedderError):
                raise embedded
            vectors.append(embedded.vector)
    return vectors, tokens


def _chunks(embedder: Embedder, texts: Sequence[str]) -> Iterator[list[str]]:
    """Groups of texts, each within what the embedder takes at once."""
    group: list[str] = []
    tokens = 0
    for text, size in zip(texts, embedder.count_tokens(texts), strict=True):
        if group and (len(group) == embedder.chunk_texts or tokens + size > embedder.chunk_tokens):
            yield group
            group, tokens = [], 0
        group.append(text)
        tokens += size
    if group:
        yield group
