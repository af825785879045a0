"""`rowvec status`."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.text import Text

from rowvec.api.project import opened
from rowvec.cli import output
from rowvec.cli.codes import code_of
from rowvec.cli.several import gravest
from rowvec.config import load
from rowvec.embedders.pricing import dollars
from rowvec.errors import ConfigError, RowvecError, SourceError
from rowvec.pipeline import Pipeline
from rowvec.pipeline_status import Status, Work
from rowvec.pipeline_status import status as gather
from rowvec.pipeline_status.verdict import as_of, behind
from rowvec.sources.base import Checked
from rowvec.stores.guarding import HINT
from rowvec.stores.index import IndexStatus
from rowvec.stores.runs import Run
from rowvec.support.figures import ago, percent, size

COUNTS = {
    "new": "inserted", "changed": "embedded", "metadata": "updated", "deleted": "deleted", "unchanged": "unchanged",
    "moved": "moved", "failed": "failed",
}  # fmt: skip
"""The columns of the table of runs: the word, and what of a report it counts."""
TONES = {"good": "green", "old": "dim", "busy": "cyan", "warn": "yellow"}
OUTCOMES = {"done": "green", "running": "cyan", "interrupted": "yellow", "failed": "red", "lost": "red"}
BAR = 24
"""Characters of a bar."""


def status(config: Path | None, name: str | None, *, as_json: bool, every: float | None = None) -> None:
    """
    Args:
        every: seconds after which it is shown again, until Ctrl-C; None to show it once.
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


def overview(config: Path | None) -> int:
    """One line for each pipeline of the config. Returns the gravest exit code.

    A pipeline that cannot be looked at does not keep the others from being shown.
    """
    rows: list[tuple[Any, ...]] = []
    codes = []
    for name in load(config).names:
        try:
            with opened(config, name) as pipeline:
                found = pipeline.status()
            rows.append((name, found.rows, Text(found.verdict.text, TONES[found.verdict.tone])))
        except RowvecError as error:
            codes.append(code_of(error))
            rows.append((name, None, Text(f"Error: {error.message}", "red")))
    output.table(["pipeline", "rows", "state"], rows, right=[1])
    output.note("`rowvec status -p NAME` shows one of them, `rowvec status --all` shows each.")
    return gravest(codes)


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
    output.say(_verdict(found))
    output.line()
    output.table(["", ""], _facts(found))
    if found.refusal is not None:
        output.line()
        output.line(f"Refused: {found.refusal.words}")
        output.line(f"  {HINT}")
    if found.runs:
        output.line()
        headers, rows, right = _runs(found.runs, found.now)
        output.table(headers, rows, right=right)


def _verdict(found: Status) -> Text:
    return Text(found.verdict.text, TONES[found.verdict.tone])


def _watch(pipeline: Pipeline, every: float) -> None:
    """Show the status in place on a terminal, one below the other in a pipe. A database that is away is waited for."""
    from rich.console import Group
    from rich.live import Live

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
    paces: list[float] = []
    before: _Frame | None = None
    with Live(console=output.out, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            try:
                found = gather(pipeline)
            except RowvecError as error:
                if not error.transient:
                    raise
                said = Text(f"{error}\nTrying again every {output.seconds(every)}. Ctrl-C to stop.\n", "yellow")
                live.update(Group(said, *(before() if before else ())), refresh=True)
            else:
                paces = [*paces, _pace(before, found)][-BAR:]
                before = _Frame(found, list(paces))
                live.update(Group(*before()), refresh=True)
            time.sleep(every)


def _pace(before: _Frame | None, found: Status) -> float:
    """Rows a second that were settled, by the record of the run or since the last look."""
    if found.work is not None and found.work.per_second:
        return found.work.per_second
    gained = max(0, found.current - before.found.current) if before is not None else 0
    return gained / max(time.monotonic() - before.at, 0.001) if before is not None else 0.0


class _Frame:
    """What `--watch` shows of one status; it ages when the database is away."""

    def __init__(self, found: Status, paces: Sequence[float]) -> None:
        self.found, self.paces, self.at = found, paces, time.monotonic()
        self.clock = time.strftime("%H:%M:%S")

    def __call__(self) -> Sequence[Any]:
        found, age = self.found, time.monotonic() - self.at
        aged = f", {output.seconds(age)} ago" if age > 1 else ""
        title = Text(f"{found.pipeline}: {found.where}   {self.clock}{aged}")
        facts = _facts(found)
        if max(self.paces, default=0.0) > 0:
            facts.append(("pace", f"{sparkline(self.paces)}  {self.paces[-1]:,.0f} rows/s"))
        refused = [Text(f"Refused: {found.refusal.words}\n")] if found.refusal else []
        headers, rows, right = _runs(found.runs, found.now)
        return (
            title,
            _verdict(found),
            Text(),
            output.grid(["", ""], facts),
            Text(),
            *refused,
            output.grid(headers, rows, right),
        )


def sparkline(values: Sequence[float]) -> str:
    """A line of blocks, the highest value as a full one."""
    top = max(values, default=0.0) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * max(value, 0.0) / top))] for value in values)


def bar(share: float) -> str:
    full = round(BAR * min(1.0, max(0.0, share)))
    return "━" * full + "─" * (BAR - full)


def _facts(found: Status) -> list[tuple[str, Any]]:
    rows = f"({min(found.current, found.rows):,} of {found.rows:,} rows have a current vector)"
    facts: list[tuple[str, Any]] = []
    if found.work is not None:
        facts += [("at work", _work(found.work)), ("lock", found.work.holder or "-")]
    if found.building is not None:
        facts.append(("new model", _building(found)))
    return [
        *facts,
        ("coverage", f"{percent(found.coverage)} {rows} {as_of(found)}"),
        ("waiting", _waiting(found)),
        ("lag", _lag(found)),
        ("failures", _failures(found)),
        ("stale", found.stale),
        ("truncated", f"{found.truncated:,} ({percent(found.truncated / max(found.current, 1))})"),
        *([("passages", _passages(found))] if found.divided else []),
        ("unfit", _unfit(found)),
        ("model", found.model or "-"),
        ("index", _index(found.index)),
        ("size", _size(found)),
        *([("searches", found.replica.text)] if found.replica else []),
        ("tokens", found.totals.tokens),
        *([("cost", dollars(found.totals.cost))] if found.totals.cost else []),
        *([("forecast", found.forecast.words)] if found.forecast else []),
        *([("rerank cost", f"{dollars(found.totals.rerank_cost)} for searches")] if found.totals.rerank_cost else []),
    ]


def _work(work: Work) -> str:
    parts = [f"run {work.run}: {work.phase}"]
    if work.total:
        parts.append(f"{bar(work.share or 0.0)} {percent(work.share or 0.0)}")
        parts.append(f"{work.rows:,} of {output.count(work.total, 'row')}")
    if work.per_second:
        parts.append(f"{work.per_second:,.0f} rows/s")
    if work.seconds_left is not None:
        parts.append(f"about {output.seconds(work.seconds_left)} left")
    if work.cost:
        parts.append(dollars(work.cost) + (f" of {dollars(work.budget)}" if work.budget else ""))
    if work.failed:
        parts.append(f"{work.failed:,} failed")
    if work.stopping:
        parts.append("stopping")
    return ", ".join(parts)


def _building(found: Status) -> str:
    new = found.building
    assert new is not None
    share = new.rows / found.rows if found.rows else 0.0
    model = f", {new.fingerprint.model}" if new.fingerprint else ""
    return f"{bar(share)} {percent(share)} ({new.rows:,} of {output.count(found.rows, 'row')}){model}"


def _waiting(found: Status) -> str:
    if found.waiting is None:
        return "not known: without a cursor only `rowvec plan` tells which rows have changed"
    aside = f"; {found.waiting.aside}" if found.waiting.aside else ""
    if not found.waiting.rows:
        return f"none, as far as {found.waiting.by} tells{aside}"
    return f"{behind(found)} ({found.waiting.by}){aside}"


def _failures(found: Status) -> Any:
    return Text(f"{found.failures:,} (`rowvec failures` lists them)", "red") if found.failures else 0


def _passages(found: Status) -> str:
    return f"{found.passages:,} of {output.count(found.divided, 'row')}, {found.passages / found.divided:.1f} a row"


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


def _size(found: Status) -> str:
    others = [f"{each.state} generation {size(each.bytes)}" for each in found.generations[1:] if each.bytes]
    return ", ".join([size(found.all_bytes)] + ([f"of it live {size(found.bytes)}", *others] if others else []))


def _lag(found: Status) -> str:
    if found.as_of is None:
        return "never synced" if not found.runs else "-"
    return f"none {as_of(found)}" if found.lag_seconds is None else f"up to {output.seconds(found.lag_seconds)}"


def _runs(runs: Sequence[Run], now: dt.datetime) -> tuple[list[str], list[tuple[Any, ...]], list[int]]:
    """Headers, rows and the columns that are aligned to the right; a count that is 0 in every run is left out."""
    shown = {word: name for word, name in COUNTS.items() if any(run.report.get(name) for run in runs)}
    rows = [
        (
            run.id, ago(run.started_at, now),
            output.seconds((run.ended_at - run.started_at).total_seconds()) if run.ended_at else None,
            _outcome(run), *(run.report.get(name, 0) for name in shown.values()),
        )
        for run in runs
    ]  # fmt: skip
    right = [0, *range(4, 4 + len(shown))]
    return ["run", "started", "took", "outcome", *shown], rows, right


def _outcome(run: Run) -> Text:
    outcome = run.outcome if not run.error else f"{run.outcome}: {output.clip(run.error, 60)}"
    return Text(outcome, OUTCOMES.get(run.outcome, ""))
