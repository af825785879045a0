"""What a request for scores costs: known from its answer, bounded before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rowvec.rerankers.wire import Usage

TEXTS_A_SEARCH = 100
"""Cohere bills a query with up to this many texts as one search, and divides a longer text."""
TOKENS_A_TEXT = 500


@dataclass(frozen=True, slots=True)
class RerankPrice:
    """US dollars for a million tokens and for a search; services bill one or the other."""

    per_million: float = 0.0
    per_search: float = 0.0

    def most(self, query: str, texts: Sequence[str]) -> float:
        """What a request can cost at most: no token is shorter than a byte, and the query is read with each text."""
        asked = len(query.encode("utf-8", "surrogatepass"))
        sizes = [asked + len(text.encode("utf-8", "surrogatepass")) + 8 for text in texts]
        parts = sum(-(-size // TOKENS_A_TEXT) for size in sizes)
        return self._cost(sum(sizes), -(-parts // TEXTS_A_SEARCH))

    def billed(self, usage: Usage, most: float) -> float:
        """By what the answer says; all that it can be where it does not."""
        if (self.per_million and usage.tokens is None) or (self.per_search and usage.searches is None):
            return most
        return self._cost(usage.tokens or 0, usage.searches or 0)

    def _cost(self, tokens: int, searches: int) -> float:
        return tokens * self.per_million / 1_000_000 + searches * self.per_search
