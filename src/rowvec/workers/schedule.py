"""When a pipeline is synced automatically: from `schedule` in the config to what Celery's Beat understands."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import Any

from celery.schedules import ParseException, crontab

from rowvec.config import Config
from rowvec.errors import ConfigError

SYNC = "rowvec.sync"
LONGEST_WAIT = dt.timedelta(days=1)


def beat_schedule(loaded: Config) -> dict[str, dict[str, Any]]:
    """One entry for each pipeline that has a schedule.

    A task that no worker has taken by the time of the next one expires: after a night without workers there is one
    sync to do, not forty. Where a cron line leaves longer and shorter gaps, it expires after a day.

    Raises:
        ConfigError: a cron line that means nothing, or a pipeline whose variables are not set.
    """
    entries = {}
    for name, pipeline in loaded.pipelines.items():
        if pipeline.schedule is not None:
            times = pipeline.schedule.every or _crontab(name, pipeline.schedule.cron or "")
            gap = _gap(times) if isinstance(times, crontab) else times
            entries[f"sync {name}"] = {
                "task": SYNC,
                "args": (name,),
                "schedule": times,
                "options": {"expires": min(gap, LONGEST_WAIT).total_seconds()},
            }
    return entries


def _gap(times: crontab) -> dt.timedelta:
    """Between any two runs in a row where that is always the same; else the longest wait."""
    minutes = sorted(60 * hour + minute for hour in times.hour for minute in times.minute)
    gaps = {later - sooner for sooner, later in pairwise([*minutes, minutes[0] + 24 * 60])}
    every_day = (len(times.day_of_week), len(times.day_of_month), len(times.month_of_year)) == (7, 31, 12)
    return dt.timedelta(minutes=gaps.pop()) if every_day and len(gaps) == 1 else LONGEST_WAIT


def _crontab(name: str, line: str) -> crontab:
    try:
        return crontab.from_string(line)
    except (ParseException, ValueError) as error:
        raise ConfigError(
            f"pipelines.{name}.schedule.cron is {line!r}: {error}.",
            hint='Write five fields: minute hour day month weekday, such as "0 2 * * *" or "*/10 8-18 * * mon-fri".',
        ) from error
