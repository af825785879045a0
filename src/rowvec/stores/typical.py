"""How near rows are to a query on average: what a search takes for no similarity at all.

Models differ in it. Unrelated texts have a cosine of 0.1 by one model and of 0.8 by another.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rowvec.errors import StoreError
from rowvec.types import Vector, Vectors

SAMPLED = 128
"""Rows. The mean cosine of this many is off by a fiftieth of what lies between it and the best hit, in two models."""
KEPT_SECONDS = 60.0
"""After that, the next question draws another sample: rows come and go while a process searches."""


class Typical:
    """The mean similarity of rows to any vector, from a sample of them.

    Args:
        metric: "cosine", "l2" or "ip".
        sample: gives up to that many vectors of rows, drawn by chance.
    """

    def __init__(self, metric: str, sample: Callable[[int], list[Any]]) -> None:
        self._metric, self._sample = metric, sample
        self._vectors: Vectors = np.empty((0, 0), np.float32)
        self._until = -math.inf

    def similarity(self, vector: Vector) -> float | None:
        """None without rows.

        Raises:
            StoreError: the rows have another dimension now: a generation of another model has gone live.
        """
        # That there are no rows is not remembered: the first sync may be at work.
        if not len(self._vectors) or time.monotonic() > self._until:
            self._vectors = _comparable(self._sample(SAMPLED), self._metric)
            self._until = time.monotonic() + KEPT_SECONDS
        rows = self._vectors
        if not len(rows):
            return None
        if rows.shape[1] != len(vector):
            self._until = -math.inf
            raise StoreError(
                f"Rows have vectors of {rows.shape[1]} dimensions, the query has {len(vector)}.",
                hint="Another model goes live just now, or went: search again. If that stays so, run `rowvec sync`.",
            )
        if self._metric == "l2":
            return -float(np.linalg.norm(rows - vector, axis=1).mean())
        length = float(np.linalg.norm(vector)) if self._metric == "cosine" else 1.0
        return float((rows @ vector).mean()) / length if length else None


def _comparable(vectors: list[Any], metric: str) -> Vectors:
    rows: Vectors = np.array(vectors, np.float32)
    if metric == "cosine" and len(rows):
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows / np.maximum(lengths, np.float32(1e-12))
    return rows
