"""Which points of a map lie together, and what the rows of each group say that others do not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import log, sqrt
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rowvec.maps.projection import SEED
from rowvec.stores.base import RowsHandle
from rowvec.types import Key

Numbers: TypeAlias = npt.NDArray[np.float64]

FEWEST = 30
"""Points below which nothing is named."""
MOST = 48
"""Clusters: as one zooms in, more of their names have room."""
POINTS_EACH = 8
HIGH = 0.1
"""The part of a cluster that may lie above its name."""
SAMPLE = 20_000
"""Points that decide where the clusters are; the others go to the nearest."""
ROUNDS = 20
READ = 60
"""Rows of a cluster whose texts are read."""
CHARACTERS = 1_500
"""Of each text."""
CANDIDATES = 24
"""Words of a cluster that the keyword index is asked about."""
WORDS = 3
SHARE = 0.15
"""Of the rows read, at least this share must hold a word that names them."""
_WORD = re.compile(r"[^\W\d_]{3,24}")


@dataclass(frozen=True, slots=True)
class Cluster:
    """
    Attributes:
        x, y: the middle of its upper edge, in units of the map. rows: how many points it has.
        words: what tells its rows from the others, the most telling first; empty where nothing does.
    """

    x: int
    y: int
    rows: int
    words: tuple[str, ...]


def named(rows: RowsHandle, keys: Sequence[Key], places: npt.NDArray[np.uint16]) -> list[Cluster]:
    """The clusters of a map that have a name, the largest first. Reads up to READ texts of each.

    How many rows hold a word is asked of the keyword index; without one, of the texts that were read.

    Args:
        places: shape (keys, 2).
    """
    if len(keys) < FEWEST:
        return []
    middles, nearest = clusters(places)
    held: list[Counter[str]] = []
    read: list[int] = []
    for number in range(len(middles)):
        words, texts = _words(rows, [keys[place] for place in _some(np.flatnonzero(nearest == number))])
        held.append(words)
        read.append(texts)
    common = [_candidates(words, texts) for words, texts in zip(held, read, strict=True)]
    holding, total = _frequencies(rows, sorted(set(chain(*common))), held, read, len(keys))
    sizes = np.bincount(nearest, minlength=len(middles))
    found = []
    for number in np.argsort(-sizes, kind="stable"):
        x, y = round(float(middles[number][0])), round(float(np.quantile(places[nearest == number, 1], HIGH)))
        telling = _telling(common[number], held[number], read[number], holding, total)
        found.append(Cluster(x, y, int(sizes[number]), telling))
    return [cluster for cluster in found if cluster.words]


def clusters(places: npt.NDArray[np.uint16]) -> tuple[Numbers, npt.NDArray[np.int64]]:
    """The middle of each cluster, and to which one each point belongs: k-means with the start of k-means++.

    Source: Arthur and Vassilvitskii, "k-means++: The advantages of careful seeding", SODA 2007.
    """
    points = places.astype(np.float64)
    random = np.random.default_rng(SEED)
    some = points if len(points) <= SAMPLE else points[random.choice(len(points), SAMPLE, replace=False)]
    middles = _start(some, min(MOST, max(3, round(sqrt(len(points) / POINTS_EACH)))), random)
    for _ in range(ROUNDS):
        nearest = _nearest(some, middles)
        sums = np.stack([np.bincount(nearest, some[:, axis], len(middles)) for axis in (0, 1)], axis=1)
        counts = np.bincount(nearest, minlength=len(middles))[:, None]
        moved = np.where(counts > 0, sums / np.maximum(counts, 1), middles)
        if np.allclose(moved, middles, atol=1):
            break
        middles = moved
    return middles, _nearest(points, middles)


def _start(points: Numbers, count: int, random: np.random.Generator) -> Numbers:
    chosen = [points[random.integers(len(points))]]
    away = np.full(len(points), np.inf)
    while len(chosen) < count:
        away = np.minimum(away, np.square(points - chosen[-1]).sum(axis=1))
        if not away.any():
            break
        chosen.append(points[random.choice(len(points), p=away / away.sum())])
    return np.stack(chosen)


def _nearest(points: Numbers, middles: Numbers) -> npt.NDArray[np.int64]:
    away = np.stack([np.square(points - middle).sum(axis=1) for middle in middles], axis=1)
    return np.asarray(away.argmin(axis=1), np.int64)


def _some(members: npt.NDArray[np.int64]) -> list[int]:
    step = max(1, len(members) // READ)
    return [int(member) for member in members[::step][:READ]]


def _words(rows: RowsHandle, keys: Sequence[Key]) -> tuple[Counter[str], int]:
    """In how many of these rows each word stands, and how many there were to read."""
    held: Counter[str] = Counter()
    texts = rows.texts(keys)
    for kept in texts.values():
        held.update(set(_WORD.findall(kept.text[:CHARACTERS].lower())))
    return held, len(texts)


def _candidates(held: Counter[str], read: int) -> list[str]:
    least = max(2, SHARE * read)
    return [word for word, count in held.most_common(CANDIDATES * 3) if count >= least][:CANDIDATES]


def _frequencies(
    rows: RowsHandle, words: Sequence[str], held: Sequence[Counter[str]], read: Sequence[int], total: int
) -> tuple[Mapping[str, int], int]:
    """How many rows hold each word, and of how many. Words that the keyword index leaves out are absent."""
    known = rows.holding(words) if words else {}
    if known:
        return known, total
    return sum(held, Counter[str]()), sum(read)


def _telling(
    words: Sequence[str], held: Mapping[str, int], read: int, holding: Mapping[str, int], total: int
) -> tuple[str, ...]:
    """The words that say most of a row being here: their part of the Kullback-Leibler divergence."""
    scores = {}
    for word in words:
        here, everywhere = held[word] / read, holding.get(word, 0) / total
        if 0 < everywhere < here:
            scores[word] = here * log(here / everywhere)
    chosen: list[str] = []
    for word in sorted(scores, key=lambda each: (-scores[each], each)):
        # One form of a word is enough.
        if not any(word[:5] == other[:5] or word in other or other in word for other in chosen):
            chosen.append(word)
    return tuple(chosen[:WORDS])
