"""The engine for processors with bf16 units: OpenVINO, over a graph made from the model's own weights.

The graph is the network of `rowvec.embedders.architectures` in OpenVINO's operations, with pooling at its end. Layer
normalisation is MVN (mean-variance normalisation) with a scale and a shift, as OpenVINO's CPU plugin fuses it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

import numpy as np

from rowvec.embedders.architectures import activation_of, family_of, positions_of
from rowvec.embedders.encoder_weights import KINDS, NORM_EPSILON, POSITIONS, WORDS, Array, Table, Weights
from rowvec.embedders.local.engine import Engine, Lengths, Tokens
from rowvec.embedders.model_recipe import ModelRecipe
from rowvec.errors import ConfigError, EmbedderError, MissingExtraError
from rowvec.types import Vectors

TOKENS = 1024
"""Tokens in a batch, padding included: measured best of 512 to 4,096 in bf16."""
HINTS: Mapping[str, str] = {"float32": "f32", "bfloat16": "bf16"}
MASKED = -1e4
"""Added to what attention must not see: a number that bf16 holds, and whose exponential is 0."""
ACTIVATIONS: Mapping[str, tuple[str, dict[str, str]]] = {
    "GELU": ("gelu", {"approximation_mode": "erf"}),
    "GELUTanh": ("gelu", {"approximation_mode": "tanh"}),
    "RELU": ("relu", {}),
    "SWISH": ("swish", {}),
}
"""By their names in `architectures.ACTIVATIONS`."""


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
            graph = _Graph(openvino, config, weights, name).model(recipe.pooling)
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


class _Graph:
    """The network of one model. `x` is always of the shape (windows, tokens, width)."""

    def __init__(self, openvino: Any, config: Mapping[str, Any], weights: Weights, name: str) -> None:
        self._openvino = openvino
        self._op = importlib.import_module("openvino.opset13")
        self._config, self._name = config, name
        self._family = family_of(config, name)
        self._table = Table(weights, name)
        self._epsilon = config.get("layer_norm_eps") or NORM_EPSILON

    def model(self, pooling: str) -> Any:
        op, table, family = self._op, self._table, self._family
        ids = op.parameter([-1, -1], self._openvino.Type.i32, name="ids")
        mask = op.parameter([-1, -1], self._openvino.Type.f32, name="mask")
        words = op.gather(self._constant(table[WORDS]), ids, self._whole(0))
        places = op.range(
            self._whole(0), op.gather(op.shape_of(ids, "i32"), self._whole(1), self._whole(0)), self._whole(1), "i32"
        )
        positions = table[POSITIONS][positions_of(self._config, self._name)]
        if KINDS in table:
            positions = positions + table[KINDS][0]
        x = op.add(words, op.gather(self._constant(positions), places, self._whole(0)))
        x = self._norm(x, "embeddings.LayerNorm")
        hidden = op.multiply(op.subtract(self._constant(1.0), mask), self._constant(MASKED))
        hidden = op.unsqueeze(hidden, self._whole([1, 2]))
        for number in range(self._config[family.layers]):
            x = self._layer(x, hidden, family.layer.format(number))
        return self._openvino.Model([self._pooled(x, mask, pooling)], [ids, mask], "encoder")

    def _layer(self, x: Any, hidden: Any, scope: str) -> Any:
        op, family = self._op, self._family
        width, heads = self._config[family.width], self._config[family.heads]
        split, order = self._whole([0, 0, heads, width // heads]), self._whole([0, 2, 1, 3])
        query, key, value = (
            op.transpose(op.reshape(self._linear(x, scope + part), split, True), order) for part in family.attention
        )
        seen = op.transpose(op.scaled_dot_product_attention(query, key, value, hidden), order)
        seen = op.reshape(seen, self._whole([0, 0, width]), True)
        x = self._norm(op.add(self._linear(seen, scope + family.attention_out), x), scope + family.attention_norm)
        function, arguments = ACTIVATIONS[str(activation_of(self._config, family))]
        wide = getattr(op, function)(self._linear(x, scope + family.widen), **arguments)
        return self._norm(op.add(self._linear(wide, scope + family.narrow), x), scope + family.output_norm)

    def _pooled(self, x: Any, mask: Any, pooling: str) -> Any:
        op = self._op
        if pooling == "cls":
            return op.gather(x, self._whole(0), self._whole(1))
        own = op.unsqueeze(mask, self._whole(2))
        total = op.reduce_sum(op.multiply(x, own), self._whole(1), False)
        return op.divide(total, op.reduce_sum(own, self._whole(1), False))

    def _norm(self, x: Any, name: str) -> Any:
        scale, shift = (self._constant(self._table[half]) for half in self._table.norm(name))
        return self._op.add(
            self._op.multiply(self._op.mvn(x, self._whole([2]), True, self._epsilon, "inside_sqrt"), scale), shift
        )

    def _linear(self, x: Any, name: str) -> Any:
        weight, bias = (self._constant(self._table[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self._op.add(self._op.matmul(x, weight, False, True), bias)

    def _constant(self, value: Array | float) -> Any:
        return self._op.constant(np.asarray(value, np.float32))

    def _whole(self, value: int | list[int]) -> Any:
        return self._op.constant(np.asarray(value, np.int32))


def _openvino() -> Any:
    """Imported by the first use, for the sake of commands that embed nothing.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module("openvino")
    except ModuleNotFoundError as error:
        raise MissingExtraError("The engine OpenVINO, which computes in bfloat16,", "openvino") from error
