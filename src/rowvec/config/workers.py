"""`[workers]` and a pipeline's `schedule`: who works, and when."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from rowvec.config.fields import (
    Name,
    OptionalCount,
    OptionalText,
    Section,
    blank_is_none,
    clear_url,
    duration,
    wrong,
)

BROKERS = ("redis://", "rediss://", "amqp://", "amqps://", "sentinel://", "sqla+")
RESULTS = ("redis://", "rediss://", "sentinel://", "db+", "rpc://")


def _one_of(kinds: tuple[str, ...], what: str) -> Any:
    def check(value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(kinds):
            raise wrong(f"is not an address of {what}", f"It begins with {', '.join(kinds)}.")
        return value

    return AfterValidator(check)


def _cron(value: Any) -> Any:
    """Five fields; the scheduler checks what each of them may hold."""
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"\S+(\s+\S+){4}", value.strip())):
        raise wrong("is not a cron line", 'Write five fields: minute hour day month weekday, such as "0 2 * * *".')
    return value


Duration = Annotated[dt.timedelta, BeforeValidator(duration)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(blank_is_none)]


class WorkersConfig(Section):
    """Where tasks wait for a worker and where their results are kept; both default to the embedded PostgreSQL."""

    broker: Annotated[OptionalSecret, AfterValidator(clear_url), _one_of(BROKERS, "Redis or RabbitMQ")] = None
    """`redis://…`, `amqp://…`; also from `ROWVEC_BROKER`. By default the embedded PostgreSQL."""
    results: Annotated[OptionalSecret, AfterValidator(clear_url), _one_of(RESULTS, "a place for results")] = None
    """Where results are kept; by default the Redis that is the broker, else the embedded PostgreSQL."""
    queue: Name = "rowvec"
    """Name of the queue on the broker; projects that share a broker need one each."""
    time_limit: Duration = dt.timedelta(hours=12)
    """A task that takes longer is asked to stop, and is killed a minute later."""
    redeliver_after: Duration = dt.timedelta(minutes=30)
    """How long a worker may stay silent before Redis gives its task to another one."""
    keep_results: Duration = dt.timedelta(days=7)
    """How long the result of a task is kept."""
    range_rows: OptionalCount = None
    """Rows that one task of a fleet syncs; by default chosen so that there are a few dozen tasks."""
    timezone: OptionalText = None
    """Time zone of cron lines, such as `Europe/Prague`; UTC by default."""


class ScheduleConfig(Section):
    """When a pipeline is synced automatically: at the interval `every`, or at the times of the cron line `cron`."""

    every: Annotated[dt.timedelta | None, BeforeValidator(duration)] = Field(default=None, examples=["30m"])
    """Interval between two syncs."""
    cron: Annotated[OptionalText, BeforeValidator(_cron)] = None
    """Times as a cron line: minute, hour, day, month, weekday."""

    @model_validator(mode="after")
    def _one_of_both(self) -> ScheduleConfig:
        if (self.every is None) == (self.cron is None):
            what = "has both every and cron" if self.every else "has neither every nor cron"
            raise wrong(what, 'Write { every = "30m" } or { cron = "0 2 * * *" }.')
        return self
