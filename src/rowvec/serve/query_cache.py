"""Vectors of the latest queries."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from rowvec.embedders.base import SEND_TEXT, Embedder, ReadsTokens, shortens
from rowvec.embedders.separate_queries import bills_queries
from rowvec.errors import TextRefused
from rowvec.types import Embedded, Vector

WARM_WORDS = (1, 8, 12, 20)
"""Of the first queries, which nobody waits for; see `rowvec.embedders.local.openvino_engine.SHORT`."""


class CachedQueries:
    """An embedder that remembers the vectors of the latest queries. Safe to use from any number of threads.

    The wrapped embedder is called from at most `concurrency` threads at once, and for documents from one: a long
    list of texts does not keep queries waiting.

    Args:
        size: number of queries.
        queries: what embeds queries, where that is not `embedder`.
    """

    def __init__(self, embedder: Embedder, size: int, queries: Embedder | None = None) -> None:
        self.fingerprint = embedder.fingerprint
        self.concurrency = embedder.concurrency
        self.chunk_texts = embedder.chunk_texts
        self.chunk_tokens = embedder.chunk_tokens
        self.billed = embedder.billed
        self.shortens = shortens(embedder)
        self.hits = 0
        self.misses = 0
        self._embedder = embedder
        self._queries = queries or embedder
        self.bills_queries = bills_queries(self._queries)
        self._size = size
        self._vectors: OrderedDict[str, Vector] = OrderedDict()
        self._guard = threading.Lock()
        self._slots = threading.Semaphore(max(1, embedder.concurrency))
        self._documents = threading.Lock()

    def warm(self) -> None:
        """Load the model; nothing is counted. An engine may prepare itself for queries of each length apart."""
        for words in WARM_WORDS[:1] if self.bills_queries else WARM_WORDS:
            self._queries.embed_query(" ".join(["warm"] * words))

    def embed_query(self, text: str) -> Vector:
        with self._guard:
            known = self._vectors.get(text)
            if known is not None:
                self._vectors.move_to_end(text)
                self.hits += 1
                return known
            self.misses += 1
        with self._slots:
            vector = self._queries.embed_query(text)
        # Shared by every thread that asks for the same text from now on.
        vector.setflags(write=False)
        with self._guard:
            self._vectors[text] = vector
            while len(self._vectors) > self._size:
                self._vectors.popitem(last=False)
        return vector

    def embed(self, texts: Sequence[str]) -> Embedded:
        with self._documents, self._slots:
            return self._embedder.embed(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._embedder.count_tokens(texts)

    @property
    def exact_tokens(self) -> bool:
        return bool(getattr(self._embedder, "exact_tokens", False))

    def text_of(self, tokens: Sequence[int]) -> str:
        """See `rowvec.embedders.base.ReadsTokens`."""
        if not isinstance(self._embedder, ReadsTokens):
            raise TextRefused(
                f"Token arrays cannot be read here: there is no tokenizer of {self.fingerprint.model!r}.",
                hint=SEND_TEXT,
            )
        return self._embedder.text_of(tokens)

    def close(self) -> None:
        self._embedder.close()
