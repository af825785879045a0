"""The kinds of model that the local embedder runs.

BERT (Devlin et al., 2019), DistilBERT (Sanh et al., 2019), RoBERTa (Liu et al., 2019) and XLM-R (Conneau et al., 2020)
are one network under several sets of names: embeddings summed and normalised, then layers of self-attention and a
feed-forward network, each with its normalisation after the residual sum.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rowvec.errors import EmbedderError


@dataclass(frozen=True, slots=True)
class Family:
    """What one kind of model calls its settings and its weights. `{}` stands for the number of the layer."""

    width: str
    layers: str
    heads: str
    activation: str
    layer: str
    attention: tuple[str, str, str]
    """Query, key and value."""
    attention_out: str
    attention_norm: str
    widen: str
    narrow: str
    output_norm: str
    positions_after_padding: bool = False
    """Positions count from the padding id plus one: the rows of the table before that belong to no token."""


BERT = Family(
    width="hidden_size",
    layers="num_hidden_layers",
    heads="num_attention_heads",
    activation="hidden_act",
    layer="encoder.layer.{}.",
    attention=("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_out="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    widen="intermediate.dense",
    narrow="output.dense",
    output_norm="output.LayerNorm",
)
ROBERTA = dataclasses.replace(BERT, positions_after_padding=True)
DISTILBERT = Family(
    width="hidden_size",
    layers="n_layers",
    heads="n_heads",
    activation="activation",
    layer="transformer.layer.{}.",
    attention=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    attention_out="attention.out_lin",
    attention_norm="sa_layer_norm",
    widen="ffn.lin1",
    narrow="ffn.lin2",
    output_norm="output_layer_norm",
)

FAMILIES: Mapping[str, Family] = {
    "bert": BERT,
    "distilbert": DISTILBERT,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
}
"""By the `model_type` of a model's config.json."""

ACTIVATIONS: Mapping[str, str] = {
    "gelu": "GELU",
    "gelu_python": "GELU",
    "gelu_new": "GELUTanh",
    "gelu_pytorch_tanh": "GELUTanh",
    "relu": "RELU",
    "silu": "SWISH",
    "swish": "SWISH",
}
"""The names of transformers, and those of CTranslate2."""


def family_of(config: Mapping[str, Any], name: str) -> Family:
    """The family of the model `name`, from its config.json.

    Raises:
        EmbedderError: not one that the local embedder runs, with the way to use it all the same.
    """
    kind = config.get("model_type")
    family = FAMILIES.get(str(kind))
    if family is None:
        raise unsupported(name, f"its architecture is {kind!r}, but this embedder only runs {', '.join(FAMILIES)}")
    positions = config.get("position_embedding_type")
    if positions not in (None, "absolute"):
        raise unsupported(name, f"its positions are {positions!r}, not 'absolute'")
    if config.get("is_decoder"):
        raise unsupported(name, "it is a decoder")
    if activation_of(config, family) is None:
        raise unsupported(name, f"its activation is {config[family.activation]!r}")
    return family


def activation_of(config: Mapping[str, Any], family: Family) -> str | None:
    """What CTranslate2 calls it; None for one that is not run here."""
    said = config.get(family.activation)
    return ACTIVATIONS.get("gelu" if said is None else str(said))


def positions_of(config: Mapping[str, Any], name: str) -> slice:
    """The rows of the position table that tokens use; its length is the most tokens the model can take."""
    rows = int(config["max_position_embeddings"])
    if not family_of(config, name).positions_after_padding:
        return slice(0, rows)
    padding = config.get("pad_token_id")
    return slice((1 if padding is None else int(padding)) + 1, rows)


def unsupported(name: str, why: str) -> EmbedderError:
    return EmbedderError(
        f"The local embedder cannot run the model {name!r}: {why}.",
        hint="pip install 'rowvec[sentence-transformers]', and in rowvec.toml: "
        f'embedder = {{ kind = "sentence-transformers", model = "{name}" }}',
    )
