"""Words as they are written, before stems are made of them: those that a typo can be told from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rowvec.words.tokens import Kind, Part, parts_of, pieces, spaced, split, unspaced

SHORTEST, LONGEST = 3, 64
"""Letters of a word that is kept."""
BEGINNING = 2
"""Characters of a word that is completed, at least."""
LONGEST_TEXT = 100_000
"""Characters of a text whose words are kept: as many as keyword search reads."""
REMEMBERED = 200_000
"""Pieces of text that are known to hold nothing new."""
MOST = 1_000_000
"""Words that are kept. A text of random letters would add words without an end."""
_ADDRESS = re.compile(r"[\d@_:.#&+\\]")
"""What makes a piece of a query a code, an address, or a name of a file: it is asked for as it is."""
_AROUND = ".,:'-+#@/~_&"
"""What stands beside a word without being a part of it."""
_QUOTED = re.compile(r'"[^"]*"')


class Word(NamedTuple):
    """A word of a query that may be a typo."""

    text: str
    """In lower case, with its diacritics."""
    start: int
    """Of its place in the query, in characters."""
    end: int


def words_of(query: str) -> Iterator[Word]:
    """The words of a query that may be typos: of letters alone, not in a piece with a digit, an address, or quotes.

    What is written without blanks between words, such as Chinese, has no words here.
    """
    quoted = [found.span() for found in _QUOTED.finditer(query)]
    for piece, start in pieces(spaced(query)):
        if _ADDRESS.search(piece) or any(first <= start < end for first, end in quoted):
            continue
        for part in _single(parts_of(piece)):
            if part.kind is Kind.WORD:
                yield Word(part.text, start + part.start, start + part.end)


def last_of(query: str) -> Word | None:
    """The last word or code of a query, if it may not be typed to its end: no blank is behind it, and it has two
    characters at least. Text of what is written without blanks between words has none."""
    found = list(pieces(spaced(query)))
    if not found or found[-1][1] + len(found[-1][0]) < len(query):
        return None
    piece, start = found[-1]
    # What is put together from others, such as a code with its signs, is the longest.
    part = max(parts_of(piece), key=lambda each: each.end - each.start, default=None)
    if part is None or part.end < len(piece) or len(part.text) < BEGINNING or unspaced(part.text):
        return None
    return Word(part.text, start, len(query))


def _single(parts: Sequence[Part]) -> list[Part]:
    """Without those that are put together from others."""
    return [
        each
        for each in parts
        if not any(each.start <= other.start and other.end <= each.end and other[:3] != each[:3] for other in parts)
    ]


def _words_in(piece: str) -> Iterable[str]:
    word = piece.strip(_AROUND)
    if word.isascii():
        # What most pieces are, in fewer steps.
        if word.isalpha():
            return (word.lower(),)
        if word.isalnum():
            return ()
    return [part.text for part in parts_of(piece) if part.kind is Kind.WORD]


class NewWords:
    """Tells which words of texts are not kept yet. Not for several threads.

    A word counts as kept from `confirm` on, because a transaction that writes it may fail.
    """

    def __init__(self, kept: Iterable[str] = ()) -> None:
        self._words = set(kept)
        self._pieces: set[str] = set()
        self._read: set[str] = set()

    def of(self, texts: Iterable[str]) -> list[str]:
        """The new words of these texts, in alphabetical order."""
        self._read = set()
        if len(self._words) >= MOST:
            return []
        for text in texts:
            self._read.update(split(text[:LONGEST_TEXT]))
        self._read -= self._pieces
        found = {word for piece in self._read for word in _words_in(piece) if SHORTEST <= len(word) <= LONGEST}
        return sorted(found - self._words)

    def confirm(self, words: Iterable[str]) -> None:
        """What `of` gave last is kept now."""
        self._words.update(words)
        if len(self._pieces) > REMEMBERED:
            self._pieces.clear()
        self._pieces |= self._read
