"""Words counted in places that a hash chooses: the hashing trick (Weinberger et al., 2009)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from zlib import crc32

import numpy as np

from rowvec.types import Embedded, Fingerprint, Vector, Vectors

WORD = re.compile(r"\w+")


class HashingEmbedder:
    """Texts with the same words are near to each other. No model, no download, the same vectors everywhere."""

    concurrency = 1
    chunk_texts = 256
    chunk_tokens = 100_000
    billed = False

    def __init__(self, dimension: int) -> None:
        self.fingerprint = Fingerprint("hashing", "crc32-of-words", "1", dimension)

    def embed(self, texts: Sequence[str]) -> Embedded:
        return Embedded(self._vectors(texts), sum(self.count_tokens(texts)))

    def embed_query(self, text: str) -> Vector:
        return self._vectors([text])[0]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(WORD.findall(text)) for text in texts]

    def close(self) -> None:
        pass

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        dimension = self.fingerprint.dimension
        vectors = np.zeros((len(texts), dimension), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            # A text without a word, such as a single emoji, is a word of its own.
            for word in WORD.findall(text.casefold()) or [text]:
                code = crc32(word.encode())
                row[code % dimension] += 1 if code & 1 << 31 else -1
            if not row.any():
                row[0] = 1.0
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
