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
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from rowvec.embedders.architectures import activation_of, family_of, positions_of
from rowvec.embedders.encoder_weights import KINDS, NORM_EPSILON, POSITIONS, WORDS, Array, Table, Weights
from rowvec.embedders.model_files import ModelFiles, cache_error

if TYPE_CHECKING:
    from ctranslate2.specs.transformer_spec import TransformerEncoderModelSpec

FORMAT = 1
"""Raised when what is written here changes, so that an older conversion is not taken for a current one."""

SCRATCH = ".making-"
LEFT_SECONDS = 3600
"""Seconds after which a conversion counts as killed: it takes minutes at most."""


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
    try:
        _save(encoder_spec(files.config, files.weights, files.name), target)
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
    table = Table(weights, name)
    encoder = TransformerEncoderSpec(
        config[family.layers],
        config[family.heads],
        pre_norm=False,
        activation=getattr(Activation, str(activation_of(config, family))),
        layernorm_embedding=True,
    )
    encoder.scale_embeddings = False
    words: Any = encoder.embeddings[0]
    words.weight = table[WORDS]
    positions: Any = encoder.position_encodings
    positions.encodings = _positions(config, table, name)
    _norm(table, encoder.layernorm_embedding, "embeddings.LayerNorm")
    for number, layer in enumerate(encoder.layer):
        scope = family.layer.format(number)
        _linear(table, layer.self_attention.linear[0], *(scope + part for part in family.attention))
        _linear(table, layer.self_attention.linear[1], scope + family.attention_out)
        _norm(table, layer.self_attention.layer_norm, scope + family.attention_norm)
        _linear(table, layer.ffn.linear_0, scope + family.widen)
        _linear(table, layer.ffn.linear_1, scope + family.narrow)
        _norm(table, layer.ffn.layer_norm, scope + family.output_norm)

    spec = TransformerEncoderModelSpec(encoder)
    spec.config.layer_norm_epsilon = config.get("layer_norm_eps") or NORM_EPSILON
    # Tokens are only ever passed by number, but the format wants a word for each.
    spec.register_vocabulary([str(number) for number in range(len(words.weight))])
    spec.validate()
    return spec


def _positions(config: Mapping[str, Any], table: Table, name: str) -> Array:
    """The position table, with token type 0 added to every row: a text on its own has no other type."""
    positions = table[POSITIONS][positions_of(config, name)]
    return positions + table[KINDS][0] if KINDS in table else positions


def _linear(table: Table, target: Any, *names: str) -> None:
    """One linear layer; several that read the same input are stacked into one."""
    target.weight = np.concatenate([table[f"{name}.weight"] for name in names])
    target.bias = np.concatenate([table[f"{name}.bias"] for name in names])


def _norm(table: Table, target: Any, name: str) -> None:
    target.gamma, target.beta = (table[half] for half in table.norm(name))


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
