"""A text that does not fit the model's window, cut into passages that do.

      the text ──▶ blocks       at blank lines; of Markdown also before a heading, and never inside fenced code
                     │ semantic-text-splitter, by the model's own tokens
                     ▼
                   units        sentences, or parts of one, of a tenth of a passage at most
                     │ packed
                     ▼
                   passages     of up to `tokens` tokens, context and overlap included

A passage ends at the best unit between MIN_SHARE and all of `tokens`: the end of a block before that of a line, a
sentence, a word. Among equals a hash of what follows decides, and not how much fits. So where passages end depends on
the text around, not on how far it is from the start: with a paragraph put in front, the passages behind it soon are
those that they were, and keep their vectors.

Long texts are read in slabs, and only as far as `max_passages` reach.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable
from zlib import crc32

from rowvec.documents.graphemes import near_boundary, within_cluster
from rowvec.errors import ConfigError
from rowvec.types import Fingerprint

if TYPE_CHECKING:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter
    from tokenizers import Tokenizer

RULES = 1
"""Of cutting; another number for rules that cut the same text elsewhere."""
MIN_SHARE = 0.4
UNIT_SHARE = 10
SLAB_PASSAGES, SLAB_CHARACTERS = 12, 8
"""Passages in a slab, and characters that a token is taken to have."""
BLOCK_CHARACTERS = 2_000
CONTEXT_SHARE = 2
"""The context takes up to this part of a passage."""
CHARACTERS_PER_TOKEN = 24

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE_END = re.compile(r"[.!?…。！？｡।؟][\"'”’»)\]]*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s", re.MULTILINE)


class Counts(Protocol):
    """What passages must know of an embedder; see `rowvec.embedders.base.Embedder`."""

    @property
    def fingerprint(self) -> Fingerprint: ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...


@runtime_checkable
class SeesWindow(Counts, Protocol):
    """An embedder that counts with the model's own tokenizer, and knows what its window holds."""

    def fits(self, texts: Sequence[str]) -> list[bool]:
        """Of each text, whether the window holds all of it."""
        ...

    def tokenizer(self) -> Tokenizer:
        """The tokenizer, which cuts and pads nothing."""
        ...


@dataclass(frozen=True, slots=True)
class PassageSettings:
    tokens: int = 200
    overlap: int = 20
    split: str = "auto"
    context: str = ""
    max_passages: int = 64

    @property
    def identity(self) -> str:
        """What decides where a text is cut and what is embedded, as one line."""
        return json.dumps(asdict(self) | {"rules": RULES}, sort_keys=True, separators=(",", ":"))


class Piece(NamedTuple):
    start: int
    end: int
    embedded: str
    """`text[start:end]`, with the context before it."""
    tokens: int


class Cut(NamedTuple):
    pieces: list[Piece]
    truncated: bool
    """The text goes on behind the last of them."""


class _Unit(NamedTuple):
    start: int
    end: int
    tokens: int


class Cutter:
    """Cuts texts for one embedder, whose tokenizer is loaded by the first text that may be too long.

    Raises:
        ConfigError: passages would be longer than the model's window.
    """

    def __init__(self, settings: PassageSettings, embedder: Counts) -> None:
        self.settings = settings
        self._embedder = embedder
        window = embedder.fingerprint.max_tokens
        if window is not None and settings.tokens >= window:
            raise ConfigError(
                f"text.passages.tokens is {settings.tokens}, and the window of the model {embedder.fingerprint.model}"
                f" has {window} tokens, its special tokens included.",
                hint=f"Write tokens = {max(1, window * 3 // 4)} or less.",
            )
        self.window = window or settings.tokens
        """A text of more tokens is cut. Of a model whose window is not known, any text longer than a passage."""
        self._parts: _Parts | None = None

    def cut(self, texts: Sequence[str], contexts: Sequence[str]) -> list[Cut | None]:
        """None for a text that is one passage."""
        found: list[Cut | None] = [None] * len(texts)
        for place in self.too_long(texts):
            found[place] = self._cut(texts[place], contexts[place])
        return found

    def too_long(self, texts: Sequence[str]) -> list[int]:
        """The places of the texts that do not fit the window."""
        asked = [place for place, text in enumerate(texts) if not self._surely_fits(text)]
        fits = self._fits([texts[place] for place in asked]) if asked else []
        return [place for place, whole in zip(asked, fits, strict=True) if not whole]

    def _surely_fits(self, text: str) -> bool:
        """No tokenizer makes more tokens than the text has bytes; special tokens and prompt are left some room."""
        room = self.window - 8 - len(self._embedder.fingerprint.prompt)
        return len(text) * (1 if text.isascii() else 4) <= room

    def _fits(self, texts: Sequence[str]) -> list[bool]:
        if isinstance(self._embedder, SeesWindow):
            return self._embedder.fits(texts)
        # What counts no further than the window says the window of all that is longer.
        reach = self.window * CHARACTERS_PER_TOKEN
        counts = self._embedder.count_tokens([text[:reach] for text in texts])
        return [count < self.window and len(text) <= reach for text, count in zip(texts, counts, strict=True)]

    def _cut(self, text: str, context: str) -> Cut | None:
        if self._parts is None:
            self._parts = _Parts(self.settings, self._embedder)
        parts, most = self._parts, self._parts.most
        context, taken = parts.shortened(context) if context else ("", 0)
        pieces: list[Piece] = []
        for start, end, tokens in _Packing(text, parts, most - taken, self.settings):
            if len(pieces) == self.settings.max_passages:
                return Cut(pieces, truncated=True)
            before = f"{context}\n" if context and pieces else ""
            pieces.append(Piece(start, end, before + text[start:end], tokens + (taken if before else 0)))
        return Cut(pieces, truncated=False) if len(pieces) > 1 else None


class _Parts:
    """Units of a text, and their tokens."""

    def __init__(self, settings: PassageSettings, embedder: Counts) -> None:
        from semantic_text_splitter import MarkdownSplitter, TextSplitter

        special = embedder.count_tokens([""])[0]
        window = embedder.fingerprint.max_tokens
        self.most = settings.tokens if window is None else max(1, min(settings.tokens, window - special))
        size = max(1, self.most // UNIT_SHARE)
        kind: Any = MarkdownSplitter if settings.split == "markdown" else TextSplitter
        self._splitter: TextSplitter | MarkdownSplitter
        self.count: Callable[[Sequence[str]], list[int]]
        if isinstance(embedder, SeesWindow):
            tokenizer = embedder.tokenizer()
            self._splitter = kind.from_huggingface_tokenizer(tokenizer, size, trim=False)
            self.count = lambda texts: [
                len(each.ids) for each in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            ]
        else:
            self.count = lambda texts: [max(0, each - special) for each in embedder.count_tokens(texts)]
            self._splitter = kind.from_callback(lambda text: self.count([text])[0], size, trim=False)
        self._blocks = _markdown_blocks if settings.split == "markdown" else _blocks

    def units(self, text: str, start: int) -> list[_Unit]:
        """Of a slab that begins at `start` of the whole text; they follow each other without a gap."""
        blocks = [part for block in self._blocks(text) for part in _short(block)]
        begins = list(accumulate((len(block) for block in blocks), initial=0))
        bounds = [
            begin + offset
            for begin, chunks in zip(begins, self._splitter.chunk_all_indices(blocks), strict=False)
            for offset, _ in chunks
        ]
        bounds = [0, *(bound for bound in bounds if bound and not within_cluster(text, bound)), len(text)]
        said = [text[one:other] for one, other in pairwise(bounds)]
        counts = self.count(said)
        return [
            _Unit(start + one, start + other, tokens)
            for one, other, tokens in zip(bounds, bounds[1:], counts, strict=False)
        ]

    def shortened(self, context: str) -> tuple[str, int]:
        """A context of up to its share of a passage, and its tokens."""
        most = max(1, self.most // CONTEXT_SHARE)
        context = context[: most * CHARACTERS_PER_TOKEN]
        while context:
            tokens = self.count([context])[0]
            if tokens <= most:
                return context, tokens
            keep = near_boundary(context, min(len(context) - 1, len(context) * most // tokens))
            space = context.rfind(" ", 0, keep)
            context = context[: space if space > keep // 2 else keep].rstrip()
        return "", 0


class _Packing:
    """Iterates over the passages of one text: start, end, tokens."""

    def __init__(self, text: str, parts: _Parts, most: int, settings: PassageSettings) -> None:
        self._text, self._parts, self._most = text, parts, max(1, most)
        self._overlap = min(settings.overlap, self._most // 2)
        self._plain, self._markdown = settings.split == "none", settings.split == "markdown"
        # Those that the passages can reach.
        reach = settings.max_passages * settings.tokens * CHARACTERS_PER_TOKEN
        self._fences = _fences(text[:reach]) if self._markdown else []
        self._slab = max(4_000, settings.tokens * SLAB_PASSAGES * SLAB_CHARACTERS)

    def __iter__(self) -> Any:
        text, before = self._text, list[_Unit]()
        position = 0
        while position < len(text):
            end = self._slab_end(position)
            units = self._parts.units(text[position:end], position)
            passages = self._packed(units, before)
            last = len(passages) if end == len(text) or len(passages) == 1 else len(passages) - 1
            for first, behind, taken in passages[:last]:
                found = self._trimmed(taken + units[first:behind])
                if found is not None:
                    yield found
            if last == len(passages):
                position, before = end, units
            else:
                position, before = units[passages[last][0]].start, units[: passages[last][0]]

    def _slab_end(self, start: int) -> int:
        text, end = self._text, start + self._slab
        if end >= len(text):
            return len(text)
        half = start + self._slab // 2
        for mark in ("\n\n", "\n", " "):
            found = text.rfind(mark, half, end)
            if found > 0:
                return found + len(mark)
        return near_boundary(text, end)

    def _packed(self, units: Sequence[_Unit], before: Sequence[_Unit]) -> list[tuple[int, int, list[_Unit]]]:
        """Of each passage its first unit, the one behind its last, and those that it takes over."""
        sums = list(accumulate((unit.tokens for unit in units), initial=0))
        found, first = [], 0
        while first < len(units):
            taken = self._taken_over(units[:first] or before)
            room = self._most - sum(unit.tokens for unit in taken)
            behind = max(first + 1, bisect_right(sums, sums[first] + room) - 1)
            if behind < len(units) and not self._plain:
                least = bisect_left(sums, sums[first] + room * MIN_SHARE)
                choice = range(min(max(least, first + 1), behind), behind + 1)
                behind = max(choice, key=lambda at: self._worth(units, at))
            found.append((first, behind, taken))
            first = behind
        return found

    def _taken_over(self, units: Sequence[_Unit]) -> list[_Unit]:
        taken: list[_Unit] = []
        left = self._overlap
        for unit in reversed(units):
            left -= unit.tokens
            if left < 0:
                break
            taken.insert(0, unit)
        return taken

    def _worth(self, units: Sequence[_Unit], at: int) -> tuple[int, int]:
        """Of a passage that ends before that unit."""
        text, bound = self._text, units[at].start
        former, follows = text[max(0, bound - 40) : bound], text[bound : bound + 64]
        space = former[len(former.rstrip()) :] + follows[: len(follows) - len(follows.lstrip())]
        if bisect_left(self._fences, bound) % 2:
            level = 0
        elif self._markdown and _HEADING.match(follows.lstrip()):
            level = 5
        elif space.count("\n") > 1:
            level = 4
        elif "\n" in space:
            level = 3
        elif _SENTENCE_END.search(former.rstrip()):
            level = 2
        else:
            level = 1 if space else 0
        return level, crc32(follows.strip().encode("utf-8", "surrogatepass"))

    def _trimmed(self, units: Sequence[_Unit]) -> tuple[int, int, int] | None:
        """None for blanks alone."""
        start, end = units[0].start, units[-1].end
        said = self._text[start:end]
        start += len(said) - len(said.lstrip())
        end -= len(said) - len(said.rstrip())
        return (start, end, max(1, sum(unit.tokens for unit in units))) if start < end else None


def _short(block: str) -> list[str]:
    """A long block in parts: what the splitter takes for a text without any space grows with its square."""
    parts = []
    while len(block) > BLOCK_CHARACTERS:
        half = BLOCK_CHARACTERS // 2
        places = (block.rfind(mark, half, BLOCK_CHARACTERS) + len(mark) for mark in ("\n", ". ", "。", " "))
        end = next((place for place in places if place > half), 0) or near_boundary(block, BLOCK_CHARACTERS)
        parts.append(block[:end])
        block = block[end:]
    return [*parts, block]


def _blocks(text: str) -> list[str]:
    bounds = [0, *(found.end() for found in _BLANK_LINES.finditer(text) if found.end() < len(text)), len(text)]
    return [text[one:other] for one, other in pairwise(bounds)]


def _fences(text: str) -> list[int]:
    """Where fenced code begins and ends, by turns."""
    return [found.start() for found in _FENCE.finditer(text)]


def _markdown_blocks(text: str) -> list[str]:
    """Blocks, but a fenced one is whole, and a heading begins one."""
    fences = _fences(text)
    bounds = {found.end() for found in _BLANK_LINES.finditer(text)} | {
        found.start() for found in _HEADING.finditer(text)
    }
    kept = [bound for bound in sorted(bounds) if 0 < bound < len(text) and bisect_left(fences, bound) % 2 == 0]
    ends = [0, *kept, len(text)]
    return [text[one:other] for one, other in pairwise(ends)]
