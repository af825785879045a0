"""When a pipeline is synced automatically: from `schedule` in the config to what Celery's Beat understands."""

from __future__ import annotations

from typing import Any

from celery.schedules import ParseException, crontab

from rowvec.config import Config
from rowvec.errors import ConfigError

SYNC = "rowvec.sync"
AFTER_RUN = "rowvec_after_run"
"""Header of a task that a run answers which began after it was sent: the number of the newest one at that moment."""


def beat_schedule(loaded: Config) -> dict[str, dict[str, Any]]:
    """One entry for each pipeline that has a schedule.

    Each task says which run was the newest when it was sent, and a later run answers it: after a night without workers
    there is one sync to do, not forty. Celery's own way, that a task expires, compares the clocks of two hosts: a
    worker whose clock is ahead would carry nothing out.

    Raises:
        ConfigError: a cron line that means nothing, or a pipeline whose variables are not set.
    """
    entries = {}
    for name, pipeline in loaded.pipelines.items():
        if pipeline.schedule is not None:
            entries[f"sync {name}"] = {
                "task": SYNC,
                "args": (name,),
                "schedule": pipeline.schedule.every or _crontab(name, pipeline.schedule.cron or ""),
                "options": {"headers": {AFTER_RUN: None}},
            }
    return entries


def _crontab(name: str, line: str) -> crontab:
    try:
        return crontab.from_string(line)
    except (ParseException, ValueError) as error:
        raise ConfigError(
            f"pipelines.{name}.schedule.cron is {line!r}: {error}.",
            hint='Write five fields: minute hour day month weekday, such as "0 2 * * *" or "*/10 8-18 * * mon-fri".',
        ) from error
