"""The records of runs and evaluations: what one counts, the sums over the life of a table, and what keeps them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeAlias

from rowvec.types import Key


@dataclass(slots=True)
class Report:
    """The counts of one plan or sync. Also what a run record keeps."""

    comparison: str = ""
    """Which rows are compared, and why those; empty where the source has no cursor."""
    incremental: bool = False
    """Only rows that a cursor points to are compared."""
    to_compare: int | None = None
    """How many rows, if that is known."""
    phase: str = ""
    """What is done now, in a few words; empty at the end."""
    per_second: float = 0.0
    """Rows settled a second, over the last few seconds; 0 at the end."""
    budget: float | None = None
    """What the run may cost, in US dollars."""
    read: int = 0
    inserted: int = 0
    embedded: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    empty: int = 0
    failed: int = 0
    waiting: int = 0
    reused: int = 0
    """Rows that got the vector of an identical text and cost no embedding."""
    texts: int = 0
    """Texts that got a vector from the embedder, each of them once."""
    truncated: int = 0
    divided: int = 0
    """Rows written with passages, and how many passages these have."""
    passages: int = 0
    unfit: int = 0
    """Metadata values of the rows written that do not fit their column, so that null is stored."""
    tokens: int = 0
    cost: float = 0.0
    cost_estimated: bool = False
    cost_lost: float = 0.0
    """Upper bound, in US dollars, of what was billed for requests whose answer never came."""
    moved: int = 0
    """Rows brought to other parts of the store."""
    conflicts: int = 0
    """Writes left out because somebody else had changed the row's vector meanwhile."""
    last_key: Key | None = None
    whole: bool = False
    """No row that needed a vector when the run began was left out of it."""
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def settled(self) -> int:
        """Rows that need nothing more."""
        return self.inserted + self.embedded + self.updated + self.unchanged + self.empty + self.failed + self.waiting

    @property
    def written(self) -> int:
        return self.inserted + self.embedded + self.updated + self.deleted

    def count(self, reason: str, times: int = 1) -> None:
        if times:
            self.reasons[reason] = self.reasons.get(reason, 0) + times

    def add(self, other: Report, *names: str) -> None:
        """Add those counts of another report; without names all of them, and the reasons."""
        for name in names or COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if not names:
            self.cost_estimated |= other.cost_estimated
            for reason, times in other.reasons.items():
                self.count(reason, times)

    def add_cost(self, other: Report) -> None:
        self.add(other, "texts", "tokens", "cost", "cost_lost")
        self.cost_estimated |= other.cost_estimated

    def as_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["last_key"] = self.last_key if isinstance(self.last_key, int | None) else str(self.last_key)
        values["settled"] = self.settled
        values["taken_at"] = dt.datetime.now(dt.UTC).isoformat()
        return values


OnReport: TypeAlias = Callable[[Report], None]
"""Called in the thread of the sync with the counts so far."""
COUNTS = tuple(each.name for each in fields(Report) if type(each.default) in (int, float) and each.name != "per_second")
"""The fields of a report that add up."""


@dataclass(frozen=True, slots=True)
class Run:
    """The record of one sync."""

    id: int
    pipeline: str
    started_at: dt.datetime
    ended_at: dt.datetime | None
    outcome: str
    """running, done, failed, interrupted, or lost (its process died)."""
    report: Mapping[str, Any]
    error: str | None = None
    stopping: bool = False
    """It was asked to stop, and has not ended yet."""


RUNS_KEPT = 1_000
"""Records of runs per table. Following a busy table makes several a second; of older ones the sums are kept."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The runs over the life of a table, and its searches; tokens and US dollars are those that were billed."""

    runs: int = 0
    texts: int = 0
    tokens: int = 0
    cost: float = 0.0
    outcomes: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    """Of each outcome, how many ended runs and their seconds."""
    rerank_cost: float = 0.0
    """What searches spent on a reranker; `cost` does not include it."""

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


EVALUATIONS_KEPT = 100
"""Results of `rowvec eval` per table; older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The result of one `rowvec eval`, as a store keeps it."""

    made_at: dt.datetime
    record: Mapping[str, Any]
    """See `rowvec.evaluation.record`."""


class RunRecords(Protocol):
    """The part of a store that keeps what runs, searches and evaluations leave on record."""

    def begin_run(self, pipeline: str) -> int:
        """Open the record of a run, after `prepare`; returns its number."""
        ...

    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> bool:
        """Bring the record of a run up to date; `outcome` "running" while it works. Its `taken_at` is the time by the
        clock of the store.

        Returns True where somebody has asked a running one to stop.
        """
        ...

    def ask_to_stop(self, run: int) -> None:
        """Let the next `save_run` of a running run say that it was asked to stop."""
        ...

    def runs(self, limit: int = 10) -> list[Run]:
        """Latest first. A run whose process died is shown as "lost"."""
        ...

    def spend(self, cost: float) -> None:
        """Add US dollars to what searches spent on a reranker.

        Raises:
            StoreError: this user may not write, or the store is of an older rowvec.
        """
        ...

    def totals(self) -> Totals: ...

    def save_evaluation(self, record: Mapping[str, Any]) -> None:
        """Keep the result of an evaluation; the latest EVALUATIONS_KEPT stay.

        Args:
            record: of values that JSON knows.
        """
        ...

    def evaluations(self, limit: int = 20) -> list[Evaluated]:
        """Latest first."""
        ...
