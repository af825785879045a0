"""Cross-encoders of random weights, of every architecture that is run here, as their files lie on a hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, processors

from tests.support_architectures import TEXTS, TOKENIZERS, WIDTH, WINDOW, Case, config_of, random, shapes_of

QUERIES = ["the red cat", "a dog of the green mat " * 20, ""]
"""The second alone fills more than half of the window."""
PAIRS = [(query, text) for query in QUERIES for text in TEXTS]
_ACTIVATION = "torch.nn.modules.activation."


@dataclass(frozen=True)
class CrossCase:
    """One model.

    Attributes:
        kind: `model_type` of config.json.
        tokenizer: one of TOKENIZERS.
        said: more of tokenizer_config.json.
        settings: more of config.json.
        own: config_sentence_transformers.json.
    """

    kind: str
    tokenizer: str
    said: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)
    labels: int = 1


CASES: Mapping[str, CrossCase] = {
    "ms-marco-MiniLM": CrossCase("bert", "word pieces", settings={"sbert_ce_default_activation_function":
                                 "torch.nn.modules.linear.Identity"}),
    "bge-reranker-v2-m3": CrossCase("xlm-roberta", "sentence pieces"),
    "BERT without kinds": CrossCase("bert", "word pieces", {"model_input_names": ["input_ids", "attention_mask"]},
                                    {"sentence_transformers": {"activation_fn": _ACTIVATION + "Tanh"}}),
    "BERT, cut from its beginning": CrossCase("bert", "word pieces", {"truncation_side": "left"},
                                              own={"activation_fn": _ACTIVATION + "Sigmoid"}),
    "BERT with sentence pieces": CrossCase("bert", "sentence pieces"),
    "DistilBERT": CrossCase("distilbert", "word pieces", {"tokenizer_class": "DistilBertTokenizer"}),
    "RoBERTa": CrossCase("roberta", "sentence pieces"),
    "CamemBERT": CrossCase("camembert", "sentence pieces"),
    "MPNet": CrossCase("mpnet", "MPNet"),
}  # fmt: skip
"""By the published model that is like it, or by what it is for."""

PREFIXES = {"camembert": "roberta.", "xlm-roberta": "roberta."}
NAMES = {
    "bert": "BertForSequenceClassification", "distilbert": "DistilBertForSequenceClassification",
    "xlm-roberta": "XLMRobertaForSequenceClassification", "roberta": "RobertaForSequenceClassification",
    "camembert": "CamembertForSequenceClassification", "mpnet": "MPNetForSequenceClassification",
}  # fmt: skip


def write_cross_encoder(folder: Path, case: CrossCase, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    tokenizer, said = TOKENIZERS[case.tokenizer]()
    _take_pairs(tokenizer, case.tokenizer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = config_of(Case(case.kind, case.tokenizer), tokenizer.get_vocab_size())
    draw = np.random.default_rng(seed)
    prefix = PREFIXES.get(case.kind, f"{case.kind}.")
    weights = {prefix + name: random(draw, name, shape) for name, shape in shapes_of(config).items()}
    weights |= {name: random(draw, "", shape) for name, shape in _head(case).items()}
    save_file(weights, folder / "model.safetensors")
    labels = {"id2label": {str(n): f"LABEL_{n}" for n in range(case.labels)},
              "label2id": {f"LABEL_{n}": n for n in range(case.labels)}}  # fmt: skip
    config |= {"architectures": [NAMES[case.kind]], **labels, **case.settings}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": WINDOW, **said, **case.said}))
    if case.own:
        (folder / "config_sentence_transformers.json").write_text(
            json.dumps({"model_type": "CrossEncoder", **case.own})
        )
    return folder


def _head(case: CrossCase) -> dict[str, tuple[int, ...]]:
    first, last = {
        "bert": ("bert.pooler.dense", "classifier"), "distilbert": ("pre_classifier", "classifier"),
    }.get(case.kind, ("classifier.dense", "classifier.out_proj"))  # fmt: skip
    return {f"{first}.weight": (WIDTH, WIDTH), f"{first}.bias": (WIDTH,), f"{last}.weight": (case.labels, WIDTH),
            f"{last}.bias": (case.labels,)}  # fmt: skip


def _take_pairs(tokenizer: Tokenizer, kind: str) -> None:
    """A form for two texts, as the tokenizers of published models have it."""
    if kind == "word pieces":
        ends = [("[CLS]", 2), ("[SEP]", 3)]
        single, pair = "[CLS] $A [SEP]", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
    elif kind == "sentence pieces":
        ends, single, pair = [("<s>", 0), ("</s>", 2)], "<s> $A </s>", "<s> $A </s> </s> $B </s>"
    else:
        return
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ends)
