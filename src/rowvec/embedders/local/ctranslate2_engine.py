"""The engine that is always there: CTranslate2, on processors and on GPUs."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from rowvec.embedders.local.engine import Engine, Lengths, Tokens
from rowvec.embedders.model_recipe import ModelRecipe
from rowvec.errors import ConfigError, EmbedderError
from rowvec.types import Vectors

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


def means(hidden: Vectors, lengths: Lengths, weights: Vectors | None = None) -> Vectors:
    """The mean of each window over its own tokens: one call for all of them, which leaves Python to other threads.

    It may add up in another order than a mean of each window alone, which the CPU's vectors are made by.

    Args:
        weights: of each place of a window; equal unless given.
    """
    own = (np.arange(hidden.shape[1]) < lengths[:, None]) * (1 if weights is None else weights)
    shares = (own / own.sum(axis=1, keepdims=True)).astype(np.float32)
    found: Vectors = np.matmul(shares[:, None], hidden)[:, 0]
    return found


def pooled(hidden: Vectors, lengths: Lengths, pooling: str) -> Vectors:
    """One vector a window, of its own tokens alone, in an order of sums that no other window changes."""
    if pooling == "cls":
        return hidden[:, 0].copy()
    if pooling == "lasttoken":
        last: Vectors = hidden[np.arange(len(hidden)), lengths - 1]
        return last
    if pooling == "weightedmean":
        return means(hidden, lengths, np.arange(1, hidden.shape[1] + 1))
    rows = (row[:length] for row, length in zip(hidden, lengths, strict=True))
    return np.stack([row.max(axis=0) if pooling == "max" else row.mean(axis=0) for row in rows])


class CTranslate2Engine(Engine):
    """
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
        device = device_of(device)
        if precision not in ctranslate2.get_supported_compute_types(device):
            raise ConfigError(
                f"This machine's {device} cannot compute in {precision}.", hint='Set precision = "float32" or "int8".'
            )
        on_gpu = device == "cuda"
        super().__init__(
            recipe,
            words=words,
            budget=CUDA_TOKENS if on_gpu else CPU_TOKENS,
            threads=CUDA_WORKERS if on_gpu else workers,
            batch_size=batch_size,
        )
        try:
            self._encoder = ctranslate2.Encoder(
                os.fspath(folder),
                device,
                compute_type=precision,
                inter_threads=1 if on_gpu else workers,
                intra_threads=1,
            )
        except RuntimeError as error:
            raise EmbedderError(
                f"The converted model in {folder} cannot be loaded: {error}.",
                hint="Delete that folder: it is rebuilt from the model's own weights.",
            ) from error

    def close(self) -> None:
        super().close()
        self._encoder.unload_model()

    def _pooled(self, ids: Tokens, lengths: Lengths) -> Vectors:
        ctranslate2 = _ctranslate2()
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
        hidden = np.asarray(output).astype(np.float32, copy=False)
        if self._encoder.device != "cpu" and self._recipe.pooling == "mean":
            return means(hidden, lengths)
        return pooled(hidden, lengths, self._recipe.pooling)


def device_of(device: str) -> str:
    """`cpu` or `cuda`; for `auto`, the one that is there.

    Raises:
        ConfigError: there is no such device here.
    """
    if device == "cpu":
        return device
    has_cuda = _ctranslate2().get_cuda_device_count() > 0
    if device == "cuda" and not has_cuda:
        raise ConfigError(
            'The embedder is set to device = "cuda", but no CUDA device is visible here.',
            hint='Set device = "cpu".',
        )
    return "cuda" if has_cuda else "cpu"


def _ctranslate2() -> Any:
    """Imported by the first use, for the sake of commands that embed nothing; it has no types."""
    return importlib.import_module("ctranslate2")
