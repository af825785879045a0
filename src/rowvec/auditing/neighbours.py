"""Rows that are nearly the same, and rows that are far from all others, by the vector index and within a budget.

Each row that is looked at costs one search for its nearest rows. Which rows are looked at is decided by a hash of their
keys: the same rows each time, spread evenly, and the rows of a smaller budget are among those of a larger one.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from rowvec.errors import ConfigError
from rowvec.stores.base import GenerationHandle
from rowvec.stores.ledger import Repeated
from rowvec.support.tables import Tabular
from rowvec.types import Key, Progress, Vector

ROWS = 1_000
SECONDS = 30.0
BOUND = 0.97
"""Cosine from which on two rows are nearly the same."""
NEAREST = 5
LISTED = 50
FEWEST = 20
"""Below this number of rows none can be called odd: they do not show what is usual."""
FENCE = 1.5
"""Tukey's: a row is odd if it lies this many times the middle half's width below the middle half."""
PAGE = 10_000
VECTORS_KEPT = 4_000


class NearPair(NamedTuple):
    """Two rows of different texts."""

    a: Key
    b: Key
    similarity: float
    """Cosine of their vectors."""


class OddRow(NamedTuple):
    key: Key
    similarity: float
    """The mean cosine to its NEAREST nearest rows."""
    nearest: Key


@dataclass(frozen=True, slots=True)
class Neighbours:
    """
    Attributes:
        rows: in the store, those without a vector too. asked: rows that were looked at.
        bound: cosine from which on a pair is listed.
        seconds: that it took.
        near: up to LISTED pairs, the most similar first. near_found: how many there were.
        odd: up to LISTED rows, the farthest first. odd_found: how many there were.
        usual: the median of what `OddRow.similarity` is for all rows looked at; None where there are too few.
        fence: rows below it are odd; None likewise.
    """

    rows: int
    asked: int
    bound: float
    seconds: float
    near: Sequence[NearPair]
    near_found: int
    odd: Sequence[OddRow]
    odd_found: int
    usual: float | None
    fence: float | None

    def as_dict(self) -> dict[str, Any]:
        lists = {"near": [each._asdict() for each in self.near], "odd": [each._asdict() for each in self.odd]}
        return {**asdict(self), **lists}


@dataclass(frozen=True, slots=True)
class Quality(Tabular):
    """Lists of rows of the live generation, each with up to LISTED entries. As rows: one for each row of a list.

    Attributes:
        truncated: how many texts are longer than the model's window. cut: keys of some of these rows.
        repeated: texts that several rows have.
        neighbours: near-duplicates and odd rows.
    """

    pipeline: str
    truncated: int
    cut: Sequence[Key]
    repeated: Sequence[Repeated]
    neighbours: Neighbours

    @property
    def keys(self) -> list[Key]:
        """Of every row that a list of pairs or odd rows names."""
        found = [key for pair in self.neighbours.near for key in (pair.a, pair.b)]
        return list(dict.fromkeys(found + [each.key for each in self.neighbours.odd]))

    def as_dict(self) -> dict[str, Any]:
        repeated = [each._asdict() for each in self.repeated]
        own = {"pipeline": self.pipeline, "truncated": self.truncated, "cut": list(self.cut), "repeated": repeated}
        return {**own, **self.neighbours.as_dict()}

    def to_dicts(self) -> list[dict[str, Any]]:
        lists: Mapping[str, Sequence[tuple[Key, Key | None, float | None]]] = {
            "cut": [(key, None, None) for key in self.cut],
            "repeated": [(key, group.keys[0], 1.0) for group in self.repeated for key in group.keys[1:]],
            "near": [(pair.a, pair.b, pair.similarity) for pair in self.neighbours.near],
            "odd": [(each.key, each.nearest, each.similarity) for each in self.neighbours.odd],
        }
        return [
            {"list": name, "key": key, "other": other, "similarity": similarity}
            for name, found in lists.items()
            for key, other, similarity in found
        ]


def neighbours(
    handle: GenerationHandle,
    *,
    rows: int = ROWS,
    bound: float = BOUND,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> Neighbours:
    """
    Args:
        rows: up to this many are looked at.
        bound: cosine from which on two rows are nearly the same; above 0, up to 1.
        seconds: of looking; after that no further row is looked at.

    Raises:
        ConfigError: a bound that no pair, or every pair, reaches.
    """
    if not 0 < bound <= 1:
        raise ConfigError(f"The bound is {bound:g}; it must be above 0 and up to 1.", hint="Try 0.97.")
    began = time.monotonic()
    tell: Progress = progress or (lambda phase, done, total: None)
    total = handle.count()
    chosen = heapq.nsmallest(rows, _keys(handle, total, tell), key=_place)
    # To go through the keys of ten million rows alone takes as long as the looking may.
    looked = time.monotonic()
    vector_of = lru_cache(VECTORS_KEPT)(handle.vector)
    pairs: dict[frozenset[Key], NearPair] = {}
    odd: list[OddRow] = []
    asked = 0
    for key in chosen:
        if time.monotonic() - looked > seconds:
            break
        asked += 1
        tell("looking", asked, len(chosen))
        found = _nearest(handle, key, vector_of)
        if not found:
            continue
        odd.append(OddRow(key, float(np.mean([cosine for _, cosine in found])), found[0][0]))
        for other, cosine in found:
            if cosine >= bound:
                pairs[frozenset((key, other))] = NearPair(key, other, cosine)
    near = _of_different_texts(handle, sorted(pairs.values(), key=lambda each: (-each.similarity, str(each.a))))
    usual, fence = _usual([each.similarity for each in odd])
    far = sorted((each for each in odd if fence is not None and each.similarity < fence), key=lambda each: each[1])
    return Neighbours(
        rows=total, asked=asked, bound=bound, seconds=time.monotonic() - began, near=near[:LISTED],
        near_found=len(near), odd=far[:LISTED], odd_found=len(far), usual=usual, fence=fence,
    )  # fmt: skip


def _keys(handle: GenerationHandle, total: int, tell: Progress) -> Iterator[Key]:
    after: Key | None = None
    done = 0
    while page := handle.keys(after, PAGE):
        done += len(page)
        tell("choosing rows", done, max(total, done))
        yield from page
        after = page[-1]


def _place(key: Key) -> bytes:
    return blake2b(str(key).encode(), digest_size=8).digest()


def _nearest(handle: GenerationHandle, key: Key, vector_of: Callable[[Key], Vector | None]) -> list[tuple[Key, float]]:
    """Its nearest rows with the cosines of their own vectors, whatever the metric and passages; best first."""
    vector = vector_of(key)
    if vector is None:
        return []
    found = []
    for other in handle.nearest(vector, NEAREST + 1).keys:
        theirs = vector_of(other) if other != key else None
        if theirs is not None:
            found.append((other, _cosine(vector, theirs)))
    return sorted(found, key=lambda each: -each[1])[:NEAREST]


def _cosine(a: Vector, b: Vector) -> float:
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return min(1.0, float(a @ b) / length) if length else 0.0


def _of_different_texts(handle: GenerationHandle, pairs: Sequence[NearPair]) -> list[NearPair]:
    """Rows of one text are another list."""
    known = handle.lookup(list({key for pair in pairs for key in (pair.a, pair.b)}))
    hashes = {key: stored.text_hash for key, stored in known.items()}
    return [pair for pair in pairs if hashes.get(pair.a) is None or hashes.get(pair.a) != hashes.get(pair.b)]


def _usual(similarities: Sequence[float]) -> tuple[float | None, float | None]:
    if len(similarities) < FEWEST:
        return None, None
    low, median, high = np.quantile(similarities, [0.25, 0.5, 0.75])
    return float(median), float(low - FENCE * (high - low))
