"""How far a mean over queries can be trusted: the percentile bootstrap (Efron, 1979) over the queries.

Queries are drawn with replacement, as if another set of as many had been judged. Sakai, "Evaluating evaluation metrics
based on the bootstrap" (SIGIR 2006), has it for measures of retrieval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

SAMPLES = 10_000
SHARE = 0.95
SEED = 1
"""The same values always have the same interval."""
AT_ONCE = 1_000_000
"""Values drawn in one go."""


class Interval(NamedTuple):
    """In which the mean of other queries of the same kind would lie in SHARE of all cases."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.4f}, {self.high:.4f}]"


class Gain(NamedTuple):
    """A mean of differences, query by query."""

    mean: float
    interval: Interval

    @property
    def shown(self) -> bool:
        """The interval lies above zero."""
        return self.interval.low > 0

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.interval.low:+.4f}, {self.interval.high:+.4f}]"


def interval(values: Sequence[float]) -> Interval:
    """
    Args:
        values: one for each query, at least one.
    """
    import numpy as np

    found, draw = np.asarray(values, np.float64), np.random.default_rng(SEED)
    step = max(1, AT_ONCE // len(found))
    means = np.concatenate(
        [
            found[draw.integers(0, len(found), (min(step, SAMPLES - done), len(found)))].mean(axis=1)
            for done in range(0, SAMPLES, step)
        ]
    )
    low, high = np.quantile(means, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return Interval(float(low), float(high))


def gain(before: Sequence[float], after: Sequence[float]) -> Gain:
    """What each query gained, in one order, shape (queries,)."""
    differences = [new - old for old, new in zip(before, after, strict=True)]
    return Gain(math.fsum(differences) / len(differences), interval(differences))
