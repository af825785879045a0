"""One pipeline of a project, and everything that can be asked of it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Literal

from rowvec.api.calls import method
from rowvec.api.measuring import Measuring
from rowvec.api.results import AuditResult, Plan, SyncResult, plan_of
from rowvec.api.searching import Searching
from rowvec.auditing.findings import SAMPLE
from rowvec.auditing.neighbours import BOUND, ROWS, SECONDS, Quality
from rowvec.errors import ConfigError
from rowvec.generations.lifecycle import drop, roll_back
from rowvec.pipeline import Options
from rowvec.pipeline_status import Status, failures, status, unfit
from rowvec.sources.base import Selection
from rowvec.stores.index import IndexSpec, IndexStatus
from rowvec.stores.runs import OnReport
from rowvec.support.tables import Rows
from rowvec.types import Document, Failure, Generation, Key, Progress, State, UnfitValue

IndexAction = Literal["build", "drop", "status", "tune"]


class ProjectPipeline(Searching, Measuring):
    """One pipeline of a project. Every method has a twin for coroutines: `await pipeline.search.aio("…")`.

    Connections and the model stay from one call to the next. Searches may run in several threads at once, also while
    a sync runs. A call imports what it needs when it is made: `status` does not wait for what syncs.
    """

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
        from rowvec.syncing.preview import preview

        options = Options(_selection(keys), limit, force=force, full=full, retry_failed=retry_failed)
        return plan_of(self.name, preview(self.current, options, stop=stop))

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
        from rowvec.syncing.run import sync

        options = Options(
            _selection(keys), limit, force=force, full=full, retry_failed=retry_failed, allow_delete=allow_delete
        )
        notes: list[str] = []
        stop = stop or threading.Event()
        report = sync(
            self.current, options, from_start=from_start, accept=accept, progress=progress, tell=notes.append,
            stop=stop,
        )  # fmt: skip
        return SyncResult.of(self.name, report, notes, interrupted=stop.is_set())

    @method
    def rows_to_embed(self, limit: int) -> Sequence[Document]:
        """Up to `limit` documents that a sync would embed now, in key order."""
        from rowvec.syncing.preview import documents_to_embed

        return list(itertools.islice(documents_to_embed(self.current), limit))

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
        drop(self.assembled, state)

    @method
    def index(
        self,
        action: IndexAction = "status",
        spec: IndexSpec | None = None,
        *,
        target: float = 0.98,
        queries: int | Sequence[str] = 200,
        progress: Progress | None = None,
    ) -> Rows[IndexStatus]:
        """Build, drop, tune or show the vector index; searches and writes go on meanwhile.

        Args:
            spec: what to build; by default what `store.index` says.
            target: the recall@10 that tuning aims at, between 0 and 1.
            queries: what tuning searches for: that many rows, or texts as people type them.
            progress: called with a phase, what is done and what there is in all.

        Raises:
            StoreError: there are no vectors yet, or the store has no vector index.
            ConfigError: `queries` is empty.
        """
        found = self.vector_index
        if action == "build":
            found.build(spec, progress)
        elif action == "drop":
            found.drop()
        elif action == "tune":
            asked = queries if isinstance(queries, int) else self.query_vectors(queries)
            found.tune(target, asked, progress=progress)
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
        from rowvec.sources.events.stream import EventStream
        from rowvec.syncing.run import sync
        from rowvec.syncing.watch import installed_notifier, watch

        pipeline = self.current
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
        from rowvec.auditing.audit import audit
        from rowvec.auditing.repair import repair

        pipeline = self.current
        found = audit(pipeline, sample=sample, stop=stop)
        wanted = fix and found.findings and not (stop is not None and stop.is_set())
        done = repair(pipeline, found, allow_delete=allow_delete, stop=stop) if wanted else None
        return AuditResult.of(found, done)

    @method
    def quality(
        self, *, rows: int = ROWS, bound: float = BOUND, seconds: float = SECONDS, progress: Progress | None = None
    ) -> Quality:
        """Rows worth a look: cut, of one text, nearly the same, and far from all others.

        Args:
            rows: up to this many are compared with their nearest rows; a hash of the key decides which.
            bound: cosine from which on two rows are nearly the same; above 0, up to 1.
            seconds: no further row is compared after that.
            progress: called with a phase, what is done and what there is in all.

        Raises:
            StoreError: there are no vectors yet. ConfigError: a bound that cannot be.
        """
        from rowvec.auditing.quality import quality

        return quality(self.assembled, rows=rows, bound=bound, seconds=seconds, progress=progress)


def _selection(keys: Sequence[Key] | None) -> Selection | None:
    return None if keys is None else Selection(keys=tuple(keys))
