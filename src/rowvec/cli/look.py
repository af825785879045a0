"""`rowvec status`, `rowvec failures` and `rowvec search`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rowvec import assemble
from rowvec.cli import show
from rowvec.pricing import dollars
from rowvec.status import Status
from rowvec.status import status as gather
from rowvec.types import Run


def status(config: Path | None, name: str | None, *, as_json: bool) -> None:
    with assemble.opened(config, name) as pipeline:
        found = gather(pipeline)
        if as_json:
            show.print_json({**found.as_dict(), "progress": found.progress()})
            return
        show.line(f"{found.pipeline}: {found.where}")
        show.line()
        rows: list[tuple[str, Any]] = [
            (
                "coverage",
                f"{100 * found.coverage:.2f} %  ({found.current:,} of {found.rows:,} rows have a current vector)",
            ),
            ("lag", _lag(found)),
            ("failures", found.failures),
            ("stale", found.stale),
            ("truncated", f"{found.truncated:,} ({100 * found.truncated / max(found.current, 1):.1f} %)"),
            ("model", found.model or "-"),
            ("size", f"{found.bytes / 1e6:,.1f} MB"),
            ("tokens", found.totals.get("tokens", 0)),
            ("cost", dollars(found.totals.get("cost", 0.0))),
        ]
        show.table(["", ""], rows)
        if found.runs:
            show.line()
            show.table(
                ["run", "started", "took", "outcome", "new", "changed", "metadata", "deleted", "unchanged", "failed"],
                [_run_row(run) for run in found.runs],
                right=[0, 4, 5, 6, 7, 8, 9],
            )


def _lag(found: Status) -> str:
    if found.rows and not found.runs:
        return "never synced"
    return "none" if found.lag_seconds is None else show.seconds(found.lag_seconds)


def _run_row(run: Run) -> tuple[Any, ...]:
    took = show.seconds((run.ended_at - run.started_at).total_seconds()) if run.ended_at else None
    report = run.report
    outcome = run.outcome if not run.error else f"{run.outcome}: {show.clip(run.error, 60)}"
    counts = (report.get(name, 0) for name in ("inserted", "embedded", "updated", "deleted", "unchanged", "failed"))
    return (run.id, run.started_at, took, outcome, *counts)


def failures(config: Path | None, name: str | None, limit: int, *, as_json: bool) -> None:
    with assemble.opened(config, name) as pipeline:
        found = pipeline.store.failures(limit) if pipeline.store.attach(pipeline.spec) else []
        if as_json:
            show.print_json(
                [
                    {
                        "key": failure.key, "error": failure.error, "attempts": failure.attempts,
                        "failed_at": failure.failed_at, "next_try": failure.next_try,
                    }
                    for failure in found
                ]
            )  # fmt: skip
        elif not found:
            show.line("No failures.")
        else:
            show.table(
                ["key", "tries", "failed", "next try", "error"],
                [(f.key, f.attempts, f.failed_at, f.next_try, f.error) for f in found],
                right=[1],
            )
            show.note("`rowvec failures --retry` tries them again now; a plain sync does so when they are due.")
