"""Requests and replies of `/v1`: OpenAI's for models and embeddings, Cohere's and Jina's for reranking.

Source of the formats: OpenAI's API reference, "Models" and "Create embeddings"; Cohere's and Jina's, "Rerank". A field
that is not here is accepted and ignored, since clients send fields of their own, such as `user`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from rowvec.searcher import MAX_QUERY
from rowvec.types import Vector

MAX_TEXTS = 2048
"""In one request for embeddings, as at OpenAI."""
MAX_DOCUMENTS = 1000
"""In one request for a rerank, as at Cohere."""


class OpenAIErrorBody(BaseModel):
    message: str
    type: str
    param: str | None = Field(description="The field that is wrong, where one is.")
    code: str | None


class OpenAIErrorReply(BaseModel):
    error: OpenAIErrorBody


def _input(given: Any) -> Any:
    """A text, texts, a token array, or several of these. What it is not is said in words, not once for each form."""
    if isinstance(given, str):
        if not given:
            raise ValueError("the text is empty")
        return _encodable(given)
    if not isinstance(given, list) or not given:
        raise ValueError("it must be a text or a list of texts, and not empty")
    if len(given) > MAX_TEXTS and not _is_token(given[0]):
        raise ValueError(f"it has {len(given):,} texts; {MAX_TEXTS:,} are the most")
    if all(isinstance(item, str) for item in given):
        if "" in given:
            raise ValueError("a text is empty")
        return [*map(_encodable, given)]
    arrays = given if all(isinstance(item, list) for item in given) else [given]
    if not all(array and all(map(_is_token, array)) for array in arrays):
        raise ValueError("it must be a text, a list of texts, a token array, or a list of token arrays, none empty")
    return given


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half a surrogate pair, which is not a character") from None
    return text


def _is_token(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and item >= 0


Text = Annotated[str, Field(min_length=1)]
Token = Annotated[int, Field(ge=0)]
Tokens = Annotated[list[Token], Field(min_length=1)]


class EmbeddingsRequest(BaseModel):
    """OpenAI's request. Fields that only OpenAI uses, such as `user`, are accepted and ignored."""

    model_config = ConfigDict(strict=True, json_schema_extra={"example": {"input": ["brake pads", "disc rotor"]}})

    input: Annotated[
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
        | Tokens
        | Annotated[list[Tokens], Field(min_length=1, max_length=MAX_TEXTS)],
        BeforeValidator(_input),
    ] = Field(description="A text, several, or token arrays of the pipeline's own model.")
    model: str | None = Field(
        None,
        description="Any name: the pipeline's model answers. With several pipelines, the name of one or its model.",
    )
    encoding_format: Literal["float", "base64"] | None = Field("float", description="Null is as good as float.")
    dimensions: Annotated[int, Field(ge=1)] | None = Field(
        None, description="The model's own dimension; fewer where the model was trained for that."
    )

    @property
    def texts(self) -> list[str] | None:
        """None where token arrays were sent."""
        given = [self.input] if isinstance(self.input, str) else self.input
        return [item for item in given if isinstance(item, str)] or None

    @property
    def token_arrays(self) -> list[list[int]]:
        given: Any = self.input
        return given if isinstance(given[0], list) else [given]


class Embedding(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str = Field(description="Numbers, or base64 of little-endian 32-bit floats.")


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(BaseModel):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


def embeddings_reply(vectors: Sequence[Vector], tokens: int, model: str, encoding: str) -> dict[str, Any]:
    def encoded(vector: Vector) -> list[float] | str:
        if encoding == "base64":
            return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode("ascii")
        values: list[float] = vector.tolist()
        return values

    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": encoded(vector)}
            for index, vector in enumerate(vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


class ModelInfo(BaseModel):
    id: str
    object: Literal["model"]
    created: int = Field(description="Always 0: part of the format.")
    owned_by: str


class ModelsReply(BaseModel):
    object: Literal["list"]
    data: list[ModelInfo]


def model_info(model: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 0, "owned_by": "rowvec"}


def models_reply(models: Iterable[str]) -> dict[str, Any]:
    """OpenAI's list of models, each once."""
    return {"object": "list", "data": [model_info(model) for model in dict.fromkeys(models)]}


def _question(query: str) -> str:
    if not query.strip():
        raise ValueError("it is empty")
    return query


class TextDocument(BaseModel):
    text: str


def _documents(given: Any) -> Any:
    if not isinstance(given, list) or not given:
        raise ValueError("it must be a list of texts, and not empty")
    if len(given) > MAX_DOCUMENTS:
        raise ValueError(f"it has {len(given):,} texts; {MAX_DOCUMENTS:,} are the most")
    if not all(
        isinstance(item, str) or (isinstance(item, dict) and isinstance(item.get("text"), str)) for item in given
    ):
        raise ValueError('each must be a text, or an object with a text, such as {"text": "brake pads"}')
    for item in given:
        _encodable(item if isinstance(item, str) else item["text"])
    return given


class RerankRequest(BaseModel):
    """Cohere's and Jina's request. Fields that only they use are accepted and ignored."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"example": {"query": "brakes", "documents": ["brake pads", "oil filter"]}}
    )

    query: Annotated[str, Field(min_length=1, max_length=MAX_QUERY), AfterValidator(_question)]
    documents: Annotated[
        list[str | TextDocument], Field(min_length=1, max_length=MAX_DOCUMENTS), BeforeValidator(_documents)
    ]
    model: str | None = Field(
        None, description="Any name: the pipeline's reranker answers. With several pipelines, the name of one."
    )
    top_n: Annotated[int, Field(ge=1)] | None = Field(None, description="Number of results; all by default.")
    return_documents: bool | None = Field(False, description="Give each result its document.")

    @property
    def texts(self) -> list[str]:
        return [each if isinstance(each, str) else each.text for each in self.documents]


class RerankResult(BaseModel):
    index: int = Field(description="Place of the document in the request, from 0.")
    relevance_score: float
    document: TextDocument | None = Field(None, description="Left out unless `return_documents`.")


class RerankReply(BaseModel):
    id: str
    model: str
    results: list[RerankResult] = Field(description="The best first.")
