"""What a model's tokenizer_config.json changes of its tokenizer.json.

The same is done as in the transformers library (5.x), which the sentence-transformers library asks for its tokenizers:
a tokenizer of a known class is put together from the vocabulary of tokenizer.json and the settings of that class, one
of any other class is taken as tokenizer.json has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rowvec.embedders.model_cache import file_digest, write
from rowvec.embedders.model_json import Settings, damaged

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer_config.json"
CLASSES = {"bert": "BertTokenizer", "distilbert": "BertTokenizer", "roberta": "RobertaTokenizer",
           "xlm-roberta": "XLMRobertaTokenizer", "camembert": "CamembertTokenizer", "mpnet": "MPNetTokenizer",
           "nomic_bert": "BertTokenizer", "gte": "XLMRobertaTokenizer"}  # fmt: skip
"""By `model_type`, where no file names the class."""
WORD_PIECES = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MPNetTokenizer")
BYTE_PAIRS = ("RobertaTokenizer",)
SENTENCE_PIECES = ("XLMRobertaTokenizer", "CamembertTokenizer")
SPECIAL = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token", "bos_token", "eos_token")
USUAL_SPECIAL = dict.fromkeys(WORD_PIECES, ("[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]")) | dict.fromkeys(
    (*BYTE_PAIRS, *SENTENCE_PIECES), ("<unk>", "</s>", "<pad>", "<s>", "<mask>", "<s>", "</s>")
)
USUAL_SPECIAL["MPNetTokenizer"] = ("[UNK]", "</s>", "<pad>", "<s>", "<mask>", "<s>", "</s>")
"""What each class calls them where tokenizer_config.json does not say."""
RULES = 1
"""The number of the rules below. Whoever changes what they find raises it: what was kept by others is read again."""
MOST_NORMALIZERS = 64
MOST_GROWTH = 1_000
"""Times as many characters as a text had: what replaces texts by longer ones, over and over, ends in no memory."""


@dataclass(frozen=True, slots=True)
class TokenizerSettings:
    """Each None, or empty, where tokenizer.json already does what is wanted.

    Attributes:
        word_pieces: how the text is normalised: the arguments of a `BertNormalizer`.
        prefix_space: whether the first word gets a space before it.
        side: "left" where the end of a long text is kept instead of its beginning.
        special: words of the vocabulary that are tokens of their own wherever they stand in a text.
        split_special: special tokens within a text are taken apart like other words.
    """

    word_pieces: Mapping[str, bool | None] | None = None
    prefix_space: bool | None = None
    side: str | None = None
    special: tuple[str, ...] = ()
    split_special: bool | None = None

    @property
    def digest(self) -> str:
        """Of what differs from tokenizer.json; "" where nothing does."""
        if self == TokenizerSettings():
            return ""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    def change(self, tokenizer: Tokenizer) -> None:
        from tokenizers import normalizers, pre_tokenizers

        if self.word_pieces is not None:
            tokenizer.normalizer = normalizers.BertNormalizer(**self.word_pieces)  # type: ignore[arg-type]
            tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        if self.prefix_space is not None:
            if type(tokenizer.model).__name__ == "BPE":
                tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=self.prefix_space)
            else:
                scheme = "always" if self.prefix_space else "never"
                parts = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme=scheme)]
                tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
        if self.special:
            tokenizer.add_special_tokens(list(self.special))
        if self.split_special is not None:
            tokenizer.encode_special_tokens = self.split_special


def kept_tokenizer_settings(folder: Path, tokenizer: Path, config: Mapping[str, Any], cache: Path) -> TokenizerSettings:
    """What `read_tokenizer_settings` finds, kept for each content of the files: a vocabulary delays every start.

    Raises:
        EmbedderError: as that; or the cache cannot be written.
    """
    beside = (folder / FILE).read_bytes() if (folder / FILE).is_file() else b""
    try:
        chosen = [RULES, file_digest(tokenizer, cache), str(config.get("tokenizer_class")), str(config["model_type"])]
    except OSError:
        return read_tokenizer_settings(folder, tokenizer, config)
    note = cache / "tokenizers" / hashlib.sha256(json.dumps(chosen).encode() + beside).hexdigest()[:32]
    with contextlib.suppress(OSError, ValueError, TypeError):
        known = TokenizerSettings(**json.loads(note.read_text("utf-8")))
        return replace(known, special=tuple(known.special))
    found = read_tokenizer_settings(folder, tokenizer, config)
    write(note, json.dumps(asdict(found)))
    return found


def read_tokenizer_settings(folder: Path, tokenizer: Path, config: Mapping[str, Any]) -> TokenizerSettings:
    """
    Args:
        tokenizer: tokenizer.json.
        config: of config.json.

    Raises:
        EmbedderError: a file is damaged, or holds what would not end well.
    """
    whole = Settings(tokenizer)
    normalizer, model = whole.values.get("normalizer"), whole.mapping("model")
    _check_normalizer(normalizer, tokenizer)
    said = Settings(folder / FILE, optional=True)
    declared = said.text("tokenizer_class") or config.get("tokenizer_class") or CLASSES.get(str(config["model_type"]))
    if not said.values:
        # Nothing but a vocabulary would be taken from tokenizer.json, on no one's word.
        declared = None
    kind, pieces = str(declared).removesuffix("Fast"), model.get("type", "WordPiece")
    word_pieces = prefix_space = None
    if kind in WORD_PIECES and pieces == "WordPiece":
        wanted = {
            "clean_text": True,
            "handle_chinese_chars": said.flag("tokenize_chinese_chars", True),
            "strip_accents": said.flag("strip_accents", None),
            "lowercase": said.flag("do_lower_case", True),
        }
        same = isinstance(normalizer, Mapping) and normalizer == {"type": "BertNormalizer", **wanted}
        split = _types(whole.values.get("pre_tokenizer")) == ["BertPreTokenizer"]
        word_pieces = None if same and split else wanted
    elif (kind in BYTE_PAIRS and pieces == "BPE") or (kind in SENTENCE_PIECES and pieces == "Unigram"):
        spaced = bool(said.flag("add_prefix_space", kind in SENTENCE_PIECES))
        prefix_space = None if spaced == _has_prefix_space(whole.values.get("pre_tokenizer")) else spaced
    kept = _direction(whole)
    side = said.text("truncation_side", kept, among=("left", "right"))
    split_special = said.flag("split_special_tokens", None) or None
    return TokenizerSettings(word_pieces, prefix_space, side if side == "left" else None, _special(said, whole, kind),
                             split_special)  # fmt: skip


def _direction(whole: Settings) -> str:
    direction = str(whole.mapping("truncation").get("direction", "right")).lower()
    return direction if direction in ("left", "right") else "right"


def _has_prefix_space(pre_tokenizer: Any) -> bool:
    for part in _parts(pre_tokenizer):
        if part.get("type") in ("ByteLevel", "Metaspace"):
            scheme = part.get("prepend_scheme")
            return scheme != "never" if scheme is not None else bool(part.get("add_prefix_space", True))
    return False


def _special(said: Settings, whole: Settings, kind: str) -> tuple[str, ...]:
    """Those that tokenizer_config.json names, or its class has, and tokenizer.json does not know as such."""
    added, usual = whole.values.get("added_tokens"), USUAL_SPECIAL.get(kind, ())
    known = {token.get("content") for token in added if isinstance(token, Mapping)} if isinstance(added, list) else ()
    named = [said.values.get(name, default) for name, default in zip_longest(SPECIAL, usual)]
    texts = [token.get("content") if isinstance(token, Mapping) else token for token in named]
    wanted = {text for text in texts if isinstance(text, str) and text not in known}
    return tuple(sorted(wanted & _words(whole))) if wanted else ()


def _words(whole: Settings) -> set[str]:
    vocabulary = whole.mapping("model").get("vocab")
    if isinstance(vocabulary, list):
        return {str(piece[0]) for piece in vocabulary if isinstance(piece, list) and piece}
    return set(vocabulary) if isinstance(vocabulary, Mapping) else set()


def _types(part: Any) -> list[str]:
    return [str(each.get("type")) for each in _parts(part)]


def _parts(part: Any) -> Sequence[Mapping[str, Any]]:
    """A normalizer or pre-tokenizer, or what a sequence of them is made of."""
    if not isinstance(part, Mapping):
        return []
    inner = part.get("normalizers") or part.get("pretokenizers")
    if part.get("type") != "Sequence" or not isinstance(inner, list):
        return [part]
    return [leaf for each in inner for leaf in _parts(each)]


def _check_normalizer(normalizer: Any, path: Path) -> None:
    parts, growth = _parts(normalizer), 1.0
    for part in parts:
        pattern, content = part.get("pattern"), str(part.get("content") or "")
        sought = str(next(iter(pattern.values()), "")) if isinstance(pattern, Mapping) else ""
        if part.get("type") == "Replace":
            # An expression may match a single character.
            shortest = len(sought) if isinstance(pattern, Mapping) and "String" in pattern else 1
            growth *= max(1.0, len(content) / max(1, shortest))
    if len(parts) > MOST_NORMALIZERS or growth > MOST_GROWTH:
        raise damaged(path, f"its normalizer has {len(parts)} parts and makes a text up to {growth:.0g} times longer")
