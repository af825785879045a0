"""Very many vectors at once that lie as those of real texts do: each a blend of real ones, chosen by its text.

    python -m benchmarks.blended sync VECTORS CONFIG     `rowvec sync` of CONFIG with such vectors; prints the counts

VECTORS is a file of real vectors of the pipeline's own model, shape (vectors, dimension). The hash of a text chooses
one of them, two of its NEIGHBOURS nearest, and the shares of the three. So a text has the same vector in every run, and
all vectors lie where real ones do. Queries are embedded by the model.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rowvec import assemble
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.syncing.run import sync
from rowvec.types import Embedded, Vector, Vectors

NEIGHBOURS = 32
AT_ONCE = 1_000
DIGEST = np.dtype([("first", "<u4"), ("others", "<u4", 2), ("shares", "<u4", 3)])


class Blender:
    """
    Args:
        real: of length 1, shape (vectors, dimension).
    """

    def __init__(self, real: Vectors) -> None:
        self._real = real
        # Some at a time: all products of 20,000 vectors are 1.6 GB, and their order twice as much.
        parts = [real[start : start + AT_ONCE] for start in range(0, len(real), AT_ONCE)]
        self._nearest = np.concatenate([self._nearest_of(part) for part in parts])

    def _nearest_of(self, vectors: Vectors) -> npt.NDArray[np.int64]:
        ordered = np.argpartition(-(vectors @ self._real.T), NEIGHBOURS, axis=1)
        # A copy: what is cut out of the order would keep all of it.
        return ordered[:, : NEIGHBOURS + 1].copy()

    def blended(self, texts: Sequence[str]) -> Vectors:
        """Of length 1, shape (texts, dimension)."""
        size = DIGEST.itemsize
        drawn = np.frombuffer(
            b"".join(hashlib.blake2b(text.encode(), digest_size=size).digest() for text in texts), DIGEST
        )
        first = drawn["first"] % len(self._real)
        others = self._nearest[first[:, None], drawn["others"] % (NEIGHBOURS + 1)]
        parts = self._real[np.column_stack([first, others])]
        mixed = np.einsum("tp,tpd->td", (drawn["shares"] / 2**32).astype(np.float32), parts)
        return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), np.float32)


class Blended:
    """In the place of the local embedder, with its fingerprint."""

    billed = False
    concurrency = 1

    def __init__(self, model: LocalEmbedder, real: Vectors) -> None:
        self.fingerprint = model.fingerprint
        self.chunk_texts, self.chunk_tokens = model.chunk_texts, model.chunk_tokens
        self._model, self._blender = model, Blender(real)

    def embed(self, texts: Sequence[str]) -> Embedded:
        return Embedded(self._blender.blended(texts), 0, [])

    def embed_query(self, text: str) -> Vector:
        return self._model.embed_query(text)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1] * len(texts)

    def close(self) -> None:
        self._model.close()


def run(arguments: Sequence[str]) -> None:
    if len(arguments) != 3 or arguments[0] != "sync":
        sys.exit(__doc__)
    real = np.load(arguments[1])
    with assemble.opened(Path(arguments[2]), None) as pipeline:
        assert isinstance(pipeline.embedder, LocalEmbedder)
        report = sync(replace(pipeline, embedder=Blended(pipeline.embedder, real)))
    counts: dict[str, Any] = {name: getattr(report, name) for name in ("read", "inserted", "embedded", "updated",
                              "deleted", "unchanged", "failed")}  # fmt: skip
    print(json.dumps(counts))


if __name__ == "__main__":
    run(sys.argv[1:])
