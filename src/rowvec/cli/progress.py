"""Progress of what takes long: a bar on a terminal, a line every few seconds in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from rowvec.cli import output
from rowvec.embedders.pricing import dollars
from rowvec.syncing.report import OnReport
from rowvec.types import Progress, Report

LINE_SECONDS = 5.0


@contextmanager
def shown(total: int | None) -> Iterator[OnReport]:
    """A callback for sync(), drawing on stderr until the block ends. `total` is the number of rows to come."""
    if output.err.is_terminal:
        with Bars(
            BarColumn(), MofNCompleteColumn(), TextColumn("rows {task.fields[detail]}"), TimeRemainingColumn(),
            console=output.err, transient=True,
        ) as bar:  # fmt: skip
            task = bar.add_task("sync", total=total, detail="")
            began = time.monotonic()
            yield lambda report: bar.update(
                task, total=total or report.to_compare, completed=settled(report), detail=detail(report, began)
            )
    else:
        yield _Lines(total)


class _Lines:
    def __init__(self, total: int | None) -> None:
        self.total = total
        self.began = self.last = time.monotonic()

    def __call__(self, report: Report) -> None:
        now = time.monotonic()
        if now - self.last < LINE_SECONDS:
            return
        self.last = now
        done, total = settled(report), self.total or report.to_compare
        of = f" of {total:,}" if total else ""
        rest = ""
        if total and 0 < done < total:
            rest = f", about {output.seconds((total - done) * (now - self.began) / done)} left"
        output.note(f"{done:,}{of} rows, {detail(report, self.began)}{rest}")


def settled(report: Report) -> int:
    """Rows that need nothing more."""
    return (
        report.inserted + report.embedded + report.updated + report.unchanged
        + report.empty + report.failed + report.waiting
    )  # fmt: skip


def detail(report: Report, began: float) -> str:
    rate = settled(report) / max(time.monotonic() - began, 0.001)
    parts = [f"{rate:,.0f} rows/s", f"{report.tokens:,} tokens"]
    if report.cost:
        parts.append(dollars(report.cost))
    if report.failed:
        parts.append(f"{report.failed:,} failed")
    return ", ".join(parts)


@contextmanager
def phases(safe: str) -> Iterator[Progress]:
    """A callback for work in phases, drawing on stderr until the block ends.

    Args:
        safe: what Ctrl-C leaves behind; said when it comes.
    """
    try:
        if output.err.is_terminal:
            with Bars(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(), TimeRemainingColumn(), console=output.err, transient=True,
            ) as bar:  # fmt: skip
                yield _Bars(bar)
        else:
            yield _PhaseLines()
    except KeyboardInterrupt:
        output.note(f"Stopped. {safe}")
        raise


class _Bars:
    def __init__(self, bar: Bars) -> None:
        self.bar = bar
        self.phase: str | None = None
        self.task: TaskID | None = None
        self.began = 0.0

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        if self.task is None or phase != self.phase:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.task = self.bar.add_task(phase, total=total, rate="")
            self.phase, self.began = phase, time.monotonic()
        self.bar.update(self.task, completed=done, total=total, rate=_rate(done, self.began))


class _PhaseLines:
    def __init__(self) -> None:
        self.phase: str | None = None
        self.began = self.last = 0.0

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if phase != self.phase:
            self.phase, self.began, self.last = phase, now, now
            output.note(f"{phase} …")
        elif now - self.last >= LINE_SECONDS:
            self.last = now
            of = f" of {total:,}" if total else ""
            left = ""
            if total and 0 < done < total:
                left = f"about {output.seconds((total - done) * (now - self.began) / done)} left"
            output.note(", ".join(filter(None, (f"{phase}: {done:,}{of}", _rate(done, self.began), left))))


def _rate(done: int, began: float) -> str:
    seconds = time.monotonic() - began
    return f"{done / seconds:,.0f}/s" if done and seconds > 0.1 else ""
