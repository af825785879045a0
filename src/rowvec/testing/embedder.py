"""A deterministic embedder that fails on request."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from rowvec.errors import EmbedderUnavailable, TextRefused
from rowvec.types import Embedded, Fingerprint, Vector, Vectors


class HashEmbedder:
    """Unit vectors drawn from a generator seeded with the text's SHA-256: equal texts, equal vectors.

    `texts` and `calls` say what was asked. To make it fail: put texts into `refused`; set `unavailable` to
    let that many calls raise EmbedderUnavailable; set `spoil` to a function that damages the vectors of an answer
    (`with_nan`, `with_zero` and `with_one_missing` are ready). `seconds` is how long each call takes.
    """

    def __init__(
        self,
        dimension: int = 8,
        *,
        model: str = "hash",
        concurrency: int = 1,
        chunk_texts: int = 64,
        billed: bool = False,
        price: float = 0.0,
        seconds: float = 0.0,
    ) -> None:
        self.fingerprint = Fingerprint("hash", model, "1", dimension)
        self.concurrency = concurrency
        self.chunk_texts = chunk_texts
        self.chunk_tokens = 100_000
        self.billed = billed
        self.price = price
        """US dollars per million tokens."""
        self.seconds = seconds
        self.texts: list[str] = []
        self.calls = 0
        self.refused: set[str] = set()
        self.unavailable = 0
        self.spoil: Callable[[Vectors], Vectors] | None = None
        self._guard = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Embedded:
        time.sleep(self.seconds)
        with self._guard:
            self.calls += 1
            if self.unavailable:
                self.unavailable -= 1
                raise EmbedderUnavailable("The hash embedder does not answer, as the test asked.")
            if not self.refused.isdisjoint(texts):
                raise TextRefused("The hash embedder refuses a text, as the test asked.")
            self.texts.extend(texts)
        vectors = np.stack([self.embed_query(text) for text in texts])
        tokens = sum(self.count_tokens(texts))
        return Embedded(self.spoil(vectors) if self.spoil else vectors, tokens, cost=tokens * self.price / 1e6)

    def embed_query(self, text: str) -> Vector:
        digest = hashlib.sha256(f"{self.fingerprint.model}\0{text}".encode("utf-8", "surrogatepass")).digest()
        vector = np.random.default_rng(int.from_bytes(digest)).standard_normal(self.fingerprint.dimension)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) + 2 for text in texts]

    def close(self) -> None:
        pass


def with_nan(vectors: Vectors) -> Vectors:
    """The first vector of an answer holds a NaN."""
    vectors[0, 0] = np.nan
    return vectors


def with_zero(vectors: Vectors) -> Vectors:
    """The first vector of an answer is all zeros."""
    vectors[0] = 0.0
    return vectors


def with_one_missing(vectors: Vectors) -> Vectors:
    """The answer is one vector short."""
    return vectors[:-1]
