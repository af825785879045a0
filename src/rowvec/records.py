"""What is put on record of a run: its cost, and the error that ended it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rowvec.errors import RowvecError
from rowvec.stores.base import Store
from rowvec.types import Report

Outcome = Literal["done", "failed", "interrupted"]


@dataclass(slots=True)
class Record:
    """Of the run that passes belong to."""

    number: int
    report: Report = field(default_factory=Report)


def add_cost(report: Report, other: Report) -> None:
    for name in ("texts", "tokens", "cost", "cost_lost"):
        setattr(report, name, getattr(report, name) + getattr(other, name))
    report.cost_estimated |= other.cost_estimated


def save_failed(store: Store, run: int, report: Report, error: BaseException) -> None:
    """What ended the run is what the user must see, even where its record cannot be written: that is a note then."""
    outcome: Outcome = "failed" if isinstance(error, Exception) else "interrupted"
    text = error.message if isinstance(error, RowvecError) else type(error).__name__
    try:
        store.save_run(run, report, outcome, text)
    except RowvecError as record_error:
        error.add_note(f"The record of the run could not be written: {record_error.message}")
