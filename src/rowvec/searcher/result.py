"""What a search is asked, within its limits, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rowvec.errors import SearchError
from rowvec.filters import Facets, Filter
from rowvec.filters import advice as advice_on
from rowvec.support.tables import Tabular
from rowvec.types import Hit

Mode = Literal["semantic", "keyword", "hybrid"]

MAX_LIMIT = 1000
MAX_QUERY = 10_000
"""Characters."""
MAX_PASSAGES = 20
"""Of a hit."""
MAX_TEXTS = 1_000
"""Rows whose texts one request asks for."""


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


def without_parts(result: SearchResult, missing: Sequence[int]) -> SearchResult:
    """
    Args:
        missing: numbers, from 1 on, of the parts of the store that the result is without.
    """
    return replace(result, exact=False, complete=False, missing_parts=tuple(missing)) if missing else result


def advised(result: SearchResult, where: Filter | None) -> SearchResult:
    """With advice, unless rows pass the filter, or may do so in parts of the store that did not answer."""
    return result if result.hits or result.total or result.partial else replace(result, advice=advice_on(where))


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


def check_query(query: str, limit: int) -> None:
    if not query.strip():
        raise SearchError("The query is empty.", hint="Say in a few words what you look for.")
    if len(query) > MAX_QUERY:
        raise SearchError(f"The query has {len(query):,} characters; {MAX_QUERY:,} are the most.")
    check_limit(limit)


def check_passages(passages: int) -> None:
    if not 0 <= passages <= MAX_PASSAGES:
        raise SearchError(f"passages is {passages:,}; it must be between 0 and {MAX_PASSAGES}.")


def check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise SearchError(f"The limit is {limit:,}; it must be between 1 and {MAX_LIMIT:,}.")
