"""Small random models of each family on disk, and what they compute, written out in numpy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

WIDTH, HEADS, LAYERS, INNER, POSITIONS = 32, 4, 2, 64, 40
WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "on",
    "mat",
    "runs",
    "red",
    "blue",
    "green",
    "of",
    "in",
    "under",
    "over",
    "and",
]
PIECES = [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"] + list("abcdefghijklmnopqrstuvwxyz.,!")
Array = npt.NDArray[Any]
Weights = dict[str, Array]


def tiny_model(
    folder: Path,
    kind: str = "bert",
    *,
    seed: int = 0,
    config: dict[str, Any] | None = None,
    pooling: dict[str, Any] | None = None,
    modules: Sequence[Mapping[str, str]] | None = None,
    settings: dict[str, Any] | None = None,
    prompts: Mapping[str, Any] | None = None,
    prefix: str = "",
) -> Path:
    """Writes a whole model. What is not given is like MiniLM: mean pooling, normalised."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer(roberta=offset(kind) > 0)
    tokenizer.save(str(folder / "tokenizer.json"))
    full = {**tiny_config(kind, tokenizer.get_vocab_size()), **(config or {})}
    weights = {prefix + name: array for name, array in tiny_weights(full, seed).items()}
    save_file(weights, folder / "model.safetensors")
    if modules is None:
        modules = [module("Transformer", ""), module("Pooling", "1_Pooling"), module("Normalize", "2_Normalize")]
    (folder / "1_Pooling").mkdir(exist_ok=True)
    for name, content in {
        "config.json": full,
        "modules.json": [{"idx": place, "name": str(place), **each} for place, each in enumerate(modules)],
        "1_Pooling/config.json": pooling or {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": 24, **(settings or {})},
        "config_sentence_transformers.json": prompts or {},
    }.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def module(kind: str, path: str) -> dict[str, str]:
    return {"path": path, "type": f"sentence_transformers.models.{kind}"}


def offset(kind: str) -> int:
    """Rows of the position table that stand before the first token's."""
    return 0 if kind in ("bert", "distilbert") else 2


def tiny_config(kind: str, words: int) -> dict[str, Any]:
    if kind == "distilbert":
        return {
            "model_type": kind, "dim": WIDTH, "n_heads": HEADS, "n_layers": LAYERS, "hidden_dim": INNER,
            "activation": "gelu", "vocab_size": words, "max_position_embeddings": POSITIONS,
        }  # fmt: skip
    return {
        "model_type": kind, "hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
        "intermediate_size": INNER, "hidden_act": "gelu", "vocab_size": words, "layer_norm_eps": 1e-5,
        "max_position_embeddings": POSITIONS + offset(kind), "type_vocab_size": 1 if offset(kind) else 2,
        "pad_token_id": 1 if offset(kind) else 0,
    }  # fmt: skip


def tiny_tokenizer(*, roberta: bool = False) -> Tokenizer:
    first, last, pad, unknown = ("<s>", "</s>", "<pad>", "<unk>") if roberta else ("[CLS]", "[SEP]", "[PAD]", "[UNK]")
    start = [first, pad, last, unknown] if roberta else [pad, unknown, first, last]
    words = {word: number for number, word in enumerate(start + WORDS + [piece for piece in PIECES if piece != "a"])}
    tokenizer = Tokenizer(WordPiece(words, unk_token=unknown))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    ends = [(first, words[first]), (last, words[last])]
    tokenizer.post_processor = TemplateProcessing(single=f"{first} $A {last}", special_tokens=ends)
    # What a packaged tokenizer may bring along, and what must not reach the vectors.
    tokenizer.enable_padding(length=12, pad_id=words[pad], pad_token=pad)
    tokenizer.enable_truncation(12)
    return tokenizer


def layer_names(kind: str) -> tuple[str, list[str], list[str]]:
    """Where the layers are, their linear parts (query, key, value, output, widen, narrow), their two norms."""
    if kind == "distilbert":
        linear = ["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "ffn.lin1", "ffn.lin2"]
        return "transformer.layer", linear, ["sa_layer_norm", "output_layer_norm"]
    inner = [f"attention.self.{part}" for part in ("query", "key", "value")]
    linear = [*inner, "attention.output.dense", "intermediate.dense", "output.dense"]
    return "encoder.layer", linear, ["attention.output.LayerNorm", "output.LayerNorm"]


def tiny_weights(config: dict[str, Any], seed: int) -> Weights:
    draw = np.random.default_rng(seed)

    def some(*shape: int) -> Array:
        return draw.normal(0, 0.3, shape).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": some(config["vocab_size"], WIDTH),
        "embeddings.position_embeddings.weight": some(config["max_position_embeddings"], WIDTH),
        "embeddings.LayerNorm.weight": 1 + some(WIDTH),
        "embeddings.LayerNorm.bias": some(WIDTH),
    }
    if "type_vocab_size" in config:
        weights["embeddings.token_type_embeddings.weight"] = some(config["type_vocab_size"], WIDTH)
    place, linear, norms = layer_names(config["model_type"])
    shapes = [(WIDTH, WIDTH)] * 4 + [(INNER, WIDTH), (WIDTH, INNER)]
    for number in range(LAYERS):
        for name, shape in zip(linear, shapes, strict=True):
            weights[f"{place}.{number}.{name}.weight"] = some(*shape)
            weights[f"{place}.{number}.{name}.bias"] = some(shape[0])
        for name in norms:
            weights[f"{place}.{number}.{name}.weight"] = 1 + some(WIDTH)
            weights[f"{place}.{number}.{name}.bias"] = some(WIDTH)
    return weights


def token_vectors(config: dict[str, Any], weights: Weights, ids: list[int]) -> Array:
    """What the papers say these models compute for one text, shape (tokens, WIDTH)."""
    epsilon = config.get("layer_norm_eps", 1e-12)
    heads, kind = HEADS, config["model_type"]

    def linear(x: Array, name: str) -> Array:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Array, name: str) -> Array:
        centred = x - x.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + epsilon)
        normed: Array = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return normed

    x: Array = weights["embeddings.word_embeddings.weight"][ids].astype(np.float64)
    x = x + weights["embeddings.position_embeddings.weight"][offset(kind) : offset(kind) + len(ids)]
    if "embeddings.token_type_embeddings.weight" in weights:
        x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    place, parts, norms = layer_names(kind)
    for number in range(LAYERS):
        query, key, value, output, widen, narrow = (f"{place}.{number}.{part}" for part in parts)
        q, k, v = (linear(x, name).reshape(len(ids), heads, -1).transpose(1, 0, 2) for name in (query, key, value))
        scores = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(WIDTH // heads))
        mixed = (scores / scores.sum(axis=2, keepdims=True)) @ v
        x = norm(x + linear(mixed.transpose(1, 0, 2).reshape(len(ids), -1), output), f"{place}.{number}.{norms[0]}")
        x = norm(x + linear(gelu(linear(x, widen)), narrow), f"{place}.{number}.{norms[1]}")
    return x


def gelu(x: Array) -> Array:
    halves: Array = 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return halves
