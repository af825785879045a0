"""What embedding is going to cost, as far as the runs of the past tell."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rowvec.embedders.pricing import dollars
from rowvec.stores.runs import Run
from rowvec.support.figures import count, seconds
from rowvec.types import Reason

RUNS = 500
"""As many of the latest runs are looked at."""
WINDOW = dt.timedelta(days=30)
"""What changed longer ago says nothing of the rate of today."""
MONTH = dt.timedelta(days=30)
LEAST_SPAN = dt.timedelta(days=1)
LEAST_RUNS = 2
ONCE = frozenset({Reason.RECIPE_CHANGED, Reason.RENDERING_CHANGED, Reason.MODEL_CHANGED, Reason.FORCED})
"""Rows that are embedded for one of these reasons do not count in the rate of change: somebody asked for it."""
AGAIN = frozenset({Reason.NEW, Reason.TEXT_CHANGED, Reason.VECTOR_MISSING, Reason.RETRY})


@dataclass(frozen=True, slots=True)
class Forecast:
    """The cost of a month if rows go on changing as they did.

    Attributes:
        per_month: US dollars for 30 days; None where `too_little` says why.
        texts_per_month: texts to embed; None likewise.
        since: the runs that began after this moment are counted; None where there are none.
        days: from then until now.
        runs: how many there were.
        cost: what they cost for rows that had changed, in US dollars.
        too_little: why nothing can be said yet; "" where something can.
    """

    per_month: float | None
    texts_per_month: int | None
    since: dt.datetime | None
    days: float
    runs: int
    cost: float
    too_little: str = ""

    @property
    def words(self) -> str:
        """In one line, with what it is based on."""
        if self.per_month is None:
            return f"no forecast yet: {self.too_little}"
        about = "about " if self.per_month else ""
        return f"{about}{dollars(self.per_month)} a month, {self.basis}"

    @property
    def basis(self) -> str:
        span = seconds(86_400 * self.days)
        return f"by {count(self.runs, 'run')} of the last {span}, which cost {dollars(self.cost)}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def forecast(latest_first: Sequence[Run], now: dt.datetime | None = None) -> Forecast:
    """
    Args:
        latest_first: all runs, or the latest of many.
    """
    now = now or dt.datetime.now(dt.UTC)
    ended = [run for run in reversed(latest_first) if run.ended_at is not None]
    filled, later = _after_filling(ended)
    since = max(filled, now - WINDOW) if filled is not None else None
    counted = [run for run in later if since is not None and run.started_at >= since]
    span = now - since if since is not None else dt.timedelta()
    shares = [(run, _share_of_changes(run.report.get("reasons"))) for run in counted]
    cost = sum(float(run.report.get("cost", 0) or 0) * share for run, share in shares)
    texts = sum(int(run.report.get("texts", 0) or 0) * share for run, share in shares)
    too_little = ""
    if since is None:
        too_little = "the first sync of all rows has not ended"
    elif span < LEAST_SPAN:
        too_little = f"{seconds(span.total_seconds())} have passed since the first sync of all rows, a day is the least"
        if ended[0].id != 1:
            too_little = f"the runs on record are of the last {seconds(span.total_seconds())}, a day is the least"
    elif len(counted) < LEAST_RUNS:
        too_little = (
            f"{count(len(counted), 'run')} in the last {seconds(span.total_seconds())}, {LEAST_RUNS} are the least"
        )
    months = span / MONTH
    return Forecast(
        per_month=None if too_little else cost / months,
        texts_per_month=None if too_little else round(texts / months),
        since=since,
        days=span / dt.timedelta(days=1),
        runs=len(counted),
        cost=cost,
        too_little=too_little,
    )


def _after_filling(ended: Sequence[Run]) -> tuple[dt.datetime | None, Sequence[Run]]:
    """When the rows were filled for the first time, and the runs after that; of a long history, all of it is after."""
    if ended and ended[0].id != 1:
        return ended[0].started_at, ended
    for place, run in enumerate(ended):
        if run.outcome == "done" and run.report.get("whole"):
            return run.ended_at, ended[place + 1 :]
    return None, ()


def _share_of_changes(reasons: Mapping[str, int] | None) -> float:
    """Of what a run embedded, the share of rows that were new or had changed; 1 where it does not say."""
    known = reasons or {}
    again, once = (sum(int(known.get(reason, 0)) for reason in those) for those in (AGAIN, ONCE))
    return again / (again + once) if once else 1.0
