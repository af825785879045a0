"""Similarity and BM25 in plain Python."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rowvec.stores.part import WordCounts
from rowvec.types import Key, Ranked, Vector, Vectors


def similarity(metric: str, vectors: Vectors, vector: Vector) -> list[float]:
    matrix, query = vectors.astype(np.float64), vector.astype(np.float64)
    if metric == "l2":
        return [-float(np.linalg.norm(row - query)) for row in matrix]
    dots = matrix @ query
    if metric == "cosine":
        dots /= np.linalg.norm(matrix, axis=1) * np.linalg.norm(query)
    return [float(dot) for dot in dots]


def counted(texts: Mapping[Key, Sequence[str]], query: Iterable[str]) -> WordCounts:
    """What BM25 weighs these words by."""
    sets = [set(words) for words in texts.values()]
    holding = {word: sum(word in each for each in sets) for word in query}
    return WordCounts(len(texts), len(texts), sum(map(len, texts.values())), holding)


def bm25(
    texts: Mapping[Key, Sequence[str]],
    query: Mapping[str, float],
    among: WordCounts | None = None,
    k1: float = 1.2,
    b: float = 0.75,
) -> dict[Key, float]:
    """Robertson and Zaragoza, The Probabilistic Relevance Framework (2009), with idf kept positive as Lucene does.

    Args:
        query: the weight of each word.
        among: the counts of the table that the texts are a part of; by default they are all of it.
    """
    total = among or counted(texts, query)
    mean = total.words / max(total.documents, 1)
    counts = {key: Counter(words) for key, words in texts.items()}
    scores: dict[Key, float] = {}
    for word, weight in query.items():
        holders, held = [key for key in texts if counts[key][word]], total.holding.get(word, 0)
        idf = math.log(1 + (total.documents - held + 0.5) / (held + 0.5))
        for key in holders:
            often = counts[key][word]
            length = 1 - b + b * len(texts[key]) / mean
            scores[key] = scores.get(key, 0.0) + weight * idf * often * (k1 + 1) / (often + k1 * length)
    return scores


def ranked(scores: Mapping[Key, float], limit: int) -> Ranked:
    pairs: list[tuple[Any, float]] = list(scores.items())
    best = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:limit]
    return Ranked([key for key, _ in best], [score for _, score in best], exact=True, complete=True)
