"""Progress of a sync: a bar on a terminal, a line every few seconds in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rowvec.cli import show
from rowvec.pricing import dollars
from rowvec.syncing import Progress as Callback
from rowvec.types import Report

LINE_SECONDS = 5.0


@contextmanager
def shown(total: int | None) -> Iterator[Callback]:
    """A callback for sync(), drawing on stderr until the block ends. `total` is the number of rows to come."""
    if show.err.is_terminal:
        with Progress(
            BarColumn(), MofNCompleteColumn(), TextColumn("rows {task.fields[detail]}"), TimeRemainingColumn(),
            console=show.err, transient=True,
        ) as bar:  # fmt: skip
            task = bar.add_task("sync", total=total, detail="")
            began = time.monotonic()
            yield lambda report: bar.update(task, completed=settled(report), detail=detail(report, began))
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
        done = settled(report)
        of = f" of {self.total:,}" if self.total else ""
        rest = ""
        if self.total and 0 < done < self.total:
            rest = f", about {show.seconds((self.total - done) * (now - self.began) / done)} left"
        show.note(f"{done:,}{of} rows {detail(report, self.began)}{rest}")


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
