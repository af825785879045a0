"""A list of words in memory, and those of it that a typo may have been.

Words of one length are a matrix of letters. For each word, 64 bits say which letters it has: one edit changes at most
one letter on either side, so a comparison of bits leaves few words for the comparison of letters, which is made for all
of them at once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rowvec.words.folding import folded

LETTERS_FOR_ONE, LETTERS_FOR_TWO = 5, 9
"""Letters of a word from which on one edit, or two, may be a typo."""
Letters = npt.NDArray[np.uint32]


def edits_of(word: str) -> int:
    """The number of edits by which a word of that length may be a typo of another one."""
    letters = len(folded(word))
    return 0 if letters < LETTERS_FOR_ONE else 1 if letters < LETTERS_FOR_TWO else 2


@dataclass(slots=True)
class _Length:
    """Words of one length without their diacritics; shapes (words,), (words, length), (words,)."""

    words: list[str]
    letters: Letters
    bits: npt.NDArray[np.uint64]

    def with_more(self, other: _Length) -> _Length:
        return _Length(
            self.words + other.words,
            np.concatenate((self.letters, other.letters)),
            np.concatenate((self.bits, other.bits)),
        )


class Vocabulary:
    """Words as they are written. Reading is for several threads, also while one adds words."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._all: set[str] = set()
        self._lengths: dict[int, _Length] = {}
        self._sorted: list[tuple[str, str]] | None = None
        self.add(words)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, word: str) -> bool:
        return word in self._all

    def add(self, words: Iterable[str]) -> None:
        """Words that are there already are passed over."""
        new = set(words) - self._all
        by_length: dict[int, list[tuple[str, str]]] = {}
        for word in new:
            plain = folded(word)
            by_length.setdefault(len(plain), []).append((word, plain))
        for length, pairs in by_length.items():
            made = _made(length, pairs)
            known = self._lengths.get(length)
            self._lengths[length] = made if known is None else known.with_more(made)
        self._all |= new
        self._sorted = None

    def near(self, word: str, most: int) -> dict[str, int]:
        """The words that are 1 to `most` edits from another, each with its edits: insertion, deletion, replacement of
        a letter, exchange of two neighbours. A diacritic is not an edit."""
        plain = folded(word)
        letters = _letters_of([plain])
        (bits,) = _bits(letters)
        found: dict[str, int] = {}
        for length in range(len(plain) - most, len(plain) + most + 1):
            known = self._lengths.get(length)
            if known is None:
                continue
            near = np.flatnonzero(
                (np.bitwise_count(known.bits & ~bits) <= most) & (np.bitwise_count(bits & ~known.bits) <= most)
            )
            for place, edits in zip(near.tolist(), _edits(letters[0], known.letters[near], most), strict=True):
                if 0 < edits <= most:
                    found[known.words[place]] = edits
        return found

    def starting(self, beginning: str, most: int) -> list[str]:
        """Up to `most` words that begin so, in alphabetical order; diacritics count for nothing."""
        plain = folded(beginning)
        if self._sorted is None:
            self._sorted = sorted((folded(word), word) for word in self._all)
        listed = self._sorted
        start = bisect_left(listed, (plain, ""))
        found = []
        for at, word in listed[start : start + most]:
            if not at.startswith(plain):
                break
            found.append(word)
        return found


def _made(length: int, pairs: list[tuple[str, str]]) -> _Length:
    letters = _letters_of([plain for _, plain in pairs])
    return _Length([word for word, _ in pairs], letters.reshape(len(pairs), length), _bits(letters))


def _letters_of(words: list[str]) -> Letters:
    """Of words of one length, shape (words, length)."""
    length = len(words[0])
    return np.array(words, f"<U{length}").view(np.uint32).reshape(len(words), length)


def _bits(letters: Letters) -> npt.NDArray[np.uint64]:
    one = np.left_shift(np.uint64(1), (letters & np.uint32(63)).astype(np.uint64))
    bits: npt.NDArray[np.uint64] = np.bitwise_or.reduce(one, axis=1)
    return bits


def _edits(word: Letters, others: Letters, most: int) -> list[int]:
    """Edits between a word, shape (n,), and each of several, shape (words, m); `most + 1` stands for any more.

    The optimal string alignment of Damerau and Levenshtein, in a band of `most` around the diagonal.
    """
    count, length = others.shape
    if not count:
        return []
    far = np.full(count, most + 1, np.int8)
    before: list[npt.NDArray[np.int8]] = []
    row = [np.full(count, min(place, most + 1), np.int8) for place in range(length + 1)]
    for i in range(1, len(word) + 1):
        last, row = row, [np.full(count, min(i, most + 1), np.int8)] + [far] * length
        for j in range(max(1, i - most), min(length, i + most) + 1):
            same = others[:, j - 1] == word[i - 1]
            best = np.minimum(last[j - 1] + ~same, np.minimum(last[j], row[j - 1]) + np.int8(1))
            if i > 1 and j > 1:
                swapped = (others[:, j - 1] == word[i - 2]) & (others[:, j - 2] == word[i - 1])
                best = np.where(swapped, np.minimum(best, before[j - 2] + np.int8(1)), best)
            row[j] = best
        before = last
    found: list[int] = np.minimum(row[length], most + 1).tolist()
    return found
