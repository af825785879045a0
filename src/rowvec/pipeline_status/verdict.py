"""One sentence on a pipeline: whether its vectors are in step, as of when, and what is wrong if something is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rowvec.support import clocks
from rowvec.support.figures import ago, count

if TYPE_CHECKING:
    from rowvec.pipeline_status.status import Status

Tone = Literal["good", "old", "busy", "warn"]
"""In step; in step as of long ago; a sync is at work; somebody should look."""
OLD = dt.timedelta(days=1)
"""A sync so long ago says little about the rows of today, where no cursor tells."""


@dataclass(frozen=True, slots=True)
class Verdict:
    tone: Tone
    text: str
    """One line. It never says "in step" without "as of"."""
    reasons: tuple[str, ...] = ()
    """What is wrong, the gravest first."""

    def as_dict(self) -> dict[str, Any]:
        return {"tone": self.tone, "text": self.text, "reasons": list(self.reasons)}


def verdict(status: Status, now: dt.datetime | None = None) -> Verdict:
    now = now or status.now
    reasons = tuple(_reasons(status, now))
    if status.work is not None:
        done = f", {status.work.rows:,} of {count(status.work.total, 'row')}" if status.work.total else ""
        return Verdict("warn" if _grave(status) else "busy", f"syncing: {status.work.phase}{done}", reasons)
    if reasons:
        return Verdict("warn", "; ".join(reasons), reasons)
    assert status.as_of is not None
    known = status.waiting is not None
    text = f"in step {as_of(status, now)}"
    if not status.rows:
        text = f"no rows {as_of(status, now)}"
    return Verdict("good" if known or now - status.as_of < OLD else "old", text)


def as_of(status: Status, now: dt.datetime | None = None) -> str:
    """`as of the last sync, 22 min ago`; `so far` before the first has ended."""
    return "so far" if status.as_of is None else f"as of the last sync, {ago(status.as_of, now or status.now)}"


def _grave(status: Status) -> bool:
    return bool(status.refusal or status.failures)


def _reasons(status: Status, now: dt.datetime) -> Iterator[str]:
    ended = next((run for run in status.runs if run.outcome != "running"), None)
    if status.refusal is not None:
        yield f"a deletion was refused {ago(status.refusal.since, now)}"
    if ended is not None and ended.outcome != "done":
        yield f"the last sync {WORDS.get(ended.outcome, ended.outcome)}" + (
            f": {' '.join(ended.error.split())}" if ended.error else ""
        )
    if status.as_of is None:
        yield (
            "never synced"
            if ended is None
            else (f"no sync of all rows has ended yet: {status.current:,} of {count(status.rows, 'row')} have a vector")
        )
    if status.waiting is not None and status.waiting.rows:
        yield behind(status, now)
    if status.failures:
        yield f"{count(status.failures, 'row')} failed"
    if status.settings_changed:
        yield f"{status.settings_changed} since the last sync"
    differs = clocks.difference(dt.timedelta(seconds=status.clock_ahead), "the store")
    if differs is not None:
        yield differs


WORDS = {"failed": "failed", "interrupted": "was interrupted", "lost": "was lost: its process died"}


def behind(status: Status, now: dt.datetime | None = None) -> str:
    """`behind by at least 5 rows that changed since the last sync, 22 min ago`."""
    assert status.waiting is not None
    least = "at least " if status.waiting.at_least else ""
    since = "" if status.as_of is None else f", {ago(status.as_of, now or status.now)}"
    return f"behind by {least}{count(status.waiting.rows, 'row')} changed since the last sync{since}"
