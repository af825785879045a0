"""What puts the best hits of a search into a better order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Unusable(Exception):
    """No scores, and why, in words that follow "The reranker"."""


class NotAsked(Unusable):
    """No scores, because nothing was asked: that says nothing about whether an answer would have come."""


class Scored(NamedTuple):
    """What a reranker has to say of some texts."""

    scores: Sequence[float] | None
    """How well each text answers the query; more is better, and any scale will do. None where there is no answer in
    time, or none that can be used: a search then keeps the order that it had."""
    problem: str = ""
    """Why there are no scores, as a sentence."""


class Judge(Protocol):
    weight: float
    """Of its scores, 0 to 1; the scores of the search have the rest."""

    def scores(self, query: str, texts: Sequence[str]) -> Scored:
        """Never raises. Why there are no scores is in the log too, at most once a minute."""
        ...


class Reranker(Judge, Protocol):
    """Reads the query beside a text of each of the best hits. Safe to call from several threads at once."""

    top: int
    """Number of hits that it is asked about."""

    def warm(self) -> None:
        """Load what the first search would wait for. Never raises."""
        ...

    @property
    def spent(self) -> float:
        """US dollars so far in this process; what may have been billed without an answer is counted too."""
        ...

    def close(self) -> None: ...
