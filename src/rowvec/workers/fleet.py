"""One sync by many workers: ranges of keys are sent out, watched, sent again when they fall silent, and swept once.

Whoever starts the fleet holds no lock while the workers work, so that their ranges can be locked one by one. It writes
the record of the run, and when every range is done it takes the whole table's lock and deletes what is gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from celery import states

from rowvec.errors import ConfigError, Locked, RowsDiffer, RowvecError, StoreError
from rowvec.generations.lifecycle import Course, Tell, complete, say_nothing
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Divisible
from rowvec.stores.base import GenerationHandle
from rowvec.stores.ledger import Ledger
from rowvec.stores.runs import OnReport, Report
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.retry import patiently
from rowvec.syncing.deletion import Guard
from rowvec.syncing.report import Running, recorded
from rowvec.syncing.run import begun
from rowvec.workers import members, ranges
from rowvec.workers.celery import PROGRESS, QUEUED, app, send, state_of, sync_range

RANGES = 64
SMALLEST, LARGEST = 200, 20_000
"""Rows in a range: enough to be worth sending, few enough that a lost one costs seconds to minutes."""
OUTSTANDING = 64
POLL_SECONDS = 0.3
POLL_WAITING = 8
"""Ranges in the queue that are asked about at once."""
SILENT_SECONDS = 30.0
PATIENCE = 300.0
"""Seconds for which broker, result store and source are asked again; as long as a range comes again for."""
IDLE_SECONDS = 30.0
"""Seconds without a word from any worker after which the user is warned, and warned again."""
LOCK_TRIES = 600
MOST_DOUBTS = 10
Ask: TypeAlias = Callable[..., Any]
"""Calls its first argument with the others, again where that may help."""
UNSTARTED = frozenset({states.PENDING, states.RETRY, QUEUED})


@dataclass(slots=True)
class Part:
    """One range, and the tasks that were sent for it."""

    after: str | None
    until: str | None
    tasks: list[str] = field(default_factory=list)
    report: Report = field(default_factory=Report)
    said: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What each task said last."""
    heard_at: float = 0.0
    started: bool = False
    finished: bool = False
    rows: dict[str, Any] | None = None
    """The evidence that went with it last, see `rowvec.workers.members`."""
    doubts: int = 0
    """How often a worker has read other rows, and those had changed here too since the range was sent."""

    def listen(self, ask: Ask) -> bool:
        """Whether one of its tasks has said something new.

        Raises:
            RowvecError: the range failed.
        """
        news = False
        for task in self.tasks:
            meta = ask(state_of, task)
            state, result = meta["status"], meta["result"]
            if self.said.get(task) == (state, repr(result)):
                continue
            self.said[task] = (state, repr(result))
            news = news or state not in UNSTARTED
            self.started = state not in UNSTARTED
            if state in states.EXCEPTION_STATES and state != states.RETRY:
                raise _failure(self, result)
            if state in (states.SUCCESS, PROGRESS):
                self.report = ranges.report_of(result)
            if state == states.SUCCESS:
                self.finished = True
                return True
        if news:
            self.heard_at = time.monotonic()
        return news

    def send(self, pipeline: Pipeline, settings: dict[str, Any], ask: Ask) -> None:
        self.rows = self.evidence(pipeline, ask)
        work = partial(send, sync_range, pipeline.name, self.after, self.until, rows=self.rows, **settings)
        self.tasks.append(ask(work))
        self.heard_at = time.monotonic()
        self.started = False

    def evidence(self, pipeline: Pipeline, ask: Ask) -> dict[str, Any]:
        after, until = (ranges.key_of(pipeline, bound) for bound in (self.after, self.until))
        found: dict[str, Any] = ask(members.evidence, pipeline, after, until)
        return found


def sync(
    pipeline: Pipeline,
    options: Options | None = None,
    *,
    accept: bool = False,
    range_rows: int | None = None,
    progress: OnReport | None = None,
    tell: Tell = say_nothing,
    stop: threading.Event | None = None,
) -> Report:
    """Make the vectors of a whole pipeline match its rows, by the workers that listen on the broker.

    Args:
        options: `force` and `allow_delete` go with a fleet.
        accept: a new generation goes live although it is worse, lacks rows or was rolled back.
        range_rows: rows in one task.
        tell: called with what the user should know of generations, in whole sentences.
        stop: when set, ranges that no worker has begun are taken back.

    Raises:
        Locked: another sync of this pipeline is at work.
        ConfigError: the source or the options cannot be divided.
        GenerationHeld: a new generation is complete but did not go live.
        RowvecError: what ended a range; what was embedded before is stored.
    """
    options, stop = options or Options(), stop or threading.Event()
    if not isinstance(pipeline.source, Divisible) or not options.whole:
        raise ConfigError("A fleet syncs all rows of a table or query.", hint="Leave --workers out.")
    members.check_divisible(pipeline)
    store = pipeline.store
    with store.lock():
        running = Running(0, stop, progress, tell)
        chosen, generation = begun(pipeline, running, accept=accept)
        guards = _guards(chosen, generation, options, running)
    fleet = _Fleet(pipeline, _settings(pipeline, chosen.ledger, options, running.number, accept), running)
    with recorded(store, running), fleet:
        rows = pipeline.source.count()
        fleet.carry_out(_parts(pipeline.source, min(range_rows or _size(rows), max(rows, 1))))
        if not stop.is_set():
            _finish(chosen, guards, running, accept=accept)
        running.report.whole = True
    return running.report


class _Fleet:
    """A context: ranges that no worker has begun are taken back when an error ends it."""

    def __init__(self, pipeline: Pipeline, settings: dict[str, Any], running: Running) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.running = running
        self.stop = running.stop
        self.done: list[Report] = []
        self.working: list[Part] = []
        self.heard_at = self.told_at = time.monotonic()
        self.outage = ""
        self.turn = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.take_back()

    def carry_out(self, parts: Iterator[tuple[str | None, str | None]]) -> None:
        """Keep ranges on their way, a limited number at once, until all are done."""
        more = True
        while more or self.working:
            if self.stop.is_set():
                self.take_back()
                return
            while more and len(self.working) < OUTSTANDING:
                bounds = next(parts, None)
                more = bounds is not None
                if bounds is not None:
                    part = Part(*bounds)
                    part.send(self.pipeline, self.settings, self._ask)
                    self.working.append(part)
            self._look()
            self.stop.wait(POLL_SECONDS)

    def _look(self) -> None:
        """Take what is done, and send again what fell silent."""
        heard = [part for part in self._asked() if self._listen(part)]
        self.done += [part.report for part in self.working if part.finished]
        self.working = [part for part in self.working if not part.finished]
        self.running.report = total = Report()
        for report in (*self.done, *(part.report for part in self.working)):
            total.add(report)
        if self.running.progress is not None:
            self.running.progress(total)
        if heard:
            self.heard_at = self.told_at = time.monotonic()
        self._tell_silence()
        for part in self.working:
            # A range in the queue may wait as long as others are worked on; one that was begun must speak.
            since = part.heard_at if part.started else max(part.heard_at, self.heard_at)
            if time.monotonic() - since > SILENT_SECONDS * len(part.tasks):
                part.send(self.pipeline, self.settings, self._ask)

    def _ask(self, work: Callable[..., Any], *args: Any) -> Any:
        """Of broker, result store or source, which may be away for a while."""
        return patiently(self.stop, work, *args, patience=PATIENCE, tell=self._tell_outage)

    def _tell_outage(self, error: RowvecError) -> None:
        now = time.monotonic()
        if now - self.told_at >= IDLE_SECONDS or self.outage != error.message:
            self.told_at, self.outage = now, error.message
            self.running.tell(f"{error.message} It is asked again for up to {PATIENCE / 60:.0f} minutes.")

    def _listen(self, part: Part) -> bool:
        try:
            return part.listen(self._ask)
        except RowsDiffer:
            # Rows change while a range waits. Those that have not changed here are others there.
            part.doubts += 1
            if part.doubts > MOST_DOUBTS or part.evidence(self.pipeline, self._ask) == part.rows:
                raise
        part.tasks.clear()
        part.send(self.pipeline, self.settings, self._ask)
        return True

    def _tell_silence(self) -> None:
        now = time.monotonic()
        if self.working and now - self.told_at >= IDLE_SECONDS:
            self.told_at = now
            self.running.tell(
                f"No worker has reported for {now - self.heard_at:.0f} s, and {len(self.working)} ranges are waiting."
                " Is `rowvec worker` running with this broker and queue?"
            )

    def _asked(self) -> list[Part]:
        """All that were begun, and a few of the others in turn: every question takes time from those who work."""
        waiting = [part for part in self.working if not part.started]
        begun = [part for part in self.working if part.started]
        first = self.turn % len(waiting) if waiting else 0
        self.turn += POLL_WAITING
        return begun + (waiting[first:] + waiting[:first])[:POLL_WAITING]

    def take_back(self) -> None:
        """Have no worker begin what is still in the queue; what is being worked on ends well by itself."""
        unstarted = [task for part in self.working for task in part.tasks if not part.started]
        if unstarted:
            with suppress(Exception):  # Not every broker can; then they are carried out, which does no harm.
                app.control.revoke(unstarted)


def _failure(part: Part, error: Any) -> RowvecError:
    if isinstance(error, RowvecError):
        return error
    return StoreError(
        f"A worker could not sync the range {part.after}..{part.until}: {error}",
        hint="Its log says more. Run the command again to continue where it ended.",
    )


def _parts(source: Divisible, size: int) -> Iterator[tuple[str | None, str | None]]:
    """Bounds that cover all keys; the first has no lower and the last no upper one."""
    after: str | None = None
    for key in source.boundaries(size):
        yield after, str(key)
        after = str(key)
    if after is not None:
        yield after, None
    elif size > 1:
        # Rows went away since they were counted, and fewer than one range has are left.
        yield from _parts(source, size // 2)


def _size(rows: int) -> int:
    return min(LARGEST, max(SMALLEST, rows // RANGES))


def _settings(pipeline: Pipeline, before: Ledger, options: Options, run: int, accept: bool) -> dict[str, Any]:
    fingerprint = before.fingerprint.as_dict() if before.fingerprint else None
    return {
        "ledger": {
            "exists": before.exists,
            "filled": before.filled,
            "fingerprint": fingerprint,
            "recipe": before.recipe,
            "settings": before.settings,
        },
        "expected": members.identity(pipeline),
        "sent_by": ranges.versions(pipeline),
        "origin": members.origin(pipeline, run),
        "force": options.force,
        "allow_delete": options.allow_delete,
        "run": run,
        "accept": accept,
    }


def _guards(chosen: Course, filled: GenerationHandle, options: Options, running: Running) -> list[Guard]:
    """Of the live generation and of the one that is filled beside it, before any worker has written."""
    filling = [(chosen.pipeline, filled, running.report)]
    if chosen.live is not None:
        # The live generation loses what is gone too, and guards against a source that is empty by mistake.
        filling.insert(0, (chosen.live, chosen.pipeline.store.prepare(chosen.live.spec), Report()))
    guards = []
    for pipeline, generation, report in filling:
        standing = patiently(running.stop, generation.standing)
        allowed = options.allow_delete
        guard = Guard(pipeline, generation, report, running.stop, standing=standing, allowed=allowed, whole=True)
        batch = WriteBatch()
        guard.open(batch)
        patiently(running.stop, generation.write, batch)
        guards.append(guard)
    return guards


def _finish(chosen: Course, guards: list[Guard], running: Running, *, accept: bool) -> None:
    """Delete what is gone from the source, and let searches see the generation. Once, with the whole table locked.

    Raises:
        GenerationHeld: a new generation is worse than the live one.
    """
    report, stop = running.report, running.stop
    with _locked(chosen.pipeline, stop):
        for guard in guards:
            guard.report = counted = Report()
            guard.sweep()
            if guard.pipeline is chosen.live:
                report.count("live generation: deleted", counted.deleted)
            else:
                report.add(counted)
        if not stop.is_set():
            complete(chosen, accept=accept, tell=running.tell)


@contextmanager
def _locked(pipeline: Pipeline, stop: threading.Event) -> Iterator[None]:
    """The whole table's lock, as soon as the last worker has let go of its range."""
    with ExitStack() as stack:
        for attempt in range(LOCK_TRIES):
            try:
                patiently(stop, lambda: stack.enter_context(pipeline.store.lock()))
                break
            except Locked:
                if attempt == LOCK_TRIES - 1 or stop.wait(1.0):
                    raise
        yield
