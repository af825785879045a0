"""What turns text into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from rowvec.embedders.pricing import Budget, Price
from rowvec.errors import EmbedderError
from rowvec.types import Embedded, Fingerprint, Vector, Vectors

PROBE = "rowvec"
"""A plain word, sent where it must be known whether a service embeds anything at all."""

SEND_TEXT = "Send text. In LangChain: check_embedding_ctx_length=False."
"""The hint of an error about tokens of another model, which LangChain sends to a model that it does not know."""


class Embedder(Protocol):
    """A model, ready to answer. Safe to call from `concurrency` threads at once."""

    concurrency: int
    """How many `embed` calls are worth making at once."""
    chunk_texts: int
    """Maximum number of texts in one `embed` call."""
    chunk_tokens: int
    """Approximate maximum number of tokens in one `embed` call."""
    billed: bool
    """Each call costs money: its answer is committed as soon as it arrives."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides the vectors; known without loading the model."""
        ...

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Vectors of shape (len(texts), dimension), in the order of `texts`.

        Raises:
            EmbedderUnavailable: try again later.
            TextRefused: one of the texts is refused; the caller halves the batch to find it.
            EmbedderError: no text will be embedded until something is fixed.
        """
        ...

    def embed_query(self, text: str) -> Vector:
        """The vector of a search query, shape (dimension,)."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as this model counts them, special tokens and truncation included."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class TriesAgain(Protocol):
    """An embedder whose `embed` asks a service several times before it raises EmbedderUnavailable."""

    def embed_once(self, texts: Sequence[str]) -> Embedded:
        """The same, asked once: for a caller who looks for the text that a service falls over."""
        ...


@runtime_checkable
class OtherQueries(Protocol):
    """An embedder that may compute queries in another precision than rows."""

    @property
    def query_precision(self) -> str: ...

    @property
    def fingerprint(self) -> Fingerprint: ...

    def query_parity(self, text: str) -> float:
        """The cosine of a query's vector to the one in the precision of the rows; 1.0 where both are one."""
        ...


@runtime_checkable
class CentresQueries(Protocol):
    """An embedder whose queries may be moved for ranking."""

    def plain_query(self, text: str) -> Vector:
        """The query as the model embeds it: what another embedder of the same model gives."""
        ...


def plain_query(embedder: Embedder, text: str) -> Vector:
    """Shape (dimension,)."""
    return embedder.plain_query(text) if isinstance(embedder, CentresQueries) else embedder.embed_query(text)


def knows(embedder: Embedder, words: Sequence[str]) -> set[str]:
    """Those of the words that the model has as one token, so that it saw them often; none where it does not count with
    its own tokenizer (`exact_tokens`)."""
    if not words or not getattr(embedder, "exact_tokens", False):
        return set()
    # Behind a word, because some tokenizers make other tokens of the beginning of a text.
    alone, *counts = embedder.count_tokens(["a", *(f"a {word}" for word in words)])
    return {word for word, count in zip(words, counts, strict=True) if count == alone + 1}


@runtime_checkable
class ReadsTokens(Protocol):
    """An embedder that has its model's own tokenizer at hand."""

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text that these tokens stand for; it gives the same tokens again.

        Raises:
            TextRefused: they are not in the vocabulary, or do not come from this tokenizer.
        """
        ...


def shortens(embedder: Embedder) -> bool:
    """Whether the first numbers of a vector are a good vector too: the model was trained for that (Matryoshka)."""
    return bool(getattr(embedder, "shortens", False))


def shortened(vectors: Vectors, dimension: int) -> Vectors:
    """The first `dimension` numbers of each vector, scaled to length 1 again; shape (texts, dimension)."""
    cut = vectors[:, :dimension]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    scaled: Vectors = (cut / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)
    return scaled


def similarity_of(embedder: Embedder) -> str:
    """What the model was trained to be compared by, as its files name it: cosine, dot, euclidean or manhattan. Of
    vectors of length 1 all of them give one order, and cosine stands for it."""
    if embedder.fingerprint.normalized:
        return "cosine"
    return str(getattr(embedder, "similarity", "cosine"))


class AbsentEmbedder:
    """Stands for a model that cannot be loaded: the rest of a pipeline goes on without it."""

    concurrency = 1
    chunk_texts = 1
    chunk_tokens = 1
    billed = False

    def __init__(self, fingerprint: Fingerprint, problem: EmbedderError) -> None:
        self.fingerprint = fingerprint
        self.problem = problem

    def embed(self, texts: Sequence[str]) -> Embedded:
        raise self.problem

    def embed_query(self, text: str) -> Vector:
        raise self.problem

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [0] * len(texts)

    def close(self) -> None:
        pass


@runtime_checkable
class KnowsWindow(Protocol):
    """An embedder that knows by its own tokenizer what its window holds."""

    def fits(self, texts: Sequence[str]) -> list[bool]:
        """Of each text, whether nothing of it is cut off."""
        ...


@runtime_checkable
class PaidEmbedder(Embedder, Protocol):
    """An embedder whose calls may cost money."""

    price: Price | None
    """None if it is not known."""
    budget: Budget
    """What was spent so far, answers of no use included."""

    @property
    def exact_tokens(self) -> bool:
        """`count_tokens` counts with the model's own tokenizer."""
        ...

    def token_error(self, texts: Sequence[str]) -> float:
        """How far off the sum of `count_tokens` may be for texts like these, as a share of it."""
        ...

    def expected_seconds(self, texts: int, tokens: int) -> float:
        """How long this many texts take."""
        ...
