"""BM25 scores of all versions that hold a word of a query.

Occurrences and lengths are stored, not impacts: a score is computed with the average length of the moment of
the search and needs no renewal when that drifts (Robertson and Zaragoza, "The Probabilistic Relevance
Framework: BM25 and Beyond", 2009). The inverse document frequency is Lucene's, which is never negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rowvec.stores.part import WordCounts
from rowvec.stores.postgres.keyword_index.postings import ENTRY

Documents: TypeAlias = npt.NDArray[np.intp]
"""Version numbers, shape (candidates,)."""
Scores: TypeAlias = npt.NDArray[np.float64]
"""BM25 scores, shape (candidates,)."""
Entries: TypeAlias = npt.NDArray[np.void]
"""Of the type ENTRY, shape (versions that hold a word,)."""

K1, B = 1.2, 0.75
DENSE, MANY_NUMBERS = 8, 1_000_000
"""Scores are added up in an array over all version numbers unless most of it would stay empty."""


def entries_in(packed: Iterable[bytes]) -> Entries:
    """Of one word, from its postings."""
    return np.frombuffer(b"".join(packed), ENTRY)


def scored(
    entries: Mapping[str, Entries], weights: Mapping[str, float], counts: WordCounts
) -> tuple[Documents, Scores]:
    """Every version, dead or alive, that holds one of the words.

    Args:
        entries: of each word, in order.
        counts: of the words, and of the table that they are weighed in.
    """
    found = {word: (each["document"].astype(np.intp), each) for word, each in entries.items()}
    return _scored(found, weights, counts)


def scored_together(
    tables: Sequence[Mapping[str, Entries]], weights: Mapping[str, float], counts: WordCounts, most: int
) -> tuple[list[tuple[Documents, Scores]], bool]:
    """Of each of several tables those versions that are among the best `most` of all, and whether these are all.

    Scored at once: to score one table after another costs nearly as much for each as for all.

    Args:
        tables: the entries of the words in each.
        counts: of all tables together.
    """
    starts = np.cumsum([0, *(_span(entries) for entries in tables)])
    found: dict[str, tuple[Documents, Entries]] = {}
    for word in dict.fromkeys(word for entries in tables for word in entries):
        held = [(start, each[word]) for start, each in zip(starts[:-1], tables, strict=True) if word in each]
        documents = np.concatenate([each["document"].astype(np.intp) + start for start, each in held])
        found[word] = documents, np.concatenate([each for _, each in held])
    documents, scores = _scored(found, weights, counts)
    best = np.sort(highest(scores, most))
    ends = np.searchsorted(documents[best], starts)
    of_tables = [best[first:end] for first, end in pairwise(ends)]
    chosen = [(documents[of] - start, scores[of]) for of, start in zip(of_tables, starts[:-1], strict=True)]
    return chosen, len(best) == len(documents)


def _span(entries: Mapping[str, Entries]) -> int:
    """A number above those of all versions."""
    return 1 + max((int(each["document"].max()) for each in entries.values() if len(each)), default=0)


def _scored(
    entries: Mapping[str, tuple[Documents, Entries]], weights: Mapping[str, float], counts: WordCounts
) -> tuple[Documents, Scores]:
    found: list[Documents] = []
    scores: list[Scores] = []
    for word, (documents, each) in entries.items():
        held = counts.holding[word]
        idf = math.log1p((max(counts.written, held) - held + 0.5) / (held + 0.5))
        count = each["count"].astype(np.float64)
        norm = each["length"].astype(np.float64)
        # In place: fresh arrays of this size cost more than the arithmetic on them.
        norm *= K1 * B * counts.documents / max(counts.words, 1)
        norm += K1 * (1 - B)
        norm += count
        count *= idf * weights[word]
        count /= norm
        found.append(documents)
        scores.append(count)
    return _summed(found, scores) if any(map(len, found)) else (np.empty(0, np.intp), np.empty(0))


def _summed(found: list[Documents], scores: list[Scores]) -> tuple[Documents, Scores]:
    """Add up the scores of each version. Shapes (candidates,), versions ascending."""
    documents, weights = np.concatenate(found), np.concatenate(scores)
    first = documents.min()
    documents -= first
    span = int(documents.max()) + 1
    if span > DENSE * len(documents) + MANY_NUMBERS:
        hit, place = np.unique(documents, return_inverse=True)
        totals: Scores = np.bincount(place, weights).astype(np.float64, copy=False)
    else:
        totals = np.bincount(documents, weights, span).astype(np.float64, copy=False)
        hit = np.flatnonzero(totals > 0)
        totals = totals[hit]
    hit += first
    return hit, totals


def highest(scores: Scores, count: int) -> npt.NDArray[np.intp]:
    """Places of the `count` highest scores and of all that equal the lowest of those."""
    if len(scores) <= count:
        return np.arange(len(scores))
    lowest = np.partition(scores, len(scores) - count)[len(scores) - count]
    return np.flatnonzero(scores >= lowest)
