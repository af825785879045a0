"""What puts the best hits of a search into a better order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Reranker(Protocol):
    """Reads the query beside a text of each of the best hits. Safe to call from several threads at once."""

    top: int
    """Number of hits that it is asked about."""
    weight: float
    """Of its scores, 0 to 1; the scores of the search have the rest."""

    def scores(self, query: str, texts: Sequence[str]) -> Sequence[float] | None:
        """How well each text answers the query; more is better, and any scale will do.

        None where there is no answer in time, or none that can be used: a search then keeps the order that it had. It
        says why in the log, at most once a minute, and it never raises.
        """
        ...

    @property
    def spent(self) -> float:
        """US dollars so far in this process; what may have been billed without an answer is counted too."""
        ...

    def close(self) -> None: ...
