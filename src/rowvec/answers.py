"""What searches return, and what a fit of their weights does: values that need nothing of what finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rowvec.evaluation.bootstrap import Gain
from rowvec.filters import Facets
from rowvec.ranking import Ranking
from rowvec.support.tables import Tabular
from rowvec.types import Hit

Mode = Literal["semantic", "keyword", "hybrid"]

FITTED = ("fusion", "semantic_weight", "static_weight", "title_weight", "half_life_days")


@dataclass(frozen=True, slots=True)
class SearchResult(Tabular):
    """Hits, the best first. As rows: one for each hit, its key, its score and its metadata."""

    hits: Sequence[Hit]
    exact: bool
    """Every matching row was compared; False when an approximate index answered."""
    complete: bool
    """There are as many hits as were asked for, or as there are matching rows."""
    embed_ms: float = 0.0
    search_ms: float = 0.0
    reranked: bool | None = None
    """The reranker has put the best hits into order. False where it gave no answer in time that could be used, and the
    order is that of the search alone; None where it was not asked."""
    rerank_ms: float = 0.0
    rerank_problem: str = ""
    """Why `reranked` is False, as a sentence."""
    corrected: str | None = None
    """What was searched for in place of the query, which has words that no row holds; None where nothing was
    corrected."""
    facets: Facets | None = None
    """Counts over all rows that pass the filter. None where none were asked for."""
    total: int | None = None
    """Rows with a vector that pass the filter, where they were counted: with facets, and for rows that are browsed."""
    filtered: bool = False
    """There was a filter."""
    next: str | None = None
    """The cursor of the next page. None where this is the last one."""
    missing_parts: Sequence[int] = ()
    """Numbers, from 1 on, of the parts of the store that did not answer: the hits, counts and facets are those of the
    other parts."""

    advice: str | None = None
    """What the filter may have been meant to be, where nothing was found with it."""

    @property
    def partial(self) -> bool:
        """Some parts of the store did not answer."""
        return bool(self.missing_parts)

    @property
    def milliseconds(self) -> float:
        """In all."""
        return self.embed_ms + self.search_ms + self.rerank_ms

    def to_dicts(self) -> list[dict[str, Any]]:
        return [_row(hit) for hit in self.hits]

    def as_dict(self) -> dict[str, Any]:
        found = {
            "results": [hit_dict(hit) for hit in self.hits],
            "exact": self.exact, "complete": self.complete,
            "execution_time_ms": round(self.milliseconds, 3),
            "embed_ms": round(self.embed_ms, 3), "search_ms": round(self.search_ms, 3),
        }  # fmt: skip
        if self.partial:
            found |= {"partial": True, "missing_parts": list(self.missing_parts)}
        if self.corrected is not None:
            found["corrected"] = self.corrected
        if self.reranked is not None:
            found |= {"reranked": self.reranked, "rerank_ms": round(self.rerank_ms, 3)}
        if self.rerank_problem:
            found["rerank_problem"] = self.rerank_problem
        if self.total is not None:
            found["total"] = self.total
        if self.facets is not None:
            found["facets"] = {
                "scope": "filtered rows" if self.filtered else "all rows", "rows": self.facets.rows,
                "columns": {name: facet.as_dict() for name, facet in self.facets.columns.items()},
            }  # fmt: skip
        if self.advice is not None:
            found["advice"] = self.advice
        found["next"] = self.next
        return found


def _row(hit: Hit) -> dict[str, Any]:
    """A metadata column that is called `key` or `score` keeps its value under `metadata.key`."""
    own = {"key": hit.key, "score": hit.score}
    return {**own, **{f"metadata.{name}" if name in own else name: value for name, value in hit.metadata.items()}}


def hit_dict(hit: Hit) -> dict[str, Any]:
    found: dict[str, Any] = {"id": hit.key, "score": hit.score, "metadata": dict(hit.metadata)}
    if hit.passages:
        found["passages"] = [{**each._asdict(), "marks": [list(mark) for mark in each.marks]} for each in hit.passages]
    if hit.parts is not None:
        found["explain"] = dict(hit.parts)
    return found


@dataclass(frozen=True, slots=True)
class Setting:
    """What is fitted.

    Attributes:
        rerank: weight of the reranker; None where it is not asked.
    """

    ranking: Ranking
    rerank: float | None = None

    def changed(self, **values: Any) -> Setting:
        """With other weights of the ranking."""
        return replace(self, ranking=replace(self.ranking, **values))

    def as_dict(self) -> dict[str, Any]:
        """By the keys of `[pipelines.NAME.search]`."""
        found = {name: getattr(self.ranking, name) for name in FITTED}
        return found if self.rerank is None else found | {"rerank.weight": self.rerank}


@dataclass(frozen=True, slots=True)
class Fit:
    """Weights that suit the judgements, and what they are worth."""

    mode: Mode
    measure: str
    queries: int
    folds: int
    current: Setting
    proposed: Setting
    before: float
    """Mean of the measure with the current weights."""
    gain: Gain
    """On queries by which no weight was chosen."""
    not_fitted: Mapping[str, str]
    """Parts that have no weight to find, and why."""

    @property
    def changes(self) -> dict[str, Any]:
        """Keys of `[pipelines.NAME.search]` whose values would change; None for a key that would go."""
        old = self.current.as_dict()
        return {name: value for name, value in self.proposed.as_dict().items() if value != old[name]}

    @property
    def now(self) -> dict[str, Any]:
        """What those keys say now."""
        return {name: value for name, value in self.current.as_dict().items() if name in self.changes}

    @property
    def better(self) -> bool:
        """There are other weights, and their gain shows."""
        return bool(self.changes) and self.gain.shown

    def as_dict(self) -> dict[str, Any]:
        return {
            "mode": self.mode, "measure": self.measure, "queries": self.queries, "folds": self.folds,
            "before": self.before, "held_out": self.before + self.gain.mean, "gain": self.gain.mean,
            "interval": list(self.gain.interval), "better": self.better,
            "current": self.now, "proposed": self.changes,
            "not_fitted": dict(self.not_fitted),
        }  # fmt: skip
