"""Windows of tokens to vectors, on every core."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from rowvec.embedders.model_recipe import ModelRecipe
from rowvec.errors import ConfigError, EmbedderError
from rowvec.types import Vectors

Lengths = np.ndarray[tuple[int], np.dtype[np.int32]]

CPU_TOKENS = 512
"""Tokens in a batch, padding included. Measured level from 512 to 1,024 on a core with 512 kB of second-level cache,
and falling above, where the layers' inputs and outputs no longer fit beside the weights."""
CUDA_TOKENS = 32_768
CUDA_WORKERS = 3
"""Threads that feed a GPU: one waits for it while others fetch and pool what it computed. On an H200 with 16 cores
three of them, `means`, and float32 made on the GPU bring 3.2 times the texts a second of float16."""
CUBLAS_HINT = (
    "CTranslate2 needs cuBLAS of CUDA 12: install nvidia-cublas-cu12 and name its folder in LD_LIBRARY_PATH, or set"
    ' device = "cpu".'
)
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


def means(hidden: Vectors, lengths: Lengths) -> Vectors:
    """The mean of each window over its own tokens: one call for all of them, which leaves Python to other threads.

    It may add up in another order than a mean of each window alone, which the CPU's vectors are made by.
    """
    own = np.arange(hidden.shape[1]) < lengths[:, None]
    found: Vectors = np.matmul((own / lengths[:, None]).astype(np.float32)[:, None], hidden)[:, 0]
    return found


class Engine:
    """A converted model, loaded. Safe to use from several threads at once.

    Args:
        folder: the converted model.
        words: how many words the model has a vector for.
        device: `cpu`, `cuda`, or `auto` for CUDA where there is some.
        precision: `float32`, `float16` or `int8`, made from the stored float32 weights on loading.
        batch_size: maximum number of windows in a batch; by default what fits the budget of tokens.
        workers: batches that run side by side on the CPU, each on one thread. Two workers of one thread are faster
            than one of two, which wait for each other in every layer. A GPU is fed by CUDA_WORKERS.

    Raises:
        ConfigError: this machine does not have the device, or cannot compute in this precision.
        EmbedderError: the converted model cannot be loaded.
    """

    def __init__(
        self,
        folder: Path,
        recipe: ModelRecipe,
        *,
        words: int,
        device: str,
        precision: str,
        workers: int,
        batch_size: int | None = None,
    ) -> None:
        ctranslate2 = _ctranslate2()
        has_cuda = ctranslate2.get_cuda_device_count() > 0
        if device == "auto":
            device = "cuda" if has_cuda else "cpu"
        if device == "cuda" and not has_cuda:
            raise ConfigError(
                'The embedder is set to device = "cuda", but no CUDA device is visible here.',
                hint='Set device = "cpu".',
            )
        if precision not in ctranslate2.get_supported_compute_types(device):
            raise ConfigError(
                f"This machine's {device} cannot compute in {precision}.", hint='Set precision = "float32" or "int8".'
            )
        self._recipe = recipe
        self._words = words
        self._budget = CUDA_TOKENS if device == "cuda" else CPU_TOKENS
        self._batch_size = batch_size
        side_by_side = 1 if device == "cuda" else workers
        try:
            self._encoder = ctranslate2.Encoder(
                os.fspath(folder), device, compute_type=precision, inter_threads=side_by_side, intra_threads=1
            )
        except RuntimeError as error:
            raise EmbedderError(
                f"The converted model in {folder} cannot be loaded: {error}.",
                hint="Delete that folder: it is rebuilt from the model's own weights.",
            ) from error
        threads = CUDA_WORKERS if device == "cuda" else workers
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rowvec-embed")

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
        self._encoder.unload_model()

    def _forward(self, windows: Sequence[Sequence[int]]) -> Vectors:
        ctranslate2 = _ctranslate2()
        lengths = np.array([len(window) for window in windows], np.int32)
        ids = np.zeros((len(windows), padded(int(lengths.max()), self._recipe.limit)), np.int32)
        for row, window in zip(ids, windows, strict=True):
            row[: len(window)] = window
        # CTranslate2 does not look, and reads memory that is not the table's.
        if ids.max() >= self._words:
            raise EmbedderError(
                f"The tokenizer gives token {ids.max()}, but the model has only {self._words} words.",
                hint="The two do not belong together: fetch the model again.",
            )
        try:
            output = self._encoder.forward_batch(
                ctranslate2.StorageView.from_array(ids), ctranslate2.StorageView.from_array(lengths)
            ).last_hidden_state
            if self._encoder.device != "cpu":
                # The GPU makes float32 of float16 in no time, numpy takes as long as for all the rest.
                output = output.to(ctranslate2.DataType.float32).to_device(ctranslate2.Device.cpu)
        except RuntimeError as error:
            hint = CUBLAS_HINT if "libcublas" in str(error) else None
            raise EmbedderError(f"The model could not be run on {self._encoder.device}: {error}.", hint=hint) from error
        return self._pooled(np.asarray(output).astype(np.float32, copy=False), lengths)

    def _pooled(self, hidden: Vectors, lengths: Lengths) -> Vectors:
        if self._recipe.pooling == "cls":
            pooled = hidden[:, 0].copy()
        elif self._encoder.device != "cpu":
            pooled = means(hidden, lengths)
        else:
            pooled = np.stack([row[:length].mean(axis=0) for row, length in zip(hidden, lengths, strict=True)])
        return normalized(pooled) if self._recipe.normalize else pooled


def _ctranslate2() -> Any:
    """Imported by the first use, for the sake of commands that embed nothing; it has no types."""
    return importlib.import_module("ctranslate2")


def normalized(vectors: Vectors) -> Vectors:
    """Each row scaled to length 1; a row of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, np.float32(1e-12))
    return scaled
