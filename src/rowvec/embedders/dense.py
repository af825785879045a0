"""The layers that some models put behind pooling: one matrix, and perhaps an activation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rowvec.embedders.architectures import unsupported
from rowvec.embedders.model_json import Settings
from rowvec.embedders.weights import TYPES, WEIGHTS, SafeTensors
from rowvec.types import Vectors

ACTIVATIONS: Mapping[str, Callable[[Vectors], Vectors]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, np.float32(0)),
    "Sigmoid": lambda x: np.float32(1) / (np.float32(1) + np.exp(-x)),
}
"""By the names of their classes in torch."""
PACKAGE = "torch.nn.modules."


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    weight: Vectors
    """Shape (dimensions after it, dimensions before it)."""
    bias: Vectors | None
    activation: str

    def apply(self, vectors: Vectors) -> Vectors:
        found = vectors @ self.weight.T
        if self.bias is not None:
            found = found + self.bias
        changed: Vectors = ACTIVATIONS[self.activation](found)
        return changed

    @property
    def dimension(self) -> int:
        return len(self.weight)

    @property
    def digest(self) -> str:
        content = hashlib.sha256(self.activation.encode())
        for part in (self.weight, self.bias):
            content.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
        return content.hexdigest()[:8]


def read_dense(name: str, folder: Path, width: int | None) -> Dense:
    """The layer in `folder` of the model `name`, for vectors of `width` dimensions where that is known.

    Raises:
        EmbedderError: an option that is not carried out here, or weights that are missing or of another size.
    """
    settings = Settings(folder / "config.json")
    said = settings.text("activation_function", PACKAGE + "activation.Tanh")
    activation = said.rpartition(".")[2]
    if activation not in ACTIVATIONS or not said.startswith(PACKAGE):
        raise unsupported(name, f"the activation of its Dense module is {said!r}")
    if (
        settings.flag("use_residual")
        or settings.text("module_input_name", "sentence_embedding") != "sentence_embedding"
    ):
        raise unsupported(name, "its Dense module adds its input, or works on something else than a text's vector")
    if not (folder / WEIGHTS).is_file():
        raise unsupported(name, f"its Dense module has no {folder.name}/{WEIGHTS}")
    weights = SafeTensors([folder / WEIGHTS])
    after, before = settings.whole("out_features", None), settings.whole("in_features", None)
    wanted: dict[str, tuple[int | None, ...]] = {"linear.weight": (after, before)}
    if settings.flag("bias", True):
        wanted["linear.bias"] = (after,)
    if width is not None and before != width:
        raise unsupported(name, f"its Dense module takes {before} dimensions, and gets {width}")
    for weight, shape in wanted.items():
        if weight not in weights.keys():  # noqa: SIM118 (it is not a mapping)
            raise unsupported(name, f"its {folder.name}/{WEIGHTS} holds no {weight!r}")
        if weights.shape(weight) != shape or weights.type(weight) not in TYPES:
            found = f"{weights.type(weight)} {list(weights.shape(weight))}"
            raise unsupported(name, f"the weight {weight!r} in {folder.name} is {found} instead of {list(shape)}")
    bias = weights.get_tensor("linear.bias") if "linear.bias" in wanted else None
    return Dense(weights.get_tensor("linear.weight"), bias, activation)
