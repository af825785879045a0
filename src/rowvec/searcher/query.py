"""A query, and what one generation has for it: the hits up to the end of the page, and all that is shown with them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Executor, wait
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from rowvec.filters import Facets, Filter
from rowvec.ranking import Ranking
from rowvec.searcher.candidates import Candidates, ends, fused, hits_of
from rowvec.searcher.found import Found
from rowvec.searcher.live import Live
from rowvec.searcher.paging import Bound, Origin
from rowvec.searcher.result import Mode
from rowvec.searcher.spelling import Reading
from rowvec.support.tracing import span
from rowvec.types import Hit, Key, Ranked, StoredText, Vector

DEEPER = 4
"""Where a page is not full, this many times as many rows are looked at."""


class _Deep(NamedTuple):
    """What was found when the search had looked deep enough."""

    vector: Vector | None
    """Of the query, where there was one."""
    embedded: float
    """When the query was embedded."""
    among: Candidates
    hits: list[Hit]
    """Up to the end of the page."""
    reach: int
    """The first ones, which a reranker is asked about."""
    whole: bool
    """There are no more hits."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for, and how.

    Attributes:
        top: hits that a reranker is asked about; 0 without one.
        texts: the texts of the hits are needed.
    """

    text: str
    mode: Mode
    where: Filter | None
    exact: bool
    ranking: Ranking
    bound: Bound
    limit: int
    top: int
    explain: bool
    texts: bool
    typos: bool
    prefix: bool

    def answered(self, live: Live, origin: Origin, beside: Executor) -> Found:
        """
        Args:
            beside: runs the keyword half of a hybrid search.
        """
        began, bound = time.perf_counter(), self.bound
        if bound.after is not None:
            bound.after.check(origin)
        facets = counted(live, bound, self.where) if bound.facets else None
        reading = Reading.plain(self.text)
        if self.typos or self.prefix:
            by_meaning = self.mode != "keyword"
            reading = live.speller.read(self.text, typos=self.typos, prefix=self.prefix, by_meaning=by_meaning)
        read = time.perf_counter()
        deep = self._deep_enough(live, reading, beside)
        texts = self._texts(live, deep) if self.texts else {}
        embed_ms, all_ms = 1000 * (deep.embedded - read), 1000 * (time.perf_counter() - began)
        return Found(
            deep.hits, deep.among, texts, live.rows.spec.language, embed_ms, all_ms - embed_ms, bound, origin, facets,
            deep.whole, reading, deep.reach,
        )  # fmt: skip

    def _texts(self, live: Live, deep: _Deep) -> Mapping[Key, StoredText]:
        """Of the page, and of all that a reranker reads: it may bring any of those onto a page that begins among
        them."""
        start = self.bound.first(deep.hits)
        read = deep.hits[: deep.reach + self.limit if start < deep.reach else deep.reach]
        shown = deep.hits[start : start + self.limit]
        keys = list(dict.fromkeys(hit.key for hit in [*read, *shown]))
        return live.rows.texts(keys, deep.vector) if keys else {}

    def _deep_enough(self, live: Live, reading: Reading, beside: Executor) -> _Deep:
        """Rows of a value that a better hit has, and rows that came since the page before, make it look deeper."""
        bound, vector, embedded, values = self.bound, None, None, None
        # Where a reranker puts the hit that a cursor names is not known yet: among the first `top`, if it is there.
        least = self.top if bound.after is not None else 0
        many = max(max(bound.start, least) + self.limit, self.top)
        while True:
            depth = ends(many)[-1] if self.mode == "hybrid" or self.ranking.reorders else many
            vector, made, found = self._candidates(live, reading, vector, depth, beside)
            embedded = made if embedded is None else embedded
            ranked = hits_of(live.rows, found, many, self.ranking, self.explain)
            hits, reach = bound.one_each(ranked), len(bound.one_each(ranked[: self.top]))
            whole = found.ended and len(found.scores) <= many
            full = len(hits) >= max(bound.first(hits), min(least, reach)) + self.limit
            if bound.distinct is not None and not whole and not full:
                # Where every value has its hit, the other rows need not be looked at.
                values = bound.values(live.rows, self.where) if values is None else values
                whole = len(hits) >= values
            if whole or full or not bound.looks_deeper:
                return _Deep(vector, embedded, found, hits, reach, whole)
            many = depth * DEEPER

    def _candidates(
        self, live: Live, reading: Reading, vector: Vector | None, depth: int, beside: Executor
    ) -> tuple[Vector | None, float, Candidates]:
        """The query's vector, when there was one, and what is found."""
        if self.mode == "hybrid":
            return self._both_halves(live, reading, vector, depth, beside)
        if self.mode == "keyword":
            embedded = time.perf_counter()
            return None, embedded, Candidates.alone(self._by_words(live, reading, depth), "keyword", depth)
        vector = _embedded(live, reading) if vector is None else vector
        embedded = time.perf_counter()
        return vector, embedded, Candidates.alone(self._by_meaning(live, vector, depth), "semantic", depth)

    def _both_halves(
        self, live: Live, reading: Reading, vector: Vector | None, depth: int, beside: Executor
    ) -> tuple[Vector, float, Candidates]:
        """The same for both halves, side by side."""
        by_words = partial(self._by_words, live, reading, depth)
        other = beside.submit(copy_context().run, by_words)
        try:
            vector = _embedded(live, reading) if vector is None else vector
            embedded = time.perf_counter()
            semantic = self._by_meaning(live, vector, depth)
        finally:
            # Nothing of a search works on after its end, and what no thread has begun is done in this one.
            if not other.cancel():
                wait([other])
        keyword = by_words() if other.cancelled() else other.result()
        with span("rowvec.fuse"):
            return vector, embedded, fused(live.rows, vector, semantic, keyword, depth, self.ranking)

    def _by_meaning(self, live: Live, vector: Vector, depth: int) -> Ranked:
        with span("rowvec.semantic"):
            return live.rows.nearest(vector, depth, self.where, exact=self.exact)

    def _by_words(self, live: Live, reading: Reading, depth: int) -> Ranked:
        with span("rowvec.keyword"):
            if reading.last is None:
                return live.rows.keyword(reading.words, depth, self.where)
            return live.rows.keyword(reading.words, depth, self.where, last=reading.last)


def _embedded(live: Live, reading: Reading) -> Vector:
    with span("rowvec.embed", {"rowvec.texts": 1}):
        return live.embedder.embed_query(reading.text)


def counted(live: Live, bound: Bound, where: Filter | None) -> Facets:
    with span("rowvec.facets"):
        return live.rows.facets(bound.facets, where, most=bound.facet_limit)
