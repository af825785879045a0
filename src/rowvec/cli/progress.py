"""Progress of what takes long: a bar on a terminal, a line every few seconds in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Column

from rowvec.cli import output
from rowvec.embedders.pricing import dollars
from rowvec.stores.runs import OnReport, Report
from rowvec.types import Progress

LINE_SECONDS = 5.0


BAR_WIDTH = 16
MEASURED = 0.5
"""Seconds after which a rate says something."""


@contextmanager
def shown(total: int | None = None) -> Iterator[OnReport]:
    """A callback for sync(), drawing on stderr until the block ends.

    Args:
        total: the number of rows to come, where the report does not say it.
    """
    if output.err.is_terminal:
        with Bars(
            TextColumn("{task.description}"), BarColumn(BAR_WIDTH),
            TextColumn("{task.fields[detail]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=output.err, transient=True,
        ) as bar:  # fmt: skip
            task = bar.add_task(STARTING, total=None, detail="")
            pace = _Pace(total)

            def show(report: Report) -> None:
                phase = report.phase or STARTING
                room = output.err.width - len(phase) - BAR_WIDTH - 2
                bar.update(
                    task, description=phase, total=pace.total(report), completed=report.settled,
                    detail=fitted(pace.parts(report), room),
                )  # fmt: skip

            yield show
    else:
        yield _Lines(total)


STARTING = "opening source, model and store"
"""What comes before the first row."""


class _Pace:
    """What is said of a report, the most important first."""

    def __init__(self, total: int | None) -> None:
        self._told = total
        self._began = time.monotonic()

    def total(self, report: Report) -> int | None:
        return self._told or report.to_compare

    def parts(self, report: Report) -> list[str]:
        total, done = self.total(report), report.settled
        parts = [f"{done:,} of {output.count(total, 'row')}" if total else output.count(done, "row")]
        seconds = time.monotonic() - self._began
        rate = report.per_second or (done / seconds if seconds > MEASURED else 0.0)
        if total and done < total:
            parts.append(f"{output.seconds((total - done) / rate)} left" if rate else "time left: measuring")
        if rate:
            parts.append(f"{rate:,.0f} rows/s")
        if report.cost:
            parts.append(dollars(report.cost) + (f" of {dollars(report.budget)}" if report.budget else ""))
        if report.failed:
            parts.append(f"{report.failed:,} failed")
        if report.tokens:
            parts.append(output.count(report.tokens, "token"))
        return parts


def fitted(parts: Sequence[str], room: int) -> str:
    """As many of the parts, from the first on, as there is room for."""
    said = parts[0]
    for part in parts[1:]:
        longer = f"{said}, {part}"
        if len(longer) > room:
            break
        said = longer
    return said


class _Lines:
    def __init__(self, total: int | None) -> None:
        self._pace = _Pace(total)
        self.last = time.monotonic()

    def __call__(self, report: Report) -> None:
        now = time.monotonic()
        if now - self.last < LINE_SECONDS:
            return
        self.last = now
        output.note(f"{report.phase or STARTING}: {', '.join(self._pace.parts(report))}")


@contextmanager
def phases(safe: str) -> Iterator[Progress]:
    """A callback for work in phases, drawing on stderr until the block ends.

    Args:
        safe: what Ctrl-C leaves behind; said when it comes.
    """
    try:
        if output.err.is_terminal:
            with Bars(
                TextColumn("{task.description}"), BarColumn(BAR_WIDTH),
                TextColumn("{task.fields[detail]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
                TimeElapsedColumn(), console=output.err, transient=True,
            ) as bar:  # fmt: skip
                yield _Bars(bar)
        else:
            yield _PhaseLines()
    except KeyboardInterrupt:
        output.note(f"Stopped. {safe}")
        raise


def late(tell: Progress) -> Progress:
    """The same, silent for the first seconds: what is soon done says nothing."""
    began = time.monotonic()

    def told(phase: str, done: int, total: int | None) -> None:
        if time.monotonic() - began >= LINE_SECONDS:
            tell(phase, done, total)

    return told


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
            self.task = self.bar.add_task(phase, total=total, detail="")
            self.phase, self.began = phase, time.monotonic()
        self.bar.update(self.task, completed=done, total=total, detail=_said(done, total, self.began))


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
            output.note(f"{phase}: {_said(done, total, self.began)}")


def _said(done: int, total: int | None, began: float) -> str:
    seconds = time.monotonic() - began
    parts = [f"{done:,} of {total:,}" if total else f"{done:,}"]
    if total and 0 < done < total and seconds > MEASURED:
        parts.append(f"about {output.seconds((total - done) * seconds / done)} left")
    if done and seconds > MEASURED:
        parts.append(f"{done / seconds:,.0f}/s")
    return ", ".join(parts)
