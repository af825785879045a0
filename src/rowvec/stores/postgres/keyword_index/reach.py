"""How far down a ranking of versions a search looks them up, until it has as many hits as it was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from psycopg import sql

from rowvec.stores.part import WordCounts

LEAST = 100
SPARE = 1.25
"""Times as many versions are looked up as should be enough."""
UNKNOWN = 0.25
"""Of the versions, those that pass a filter of which nothing is known."""


class Expected(NamedTuple):
    """What is known of the rows that pass a filter.

    Attributes:
        rows: their number, as the planner sees it.
        share: of all rows.
        parts: conditions that divide the table `t`: of each part an index has all that the filter compares, so that the
            rows themselves, which are mostly vectors, are not read. Empty where there is no such index.
    """

    rows: float
    share: float
    parts: Sequence[sql.Composable] = ()


@dataclass(frozen=True, slots=True)
class Reach:
    """
    Attributes:
        share: of the versions, those that are alive and pass.
        rows: all that may be hits. To read them takes about as long as to look up as many versions.
        every: each version is a hit, unless somebody has deleted rows by hand.
    """

    share: float
    rows: float
    every: bool = False

    @classmethod
    def of(cls, counts: WordCounts, *, filtered: bool, expected: Expected | None = None) -> Reach:
        alive = counts.documents / counts.written if counts.written else 1.0
        if expected is None:
            return cls(alive * (UNKNOWN if filtered else 1.0), counts.documents, alive == 1 and not filtered)
        return cls(alive * expected.share, expected.rows)

    def first(self, limit: int) -> int:
        """How many versions to look up for `limit` hits."""
        if self.every:
            return limit
        many = _enough(limit, self.share)
        # A look at a few is cheap, and the planner may be wrong.
        return LEAST if many > self.rows else many

    def next(self, limit: int, versions: int, looked_up: int, hits: int) -> int | None:
        """The same, when that many looked up were too few; None where all that may be hits are better read at once."""
        many = _enough(limit, hits / looked_up)
        return many if min(many, versions) <= self.rows else None


def _enough(limit: int, share: float) -> int:
    return max(LEAST, int(SPARE * limit / max(share, 1e-6)))
