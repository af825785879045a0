"""What a run counts and puts on record: its report, its cost, and the error that ended it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from rowvec.documents.values import clean
from rowvec.embedders.base import Embedder, PaidEmbedder
from rowvec.errors import Interrupted, RowvecError
from rowvec.generations.lifecycle import Tell, say_nothing
from rowvec.stores.base import Store
from rowvec.stores.runs import OnReport, Report
from rowvec.support.retry import PATIENCE
from rowvec.syncing.batches import Answer

Outcome = Literal["done", "failed", "interrupted"]


@dataclass(slots=True)
class Running:
    """A run at work, which one or more passes belong to, and how it speaks with whoever asked for it."""

    number: int
    stop: threading.Event
    progress: OnReport | None = None
    tell: Tell = say_nothing
    patience: float = PATIENCE
    """Seconds that a service which embeds nothing is waited for."""
    report: Report = field(default_factory=Report)

    def enter(self, phase: str, part: Report | None = None) -> None:
        """
        Args:
            part: the report of the pass that enters it, where that is another one.
        """
        report = self.report if part is None else part
        report.phase = phase
        if self.progress is not None:
            self.progress(report)

    def so_far(self, part: Report) -> Report:
        """The report, with the cost of a pass that is not added to it yet."""
        if part is self.report:
            return part
        sofar = replace(self.report, per_second=part.per_second, budget=part.budget)
        sofar.add_cost(part)
        return sofar


class Bill:
    """What a model bills from now on, for a report. The one book is the budget, where the model has one: answers of no
    use cost money too, and the sum of the answers leaves them out. One embedder serves many runs."""

    def __init__(self, embedder: Embedder, report: Report) -> None:
        budget = embedder.budget if isinstance(embedder, PaidEmbedder) else None
        self._budget, self._report = budget, report
        self._tokens, self._spent, self._lost = 0, 0.0, 0.0
        if budget is not None:
            self._tokens, self._spent = budget.tokens - report.tokens, budget.spent - report.cost
            self._lost = budget.lost - report.cost_lost

    @property
    def limit(self) -> float | None:
        """US dollars; None where nothing limits it."""
        return None if self._budget is None else self._budget.limit

    def settle(self, answer: Answer) -> None:
        """Bring the report up to date with an answer, or with what one of no use cost."""
        budget, report = self._budget, self._report
        report.cost_estimated |= answer.estimated
        if budget is None:
            report.tokens, report.cost = report.tokens + answer.tokens, report.cost + answer.cost
        else:
            report.tokens, report.cost = budget.tokens - self._tokens, budget.spent - self._spent
            report.cost_lost = budget.lost - self._lost


@contextmanager
def recorded(store: Store, running: Running, *, until_stopped: bool = False) -> Iterator[None]:
    """Keep the record of a run, however the block ends.

    Args:
        until_stopped: to be stopped is its usual end.
    """
    try:
        try:
            yield
        finally:
            running.report.phase, running.report.per_second = "", 0.0
    except Interrupted:
        pass  # Something waited for others when the process was asked to stop. What was done before is done.
    except BaseException as error:
        save_failed(store, running.number, running.report, error)
        raise
    outcome: Outcome = "interrupted" if running.stop.is_set() and not until_stopped else "done"
    store.save_run(running.number, running.report, outcome)


def save_failed(store: Store, run: int, report: Report, error: BaseException) -> None:
    """What ended the run is what the user must see, even where its record cannot be written: that is a note then."""
    outcome: Outcome = "failed" if isinstance(error, Exception) else "interrupted"
    text = error.message if isinstance(error, RowvecError) else type(error).__name__
    try:
        store.save_run(run, report, outcome, clean(text))
    except RowvecError as record_error:
        error.add_note(f"The record of the run could not be written: {record_error.message}")
