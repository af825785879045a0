"""The engine for processors with bf16 units: OpenVINO, over a graph made from the model's own weights.

It also runs the architectures that CTranslate2 cannot.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

import numpy as np

from rowvec.embedders.encoder_weights import Weights
from rowvec.embedders.local.engine import Engine, Lengths, Tokens
from rowvec.embedders.local.openvino_graph import Graph
from rowvec.embedders.model_recipe import ModelRecipe
from rowvec.errors import ConfigError, EmbedderError, MissingExtraError
from rowvec.types import Vectors

TOKENS = 1024
"""Tokens in a batch, padding included: measured best of 512 to 4,096 in bf16."""
HINTS: Mapping[str, str] = {"float32": "f32", "bfloat16": "bf16"}


def has_bf16() -> bool:
    """Whether OpenVINO is installed and the processor computes in bf16 (AVX512_BF16, AMX or Arm's)."""
    try:
        openvino = _openvino()
    except MissingExtraError:
        return False
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoEngine(Engine):
    """
    Args:
        config: the model's config.json, complete.
        weights: of the model.
        name: of the model, for messages.
        precision: `float32` or `bfloat16`, in which products are computed; sums are float32.
        workers: batches that run side by side, each on one core.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        ConfigError: the processor has no bf16 units.
        EmbedderError: the model cannot be run here.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Weights,
        recipe: ModelRecipe,
        *,
        name: str,
        precision: str,
        workers: int,
        batch_size: int | None = None,
    ) -> None:
        openvino = _openvino()
        if precision == "bfloat16" and not has_bf16():
            raise ConfigError("This processor cannot compute in bfloat16.", hint='Set precision = "float32" or "int8".')
        super().__init__(recipe, words=config["vocab_size"], budget=TOKENS, threads=workers, batch_size=batch_size)
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "NUM_STREAMS": workers,
            "INFERENCE_NUM_THREADS": workers,
            "PERFORMANCE_HINT": "THROUGHPUT",
        }
        try:
            graph = Graph(openvino, config, weights, name, recipe.limit).model(recipe.pooling)
            compiled = openvino.Core().compile_model(graph, "CPU", settings)
        except RuntimeError as error:
            raise EmbedderError(f"OpenVINO cannot run the model {name!r}: {error}.") from error
        self._requests: SimpleQueue[Any] = SimpleQueue()
        # One more than threads of the pool: a query is computed in its own thread beside them.
        for _ in range(workers + 1):
            self._requests.put(compiled.create_infer_request())

    def _pooled(self, ids: Tokens, lengths: Lengths) -> Vectors:
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.float32)
        request = self._requests.get()
        try:
            request.infer([ids, mask])
            found: Vectors = request.get_output_tensor(0).data.astype(np.float32)
        except RuntimeError as error:
            raise EmbedderError(f"The model could not be run on cpu: {error}.") from error
        finally:
            self._requests.put(request)
        return found


def _openvino() -> Any:
    """Imported by the first use, for the sake of commands that embed nothing.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module("openvino")
    except ModuleNotFoundError as error:
        raise MissingExtraError("The engine OpenVINO, which this model or its precision needs,", "openvino") from error
