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

from rowvec.embedders.architectures import activation_of, epsilon_of
from rowvec.embedders.encoder_weights import FURTHEST, Encoder, Linear, Norm, Weights
from rowvec.embedders.model_cache import cache_error
from rowvec.embedders.model_files import ModelFiles

if TYPE_CHECKING:
    from ctranslate2.specs.transformer_spec import TransformerEncoderModelSpec

FORMAT = 1
"""Raised when what is written here changes, so that an older conversion is not taken for a current one."""

STEP = 16
"""Rows of a weight that stands for nothing: few, and a whole number of what a processor takes at once."""
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
    from ctranslate2.specs.transformer_spec import (
        TransformerEncoderLayerSpec,
        TransformerEncoderModelSpec,
        TransformerEncoderSpec,
    )

    source = Encoder(config, weights, name)
    by_distance = source.distances() is not None
    encoder = TransformerEncoderSpec(
        source.layers + by_distance,
        source.heads,
        pre_norm=False,
        activation=getattr(Activation, str(activation_of(config, source.family))),
        layernorm_embedding=not by_distance,
        ffn_glu=bool(source.family.gate),
        **_turned(source),
    )
    encoder.scale_embeddings = False
    words: Any = encoder.embeddings[0]
    words.weight = source.words()
    positions = source.positions()
    if positions is not None:
        table: Any = encoder.position_encodings
        table.encodings = positions
    layers = encoder.layer
    if by_distance:
        _passing(layers[0], source)
        layers = [TransformerEncoderLayerSpec(relative_attention_bias=True) for _ in range(source.layers)]
        encoder.layer[1:] = layers
    else:
        _norm(encoder.layernorm_embedding, source.embedding_norm())
    for number, layer in enumerate(layers):
        _layer(layer, source, number)

    spec = TransformerEncoderModelSpec(encoder)
    spec.config.layer_norm_epsilon = epsilon_of(config, source.family)
    # Tokens are only ever passed by number, but the format wants a word for each.
    spec.register_vocabulary([str(number) for number in range(len(words.weight))])
    spec.validate()
    return spec


def _turned(source: Encoder) -> dict[str, Any]:
    """How positions turn queries and keys, in the words of CTranslate2."""
    from ctranslate2.specs.attention_spec import RotaryScalingType

    if not source.rotations:
        return {}
    turned = source.rotations[0]
    said = {"rotary_dim": source.width // source.heads, "rotary_interleave": False, "rotary_base": turned.theta}
    if turned.slower != 1:
        said |= {"rotary_scaling_type": RotaryScalingType.Linear, "rotary_scaling_factor": turned.slower}
    return said


def _layer(layer: Any, source: Encoder, number: int) -> None:
    attention = layer.self_attention
    _linear(attention.linear[0], *source.attention(number))
    _linear(attention.linear[1], source.attention_out(number))
    _norm(attention.layer_norm, source.attention_norm(number))
    active, *factor = source.wide(number)
    _linear(layer.ffn.linear_0, active)
    if factor:
        _linear(layer.ffn.linear_0_noact, *factor)
    _linear(layer.ffn.linear_1, source.narrow(number))
    _norm(layer.ffn.layer_norm, source.output_norm(number))
    distances = source.distances()
    if distances is not None:
        attention.relative_attention_bias = distances
        attention.relative_attention_max_distance = np.dtype("int32").type(FURTHEST)


def _passing(layer: Any, source: Encoder) -> None:
    """A layer that adds nothing to its input, and normalises it as the embeddings are.

    CTranslate2 adds a table of positions where the first layer has no biases by distance; MPNet has both in each layer.
    """
    width = source.width
    nothing = [np.zeros(shape, np.float32) for shape in ((width, width), (width,))]
    attention = layer.self_attention
    _linear(attention.linear[0], *[Linear(*nothing)] * 3)
    _linear(attention.linear[1], Linear(*nothing))
    _norm(attention.layer_norm, Norm(np.ones(width, np.float32), nothing[1]))
    _linear(layer.ffn.linear_0, Linear(nothing[0][:STEP], nothing[1][:STEP]))
    _linear(layer.ffn.linear_1, Linear(np.ascontiguousarray(nothing[0][:, :STEP]), nothing[1]))
    _norm(layer.ffn.layer_norm, source.embedding_norm())


def _linear(target: Any, *parts: Linear) -> None:
    """One linear layer; several that read the same input are stacked into one."""
    target.weight = np.concatenate([part.weight for part in parts])
    biases = [part.bias for part in parts if part.bias is not None]
    if biases:
        target.bias = np.concatenate(biases)


def _norm(target: Any, norm: Norm | None) -> None:
    assert norm is not None, "only networks that normalise first have a layer without a norm"
    target.gamma, target.beta = norm


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
