"""How far the vectors of a pipeline are in step with its rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rowvec.documents.text import settings_and_rendering
from rowvec.errors import StoreError
from rowvec.generations.lifecycle import course, live_spec
from rowvec.pipeline import Pipeline
from rowvec.pipeline_status.forecast import RUNS as FORECAST_RUNS
from rowvec.pipeline_status.forecast import Forecast, forecast
from rowvec.pipeline_status.reasons import Reason, reasons
from rowvec.pipeline_status.replica import ReplicaStatus, replica_status
from rowvec.pipeline_status.verdict import Verdict, verdict
from rowvec.pipeline_status.waiting import Waiting, waiting
from rowvec.pipeline_status.work import Work, work
from rowvec.sources.events.stream import EventStream, has_table
from rowvec.sources.lazy import opened
from rowvec.stores.base import Store, TableSpec, existing
from rowvec.stores.guarding import Refusal
from rowvec.stores.index import IndexStatus
from rowvec.stores.ledger import Ledger
from rowvec.stores.runs import RUNS_KEPT, Run, Totals
from rowvec.support import clocks
from rowvec.support.stored import moment
from rowvec.support.tables import Tabular
from rowvec.types import Failure, Generation, State, UnfitValue

SHOWN_FAILURES = 100
SHOWN_RUNS = 5
NESTED = frozenset(
    {"runs", "totals", "forecast", "index", "refusal", "waiting", "work", "generations", "verdict", "reasons"}
)
"""What is not a single value, and so not a column of a table."""


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
    """Of the live generation, with its texts, passages and indexes."""
    as_of: dt.datetime | None = None
    """When the last sync of all rows began: `current` and everything said of rows is true of that moment. None where no
    such sync has ended."""
    waiting: Waiting | None = None
    """Rows that changed since then; None where nothing can tell that without comparing them."""
    lag_seconds: float | None = None
    """Since when a row may be without a current vector, as far as rowvec has seen; None when it has seen none."""
    settings_changed: str = ""
    """What the config says otherwise than the vectors were made; "" where nothing."""
    model: str | None = None
    runs: Sequence[Run] = ()
    totals: Totals = field(default_factory=Totals)
    forecast: Forecast | None = None
    """What embedding costs a month; None where nothing was ever billed."""
    index: IndexStatus | None = None
    """That searches use; None where they compare every row."""
    engine: str = ""
    """What compares vectors, with its version."""
    refusal: Refusal | None = None
    """A deletion that a sync refused; it stands until it is allowed or resolved."""
    latest_failures: Sequence[Failure] = ()
    """At most SHOWN_FAILURES of them."""
    reasons: Sequence[Reason] = ()
    """Of all failures."""
    generations: Sequence[Generation] = ()
    """The live one, the one being filled and the previous one, as far as they exist."""
    work: Work | None = None
    """The sync at work now."""
    clock_ahead: float = 0.0
    """Seconds by which the clock of this host is ahead of that of the store, whose times all of these are."""
    replica: ReplicaStatus | None = None
    """Which searches ask; None where they ask the store itself."""

    @property
    def coverage(self) -> float:
        """Between 0 and 1; an empty source is covered."""
        return min(1.0, self.current / self.rows) if self.rows else 1.0

    @property
    def now(self) -> dt.datetime:
        """By the clock of the store."""
        return clocks.here() - dt.timedelta(seconds=self.clock_ahead)

    @property
    def verdict(self) -> Verdict:
        return verdict(self)

    @property
    def building(self) -> Generation | None:
        """The generation that is being filled beside the live one."""
        return next((each for each in self.generations if each.state is State.BUILDING), None)

    @property
    def all_bytes(self) -> int:
        """Of all generations, as far as the database says."""
        return self.bytes + sum(each.bytes or 0 for each in self.generations if each.state is not State.LIVE)

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
            "forecast": self.forecast.as_dict() if self.forecast else None,
            "coverage": self.coverage,
            "waiting": self.waiting.as_dict() if self.waiting else None,
            "work": self.work.as_dict() if self.work else None,
            "replica": self.replica.as_dict() if self.replica else None,
            "reasons": [each.as_dict() for each in self.reasons],
            "generations": [each.as_dict() for each in self.generations],
            "all_bytes": self.all_bytes,
            "verdict": self.verdict.as_dict(),
        }

    def to_dicts(self) -> list[dict[str, Any]]:
        return [{name: value for name, value in self.as_dict().items() if name not in NESTED}]

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
    try:
        return _asked(pipeline)
    except StoreError as error:
        if error.transient:
            raise
        # A table may have gone between two questions, as when another model goes live.
        return _asked(pipeline)


def _asked(pipeline: Pipeline) -> Status:
    store = pipeline.store
    # Without a table, the rows are those that came in events.
    source = opened(pipeline.source)
    table = has_table(source)
    rows = source.count() if table else 0
    ledger = store.ledger()
    if not ledger.exists:
        return Status(pipeline.name, store.location, rows)
    live = existing(store, live_spec(pipeline.spec, ledger))
    rows = rows if table else live.count()
    found = live.status()
    runs = store.runs(SHOWN_RUNS)
    current = found.rows - found.stale
    failed = live.failures()
    totals = store.totals()
    seen = _as_of(store, runs, events=isinstance(source, EventStream))
    ahead = clocks.ahead(store)
    waits = waiting(pipeline, source, live, rows, runs) if table and seen else None
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
        as_of=seen,
        waiting=waits,
        lag_seconds=_lag(
            failed, rows, current, runs, seen if waits is not None and waits.rows else None, clocks.here() - ahead
        ),
        settings_changed=_settings_changed(ledger, pipeline.spec),
        model=ledger.fingerprint.model if ledger.fingerprint else None,
        runs=runs,
        totals=totals,
        forecast=forecast(store.runs(FORECAST_RUNS), clocks.here() - ahead) if totals.cost else None,
        index=found.index,
        engine=found.engine,
        refusal=live.refusal(),
        latest_failures=failed[:SHOWN_FAILURES],
        reasons=reasons(failed),
        generations=store.generations(pipeline.spec),
        work=work(runs[0] if runs else None, store.holder()),
        clock_ahead=round(ahead.total_seconds(), 3),
        replica=replica_status(pipeline),
    )


def _as_of(store: Store, runs: Sequence[Run], *, events: bool) -> dt.datetime | None:
    """Since when rows may have changed unseen. Whoever follows a table makes several runs a second, so that the last
    run of all rows may be far back.

    Args:
        events: change events are followed, and a run may be at work for days.
    """
    if events:
        # To move rows between the parts of a store reads none of the events.
        following = (run for run in runs if run.outcome in ("running", "done") and not run.report.get("moved"))
        told = (moment(run.report.get("taken_at")) for run in following)
        return next((each for each in told if each is not None), None)
    for limit in (0, 100, RUNS_KEPT):
        for run in store.runs(limit) if limit else runs:
            if run.outcome == "done" and run.report.get("whole"):
                return run.started_at
    return None


def _settings_changed(ledger: Ledger, spec: TableSpec) -> str:
    if not ledger.filled:
        return ""
    if ledger.fingerprint is not None and spec.fingerprint is not None and ledger.fingerprint != spec.fingerprint:
        return "the model of the config has changed"
    if settings_and_rendering(ledger.recipe)[0] != settings_and_rendering(spec.recipe)[0]:
        return "the text settings have changed"
    return ""


def failures(pipeline: Pipeline, limit: int | None = None) -> list[Failure]:
    """The rows that could not be embedded or stored, of the generation that a sync fills; latest first."""
    rows = pipeline.store.generation(course(pipeline).pipeline.spec)
    return [] if rows is None else rows.failures(limit)


def unfit(pipeline: Pipeline, limit: int | None = None) -> list[UnfitValue]:
    """The metadata values that are null because they do not fit their column, of the same generation."""
    rows = pipeline.store.generation(course(pipeline).pipeline.spec)
    return [] if rows is None else rows.unfit(limit=limit)


def _lag(
    failures: Sequence[Failure],
    rows: int,
    current: int,
    runs: Sequence[Run],
    behind: dt.datetime | None,
    now: dt.datetime,
) -> float | None:
    """A row has been without a current vector since it failed first, or at most since the last whole run.

    Args:
        behind: rows have changed since then.
    """
    since = [failure.failed_at for failure in failures] + ([behind] if behind is not None else [])
    if current < rows:
        since.extend(run.started_at for run in runs[:1])
    return (now - min(since)).total_seconds() if since else None
