"""How much of what an exact search finds an approximate index finds."""

from __future__ import annotations

from collections.abc import Sequence

GOOD_RECALL = 0.98
"""What `rowvec index tune` aims at by default, and below which an audit and the status page warn."""
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
