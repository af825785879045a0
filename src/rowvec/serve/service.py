"""One pipeline, ready to be searched."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from rowvec import filters
from rowvec.errors import NoVectors, PartUnavailable, RowvecError, SearchError
from rowvec.evaluation.judged import JudgementsFile
from rowvec.generations.lifecycle import live_embedder
from rowvec.pipeline import Pipeline
from rowvec.ranking import Ranking
from rowvec.searcher import PLAIN, Mode, Refine, Searcher, SearchResult
from rowvec.serve.looks import Looks
from rowvec.serve.operations import Operations
from rowvec.serve.problems import Problem
from rowvec.serve.query_cache import CachedQueries
from rowvec.stores.abilities import LacksParts
from rowvec.stores.base import RowsHandle
from rowvec.stores.ledger import Ledger
from rowvec.support.kept import KeptByIdentity
from rowvec.support.keys import parse_key
from rowvec.types import ColumnType, Generation, Key, State

logger = logging.getLogger("rowvec.serve")

CHECK_SECONDS = 1.0
"""Seconds between two checks of a pipeline for requests, at least."""
MOST_CONTAINS = 5
"""In one filter: no index helps them."""


class Service:
    """Searches one pipeline. Safe to use from several threads, except `warm`.

    Args:
        cached_queries: number of latest queries whose vectors are kept.
        map_file: where `rowvec map` puts the map of the vectors.
        judgements_file: where the page puts what people judge; None where it keeps nothing.
        schedule: when the pipeline is synced by itself: an interval, or a cron line.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        cached_queries: int = 4096,
        map_file: Path | None = None,
        judgements_file: Path | None = None,
        schedule: dt.timedelta | str | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.map_file = map_file
        self.judgements = JudgementsFile(judgements_file) if judgements_file else None
        self.schedule = schedule
        self.name = pipeline.name

        def former(ledger: Ledger) -> CachedQueries:
            return CachedQueries(live_embedder(pipeline, ledger), cached_queries)

        embedder = CachedQueries(pipeline.embedder, cached_queries, pipeline.searching)
        self._searcher = Searcher(
            pipeline.searched, embedder, pipeline.spec, pipeline.ranking, former, pipeline.reranker,
            pipeline.typos, pipeline.prefix, pipeline.partial,
        )  # fmt: skip
        self.problem: str | None = "It has not been checked yet."
        """Why the pipeline cannot be searched, for the operator; None while it can."""
        self.filled = True
        """False where it has no vectors yet, as far as is known."""
        self._lacks_part = False
        """The problem is that a part of the store does not answer: those can be searched that do."""
        self._warm = False
        self._bound = KeptByIdentity[filters.Filter, filters.Filter](
            lambda where: filters.bind(where, pipeline.spec.metadata, pipeline.spec.key)
        )
        """The filters of search tokens."""
        self._checking = threading.Lock()
        self._checked = float("-inf")
        self._whole: Service | None = None
        self.operations = Operations(pipeline)
        self.looks = Looks(pipeline)

    def within(self, where: filters.Filter) -> Service:
        """The same pipeline, as if it held no other rows than those that a filter finds. Cheap: made for a request.

        Its store and its source are out of reach: they know of all rows.

        Raises:
            SearchError: the filter does not fit the metadata columns.
        """
        limited = copy(self)
        limited._whole = self.whole
        limited._searcher = self._searcher.within(self._bound.of(where))
        limited.pipeline = replace(self.pipeline, store=_OUT_OF_REACH, source=_OUT_OF_REACH, replica=None)
        limited.operations = limited.looks = _OUT_OF_REACH
        limited.judgements = None
        return limited

    @property
    def whole(self) -> Service:
        """The pipeline with all of its rows: itself, unless it was made by `within`."""
        return self._whole or self

    @property
    def limited(self) -> bool:
        """It was made by `within`."""
        return self._whole is not None

    def generations(self) -> list[Generation]:
        """Those with a model. A limited service does not say how many rows they hold: that is of all rows."""
        whole = self.whole.pipeline
        found = [each for each in whole.store.generations(whole.spec) if each.fingerprint is not None]
        return [replace(each, rows=0, failures=0, stale=0, bytes=None) for each in found] if self.limited else found

    @property
    def embedder(self) -> CachedQueries:
        """Of the live generation."""
        current = self._searcher.current
        assert isinstance(current, CachedQueries)
        return current

    @property
    def modes(self) -> list[Mode]:
        return ["semantic"] if self.pipeline.spec.language is None else ["semantic", "keyword", "hybrid"]

    def warm(self) -> None:
        """Load the models, so that no request waits for them. A second call does nothing.

        Raises:
            EmbedderError: it cannot be loaded.
        """
        if not self._warm:
            self.check()
            self.embedder.warm()
            if self.pipeline.reranker is not None:
                self.pipeline.reranker.warm()
            self._warm = True

    def check(self, seconds: float = 0.0) -> None:
        """See whether there are vectors, made by this model, unless that was done less than `seconds` ago.

        `problem` says what was found.
        """
        with self._checking:
            if time.monotonic() - self._checked < seconds:
                return
            try:
                self._searcher.check()
                problem, self.filled, self._lacks_part = None, True, False
            except RowvecError as error:
                problem, self.filled = str(error), not isinstance(error, NoVectors)
                self._lacks_part = isinstance(error, PartUnavailable)
            if problem not in (None, self.problem):
                logger.warning("Pipeline %s cannot be searched: %s", self.name, problem)
            self.problem = problem
            self._checked = time.monotonic()

    @property
    def missing_parts(self) -> list[int]:
        """Numbers, from 1 on, of the parts of the store that did not answer lately, where searches go on without."""
        store = self.whole.pipeline.searched
        return [part + 1 for part in store.away.known()] if isinstance(store, LacksParts) else []

    def ready(self, partial: bool | None = None) -> None:
        """
        Args:
            partial: of the search.

        Raises:
            Problem: 503, the pipeline cannot be searched.
        """
        whole = self.whole
        if whole.problem is not None:
            whole.check(CHECK_SECONDS)
        if not whole.filled:
            hint = (
                "Run `rowvec sync`, which embeds the rows of its source. `rowvec check` says what keeps it from that."
            )
            raise Problem(503, f"The pipeline {self.name!r} has no vectors yet.", hint, retry_after=CHECK_SECONDS)
        if whole.problem is not None and not (partial and whole._lacks_part):
            raise Problem(
                503,
                f"The pipeline {self.name!r} cannot be searched now.",
                "Run `rowvec check`, which says why; then `rowvec sync`.",
                retry_after=CHECK_SECONDS,
            )

    def search(
        self,
        query: str,
        mode: Mode,
        limit: int,
        conditions: Mapping[str, Any] | str | None = None,
        explain: bool = False,
        passages: int = 0,
        rerank: bool | None = None,
        refine: Refine = PLAIN,
        ranking: Mapping[str, Any] | None = None,
        generation: str = "live",
        typos: bool | None = None,
        prefix: bool | None = None,
        partial: bool | None = None,
    ) -> SearchResult:
        """
        Args:
            conditions: a filter as JSON or as text.
            rerank: False leaves the pipeline's reranker out.
            refine: facets, one hit a value, a page beyond the first.
            ranking: changes of the pipeline's ranking, as `Ranking.changed` takes them.
            generation: live, previous or building.
            typos: correct words that no row holds, or search as written; None does what the pipeline says.
            prefix: take the last word as the beginning of one; None does what the pipeline says.
            partial: answer without parts of the store that do not answer; None does what the pipeline says.

        Raises:
            SearchError: the filter names something that does not exist. StoreError, EmbedderError: no answer.
            Problem: there is nothing to search yet.
        """
        self.ready(partial)
        where = self.filter(conditions)
        return self._searcher.search(
            query, mode=mode, limit=limit, where=where, explain=explain, passages=passages, rerank=rerank,
            refine=refine, ranking=self.ranking(ranking), generation=State(generation), typos=typos, prefix=prefix,
            partial=partial,
        )  # fmt: skip

    def browse(
        self,
        limit: int,
        conditions: Mapping[str, Any] | str | None = None,
        passages: int = 0,
        refine: Refine = PLAIN,
        partial: bool | None = None,
    ) -> SearchResult:
        """The rows that pass the filter, in an order. Raises as `search` does."""
        self.ready(partial)
        return self._searcher.browse(
            limit=limit, where=self.filter(conditions), passages=passages, refine=refine, partial=partial
        )

    def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """How well each text answers the query, as the pipeline's reranker says; more is better.

        Raises:
            Problem: there is no reranker, or it gave no answer in time that can be used.
        """
        if self.pipeline.reranker is None:
            hint = f"Add [pipelines.{self.name}.search.rerank] to rowvec.toml."
            raise Problem(404, f"The pipeline {self.name!r} has no reranker.", hint)
        scores, problem = self.pipeline.reranker.scores(query, texts)
        if scores is None:
            raise Problem(503, problem or "The reranker gave no answer that can be used.", retry_after=1)
        return scores

    def ranking(self, changes: Mapping[str, Any] | None) -> Ranking:
        """The pipeline's ranking with those changes. Raises SearchError for one that it cannot have."""
        spec, ranking = self.pipeline.spec, self.pipeline.ranking
        return ranking.changed(changes, spec.metadata) if changes else ranking

    def similar(
        self,
        key: str,
        limit: int,
        explain: bool = False,
        passages: int = 0,
        conditions: Mapping[str, Any] | str | None = None,
        partial: bool | None = None,
    ) -> SearchResult:
        """
        Raises:
            SearchError: the filter names something that does not exist.
            Problem: no such row, or a key of another type.
        """
        self.ready(partial)
        value, where = self.key(key), self.filter(conditions)
        try:
            return self._searcher.similar(
                value, limit=limit, where=where, explain=explain, passages=passages, partial=partial
            )
        except SearchError as error:
            # The limit was checked before: this can only be a row without a vector.
            raise self.unknown(key) from error

    def row(self, key: str) -> tuple[Mapping[str, Any], str]:
        """The metadata of a row and its text, as far as that is kept.

        Raises:
            Problem: no such row, or a key of another type.
        """
        self.ready()
        value, rows = self.key(key), self._searcher.rows
        metadata = rows.metadata([value]).get(value)
        if metadata is None:
            raise self.unknown(key)
        kept = rows.texts([value]).get(value)
        return metadata, kept.text if kept else ""

    def texts(self, ids: Sequence[int | str]) -> list[tuple[Key, str]]:
        """The keys and texts of those of the rows that have a text, in the order of `ids`.

        Raises:
            Problem: a key of another type.
        """
        self.ready()
        keys = list(dict.fromkeys(self.key(str(each)) for each in ids))
        kept = self._searcher.rows.texts(keys)
        return [(key, kept[key].text) for key in keys if key in kept and kept[key].text]

    def examples(self, most: int) -> list[Mapping[str, Any]]:
        """The metadata of the first rows, by key."""
        self.ready()
        rows = self._searcher.rows
        keys = [key for key, _ in rows.vectors(None, most)]
        found = rows.metadata(keys)
        return [found[key] for key in keys if key in found]

    def unknown(self, key: str) -> Problem:
        """The answer to whoever asks for a row that there is not."""
        return Problem(404, f"There is no row {key[:100]!r} with a vector in {self.name!r}.")

    def key(self, text: str) -> Key:
        """A key as an address or a request names it. Raises Problem where no row can have it."""
        kind = self.pipeline.spec.key_type
        if "\0" in text:
            raise self.unknown(text)
        try:
            return parse_key(text, kind)
        except OverflowError:
            raise self.unknown(text) from None
        except ValueError:
            what = "an integer" if kind is ColumnType.INTEGER else "a UUID"
            raise Problem(422, f"The id {text[:100]!r} is not {what}, as the keys of {self.name!r} are.") from None

    @property
    def rows(self) -> RowsHandle:
        """The rows that searches see."""
        return self._searcher.rows

    def filter(self, conditions: Mapping[str, Any] | str | None) -> filters.Filter | None:
        """A filter as JSON or as text, bound to the columns. Raises SearchError for one that does not fit them."""
        if conditions is None:
            return None
        parsed = filters.parse(conditions) if isinstance(conditions, str) else filters.from_json(conditions)
        searched = sum(each.op in (filters.Op.CONTAINS, filters.Op.LIKE) for each in filters.compares(parsed))
        if searched > MOST_CONTAINS:
            raise SearchError(
                f"The filter uses contains or like {searched} times; this server allows {MOST_CONTAINS}.",
                hint="Each reads every row. Combine fewer, or search for the words with the keyword mode.",
            )
        return filters.bind(parsed, self.pipeline.spec.metadata, self.pipeline.spec.key)


def _unseen() -> Problem:
    return Problem(403, "A search token does not open this: it is about all rows.", "Use the API key.")


class _OutOfReach:
    """Stands in the place of what must not be asked for somebody who may not see all rows."""

    def __getattr__(self, name: str) -> Any:
        raise _unseen()


_OUT_OF_REACH: Any = _OutOfReach()
