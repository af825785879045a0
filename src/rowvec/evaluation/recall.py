"""How much of what an exact search finds an approximate index finds."""

from __future__ import annotations

import math
from collections.abc import Sequence

GOOD_RECALL = 0.98
"""What `rowvec index tune` aims at by default, and below which an audit and the status page warn."""
STANDARD_ERRORS = 1.645
"""A mean is that far above the true one in 5 of 100 samples."""
MOST_QUERIES = 2_000
TIE = 1e-5
"""Scores that differ by less count as equal: which of two equal rows is found does not matter."""


def recall(found: Sequence[float], exact: Sequence[float]) -> float:
    """The share of the exact answer that an index found, by the scores of both; greater is better.

    A hit that scores as much as the last of the exact answer counts, whichever row it is: of rows that tie, an exact
    search names any. 1.0 where there is nothing to find.
    """
    if not exact:
        return 1.0
    enough = min(exact) - TIE
    return sum(score >= enough for score in found[: len(exact)]) / len(exact)


def at_least(recalls: Sequence[float]) -> float:
    """The mean recall that other queries of the same kind have too, in 95 of 100 samples.

    An index finds nothing for a few queries, and next to everything for the others. A sample without such a query says
    nothing of how rare they are. So one more, for which nothing is found, counts with every sample.
    """
    from statistics import fmean, pstdev  # Not needed for `rowvec --help`, and slow to import.

    counted = [*recalls, 0.0]
    return max(0.0, fmean(counted) - STANDARD_ERRORS * pstdev(counted) / math.sqrt(len(counted)))


def queries_needed(target: float) -> int:
    """With fewer, not even a sample for which everything is found shows that recall; MOST_QUERIES at most."""
    return min(MOST_QUERIES, math.ceil((1 + STANDARD_ERRORS) / max(1e-9, 1 - target)))
