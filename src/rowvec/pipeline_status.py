"""How far the vectors of a pipeline are in step with its rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rowvec.generations.lifecycle import course, live_spec
from rowvec.pipeline import Pipeline
from rowvec.sources.events.stream import has_table
from rowvec.sources.lazy import opened
from rowvec.stores.base import Totals, existing
from rowvec.stores.index import IndexStatus
from rowvec.support.tables import Tabular
from rowvec.types import Failure, Refusal, Run, UnfitValue

SHOWN_FAILURES = 100


@dataclass(frozen=True, slots=True)
class Status(Tabular):
    """How far the vectors are in step. As rows: one."""

    pipeline: str
    where: str
    rows: int
    """Rows that the source holds now."""
    current: int = 0
    """Rows whose vector is that of their text as of the last sync."""
    failures: int = 0
    stale: int = 0
    """Rows that keep an old vector because their new text failed."""
    truncated: int = 0
    divided: int = 0
    """Rows that are cut into passages, and how many passages these have."""
    passages: int = 0
    unfit: int = 0
    """Metadata values that are null because they do not fit their column."""
    bytes: int = 0
    lag_seconds: float | None = None
    """Since when a row is without a current vector, as far as rowvec has seen; None when it has seen none."""
    model: str | None = None
    runs: Sequence[Run] = ()
    totals: Totals = field(default_factory=Totals)
    index: IndexStatus | None = None
    """That searches use; None where they compare every row."""
    engine: str = ""
    """What compares vectors, with its version."""
    refusal: Refusal | None = None
    """A deletion that a sync refused; it stands until it is allowed or resolved."""
    latest_failures: Sequence[Failure] = ()
    """At most SHOWN_FAILURES of them."""

    @property
    def coverage(self) -> float:
        """Between 0 and 1; an empty source is covered."""
        return min(1.0, self.current / self.rows) if self.rows else 1.0

    def as_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "latest_failures"}
        values["runs"] = [{name: getattr(run, name) for name in run.__dataclass_fields__} for run in self.runs]
        index = self.index.as_dict() if self.index else None
        refusal = self.refusal.as_dict() if self.refusal else None
        return {
            **values,
            "index": index,
            "refusal": refusal,
            "totals": self.totals.as_dict(),
            "coverage": self.coverage,
        }

    def to_dicts(self) -> list[dict[str, Any]]:
        return [
            {
                name: value
                for name, value in self.as_dict().items()
                if name not in ("runs", "totals", "index", "refusal")
            }
        ]

    def progress(self) -> dict[str, Any]:
        """Where the work stands, as a script's progress file would say it: times are those of the latest run."""
        latest = self.runs[0] if self.runs else None
        report = latest.report if latest else {}
        return {
            "last_key": report.get("last_key"),
            "total_processed": self.current,
            "total_tokens": self.totals.tokens,
            "total_cost": self.totals.cost,
            "failures": [
                {
                    "key": failure.key, "error": failure.error, "attempts": failure.attempts,
                    "failed_at": failure.failed_at, "next_try": failure.next_try,
                }
                for failure in self.latest_failures
            ],
            "started_at": latest.started_at if latest else None,
            "updated_at": report.get("taken_at"),
        }  # fmt: skip


def status(pipeline: Pipeline) -> Status:
    """Ask source and store; counts only, nothing is compared row by row.

    Raises:
        SourceError, StoreError: one of them does not answer.
    """
    store = pipeline.store
    # Without a table, the rows are those that events told of.
    source = opened(pipeline.source)
    table = has_table(source)
    rows = source.count() if table else 0
    ledger = store.ledger()
    if not ledger.exists:
        return Status(pipeline.name, store.location, rows, lag_seconds=0.0 if rows else None)
    live = existing(store, live_spec(pipeline.spec, ledger))
    rows = rows if table else live.count()
    found = live.status()
    runs = store.runs(5)
    current = found.rows - found.stale
    failed = live.failures()
    return Status(
        pipeline=pipeline.name,
        where=store.location,
        rows=rows,
        current=current,
        failures=found.failures,
        stale=found.stale,
        truncated=found.truncated,
        divided=found.divided,
        passages=found.passages,
        unfit=found.unfit,
        bytes=found.bytes,
        lag_seconds=_lag(failed, rows, current, runs),
        model=ledger.fingerprint.model if ledger.fingerprint else None,
        runs=runs,
        totals=store.totals(),
        index=found.index,
        engine=found.engine,
        refusal=live.refusal(),
        latest_failures=failed[:SHOWN_FAILURES],
    )


def failures(pipeline: Pipeline, limit: int | None = None) -> list[Failure]:
    """The rows that could not be embedded or stored, of the generation that a sync fills; latest first."""
    rows = pipeline.store.generation(course(pipeline).pipeline.spec)
    return [] if rows is None else rows.failures(limit)


def unfit(pipeline: Pipeline, limit: int | None = None) -> list[UnfitValue]:
    """The metadata values that are null because they do not fit their column, of the same generation."""
    rows = pipeline.store.generation(course(pipeline).pipeline.spec)
    return [] if rows is None else rows.unfit(limit=limit)


def _lag(failures: Sequence[Failure], rows: int, current: int, runs: Sequence[Run]) -> float | None:
    """A row has been without a current vector since it failed first, or at most since the last whole run."""
    since = [failure.failed_at for failure in failures]
    if current < rows:
        since.extend(run.started_at for run in runs[:1])
    return (dt.datetime.now(dt.UTC) - min(since)).total_seconds() if since else None
