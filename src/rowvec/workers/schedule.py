"""When a pipeline is synced by itself: from `schedule` in the config to what Celery's Beat understands."""

from __future__ import annotations

import datetime as dt
from typing import Any

from celery.schedules import ParseException, crontab

from rowvec import config as settings
from rowvec.errors import ConfigError

SYNC = "rowvec.sync"
LONGEST_WAIT = dt.timedelta(days=1)


def beat_schedule(loaded: settings.Config) -> dict[str, dict[str, Any]]:
    """One entry for each pipeline that has a schedule.

    A task that no worker has taken by the time of the next one expires: after a night without workers there is one
    sync to do, not forty.

    Raises:
        ConfigError: a cron line that means nothing, or a pipeline whose variables are not set.
    """
    entries = {}
    for name, pipeline in loaded.pipelines.items():
        if pipeline.schedule is not None:
            expires = min(pipeline.schedule.every or LONGEST_WAIT, LONGEST_WAIT)
            entries[f"sync {name}"] = {
                "task": SYNC,
                "args": (name,),
                "schedule": pipeline.schedule.every or _crontab(name, pipeline.schedule.cron or ""),
                "options": {"expires": expires.total_seconds()},
            }
    return entries


def _crontab(name: str, line: str) -> crontab:
    try:
        return crontab.from_string(line)
    except (ParseException, ValueError) as error:
        raise ConfigError(
            f"pipelines.{name}.schedule.cron is {line!r}: {error}.",
            hint='Five fields: minute hour day month weekday, such as "0 2 * * *" or "*/10 8-18 * * mon-fri".',
        ) from error
