"""`rowvec watch`: change events carried out as they come."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

from rowvec import assemble
from rowvec.cli import show, work
from rowvec.errors import ConfigError
from rowvec.events import sync_events
from rowvec.sources.event_stream import EventStream
from rowvec.types import Report

COUNTS = {
    "inserted": "new", "embedded": "changed", "updated": "metadata only", "deleted": "deleted", "failed": "failed",
}  # fmt: skip


def watch(
    config: Path | None,
    name: str | None,
    *,
    from_start: bool,
    allow_delete: bool,
    skip_bad: bool,
    max_cost: float | None,
    as_json: bool,
) -> int:
    """Returns the exit code: to be stopped is the usual end.

    Raises:
        ConfigError: the pipeline has no change events.
    """
    with assemble.opened(config, name, max_cost=max_cost) as pipeline, work.interruptible() as stop:
        events = pipeline.source
        if not isinstance(events, EventStream):
            raise ConfigError(
                f"{pipeline.name} reads rows, and no change events that could be followed.",
                hint='Run `rowvec sync` again and again, or take the events of the table: source.kind = "debezium".',
            )
        if skip_bad:
            events.settings = dataclasses.replace(events.settings, skip_bad=True)
        show.note(f"{pipeline.name}: following {events.where}. Ctrl-C stops.")
        report = sync_events(
            pipeline,
            events,
            follow=True,
            from_start=from_start,
            allow_delete=allow_delete,
            progress=_Lines(),
            stop=stop,
        )
        if as_json:
            show.print_json({"pipeline": pipeline.name, **report.as_dict()})
        else:
            work.print_report(pipeline, report, interrupted=False)
            work.print_events(report)
        return work.SOME_FAILED if report.failed or report.waiting else 0


class _Lines:
    """A line for each batch of events that changed something."""

    def __init__(self) -> None:
        self._told = dict.fromkeys(COUNTS, 0)

    def __call__(self, report: Report) -> None:
        now = {name: getattr(report, name) for name in COUNTS}
        more = {word: now[name] - self._told[name] for name, word in COUNTS.items()}
        self._told = now
        if any(more.values()):
            said = ", ".join(f"{number:,} {word}" for word, number in more.items() if number)
            show.note(f"{dt.datetime.now():%H:%M:%S}  {said}")
