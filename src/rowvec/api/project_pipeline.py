"""One pipeline of a project, and everything that can be asked of it."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rowvec import assemble, assemble_search
from rowvec.api.calls import method
from rowvec.api.results import AuditResult, Plan, SyncResult
from rowvec.api.spans import time_span
from rowvec.auditing.audit import SAMPLE, audit
from rowvec.auditing.repair import repair
from rowvec.config.edit import set_search
from rowvec.errors import ConfigError, SearchError, StoreError
from rowvec.evaluation.asked import LoggedQuery, Order, asked, export
from rowvec.evaluation.files import read_judgements, read_queries
from rowvec.evaluation.measures import MEASURES, Evaluation, evaluate
from rowvec.filters import Filter, bind, parse
from rowvec.generations.lifecycle import live_rows, roll_back
from rowvec.pipeline import Options, Pipeline
from rowvec.pipeline_status import Status, failures, status, unfit
from rowvec.rerankers.base import Scored
from rowvec.searcher import Mode, Refine, Searcher, SearchResult
from rowvec.searcher.fitting import Fit, fit
from rowvec.searcher.kept import keep_evaluation
from rowvec.sources.base import Selection
from rowvec.sources.events.stream import EventStream
from rowvec.stores.index import IndexSpec, IndexStatus, VectorIndex
from rowvec.support.tables import Rows
from rowvec.syncing.preview import documents_to_embed, preview
from rowvec.syncing.report import OnReport
from rowvec.syncing.run import sync
from rowvec.syncing.watch import installed_notifier, watch
from rowvec.types import Document, Failure, Generation, Key, Progress, State, UnfitValue

if TYPE_CHECKING:
    from rowvec.api.project import Project

IndexAction = Literal["build", "drop", "status", "tune"]


class ProjectPipeline:
    """One pipeline of a project. Every method has a twin for coroutines: `await pipeline.search.aio("…")`.

    Connections and the model stay from one call to the next. Searches may run in several threads at once, also while
    a sync runs.
    """

    def __init__(self, project: Project, name: str, max_cost: float | None) -> None:
        self.name = name
        self._project = project
        self._max_cost = max_cost
        self._lock = threading.Lock()
        self._assembled: Pipeline | None = None
        self._searchable: Pipeline | None = None
        self._searcher: Searcher | None = None

    def __repr__(self) -> str:
        return f"<rowvec pipeline {self.name!r}>"

    @property
    def config(self) -> Path:
        """The rowvec.toml that declares it."""
        return self._project.config.path

    @property
    def assembled(self) -> Pipeline:
        """Source, text, embedder and store, put together at the first use."""
        with self._lock:
            if self._assembled is None:
                project = self._project
                self._assembled = assemble.assemble(
                    project.config, project.config.pipeline(self.name), max_cost=self._max_cost,
                    readers=project.readers, statement_seconds=project.statement_seconds,
                )  # fmt: skip
            return self._assembled

    @property
    def searchable(self) -> Pipeline:
        """What searches need, put together at the first use: the source is not opened, and may be away."""
        with self._lock:
            if self._searchable is None:
                project = self._project
                self._searchable = self._assembled or assemble_search.assemble(
                    project.config, project.config.pipeline(self.name),
                    readers=project.readers, statement_seconds=project.statement_seconds,
                )  # fmt: skip
            return self._searchable

    @property
    def vector_index(self) -> VectorIndex:
        """The vector index of the live generation.

        Raises:
            StoreError: there are no vectors yet, or the store has no vector index.
        """
        pipeline = self.assembled
        _, live = live_rows(pipeline.store, pipeline.spec)
        if live.index is None:
            raise StoreError(f"{pipeline.store.location} has no vector index: every search compares every row.")
        return live.index

    def close(self) -> None:
        """Disconnect and unload the model. The next call connects again."""
        with self._lock:
            parts = [self._assembled] if self._searchable is self._assembled else [self._assembled, self._searchable]
            self._assembled = self._searchable = self._searcher = None
        for each in parts:
            if each is not None:
                each.close()

    @method
    def plan(
        self,
        *,
        keys: Sequence[Key] | None = None,
        limit: int | None = None,
        force: bool = False,
        full: bool = False,
        retry_failed: bool = False,
        stop: threading.Event | None = None,
    ) -> Plan:
        """What a sync would do, why, and what it would cost. Nothing is written, embedded or paid for.

        Args:
            keys: only these rows.
            limit: up to this many rows, in key order.
            force: embed rows again although nothing changed.
            full: compare every row, whatever a cursor or change events say.
            retry_failed: only rows that failed before, whether their next try is due or not.

        Raises:
            SourceError, StoreError: the rows or the ledger cannot be read.
        """
        options = Options(_selection(keys), limit, force=force, full=full, retry_failed=retry_failed)
        return Plan.of(self.name, preview(self.assembled, options, stop=stop))

    @method
    def sync(
        self,
        *,
        keys: Sequence[Key] | None = None,
        limit: int | None = None,
        force: bool = False,
        full: bool = False,
        retry_failed: bool = False,
        allow_delete: bool = False,
        from_start: bool = False,
        accept: bool = False,
        progress: OnReport | None = None,
        stop: threading.Event | None = None,
    ) -> SyncResult:
        """Make the vectors match the rows, or carry out the change events that are there.

        Args:
            keys: only these rows; the vectors of those that are gone are deleted.
            limit: up to this many rows, in key order.
            force: embed rows again although nothing changed.
            full: compare every row, whatever a cursor or change events say.
            retry_failed: only rows that failed before, whether their next try is due or not.
            allow_delete: go on although more than half of the vectors would be deleted.
            from_start: read all change events again.
            accept: a new generation goes live although it is worse, lacks rows or was rolled back.
            progress: called in this thread with the counts so far.
            stop: when set, the batches in hand are written, then the sync ends as interrupted.

        Raises:
            RowvecError: see `rowvec.errors`; what was embedded before is stored.
        """
        options = Options(
            _selection(keys), limit, force=force, full=full, retry_failed=retry_failed, allow_delete=allow_delete
        )
        notes: list[str] = []
        stop = stop or threading.Event()
        report = sync(
            self.assembled, options, from_start=from_start, accept=accept, progress=progress, tell=notes.append,
            stop=stop,
        )  # fmt: skip
        return SyncResult.of(self.name, report, notes, interrupted=stop.is_set())

    @method
    def rows_to_embed(self, limit: int) -> Sequence[Document]:
        """Up to `limit` documents that a sync would embed now, in key order."""
        return list(itertools.islice(documents_to_embed(self.assembled), limit))

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
                `static`, `decay` or `half_life_days` switches that off.
            generation: vectors of another generation than the live one, to compare the two.
            typos: correct words that no row holds, or search as written. None does what `search.typos` says.
            prefix: take the last word as the beginning of one, as while somebody types; a blank behind it ends it.
                None does what `search.prefix` says.
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
        known = [column.name for column in self.searchable.spec.metadata]
        return self._ready().search(
            query, mode=mode, limit=limit, where=self._condition(where), explain=explain, exact=exact,
            passages=passages, rerank=rerank, typos=typos, prefix=prefix, generation=State(generation),
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
    ) -> SearchResult:
        """The rows nearest to the row `key`, itself left out.

        Args:
            passages: maximum number of its passages that each hit shows, those nearest to the row first.

        Raises:
            SearchError: there is no vector for that key.
        """
        return self._ready().similar(key, limit=limit, where=self._condition(where), explain=explain, passages=passages)

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

    @method
    def status(self) -> Status:
        """How far the vectors are in step with the rows: coverage, lag, failures, cost, the last runs."""
        return status(self.assembled)

    @method
    def failures(self, limit: int | None = None) -> Rows[Failure]:
        """The rows that could not be embedded or stored, each with its error and its next try; the latest first."""
        return Rows(tuple(failures(self.assembled, limit)))

    @method
    def unfit(self, limit: int | None = None) -> Rows[UnfitValue]:
        """The metadata values that are null because they do not fit their column, each with the reason."""
        return Rows(tuple(unfit(self.assembled, limit)))

    @method
    def generations(self) -> Rows[Generation]:
        """The live generation, the one being built, and the previous one, as far as they exist."""
        pipeline = self.assembled
        return Rows(tuple(pipeline.store.generations(pipeline.spec)))

    @method
    def rollback(self) -> Rows[Generation]:
        """Swap the live generation and the previous one; the generations after that.

        Raises:
            StoreError: there is no previous generation. EmbedderError: its model cannot be loaded.
            Locked: a sync is at work.
        """
        pipeline = self.assembled
        roll_back(pipeline)
        return Rows(tuple(pipeline.store.generations(pipeline.spec)))

    @method
    def drop_generation(self, state: State) -> None:
        """Drop the previous generation, or the one that is being built.

        Raises:
            StoreError: there is no such generation, or it is the live one. Locked: a sync is at work.
        """
        pipeline = self.assembled
        with pipeline.store.lock():
            pipeline.store.drop_generation(state, pipeline.spec)

    @method
    def index(
        self,
        action: IndexAction = "status",
        spec: IndexSpec | None = None,
        *,
        target: float = 0.98,
        queries: int = 200,
        progress: Progress | None = None,
    ) -> Rows[IndexStatus]:
        """Build, drop, tune or show the vector index; searches and writes go on meanwhile.

        Args:
            spec: what to build; by default what `store.index` says.
            target: the recall@10 that tuning aims at, between 0 and 1.
            queries: this many searches are compared when tuning.
            progress: called with a phase, what is done and what there is in all.

        Raises:
            StoreError: there are no vectors yet, or the store has no vector index.
        """
        found = self.vector_index
        if action == "build":
            found.build(spec, progress)
        elif action == "drop":
            found.drop()
        elif action == "tune":
            found.tune(target, queries, progress=progress)
        return Rows(tuple(found.status()))

    @method
    def watch(
        self,
        *,
        allow_delete: bool = False,
        from_start: bool = False,
        progress: OnReport | None = None,
        tell: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> SyncResult:
        """Carry out changes as they come, until `stop` is set: change events, or rows of a table with rowvec's trigger.

        Args:
            allow_delete: catch up although more than half of the vectors would be deleted.
            from_start: read all change events again first.
            progress: called in this thread with the counts so far.
            tell: called with what had to be waited for, in whole sentences.

        Raises:
            ConfigError: the pipeline has neither change events nor a table with a trigger.
            DeletionGuard: more than half of the vectors would be deleted.
            RowvecError: what does not pass by waiting; see `rowvec.errors`.
        """
        pipeline = self.assembled
        notes: list[str] = []
        note = tell or notes.append
        if isinstance(pipeline.source, EventStream):
            options = Options(allow_delete=allow_delete)
            report = sync(
                pipeline, options, follow=True, from_start=from_start, progress=progress, tell=note, stop=stop
            )
        elif from_start:
            raise ConfigError("from_start reads change events again, and here rows are watched.", hint="Leave it out.")
        else:
            report = watch(
                pipeline,
                installed_notifier(pipeline),
                allow_delete=allow_delete,
                progress=progress,
                note=note,
                stop=stop,
            )
        return SyncResult.of(self.name, report, notes, interrupted=False)

    @method
    def audit(
        self,
        *,
        sample: int = SAMPLE,
        fix: bool = False,
        allow_delete: bool = False,
        stop: threading.Event | None = None,
    ) -> AuditResult:
        """Compare every row with the store and the store with every row.

        Args:
            sample: this many rows, chosen by chance, are embedded again and compared with their vectors.
            fix: repair what was found, then look again.
            allow_delete: repair although more than half of the vectors would be deleted.

        Raises:
            StoreError: there are no vectors yet. SourceError, EmbedderError: one of them does not answer.
        """
        pipeline = self.assembled
        found = audit(pipeline, sample=sample, stop=stop)
        wanted = fix and found.findings and not (stop is not None and stop.is_set())
        done = repair(pipeline, found, allow_delete=allow_delete, stop=stop) if wanted else None
        return AuditResult.of(found, done)

    @method
    def eval(
        self,
        queries: Path | str | Mapping[str, str],
        judgements: Path | str | Mapping[str, Mapping[str, int]],
        *,
        modes: Sequence[Mode] = ("semantic", "keyword", "hybrid"),
        measures: Sequence[str] = MEASURES,
        condensed: bool = False,
        rerank: bool | None = None,
        keep: bool = False,
    ) -> Mapping[Mode, Evaluation]:
        """Measure the ranking by human judgements; one evaluation for each mode.

        Args:
            queries: texts by query id, or a file of them (CSV, JSONL or TREC).
            judgements: grades by key by query id, or a file of them (CSV, JSONL or TREC qrels).
            measures: such as "nDCG@10", "recall@100", "MRR@10", "precision@5", "MAP".
            condensed: leave unjudged rows out of the rankings.
            rerank: False leaves out the reranker of `search.rerank`. None asks it where there is one.
            keep: keep the means and the worst queries in the store, for the page and for later comparison.

        Raises:
            SearchError: `rerank` without a reranker.
            StoreError: with `keep`, the store cannot be written.
            ConfigError: a file that cannot be read, no such measure, no query has a judgement.
            MissingExtraError: ir_measures is not installed.
        """
        asked = read_queries(Path(queries)) if isinstance(queries, Path | str) else queries
        judged = read_judgements(Path(judgements)) if isinstance(judgements, Path | str) else judgements
        searcher = self._ready()

        def ranker(mode: Mode) -> Callable[[str, int], list[Key]]:
            return lambda query, depth: [
                hit.key for hit in searcher.search(query, mode=mode, limit=depth, rerank=rerank).hits
            ]

        found = {mode: evaluate(ranker(mode), asked, judged, measures, condensed=condensed) for mode in modes}
        if keep:
            keep_evaluation(self.assembled, {str(mode): each for mode, each in found.items()}, asked)
        return found

    @method
    def queries(
        self, order: Order = "latest", *, since: str | dt.timedelta | None = None, limit: int = 20
    ) -> Rows[LoggedQuery]:
        """What people asked a server of this project that logs queries (`[serve.queries]`).

        Args:
            order: "latest", "slow", "no-hits" or "top"; the two last count the same words together.
            since: only the queries of this time until now, such as "7d".
            limit: up to this many.

        Raises:
            ConfigError: there is no log.
        """
        path = self._project.config.query_log
        return Rows(tuple(asked(path, self.name, order, time_span(since), limit)))

    @method
    def export_queries(
        self,
        queries: Path | str,
        judgements: Path | str,
        *,
        since: str | dt.timedelta | None = None,
        force: bool = False,
    ) -> tuple[int, int]:
        """Write the logged queries that have clicks or conversions, and these as judgements: files for `eval`.

        Args:
            since: only the queries of this time until now, such as "7d".
            force: overwrite the files.

        Returns:
            The number of queries and that of judgements.

        Raises:
            ConfigError: there is no log, it has no clicks, or a file cannot be written.
        """
        path = self._project.config.query_log
        return export(path, self.name, time_span(since), Path(queries), Path(judgements), force=force)

    @method
    def fit(
        self,
        queries: Path | str | Mapping[str, str],
        judgements: Path | str | Mapping[str, Mapping[str, int]],
        *,
        mode: Mode = "hybrid",
        measure: str = "nDCG@10",
        folds: int = 5,
        condensed: bool = False,
        write: bool = False,
        tell: Progress = lambda *_: None,
    ) -> Fit:
        """Propose weights for the search, and measure what they gain on queries by which none was chosen.

        Args:
            queries, judgements, condensed: as for `eval`.
            folds: parts into which the queries are divided; each part is measured with weights of the others.
            write: set the weights in rowvec.toml if their gain shows. Searches of this object keep the old ones.
            tell: called with how far it is.

        Raises:
            ConfigError: as for `eval`; one query only; nothing has a weight; rowvec.toml cannot be changed.
            MissingExtraError: ir_measures is not installed.
        """
        asked = read_queries(Path(queries)) if isinstance(queries, Path | str) else queries
        judged = read_judgements(Path(judgements)) if isinstance(judgements, Path | str) else judgements
        found = fit(
            self._ready(), asked, judged, mode=mode, measure=measure, folds=folds, condensed=condensed, tell=tell
        )
        if write and found.better:
            set_search(self._project.config.path, self.name, found.changes)
        return found

    def _ready(self) -> Searcher:
        pipeline = self.searchable
        with self._lock:
            if self._searcher is None:
                self._searcher = Searcher.of(pipeline)
            return self._searcher

    def _condition(self, where: str | Filter | None) -> Filter | None:
        if where is None:
            return None
        return bind(parse(where) if isinstance(where, str) else where, self.searchable.spec.metadata)


def _selection(keys: Sequence[Key] | None) -> Selection | None:
    return None if keys is None else Selection(keys=tuple(keys))
