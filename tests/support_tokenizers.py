"""Small models whose tokenizer_config.json says something else than their tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram

from tests.support_tiny_models import WORDS, tiny_model

NAMES = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
TEXTS = [
    "The Cat sat",
    "THE RÉD cat café über",
    "the 猫 cat 红red mat",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z . , the cat sat on the mat in the red",
    "the\u0000 cat\ttab",
    "  the cat",
    " ",
    "the [SEP] cat <mask>",
    "İstanbul the",
]


def word_pieces(
    folder: Path,
    said: Mapping[str, Any],
    *,
    name: str = "BertTokenizer",
    normalizer: Any = None,
    change: Callable[[Tokenizer], None] = lambda tokenizer: None,
    kind: str = "bert",
    settings: dict[str, Any] | None = None,
) -> Path:
    """A model of the BERT kind.

    Args:
        said: of tokenizer_config.json.
        name: of the class of the tokenizer.
        normalizer, change: of tokenizer.json.
        settings: of sentence_bert_config.json.
    """
    tiny_model(folder, kind, settings=settings)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    change(tokenizer)
    return _written(folder, tokenizer, {"tokenizer_class": name, **NAMES, **said})


def sentence_pieces(
    folder: Path, said: Mapping[str, Any], *, kind: str = "xlm-roberta", name: str = "XLMRobertaTokenizer",
    prefix: bool = True,
) -> Path:  # fmt: skip
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [(mark + word, -2.0 - len(word) / 100) for mark in ("▁", "") for word in WORDS]
    letters = [(letter, -6.0) for letter in "▁bcefghijklmopqrtuvwxyz"]
    tokenizer = Tokenizer(Unigram([*((word, 0.0) for word in special), *pieces, *letters, ("<mask>", 0.0)], 3, False))
    spaces = pre_tokenizers.Metaspace(prepend_scheme="always" if prefix else "never")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), spaces])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tiny_model(folder, kind, config={"vocab_size": tokenizer.get_vocab_size()})
    return _written(folder, tokenizer, {"tokenizer_class": name, **said})


def byte_pairs(folder: Path, said: Mapping[str, Any], *, prefix: bool = False) -> Path:
    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġt", "he", "Ġthe", "th"]
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("t", "h"), ("t", "he")]
    tokenizer = Tokenizer(BPE({word: place for place, word in enumerate([*words, "the", "<mask>"])}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, prefix)
    tiny_model(folder, "roberta", config={"vocab_size": tokenizer.get_vocab_size()})
    return _written(folder, tokenizer, {"tokenizer_class": "RobertaTokenizer", **said})


def _written(folder: Path, tokenizer: Tokenizer, said: Mapping[str, Any]) -> Path:
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


CASED = normalizers.BertNormalizer(lowercase=False)
UNSAID = {"max_seq_length": None}

CASES: dict[str, Callable[[Path], Path]] = {
    "capitals are kept": partial(word_pieces, said={"do_lower_case": False}),
    "capitals are made small": partial(word_pieces, said={"do_lower_case": True}, normalizer=CASED),
    "a class makes capitals small unless told": partial(word_pieces, said={}, normalizer=CASED),
    "accents are kept": partial(word_pieces, said={"strip_accents": False}),
    "accents are taken off, capitals kept": partial(word_pieces, said={"strip_accents": True, "do_lower_case": False}),
    "accents as capitals": partial(word_pieces, said={"strip_accents": None}),
    "Chinese characters are not split": partial(word_pieces, said={"tokenize_chinese_chars": False}),
    "the end is kept": partial(word_pieces, said={"truncation_side": "left"}),
    "the end is kept, by a tokenizer of no class": partial(
        word_pieces, said={"truncation_side": "left"}, name="PreTrainedTokenizerFast"
    ),
    "the end is kept, by tokenizer.json": partial(
        word_pieces, said={}, change=lambda tokenizer: tokenizer.enable_truncation(12, direction="left")
    ),
    "a tokenizer of no class is as tokenizer.json has it": partial(
        word_pieces, said={"do_lower_case": False}, name="PreTrainedTokenizerFast"
    ),
    "an unknown class likewise": partial(word_pieces, said={"do_lower_case": False}, name="FooTokenizer"),
    "the fast class": partial(word_pieces, said={"do_lower_case": False}, name="BertTokenizerFast"),
    "DistilBERT": partial(word_pieces, said={"do_lower_case": False}, name="DistilBertTokenizer", kind="distilbert"),
    "Electra": partial(word_pieces, said={"do_lower_case": False}, name="ElectraTokenizer"),
    "a normalizer of several steps": partial(
        word_pieces, said={}, normalizer=normalizers.Sequence([normalizers.Replace("cat", "dog"), CASED])
    ),
    "small letters by the encoder's settings": partial(
        word_pieces, said={"do_lower_case": False}, settings={"do_lower_case": True}
    ),
    "no longest length": partial(word_pieces, said={"model_max_length": None}, settings=UNSAID),
    "a longest length that nothing reaches": partial(word_pieces, said={"model_max_length": 1e30}, settings=UNSAID),
    "a short longest length": partial(word_pieces, said={"model_max_length": 10}, settings=UNSAID),
    "a short longest length that the encoder's settings overrule": partial(word_pieces, said={"model_max_length": 10}),
    "padding on the left": partial(word_pieces, said={"padding_side": "left"}),
    "special tokens are taken apart": partial(word_pieces, said={"split_special_tokens": True}),
    "sentence pieces": partial(sentence_pieces, said={}),
    "sentence pieces, no space before the first": partial(sentence_pieces, said={"add_prefix_space": False}),
    "sentence pieces, a space before the first": partial(sentence_pieces, said={}, prefix=False),
    "CamemBERT": partial(sentence_pieces, said={}, kind="camembert", name="CamembertTokenizer"),
    "byte pairs": partial(byte_pairs, said={}),
    "byte pairs, a space before the first": partial(byte_pairs, said={"add_prefix_space": True}),
    "byte pairs, no space before the first": partial(byte_pairs, said={}, prefix=True),
}
"""What tokenizer_config.json can change, and a function that writes such a model into a folder."""
