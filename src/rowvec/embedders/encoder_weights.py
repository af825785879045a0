"""The weights of an encoder by what they are, and its config.json held against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from rowvec.embedders.architectures import Family, family_of, positions_of, rotations, unsupported
from rowvec.embedders.model_json import Settings
from rowvec.embedders.weights import TYPES

POSITIONS, KINDS = (f"embeddings.{name}_embeddings.weight" for name in ("position", "token_type"))
HEADS = 12
"""As many as each of these architectures has where config.json does not say."""
BUCKETS, FURTHEST = 32, 128
"""Of the distances that MPNet tells apart: those up to 128, in 32 groups."""

Array = npt.NDArray[np.float32]


class Weights(Protocol):
    """Tensors by their name in the file."""

    def keys(self) -> list[str]: ...
    def shape(self, name: str) -> tuple[int, ...]: ...
    def type(self, name: str) -> str: ...
    def get_tensor(self, name: str) -> Array: ...


class Linear(NamedTuple):
    weight: Array
    bias: Array | None


class Norm(NamedTuple):
    scale: Array
    shift: Array


class Table:
    """Weights by their name inside the encoder, whatever stands before it in the file.

    Args:
        words: the name of the table of words, behind which the prefix ends.
        model: its name, for messages.
    """

    def __init__(self, weights: Weights, words: str, model: str) -> None:
        self._weights = weights
        self._model = model
        names = weights.keys()
        prefix = next((name.removesuffix(words) for name in names if name.endswith(words)), "")
        self._names = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> Array:
        return np.ascontiguousarray(self._weights.get_tensor(self._known(name)), np.float32)

    def shape(self, name: str) -> tuple[int, ...]:
        """
        Raises:
            EmbedderError: there is no such weight, or it is of a type that is not read.
        """
        found = self._known(name)
        if self._weights.type(found) not in TYPES:
            raise unsupported(self._model, f"its weight {name!r} is of the type {self._weights.type(found)}")
        return self._weights.shape(found)

    def norm(self, name: str) -> tuple[str, str]:
        """The names of the two halves of a normalisation, which the first BERT checkpoints call gamma and beta."""
        old = f"{name}.gamma" in self
        return f"{name}.{'gamma' if old else 'weight'}", f"{name}.{'beta' if old else 'bias'}"

    def _known(self, name: str) -> str:
        if name not in self:
            raise unsupported(self._model, f"its weights hold no {name!r}")
        return self._names[name]


class Encoder:
    """The weights of one model by what they do, whatever its file calls them.

    Args:
        config: config.json, complete.
        name: of the model, for messages.
    """

    def __init__(self, config: Mapping[str, Any], weights: Weights, name: str) -> None:
        self.family = family_of(config, name)
        self._config, self._name = config, name
        self._table = Table(weights, self.family.words, name)
        self.layers = int(config[self.family.layers])
        self.heads = int(config[self.family.heads])
        self.width = int(config[self.family.width])
        self.rotations = rotations(config, name)

    def words(self) -> Array:
        words = self._table[self.family.words]
        return words if self._has_positions else words + self._kind()

    def positions(self) -> Array | None:
        """The table of positions, from that of the first token on; None where positions turn queries and keys."""
        if not self._has_positions:
            return None
        return self._table[POSITIONS][positions_of(self._config, self._name)] + self._kind()

    @property
    def _has_positions(self) -> bool:
        return not self.family.theta

    def _kind(self) -> Array:
        """The vector of token type 0, added to every token: a text on its own has no other type."""
        return self._table[KINDS][0] if KINDS in self._table else np.zeros(self.width, np.float32)

    def distances(self) -> Array | None:
        """The biases by distance, shape (BUCKETS, heads)."""
        return self._table[self.family.distances] if self.family.distances else None

    def embedding_norm(self) -> Norm:
        return self._norm(self.family.embedding_norm)

    def attention(self, layer: int) -> list[Linear]:
        """Query, key and value."""
        names = self.family.attention
        parts = [self._linear(layer, part) for part in names]
        return parts if len(parts) == 3 else _rows(parts[0], 3)

    def attention_out(self, layer: int) -> Linear:
        return self._linear(layer, self.family.attention_out)

    def attention_norm(self, layer: int) -> Norm | None:
        """None for the first layer of those that normalise first: its input is normalised already."""
        if self.family.norm_first and layer == 0:
            return None
        return self._norm(self.family.attention_norm, layer)

    def wide(self, layer: int) -> list[Linear]:
        """What goes through the activation, and what that is multiplied by, if anything."""
        family = self.family
        if not family.gate:
            return [self._linear(layer, family.widen)]
        if family.gate == family.widen:
            halves = _rows(self._linear(layer, family.widen), 2)
        else:
            halves = [self._linear(layer, family.widen), self._linear(layer, family.gate)]
        return halves if family.gate_first else halves[::-1]

    def narrow(self, layer: int) -> Linear:
        return self._linear(layer, self.family.narrow)

    def output_norm(self, layer: int) -> Norm:
        return self._norm(self.family.output_norm, layer)

    def final_norm(self) -> Norm | None:
        return self._norm(self.family.final_norm) if self.family.final_norm else None

    def _linear(self, layer: int, part: str) -> Linear:
        name = self.family.layer.format(layer) + part
        biased = _has_bias(self.family, self._config, part)
        return Linear(self._table[f"{name}.weight"], self._table[f"{name}.bias"] if biased else None)

    def _norm(self, part: str, layer: int | None = None) -> Norm:
        name = part if layer is None else self.family.layer.format(layer) + part
        scale, shift = self._table.norm(name)
        biased = _has_bias(self.family, self._config, part)
        return Norm(self._table[scale], self._table[shift] if biased else np.zeros(self.width, np.float32))


def _rows(whole: Linear, parts: int) -> list[Linear]:
    weights = np.split(whole.weight, parts)
    biases = [None] * parts if whole.bias is None else np.split(whole.bias, parts)
    return [Linear(weight, bias) for weight, bias in zip(weights, biases, strict=True)]


def _has_bias(family: Family, config: Mapping[str, Any], part: str) -> bool:
    setting = family.unbiased.get(part)
    return setting is None or bool(config.get(setting))


def bucket(distance: int) -> int:
    """The row of the biases for a token `distance` places behind another: exact to 8, then by logarithm."""
    half = BUCKETS // 2
    exact, far = half // 2, abs(distance)
    if far >= exact:
        ratio = np.log(np.float32(far) / np.float32(exact)) / np.float32(np.log(FURTHEST / exact))
        far = min(half - 1, exact + int(ratio * (half - exact)))
    return far + (half if distance > 0 else 0)


def settled_config(said: Settings, weights: Weights, name: str) -> Mapping[str, Any]:
    """config.json of the model `name` with what it leaves out: sizes from the weights, the rest as its architecture
    has it.

    Raises:
        EmbedderError: an architecture that is not run here, a value that cannot be, or a weight that is missing or has
            another size.
    """
    family = family_of(said.values, name)
    table = Table(weights, family.words, name)
    table_of_words = table.shape(family.words)
    if len(table_of_words) != 2 or 0 in table_of_words:
        raise unsupported(name, f"its table of words has the shape {list(table_of_words)}")
    words, width = table_of_words
    layers, heads = _layers(family, table), said.whole(family.heads, HEADS) or HEADS
    positions = (table.shape(POSITIONS) or (0,))[0] if not family.theta else None
    sizes = {
        "vocab_size": words,
        family.width: width,
        family.positions: said.whole(family.positions, family.usual_positions) if positions is None else positions,
        family.layers: layers,
        family.heads: heads,
    }
    for key in ("vocab_size", family.width, family.positions):
        if said.whole(key, sizes[key]) != sizes[key]:
            what = "vectors for {} words" if key == "vocab_size" else f"{key} {{}}"
            raise unsupported(name, f"it has {what.format(sizes[key])}, and says {said.values[key]}")
    wanted = said.whole(family.layers, layers) or layers
    if wanted > layers:
        missing = f"{family.layer.format(layers)}{family.attention[0]}.weight"
        raise unsupported(name, f"its weights hold {layers} layers, and it says {wanted}: there is no {missing!r}")
    if width % heads or (family.theta and width // heads % 2):
        raise unsupported(name, f"its {heads} heads do not divide its {width} dimensions")
    if said.whole("head_dim", width // heads) != width // heads:
        raise unsupported(name, f"its head_dim is {said.values['head_dim']}, not {width // heads}")
    said.number(family.epsilon, family.usual_epsilon)
    said.whole("pad_token_id", None, lowest=0)
    config = {**said.values, **{key: size for key, size in sizes.items() if said.values.get(key) is None}}
    rotations(config, name)
    for weight, shape in _wanted(family, config, table, wanted, width, heads):
        found = table.shape(weight)
        if shape is not None and found != shape:
            raise unsupported(name, f"its weight {weight!r} has the shape {list(found)} instead of {list(shape)}")
    return config


def _layers(family: Family, table: Table) -> int:
    count = 0
    while f"{family.layer.format(count)}{family.attention[0]}.weight" in table:
        count += 1
    if not count:
        table.shape(f"{family.layer.format(0)}{family.attention[0]}.weight")
    return count


def _wanted(
    family: Family, config: Mapping[str, Any], table: Table, layers: int, width: int, heads: int
) -> Iterator[tuple[str, tuple[int, ...] | None]]:
    """Every weight of the encoder, with its shape where that is known."""

    def norm(part: str, scope: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
        halves = table.norm(scope + part)
        yield from ((half, (width,)) for half in halves[: 2 if _has_bias(family, config, part) else 1])

    if not family.theta:
        yield POSITIONS, (table.shape(POSITIONS)[0], width)
    if KINDS in table:
        yield KINDS, None if not family.theta else (table.shape(KINDS)[0], width)
    if family.distances:
        yield family.distances, (BUCKETS, heads)
    yield from norm(family.embedding_norm)
    if family.final_norm:
        yield from norm(family.final_norm)
    fused = family.gate == family.widen
    for number in range(layers):
        scope = family.layer.format(number)
        inner = (table.shape(f"{scope}{family.narrow}.weight") or (0,))[-1]
        sizes = {
            **dict.fromkeys(family.attention, (width * 3 // len(family.attention), width)),
            family.attention_out: (width, width),
            family.widen: (2 * inner if fused else inner, width),
            family.narrow: (width, inner),
        }
        if family.gate and not fused:
            sizes[family.gate] = (inner, width)
        for part, shape in sizes.items():
            yield f"{scope}{part}.weight", shape
            if _has_bias(family, config, part):
                yield f"{scope}{part}.bias", shape[:1]
        if not (family.norm_first and number == 0):
            yield from norm(family.attention_norm, scope)
        yield from norm(family.output_norm, scope)
