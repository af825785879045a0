"""From a query to hits: semantic, keyword, hybrid, and similar to a row."""

from __future__ import annotations

import datetime as dt
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Literal

from rowvec.embedders.base import Embedder
from rowvec.errors import SearchError, StoreError, StoreUnavailable
from rowvec.filters import Filter
from rowvec.generations.lifecycle import live_embedder, live_rows, words
from rowvec.pipeline import Pipeline
from rowvec.ranking import Ranking, fuse_convex, fuse_rrf
from rowvec.snippets import Asked, passages
from rowvec.stores.base import GenerationHandle, Ledger, Store, TableSpec
from rowvec.support.tables import Tabular
from rowvec.types import Fingerprint, Hit, Key, Ranked, Vector

Mode = Literal["semantic", "keyword", "hybrid"]

MAX_LIMIT = 1000
MAX_QUERY = 10_000
"""Characters."""
DEPTH = 200
"""So many candidates of each kind are fused."""
MAX_PASSAGES = 20
"""Of a hit."""
MOST_SWAPS = 5
"""A query is answered anew so often because another generation went live meanwhile."""
BESIDE = 16
"""Keyword halves that run beside their semantic halves at once; further ones run after them."""


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

    def to_dicts(self) -> list[dict[str, Any]]:
        return [_row(hit) for hit in self.hits]

    def as_dict(self) -> dict[str, Any]:
        return {
            "results": [hit_dict(hit) for hit in self.hits],
            "exact": self.exact, "complete": self.complete,
            "execution_time_ms": round(self.embed_ms + self.search_ms, 3),
            "embed_ms": round(self.embed_ms, 3), "search_ms": round(self.search_ms, 3),
        }  # fmt: skip


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
class _Live:
    """The generation that searches see."""

    version: str
    embedder: Embedder
    rows: GenerationHandle


@dataclass(slots=True)
class Searcher:
    """Answers queries for one pipeline. Safe to use from several threads.

    Queries are embedded by the model of the live generation, whatever the config says. An answer goes out only if the
    same generation was live from the first look to the last: otherwise the query is answered again.

    Args:
        former: the model of a generation that `embedder` did not make.
    """

    store: Store
    embedder: Embedder
    spec: TableSpec
    ranking: Ranking = field(default_factory=Ranking)
    former: Callable[[Ledger], Embedder] | None = None
    _live: _Live | None = field(default=None, init=False, repr=False)
    _formers: dict[Fingerprint, Embedder] = field(default_factory=dict, init=False, repr=False)
    _looking: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _beside: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(BESIDE, thread_name_prefix="rowvec-keyword"), init=False, repr=False
    )

    @classmethod
    def of(cls, pipeline: Pipeline) -> Searcher:
        """The searcher of a pipeline, checked."""
        former = partial(live_embedder, pipeline)
        searcher = cls(pipeline.store, pipeline.embedder, pipeline.spec, pipeline.ranking, former)
        searcher.check()
        return searcher

    @property
    def current(self) -> Embedder:
        """What embeds the queries, as far as is known."""
        return self._live.embedder if self._live else self.embedder

    @property
    def rows(self) -> GenerationHandle:
        """The generation that searches see, as far as is known. Raises as `check` does where none is."""
        return (self._live or self._look_again(None)).rows

    def check(self) -> None:
        """Raises StoreError unless there are vectors, EmbedderError unless there is the model that made them."""
        with self._looking:
            self._live = self._look()

    def _look(self) -> _Live:
        ledger, rows = live_rows(self.store, self.spec)
        made, embedder = rows.spec.fingerprint, self.embedder
        if made is not None and made.of_model != embedder.fingerprint:
            embedder = self._former(made, ledger)
        return _Live(ledger.version, embedder, rows)

    def _former(self, made: Fingerprint | None, ledger: Ledger) -> Embedder:
        assert made is not None
        if made not in self._formers:
            if self.former is None:
                raise SearchError(
                    f"The vectors in {self.store.location} were made by {words(made)}, not by"
                    f" {words(self.embedder.fingerprint)}: comparing them would mean nothing.",
                    hint="Run `rowvec sync` to embed the rows with the new model, or set the old one in rowvec.toml.",
                )
            self._formers[made] = self.former(ledger)
        return self._formers[made]

    def _on_one_generation(self, answer: Callable[[_Live], SearchResult]) -> SearchResult:
        """An answer whose parts are all of the generation that its query was embedded for.

        Raises:
            StoreUnavailable: generations change places all the time.
        """
        live = self._live or self._look_again(None)
        for _ in range(MOST_SWAPS):
            try:
                found = answer(live)
            except StoreError:
                # Tables may be gone, or have other columns, because another generation is live now.
                if self.store.live_version() == live.version:
                    raise
            else:
                if self.store.live_version() == live.version:
                    return found
            live = self._look_again(live)
        raise StoreUnavailable(f"The generations of {self.store.location} are swapped too often to be searched.")

    def _look_again(self, seen: _Live | None) -> _Live:
        with self._looking:
            # One of several searches that noticed does it for all.
            if self._live is None or self._live is seen:
                self._live = self._look()
            return self._live

    def search(
        self,
        query: str,
        *,
        mode: Mode = "semantic",
        limit: int = 10,
        where: Filter | None = None,
        explain: bool = False,
        exact: bool = False,
        passages: int = 0,
        ranking: Ranking | None = None,
    ) -> SearchResult:
        """The best `limit` rows for `query`.

        Args:
            where: a filter bound to the metadata columns (see filters.bind).
            explain: give each hit the parts of its score.
            exact: compare every row instead of asking an approximate index.
            passages: give each hit up to so many parts of its text that answer the query, the best first.
            ranking: another way to put scores together than the pipeline's.

        Raises:
            SearchError: an empty or overlong query, a limit out of bounds, no keyword index.
            StoreUnavailable: the database does not answer. StoreError: there are no vectors.
        """
        _check_query(query, limit)
        _check_passages(passages)
        chosen = ranking or self.ranking

        depth = max(DEPTH, limit) if mode == "hybrid" or chosen.reorders else limit

        def answer(live: _Live) -> SearchResult:
            began = time.perf_counter()
            vector = None
            if mode == "hybrid":
                by_words = partial(live.rows.keyword, query, depth, where)
                beside = self._beside.submit(copy_context().run, by_words)
                try:
                    vector, embedded = live.embedder.embed_query(query), time.perf_counter()
                    semantic = live.rows.nearest(vector, depth, where, exact=exact)
                finally:
                    # Nothing of a search works on after its end, and what no thread has begun is done in this one.
                    if not beside.cancel():
                        wait([beside])
                keyword = by_words() if beside.cancelled() else beside.result()
                found = _fused(live.rows, vector, semantic, keyword, limit, chosen)
            elif mode == "keyword":
                embedded = began
                found = _Candidates.alone(live.rows.keyword(query, depth, where), mode)
            else:
                vector, embedded = live.embedder.embed_query(query), time.perf_counter()
                found = _Candidates.alone(live.rows.nearest(vector, depth, where, exact=exact), mode)
            hits = _hits(live.rows, found, limit, chosen, explain)
            if passages:
                hits = _with_passages(live.rows, hits, found, query, vector, passages)
            done = time.perf_counter()
            return SearchResult(hits, found.exact, found.complete, 1000 * (embedded - began), 1000 * (done - embedded))

        return self._on_one_generation(answer)

    def similar(
        self, key: Key, *, limit: int = 10, where: Filter | None = None, explain: bool = False, passages: int = 0
    ) -> SearchResult:
        """The rows nearest to the row `key`, itself left out.

        Args:
            passages: give each hit up to so many of its passages, those nearest to the row first.

        Raises:
            SearchError: there is no vector for that key.
        """
        _check_limit(limit)
        _check_passages(passages)

        def answer(live: _Live) -> SearchResult:
            began = time.perf_counter()
            vector = live.rows.vector(key)
            if vector is None:
                raise SearchError(
                    f"There is no vector for the key {key!r} in {self.store.location}.",
                    hint="Is the row there? `rowvec sync` embeds it, `rowvec failures` says why it could not.",
                )
            depth = max(DEPTH, limit) if self.ranking.reorders else limit
            ranked = live.rows.nearest(vector, depth + 1, where)
            found = _Candidates.alone(ranked, "semantic", without=key)
            hits = _hits(live.rows, found, limit, self.ranking, explain)
            if passages:
                hits = _with_passages(live.rows, hits, found, "", vector, passages)
            return SearchResult(hits, found.exact, found.complete, 0.0, 1000 * (time.perf_counter() - began))

        return self._on_one_generation(answer)


@dataclass(frozen=True, slots=True)
class _Candidates:
    scores: Mapping[Key, float]
    semantic: Mapping[Key, float]
    keyword: Mapping[Key, float]
    exact: bool
    complete: bool
    by_words: frozenset[Key] = frozenset()
    """Rows that only their words found."""
    first: int = DEPTH
    """The first ones of `scores` are ranked among each other, and the others after them: whoever asks for a thousand
    sees the same ten first as whoever asks for ten."""

    @classmethod
    def alone(cls, ranked: Ranked, mode: Mode, without: Key | None = None) -> _Candidates:
        """Those that one half found."""
        scores = _scores(ranked)
        if without is not None:
            scores.pop(without, None)
        semantic, keyword = (scores, {}) if mode == "semantic" else ({}, scores)
        return cls(scores, semantic, keyword, ranked.exact, ranked.complete, by_words=frozenset(keyword))


def _fused(
    rows: GenerationHandle, vector: Vector, semantic: Ranked, keyword: Ranked, limit: int, ranking: Ranking
) -> _Candidates:
    s, k = _scores(semantic), _scores(keyword)
    by_words = frozenset(k.keys() - s.keys())
    best_s, best_k = dict(islice(s.items(), DEPTH)), dict(islice(k.items(), DEPTH))
    if ranking.fusion == "convex":
        # A row that only its words found has a similarity too: without it, it would count as unrelated.
        s |= rows.similarities(vector, [key for key in k if key not in s])
        best_s |= {key: s[key] for key in best_k if key in s}
    fused = _fuse(best_s, best_k, ranking)
    first = len(fused)
    if limit > DEPTH:
        fused |= {key: score for key, score in _fuse(s, k, ranking).items() if key not in fused}
    return _Candidates(fused, s, k, semantic.exact, semantic.complete, by_words, first)


def _fuse(semantic: Mapping[Key, float], keyword: Mapping[Key, float], ranking: Ranking) -> dict[Key, float]:
    if ranking.fusion == "rrf":
        return fuse_rrf(semantic, keyword)
    return fuse_convex(semantic, keyword, ranking.semantic_weight)


def _hits(rows: GenerationHandle, found: _Candidates, limit: int, ranking: Ranking, explain: bool) -> list[Hit]:
    now = dt.datetime.now(dt.UTC)
    keys = list(found.scores)
    hits: list[Hit] = []
    for among in (keys[: found.first], keys[found.first :]):
        lowest = hits[-1].score if hits else math.inf
        among.sort(key=lambda key: -found.scores[key])
        # Where nothing reorders them, the values of those that are not shown are not read.
        step = len(among) if ranking.reorders else limit
        ranked: list[Hit] = []
        for start in range(0, len(among), max(step, 1)):
            if len(hits) + len(ranked) >= limit:
                break
            part = among[start : start + step]
            metadata = rows.metadata(part)
            # One that is missing was deleted between the two statements.
            ranked += [
                _hit(key, metadata[key], found, ranking, now, lowest, explain) for key in part if key in metadata
            ]
        hits += sorted(ranked, key=lambda hit: -hit.score)
    return hits[:limit]


def _hit(
    key: Key, values: Mapping[str, Any], found: _Candidates, ranking: Ranking, now: dt.datetime, most: float,
    explain: bool,
) -> Hit:  # fmt: skip
    score = found.scores[key]
    static = ranking.static_score(values)
    decay = ranking.decay_factor(values, now)
    final = min((score + ranking.static_weight * (static or 0.0)) * (1.0 if decay is None else decay), most)
    parts = {
        "semantic": found.semantic.get(key), "keyword": found.keyword.get(key), "fused": score,
        "static": static, "decay": decay, "final": final,
    }  # fmt: skip
    return Hit(key, final, values, parts if explain else None)


def _with_passages(
    rows: GenerationHandle, hits: list[Hit], found: _Candidates, query: str, vector: Vector | None, most: int
) -> list[Hit]:
    texts = rows.texts([hit.key for hit in hits], vector)
    asked = Asked.of(query, rows.spec.language)
    shown = []
    for hit in hits:
        text = texts.get(hit.key)
        if text is not None:
            by_words, score = hit.key in found.by_words, found.semantic.get(hit.key)
            hit = hit._replace(passages=passages(text, asked, most, score=score, by_words=by_words))
        shown.append(hit)
    return shown


def _scores(ranked: Ranked) -> dict[Key, float]:
    return dict(zip(ranked.keys, ranked.scores, strict=True))


def _check_query(query: str, limit: int) -> None:
    if not query.strip():
        raise SearchError("The query is empty.", hint="Say in a few words what you look for.")
    if len(query) > MAX_QUERY:
        raise SearchError(f"The query has {len(query):,} characters; {MAX_QUERY:,} are the most.")
    _check_limit(limit)


def _check_passages(passages: int) -> None:
    if not 0 <= passages <= MAX_PASSAGES:
        raise SearchError(f"passages is {passages:,}; it must be between 0 and {MAX_PASSAGES}.")


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise SearchError(f"The limit is {limit:,}; it must be between 1 and {MAX_LIMIT:,}.")
