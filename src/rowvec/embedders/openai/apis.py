"""How services are asked for embeddings, and their answers in OpenAI's form. Nothing here sends anything.

Each of the others is told whether a text is a query or a row. Voyage and Jina speak OpenAI's API with one more field.
Cohere and Gemini have an API of their own beside one that is compatible with OpenAI's, which cannot be told.

https://platform.openai.com/docs/api-reference/embeddings https://docs.cohere.com/reference/embed
https://ai.google.dev/api/embeddings https://docs.voyageai.com/reference/embeddings-api https://jina.ai/embeddings
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, whatever the service calls it."""

    model: str
    texts: Sequence[str]
    dimensions: int | None
    packed: bool
    """As base64."""
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Api:
    """How one kind of service is asked."""

    path: Callable[[str], str]
    """Behind the base URL, for a model."""
    body: Callable[[Request], Body]
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """A parsed body in OpenAI's form. What is not in the form that it should have is passed on as it is."""
    most_texts: int
    """In one request."""
    packs: bool = False
    """It may answer in base64."""
    key_header: str = "Authorization"
    passage: Mapping[str, Any] = field(default_factory=dict)
    """What says that a text is a row's."""
    query: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    """What it calls a field that people may write in another way."""

    def named(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {self.names.get(name, name): value for name, value in params.items()}


def _compatible(dimensions: str = "dimensions") -> Callable[[Request], Body]:
    """OpenAI's form, where only the field of the dimensions may have another name."""

    def body(asked: Request) -> Body:
        found: Body = {"model": asked.model, "input": list(asked.texts), **asked.params}
        if asked.packed:
            found["encoding_format"] = "base64"
        if asked.dimensions is not None:
            found[dimensions] = asked.dimensions
        return found

    return body


def _cohere_body(asked: Request) -> Body:
    body: Body = {"model": asked.model, "texts": list(asked.texts), "embedding_types": ["float"], **asked.params}
    if asked.dimensions is not None:
        body["output_dimension"] = asked.dimensions
    return body


def _cohere_answer(body: Mapping[str, Any]) -> Mapping[str, Any]:
    vectors = _inner(body, "embeddings").get("float")
    if not isinstance(vectors, list):
        return body
    usage = {"total_tokens": _inner(_inner(body, "meta"), "billed_units").get("input_tokens")}
    return {"data": [{"index": place, "embedding": each} for place, each in enumerate(vectors)], "usage": usage}


def _gemini_body(asked: Request) -> Body:
    model = asked.model if "/" in asked.model else f"models/{asked.model}"
    more = dict(asked.params)
    if asked.dimensions is not None:
        more["outputDimensionality"] = asked.dimensions
    return {"requests": [{"model": model, "content": {"parts": [{"text": text}]}, **more} for text in asked.texts]}


def _gemini_answer(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found = body.get("embeddings")
    if not isinstance(found, list):
        return body
    vectors = [each.get("values") if isinstance(each, dict) else None for each in found]
    usage = {"total_tokens": _inner(body, "usageMetadata").get("promptTokenCount")}
    return {"data": [{"index": place, "embedding": each} for place, each in enumerate(vectors)], "usage": usage}


def _inner(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


APIS: Mapping[str, Api] = {
    "openai": Api(lambda model: "/embeddings", _compatible(), lambda body: body, most_texts=2048, packs=True),
    "voyage": Api(
        lambda model: "/embeddings", _compatible("output_dimension"), lambda body: body, most_texts=1000, packs=True,
        passage={"input_type": "document"}, query={"input_type": "query"},
    ),
    "jina": Api(
        lambda model: "/embeddings", _compatible(), lambda body: body, most_texts=512,
        passage={"task": "retrieval.passage"}, query={"task": "retrieval.query"},
    ),
    "cohere": Api(
        lambda model: "/embed", _cohere_body, _cohere_answer, most_texts=96,
        passage={"input_type": "search_document"}, query={"input_type": "search_query"},
    ),
    "gemini": Api(
        lambda model: f"/models/{model.removeprefix('models/')}:batchEmbedContents",
        _gemini_body, _gemini_answer, most_texts=100, key_header="x-goog-api-key",
        passage={"taskType": "RETRIEVAL_DOCUMENT"}, query={"taskType": "RETRIEVAL_QUERY"},
        names={"task_type": "taskType"},
    ),
}  # fmt: skip
