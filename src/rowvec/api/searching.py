"""Searches of one pipeline of a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rowvec.answers import Mode, SearchResult
from rowvec.api.calls import method
from rowvec.api.opened_pipeline import OpenedPipeline
from rowvec.errors import SearchError
from rowvec.filters import Filter
from rowvec.rerankers.base import Scored
from rowvec.types import Key, State


class Searching(OpenedPipeline):
    """What `ProjectPipeline` finds."""

    @method
    def search(
        self,
        query: str | None = None,
        *,
        mode: Mode = "semantic",
        limit: int = 10,
        where: str | Filter | None = None,
        explain: bool = False,
        exact: bool = False,
        passages: int = 1,
        rerank: bool | None = None,
        ranking: Mapping[str, Any] | None = None,
        generation: Literal["live", "previous", "building"] = "live",
        typos: bool | None = None,
        prefix: bool | None = None,
        partial: bool | None = None,
        facets: Sequence[str] = (),
        facet_limit: int = 10,
        distinct: str | None = None,
        offset: int = 0,
        after: str | None = None,
        order: str | None = None,
    ) -> SearchResult:
        """The best rows for a query; without a query, the rows that pass the filter.

        Args:
            mode: "semantic" (vectors), "keyword" (BM25) or "hybrid" (both).
            limit: up to this many hits, at most 1,000.
            where: a filter on metadata columns, such as `price < 100 and supplier = 'HP'`.
            explain: give each hit the parts of its score.
            exact: compare every row instead of asking an approximate index.
            passages: maximum number of parts of its text that each hit shows, the best first.
            rerank: False leaves out the reranker of `search.rerank`. None asks it where there is one.
            ranking: other values for keys of `[search]` in rowvec.toml, such as `{"semantic_weight": 0.8}`; None for
                `static`, `title`, `decay` or `half_life_days` switches that off.
            generation: vectors of another generation than the live one, to compare the two.
            typos: correct words that no row holds, or search as written. None does what `search.typos` says.
            prefix: take the last word as the beginning of one, as while somebody types; a blank behind it ends it.
                None does what `search.prefix` says.
            partial: answer from the parts of a split store that answer, where others do not; `missing_parts` of the
                result names those. None does what `search.partial` says.
            facets: metadata columns whose values are counted over all rows that pass the filter.
            facet_limit: number of values that a facet lists, at most 1,000.
            distinct: a metadata column; each of its values has one hit, the best. A row without a value is its own.
            offset: this many hits are left out first.
            after: `next` of the page before, in place of an offset.
            order: without a query, such as `price desc`; by key where it is None.

        Raises:
            SearchError: an empty or overlong query, a limit out of bounds, no keyword index, no reranker, no such
                generation; a ranking, a facet, an order or a page that cannot be; no words kept for `typos` or
                `prefix`.
            StoreError: there are no vectors yet.
        """
        from rowvec.searcher.paging import Refine

        known = self.searchable.spec.metadata
        return self._ready(partial).search(
            query, mode=mode, limit=limit, where=self._condition(where), explain=explain, exact=exact,
            passages=passages, rerank=rerank, typos=typos, prefix=prefix, generation=State(generation), partial=partial,
            ranking=self.searchable.ranking.changed(ranking, known) if ranking else None,
            refine=Refine(tuple(facets), facet_limit, distinct, offset, after, order),
        )  # fmt: skip

    @method
    def similar(
        self,
        key: Key,
        *,
        limit: int = 10,
        where: str | Filter | None = None,
        explain: bool = False,
        passages: int = 1,
        partial: bool | None = None,
    ) -> SearchResult:
        """The rows nearest to the row `key`, itself left out.

        Args:
            passages: maximum number of its passages that each hit shows, those nearest to the row first.
            partial: as `search` has it.

        Raises:
            SearchError: there is no vector for that key.
            StoreUnavailable: the row is in a part of the store that does not answer.
        """
        return self._ready(partial).similar(
            key, limit=limit, where=self._condition(where), explain=explain, passages=passages, partial=partial
        )

    @method
    def texts(self, keys: Sequence[Key]) -> Mapping[Key, str]:
        """The texts of these rows, as they were embedded; without the rows that have none.

        Raises:
            StoreError: there are no vectors yet.
        """
        return {key: kept.text for key, kept in self._ready().rows.texts(list(keys)).items() if kept.text}

    @method
    def rerank(self, query: str, texts: Sequence[str]) -> Scored:
        """How well each text answers the query, as the reranker of `search.rerank` says; more is better.

        Without scores where it gave no answer in time that can be used; `problem` says why.

        Raises:
            SearchError: there is no reranker.
        """
        reranker = self.searchable.reranker
        if reranker is None:
            hint = f"Add [pipelines.{self.name}.search.rerank] to rowvec.toml."
            raise SearchError(f"The pipeline {self.name!r} has no reranker.", hint=hint)
        return reranker.scores(query, list(texts)) if texts else Scored([])
