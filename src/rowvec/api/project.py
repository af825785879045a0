"""One rowvec.toml, opened: its pipelines stay connected and their models loaded from one call to the next."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from rowvec import assemble, assemble_search
from rowvec.api.calls import method
from rowvec.api.results import AuditResult, Plan, SyncResult
from rowvec.auditing.audit import SAMPLE, audit
from rowvec.auditing.repair import repair
from rowvec.config import Config, load
from rowvec.evaluation.files import read_judgements, read_queries
from rowvec.evaluation.measures import MEASURES, Evaluation, evaluate
from rowvec.filters import Filter, bind, parse
from rowvec.generations.lifecycle import roll_back
from rowvec.pipeline import Options, Pipeline
from rowvec.pipeline_status import Status, failures, status
from rowvec.searcher import Mode, Searcher, SearchResult
from rowvec.sources.base import Selection
from rowvec.support.tables import Rows
from rowvec.syncing.preview import documents_to_embed, preview
from rowvec.syncing.report import OnReport
from rowvec.syncing.run import sync
from rowvec.types import Document, Failure, Generation, Key

Index = Literal["build", "drop", "status", "tune"]


class Project:
    """The pipelines of one rowvec.toml. A context manager; nothing is connected or loaded before it is needed.

    Args:
        config: a rowvec.toml or its folder; by default the nearest one from the working directory upwards.
        readers: this many threads can search a PostgreSQL store at once.
        statement_seconds: a search that takes longer is cancelled; None for no limit.

    Raises:
        ConfigError: the file cannot be found or read.
    """

    def __init__(
        self, config: Path | str | None = None, *, readers: int = 2, statement_seconds: float | None = None
    ) -> None:
        self.config: Config = load(None if config is None else Path(config))
        self.readers = readers
        self.statement_seconds = statement_seconds
        self._opened: dict[tuple[str, float | None], ProjectPipeline] = {}
        self._lock = threading.Lock()

    @property
    def pipelines(self) -> Sequence[str]:
        """The names of the pipelines, in the order of the file."""
        return tuple(self.config.names)

    def pipeline(self, name: str | None = None, *, max_cost: float | None = None) -> ProjectPipeline:
        """The pipeline of that name; optional where the file defines only one.

        Args:
            max_cost: US dollars that a paid model may cost while the pipeline is open.

        Raises:
            ConfigError: no pipeline has that name.
        """
        declared = self.config.pipeline(name)
        with self._lock:
            key = (declared.name, max_cost)
            if key not in self._opened:
                self._opened[key] = ProjectPipeline(self, declared.name, max_cost)
            return self._opened[key]

    def close(self) -> None:
        """Disconnect every pipeline and unload the models."""
        with self._lock:
            for each in self._opened.values():
                each.close()
            self._opened.clear()

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<rowvec project {str(self.config.path)!r}: {', '.join(self.pipelines)}>"


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
        query: str,
        *,
        mode: Mode = "semantic",
        limit: int = 10,
        where: str | Filter | None = None,
        explain: bool = False,
        exact: bool = False,
    ) -> SearchResult:
        """The best rows for a query.

        Args:
            mode: "semantic" (vectors), "keyword" (BM25) or "hybrid" (both).
            limit: up to this many hits, at most 1,000.
            where: a filter on metadata columns, such as `price < 100 and supplier = 'HP'`.
            explain: give each hit the parts of its score.
            exact: compare every row instead of asking an approximate index.

        Raises:
            SearchError: an empty or overlong query, a limit out of bounds, no keyword index.
            StoreError: there are no vectors yet.
        """
        return self._ready().search(
            query, mode=mode, limit=limit, where=self._condition(where), explain=explain, exact=exact
        )

    @method
    def similar(
        self, key: Key, *, limit: int = 10, where: str | Filter | None = None, explain: bool = False
    ) -> SearchResult:
        """The rows nearest to the row `key`, itself left out.

        Raises:
            SearchError: there is no vector for that key.
        """
        return self._ready().similar(key, limit=limit, where=self._condition(where), explain=explain)

    @method
    def status(self) -> Status:
        """How far the vectors are in step with the rows: coverage, lag, failures, cost, the last runs."""
        return status(self.assembled)

    @method
    def failures(self) -> Rows[Failure]:
        """The rows that could not be embedded, each with its error and its next try."""
        return Rows(tuple(failures(self.assembled)))

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
    ) -> Mapping[Mode, Evaluation]:
        """Measure the ranking by human judgements; one evaluation for each mode.

        Args:
            queries: texts by query id, or a file of them (CSV, JSONL or TREC).
            judgements: grades by key by query id, or a file of them (CSV, JSONL or TREC qrels).
            measures: such as "nDCG@10", "recall@100", "MRR@10", "precision@5", "MAP".
            condensed: leave unjudged rows out of the rankings.

        Raises:
            ConfigError: a file that cannot be read, no such measure, no query has a judgement.
            MissingExtraError: ir_measures is not installed.
        """
        asked = read_queries(Path(queries)) if isinstance(queries, Path | str) else queries
        judged = read_judgements(Path(judgements)) if isinstance(judgements, Path | str) else judgements
        searcher = self._ready()

        def ranker(mode: Mode) -> Callable[[str, int], list[Key]]:
            return lambda query, depth: [hit.key for hit in searcher.search(query, mode=mode, limit=depth).hits]

        return {mode: evaluate(ranker(mode), asked, judged, measures, condensed=condensed) for mode in modes}

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
