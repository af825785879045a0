"""`rowvec status`."""

from __future__ import annotations

import datetime as dt
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rowvec.api.project import opened
from rowvec.cli import output
from rowvec.embedders.pricing import dollars
from rowvec.errors import ConfigError, RowvecError, SourceError
from rowvec.pipeline import Pipeline
from rowvec.pipeline_status import Status
from rowvec.pipeline_status import status as gather
from rowvec.sources.base import Checked
from rowvec.stores.index import IndexStatus
from rowvec.syncing.deletion import HINT, standing_words
from rowvec.types import Run

RUN_COLUMNS = ("run", "started", "took", "outcome", "new", "changed", "metadata", "deleted", "unchanged", "failed")
RIGHT = (0, 4, 5, 6, 7, 8, 9)


def status(config: Path | None, name: str | None, *, as_json: bool, every: float | None = None) -> None:
    """
    Args:
        every: seconds after which it is shown anew, until Ctrl-C; None to show it once.
    """
    if as_json and every is not None:
        raise ConfigError("--watch and --json contradict each other.", hint="`rowvec serve` has GET /status for that.")
    with opened(config, name) as pipeline:
        if every is not None:
            _watch(pipeline.assembled, every)
            return
        found = pipeline.status()
        if as_json:
            output.print_json({**found.as_dict(), "progress": found.progress()})
        else:
            _print_status(found)
            _warn(pipeline.assembled)


def _warn(pipeline: Pipeline) -> None:
    """Say what is going to fail if nobody does something."""
    if isinstance(pipeline.source, Checked):
        # What the vectors are is known without the source.
        with suppress(SourceError):
            for line in pipeline.source.checks():
                if not line.ok:
                    output.note(f"Warning: {line.detail}. {line.fix}")


def _print_status(found: Status) -> None:
    output.line(f"{found.pipeline}: {found.where}")
    output.line()
    output.table(["", ""], _facts(found))
    if found.refusal is not None:
        output.line()
        output.line(f"Refused: {standing_words(found.refusal)}")
        output.line(f"  {HINT}")
    if found.runs:
        output.line()
        output.table(RUN_COLUMNS, [_run_row(run) for run in found.runs], right=RIGHT)


def _watch(pipeline: Pipeline, every: float) -> None:
    """Show the status in place on a terminal, one below the other in a pipe. A database that is away is waited for."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    if not output.out.is_terminal:
        while True:
            try:
                _print_status(gather(pipeline))
            except RowvecError as error:
                if not error.transient:
                    raise
                output.line(f"{error}\nTrying again every {output.seconds(every)}.")
            output.line()
            output.out.file.flush()
            time.sleep(every)
    before: tuple[float, Status] | None = None
    with Live(console=output.out, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            try:
                found = gather(pipeline)
            except RowvecError as error:
                if not error.transient:
                    raise
                live.update(Text(f"{error}\nTrying again every {output.seconds(every)}. Ctrl-C to stop."), refresh=True)
                before = None
            else:
                now = time.monotonic()
                facts = [*_facts(found), ("pace", _pace(before, found, now))]
                before = before if before and before[1].current == found.current else (now, found)
                title = Text(f"{found.pipeline}: {found.where}   {dt.datetime.now():%H:%M:%S}\n")
                refused = Text(f"Refused: {standing_words(found.refusal)}\n" if found.refusal else "")
                runs = output.grid(RUN_COLUMNS, [_run_row(run) for run in found.runs], RIGHT)
                live.update(Group(title, output.grid(["", ""], facts), refused, runs), refresh=True)
            time.sleep(every)


def _pace(before: tuple[float, Status] | None, found: Status, now: float) -> str:
    """Rows that got a vector since the last look, and when all will have one."""
    gained = found.current - before[1].current if before else 0
    if before is None or gained <= 0:
        return "-"
    rate = gained / (now - before[0])
    left = (found.rows - found.current) / rate
    return f"{rate:,.0f} rows/s" + (f", about {output.seconds(left)} left" if left > 0 else "")


def _facts(found: Status) -> list[tuple[str, Any]]:
    return [
        ("coverage", f"{100 * found.coverage:.2f} %  ({found.current:,} of {found.rows:,} rows have a current vector)"),
        ("lag", _lag(found)),
        ("failures", found.failures),
        ("stale", found.stale),
        ("truncated", f"{found.truncated:,} ({100 * found.truncated / max(found.current, 1):.1f} %)"),
        *([("passages", _passages(found))] if found.divided else []),
        ("unfit", _unfit(found)),
        ("model", found.model or "-"),
        ("index", _index(found.index)),
        ("size", f"{found.bytes / 1e6:,.1f} MB"),
        ("tokens", found.totals.tokens),
        *([("cost", dollars(found.totals.cost))] if found.totals.cost else []),
    ]


def _passages(found: Status) -> str:
    return f"{found.passages:,} of {found.divided:,} rows, {found.passages / found.divided:.1f} a row"


def _unfit(found: Status) -> str:
    if not found.unfit:
        return "0"
    return f"{output.count(found.unfit, 'metadata value')} stored as null (`rowvec failures` lists them)"


def _index(index: IndexStatus | None) -> str:
    if index is None:
        return "none, all rows are compared"
    if not index.precision:
        return index.kind
    recall = "not measured" if index.recall is None else f"{index.recall:.3f}"
    return f"{index.kind}, {index.held}, recall@10 {recall}"


def _lag(found: Status) -> str:
    if found.rows and not found.runs:
        return "never synced"
    return "none" if found.lag_seconds is None else output.seconds(found.lag_seconds)


def _run_row(run: Run) -> tuple[Any, ...]:
    took = output.seconds((run.ended_at - run.started_at).total_seconds()) if run.ended_at else None
    report = run.report
    outcome = run.outcome if not run.error else f"{run.outcome}: {output.clip(run.error, 60)}"
    counts = (report.get(name, 0) for name in ("inserted", "embedded", "updated", "deleted", "unchanged", "failed"))
    return (run.id, run.started_at, took, outcome, *counts)
