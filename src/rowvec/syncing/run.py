"""Making the vectors of a pipeline match its rows: the lock, the record of the run, and as many passes as it takes."""

from __future__ import annotations

import threading
from dataclasses import replace

from rowvec.embedders.base import AbsentEmbedder
from rowvec.errors import BudgetExceeded, EmbedderError
from rowvec.generations.lifecycle import Course, Tell, absence, complete, course, say_nothing
from rowvec.pipeline import Options, Pipeline
from rowvec.support import logs
from rowvec.support.retry import patiently
from rowvec.syncing.pages import circumstances
from rowvec.syncing.report import Record, add_cost, save_failed
from rowvec.syncing.rows import Pass, Progress
from rowvec.types import Report

SLICE_SECONDS = 300.0
"""While a generation is filled beside the live one, that is brought in step so often."""


def sync(
    pipeline: Pipeline,
    options: Options | None = None,
    *,
    accept: bool = False,
    progress: Progress | None = None,
    tell: Tell = say_nothing,
    stop: threading.Event | None = None,
) -> Report:
    """Make the vectors of a pipeline match its rows.

    Args:
        accept: a new generation goes live although it is worse, lacks rows or was rolled back.
        progress: called in this thread after every event with the counts so far.
        tell: called with what the user should know of generations, in whole sentences.
        stop: when set, the batches in hand are finished and written, then the run ends as interrupted.

    Raises:
        Locked: another sync of this pipeline is at work.
        DeletionGuard: more than half of the vectors would be deleted.
        GenerationHeld: a new generation is complete and did not go live.
        SourceError, EmbedderError, StoreError: what ended the run; everything embedded before is kept.
    """
    options, stop = options or Options(), stop or threading.Event()
    store = pipeline.store
    with store.lock():
        # Not before: to prepare can mean to drop what another sync is filling.
        chosen = course(pipeline, accept=accept)
        if chosen.note:
            tell(chosen.note)
        store.prepare(chosen.pipeline.spec)
        work = _Run(chosen, options, store.begin_run(), progress, tell, stop)
        logs.note(run=work.record.number)
        try:
            work.carry_out()
            if options.whole and not stop.is_set():
                complete(work.chosen, accept=accept, tell=tell)
        except BaseException as error:
            save_failed(store, work.record.number, work.report, error)
            raise
        store.save_run(work.record.number, work.report, "interrupted" if stop.is_set() else "done")
    return work.report


class _Run:
    """One pass over the rows; where a generation is filled beside the live one, as many as that takes."""

    def __init__(
        self,
        chosen: Course,
        options: Options,
        number: int,
        progress: Progress | None,
        tell: Tell,
        stop: threading.Event,
    ) -> None:
        self.chosen = chosen
        self.options = options
        self.record = Record(number)
        self.report = self.record.report
        self.progress = progress
        self.tell = tell
        self.stop = stop

    def carry_out(self) -> None:
        chosen = self.chosen
        if chosen.live is None:
            self._pass(chosen.pipeline, self.options, self.report)
        elif self.options.whole:
            self._fill()
        else:
            self._keep_in_step()
            self._pass(chosen.pipeline, self.options, self.report)

    def _fill(self) -> None:
        """Fill the new generation, with a look at the live one every few minutes.

        Rows change while that goes on. So the rows are walked through from the first to the last until a walk takes no
        longer than the time between two looks: then no row is older than after any other sync.
        """
        walks, walk, options = 0, self.report, replace(self.options, full=True)
        try:
            while not self.stop.is_set():
                self._keep_in_step()
                # Longer with each walk, so that one of them comes to its end however many rows there are.
                ended = self._pass(self.chosen.pipeline, options, walk, seconds=SLICE_SECONDS * 2**walks)
                whole = options.after is None
                options = replace(options, after=None if ended else walk.last_key)
                if ended and whole:
                    return
                if ended:
                    self._add_walk(walk)
                    walks, walk, options = walks + 1, Report(), replace(options, force=False)
        finally:
            # Whatever ended it: what it cost is on record.
            self._add_walk(walk)

    def _add_walk(self, walk: Report) -> None:
        if walk is not self.report and walk.read:
            _add_later_walk(self.report, walk)

    def _keep_in_step(self) -> None:
        """What changed in the source reaches the live generation too, by the model that made it."""
        kept = Report()
        try:
            self._keep_live(kept)
        finally:
            add_cost(self.report, kept)
        self.chosen.pipeline.store.prepare(self.chosen.pipeline.spec)
        for name in ("inserted", "embedded", "updated", "deleted"):
            if number := getattr(kept, name):
                reason = f"live generation: {name}"
                self.report.reasons[reason] = self.report.reasons.get(reason, 0) + number

    def _keep_live(self, kept: Report) -> None:
        live, options = self.chosen.live, replace(self.options, force=False)
        assert live is not None
        try:
            self._pass(live, options, kept)
        except BudgetExceeded:
            raise
        except EmbedderError as error:
            # A service that has given the model up is a reason to change it, and none to stop.
            live = replace(live, embedder=AbsentEmbedder(live.embedder.fingerprint, error))
            self.chosen = replace(self.chosen, live=live)
            self.tell(f"From now on:{absence(live)}")
            self._pass(live, options, kept)

    def _pass(self, pipeline: Pipeline, options: Options, report: Report, *, seconds: float | None = None) -> bool:
        """Returns False where it stopped before the last row because its time was up."""
        ledger = self.chosen.ledger
        if pipeline is self.chosen.live:
            ledger = patiently(self.stop, pipeline.store.ledger)
            pipeline.store.prepare(pipeline.spec)
        at = circumstances(pipeline, ledger, options)
        progress = self.progress if pipeline is self.chosen.pipeline else None
        work = Pass(pipeline, options, at, self.record, progress, self.stop, report, seconds)
        work.carry_out()
        return work.ended


def _add_later_walk(report: Report, walk: Report) -> None:
    """What a walk over the same rows as before has changed, and what is still wrong at its end."""
    add_cost(report, walk)
    for name in ("inserted", "embedded", "updated", "deleted", "reused", "truncated", "conflicts"):
        setattr(report, name, getattr(report, name) + getattr(walk, name))
    lacking = walk.failed + walk.waiting
    report.failed = min(report.failed + walk.failed, lacking)
    report.waiting = lacking - report.failed
