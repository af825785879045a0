"""A query, and what one generation has for it: the hits up to the end of the page, and all that is shown with them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import NamedTuple

from rowvec.answers import Mode
from rowvec.filters import Facets, Filter
from rowvec.ranking import Ranking
from rowvec.searcher.candidates import DEPTH, Block, Candidates, blocks_of, ends, fused, hits_of
from rowvec.searcher.found import Found
from rowvec.searcher.live import Live
from rowvec.searcher.paging import Bound, Origin
from rowvec.searcher.result import MAX_LIMIT
from rowvec.searcher.snippets import Asked
from rowvec.searcher.spelling import Reading
from rowvec.searcher.within import Within
from rowvec.support.tracing import span
from rowvec.types import Hit, Key, Ranked, StoredText, Vector

AHEAD, LEAST, LEAST_TO_FILTER = 2, 40, 27
"""Of a first page of both halves, this many times as many rows are found by meaning: a few may be gone by then. And no
fewer than that, so that an approximate index looks far enough: with an effort of 10 it missed 3 in 1,000 hits of 263
queries for products by 20 rows, 1 or 2 by 40, and none more by 200 than by 80. With a filter a store asks its index for
three times as many."""
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
            bound.after.check(origin, live.rows)
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
            deep.whole, reading, deep.reach, 0 if deep.among.exact else self._first,
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
            vector, made, found = self._candidates(live, reading, vector, many, beside)
            embedded = made if embedded is None else embedded
            if self.ranking.title is not None and (self.ranking.title_weight or self.explain):
                found = replace(found, asked=Asked.of(reading.text, live.rows.spec.language))
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
            many = self._blocks(many)[-1] * DEEPER

    def _blocks(self, many: int) -> list[int]:
        """Where blocks of candidates end that are ranked among each other, up to `many` or beyond.

        Every page of a query has the same blocks, so that each row has one place, whatever page it is looked for.
        """
        if self.mode == "hybrid" or self.ranking.reorders or self.bound.distinct is not None:
            return ends(many)
        return ends(many, self._first) if self._first else [many]

    @property
    def _first(self) -> int:
        """Rows that the first page looked at; 0 where it compared all."""
        after = self.bound.after
        # Anybody can make a cursor.
        return max(self.limit, self.top) if after is None else min(max(after.first, 0), MAX_LIMIT)

    def _candidates(
        self, live: Live, reading: Reading, vector: Vector | None, many: int, beside: Executor
    ) -> tuple[Vector | None, float, Candidates]:
        """The query's vector, when there was one, and what is found."""
        if self.mode == "hybrid":
            return self._both_halves(live, reading, vector, many, beside)
        blocks = self._blocks(many)
        depth = blocks[-1]
        if self.mode == "keyword":
            embedded = time.perf_counter()
            return None, embedded, Candidates.alone(self._by_words(live, reading, depth), "keyword", depth)
        vector = _embedded(live, reading) if vector is None else vector
        embedded = time.perf_counter()
        found = self._by_meaning(live, vector, blocks)
        return vector, embedded, Candidates.alone(found, "semantic", depth, blocks=() if found.exact else blocks)

    def _both_halves(
        self, live: Live, reading: Reading, vector: Vector | None, many: int, beside: Executor
    ) -> tuple[Vector, float, Candidates]:
        """The same for both halves, side by side."""
        blocks, embedding = self._blocks_of_both(live, many), Future[Vector]()
        depth = blocks[-1].keyword

        def by_words() -> tuple[Ranked, Mapping[Key, float] | None]:
            found = self._by_words(live, reading, depth)
            if self.ranking.fusion != "convex":
                return found, None
            # While the other half searches: after it, everybody would wait for this.
            return found, live.rows.similarities(embedding.result(), found.keys) if found.keys else {}

        other = beside.submit(copy_context().run, by_words)
        try:
            vector = _embedded(live, reading) if vector is None else vector
            embedding.set_result(vector)
            embedded = time.perf_counter()
            semantic = self._by_meaning(live, vector, [block.semantic for block in blocks])
            # Asked for while the other half may still search.
            typical = live.rows.typical(vector) if self.ranking.fusion == "convex" else None
            if blocks[0].semantic < DEPTH and not _stands_out(semantic, typical):
                blocks = blocks_of(ends(many)[-1])
                semantic = self._by_meaning(live, vector, [block.semantic for block in blocks])
        finally:
            # Nothing of a search works on after its end, and what no thread has begun is done in this one.
            embedding.cancel()
            if not other.cancel():
                wait([other])
        keyword, near = by_words() if other.cancelled() else other.result()
        with span("rowvec.fuse"):
            return vector, embedded, fused(live.rows, vector, semantic, keyword, blocks, self.ranking, near, typical)

    def _blocks_of_both(self, live: Live, many: int) -> list[Block]:
        """Of a first page, few rows by meaning are needed beside those that words found.

        A row that only meaning finds comes after all that are nearer, whatever words add to those: the best ten rows
        of both halves are among the ten nearest and those that words found, whose similarities are asked for. This is
        where Fagin's threshold algorithm would stop ("Optimal aggregation algorithms for middleware", 2003). Every
        further page has those of the first one in their place: an index that looks deeper may find nearer ones.
        """
        all_, first = blocks_of(ends(many)[-1]), self._first
        filtered = self.where is not None or isinstance(live.rows, Within)
        ahead = max(AHEAD * first, LEAST_TO_FILTER if filtered else LEAST)
        if (
            self.ranking.fusion != "convex" or self.ranking.reorders or self.bound.distinct is not None or self.exact
            # Of a row that only words found, the passage that is shown is chosen by them.
            or live.rows.spec.has_passages or not first or ahead >= DEPTH
        ):  # fmt: skip
            return all_
        if many <= first and not self.explain:
            return [Block(ahead, DEPTH)]
        return [Block(ahead, DEPTH, first), *all_]

    def _by_meaning(self, live: Live, vector: Vector, blocks: Sequence[int]) -> Ranked:
        """Block after block, each with the nearest first.

        An approximate index that is asked for more rows looks at more of them, and may find near ones that it has
        missed before. They belong to the block in which they come up: to one before it would be to no page at all.
        """
        with span("rowvec.semantic"):
            found = live.rows.nearest(vector, blocks[-1], self.where, exact=self.exact)
            if self.exact or len(blocks) == 1:
                return found
            before = live.rows.nearest(vector, blocks[0], self.where)
            if before.exact:
                return found
            between = [live.rows.nearest(vector, end, self.where) for end in blocks[1:-1]]
            scores = dict[Key, float]()
            for ranked in (before, *between, found):
                for key, score in zip(ranked.keys, ranked.scores, strict=True):
                    scores.setdefault(key, score)
            return found._replace(keys=list(scores), scores=list(scores.values()), exact=False)

    def _by_words(self, live: Live, reading: Reading, depth: int) -> Ranked:
        with span("rowvec.keyword"):
            if reading.last is None:
                return live.rows.keyword(reading.words, depth, self.where)
            return live.rows.keyword(reading.words, depth, self.where, last=reading.last)


def _stands_out(semantic: Ranked, typical: float | None) -> bool:
    """The best row is nearer than rows are on average: then scores count from there, however many rows are found."""
    return not semantic.scores or (typical is not None and semantic.scores[0] > typical)


def _embedded(live: Live, reading: Reading) -> Vector:
    with span("rowvec.embed", {"rowvec.texts": 1}):
        return live.embedder.embed_query(reading.text)


def counted(live: Live, bound: Bound, where: Filter | None) -> Facets:
    with span("rowvec.facets"):
        return live.rows.facets(bound.facets, where, most=bound.facet_limit)
