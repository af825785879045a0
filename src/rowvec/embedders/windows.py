"""Texts to token ids, cut into windows that the model can take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from rowvec.embedders.architectures import unsupported
from rowvec.embedders.model_files import ModelFiles
from rowvec.errors import EmbedderError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

CHARACTERS_PER_TOKEN = 24
"""More than nearly any text needs; those that need more are read again, further."""
FURTHEST = 64
"""How many times further such a text is read. Behind 1,500 characters a token there is nothing that a model reads."""
MARGIN = 128
"""Tokens that a cut text must have beyond its windows, so that the word at the cut lies in none of them."""


class Tokenized(NamedTuple):
    windows: list[list[int]]
    """At least one, each with its special tokens."""
    truncated: bool
    """The text is longer than one window."""


class WindowTokenizer:
    """A model's tokenizer without the padding and truncation that its file may set.

    Args:
        max_tokens: the size of a window, special tokens included.
        max_windows: maximum number of windows of a text; what lies behind them is not read.

    Raises:
        EmbedderError: the tokenizer's file is damaged, or the special tokens fill the window.
    """

    def __init__(self, files: ModelFiles, max_tokens: int, max_windows: int = 1) -> None:
        self._tokenizer = loaded_tokenizer(files)
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if not 0 < special < max_tokens:
            raise unsupported(files.name, f"its tokenizer adds {special} special tokens to a window of {max_tokens}")
        self._tokenizer.no_padding()
        self._from_end = files.tokenizer_settings.side == "left"
        self._tokenizer.enable_truncation(max_tokens, direction="left" if self._from_end else "right")
        self._characters = files.characters
        self._max_windows = max_windows
        self._enough = max_tokens * max_windows + MARGIN
        self._reach = self._enough * CHARACTERS_PER_TOKEN

    def whole(self) -> Tokenizer:
        """A tokenizer of its own that cuts nothing."""
        from tokenizers import Tokenizer

        found = Tokenizer.from_str(self._tokenizer.to_str())
        found.no_truncation()
        return found

    def text_of(self, tokens: Sequence[int]) -> str | None:
        """The text of these tokens, special ones at either end left out; None where it would give other tokens."""
        specials = set(self._tokenizer.encode("").ids)
        inner = list(tokens)
        while inner and inner[0] in specials:
            inner.pop(0)
        while inner and inner[-1] in specials:
            inner.pop()
        if not inner:
            return None
        text = readable(self._decoder.decode(inner, skip_special_tokens=False))
        again = self._tokenizer.encode(text, add_special_tokens=False)
        return text if [token for piece in (again, *again.overflowing) for token in piece.ids] == inner else None

    @cached_property
    def _decoder(self) -> Tokenizer:
        """The tokenizer that joins words as they were divided: the usual clean-up writes `don't` for `do not`."""
        from tokenizers import decoders, models

        found = self.whole()
        if isinstance(found.model, models.WordPiece):
            found.decoder = decoders.WordPiece(found.model.continuing_subword_prefix, cleanup=False)
        return found

    @property
    def vocabulary(self) -> int:
        """Number of tokens, added ones included."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, texts: Sequence[str]) -> list[Tokenized]:
        encodings = self._tokenizer.encode_batch_fast([self._readable(text, self._reach) for text in texts])
        return [self._windows(text, encoding) for text, encoding in zip(texts, encodings, strict=True)]

    def unknown(self, texts: Sequence[str]) -> tuple[int, int]:
        """Tokens without the special ones, and how many of them stand for what the vocabulary lacks."""
        lacking = {self._tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>")} - {None}
        encodings = self._tokenizer.encode_batch_fast(
            [self._readable(text, self._reach) for text in texts], add_special_tokens=False
        )
        return sum(len(each.ids) for each in encodings), sum(
            token in lacking for each in encodings for token in each.ids
        )

    def _windows(self, text: str, encoding: Encoding) -> Tokenized:
        """The windows of a text, read further where the part of it that was read holds too few tokens."""
        pieces = [encoding, *encoding.overflowing]
        reach = self._reach
        while reach < min(len(text), self._reach * FURTHEST) and self._short(pieces):
            reach *= 8
            again = self._tokenizer.encode_batch_fast([self._readable(text, reach)])[0]
            pieces = [again, *again.overflowing]
        unread = len(text) > reach and self._short(pieces)
        return Tokenized([piece.ids for piece in pieces[: self._max_windows]], len(pieces) > 1 or unread)

    def _readable(self, text: str, reach: int) -> str:
        found = readable(cut_start(text, reach) if self._from_end else cut(text, reach))
        return found.translate(self._characters) if self._characters else found

    def _short(self, pieces: Sequence[Encoding]) -> bool:
        return sum(len(piece.ids) for piece in pieces) < self._enough


def loaded_tokenizer(files: ModelFiles) -> Tokenizer:
    """The model's tokenizer, with what its other files change of it.

    Raises:
        EmbedderError: the file is damaged.
    """
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Lowercase
    from tokenizers.normalizers import Sequence as InTurn

    try:
        tokenizer = Tokenizer.from_file(str(files.tokenizer))
    # The library raises bare Exception for every kind of damage.
    except Exception as error:
        raise EmbedderError(
            f"The tokenizer {files.tokenizer} cannot be read: {error}.",
            hint="The model is damaged or half downloaded: fetch it again.",
        ) from error
    files.tokenizer_settings.change(tokenizer)
    if files.recipe.lower_case:
        inner = tokenizer.normalizer
        tokenizer.normalizer = InTurn([Lowercase(), inner] if inner else [Lowercase()])
    return tokenizer


def cut(text: str, reach: int) -> str:
    """The first `reach` characters, less the word that this cuts in two if it is not too long."""
    if len(text) <= reach:
        return text
    space = max(text.rfind(" ", 0, reach), text.rfind("\n", 0, reach))
    return text[: space if space > reach // 2 else reach]


def cut_start(text: str, reach: int) -> str:
    """The last `reach` characters, likewise."""
    return cut(text[::-1], reach)[::-1]


def readable(text: str) -> str:
    """The text as valid Unicode: a lone surrogate, which no encoding has, becomes U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
