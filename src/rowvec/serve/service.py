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
from rowvec.errors import RowvecError, SearchError
from rowvec.evaluation.judged import JudgementsFile
from rowvec.generations.lifecycle import course, live_embedder
from rowvec.pipeline import Pipeline
from rowvec.pipeline_status import Status, Work
from rowvec.pipeline_status import status as gather
from rowvec.pipeline_status.work import work
from rowvec.ranking import Ranking
from rowvec.searcher import PLAIN, Mode, Refine, Searcher, SearchResult
from rowvec.serve.problems import Problem
from rowvec.serve.query_cache import CachedQueries
from rowvec.stores.base import Ledger, RowsHandle
from rowvec.support.keys import parse_key
from rowvec.support.suggestions import suggestion
from rowvec.types import ColumnType, Key, State, WriteBatch

logger = logging.getLogger("rowvec.serve")

CHECK_SECONDS = 1.0
"""Seconds between two checks of a pipeline for requests, at least."""
MOST_CONTAINS = 5
"""In one filter: no index helps them."""
WORK_SECONDS = 1.0
FAILURES_AT_ONCE = 1000
STATUS_SECONDS = 5.0
"""Seconds that a status is kept: it counts rows, and a page that reloads must not become a burden."""


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
            pipeline.store, embedder, pipeline.spec, pipeline.ranking, former, pipeline.reranker,
            pipeline.typos, pipeline.prefix,
        )  # fmt: skip
        self.problem: str | None = "It has not been checked yet."
        """Why the pipeline cannot be searched, for the operator; None while it can."""
        self._warm = False
        self._checking = threading.Lock()
        self._checked = float("-inf")
        self._gathering = threading.Lock()
        self._status: tuple[float, Status | RowvecError] | None = None
        self._looking = threading.Lock()
        self._work: tuple[float, Work | None] | None = None
        self._whole: Service | None = None

    def within(self, where: filters.Filter) -> Service:
        """The same pipeline, as if it held no other rows than those that a filter finds. Cheap: made for a request.

        Its store and its source are out of reach: they know of all rows.

        Raises:
            SearchError: the filter does not fit the metadata columns.
        """
        limited = copy(self)
        limited._whole = self.whole
        limited._searcher = self._searcher.within(filters.bind(where, self.pipeline.spec.metadata))
        limited.pipeline = replace(self.pipeline, store=_OUT_OF_REACH, source=_OUT_OF_REACH)
        return limited

    @property
    def whole(self) -> Service:
        """The pipeline with all of its rows: itself, unless it was made by `within`."""
        return self._whole or self

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
                problem = None
            except RowvecError as error:
                problem = str(error)
            if problem not in (None, self.problem):
                logger.warning("Pipeline %s cannot be searched: %s", self.name, problem)
            self.problem = problem
            self._checked = time.monotonic()

    def ready(self) -> None:
        """
        Raises:
            Problem: 503, the pipeline cannot be searched.
        """
        whole = self.whole
        if whole.problem is not None:
            whole.check(CHECK_SECONDS)
        if whole.problem is not None:
            raise Problem(
                503,
                f"The pipeline {self.name!r} cannot be searched now.",
                "GET /health says why; `rowvec check` and `rowvec sync` fix most causes.",
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

        Raises:
            SearchError: the filter names something that does not exist. StoreError, EmbedderError: no answer.
            Problem: there is nothing to search yet.
        """
        self.ready()
        where = self._filter(conditions)
        return self._searcher.search(
            query, mode=mode, limit=limit, where=where, explain=explain, passages=passages, rerank=rerank,
            refine=refine, ranking=self.ranking(ranking), generation=State(generation), typos=typos, prefix=prefix,
        )  # fmt: skip

    def browse(
        self,
        limit: int,
        conditions: Mapping[str, Any] | str | None = None,
        passages: int = 0,
        refine: Refine = PLAIN,
    ) -> SearchResult:
        """The rows that pass the filter, in an order. Raises as `search` does."""
        self.ready()
        return self._searcher.browse(limit=limit, where=self._filter(conditions), passages=passages, refine=refine)

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
        return ranking.changed(changes, [column.name for column in spec.metadata]) if changes else ranking

    def similar(
        self,
        key: str,
        limit: int,
        explain: bool = False,
        passages: int = 0,
        conditions: Mapping[str, Any] | str | None = None,
    ) -> SearchResult:
        """
        Raises:
            SearchError: the filter names something that does not exist.
            Problem: no such row, or a key of another type.
        """
        self.ready()
        value, where = self.key(key), self._filter(conditions)
        try:
            return self._searcher.similar(value, limit=limit, where=where, explain=explain, passages=passages)
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

    def _filter(self, conditions: Mapping[str, Any] | str | None) -> filters.Filter | None:
        if conditions is None:
            return None
        parsed = filters.parse(conditions) if isinstance(conditions, str) else filters.from_json(conditions)
        searched = sum(each.op in (filters.Op.CONTAINS, filters.Op.LIKE) for each in filters.compares(parsed))
        if searched > MOST_CONTAINS:
            raise SearchError(
                f"The filter uses contains or like {searched} times; this server allows {MOST_CONTAINS}.",
                hint="Each reads every row. Combine fewer, or search for the words with the keyword mode.",
            )
        return filters.bind(parsed, self.pipeline.spec.metadata)

    def status(self, seconds: float = STATUS_SECONDS) -> Status:
        """Coverage, lag, failures and runs, at most `seconds` old.

        Raises:
            SourceError, StoreError: one of them does not answer.
            Problem: 403, the caller may not see all rows.
        """
        if self._whole is not None:
            raise _unseen()
        with self._gathering:
            if self._status is None or time.monotonic() - self._status[0] > seconds:
                # An error too, and as old as its end: whoever waited for it must not wait once more, one by one.
                self._status = (time.monotonic(), self._gathered())
            found = self._status[1]
        if isinstance(found, RowvecError):
            raise found.with_traceback(None)
        return found

    def work(self) -> Work | None:
        """The sync at work now, at most WORK_SECONDS old; None where there is none, or where nobody can tell."""
        with self._looking:
            if self._work is None or time.monotonic() - self._work[0] > WORK_SECONDS:
                store = self.pipeline.store
                try:
                    latest = next(iter(store.runs(1)), None) if store.ledger().exists else None
                    found = work(latest, store.holder())
                except RowvecError:
                    found = None
                self._work = (time.monotonic(), found)
            return self._work[1]

    def stop_sync(self) -> int | None:
        """Ask the sync at work to end cleanly. Returns its run; None where there is none.

        Raises:
            StoreError: the store does not answer, or its role may not write.
        """
        running = self.work()
        if running is None:
            return None
        self.pipeline.store.ask_to_stop(running.run)
        self._work = None
        return running.run

    def retry_failures(self) -> int:
        """Let the next sync try every failed row again, however long its next try is away. Returns their number.

        Raises:
            Locked: a sync is at work.
            StoreError: the store does not answer, or its role may not write.
        """
        pipeline = course(self.pipeline).pipeline
        with pipeline.store.lock():
            rows = pipeline.store.generation(pipeline.spec)
            if rows is None:
                return 0
            now = dt.datetime.now(dt.UTC)
            failed = [replace(failure, next_try=now) for failure in rows.failures()]
            for start in range(0, len(failed), FAILURES_AT_ONCE):
                rows.write(WriteBatch(failures=failed[start : start + FAILURES_AT_ONCE]))
        self._status = None
        return len(failed)

    def _gathered(self) -> Status | RowvecError:
        try:
            return gather(self.pipeline)
        except RowvecError as error:
            return error


def _unseen() -> Problem:
    return Problem(403, "A search token does not open this: it is about all rows.", "Use the API key.")


class _OutOfReach:
    """Stands in the place of what must not be asked for somebody who may not see all rows."""

    def __getattr__(self, name: str) -> Any:
        raise _unseen()


_OUT_OF_REACH: Any = _OutOfReach()


def choose(services: Mapping[str, Service], name: str | None) -> Service:
    """The service `name`; None means the only one.

    Raises:
        Problem: 404 for an unknown name, 400 for None if there are several.
    """
    if name is not None:
        if name not in services:
            raise Problem(404, f"There is no pipeline {name[:100]!r}.", suggestion(name, services))
        return services[name]
    if len(services) > 1:
        names = ", ".join(services)
        raise Problem(400, "There are several pipelines.", f"Ask /pipelines/NAME/… with one of: {names}.")
    return next(iter(services.values()))


def choose_by_model(services: Mapping[str, Service], model: str | None) -> Service:
    """The service that a request of an OpenAI client means, whose `model` may name a pipeline or the model of one.

    Raises:
        Problem: 404 for an unknown name, 400 where there are several and the name does not say which.
    """
    if model is None or model in services:
        return choose(services, model)
    found = [each for each in services.values() if each.embedder.fingerprint.model == model]
    if not found:
        hint = "Name a pipeline, or a model that GET /v1/models lists."
        raise Problem(404, f"No pipeline, and no model of one, is called {model[:100]!r}.", hint, param="model")
    if len({each.embedder.fingerprint for each in found}) > 1:
        names = ", ".join(each.name for each in found)
        raise Problem(400, f"Several pipelines have the model {model[:100]!r}.", f"Name one: {names}.", param="model")
    return found[0]
