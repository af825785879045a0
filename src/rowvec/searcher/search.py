"""From a query to hits: semantic, keyword, hybrid, and similar to a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from rowvec.embedders.base import Embedder
from rowvec.errors import SearchError, StoreError, StoreUnavailable
from rowvec.filters import Filter
from rowvec.generations.lifecycle import live_embedder, live_rows, words
from rowvec.pipeline import Pipeline
from rowvec.ranking import Ranking
from rowvec.rerankers.base import Reranker
from rowvec.searcher.candidates import DEPTH, Candidates, fused, hits_of
from rowvec.searcher.reranked import reranked
from rowvec.searcher.result import Mode, SearchResult, check_limit, check_passages, check_query
from rowvec.searcher.snippets import Asked, passages_of
from rowvec.searcher.spelling import Reading, Speller
from rowvec.stores.base import GenerationHandle, Ledger, Store, TableSpec
from rowvec.types import Fingerprint, Hit, Key, Ranked, StoredText, Vector

MOST_SWAPS = 5
"""A query is answered again up to this many times because another generation went live meanwhile."""
BESIDE = 16
"""Keyword halves that run beside their semantic halves at once; further ones run after them."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Live:
    """The generation that searches see."""

    version: str
    embedder: Embedder
    rows: GenerationHandle
    speller: Speller


@dataclass(frozen=True, slots=True)
class _Found:
    """What one generation has for a query; nothing of a store is asked for afterwards."""

    query: str
    corrected: str | None
    hits: list[Hit]
    among: Candidates
    texts: Mapping[Key, StoredText]
    language: str | None
    embed_ms: float
    search_ms: float

    def with_passages(self, hits: Sequence[Hit], asked: Asked, most: int) -> list[Hit]:
        return [
            hit._replace(
                passages=passages_of(
                    self.texts[hit.key], asked, most,
                    score=self.among.semantic.get(hit.key), by_words=hit.key in self.among.by_words,
                )
            ) if hit.key in self.texts else hit
            for hit in hits
        ]  # fmt: skip


@dataclass(slots=True)
class Searcher:
    """Answers queries for one pipeline. Safe to use from several threads.

    Queries are embedded by the model of the live generation, whatever the config says. An answer goes out only if the
    same generation was live from the first look to the last: otherwise the query is answered again.

    Args:
        former: the model of a generation that `embedder` did not make.
        reranker: puts the best hits of each query into a better order.
        typos: corrects words that no row holds, unless a search says otherwise.
        prefix: takes the last word of a query as the beginning of one, unless a search says otherwise.
    """

    store: Store
    embedder: Embedder
    spec: TableSpec
    ranking: Ranking = field(default_factory=Ranking)
    former: Callable[[Ledger], Embedder] | None = None
    reranker: Reranker | None = None
    typos: bool = False
    prefix: bool = False
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
        searcher = cls(
            pipeline.store, pipeline.embedder, pipeline.spec, pipeline.ranking, former, pipeline.reranker,
            pipeline.typos, pipeline.prefix,
        )  # fmt: skip
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
        return _Live(ledger.version, embedder, rows, Speller(rows, embedder))

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

    def _on_one_generation(self, answer: Callable[[_Live], T]) -> T:
        """An answer whose parts are all of the generation that its query was embedded for.

        Raises:
            StoreUnavailable: generations are swapped all the time.
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
        rerank: bool | None = None,
        typos: bool | None = None,
        prefix: bool | None = None,
    ) -> SearchResult:
        """The best `limit` rows for `query`.

        Args:
            where: a filter bound to the metadata columns (see filters.bind).
            explain: give each hit the parts of its score.
            exact: compare every row instead of asking an approximate index.
            passages: maximum number of parts of its text that each hit shows, the best first.
            ranking: another way to put scores together than the pipeline's.
            rerank: False leaves the reranker out. None asks it where there is one.
            typos: correct words that no row holds, or search as written. None does what the pipeline says.
            prefix: take the last word as the beginning of one, as while somebody types; a blank behind it ends it.
                None does what the pipeline says.

        Raises:
            SearchError: an empty or overlong query, a limit out of bounds, no keyword index; `rerank` without a
                reranker, `typos` or `prefix` where the words of the rows are not kept.
            StoreUnavailable: the database does not answer. StoreError: there are no vectors.
        """
        check_query(query, limit)
        check_passages(passages)
        reranker, chosen = self._asked_reranker(rerank), ranking or self.ranking
        many = limit if reranker is None else max(limit, reranker.top)
        depth = max(DEPTH, many) if mode == "hybrid" or chosen.reorders else many
        typos, prefix = self._kept("typos", typos, self.typos), self._kept("prefix", prefix, self.prefix)

        def answer(live: _Live) -> _Found:
            start = time.perf_counter()
            read = Reading.plain(query)
            if typos or prefix:
                read = live.speller.read(query, typos=typos, prefix=prefix, by_meaning=mode != "keyword")
            began, vector = time.perf_counter(), None
            if mode == "keyword":
                embedded = began
                found = Candidates.alone(_by_words(live, read, depth, where), mode)
            elif mode == "semantic":
                vector, embedded = live.embedder.embed_query(read.text), time.perf_counter()
                found = Candidates.alone(live.rows.nearest(vector, depth, where, exact=exact), mode)
            else:
                vector, embedded, found = self._both_halves(live, read, depth, many, where, exact, chosen)
            hits = hits_of(live.rows, found, many, chosen, explain)
            shown = max(limit if passages else 0, reranker.top if reranker else 0)
            texts = live.rows.texts([hit.key for hit in hits[:shown]], vector) if shown else {}
            done, language = time.perf_counter(), live.rows.spec.language
            embed_ms, search_ms = 1000 * (embedded - began), 1000 * (done - embedded + began - start)
            return _Found(read.text, read.corrected, hits, found, texts, language, embed_ms, search_ms)

        # The reranker is paid: it is asked once the generation of the answer is settled.
        return _finished(self._on_one_generation(answer), limit, passages, reranker, chosen)

    def _both_halves(
        self,
        live: _Live,
        query: Reading,
        depth: int,
        limit: int,
        where: Filter | None,
        exact: bool,
        ranking: Ranking,
    ) -> tuple[Vector, float, Candidates]:
        """The query's vector, when there was one, and what both halves found, side by side."""
        by_words = partial(_by_words, live, query, depth, where)
        beside = self._beside.submit(copy_context().run, by_words)
        try:
            vector, embedded = live.embedder.embed_query(query.text), time.perf_counter()
            semantic = live.rows.nearest(vector, depth, where, exact=exact)
        finally:
            # Nothing of a search works on after its end, and what no thread has begun is done in this one.
            if not beside.cancel():
                wait([beside])
        keyword = by_words() if beside.cancelled() else beside.result()
        return vector, embedded, fused(live.rows, vector, semantic, keyword, limit, ranking)

    def _asked_reranker(self, rerank: bool | None) -> Reranker | None:
        if rerank and self.reranker is None:
            raise SearchError(
                f"The pipeline {self.spec.pipeline!r} has no reranker.", hint="Set search.rerank in rowvec.toml."
            )
        return None if rerank is False else self.reranker

    def _kept(self, what: str, asked: bool | None, usual: bool) -> bool:
        if asked and not self.spec.keeps_words:
            raise SearchError(
                f"{what} needs the words of the rows, which the pipeline {self.spec.pipeline!r} does not keep.",
                hint=f"Set search.{what} = true in rowvec.toml, then run `rowvec sync`.",
            )
        return usual if asked is None else asked

    def similar(
        self, key: Key, *, limit: int = 10, where: Filter | None = None, explain: bool = False, passages: int = 0
    ) -> SearchResult:
        """The rows nearest to the row `key`, itself left out. No reranker is asked: there is no query.

        Args:
            passages: maximum number of its passages that each hit shows, those nearest to the row first.

        Raises:
            SearchError: there is no vector for that key.
        """
        check_limit(limit)
        check_passages(passages)

        def answer(live: _Live) -> _Found:
            began = time.perf_counter()
            vector = live.rows.vector(key)
            if vector is None:
                raise SearchError(
                    f"There is no vector for the key {key!r} in {self.store.location}.",
                    hint="Is the row there? `rowvec sync` embeds it, `rowvec failures` says why it could not.",
                )
            depth = max(DEPTH, limit) if self.ranking.reorders else limit
            ranked = live.rows.nearest(vector, depth + 1, where)
            found = Candidates.alone(ranked, "semantic", without=key)
            hits = hits_of(live.rows, found, limit, self.ranking, explain)
            texts = live.rows.texts([hit.key for hit in hits], vector) if passages else {}
            search_ms = 1000 * (time.perf_counter() - began)
            return _Found("", None, hits, found, texts, live.rows.spec.language, 0.0, search_ms)

        return _finished(self._on_one_generation(answer), limit, passages, None, self.ranking)


def _by_words(live: _Live, query: Reading, depth: int, where: Filter | None) -> Ranked:
    if query.last is None:
        return live.rows.keyword(query.words, depth, where)
    return live.rows.keyword(query.words, depth, where, last=query.last)


def _finished(found: _Found, limit: int, passages: int, reranker: Reranker | None, ranking: Ranking) -> SearchResult:
    began, hits, done, rerank_ms = time.perf_counter(), found.hits, None, 0.0
    asked = Asked.of(found.query, found.language) if passages or reranker else None
    if reranker is not None and asked is not None:
        better = reranked(reranker, found.query, hits, found.among, found.texts, asked, ranking)
        hits, done = hits if better is None else better, better is not None
        rerank_ms = 1000 * (time.perf_counter() - began)
    hits = hits[:limit]
    if passages and asked is not None:
        hits = found.with_passages(hits, asked, passages)
    search_ms = found.search_ms + 1000 * (time.perf_counter() - began) - rerank_ms
    return SearchResult(
        hits, found.among.exact, found.among.complete, found.embed_ms, search_ms, done, rerank_ms, found.corrected
    )
