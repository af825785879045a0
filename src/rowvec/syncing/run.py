"""Making the vectors of a pipeline match its rows: one entry, whether rows are compared or change events carried out.

The frame is the same for both, and for a fleet: under the lock it is decided which generation is filled, and a run is
put on record (`begun`); then comes the work; in the end the record says how it ended (`report.recorded`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from rowvec.embedders.base import AbsentEmbedder
from rowvec.errors import BudgetExceeded, ConfigError, EmbedderError, Interrupted
from rowvec.generations.lifecycle import Course, Tell, absence, complete, course, say_nothing
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.events.stream import EventStream
from rowvec.stores.abilities import AltersTable, MovesRows
from rowvec.stores.base import GenerationHandle
from rowvec.stores.runs import OnReport, Report
from rowvec.support import logs
from rowvec.support.figures import count
from rowvec.support.interrupts import stopped_by
from rowvec.support.retry import PATIENCE, patiently
from rowvec.support.tracing import span
from rowvec.syncing.events import BATCH_EVENTS, Following, check_same_recipe
from rowvec.syncing.pages import circumstances, events_of
from rowvec.syncing.report import Running, recorded
from rowvec.syncing.rows import Pass

CHANGED = ("inserted", "embedded", "updated", "deleted")
SLICE_SECONDS = 300.0
"""While a generation is filled beside the live one, that is brought in step so often."""


def sync(
    pipeline: Pipeline,
    options: Options | None = None,
    *,
    follow: bool = False,
    from_start: bool = False,
    accept: bool = False,
    batch_events: int = BATCH_EVENTS,
    choose: Callable[[], Options] | None = None,
    check: Callable[[Course], None] | None = None,
    patience: float | None = None,
    progress: OnReport | None = None,
    tell: Tell = say_nothing,
    stop: threading.Event | None = None,
) -> Report:
    """Make the vectors of a pipeline match its rows; of a pipeline of change events, carry out those that are not yet.

    Args:
        options: change events are not carried out but rows compared with `force`, with `full`, or for a part of them.
        follow: wait for more change events until `stop` is set, instead of ending with the last one there is.
        from_start: read every stream of change events from its beginning; what is known already is recognised.
        accept: a new generation goes live although it is worse, lacks rows or was rolled back.
        batch_events: change events that are carried out together, at most.
        choose: which rows, asked when the run is on record: whoever asks for a run later asks for later rows too.
        check: raises where that must not be done, before anything is prepared.
        patience: seconds that an embedding service which gives no answer is waited for; a minute by default, with
            `follow` for ever.
        progress: called in this thread with the counts so far: of rows all the time, of change events after each batch.
        tell: called with what the user should know, in whole sentences.
        stop: when set, the batches in hand are finished and written, then the run ends as interrupted.

    Returns the counts. `reasons` also holds the events that were left out, each with the reason.

    Raises:
        ConfigError: `follow` or `from_start`, and rows are compared.
        Locked: another sync of this pipeline is at work.
        DeletionGuard: more than half of the vectors would be deleted, or the table was truncated.
        StoreError: the vectors are of another model or text recipe, which events alone cannot put right.
        GenerationHeld: a new generation did not go live: it is worse, or lacks rows that the live one has.
        SourceError, EmbedderError, StoreError: what ended the run; everything embedded before is kept.
    """
    options, stop = options or Options(), stop or threading.Event()
    events = _wanted_events(pipeline, options, follow=follow, from_start=from_start)
    usual = math.inf if follow else PATIENCE
    running = Running(0, stop, progress, tell, usual if patience is None else patience)

    def check_all(chosen: Course) -> None:
        if events is not None and (follow or not from_start):
            check_same_recipe(chosen.pipeline, chosen.ledger)
        if check is not None:
            check(chosen)

    with _traced(pipeline, running), stopped_by(stop), pipeline.store.lock():
        chosen, generation = begun(pipeline, running, accept=accept, check=check_all)
        with recorded(pipeline.store, running, until_stopped=follow):
            if events is None:
                options = choose() if choose is not None else options
                chosen = _Run(chosen, generation, options, running).carry_out()
                whole, accounted = options.whole, math.inf
            else:
                work = _following(chosen, generation, events, options, running)
                offsets = {} if from_start else patiently(stop, generation.offsets)
                work.carry_out(offsets, follow=follow, size=batch_events)
                whole, accounted = from_start, work.accounted
            if whole and not stop.is_set():
                running.enter("putting the vectors into use")
                complete(chosen, accept=accept, tell=tell, accounted=accounted)
            running.report.whole = events is not None or options.whole or options.exhaustive
    return running.report


@contextmanager
def _traced(pipeline: Pipeline, running: Running) -> Iterator[None]:
    """A span with what the run has done, whatever ends it."""
    with span("rowvec.sync", {"rowvec.pipeline": pipeline.name}) as traced:
        try:
            yield
        finally:
            report = running.report
            counts = {name: getattr(report, name) for name in ("read", *CHANGED, "failed", "unchanged")}
            traced.note({f"rowvec.rows.{name}": count for name, count in counts.items()})
            traced.note({"rowvec.tokens": report.tokens, "rowvec.cost": report.cost})


def _wanted_events(pipeline: Pipeline, options: Options, *, follow: bool, from_start: bool) -> EventStream | None:
    events = events_of(pipeline, options)
    if events is None and (follow or from_start):
        what = "To follow takes change events" if follow else "--from-start reads change events again"
        raise ConfigError(f"{what}, and here rows are compared.", hint="Leave it out.")
    return events


def begun(
    pipeline: Pipeline, running: Running, *, accept: bool, check: Callable[[Course], None] | None = None
) -> tuple[Course, GenerationHandle]:
    """Decide what to do and put the run on record. The lock is held: to prepare can mean to drop what another sync is
    filling.

    Args:
        check: raises where that must not be done, before anything is prepared.
    """
    chosen = course(pipeline, accept=accept)
    if chosen.note:
        running.tell(chosen.note)
    if check is not None:
        check(chosen)
    _move(pipeline, running)
    generation = pipeline.store.prepare(chosen.pipeline.spec)
    running.number = pipeline.store.begin_run(pipeline.name)
    logs.note(run=running.number)
    return chosen, generation


def _move(pipeline: Pipeline, running: Running) -> None:
    """Bring rows to the parts of the store that they belong to, before anything is written: a run of its own."""
    store = pipeline.store
    if not isinstance(store, MovesRows) or not store.must_move():
        return
    if isinstance(store, AltersTable):
        # The record of a run goes into books that an older rowvec may have made.
        store.apply(pipeline.spec)
    moving = replace(running, number=store.begin_run(pipeline.name), report=Report())
    stopped = Interrupted("Stopped while rows moved to other parts. The next sync goes on with it.")

    def progress(phase: str, done: int, total: int | None) -> None:
        moving.enter(phase)
        if store.save_run(moving.number, moving.report, "running"):
            running.stop.set()
        if running.stop.is_set():
            raise stopped

    def moved(rows: int) -> None:
        moving.report.moved += rows

    with recorded(store, moving):
        store.move(pipeline.spec, progress, moved)
    if store.must_move():
        raise stopped
    said = count(moving.report.moved, "row")
    running.tell(f"Moved to other parts of the store: {said}. Nothing was embedded for that.")


def _following(
    chosen: Course, generation: GenerationHandle, events: EventStream, options: Options, running: Running
) -> Following:
    # After a rollback the live generation is followed, whatever model the config names.
    at = circumstances(chosen.pipeline, chosen.ledger, Options(), running.stop)
    return Following(chosen.pipeline, generation, events, at, running, allow_delete=options.allow_delete)


class _Run:
    """One pass over the rows; where a generation is filled beside the live one, as many as that takes."""

    def __init__(self, chosen: Course, generation: GenerationHandle, options: Options, running: Running) -> None:
        self.chosen = chosen
        self.generation = generation
        self.options = options
        self.running = running
        self.report, self.stop = running.report, running.stop

    def carry_out(self) -> Course:
        """Returns what was carried out: without a model for the live generation where that gave out on the way."""
        chosen = self.chosen
        if chosen.live is None:
            self._pass(chosen.pipeline, self.options, self.report)
        elif self.options.whole:
            self._fill()
        else:
            self._keep_in_step()
            self._pass(chosen.pipeline, self.options, self.report)
        return self.chosen

    def _fill(self) -> None:
        """Fill the new generation, with a look at the live one every few minutes.

        Rows change while that goes on. So the rows are walked through from the first to the last until a walk takes no
        longer than the time between two looks: then no row is older than after any other sync.
        """
        walks, walk, options = 0, self.report, replace(self.options, full=True)
        try:
            while not self.stop.is_set():
                self._keep_in_step()
                if walks:
                    self.report.phase = "looking at rows again"
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
        """What a walk over the same rows as before has changed, and what is still wrong at its end."""
        report = self.report
        if walk is report or not walk.read:
            return
        report.add_cost(walk)
        report.add(walk, "inserted", "embedded", "updated", "deleted", "reused", "truncated", "conflicts")
        lacking = walk.failed + walk.waiting
        report.failed = min(report.failed + walk.failed, lacking)
        report.waiting = lacking - report.failed

    def _keep_in_step(self) -> None:
        """What changed in the source reaches the live generation too, by the model that made it."""
        kept = Report()
        try:
            self._keep_live(kept)
        finally:
            self.report.add_cost(kept)
        for name in CHANGED:
            self.report.count(f"live generation: {name}", getattr(kept, name))

    def _keep_live(self, kept: Report) -> None:
        live, options = self.chosen.live, replace(self.options, force=False)
        assert live is not None
        self.report.phase = "keeping the live generation in step"
        try:
            self._pass(live, options, kept)
        except BudgetExceeded:
            raise
        except EmbedderError as error:
            # A service that has given the model up is a reason to change it, and none to stop.
            live = replace(live, embedder=AbsentEmbedder(live.embedder.fingerprint, error))
            self.chosen = replace(self.chosen, live=live)
            self.running.tell(f"From now on:{absence(live)}")
            self._pass(live, options, kept)

    def _pass(self, pipeline: Pipeline, options: Options, report: Report, *, seconds: float | None = None) -> bool:
        """Returns False where it stopped before the last row because its time was up."""
        ledger, generation, running = self.chosen.ledger, self.generation, self.running
        live = self._live() if pipeline is self.chosen.pipeline else None
        if pipeline is self.chosen.live:
            ledger = patiently(self.stop, pipeline.store.ledger)
            generation = pipeline.store.prepare(pipeline.spec)
            # Whoever changes the model may do so because its service is gone: that is not waited for without end.
            running = replace(running, progress=None, patience=min(running.patience, PATIENCE))
        at = circumstances(pipeline, ledger, options, self.stop)
        work = Pass(pipeline, generation, options, at, running, report, seconds=seconds, live=live)
        work.carry_out()
        return work.ended

    def _live(self) -> GenerationHandle | None:
        """The live generation, where another one is filled."""
        live = self.chosen.live
        return None if live is None else patiently(self.stop, live.store.generation, live.spec)
