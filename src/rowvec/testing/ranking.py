"""Filters, similarity and BM25 in plain Python: what the SQL of the real stores is compared with."""

from __future__ import annotations

import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rowvec.errors import SearchError
from rowvec.filters import And, Compare, Filter, Not, Op, Or
from rowvec.types import Key, Ranked, Vector, Vectors


def matches(where: Filter, metadata: Mapping[str, Any]) -> bool | None:
    """Whether a row passes a filter; None is SQL's unknown, which does not pass, and neither does its negation."""
    if isinstance(where, Not):
        inner = matches(where.part, metadata)
        return None if inner is None else not inner
    if isinstance(where, And | Or):
        outcomes = [matches(part, metadata) for part in where.parts]
        decisive = isinstance(where, Or)
        return decisive if decisive in outcomes else None if None in outcomes else not decisive
    if where.column not in metadata:
        raise SearchError(f"There is no metadata column {where.column!r}.", hint=f"There are: {', '.join(metadata)}.")
    return _compare(where, metadata[where.column])


def _compare(where: Compare, value: Any) -> bool | None:
    if where.op is Op.IS_NULL:
        return value is None
    if value is None or where.value is None:
        return None
    tests: dict[Op, Callable[[Any, Any], bool]] = {
        Op.EQ: operator.eq,
        Op.NE: operator.ne,
        Op.LT: operator.lt,
        Op.LE: operator.le,
        Op.GT: operator.gt,
        Op.GE: operator.ge,
        Op.IN: lambda value, choices: value in choices,
        Op.BETWEEN: lambda value, ends: bool(ends[0] <= value <= ends[1]),
        Op.CONTAINS: operator.contains,
    }
    return tests[where.op](value, where.value)


def similarity(metric: str, vectors: Vectors, vector: Vector) -> list[float]:
    matrix, query = vectors.astype(np.float64), vector.astype(np.float64)
    if metric == "l2":
        return [-float(np.linalg.norm(row - query)) for row in matrix]
    dots = matrix @ query
    if metric == "cosine":
        dots /= np.linalg.norm(matrix, axis=1) * np.linalg.norm(query)
    return [float(dot) for dot in dots]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def bm25(
    texts: Mapping[Key, Sequence[str]], query: Sequence[str], k1: float = 1.2, b: float = 0.75
) -> dict[Key, float]:
    """Robertson and Zaragoza, The Probabilistic Relevance Framework (2009), with idf kept positive as Lucene does."""
    mean = sum(map(len, texts.values())) / max(len(texts), 1)
    counts = {key: Counter(words) for key, words in texts.items()}
    scores: dict[Key, float] = {}
    for word in set(query):
        holders = [key for key in texts if counts[key][word]]
        idf = math.log(1 + (len(texts) - len(holders) + 0.5) / (len(holders) + 0.5))
        for key in holders:
            often = counts[key][word]
            length = 1 - b + b * len(texts[key]) / mean
            scores[key] = scores.get(key, 0.0) + idf * often * (k1 + 1) / (often + k1 * length)
    return scores


def ranked(scores: Mapping[Key, float], limit: int) -> Ranked:
    best: list[tuple[Any, float]] = sorted(scores.items(), key=lambda pair: (-pair[1], str(pair[0])))[:limit]
    return Ranked([key for key, _ in best], [score for _, score in best], exact=True, complete=True)
