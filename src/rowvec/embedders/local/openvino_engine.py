"""The engine for processors with bf16 units: OpenVINO, over a graph made from the model's own weights.

It also runs the architectures that CTranslate2 cannot, and queries in int8.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
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
SHORT = (8, 12, 16)
"""Lengths of queries that have a network of their own. Where a length is open, OpenVINO works out the shape of every
step again, 0.3 ms of a query. A network takes 0.15 s when it is first used, and the memory of the weights."""
SMALL = 32_000_000
"""Weights of a model for which that is worth while."""
ROWS = ("float32", "bfloat16")
"""Precisions of rows. Their int8 is that of CTranslate2: vectors of two ways to round must not mix."""
SETTINGS: Mapping[str, Mapping[str, str | int]] = {
    "float32": {"INFERENCE_PRECISION_HINT": "f32"},
    "bfloat16": {"INFERENCE_PRECISION_HINT": "bf16"},
    # Numbers of a token that share a scale: measured with 32 to 128, which trade exactness for time.
    "int8": {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 64},
}
"""By precision."""


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
        precision: `float32`, `bfloat16` or `int8`, in which products are computed; sums are float32.
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
        self._settings = {
            **SETTINGS[precision],
            "NUM_STREAMS": workers,
            "INFERENCE_NUM_THREADS": workers,
            "PERFORMANCE_HINT": "THROUGHPUT",
        }
        self._name = name
        self._workers = workers
        try:
            graph = Graph(openvino, config, weights, name, recipe.limit, int8=precision == "int8")
            self._model = graph.model(recipe.pooling)
        except RuntimeError as error:
            raise EmbedderError(f"OpenVINO cannot run the model {name!r}: {error}.") from error
        self._short = SHORT if graph.numbers <= SMALL else ()
        self._requests: dict[int | None, SimpleQueue[Any]] = {}
        self._compiling = threading.Lock()
        self._closed = False
        if not self._short:
            self._compiled(None)
            self._model = None  # Its weights are those that the network was made from, a second time.

    def query(self, window: Sequence[int]) -> Vectors:
        """The vector of one window that never shares a batch with others, shape (1, dimension); as `vectors`.

        OpenVINO computes on padding, so a query has none, or little.
        """
        length = next((each for each in self._short if len(window) <= each <= self._recipe.limit), None)
        ids, lengths = self._tokens([window], length or len(window))
        return self._finished(self._pooled(ids, lengths, length))

    def close(self) -> None:
        super().close()
        with self._compiling:
            self._closed = True
            self._model = None
            self._requests.clear()

    def _pooled(self, ids: Tokens, lengths: Lengths, only: int | None = None) -> Vectors:
        """
        Args:
            only: compute with a network of this length alone.
        """
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.float32)
        requests = self._compiled(only)
        request = requests.get()
        try:
            request.infer([ids, mask])
            found: Vectors = request.get_output_tensor(0).data.astype(np.float32)
        except RuntimeError as error:
            raise EmbedderError(f"The model could not be run on cpu: {error}.") from error
        finally:
            requests.put(request)
        return found

    def _compiled(self, length: int | None) -> SimpleQueue[Any]:
        """The network, of one window of this length or of any windows, compiled by its first use."""
        with self._compiling:
            if self._closed:
                raise EmbedderError(f"The model {self._name!r} was closed.")
            if length not in self._requests:
                self._requests[length] = self._compile(length)
            return self._requests[length]

    def _compile(self, length: int | None) -> SimpleQueue[Any]:
        model = self._model
        try:
            if length is not None:
                model = model.clone()
                model.reshape({number: [1, length] for number in range(len(model.inputs))})
            compiled = _openvino().Core().compile_model(model, "CPU", self._settings)
        except RuntimeError as error:
            raise EmbedderError(f"OpenVINO cannot run the model {self._name!r}: {error}.") from error
        requests: SimpleQueue[Any] = SimpleQueue()
        # One more than threads of the pool: a query is computed in its own thread beside them.
        for _ in range(self._workers + 1):
            requests.put(compiled.create_infer_request())
        return requests


def _openvino() -> Any:
    """Imported by the first use, for the sake of commands that embed nothing.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module("openvino")
    except ModuleNotFoundError as error:
        raise MissingExtraError("The engine OpenVINO, which this model or its precision needs,", "openvino") from error
