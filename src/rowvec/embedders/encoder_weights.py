"""The weights of an encoder by what they are, and its config.json held against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rowvec.embedders.architectures import Family, family_of, unsupported
from rowvec.embedders.model_json import Settings
from rowvec.embedders.weights import TYPES

WORDS, POSITIONS, KINDS = (f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type"))
HEADS = 12
"""As many as each of these architectures has where config.json does not say."""
NORM_EPSILON = 1e-12

Array = npt.NDArray[np.float32]


class Weights(Protocol):
    """Tensors by their name in the file."""

    def keys(self) -> list[str]: ...
    def shape(self, name: str) -> tuple[int, ...]: ...
    def type(self, name: str) -> str: ...
    def get_tensor(self, name: str) -> Array: ...


class Table:
    """Weights by their name inside the encoder, whatever stands before it in the file.

    Args:
        model: its name, for messages.
    """

    def __init__(self, weights: Weights, model: str) -> None:
        self._weights = weights
        self._model = model
        names = weights.keys()
        prefix = next((name.removesuffix(WORDS) for name in names if name.endswith(WORDS)), "")
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


def settled_config(said: Settings, weights: Weights, name: str) -> Mapping[str, Any]:
    """config.json of the model `name` with what it leaves out: sizes from the weights, the rest as its architecture
    has it.

    Raises:
        EmbedderError: an architecture that is not run here, a value that cannot be, or a weight that is missing or has
            another size.
    """
    family, table = family_of(said.values, name), Table(weights, name)
    table_of_words = table.shape(WORDS)
    if len(table_of_words) != 2 or 0 in table_of_words:
        raise unsupported(name, f"its table of words has the shape {list(table_of_words)}")
    words, width = table_of_words
    layers, heads = _layers(family, table), said.whole(family.heads, HEADS) or HEADS
    sizes = {
        "vocab_size": words,
        family.width: width,
        "max_position_embeddings": (table.shape(POSITIONS) or (0,))[0],
        family.layers: layers,
        family.heads: heads,
    }
    for key in ("vocab_size", family.width, "max_position_embeddings"):
        if said.whole(key, sizes[key]) != sizes[key]:
            what = "vectors for {} words" if key == "vocab_size" else f"{key} {{}}"
            raise unsupported(name, f"it has {what.format(sizes[key])}, and says {said.values[key]}")
    wanted = said.whole(family.layers, layers) or layers
    if wanted > layers:
        raise unsupported(name, f"its weights hold {layers} layers, and it says {wanted}")
    if width % heads:
        raise unsupported(name, f"its {heads} heads do not divide its {width} dimensions")
    said.number("layer_norm_eps", NORM_EPSILON)
    said.whole("pad_token_id", None, lowest=0)
    config = {**said.values, **{key: size for key, size in sizes.items() if said.values.get(key) is None}}
    for weight, shape in _wanted(family, table, wanted, width):
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


def _wanted(family: Family, table: Table, layers: int, width: int) -> Iterator[tuple[str, tuple[int, ...] | None]]:
    """Every weight of the encoder, with its shape where that is known."""
    yield POSITIONS, (table.shape(POSITIONS)[0], width)
    if KINDS in table:
        yield KINDS, None
    yield from ((half, (width,)) for half in table.norm("embeddings.LayerNorm"))
    for number in range(layers):
        scope = family.layer.format(number)
        inner = (table.shape(f"{scope}{family.widen}.weight") or (0,))[0]
        sizes = {family.widen: (inner, width), family.narrow: (width, inner)}
        for part in (*family.attention, family.attention_out, family.widen, family.narrow):
            shape = sizes.get(part, (width, width))
            yield f"{scope}{part}.weight", shape
            yield f"{scope}{part}.bias", shape[:1]
        for part in (family.attention_norm, family.output_norm):
            yield from ((half, (width,)) for half in table.norm(scope + part))
