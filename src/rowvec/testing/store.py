"""A store in memory, with the guarantees of the real ones."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rowvec.errors import GenerationChanged, Locked, StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.columns import is_lossless
from rowvec.stores.generation_policy import Action, check_drop, check_rollback, choose, filled, standing
from rowvec.stores.ledger import Ledger
from rowvec.stores.runs import EVALUATIONS_KEPT, Evaluated, Report, Run, Totals
from rowvec.testing.generation import MemoryGeneration
from rowvec.testing.tables import Made, Record, Tables
from rowvec.types import Check, Fingerprint, Generation, State
from rowvec.words import problem


class MemoryStore:
    """A store in memory. `MemoryStore(share=other)` opens the same tables a second time, as another process would.

    Set `unavailable` to let that many writes fail before they do anything, and `lost_answers` to let that many
    fail after they were carried out, as when a connection is cut before the answer comes.
    """

    location = "memory"
    handle = MemoryGeneration
    """What makes the handles: a test may put a class of its own in its place, to watch or to disturb."""

    def __init__(self, *, metric: str = "cosine", share: MemoryStore | None = None) -> None:
        self.metric = metric
        self.unavailable = 0
        self.lost_answers = 0
        self.writes = 0
        self._prepared: dict[Fingerprint | None, Made] = {}
        self.tables: Tables = share.tables if share else Tables()

    @property
    def _live(self) -> Made:
        live = self.tables.generations.get(State.LIVE)
        if live is None:
            raise StoreError("The memory store is not prepared.", hint="Call prepare() first.")
        return live

    def identity(self) -> str:
        return self.tables.identity if self.tables.generations else ""

    def ledger(self) -> Ledger:
        live = self.tables.generations.get(State.LIVE)
        if live is None:
            return Ledger(exists=False)
        spec = live.spec
        return Ledger(True, bool(live.records), spec.fingerprint, spec.recipe, spec.settings, self.live_version())

    def live_version(self) -> str:
        return str(self.tables.swaps)

    def generations(self, spec: TableSpec) -> list[Generation]:
        known = self.tables.generations
        return [known[state].listed(state, self._lost(state)) for state in State if state in known]

    def _lost(self, state: State) -> int:
        if state is not State.BUILDING:
            return 0
        live, building = self._live, self.tables.generations[state]
        return len(building.failures.keys() & (live.records.keys() - live.failures.keys()))

    def rollback(self, spec: TableSpec) -> None:
        with self.tables.guard:
            check_rollback(self.tables.generations, self.location)
            self._succeed(self.tables.generations[State.PREVIOUS])
            self.tables.generations[State.PREVIOUS].undone = True

    def _succeed(self, new: Made) -> None:
        known = self.tables.generations
        known[State.LIVE], known[State.PREVIOUS] = new, self._live
        for generation in (known[State.LIVE], known[State.PREVIOUS]):
            generation.since, generation.undone = _now(), False
        self.tables.swaps += 1

    def drop_generation(self, state: State, spec: TableSpec) -> None:
        check_drop(self.tables.generations, state, self.location)
        del self.tables.generations[state]

    def generation(self, spec: TableSpec) -> MemoryGeneration | None:
        known = self.tables.generations
        state = standing(known, spec.fingerprint)
        return self.handle(self, known[state], spec) if state in known else None

    def prepare(self, spec: TableSpec) -> MemoryGeneration:
        wrong = problem(spec.language) if spec.language is not None else None
        if wrong:
            raise StoreError(f"{self.location}: {wrong}", hint="Set store.language.")
        known = self.tables.generations
        live = known.get(State.LIVE)
        empty = live is not None and not live.records and not spec.filled_elsewhere
        action = choose(known, spec.fingerprint, empty=empty)
        match action:
            case Action.FILL_LIVE if live is not None:
                _check_shape(live, spec)
                fingerprint = spec.fingerprint or live.spec.fingerprint
                live.spec = replace(spec, recipe=live.spec.recipe, fingerprint=fingerprint)
            case Action.FILL_LIVE | Action.REPLACE_LIVE:
                known[State.LIVE] = Made(spec)
                self.tables.swaps += 1
            case Action.RESUME_PREVIOUS:
                known[State.BUILDING] = known.pop(State.PREVIOUS)
            case Action.BEGIN_BUILDING:
                known[State.BUILDING] = Made(spec)
        known[action.fills].bring_texts(spec)
        known[action.fills].bring_words(spec)
        self._prepared[spec.fingerprint] = known[action.fills]
        return self.handle(self, known[action.fills], spec)

    def activate(self, spec: TableSpec) -> None:
        known = self.tables.generations
        if filled(known, spec.fingerprint, self.location) is State.BUILDING:
            prepared = self._prepared.get(spec.fingerprint)
            if prepared is not None and prepared is not known[State.BUILDING]:
                raise GenerationChanged.at(self.location)
            building = known.pop(State.BUILDING)
            building.offsets = self._live.offsets | building.offsets
            self._succeed(building)
        self._live.spec = replace(spec, fingerprint=spec.fingerprint or self._live.spec.fingerprint)

    def checks(self, spec: TableSpec) -> list[Check]:
        return [Check("store", True, self.location)]

    @contextmanager
    def lock(self) -> Iterator[None]:
        with self.tables.guard:
            if self.tables.holder:
                raise Locked(f"Another sync holds the lock: {self.tables.holder}.")
            self.tables.holder = f"thread {threading.current_thread().name} since {_now():%Y-%m-%d %H:%M:%S %Z}"
        try:
            yield
        finally:
            self.tables.holder = None

    def holder(self) -> str | None:
        return self.tables.holder

    def begin_run(self, pipeline: str) -> int:
        run = len(self.tables.runs) + 1
        self.tables.runs.append(Run(run, pipeline, _now(), None, "running", {}))
        return run

    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> bool:
        ended = None if outcome == "running" else _now()
        old, record = self.tables.runs[run - 1], {**report.as_dict(), "taken_at": _now().isoformat()}
        self.tables.runs[run - 1] = replace(old, ended_at=ended, outcome=outcome, report=record, error=error)
        return outcome == "running" and run in self.tables.stops

    def ask_to_stop(self, run: int) -> None:
        self.tables.stops.add(run)

    def runs(self, limit: int = 10) -> list[Run]:
        dead = self.tables.holder is None
        stops = self.tables.stops
        runs = [replace(run, stopping=run.outcome == "running" and run.id in stops) for run in self.tables.runs[::-1]]
        runs = runs[:limit]
        return [replace(run, outcome="lost") if dead and run.outcome == "running" else run for run in runs]

    def spend(self, cost: float) -> None:
        self.tables.spent += cost

    def totals(self) -> Totals:
        reports = [run.report for run in self.tables.runs]
        sums = {name: sum(report.get(name, 0) for report in reports) for name in ("texts", "tokens", "cost")}
        outcomes: dict[str, tuple[int, float]] = {}
        for run in self.tables.runs:
            if run.ended_at is not None:
                count, seconds = outcomes.get(run.outcome, (0, 0.0))
                outcomes[run.outcome] = count + 1, seconds + (run.ended_at - run.started_at).total_seconds()
        return Totals(len(reports), **sums, outcomes=outcomes, rerank_cost=self.tables.spent)

    def save_evaluation(self, record: Mapping[str, Any]) -> None:
        self.tables.evaluations.append(Evaluated(_now(), record))
        del self.tables.evaluations[:-EVALUATIONS_KEPT]

    def evaluations(self, limit: int = 20) -> list[Evaluated]:
        return self.tables.evaluations[::-1][:limit]

    def placement(self) -> str:
        return self.tables.placement

    def keep_placement(self, placement: str, *, announce: bool = False) -> None:
        self.tables.placement = placement
        self.tables.swaps += announce

    def close(self) -> None:
        pass


def _check_shape(live: Made, new: TableSpec) -> None:
    old = live.spec
    if old.dimension != new.dimension:
        raise StoreError(f"memory holds vectors of {old.dimension} dimensions, the embedder gives {new.dimension}.")
    if [each.name for each in old.metadata] != [each.name for each in new.metadata]:
        raise StoreError("memory holds a table with other metadata columns.")
    if old.key_type == new.key_type:
        return
    if live.records and not is_lossless(old.key_type, new.key_type):
        raise StoreError("memory holds a table with another key type.")
    live.records = {str(key): _with_key(record, str(key)) for key, record in live.records.items()}
    live.failures = {str(key): replace(failure, key=str(key)) for key, failure in live.failures.items()}


def _with_key(record: Record, key: str) -> Record:
    return replace(record, document=record.document._replace(key=key))


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
