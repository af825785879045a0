"""Windows of tokens to vectors, on every core: what all engines share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rowvec.embedders.model_recipe import ModelRecipe
from rowvec.errors import EmbedderError
from rowvec.types import Vectors

Lengths = np.ndarray[tuple[int], np.dtype[np.int32]]
Tokens = np.ndarray[tuple[int, int], np.dtype[np.int32]]

STEP = 16
"""Windows are padded to a multiple of this many tokens. Only attention computes on padding."""


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def padded(length: int, limit: int) -> int:
    """The length that a window is computed at, whatever it shares its batch with.

    Sums over a longer padded row may be added up in another order. That moves a float32 vector by 1e-7; in int8 it
    tips roundings over, and moved vectors by 2e-3 until every window had a length of its own.
    """
    return min(-(-length // STEP) * STEP, limit)


def batches(lengths: Sequence[int], budget: int, most: int | None = None) -> list[list[int]]:
    """Indices of windows grouped by their padded length, the longest first, at most `budget` tokens in a group and at
    most `most` windows.

    A window longer than the budget is a group of its own. Short groups last keep the workers busy to the end.
    """
    groups: list[list[int]] = []
    group_length = room = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if room == 0 or lengths[index] != group_length:
            groups.append([])
            group_length = lengths[index]
            room = max(1, min(budget // group_length, most or budget))
        groups[-1].append(index)
        room -= 1
    return groups


class Engine(ABC):
    """A model, loaded. Safe to use from several threads at once.

    Args:
        words: how many words the model has a vector for.
        budget: tokens in a batch, padding included.
        threads: batches that are computed or fetched side by side.
        batch_size: maximum number of windows in a batch; by default what fits the budget.
    """

    def __init__(
        self, recipe: ModelRecipe, *, words: int, budget: int, threads: int, batch_size: int | None = None
    ) -> None:
        self._recipe = recipe
        self._words = words
        self._budget = budget
        self._batch_size = batch_size
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rowvec-embed")

    def query(self, window: Sequence[int]) -> Vectors:
        """The vector of one window that never shares a batch with others, shape (1, dimension); as `vectors`."""
        return self._forward([window])

    def vectors(self, windows: Sequence[Sequence[int]]) -> Vectors:
        """One row a window, in order, shape (windows, dimension): pooled, and normalised if the model is.

        Raises:
            EmbedderError: the device ran out of memory, or failed in another way.
        """
        limit = self._recipe.limit
        groups = batches([padded(len(window), limit) for window in windows], self._budget, self._batch_size)
        if len(groups) == 1:
            return self._forward(windows)
        futures = [self._pool.submit(self._forward, [windows[index] for index in group]) for group in groups]
        try:
            found = np.concatenate([future.result() for future in futures])
        finally:
            for future in futures:
                future.cancel()
        order = np.concatenate([np.asarray(group) for group in groups])
        return found[np.argsort(order)]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _forward(self, windows: Sequence[Sequence[int]]) -> Vectors:
        length = padded(max(map(len, windows)), self._recipe.limit)
        return self._finished(self._pooled(*self._tokens(windows, length)))

    def _tokens(self, windows: Sequence[Sequence[int]], length: int) -> tuple[Tokens, Lengths]:
        """The windows, padded, and how long each is."""
        lengths = np.array([len(window) for window in windows], np.int32)
        ids = np.zeros((len(windows), length), np.int32)
        for row, window in zip(ids, windows, strict=True):
            row[: len(window)] = window
        # Engines do not look, and read memory that is not the table's.
        if ids.max() >= self._words:
            raise EmbedderError(
                f"The tokenizer gives token {ids.max()}, but the model has only {self._words} words.",
                hint="The two do not belong together: fetch the model again.",
            )
        return ids, lengths

    def _finished(self, pooled: Vectors) -> Vectors:
        for layer in self._recipe.dense:
            pooled = layer.apply(pooled)
        return normalized(pooled) if self._recipe.normalize else pooled

    @abstractmethod
    def _pooled(self, ids: Tokens, lengths: Lengths) -> Vectors:
        """One vector a window.

        Args:
            ids: shape (windows, padded length).
        """


def normalized(vectors: Vectors) -> Vectors:
    """Each row scaled to length 1; a row of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, np.float32(1e-12))
    return scaled
