"""Texts as the packed postings of one segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rowvec.types import Key
from rowvec.words import Analyzer

ENTRY = np.dtype([("document", ">i4"), ("count", ">i2"), ("length", ">i2")])
LONGEST = 32_767
"""Words of a text, and occurrences of one word, that are counted."""
TERMS = 1_000_000
"""Words of a batch, about 100 MB in hand."""


class Postings(NamedTuple):
    """Those of one segment, as statement `post` takes them."""

    words: str
    """In order, blanks between them."""
    firsts: str
    """Of each word the place of its first byte in `packed`, counted from 1; a PostgreSQL array."""
    sizes: str
    """And how many there are."""
    packed: bytes


class Batch:
    """The texts of one segment, in key order."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.lengths: list[int] = []
        self._vocabulary: dict[str, int] = {}
        self._words: list[int] = []
        self._texts: list[int] = []
        self._counts: list[int] = []

    def add(self, key: Key, terms: Sequence[str]) -> None:
        counts, vocabulary = Counter(terms), self._vocabulary
        self._words += [vocabulary.setdefault(term, len(vocabulary)) for term in counts]
        self._counts += counts.values()
        self._texts += [len(self.keys)] * len(counts)
        self.keys.append(key)
        self.lengths.append(min(len(terms), LONGEST))

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
        words = rank[np.array(self._words, np.intp)]
        order = np.argsort(words, kind="stable")
        texts = np.array(self._texts, np.intp)[order]
        entries = np.empty(len(order), ENTRY)
        entries["document"] = np.array(numbers, np.int64)[texts]
        entries["count"] = np.minimum(np.array(self._counts, np.int64), LONGEST)[order]
        entries["length"] = np.array(self.lengths, np.int64)[texts]
        sizes = np.bincount(words, minlength=len(vocabulary)) * ENTRY.itemsize
        firsts = np.cumsum(sizes) - sizes + 1
        return Postings(" ".join(vocabulary), _array(firsts), _array(sizes), entries.tobytes())


def _array(values: npt.NDArray[np.intp]) -> str:
    """As PostgreSQL reads an array."""
    return "{" + ",".join(map(str, values.tolist())) + "}"


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
