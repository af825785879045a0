"""The kinds of model that the local embedder runs.

BERT (Devlin et al., 2019), DistilBERT (Sanh et al., 2019), RoBERTa (Liu et al., 2019) and XLM-R (Conneau et al., 2020)
are one network under several sets of names: embeddings summed and normalised, then layers of self-attention and a
feed-forward network, each with its normalisation after the residual sum. MPNet (Song et al., 2020) adds a bias by the
distance of two tokens to attention. Nomic (Nussbaum et al., 2024) and GTE (Zhang et al., 2024) turn queries and keys by
their positions, and multiply the wide half of the feed-forward network by a gate. ModernBERT (Warner et al., 2024) does
so too, normalises before each part, and sees only near tokens in most layers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rowvec.errors import EmbedderError

TITLES: Mapping[str, str] = {"ctranslate2": "CTranslate2", "openvino": "OpenVINO"}
"""What the engines call themselves."""


@dataclass(frozen=True, slots=True)
class Family:
    """What one kind of model calls its settings and its weights. `{}` stands for the number of the layer."""

    name: str
    width: str
    layers: str
    heads: str
    activation: str
    layer: str
    attention: tuple[str, ...]
    """Query, key and value: three weights, or one of three times the height."""
    attention_out: str
    attention_norm: str
    widen: str
    narrow: str
    output_norm: str
    positions_after_padding: bool = False
    """Positions count from the padding id plus one: the rows of the table before that belong to no token."""
    positions: str = "max_position_embeddings"
    usual_positions: int = 0
    """Where no table of positions says how many there are, and config.json does not either."""
    epsilon: str = "layer_norm_eps"
    usual_epsilon: float = 1e-12
    usual_activation: str = "gelu"
    words: str = "embeddings.word_embeddings.weight"
    embedding_norm: str = "embeddings.LayerNorm"
    distances: str = ""
    """The table of biases that attention adds by the distance of two tokens."""
    gate: str = ""
    """The weight of the gate: `widen` itself where one weight holds both halves."""
    gate_first: bool = False
    """The half that goes through the activation is the first one."""
    unbiased: Mapping[str, str] = field(default_factory=dict)
    """Parts without a bias, unless this setting is true."""
    theta: float = 0
    """Positions turn queries and keys, with this base unless config.json says another; 0 where a table holds them."""
    norm_first: bool = False
    final_norm: str = ""
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Settings that would change the computation, and the values that are run here."""
    engines: tuple[str, ...] = ("ctranslate2", "openvino")


class Rotation(NamedTuple):
    """How positions turn queries and keys: by position / theta^(2i/size) / slower for the pair i of a head."""

    theta: float
    slower: float = 1.0
    reach: int | None = None
    """How many tokens away attention sees; None for all."""


BERT = Family(
    name="BERT",
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
    only={"position_embedding_type": ("absolute",)},
)
ROBERTA = dataclasses.replace(BERT, name="RoBERTa", positions_after_padding=True)
DISTILBERT = Family(
    name="DistilBERT",
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
    only={"position_embedding_type": ("absolute",)},
)
MPNET = dataclasses.replace(
    ROBERTA,
    name="MPNet",
    attention=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
    attention_out="attention.attn.o",
    attention_norm="attention.LayerNorm",
    distances="encoder.relative_attention_bias.weight",
)
NOMIC = Family(
    name="Nomic",
    width="hidden_size",
    layers="num_hidden_layers",
    heads="num_attention_heads",
    activation="hidden_act",
    layer="encoder.layers.{}.",
    attention=("attn.Wqkv",),
    attention_out="attn.out_proj",
    attention_norm="norm1",
    widen="mlp.fc11",
    gate="mlp.fc12",
    narrow="mlp.fc2",
    output_norm="norm2",
    usual_positions=2048,
    usual_activation="silu",
    embedding_norm="emb_ln",
    unbiased={
        "attn.Wqkv": "qkv_proj_bias",
        "attn.out_proj": "qkv_proj_bias",
        "mlp.fc11": "mlp_fc1_bias",
        "mlp.fc12": "mlp_fc1_bias",
        "mlp.fc2": "mlp_fc2_bias",
    },
    theta=1000,
    only={
        "prenorm": (False,),
        "rotary_emb_fraction": (1, 1.0),
        "rotary_emb_interleaved": (False,),
        "rotary_emb_scale_base": (),
        "rotary_scaling_factor": (),
        "use_rms_norm": (False,),
        "parallel_block": (False,),
        "causal": (False,),
        "num_experts": (0,),
    },
)
NOMIC_AS_PUBLISHED = dataclasses.replace(
    NOMIC,
    width="n_embd",
    layers="n_layer",
    heads="n_head",
    activation="activation_function",
    positions="n_positions",
    epsilon="layer_norm_epsilon",
    usual_activation="swiglu",
)
"""The settings under the names that its authors gave them."""
GTE = Family(
    name="GTE",
    width="hidden_size",
    layers="num_hidden_layers",
    heads="num_attention_heads",
    activation="hidden_act",
    layer="encoder.layer.{}.",
    attention=("attention.qkv_proj",),
    attention_out="attention.o_proj",
    attention_norm="attn_ln",
    widen="mlp.up_gate_proj",
    gate="mlp.up_gate_proj",
    narrow="mlp.down_proj",
    output_norm="mlp_ln",
    usual_positions=8192,
    unbiased={"mlp.up_gate_proj": ""},
    theta=160_000,
    only={
        "position_embedding_type": ("rope",),
        "layer_norm_type": ("layer_norm",),
        "logn_attention_scale": (False,),
        "pack_qkv": (True,),
    },
)
MODERNBERT = Family(
    name="ModernBERT",
    width="hidden_size",
    layers="num_hidden_layers",
    heads="num_attention_heads",
    activation="hidden_activation",
    layer="layers.{}.",
    attention=("attn.Wqkv",),
    attention_out="attn.Wo",
    attention_norm="attn_norm",
    widen="mlp.Wi",
    gate="mlp.Wi",
    gate_first=True,
    narrow="mlp.Wo",
    output_norm="mlp_norm",
    usual_positions=8192,
    epsilon="norm_eps",
    usual_epsilon=1e-5,
    words="embeddings.tok_embeddings.weight",
    embedding_norm="embeddings.norm",
    unbiased={
        "attn.Wqkv": "attention_bias",
        "attn.Wo": "attention_bias",
        "mlp.Wi": "mlp_bias",
        "mlp.Wo": "mlp_bias",
        **dict.fromkeys(("embeddings.norm", "attn_norm", "mlp_norm", "final_norm"), "norm_bias"),
    },
    theta=160_000,
    norm_first=True,
    final_norm="final_norm",
    engines=("openvino",),
)
NEAR_THETA, NEAR_TOKENS, EVERY = 10_000, 128, 3
"""Of ModernBERT: the base of the layers that see near tokens, how many they see, and which layers see all."""

FAMILIES: Mapping[str, Family] = {
    "bert": BERT,
    "distilbert": DISTILBERT,
    "roberta": ROBERTA,
    "xlm-roberta": dataclasses.replace(ROBERTA, name="XLM-R"),
    "camembert": dataclasses.replace(ROBERTA, name="CamemBERT"),
    "mpnet": MPNET,
    "nomic_bert": NOMIC,
    "gte": GTE,
    "new": dataclasses.replace(GTE, theta=10_000),
    "modernbert": MODERNBERT,
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
GATED: Mapping[str, str] = {"swiglu": "SWISH", "geglu": "GELU"}


def family_of(config: Mapping[str, Any], name: str) -> Family:
    """The family of the model `name`, from its config.json.

    Raises:
        EmbedderError: not one that the local embedder runs, with the way to use it all the same.
    """
    kind = config.get("model_type")
    family = FAMILIES.get(str(kind))
    if family is None:
        raise unsupported(name, f"its architecture is {kind!r}, but this embedder only runs {', '.join(FAMILIES)}")
    if family is NOMIC and "n_embd" in config:
        family = NOMIC_AS_PUBLISHED
    for setting, values in family.only.items():
        said = config.get(setting)
        if said is not None and said not in values:
            what = "positions are" if setting == "position_embedding_type" else f"{setting} is"
            raise unsupported(name, f"its {what} {said!r}" + (f", not {values[0]!r}" if values else ""))
    if config.get("is_decoder"):
        raise unsupported(name, "it is a decoder")
    if activation_of(config, family) is None:
        raise unsupported(name, f"its activation is {config[family.activation]!r}")
    return family


def activation_of(config: Mapping[str, Any], family: Family) -> str | None:
    """What CTranslate2 calls it; None for one that is not run here."""
    said = config.get(family.activation)
    names = {**ACTIVATIONS, **GATED} if family.gate else ACTIVATIONS
    return names.get(family.usual_activation if said is None else str(said))


def epsilon_of(config: Mapping[str, Any], family: Family) -> float:
    return float(config.get(family.epsilon) or family.usual_epsilon)


def positions_of(config: Mapping[str, Any], name: str) -> slice:
    """The rows of the position table that tokens use; its length is the most tokens the model can take."""
    family = family_of(config, name)
    rows = int(config.get(family.positions) or family.usual_positions)
    if not family.positions_after_padding:
        return slice(0, rows)
    padding = config.get("pad_token_id")
    return slice((1 if padding is None else int(padding)) + 1, rows)


def rotations(config: Mapping[str, Any], name: str) -> list[Rotation]:
    """Of each layer; none where a table holds the positions.

    Raises:
        EmbedderError: positions of a kind that is not run here.
    """
    family = family_of(config, name)
    layers = range(config[family.layers])
    if not family.theta:
        return []
    said = _object(config, "rope_parameters", name)
    if family is not MODERNBERT:
        theta = said.get("rope_theta") or config.get("rope_theta") or config.get("rotary_emb_base") or family.theta
        scaling = said if "rope_type" in said else _object(config, "rope_scaling", name)
        return [_scaled(theta, scaling, config[family.width] // config[family.heads], name)] * len(layers)
    if config.get("rope_scaling") is not None:
        raise unsupported(name, f"its rope_scaling is {config['rope_scaling']!r}")
    reach = _positive(config.get("local_attention") or NEAR_TOKENS, "local_attention", name)
    every = _positive(config.get("global_attn_every_n_layers") or EVERY, "global_attn_every_n_layers", name)
    kinds = config.get("layer_types") or ["sliding_attention" if n % every else "full_attention" for n in layers]
    if not isinstance(kinds, list) or len(kinds) < len(layers):
        raise unsupported(name, f"its layer_types are {kinds!r}")
    found = {}
    for kind, key, usual, near in (
        ("full_attention", "global_rope_theta", family.theta, None),
        ("sliding_attention", "local_rope_theta", NEAR_THETA, int(reach) // 2),
    ):
        own = _object(said, kind, name)
        turned = _scaled(own.get("rope_theta") or config.get(key) or usual, own, 2, name)
        found[kind] = turned._replace(reach=near)
    if unknown := next((kind for kind in kinds if kind not in found), None):
        raise unsupported(name, f"its layer_types name {unknown!r}")
    return [found[kinds[number]] for number in layers]


def _scaled(theta: Any, scaling: Mapping[str, Any], size: int, name: str) -> Rotation:
    """NTK scaling (Su, 2023) reaches further than a model was trained: with another base, and slower."""
    base, kind = _positive(theta, "rope_theta", name), scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return Rotation(base)
    if kind != "ntk" or scaling.get("mixed_b") is not None:
        raise unsupported(name, f"its positions are scaled by {kind!r}")
    factor = _positive(scaling.get("factor"), "rope_scaling.factor", name)
    return Rotation(base * factor, factor ** (2 / size))


def _object(config: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    value = config.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise unsupported(name, f"its {key} is {value!r}, not an object")
    return value or {}


def _positive(value: Any, key: str, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf:
        raise unsupported(name, f"its {key} is {value!r}, not a number from 1 on")
    return float(value)


def changes(config: Mapping[str, Any], name: str) -> str:
    """What config.json changes of the computation, beside the sizes that the weights have; part of the fingerprint."""
    family = family_of(config, name)
    activation, usual = activation_of(config, family), activation_of({}, family)
    epsilon = epsilon_of(config, family)
    turned = rotations(config, name)
    digest = hashlib.sha256(json.dumps(turned).encode()).hexdigest()[:8] if turned else ""
    parts = [
        "" if activation == usual else str(activation),
        "" if epsilon in (1e-12, 1e-5) else f"{epsilon:g}",
        digest and f"turned.{digest}",
    ]
    return "-".join(filter(None, parts)).lower()


def unsupported(name: str, why: str) -> EmbedderError:
    return EmbedderError(
        f"The local embedder cannot run the model {name!r}: {why}.",
        hint="pip install 'rowvec[sentence-transformers]', and in rowvec.toml: "
        f'embedder = {{ kind = "sentence-transformers", model = "{name}" }}',
    )
