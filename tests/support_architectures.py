"""Models of random weights, of every architecture that the local embedder runs, as their files lie on a hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece

from tests.support_tiny_models import PIECES, WORDS, module

WIDTH, HEADS, LAYERS, INNER, WINDOW = 32, 4, 4, 48, 180
TEXTS = [
    "the cat",
    "",
    "The Red dog runs over a blue mat, and a cat sat under it.",
    "the cat sat on the mat and runs in red and blue " * 4,
    "a dog of the green " * 30,
    "  café über the 猫 cat   ",
    "in [CLS] the </s> mat <s> red",
    "the dog " * 80,
]
"""One token and more than a window, so that batches mix lengths, and that near and far tokens differ."""


@dataclass(frozen=True)
class Case:
    """One model.

    Attributes:
        kind: `model_type` of config.json.
        tokenizer: one of TOKENIZERS.
        pooling: of the Pooling module.
        dense: the dimensions of a Dense module, and its activation.
        settings: more of config.json.
    """

    kind: str
    tokenizer: str
    pooling: str = "mean"
    dense: tuple[int, str] | None = None
    normalize: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


CASES: Mapping[str, Case] = {
    "all-mpnet-base-v2": Case("mpnet", "MPNet", normalize=True),
    "paraphrase-multilingual-MiniLM-L12-v2": Case("bert", "sentence pieces"),
    "paraphrase-multilingual-mpnet-base-v2": Case("xlm-roberta", "sentence pieces"),
    "distiluse-base": Case("distilbert", "word pieces", dense=(24, "Tanh")),
    "gte-multilingual-base": Case("gte", "sentence pieces", "cls", normalize=True),
    "nomic-embed-text": Case("nomic_bert", "word pieces"),
    "modernbert-embed": Case("modernbert", "byte pairs", settings={"local_attention": 16}),
    "gte-modernbert-base": Case("modernbert", "byte pairs", "cls", settings={"local_attention": 16, "norm_bias": True}),
    **{f"BERT, {pooling}": Case("bert", "word pieces", pooling) for pooling in ("max", "lasttoken", "weightedmean")},
    "RoBERTa": Case("roberta", "sentence pieces"),
    "CamemBERT": Case("camembert", "sentence pieces", "cls"),
    **{f"MPNet, {pooling}": Case("mpnet", "MPNet", pooling, (40, "Identity"), normalize=True)
       for pooling in ("cls", "max", "lasttoken", "weightedmean")},
    **{f"ModernBERT, {pooling}": Case("modernbert", "byte pairs", pooling, settings={"local_attention": 16})
       for pooling in ("max", "lasttoken", "weightedmean")},
}  # fmt: skip
"""By the published model that is like it, or by what it is for."""


def write(folder: Path, case: Case, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    tokenizer, said = TOKENIZERS[case.tokenizer]()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = config_of(case, tokenizer.get_vocab_size())
    draw = np.random.default_rng(seed)
    weights = {name: random(draw, name, shape) for name, shape in shapes_of(config).items()}
    save_file(weights, folder / "model.safetensors")
    modules = [module("Transformer", ""), module("Pooling", "1_Pooling")]
    files: dict[str, Any] = {
        "config.json": config,
        "tokenizer_config.json": {"model_max_length": WINDOW, **said},
        "1_Pooling/config.json": {"word_embedding_dimension": WIDTH, "pooling_mode": case.pooling},
        "sentence_bert_config.json": {"max_seq_length": WINDOW},
    }
    if case.dense is not None:
        size, activation = case.dense
        modules.append(module("Dense", "2_Dense"))
        name = f"torch.nn.modules.{'linear' if activation == 'Identity' else 'activation'}.{activation}"
        files["2_Dense/config.json"] = {
            "in_features": WIDTH, "out_features": size, "bias": True, "activation_function": name,
        }  # fmt: skip
        parts = {"linear.weight": (size, WIDTH), "linear.bias": (size,)}
        (folder / "2_Dense").mkdir()
        save_file({name: random(draw, name, shape) for name, shape in parts.items()},
                  folder / "2_Dense" / "model.safetensors")  # fmt: skip
    if case.normalize:
        modules.append(module("Normalize", "3_Normalize"))
    files["modules.json"] = [{"idx": place, "name": str(place), **each} for place, each in enumerate(modules)]
    for path, content in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(json.dumps(content))
    return folder


def config_of(case: Case, words: int) -> dict[str, Any]:
    offset = 2 if case.kind in ("mpnet", "roberta", "xlm-roberta", "camembert") else 0
    sizes = ("dim", "n_heads", "n_layers", "hidden_dim", "activation") if case.kind == "distilbert" else (
        "hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "hidden_act")  # fmt: skip
    config = {
        "model_type": case.kind,
        **dict(zip(sizes, (WIDTH, HEADS, LAYERS, INNER, "silu" if case.kind == "nomic_bert" else "gelu"), strict=True)),
        "vocab_size": words, "max_position_embeddings": WINDOW + offset, "pad_token_id": 1 if offset else 0,
        "architectures": [ARCHITECTURES[case.kind]], "type_vocab_size": 2 if case.kind in ("bert", "nomic_bert") else 1,
    }  # fmt: skip
    if case.kind == "mpnet":
        config["relative_attention_num_buckets"] = 32
    if case.kind == "modernbert":
        config |= dict.fromkeys(("bos_token_id", "cls_token_id"), 1) | dict.fromkeys(
            ("eos_token_id", "sep_token_id"), 2
        )
    return {**config, **case.settings}


ARCHITECTURES = {
    "bert": "BertModel", "distilbert": "DistilBertModel", "xlm-roberta": "XLMRobertaModel",
    "roberta": "RobertaModel", "camembert": "CamembertModel", "mpnet": "MPNetModel",
    "nomic_bert": "NomicBertModel", "gte": "GteModel", "new": "NewModel", "modernbert": "ModernBertModel",
}  # fmt: skip


def random(draw: np.random.Generator, name: str, shape: tuple[int, ...]) -> Any:
    """Large enough that each weight matters, and that the mean over many tokens does not lose it."""
    centre = 1.0 if len(shape) == 1 and name.endswith("weight") else 0.0
    return (centre + draw.normal(0, 0.3, shape)).astype(np.float32)


def shapes_of(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every weight of the network, by the names that the models' authors gave them."""
    kind, words = config["model_type"], config["vocab_size"]
    square, wide, narrow = (WIDTH, WIDTH), (INNER, WIDTH), (WIDTH, INNER)
    if kind == "modernbert":
        norms = ("weight", "bias") if config.get("norm_bias") else ("weight",)
        shapes: dict[str, tuple[int, ...]] = {"embeddings.tok_embeddings.weight": (words, WIDTH)}
        scopes = ["embeddings.norm", "final_norm"]
        for number in range(LAYERS):
            scope = f"layers.{number}"
            shapes |= {f"{scope}.attn.Wqkv.weight": (3 * WIDTH, WIDTH), f"{scope}.attn.Wo.weight": square}
            shapes |= {f"{scope}.mlp.Wi.weight": (2 * INNER, WIDTH), f"{scope}.mlp.Wo.weight": narrow}
            scopes += [f"{scope}.attn_norm"] * (number > 0) + [f"{scope}.mlp_norm"]
        return shapes | {f"{scope}.{half}": (WIDTH,) for scope in scopes for half in norms}
    tables = {"word": words, "token_type": config["type_vocab_size"], "position": config["max_position_embeddings"]}
    absent = {"mpnet": ("token_type",), "distilbert": ("token_type",), "nomic_bert": ("position",),
              "gte": ("position",), "new": ("position",)}.get(kind, ())  # fmt: skip
    shapes = {
        f"embeddings.{name}_embeddings.weight": (rows, WIDTH) for name, rows in tables.items() if name not in absent
    }
    if kind == "mpnet":
        shapes["encoder.relative_attention_bias.weight"] = (32, HEADS)
    norm = "emb_ln" if kind == "nomic_bert" else "embeddings.LayerNorm"
    parts, layer_norms, unbiased = LAYER_PARTS[kind]
    shapes |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    layer = {"nomic_bert": "encoder.layers", "distilbert": "transformer.layer"}.get(kind, "encoder.layer")
    for number in range(LAYERS):
        for name, shape in zip(parts.split(), SHAPES[kind], strict=True):
            size = {
                "square": square,
                "wide": wide,
                "narrow": narrow,
                "qkv": (3 * WIDTH, WIDTH),
                "both": (2 * INNER, WIDTH),
            }
            shapes[f"{layer}.{number}.{name}.weight"] = size[shape]
            if name not in unbiased:
                shapes[f"{layer}.{number}.{name}.bias"] = size[shape][:1]
        for name in layer_norms:
            shapes |= {f"{layer}.{number}.{name}.{half}": (WIDTH,) for half in ("weight", "bias")}
    return shapes


_USUAL = ("square", "square", "square", "square", "wide", "narrow")
_GTE = ("qkv", "square", "both", "narrow")
SHAPES = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet"), _USUAL),
    "nomic_bert": ("qkv", "square", "wide", "wide", "narrow"), "gte": _GTE, "new": _GTE,
}  # fmt: skip
_BERT = (
    "attention.self.query attention.self.key attention.self.value attention.output.dense intermediate.dense "
    "output.dense",
    ("attention.output.LayerNorm", "output.LayerNorm"),
    (),
)
_GTE_PARTS = (
    "attention.qkv_proj attention.o_proj mlp.up_gate_proj mlp.down_proj", ("attn_ln", "mlp_ln"), ("mlp.up_gate_proj",)
)  # fmt: skip
LAYER_PARTS: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert"), _BERT),
    "distilbert": (
        "attention.q_lin attention.k_lin attention.v_lin attention.out_lin ffn.lin1 ffn.lin2",
        ("sa_layer_norm", "output_layer_norm"),
        (),
    ),
    "mpnet": (
        "attention.attn.q attention.attn.k attention.attn.v attention.attn.o intermediate.dense output.dense",
        ("attention.LayerNorm", "output.LayerNorm"),
        (),
    ),
    "nomic_bert": (
        "attn.Wqkv attn.out_proj mlp.fc11 mlp.fc12 mlp.fc2",
        ("norm1", "norm2"),
        ("attn.Wqkv", "attn.out_proj", "mlp.fc11", "mlp.fc12", "mlp.fc2"),
    ),
    "gte": _GTE_PARTS,
    "new": _GTE_PARTS,
}
"""The parts of a layer, its norms, and the parts without a bias."""


def word_pieces() -> tuple[Tokenizer, dict[str, Any]]:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = _word_pieces(special, "[UNK]")
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    return tokenizer, {"tokenizer_class": "BertTokenizer", "do_lower_case": True, **names}


def mpnet_pieces() -> tuple[Tokenizer, dict[str, Any]]:
    """Word pieces between the special tokens of RoBERTa; the unknown token keeps BERT's name."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"]
    tokenizer = _word_pieces(special, "[UNK]")
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    return tokenizer, {"tokenizer_class": "MPNetTokenizer", "do_lower_case": True}


def _word_pieces(special: list[str], unknown: str) -> Tokenizer:
    names = dict.fromkeys([*special, *WORDS, *PIECES])
    tokenizer = Tokenizer(WordPiece({word: number for number, word in enumerate(names)}, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def sentence_pieces() -> tuple[Tokenizer, dict[str, Any]]:
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [(mark + word, -2.0 - len(word) / 100) for mark in ("▁", "") for word in WORDS]
    letters = [(letter, -6.0) for letter in "▁bcefghijklmopqrtuvwxyz.,"]
    tokenizer = Tokenizer(Unigram([*((word, 0.0) for word in special), *pieces, *letters, ("<mask>", 0.0)], 3, False))
    spaces = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), spaces])
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return tokenizer, {"tokenizer_class": "XLMRobertaTokenizer"}


def byte_pairs() -> tuple[Tokenizer, dict[str, Any]]:
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġt", "he", "Ġthe", "Ġc"]
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("Ġ", "c")]
    tokenizer = Tokenizer(BPE({word: place for place, word in enumerate(words)}, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ends = [("[CLS]", 1), ("[SEP]", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    tokenizer.add_special_tokens(list(names.values()))
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", **names}


TOKENIZERS = {
    "word pieces": word_pieces, "MPNet": mpnet_pieces, "sentence pieces": sentence_pieces, "byte pairs": byte_pairs,
}  # fmt: skip
