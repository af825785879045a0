"""A run at work, as its record says it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from rowvec.stores.runs import Run
from rowvec.support.stored import moment


@dataclass(frozen=True, slots=True)
class Work:
    """What a running sync does now. Its record is brought up to date every few seconds."""

    run: int
    started_at: dt.datetime
    phase: str
    rows: int
    """Rows that need nothing more."""
    total: int | None
    """Rows to compare; None where that is not known."""
    per_second: float
    """Rows, over the last few seconds."""
    failed: int
    texts: int
    tokens: int
    cost: float
    """US dollars."""
    budget: float | None
    """What `--max-cost` allows, in US dollars."""
    seen_at: dt.datetime | None
    """When the record was written."""
    holder: str | None
    """Who holds the lock, and since when."""
    stopping: bool = False
    """It was asked to stop, and finishes the batches in hand."""

    @property
    def share(self) -> float | None:
        """Between 0 and 1."""
        return min(1.0, self.rows / self.total) if self.total else None

    @property
    def seconds_left(self) -> float | None:
        """At the pace of the last seconds; None where there is nothing to tell it from."""
        if not self.total or self.per_second <= 0 or self.rows >= self.total:
            return None
        return (self.total - self.rows) / self.per_second

    def as_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "share": self.share, "seconds_left": self.seconds_left}


def work(latest: Run | None, holder: str | None) -> Work | None:
    """
    Args:
        latest: the latest run.
    """
    if latest is None or latest.outcome != "running":
        return None
    report = latest.report
    return Work(
        latest.id, latest.started_at, report.get("phase") or "starting", int(report.get("settled", 0)),
        report.get("to_compare"), float(report.get("per_second", 0.0)), int(report.get("failed", 0)),
        int(report.get("texts", 0)), int(report.get("tokens", 0)), float(report.get("cost", 0.0)),
        report.get("budget"), moment(report.get("taken_at")), holder, latest.stopping,
    )  # fmt: skip
