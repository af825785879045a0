"""`/v1/embeddings` and `/v1/models` in OpenAI's format, so that its clients work against the pipeline's own model.

Source of the format: OpenAI's API reference, "Create embeddings".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from fastapi import Depends, Path
from starlette.requests import Request
from starlette.responses import Response

from rowvec.embedders.base import Embedder, shortened, shortens
from rowvec.errors import EmbedderError, TextRefused
from rowvec.serve.choosing import choose_by_model
from rowvec.serve.context import Pick, context_of, named_pipeline
from rowvec.serve.openai_models import (
    EmbeddingsReply,
    EmbeddingsRequest,
    ModelInfo,
    ModelsReply,
    embeddings_reply,
    model_info,
    models_reply,
)
from rowvec.serve.parameters import Router
from rowvec.serve.problems import OPENAI_RESPONSES, Problem
from rowvec.serve.query_cache import CachedQueries
from rowvec.serve.replies import json_reply
from rowvec.serve.service import Service
from rowvec.syncing.batches import embed_batch
from rowvec.types import Vector

CHUNK_TEXTS = 32
CHUNK_TOKENS = 4_096
"""What a model in this process embeds before it looks whether somebody searches, or the caller has left."""


def embeddings_routes(pick: Pick) -> Router:
    router = Router(tags=["embeddings"], responses=OPENAI_RESPONSES)

    @router.post("/v1/embeddings", response_model=EmbeddingsReply, summary="Embed texts as a sync would")
    async def embeddings(request: Request, body: EmbeddingsRequest, picked: Service | None = Depends(pick)) -> Response:
        service = picked or choose_by_model(context_of(request).services, body.model)
        # One model for all of them, although another generation may go live meanwhile.
        embedder = service.embedder
        fingerprint = embedder.fingerprint
        dimension = _dimension(embedder, body.dimensions)
        threads = context_of(request).embedding_threads
        vectors: list[Vector] = []
        tokens = 0
        async with threads.place():
            texts = body.texts or await threads.call(_read, embedder, body.token_arrays)
            for chunk in await threads.call(_chunks, embedder, texts):
                if await request.is_disconnected():
                    raise Problem(499, "The caller has left.")
                found, used = await threads.call(_embed, embedder, chunk)
                vectors += found
                tokens += used
        if dimension < fingerprint.dimension:
            vectors = list(shortened(np.stack(vectors), dimension))
        return json_reply(embeddings_reply(vectors, tokens, fingerprint.model, body.encoding_format or "float"))

    return router


def models_routes() -> Router:
    """The models of all pipelines, whatever their number."""
    router = Router(tags=["embeddings"], responses=OPENAI_RESPONSES)

    @router.get("/v1/models", response_model=ModelsReply, summary="The models that embed, of all pipelines")
    async def models(request: Request) -> Response:
        return json_reply(models_reply(_models(request)))

    @router.get("/v1/models/{id:path}", response_model=ModelInfo, summary="One model that embeds")
    async def one(request: Request, id: Annotated[str, Path(description="Its id, as the list has it.")]) -> Response:
        if id not in _models(request):
            raise Problem(404, f"There is no model {id[:100]!r}.", "GET /v1/models lists them.", param="model")
        return json_reply(model_info(id))

    @router.get("/pipelines/{name}/v1/models", response_model=ModelsReply, summary="The model of one pipeline")
    async def model(service: Service = Depends(named_pipeline)) -> Response:
        return json_reply(models_reply([service.embedder.fingerprint.model]))

    return router


def _models(request: Request) -> list[str]:
    return [service.embedder.fingerprint.model for service in context_of(request).services.values()]


def _dimension(embedder: Embedder, asked: int | None) -> int:
    """
    Raises:
        Problem: 422, the model does not give vectors of this dimension.
    """
    fingerprint = embedder.fingerprint
    own = fingerprint.dimension
    if asked is None or asked == own or (asked < own and shortens(embedder)):
        return asked or own
    what = f"{own} or fewer" if shortens(embedder) else f"{own}, and was not trained to give fewer"
    raise Problem(422, f"'dimensions': {fingerprint.model} gives {what}.", "Leave it out.", param="dimensions")


def _read(embedder: CachedQueries, arrays: Sequence[Sequence[int]]) -> list[str]:
    try:
        return [embedder.text_of(tokens) for tokens in arrays]
    except TextRefused as error:
        raise Problem(422, f"'input': {error.message}", error.hint, param="input") from error


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
