"""From a query to hits: semantic, keyword, hybrid, and similar to a row."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rowvec.embedders.base import Embedder
from rowvec.errors import SearchError
from rowvec.filters import Filter
from rowvec.ranking import Ranking, fuse_convex, fuse_rrf
from rowvec.stores.base import Store, TableSpec
from rowvec.stream import Pipeline
from rowvec.types import Hit, Key, Ranked, Vector

Mode = Literal["semantic", "keyword", "hybrid"]

MAX_LIMIT = 1000
MAX_QUERY = 10_000
"""Characters."""
DEPTH = 200
"""So many candidates of each kind are fused."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    hits: Sequence[Hit]
    exact: bool
    """Every matching row was compared; False when an approximate index answered."""
    complete: bool
    """There are as many hits as were asked for, or as there are matching rows."""
    embed_ms: float = 0.0
    search_ms: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "results": [hit_dict(hit) for hit in self.hits],
            "exact": self.exact, "complete": self.complete,
            "execution_time_ms": round(self.embed_ms + self.search_ms, 3),
            "embed_ms": round(self.embed_ms, 3), "search_ms": round(self.search_ms, 3),
        }  # fmt: skip


def hit_dict(hit: Hit) -> dict[str, Any]:
    found: dict[str, Any] = {"id": hit.key, "score": hit.score, "metadata": dict(hit.metadata)}
    return found if hit.parts is None else {**found, "explain": dict(hit.parts)}


@dataclass(slots=True)
class Searcher:
    """Answers queries for one pipeline. Safe to use from several threads.

    The embedder must be the one that made the store's vectors; `check` makes sure.
    """

    store: Store
    embedder: Embedder
    spec: TableSpec
    ranking: Ranking = field(default_factory=Ranking)

    @classmethod
    def of(cls, pipeline: Pipeline) -> Searcher:
        """The searcher of a pipeline, checked."""
        searcher = cls(pipeline.store, pipeline.embedder, pipeline.spec, pipeline.ranking)
        searcher.check()
        return searcher

    def check(self) -> None:
        """Raises SearchError unless there are vectors, made by the model that embeds the queries."""
        ledger = self.store.ledger()
        if not ledger.exists:
            raise SearchError(f"{self.store.where} does not exist yet.", hint="Run `rowvec sync` first.")
        if ledger.fingerprint is not None and ledger.fingerprint != self.embedder.fingerprint:
            raise SearchError(
                f"The vectors in {self.store.where} were made by {ledger.fingerprint.model}, not by the configured"
                f" {self.embedder.fingerprint.model}: comparing them would mean nothing.",
                hint="Run `rowvec sync` to embed the rows with the new model, or set the old one in rowvec.toml.",
            )
        self.store.attach(self.spec)

    def search(
        self,
        query: str,
        *,
        mode: Mode = "semantic",
        limit: int = 10,
        where: Filter | None = None,
        explain: bool = False,
        exact: bool = False,
        ranking: Ranking | None = None,
    ) -> SearchResult:
        """The best `limit` rows for `query`.

        Args:
            where: a filter bound to the metadata columns (see filters.bind).
            explain: give each hit the parts of its score.
            exact: compare every row instead of asking an approximate index.
            ranking: another way to put scores together than the pipeline's.

        Raises:
            SearchError: an empty or overlong query, a limit out of bounds, no keyword index.
            StoreUnavailable: the database does not answer.
        """
        _check_query(query, limit)
        ranking = ranking or self.ranking
        began = time.perf_counter()
        vector = None if mode == "keyword" else self.embedder.embed_query(query)
        embedded = time.perf_counter()
        found = self._candidates(query, vector, mode, limit, where, exact, ranking)
        hits = self._hits(found, limit, ranking, explain)
        done = time.perf_counter()
        return SearchResult(hits, found.exact, found.complete, 1000 * (embedded - began), 1000 * (done - embedded))

    def similar(self, key: Key, *, limit: int = 10, where: Filter | None = None, explain: bool = False) -> SearchResult:
        """The rows nearest to the row `key`, itself left out.

        Raises:
            SearchError: there is no vector for that key.
        """
        _check_limit(limit)
        began = time.perf_counter()
        vector = self.store.vector(key)
        if vector is None:
            raise SearchError(f"There is no vector for the key {key!r} in {self.store.where}.")
        ranked = self.store.nearest(vector, limit + 1, where)
        scores = {k: s for k, s in zip(ranked.keys, ranked.scores, strict=True) if k != key}
        found = _Candidates(scores, scores, {}, ranked.exact, ranked.complete)
        hits = self._hits(found, limit, self.ranking, explain)
        return SearchResult(hits, found.exact, found.complete, 0.0, 1000 * (time.perf_counter() - began))

    def _candidates(
        self,
        query: str,
        vector: Vector | None,
        mode: Mode,
        limit: int,
        where: Filter | None,
        exact: bool,
        ranking: Ranking,
    ) -> _Candidates:
        depth = max(DEPTH, limit) if mode == "hybrid" or ranking.reorders else limit
        semantic = self.store.nearest(vector, depth, where, exact=exact) if vector is not None else None
        keyword = self.store.keyword(query, depth, where) if mode != "semantic" else None
        if keyword is None or semantic is None:
            one = semantic or keyword
            assert one is not None
            scores = dict(zip(one.keys, one.scores, strict=True))
            return _Candidates(scores, scores if semantic else {}, scores if keyword else {}, one.exact, one.complete)
        s, k = _scores(semantic), _scores(keyword)
        fused = fuse_convex(s, k, ranking.semantic_weight) if ranking.fusion == "convex" else fuse_rrf(s, k)
        return _Candidates(fused, s, k, semantic.exact, semantic.complete)

    def _hits(self, found: _Candidates, limit: int, ranking: Ranking, explain: bool) -> list[Hit]:
        metadata = self.store.metadata(list(found.scores))
        now = dt.datetime.now(dt.UTC)
        hits = []
        for key, score in found.scores.items():
            values = metadata.get(key)
            if values is None:
                continue  # Deleted between the two statements.
            static = ranking.static_score(values)
            decay = ranking.decay_factor(values, now)
            final = (score + ranking.static_weight * (static or 0.0)) * (1.0 if decay is None else decay)
            parts = {
                "semantic": found.semantic.get(key), "keyword": found.keyword.get(key), "fused": score,
                "static": static, "decay": decay, "final": final,
            }  # fmt: skip
            hits.append(Hit(key, final, values, parts if explain else None))
        hits.sort(key=lambda hit: -hit.score)
        return hits[:limit]


@dataclass(frozen=True, slots=True)
class _Candidates:
    scores: Mapping[Key, float]
    semantic: Mapping[Key, float]
    keyword: Mapping[Key, float]
    exact: bool
    complete: bool


def _scores(ranked: Ranked) -> dict[Key, float]:
    return dict(zip(ranked.keys, ranked.scores, strict=True))


def _check_query(query: str, limit: int) -> None:
    if not query.strip():
        raise SearchError("The query is empty.", hint="Say in a few words what you look for.")
    if len(query) > MAX_QUERY:
        raise SearchError(f"The query has {len(query):,} characters; {MAX_QUERY:,} are the most.")
    _check_limit(limit)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise SearchError(f"The limit is {limit:,}; it must be between 1 and {MAX_LIMIT:,}.")
