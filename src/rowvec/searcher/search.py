"""From a query to hits: semantic, keyword, hybrid, and similar to a row."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from rowvec.answers import Mode, SearchResult
from rowvec.embedders.base import Embedder
from rowvec.errors import SearchError, StoreError, StoreUnavailable
from rowvec.filters import Filter
from rowvec.generations.lifecycle import live_embedder, live_rows, rows_of, words
from rowvec.pipeline import Pipeline
from rowvec.ranking import Ranking
from rowvec.rerankers.base import Reranker
from rowvec.searcher.candidates import Candidates, ends, hits_of
from rowvec.searcher.found import Found, finished, with_passages
from rowvec.searcher.live import Known, Live
from rowvec.searcher.paging import PLAIN, Origin, Refine
from rowvec.searcher.query import Query, counted
from rowvec.searcher.result import advised, check_limit, check_passages, check_query, without_parts
from rowvec.searcher.snippets import Asked as Words
from rowvec.searcher.spelling import Speller
from rowvec.searcher.within import EVERY_ROW, Within, both
from rowvec.stores.abilities import LacksParts
from rowvec.stores.away import answer_without
from rowvec.stores.base import RowsHandle, SearchedStore, TableSpec
from rowvec.stores.ledger import Ledger
from rowvec.support.tracing import span
from rowvec.types import Fingerprint, Hit, Key, State

MOST_SWAPS = 5
"""A query is answered again up to this many times because another generation went live meanwhile."""
T = TypeVar("T")


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
        partial: answers from those parts of the store that answer, unless a search says otherwise.
    """

    store: SearchedStore
    embedder: Embedder
    spec: TableSpec
    ranking: Ranking = field(default_factory=Ranking)
    former: Callable[[Ledger], Embedder] | None = None
    reranker: Reranker | None = None
    typos: bool = False
    prefix: bool = False
    partial: bool = False
    only: Filter | None = field(default=None, init=False)
    missing: frozenset[int] = field(default=frozenset(), init=False)
    _known: Known = field(default_factory=Known, init=False, repr=False)

    @classmethod
    def of(cls, pipeline: Pipeline, partial: bool | None = None) -> Searcher:
        """The searcher of a pipeline, checked; see `check`."""
        former = functools.partial(live_embedder, pipeline)
        searcher = cls(
            pipeline.searched, pipeline.searching, pipeline.spec, pipeline.ranking, former, pipeline.reranker,
            pipeline.typos, pipeline.prefix, pipeline.partial,
        )  # fmt: skip
        searcher.check(partial)
        return searcher

    def within(self, only: Filter) -> Searcher:
        """The same, as if there were no other rows than those that a bound filter finds. Cheap: made for a request."""
        limited = copy(self)
        # A filter that every row passes is left out: an index answers faster without one.
        limited.only = self.only if only == EVERY_ROW else self._limited(only)
        return limited

    @property
    def whole(self) -> Searcher:
        """The same, which answers from all parts of the store or not at all: for what measures searches."""
        found = copy(self)
        found.partial = False
        return found

    def _limited(self, where: Filter | None) -> Filter | None:
        return where if self.only is None else both(self.only, where)

    @property
    def current(self) -> Embedder:
        """What embeds the queries, as far as is known."""
        found = self._known.live or next(
            (each.live for each in [*self._known.without_parts.values()] if each.live), None
        )
        return found.embedder if found else self.embedder

    @property
    def rows(self) -> RowsHandle:
        """The rows that searches see, as far as is known. Raises as `check` does where there is no generation."""
        store, live = self.store, self._known.live
        if live is None or (self.partial and isinstance(store, LacksParts) and store.away.known()):
            return self._of_parts(None, lambda one: one._seen(one._now()).rows)[0]
        return self._seen(live).rows

    def _now(self) -> Live:
        live = self._known.live
        # Whoever is let through to a part that was away looks, and tells others whether it answers.
        if live is None or not self.missing or self.store.live_version() != live.version:
            return self._look_again(live)
        return live

    def _seen(self, live: Live) -> Live:
        """What this searcher may see of it."""
        if self.only is None:
            return live
        rows = Within(live.rows, self.only)
        return replace(live, rows=rows, speller=live.speller.within(rows))

    def check(self, partial: bool | None = None) -> None:
        """Raises StoreError unless there are vectors, EmbedderError unless there is the model that made them."""
        self._of_parts(partial, Searcher._check)

    def _check(self) -> None:
        with self._known.looking:
            self._known.live = self._look()

    def _of_parts(self, partial: bool | None, ask: Callable[[Searcher], T]) -> tuple[T, Sequence[int]]:
        """What `ask` answers, and the numbers, from 1 on, of the parts of the store that it is without.

        Args:
            partial: answer without parts that do not answer; None does what this searcher does.
        """
        store = self.store
        if not (self.partial if partial is None else partial) or not isinstance(store, LacksParts):
            return ask(self), ()
        found, missing = answer_without(store.away, lambda missing: ask(self._without(missing, store)))
        return found, sorted(part + 1 for part in missing)

    def _without(self, missing: frozenset[int], store: LacksParts) -> Searcher:
        if not missing:
            return self
        left = copy(self)
        left.store, left.missing, left._known = store.without(missing), missing, self._known.without(missing)
        return left

    def _look(self) -> Live:
        return self._opened(*live_rows(self.store, self.spec))

    def _opened(self, ledger: Ledger, rows: RowsHandle) -> Live:
        made, embedder = rows.spec.fingerprint, self.embedder
        if made is not None and made.of_model != embedder.fingerprint:
            embedder = self._former(made, ledger)
        return Live(ledger.version, embedder, rows, Speller(rows, embedder))

    def _other(self, state: State) -> Live:
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
        return self._opened(ledger, rows_of(self.store, self.spec, chosen))

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

    def _on_one_generation(self, answer: Callable[[Live], T], state: State = State.LIVE) -> T:
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

    def _look_again(self, seen: Live | None) -> Live:
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
        partial: bool | None = None,
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
            partial: answer from the parts of the store that answer, where others do not; `missing_parts` names those,
                and the answer is neither exact nor complete. None does what the pipeline says.

        Raises:
            SearchError: an empty or overlong query, a limit out of bounds, no keyword index; `rerank` without a
                reranker; a facet, an order or a page that cannot be; `typos` or `prefix` where the words of the rows
                are not kept; there is no such generation.
            StoreUnavailable: the database does not answer. StoreError: there are no vectors.
        """
        if query is None:
            return self.browse(limit=limit, where=where, passages=passages, refine=refine, partial=partial)
        check_query(query, limit)
        check_passages(passages)
        bound = refine.bound(self.spec.metadata, self.spec.key_type, browses=False)
        bound.check_depth(limit)
        reranker, chosen = self.asked_reranker(rerank), ranking or self.ranking
        typos, prefix = self._kept("typos", typos, self.typos), self._kept("prefix", prefix, self.prefix)
        about = (mode, query, exact, chosen, reranker is not None, refine.distinct, typos, prefix, generation)
        asked = Query(
            query, mode, where, exact, chosen, bound, limit, reranker.top if reranker else 0, explain,
            texts=passages > 0 or reranker is not None, typos=typos, prefix=prefix,
        )  # fmt: skip

        def found_by(one: Searcher) -> Found:
            def answer(live: Live) -> Found:
                return asked.answered(live, one._origin(live, about, where), one._known.beside)

            return one._on_one_generation(answer, generation)

        with span("rowvec.search", {"rowvec.pipeline": self.spec.pipeline}) as traced:
            traced.note({"rowvec.mode": mode, "rowvec.limit": limit})
            # The reranker is paid: it is asked once the generation of the answer is settled.
            found, missing = self._of_parts(partial, found_by)
            result = advised(without_parts(finished(found, limit, passages, reranker, chosen), missing), where)
            traced.note({"rowvec.hits": len(result.hits), "rowvec.complete": result.complete})
        return result

    def browse(
        self,
        *,
        limit: int = 10,
        where: Filter | None = None,
        passages: int = 0,
        refine: Refine = PLAIN,
        partial: bool | None = None,
    ) -> SearchResult:
        """The rows that pass the filter, in `refine.order`, and how many there are. No row has a score.

        Raises:
            SearchError: see `search`.
        """
        check_limit(limit)
        check_passages(passages)
        bound = refine.bound(self.spec.metadata, self.spec.key_type, browses=True)
        about = ("browse", None if bound.order is None else bound.order.name)

        def answer(one: Searcher, live: Live) -> SearchResult:
            began, origin, place = time.perf_counter(), one._origin(live, about, where), None
            if bound.after is not None:
                bound.after.check(origin, live.rows)
                place = bound.after.place(bound.order)
            counts = counted(live, bound, where)
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
            found, missing = self._of_parts(partial, lambda one: one._on_one_generation(lambda live: answer(one, live)))
            return advised(without_parts(found, missing), where)

    def _origin(self, live: Live, about: tuple[Any, ...], where: Filter | None) -> Origin:
        return Origin(self.spec.pipeline, sorted(self.missing), live.version, about, self._limited(where))

    def asked_reranker(self, rerank: bool | None) -> Reranker | None:
        """
        Raises:
            SearchError: it is asked for, and there is none.
        """
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
        self,
        key: Key,
        *,
        limit: int = 10,
        where: Filter | None = None,
        explain: bool = False,
        passages: int = 0,
        partial: bool | None = None,
    ) -> SearchResult:
        """The rows nearest to the row `key`, itself left out. No reranker is asked: there is no query.

        Args:
            passages: maximum number of its passages that each hit shows, those nearest to the row first.

        Raises:
            SearchError: there is no vector for that key.
            PartUnavailable: the row is in a part of the store that does not answer.
        """
        check_limit(limit)
        check_passages(passages)

        def answer(live: Live) -> Found:
            began = time.perf_counter()
            vector = live.rows.vector(key)
            if vector is None:
                raise SearchError(
                    f"There is no vector for the key {key!r} in {self.store.location}.",
                    hint="Is the row there? `rowvec sync` embeds it, `rowvec failures` says why it could not.",
                )
            depth = ends(limit)[-1] if self.ranking.reorders else limit
            ranked = live.rows.nearest(vector, depth + 1, where)
            found = Candidates.alone(ranked, "semantic", depth + 1, without=key)
            hits = hits_of(live.rows, found, limit, self.ranking, explain)
            texts = live.rows.texts([hit.key for hit in hits], vector) if passages else {}
            return Found(hits, found, texts, live.rows.spec.language, 0.0, 1000 * (time.perf_counter() - began))

        found, missing = self._of_parts(partial, lambda one: one._on_one_generation(answer))
        return advised(without_parts(finished(found, limit, passages, None, self.ranking), missing), where)
