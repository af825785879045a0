"""What is put on record of a run: its cost, and the error that ended it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rowvec.documents.values import clean
from rowvec.embedders.base import Embedder, PaidEmbedder
from rowvec.errors import RowvecError
from rowvec.stores.base import Store
from rowvec.types import Report

Outcome = Literal["done", "failed", "interrupted"]


@dataclass(slots=True)
class Record:
    """Of the run that passes belong to."""

    number: int
    report: Report = field(default_factory=Report)


class Bill:
    """What a paid model bills from now on, for a report: answers of no use cost money too, and their sum leaves
    them out. One embedder serves many runs, in a worker or a server."""

    def __init__(self, embedder: Embedder, report: Report) -> None:
        budget = embedder.budget if isinstance(embedder, PaidEmbedder) else None
        self._budget, self._report = budget, report
        self._tokens, self._spent, self._lost = 0, 0.0, 0.0
        if budget is not None:
            self._tokens, self._spent = budget.tokens - report.tokens, budget.spent - report.cost
            self._lost = budget.lost - report.cost_lost

    def settle(self) -> None:
        """Bring the report up to date; that of a model without a budget stays as it is."""
        budget, report = self._budget, self._report
        if budget is not None:
            report.tokens, report.cost = budget.tokens - self._tokens, budget.spent - self._spent
            report.cost_lost = budget.lost - self._lost


def add_cost(report: Report, other: Report) -> None:
    for name in ("texts", "tokens", "cost", "cost_lost"):
        setattr(report, name, getattr(report, name) + getattr(other, name))
    report.cost_estimated |= other.cost_estimated


def save_failed(store: Store, run: int, report: Report, error: BaseException) -> None:
    """What ended the run is what the user must see, even where its record cannot be written: that is a note then."""
    outcome: Outcome = "failed" if isinstance(error, Exception) else "interrupted"
    text = error.message if isinstance(error, RowvecError) else type(error).__name__
    try:
        store.save_run(run, report, outcome, clean(text))
    except RowvecError as record_error:
        error.add_note(f"The record of the run could not be written: {record_error.message}")
