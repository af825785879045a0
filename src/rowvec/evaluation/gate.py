"""Is a finished generation as good as the live one? Human judgements say so, before searches see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rowvec.evaluation.files import read_judgements, read_queries
from rowvec.evaluation.measures import Ranker, evaluate
from rowvec.types import Key, Ranked, Vector


class Verdict(NamedTuple):
    measure: str
    live: float
    new: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.new >= self.live - self.tolerance

    def __str__(self) -> str:
        return f"{self.measure} {self.new:.4f}, the live generation {self.live:.4f}, tolerance {self.tolerance}"


@dataclass(frozen=True, slots=True)
class Gate:
    """What a new generation is measured by."""

    queries: Path
    judgements: Path
    measure: str = "nDCG@10"
    tolerance: float = 0.01

    def check(self) -> None:
        """Before hours of embedding: that it can be measured in the end.

        Raises:
            ConfigError: a file cannot be read, or the measure does not exist.
            MissingExtraError: the library that computes the measures is not installed.
        """
        self._score(lambda query, depth: [])

    def judge(self, live: Ranker, new: Ranker) -> Verdict:
        """Rank every judged query in both generations; raises as `check` does."""
        return Verdict(self.measure, self._score(live), self._score(new), self.tolerance)

    def _score(self, run: Ranker) -> float:
        found = evaluate(run, read_queries(self.queries), read_judgements(self.judgements), [self.measure])
        return next(iter(found.means.values()))


def ranking(embed: Callable[[str], Vector], nearest: Callable[[Vector, int], Ranked]) -> Ranker:
    """By meaning alone, since nothing else of a search depends on the model."""

    def run(query: str, depth: int) -> Sequence[Key]:
        return nearest(embed(query), depth).keys

    return run
