"""Embedding one batch of texts so that a bad text costs itself and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from rowvec.embedders.base import Embedder
from rowvec.errors import EmbedderError, EmbedderUnavailable, TextRefused
from rowvec.support.stretches import stretches
from rowvec.types import Embedded, TextVector, Vector

T = TypeVar("T")


@dataclass(slots=True)
class Answer:
    """What became of the texts of one batch: a vector or an error each, in their order."""

    vectors: list[TextVector | EmbedderError] = field(default_factory=list)
    tokens: int = 0
    cost: float = 0.0
    estimated: bool = False
    problem: EmbedderError | None = None
    """What ended it before the last text: there are fewer vectors than texts then."""


def of_like_length(embedder: Embedder, items: Iterable[T], text: Callable[[T], str]) -> list[list[T]]:
    """Items whose texts are of like length together, as many as one call of the embedder should get, longest last."""
    ordered = sorted(items, key=lambda item: len(text(item)))
    # Four characters a token is near enough to share out work; the embedder cuts to its real limits.
    tokens = (len(text(item)) // 4 + 1 for item in ordered)
    return [ordered[part] for part in stretches(tokens, embedder.chunk_texts, embedder.chunk_tokens)]


def embed_batch(embedder: Embedder, texts: Sequence[str], answer: Answer | None = None) -> Answer:
    """Embed `texts`; a batch refused because of a text in it is halved until that text stands alone.

    Args:
        answer: filled from the first text on, and gone on with where it holds some already: what was paid for before
            an error is not lost with it.

    Raises:
        EmbedderUnavailable: the service does not answer, for any text.
        EmbedderError: nothing can be embedded until something is mended.
    """
    answer = answer or Answer()
    _embed(embedder, texts[len(answer.vectors) :], answer)
    return answer


def _embed(embedder: Embedder, texts: Sequence[str], answer: Answer) -> None:
    try:
        result = embedder.embed(texts)
        _check_shape(result, len(texts), embedder.fingerprint.dimension)
    except TextRefused as error:
        if len(texts) == 1:
            answer.vectors.append(error)
            return
        middle = len(texts) // 2
        _embed(embedder, texts[:middle], answer)
        _embed(embedder, texts[middle:], answer)
        return
    answer.tokens += result.tokens
    answer.cost += result.cost
    answer.estimated |= result.estimated
    truncated = set(result.truncated)
    answer.vectors.extend(_checked(vector, place in truncated) for place, vector in enumerate(result.vectors))


def _check_shape(result: Embedded, texts: int, dimension: int) -> None:
    shape = result.vectors.shape
    if shape != (texts, dimension):
        raise EmbedderUnavailable(
            f"The embedder answered with vectors of shape {shape} where {(texts, dimension)} was due.",
            hint="Check that embedder.model and embedder.dimensions are what the service serves.",
        )


def _checked(vector: Vector, truncated: bool) -> TextVector | EmbedderError:
    if not np.isfinite(vector).all():
        return EmbedderError("The embedder gave a vector with NaN or infinite numbers for this text.")
    if not vector.any():
        return EmbedderError("The embedder gave a vector of zeros for this text.")
    return TextVector(vector, truncated)
