"""The rerank APIs on the wire: what each asks for, and what an answer must look like. Nothing here sends anything.

Cohere's shape is the common one: Jina, vLLM, LiteLLM and Infinity have it too. https://docs.cohere.com/reference/rerank
https://docs.voyageai.com/reference/reranker-api https://huggingface.github.io/text-embeddings-inference
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rowvec.rerankers.base import Unusable


@dataclass(frozen=True, slots=True)
class Shape:
    """How one kind of service is asked, and where its answer has the scores."""

    texts: str = "documents"
    top: str | None = None
    """How many scores are wanted; all of them always are."""
    results: str | None = "results"
    """None where the whole answer is the list."""
    score: str = "relevance_score"
    more: Mapping[str, Any] = field(default_factory=dict)
    most: int = 1000
    """Texts in one request."""


SHAPES: Mapping[str, Shape] = {
    "cohere": Shape(top="top_n"),
    "jina": Shape(top="top_n", more={"return_documents": False}),
    "voyage": Shape(top="top_k", results="data"),
    # Without `truncate` one text that is too long is an error for all. 32 is what the server takes unless told more.
    "tei": Shape("texts", results=None, score="score", more={"truncate": True}, most=32),
}


class Usage(NamedTuple):
    """What an answer says it billed; None if it does not say."""

    tokens: int | None = None
    searches: int | None = None


def request(shape: Shape, model: str | None, query: str, texts: Sequence[str]) -> bytes:
    """In ASCII: half a character of a text is the service's to refuse, and not an error here."""
    body: dict[str, Any] = {"query": query, shape.texts: list(texts), **shape.more}
    if model is not None:
        body["model"] = model
    if shape.top is not None:
        body[shape.top] = len(texts)
    return json.dumps(body).encode()


def parse(content: bytes) -> Any:
    """
    Raises:
        Unusable: not JSON.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        pass
    if content.lstrip()[:1] == b"<":
        raise Unusable("answered with a web page instead of JSON")
    raise Unusable("answered with something that is not JSON" if content.strip() else "answered with an empty body")


def scores_of(shape: Shape, body: Any, count: int) -> list[float]:
    """The scores of an answer, placed by `index`.

    Raises:
        Unusable: not one finite score for each of `count` texts.
    """
    results = body if shape.results is None else body.get(shape.results) if isinstance(body, dict) else None
    if not isinstance(results, list):
        raise Unusable("answered without a list of scores")
    if len(results) != count:
        raise Unusable(f"answered with {len(results)} scores for {count} texts")
    found: list[float | None] = [None] * count
    for each in results:
        index = each.get("index") if isinstance(each, dict) else None
        if type(index) is not int or not 0 <= index < count or found[index] is not None:
            raise Unusable("answered with an index that is missing, out of range or repeated")
        found[index] = _number(each.get(shape.score))
    return [score for score in found if score is not None]


def _number(value: Any) -> float:
    try:
        score = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if isinstance(value, str) or not math.isfinite(score):
        raise Unusable("answered with a score that is not a finite number")
    return score


def usage_of(body: Any) -> Usage:
    """Voyage and Jina bill tokens, Cohere searches. Zero is taken as not said."""
    if not isinstance(body, dict):
        return Usage()
    meta = body.get("meta")
    billed = meta.get("billed_units") if isinstance(meta, dict) else None
    return Usage(_count(body.get("usage"), "total_tokens"), _count(billed, "search_units"))


def _count(table: Any, name: str) -> int | None:
    value = table.get(name) if isinstance(table, dict) else None
    # A client of Cohere's writes 1.0.
    return int(value) if isinstance(value, int | float) and 0 < value < math.inf else None


def refusal(content: bytes) -> str:
    """What an answer with an error status says, as far as it says it."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error.get("error") or ""
    return error if isinstance(error, str) else json.dumps(error)
