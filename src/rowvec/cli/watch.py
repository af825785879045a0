"""`rowvec watch`: changes carried out as they come, from change events or from a trigger in PostgreSQL."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from pathlib import Path

from rowvec.api.project import opened
from rowvec.cli import output
from rowvec.cli.codes import SOME_FAILED
from rowvec.cli.sync import interruptible, print_events, print_report
from rowvec.errors import ConfigError
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.events.stream import EventStream
from rowvec.stores.runs import Report
from rowvec.syncing.run import sync
from rowvec.syncing.watch import installed_notifier, notifier_of
from rowvec.syncing.watch import watch as follow

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
        ConfigError: the pipeline has neither change events nor a table with a trigger.
    """
    with opened(config, name, max_cost=max_cost) as door, interruptible() as stop:
        pipeline = door.assembled
        events = pipeline.source
        if not isinstance(events, EventStream):
            if from_start or skip_bad:
                raise ConfigError("--from-start and --skip-bad are for change events.", hint="Leave them out.")
            report = _follow_rows(pipeline, allow_delete, stop)
        else:
            if skip_bad:
                events.settings = dataclasses.replace(events.settings, skip_bad=True)
            output.note(f"{pipeline.name}: following {events.location}. Ctrl-C stops.")
            report = sync(
                pipeline, Options(allow_delete=allow_delete),
                follow=True, from_start=from_start, progress=_Lines(), tell=output.note, stop=stop,
            )  # fmt: skip
        if as_json:
            output.print_json({"pipeline": pipeline.name, **report.as_dict()})
        else:
            print_report(pipeline, report, interrupted=False)
            if isinstance(events, EventStream):
                print_events(report)
        return SOME_FAILED if report.failed or report.waiting else 0


def set_trigger(config: Path | None, name: str | None, *, install: bool, as_json: bool) -> int:
    """Make the trigger that tells of changed rows, or remove it; what is run is printed.

    Raises:
        ConfigError: the source is not a table in PostgreSQL.
        SourceError: the user may not do that.
    """
    with opened(config, name) as door:
        pipeline = door.assembled
        notifier = notifier_of(pipeline)
        statements = notifier.install_sql() if install else notifier.uninstall_sql()
        if not as_json:
            output.line(";\n\n".join(statements) + ";")
        notifier.carry_out(statements)
        if as_json:
            output.print_json(
                {
                    "pipeline": pipeline.name, "table": f"{notifier.schema}.{notifier.table}",
                    "channel": notifier.channel, "installed": install, "statements": statements,
                }
            )  # fmt: skip
        done = "tells of its changes now" if install else "tells of its changes no more"
        output.note(f"{notifier.schema}.{notifier.table} {done}.")
        if install and notifier.prepares():
            output.note(
                "PREPARE TRANSACTION fails from now on for transactions that change the table: PostgreSQL cannot"
                " prepare what has notified."
            )
        return 0


def _follow_rows(pipeline: Pipeline, allow_delete: bool, stop: threading.Event) -> Report:
    notifier = installed_notifier(pipeline)
    output.note(f"{pipeline.name}: watching {notifier.schema}.{notifier.table}. Ctrl-C stops.")
    return follow(pipeline, notifier, allow_delete=allow_delete, progress=_Lines(), note=output.note, stop=stop)


class _Lines:
    """A line for each batch of changes that changed something."""

    def __init__(self) -> None:
        self._told = dict.fromkeys(COUNTS, 0)

    def __call__(self, report: Report) -> None:
        now = {name: getattr(report, name) for name in COUNTS}
        more = {word: now[name] - self._told[name] for name, word in COUNTS.items()}
        self._told = now
        if any(more.values()):
            said = ", ".join(f"{number:,} {word}" for word, number in more.items() if number)
            output.note(f"{dt.datetime.now():%H:%M:%S}  {said}")
