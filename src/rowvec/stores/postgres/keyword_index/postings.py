"""Texts as the packed postings of one segment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from rowvec.stores.postgres.arrays import number_array
from rowvec.types import Key
from rowvec.words import Analyzer

ENTRY = np.dtype([("document", ">i4"), ("count", ">i2"), ("length", ">i2")])
LONGEST = 32_767
"""Words of a text, and occurrences of one word, that are counted."""
TERMS = 1_000_000
"""Occurrences of words in a batch, about 100 MB in hand."""


class Postings(NamedTuple):
    """Those of one segment, as statement `post` takes them."""

    words: str
    """In order, blanks between them."""
    firsts: str
    """Of each word the place of its first byte in `packed`, counted from 1; a PostgreSQL array."""
    sizes: str
    """And how many there are."""
    packed: bytes


class _Numbered(dict[str, int]):
    """Words with a number each, from 0 on, in the order in which they are first looked up."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


class Batch:
    """The texts of one segment, in key order."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self._vocabulary = _Numbered()
        self._words: list[int] = []
        self._terms: list[int] = []
        """Of each text how many there are."""

    def add(self, key: Key, terms: Sequence[str]) -> None:
        # No step of Python for a word: counting them text by text took a third of the time of a first fill.
        self._words.extend(map(self._vocabulary.__getitem__, terms))
        self._terms.append(len(terms))
        self.keys.append(key)

    @property
    def lengths(self) -> list[int]:
        return [min(terms, LONGEST) for terms in self._terms]

    @property
    def size(self) -> int:
        return len(self._words)

    def postings(self, numbers: Sequence[int]) -> Postings:
        """
        Args:
            numbers: of the texts, shape (texts,).
        """
        vocabulary = sorted(self._vocabulary)
        rank = np.empty(len(vocabulary), np.intp)
        rank[[self._vocabulary[word] for word in vocabulary]] = np.arange(len(vocabulary))
        texts_of = np.repeat(np.arange(len(self._terms)), self._terms)
        # Sorted by word, then by text.
        pairs = rank[np.array(self._words, np.intp)] * len(self._terms) + texts_of
        found, counts = np.unique(pairs, return_counts=True)
        words, texts = np.divmod(found, max(1, len(self._terms)))
        entries = np.empty(len(found), ENTRY)
        entries["document"] = np.array(numbers, np.int64)[texts]
        entries["count"] = np.minimum(counts, LONGEST)
        entries["length"] = np.array(self.lengths, np.int64)[texts]
        sizes = np.bincount(words, minlength=len(vocabulary)) * ENTRY.itemsize
        firsts = np.cumsum(sizes) - sizes + 1
        places = number_array(firsts.tolist()), number_array(sizes.tolist())
        return Postings(" ".join(vocabulary), *places, entries.tobytes())


def batches(keys: Sequence[Key], texts: Sequence[str], analyzer: Analyzer, most: int) -> Iterator[Batch]:
    """In key order, bounded by the number of texts and of words; of a key given twice the last text."""
    latest: dict[Any, str] = dict(zip(keys, texts, strict=True))
    batch = Batch()
    for key in sorted(latest):
        batch.add(key, analyzer.terms(latest[key]))
        if len(batch.keys) == most or batch.size > TERMS:
            yield batch
            batch = Batch()
    if batch.keys:
        yield batch
