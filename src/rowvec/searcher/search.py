"""From a query to hits: semantic, keyword, hybrid, and similar to a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from rowvec.embedders.base import Embedder
from rowvec.errors import SearchError, StoreError, StoreUnavailable
from rowvec.filters import Facets, Filter
from rowvec.generations.lifecycle import live_embedder, live_rows, live_spec, words
from rowvec.pipeline import Pipeline
from rowvec.ranking import Ranking
from rowvec.rerankers.base import Reranker
from rowvec.searcher.candidates import DEPTH, Candidates, fused, hits_of
from rowvec.searcher.found import Found, finished, with_passages
from rowvec.searcher.paging import PLAIN, Bound, Origin, Refine
from rowvec.searcher.result import Mode, SearchResult, check_limit, check_passages, check_query
from rowvec.searcher.snippets import Asked as Words
from rowvec.searcher.spelling import Reading, Speller
from rowvec.searcher.within import EVERY_ROW, Within, both
from rowvec.stores.base import Ledger, RowsHandle, Store, TableSpec, existing
from rowvec.support.tracing import span
from rowvec.types import Fingerprint, Hit, Key, Ranked, State, Vector

MOST_SWAPS = 5
"""A query is answered again up to this many times because another generation went live meanwhile."""
BESIDE = 16
"""Keyword halves that run beside their semantic halves at once; further ones run after them."""
DEEPER = 4
"""Number of times that the rows are looked at where a page is not full."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Live:
    """The generation that searches see."""

    version: str
    embedder: Embedder
    rows: RowsHandle
    speller: Speller


@dataclass(slots=True)
class _Known:
    """What a searcher knows of its pipeline, and shares with those that see a part of the rows."""

    live: _Live | None = None
    formers: dict[Fingerprint, Embedder] = field(default_factory=dict)
    looking: threading.Lock = field(default_factory=threading.Lock)
    beside: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(BESIDE, thread_name_prefix="rowvec-keyword")
    )


@dataclass(frozen=True, slots=True)
class _Query:
    """What is looked for."""

    query: Reading
    mode: Mode
    where: Filter | None
    exact: bool
    ranking: Ranking


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
    only: Filter | None = field(default=None, init=False)
    _known: _Known = field(default_factory=_Known, init=False, repr=False)

    @classmethod
    def of(cls, pipeline: Pipeline) -> Searcher:
        """The searcher of a pipeline, checked."""
        former = partial(live_embedder, pipeline)
        searcher = cls(
            pipeline.store, pipeline.searching, pipeline.spec, pipeline.ranking, former, pipeline.reranker,
            pipeline.typos, pipeline.prefix,
        )  # fmt: skip
        searcher.check()
        return searcher

    def within(self, only: Filter) -> Searcher:
        """The same, as if there were no other rows than those that a bound filter finds. Cheap: made for a request."""
        limited = copy(self)
        # A filter that every row passes is none: an index answers faster without one.
        limited.only = self.only if only == EVERY_ROW else self._limited(only)
        return limited

    def _limited(self, where: Filter | None) -> Filter | None:
        return where if self.only is None else both(self.only, where)

    @property
    def current(self) -> Embedder:
        """What embeds the queries, as far as is known."""
        return self._known.live.embedder if self._known.live else self.embedder

    @property
    def rows(self) -> RowsHandle:
        """The rows that searches see, as far as is known. Raises as `check` does where there is no generation."""
        return self._seen(self._known.live or self._look_again(None)).rows

    def _seen(self, live: _Live) -> _Live:
        """What this searcher may see of it."""
        if self.only is None:
            return live
        rows = Within(live.rows, self.only)
        return replace(live, rows=rows, speller=live.speller.within(rows))

    def check(self) -> None:
        """Raises StoreError unless there are vectors, EmbedderError unless there is the model that made them."""
        with self._known.looking:
            self._known.live = self._look()

    def _look(self) -> _Live:
        return self._opened(*live_rows(self.store, self.spec))

    def _opened(self, ledger: Ledger, rows: RowsHandle) -> _Live:
        made, embedder = rows.spec.fingerprint, self.embedder
        if made is not None and made.of_model != embedder.fingerprint:
            embedder = self._former(made, ledger)
        return _Live(ledger.version, embedder, rows, Speller(rows, embedder))

    def _other(self, state: State) -> _Live:
        """A generation that searches do not see unless they ask for it. Looked up each time: it may be swapped or
        dropped while the live one stays.

        Raises:
            SearchError: there is none in that state.
        """
        version = self.store.live_version()
        known = {each.state: each for each in self.store.generations(self.spec)}
        if state not in known or known[state].fingerprint is None:
            raise SearchError(
                f"There is no {state} generation of {self.spec.pipeline!r}.",
                hint=f"There is: {', '.join(sorted(known)) or 'none'}. `rowvec generations` lists them.",
            )
        chosen = known[state]
        ledger = Ledger(True, True, chosen.fingerprint, settings=chosen.settings, version=version)
        return self._opened(ledger, existing(self.store, live_spec(self.spec, ledger)))

    def _former(self, made: Fingerprint | None, ledger: Ledger) -> Embedder:
        assert made is not None
        formers = self._known.formers
        if made not in formers:
            if self.former is None:
                raise SearchError(
                    f"The vectors in {self.store.location} were made by {words(made)}, not by"
                    f" {words(self.embedder.fingerprint)}: comparing them would mean nothing.",
                    hint="Run `rowvec sync` to embed the rows with the new model, or set the old one in rowvec.toml.",
                )
            formers[made] = self.former(ledger)
        return formers[made]

    def _on_one_generation(self, answer: Callable[[_Live], T], state: State = State.LIVE) -> T:
        """An answer whose parts are all of the generation that its query was embedded for.

        Raises:
            StoreUnavailable: generations are swapped all the time.
        """
        live = (self._known.live or self._look_again(None)) if state is State.LIVE else self._other(state)
        for _ in range(MOST_SWAPS):
            try:
                found = answer(self._seen(live))
            except StoreError:
                # Tables may be gone, or have other columns, because another generation is live now.
                if self.store.live_version() == live.version:
                    raise
            else:
                if self.store.live_version() == live.version:
                    return found
            live = self._look_again(live) if state is State.LIVE else self._other(state)
        raise StoreUnavailable(f"The generations of {self.store.location} are swapped too often to be searched.")

    def _look_again(self, seen: _Live | None) -> _Live:
        known = self._known
        with known.looking:
            # One of several searches that noticed does it for all.
            if known.live is None or known.live is seen:
                known.live = self._look()
            return known.live

    def search(
        self,
        query: str | None,
        *,
        mode: Mode = "semantic",
        limit: int = 10,
        where: Filter | None = None,
        explain: bool = False,
        exact: bool = False,
        passages: int = 0,
        ranking: Ranking | None = None,
        rerank: bool | None = None,
        refine: Refine = PLAIN,
        generation: State = State.LIVE,
        typos: bool | None = None,
        prefix: bool | None = None,
    ) -> SearchResult:
        """The best `limit` rows for `query`; without a query the rows that pass the filter, in `refine.order`.

        Args:
            where: a filter bound to the metadata columns (see filters.bind).
            explain: give each hit the parts of its score.
            exact: compare every row instead of asking an approximate index.
            passages: maximum number of parts of its text that each hit shows, the best first.
            ranking: another way to put scores together than the pipeline's.
            rerank: False leaves the reranker out. None asks it where there is one.
            refine: facets, one hit a value, a page beyond the first.
            generation: another one than that which searches see, to compare the two.
            typos: correct words that no row holds, or search as written. None does what the pipeline says.
            prefix: take the last word as the beginning of one, as while somebody types; a blank behind it ends it.
                None does what the pipeline says.

        Raises:
            SearchError: an empty or overlong query, a limit out of bounds, no keyword index; `rerank` without a
                reranker; a facet, an order or a page that cannot be; `typos` or `prefix` where the words of the rows
                are not kept; there is no such generation.
            StoreUnavailable: the database does not answer. StoreError: there are no vectors.
        """
        if query is None:
            return self.browse(limit=limit, where=where, passages=passages, refine=refine)
        check_query(query, limit)
        check_passages(passages)
        bound = refine.bound(self.spec.metadata, self.spec.key_type, browses=False)
        bound.check_depth(limit)
        reranker, chosen = self._asked_reranker(rerank), ranking or self.ranking
        typos, prefix = self._kept("typos", typos, self.typos), self._kept("prefix", prefix, self.prefix)
        about = (mode, query, exact, chosen, reranker is not None, refine.distinct, typos, prefix, generation)

        def answer(live: _Live) -> Found:
            began, origin = time.perf_counter(), Origin(self.spec.pipeline, live.version, about, self._limited(where))
            if bound.after is not None:
                bound.after.check(origin)
            facets = _facets(live, bound, where) if bound.facets else None
            reading = Reading.plain(query)
            if typos or prefix:
                reading = live.speller.read(query, typos=typos, prefix=prefix, by_meaning=mode != "keyword")
            asked = _Query(reading, mode, where, exact, chosen)
            counted = time.perf_counter()
            top = reranker.top if reranker else 0
            vector, embedded, found, hits, whole = self._deep_enough(live, asked, bound, limit, top, explain)
            start = bound.first(hits)
            # A reranker may bring any of its hits onto a page that begins among them.
            read = hits[: top + limit if start < top else top] + hits[start : start + limit] if passages or top else []
            texts = live.rows.texts(list(dict.fromkeys(hit.key for hit in read)), vector) if read else {}
            done, language = time.perf_counter(), live.rows.spec.language
            embed_ms = 1000 * (embedded - counted)
            return Found(
                hits, found, texts, language, embed_ms, 1000 * (done - began) - embed_ms, bound, origin, facets, whole,
                reading,
            )  # fmt: skip

        with span("rowvec.search", {"rowvec.pipeline": self.spec.pipeline}) as traced:
            traced.note({"rowvec.mode": mode, "rowvec.limit": limit})
            # The reranker is paid: it is asked once the generation of the answer is settled.
            found = self._on_one_generation(answer, generation)
            result = finished(found, limit, passages, reranker, chosen)
            traced.note({"rowvec.hits": len(result.hits), "rowvec.complete": result.complete})
        return result

    def _deep_enough(
        self, live: _Live, asked: _Query, bound: Bound, limit: int, top: int, explain: bool
    ) -> tuple[Vector | None, float, Candidates, list[Hit], bool]:
        """The query's vector, when there was one, all hits up to the end of the page, and whether there are no more.

        Rows of a value that a better hit has, and rows that came since the page before, make it look deeper.
        """
        many, vector, embedded, values = max(bound.start + limit, top), None, None, None
        while True:
            depth = max(DEPTH, many) if asked.mode == "hybrid" or asked.ranking.reorders else many
            vector, made, found = self._candidates(live, asked, vector, depth, many)
            embedded = made if embedded is None else embedded
            hits = bound.one_each(hits_of(live.rows, found, many, asked.ranking, explain))
            whole = found.ended and len(found.scores) <= many
            full = len(hits) >= bound.first(hits) + limit
            if bound.distinct is not None and not whole and not full:
                # Where every value has its hit, the other rows need not be looked at.
                values = bound.values(live.rows, asked.where) if values is None else values
                whole = len(hits) >= values
            if whole or full or not bound.looks_deeper:
                return vector, embedded, found, hits, whole
            many = depth * DEEPER

    def _candidates(
        self, live: _Live, asked: _Query, vector: Vector | None, depth: int, many: int
    ) -> tuple[Vector | None, float, Candidates]:
        """The query's vector, when there was one, and what is found."""
        if asked.mode == "hybrid":
            return self._both_halves(live, asked, vector, depth, many)
        if asked.mode == "keyword":
            embedded = time.perf_counter()
            return None, embedded, Candidates.alone(_by_words(live, asked, depth), "keyword", depth)
        vector = _embedded(live, asked) if vector is None else vector
        embedded = time.perf_counter()
        return vector, embedded, Candidates.alone(_by_meaning(live, asked, vector, depth), "semantic", depth)

    def _both_halves(
        self, live: _Live, asked: _Query, vector: Vector | None, depth: int, many: int
    ) -> tuple[Vector, float, Candidates]:
        """The same for both halves, side by side."""
        by_words = partial(_by_words, live, asked, depth)
        beside = self._known.beside.submit(copy_context().run, by_words)
        try:
            vector = _embedded(live, asked) if vector is None else vector
            embedded = time.perf_counter()
            semantic = _by_meaning(live, asked, vector, depth)
        finally:
            # Nothing of a search works on after its end, and what no thread has begun is done in this one.
            if not beside.cancel():
                wait([beside])
        keyword = by_words() if beside.cancelled() else beside.result()
        with span("rowvec.fuse"):
            return vector, embedded, fused(live.rows, vector, semantic, keyword, many, depth, asked.ranking)

    def browse(
        self, *, limit: int = 10, where: Filter | None = None, passages: int = 0, refine: Refine = PLAIN
    ) -> SearchResult:
        """The rows that pass the filter, in `refine.order`, and how many there are. No row has a score.

        Raises:
            SearchError: see `search`.
        """
        check_limit(limit)
        check_passages(passages)
        bound = refine.bound(self.spec.metadata, self.spec.key_type, browses=True)
        about = ("browse", None if bound.order is None else bound.order.name)

        def answer(live: _Live) -> SearchResult:
            began, origin = time.perf_counter(), Origin(self.spec.pipeline, live.version, about, self._limited(where))
            place = None
            if bound.after is not None:
                bound.after.check(origin)
                place = bound.after.place(bound.order)
            counts = _facets(live, bound, where)
            keys = live.rows.browse(limit + 1, where, order=bound.order, offset=bound.offset, after=place)
            shown = live.rows.metadata(keys[:limit])
            hits = [Hit(key, None, shown[key]) for key in keys[:limit] if key in shown]
            texts = live.rows.texts([hit.key for hit in hits]) if passages else {}
            more = bound.next_row(origin, hits) if len(keys) > limit else None
            hits = with_passages(hits, texts, Words.of("", live.rows.spec.language), passages)
            return SearchResult(
                hits, exact=True, complete=True, search_ms=1000 * (time.perf_counter() - began), total=counts.rows,
                facets=counts if bound.facets else None, filtered=origin.where is not None, next=more,
            )  # fmt: skip

        with span("rowvec.search", {"rowvec.pipeline": self.spec.pipeline}) as traced:
            traced.note({"rowvec.mode": "browse", "rowvec.limit": limit})
            return self._on_one_generation(answer)

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

        def answer(live: _Live) -> Found:
            began = time.perf_counter()
            vector = live.rows.vector(key)
            if vector is None:
                raise SearchError(
                    f"There is no vector for the key {key!r} in {self.store.location}.",
                    hint="Is the row there? `rowvec sync` embeds it, `rowvec failures` says why it could not.",
                )
            depth = max(DEPTH, limit) if self.ranking.reorders else limit
            ranked = live.rows.nearest(vector, depth + 1, where)
            found = Candidates.alone(ranked, "semantic", depth + 1, without=key)
            hits = hits_of(live.rows, found, limit, self.ranking, explain)
            texts = live.rows.texts([hit.key for hit in hits], vector) if passages else {}
            return Found(hits, found, texts, live.rows.spec.language, 0.0, 1000 * (time.perf_counter() - began))

        return finished(self._on_one_generation(answer), limit, passages, None, self.ranking)


def _embedded(live: _Live, asked: _Query) -> Vector:
    with span("rowvec.embed", {"rowvec.texts": 1}):
        return live.embedder.embed_query(asked.query.text)


def _by_meaning(live: _Live, asked: _Query, vector: Vector, depth: int) -> Ranked:
    with span("rowvec.semantic"):
        return live.rows.nearest(vector, depth, asked.where, exact=asked.exact)


def _by_words(live: _Live, asked: _Query, depth: int) -> Ranked:
    with span("rowvec.keyword"):
        if asked.query.last is None:
            return live.rows.keyword(asked.query.words, depth, asked.where)
        return live.rows.keyword(asked.query.words, depth, asked.where, last=asked.query.last)


def _facets(live: _Live, bound: Bound, where: Filter | None) -> Facets:
    with span("rowvec.facets"):
        return live.rows.facets(bound.facets, where, most=bound.facet_limit)
