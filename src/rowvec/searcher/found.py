"""What one generation has for a query, and the answer that comes of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rowvec.answers import SearchResult
from rowvec.filters import Facets
from rowvec.ranking import Ranking
from rowvec.rerankers.base import Reranker
from rowvec.searcher.candidates import Candidates
from rowvec.searcher.paging import Bound, Origin
from rowvec.searcher.reranked import reranked
from rowvec.searcher.snippets import Asked, passages_of
from rowvec.searcher.spelling import NONE, Reading
from rowvec.support.tracing import span
from rowvec.types import Hit, Key, StoredText


@dataclass(frozen=True, slots=True)
class Found:
    """Nothing of a store is asked for afterwards."""

    hits: list[Hit]
    """Up to the end of the page."""
    among: Candidates
    texts: Mapping[Key, StoredText]
    language: str | None
    embed_ms: float
    search_ms: float
    bound: Bound | None = None
    """None where there is one page only."""
    origin: Origin | None = None
    facets: Facets | None = None
    whole: bool = False
    """There are no more hits than these."""
    query: Reading = NONE
    reach: int = 0
    """The first hits, which a reranker is asked about: the same ones whatever page is shown."""
    first: int = 0
    """Rows that the first page looked at; 0 where all were compared."""

    def page(self, hits: Sequence[Hit], limit: int) -> tuple[list[Hit], str | None]:
        """The hits to show, and the cursor of those after them."""
        if self.bound is None or self.origin is None:
            return list(hits[:limit]), None
        start = self.bound.first(hits)
        shown = list(hits[start : start + limit])
        if len(shown) < limit or (self.whole and start + limit >= len(hits)):
            return shown, None
        return shown, self.bound.next_hit(self.origin, start + limit, self.first, shown[-1])


def with_passages(
    hits: Sequence[Hit], texts: Mapping[Key, StoredText], asked: Asked, most: int, among: Candidates | None = None
) -> list[Hit]:
    semantic, by_words = (among.semantic, among.by_words) if among else ({}, frozenset())
    return [
        hit._replace(
            passages=passages_of(
                texts[hit.key], asked, most, score=semantic.get(hit.key), by_words=hit.key in by_words
            )
        ) if hit.key in texts else hit
        for hit in hits
    ]  # fmt: skip


def finished(found: Found, limit: int, passages: int, reranker: Reranker | None, ranking: Ranking) -> SearchResult:
    began, hits, done, problem, rerank_ms = time.perf_counter(), found.hits, None, "", 0.0
    query = found.query.text
    asked = Asked.of(query, found.language) if passages or reranker else None
    if reranker is not None and asked is not None:
        with span("rowvec.rerank") as traced:
            hits, problem = reranked(reranker, query, hits, found.reach, found.among, found.texts, asked, ranking)
            done = not problem
            traced.note({"rowvec.reranked": done})
        rerank_ms = 1000 * (time.perf_counter() - began)
    hits, more = found.page(hits, limit)
    if passages and asked is not None:
        hits = with_passages(hits, found.texts, asked, passages, found.among)
    search_ms = found.search_ms + 1000 * (time.perf_counter() - began) - rerank_ms
    return SearchResult(
        hits, found.among.exact, found.among.complete, found.embed_ms, search_ms, done, rerank_ms, problem,
        corrected=found.query.corrected,
        facets=found.facets, total=found.facets.rows if found.facets else None,
        filtered=found.origin is not None and found.origin.where is not None, next=more,
    )  # fmt: skip
