"""`POST /v1/embeddings` in OpenAI's format, so that its clients work against the pipeline's own model.

Source of the format: OpenAI's API reference, "Create embeddings".
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from rowvec.embedders.base import Embedder
from rowvec.errors import EmbedderError
from rowvec.serve.context import Pick, context_of, named_pipeline
from rowvec.serve.models import EmbeddingsReply, EmbeddingsRequest, ModelsReply, embeddings_reply, models_reply
from rowvec.serve.problems import RESPONSES, Problem
from rowvec.serve.replies import json_reply
from rowvec.serve.service import Service
from rowvec.syncing.batches import embed_batch
from rowvec.types import Vector

CHUNK_TEXTS = 32
CHUNK_TOKENS = 4_096
"""What a model in this process embeds before it looks whether somebody searches, or the caller has left."""


def embeddings_routes(pick: Pick) -> APIRouter:
    router = APIRouter(tags=["embeddings"], responses=RESPONSES)

    @router.post("/v1/embeddings", response_model=EmbeddingsReply, summary="Embed texts as a sync would")
    async def embeddings(request: Request, body: EmbeddingsRequest, service: Service = Depends(pick)) -> Response:
        # One model for all of them, although another generation may go live meanwhile.
        embedder = service.embedder
        fingerprint = embedder.fingerprint
        if body.dimensions not in (None, fingerprint.dimension):
            raise Problem(422, f"'dimensions': {fingerprint.model} gives {fingerprint.dimension}.", "Leave it out.")
        threads = context_of(request).embedding_threads
        vectors: list[Vector] = []
        tokens = 0
        async with threads.place():
            for chunk in await threads.call(_chunks, embedder, body.texts):
                if await request.is_disconnected():
                    raise Problem(499, "The caller has left.")
                found, used = await threads.call(_embed, embedder, chunk)
                vectors += found
                tokens += used
        return json_reply(embeddings_reply(vectors, tokens, fingerprint.model, body.encoding_format or "float"))

    return router


def models_routes() -> APIRouter:
    """The models of all pipelines, whatever their number."""
    router = APIRouter(tags=["embeddings"], responses=RESPONSES)

    @router.get("/v1/models", response_model=ModelsReply, summary="The models that embed, of all pipelines")
    async def models(request: Request) -> Response:
        services = context_of(request).services.values()
        return json_reply(models_reply(service.embedder.fingerprint.model for service in services))

    @router.get("/pipelines/{name}/v1/models", response_model=ModelsReply, summary="The model of one pipeline")
    async def model(service: Service = Depends(named_pipeline)) -> Response:
        return json_reply(models_reply([service.embedder.fingerprint.model]))

    return router


def _embed(embedder: Embedder, texts: Sequence[str]) -> tuple[list[Vector], int]:
    """The vectors that a sync would store for rows of these texts, and how many tokens they took.

    Raises:
        EmbedderError: the model does not answer, or refuses a text.
    """
    answer = embed_batch(embedder, texts)
    vectors = []
    for embedded in answer.vectors:
        if isinstance(embedded, EmbedderError):
            raise embedded
        vectors.append(embedded.vector)
    return vectors, answer.tokens


def _chunks(embedder: Embedder, texts: Sequence[str]) -> list[list[str]]:
    """Groups of texts, each within what the embedder takes at once, and short enough for queries to get their turn."""
    most_texts, most_tokens = embedder.chunk_texts, embedder.chunk_tokens
    if not embedder.billed:
        # A service has its own machines, and each request of it its price in time.
        most_texts, most_tokens = min(most_texts, CHUNK_TEXTS), min(most_tokens, CHUNK_TOKENS)
    groups: list[list[str]] = []
    tokens = 0
    for text, size in zip(texts, embedder.count_tokens(texts), strict=True):
        if not groups or len(groups[-1]) == most_texts or tokens + size > most_tokens:
            groups.append([])
            tokens = 0
        groups[-1].append(text)
        tokens += size
    return groups
