"""The network of a model in OpenVINO's operations, with pooling at its end.

Layer normalisation is MVN (mean-variance normalisation) with a scale and a shift, as OpenVINO's CPU plugin fuses it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rowvec.embedders.architectures import Rotation, activation_of, epsilon_of
from rowvec.embedders.encoder_weights import FURTHEST, Array, Encoder, Linear, Norm, Weights, bucket

MASKED = -1e4
"""Added to what attention must not see: a number that bf16 holds, and whose exponential is 0."""
LOWEST = -1e30
"""Below whatever a network gives."""
HIGHEST = 127
"""Of eight bits."""
ACTIVATIONS: Mapping[str, tuple[str, dict[str, str]]] = {
    "GELU": ("gelu", {"approximation_mode": "erf"}),
    "GELUTanh": ("gelu", {"approximation_mode": "tanh"}),
    "RELU": ("relu", {}),
    "SWISH": ("swish", {}),
}
"""By their names in `architectures.ACTIVATIONS`."""


class Graph:
    """`x` is always of the shape (windows, tokens, width).

    Args:
        openvino: the module.
        config: the model's config.json, complete.
        name: of the model, for messages.
        limit: the most tokens of a window.
        int8: weights of products are rounded to eight bits, those of one output with one scale.

    Attributes:
        numbers: weights of products in the network that was made.
    """

    def __init__(
        self, openvino: Any, config: Mapping[str, Any], weights: Weights, name: str, limit: int, *, int8: bool = False
    ) -> None:
        self._openvino = openvino
        self._op = importlib.import_module("openvino.opset13")
        self._source = Encoder(config, weights, name)
        self._limit = limit
        self._int8 = int8
        self.numbers = 0
        self._epsilon = epsilon_of(config, self._source.family)
        function, self._arguments = ACTIVATIONS[str(activation_of(config, self._source.family))]
        self._activation: Callable[..., Any] = getattr(self._op, function)
        ids = self._op.parameter([-1, -1], openvino.Type.i32, name="ids")
        mask = self._op.parameter([-1, -1], openvino.Type.f32, name="mask")
        self._ids, self._mask = ids, mask
        tokens = self._op.gather(self._op.shape_of(ids, "i32"), self._whole(1), self._whole(0))
        self._places = self._op.range(self._whole(0), tokens, self._whole(1), "i32")
        self._seen: dict[int | None, Any] = {}
        self._turns: dict[Rotation, tuple[Any, Any]] = {}

    def model(self, pooling: str) -> Any:
        op, source = self._op, self._source
        x = op.gather(self._constant(source.words()), self._ids, self._whole(0))
        positions = source.positions()
        if positions is not None:
            x = op.add(x, op.gather(self._constant(positions), self._places, self._whole(0)))
        x = self._norm(x, source.embedding_norm())
        for number in range(source.layers):
            x = self._layer(x, number)
        x = self._norm(x, source.final_norm())
        return self._openvino.Model([self._pooled(x, pooling)], [self._ids, self._mask], "encoder")

    def _layer(self, x: Any, number: int) -> Any:
        op, source = self._op, self._source
        attention, output = source.attention_norm(number), source.output_norm(number)
        if source.family.norm_first:
            x = op.add(x, self._attention(self._norm(x, attention), number))
            return op.add(x, self._feed_forward(self._norm(x, output), number))
        x = self._norm(op.add(self._attention(x, number), x), attention)
        return self._norm(op.add(self._feed_forward(x, number), x), output)

    def _attention(self, x: Any, number: int) -> Any:
        op, source = self._op, self._source
        split = self._whole([0, 0, source.heads, source.width // source.heads])
        order = self._whole([0, 2, 1, 3])
        query, key, value = (
            op.transpose(op.reshape(self._linear(x, part), split, True), order) for part in source.attention(number)
        )
        reach = None
        if source.rotations:
            turn = source.rotations[number]
            query, key, reach = self._turned(query, turn), self._turned(key, turn), turn.reach
        seen = op.transpose(op.scaled_dot_product_attention(query, key, value, self._hidden(reach)), order)
        seen = op.reshape(seen, self._whole([0, 0, source.width]), True)
        return self._linear(seen, source.attention_out(number))

    def _feed_forward(self, x: Any, number: int) -> Any:
        active, *factor = self._source.wide(number)
        wide = self._activation(self._linear(x, active), **self._arguments)
        if factor:
            wide = self._op.multiply(wide, self._linear(x, *factor))
        return self._linear(wide, self._source.narrow(number))

    def _hidden(self, reach: int | None) -> Any:
        """What is added to the products of queries and keys; made once for all layers that see as far."""
        if reach not in self._seen:
            self._seen[reach] = self._mask_of(reach)
        return self._seen[reach]

    def _mask_of(self, reach: int | None) -> Any:
        op = self._op
        hidden = op.multiply(op.subtract(self._constant(1.0), self._mask), self._constant(MASKED))
        hidden = op.unsqueeze(hidden, self._whole([1, 2]))
        distances = self._source.distances()
        if reach is None and distances is None:
            return hidden
        away = op.subtract(op.unsqueeze(self._places, self._whole(0)), op.unsqueeze(self._places, self._whole(1)))
        if distances is not None:
            rows = distances[[bucket(distance) for distance in range(-FURTHEST, FURTHEST + 1)]]
            row = op.add(op.clamp(away, -FURTHEST, FURTHEST), self._whole(FURTHEST))
            biases = op.gather(self._constant(rows), row, self._whole(0))
            hidden = op.add(hidden, op.unsqueeze(op.transpose(biases, self._whole([2, 0, 1])), self._whole(0)))
        if reach is not None:
            far = op.greater(op.abs(away), self._whole(reach))
            far = op.select(far, self._constant(MASKED), self._constant(0.0))
            hidden = op.add(hidden, op.unsqueeze(far, self._whole([0, 1])))
        return hidden

    def _turned(self, x: Any, turn: Rotation) -> Any:
        """Queries or keys, shape (windows, heads, tokens, size): each pair of the two halves turned by its angle."""
        op = self._op
        if turn not in self._turns:
            size = self._source.width // self._source.heads
            speed = turn.theta ** (-np.arange(0, size, 2, dtype=np.float64) / size) / turn.slower
            angles = np.tile(np.arange(self._limit)[:, None] * speed, 2)
            self._turns[turn] = (self._by_place(np.cos(angles)), self._by_place(np.sin(angles)))
        cosine, sine = self._turns[turn]
        halves = op.split(x, self._whole(3), 2)
        crossed = op.concat([op.negative(halves.output(1)), halves.output(0)], 3)
        return op.add(op.multiply(x, cosine), op.multiply(crossed, sine))

    def _by_place(self, table: Array) -> Any:
        return self._op.gather(self._constant(table), self._places, self._whole(0))

    def _pooled(self, x: Any, pooling: str) -> Any:
        op, tokens = self._op, self._whole(1)
        if pooling == "cls":
            return op.gather(x, self._whole(0), tokens)
        if pooling == "lasttoken":
            last = op.subtract(op.convert(op.reduce_sum(self._mask, tokens, False), "i32"), self._whole(1))
            return op.gather(x, last, tokens, 1)
        own = op.unsqueeze(self._mask, self._whole(2))
        if pooling == "max":
            is_own = op.greater(own, self._constant(0.5))
            return op.reduce_max(op.select(is_own, x, self._constant(LOWEST)), tokens, False)
        if pooling == "weightedmean":
            place = op.add(op.convert(self._places, "f32"), self._constant(1.0))
            own = op.multiply(own, op.unsqueeze(place, self._whole([0, 2])))
        total = op.reduce_sum(op.multiply(x, own), tokens, False)
        return op.divide(total, op.reduce_sum(own, tokens, False))

    def _norm(self, x: Any, norm: Norm | None) -> Any:
        if norm is None:
            return x
        op, scale, shift = self._op, self._constant(norm.scale), self._constant(norm.shift)
        return op.add(op.multiply(op.mvn(x, self._whole([2]), True, self._epsilon, "inside_sqrt"), scale), shift)

    def _linear(self, x: Any, linear: Linear) -> Any:
        self.numbers += linear.weight.size
        weight = self._rounded(linear.weight) if self._int8 else self._constant(linear.weight)
        product = self._op.matmul(x, weight, False, True)
        return product if linear.bias is None else self._op.add(product, self._constant(linear.bias))

    def _rounded(self, weight: Array) -> Any:
        """A weight in eight bits; OpenVINO knows this chain of operations and rounds `x` to eight bits too."""
        op = self._op
        scale = np.maximum(np.abs(weight).max(axis=1, keepdims=True) / HIGHEST, np.float32(1e-12))
        whole = op.constant(np.rint(weight / scale).astype(np.int8))
        return op.multiply(op.convert(whole, "f32"), self._constant(scale))

    def _constant(self, value: Array | float) -> Any:
        return self._op.constant(np.asarray(value, np.float32))

    def _whole(self, value: int | list[int]) -> Any:
        return self._op.constant(np.asarray(value, np.int32))
