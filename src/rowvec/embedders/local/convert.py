"""From a model's safetensors to an encoder for CTranslate2, with numpy alone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from rowvec.embedders.architectures import ACTIVATIONS, family_of, positions_of, unsupported
from rowvec.embedders.model_files import ModelFiles, cache_error
from rowvec.errors import EmbedderError

if TYPE_CHECKING:
    from ctranslate2.specs.transformer_spec import TransformerEncoderModelSpec

FORMAT = 1
"""Raised when what is written here changes, so that an older conversion is not taken for a current one."""

SCRATCH = ".making-"
LEFT_SECONDS = 3600
"""Seconds after which a conversion counts as killed: it takes minutes at most."""

WORDS, POSITIONS, TYPES = (f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type"))

Array = npt.NDArray[np.float32]


class Weights(Protocol):
    """An open safetensors file."""

    def keys(self) -> list[str]: ...
    def get_tensor(self, name: str) -> Any: ...


def convert(files: ModelFiles, cache: Path) -> Path:
    """The folder of the converted model: made by the first call, found by every later one.

    Processes that start together may each convert. The folder appears whole, by a rename, and who comes second
    uses what is there.

    Raises:
        EmbedderError: an architecture that is not run here, weights missing or damaged, or a cache that cannot be
            written.
    """
    identity = json.dumps([FORMAT, files.weights_sha256, files.config], sort_keys=True)
    target = cache / "converted" / hashlib.sha256(identity.encode()).hexdigest()[:32]
    if target.is_dir():
        return target
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(files.weights), framework="np") as weights:
            _save(encoder_spec(files.config, weights, files.name), target)
    except SafetensorError as error:
        raise EmbedderError(
            f"The weights {files.weights} cannot be read: {error}.",
            hint="The file is damaged or half downloaded: fetch it again.",
        ) from error
    except OSError as error:
        raise cache_error(target.parent, error) from error
    return target


def encoder_spec(config: Mapping[str, Any], weights: Weights, name: str) -> TransformerEncoderModelSpec:
    """The weights of the model `name` in the places where CTranslate2 expects them; `config` is its config.json.

    Raises:
        EmbedderError: an architecture that is not run here, or a weight that is missing.
    """
    from ctranslate2.specs.common_spec import Activation
    from ctranslate2.specs.transformer_spec import TransformerEncoderModelSpec, TransformerEncoderSpec

    family = family_of(config, name)
    table = _Table(weights, name)
    encoder = TransformerEncoderSpec(
        config[family.layers],
        config[family.heads],
        pre_norm=False,
        activation=getattr(Activation, ACTIVATIONS[config[family.activation]]),
        layernorm_embedding=True,
    )
    encoder.scale_embeddings = False
    words: Any = encoder.embeddings[0]
    words.weight = table[WORDS]
    if len(words.weight) != config["vocab_size"]:
        raise unsupported(name, f"it has vectors for {len(words.weight)} words, and says {config['vocab_size']}")
    positions: Any = encoder.position_encodings
    positions.encodings = _positions(config, table, name)
    table.norm(encoder.layernorm_embedding, "embeddings.LayerNorm")
    for number, layer in enumerate(encoder.layer):
        scope = family.layer.format(number)
        table.linear(layer.self_attention.linear[0], *(scope + part for part in family.attention))
        table.linear(layer.self_attention.linear[1], scope + family.attention_out)
        table.norm(layer.self_attention.layer_norm, scope + family.attention_norm)
        table.linear(layer.ffn.linear_0, scope + family.widen)
        table.linear(layer.ffn.linear_1, scope + family.narrow)
        table.norm(layer.ffn.layer_norm, scope + family.output_norm)

    spec = TransformerEncoderModelSpec(encoder)
    spec.config.layer_norm_epsilon = config.get("layer_norm_eps", 1e-12)
    # Tokens are only ever passed by number, but the format wants a word for each.
    spec.register_vocabulary([str(number) for number in range(len(words.weight))])
    spec.validate()
    return spec


def _positions(config: Mapping[str, Any], table: _Table, name: str) -> Array:
    """The position table, with token type 0 added to every row: a text on its own has no other type."""
    positions = table[POSITIONS][positions_of(config, name)]
    return positions + table[TYPES][0] if TYPES in table else positions


class _Table:
    """Weights by their name inside the encoder, whatever stands before it in the file."""

    def __init__(self, weights: Weights, model: str) -> None:
        self._weights = weights
        self._model = model
        names = weights.keys()
        prefix = next((name.removesuffix(WORDS) for name in names if name.endswith(WORDS)), "")
        self._names = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> Array:
        if name not in self:
            raise unsupported(self._model, f"its weights hold no {name!r}")
        try:
            array = self._weights.get_tensor(self._names[name])
        except (TypeError, AttributeError) as error:
            raise unsupported(self._model, f"its weight {name!r} is of a type unknown to numpy") from error
        return np.ascontiguousarray(array, dtype=np.float32)

    def linear(self, target: Any, *names: str) -> None:
        """One linear layer; several that read the same input are stacked into one."""
        target.weight = np.concatenate([self[f"{name}.weight"] for name in names])
        target.bias = np.concatenate([self[f"{name}.bias"] for name in names])

    def norm(self, target: Any, name: str) -> None:
        # The first BERT checkpoints call the two gamma and beta.
        old = f"{name}.gamma" in self
        target.gamma = self[f"{name}.{'gamma' if old else 'weight'}"]
        target.beta = self[f"{name}.{'beta' if old else 'bias'}"]


def _save(spec: TransformerEncoderModelSpec, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f"{SCRATCH}*"):
        with suppress(FileNotFoundError):  # Another process clears away, too.
            if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    # Not by tempfile: its folders are for nobody else, and a cache may serve several users.
    scratch = target.with_name(f"{SCRATCH}{uuid4().hex}")
    try:
        scratch.mkdir()
        spec.save(os.fspath(scratch))
        for path in scratch.iterdir():
            # Otherwise a power cut could leave the renamed folder with empty files in it.
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        _rename(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _rename(scratch: Path, target: Path) -> None:
    try:
        scratch.rename(target)
    except OSError:
        # Systems differ in what they call a rename onto a folder that is not empty.
        if not target.is_dir():
            raise
