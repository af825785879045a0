"""`[workers]` and a pipeline's `schedule`: who works, and when."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from rowvec.config.fields import OptionalCount, OptionalText, Section, Text_, blank_is_none, wrong

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
BROKERS = ("redis://", "rediss://", "amqp://", "amqps://", "sentinel://", "sqla+")
RESULTS = ("redis://", "rediss://", "sentinel://", "db+", "rpc://")


def _duration(value: Any) -> Any:
    """`30s`, `30m`, `12h` and `7d`; parts may follow each other: `1h30m`."""
    if value is None or isinstance(value, dt.timedelta):
        return value
    text = value if isinstance(value, str) else ""
    parts = re.findall(r"(\d{1,6})([smhd])", text)
    if not parts or "".join(map("".join, parts)) != text:
        raise wrong("is no length of time", 'Write for example "30m", "12h" or "1h30m".')
    duration = sum((dt.timedelta(**{UNITS[unit]: int(number)}) for number, unit in parts), dt.timedelta())
    if not duration:
        raise wrong("is no time at all", 'Write for example "30m".')
    return duration


def _one_of(kinds: tuple[str, ...], what: str) -> Any:
    def check(value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(kinds):
            raise wrong(f"is no address of {what}", f"It begins with {', '.join(kinds)}.")
        return value

    return AfterValidator(check)


def _cron(value: Any) -> Any:
    """Five fields; what they may hold in detail is the scheduler's to judge."""
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"\S+(\s+\S+){4}", value.strip())):
        raise wrong("is no cron line", 'Write five fields: minute hour day month weekday, such as "0 2 * * *".')
    return value


Duration = Annotated[dt.timedelta, BeforeValidator(_duration)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(blank_is_none)]


class Workers(Section):
    """Where tasks wait for a worker and where their results are kept; both default to the embedded PostgreSQL."""

    broker: Annotated[OptionalSecret, _one_of(BROKERS, "Redis or RabbitMQ")] = None
    results: Annotated[OptionalSecret, _one_of(RESULTS, "a place for results")] = None
    queue: Text_ = "rowvec"
    """Its name on the broker; projects that share a broker have one each."""
    time_limit: Duration = dt.timedelta(hours=12)
    """A task that takes longer is asked to stop, and a minute later made to."""
    redeliver_after: Duration = dt.timedelta(minutes=30)
    """Redis gives a task whose worker fell silent for so long to another one."""
    keep_results: Duration = dt.timedelta(days=7)
    range_rows: OptionalCount = None
    """Rows that one task of a fleet syncs; by default so many that there are a few dozen tasks."""
    timezone: OptionalText = None


class Schedule(Section):
    """When a pipeline is synced by itself: `every` so often, or at the times that `cron` says."""

    every: Annotated[dt.timedelta | None, BeforeValidator(_duration)] = Field(default=None, examples=["30m"])
    cron: Annotated[OptionalText, BeforeValidator(_cron)] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Schedule:
        if (self.every is None) == (self.cron is None):
            what = "has both every and cron" if self.every else "has neither every nor cron"
            raise wrong(what, 'Write { every = "30m" } or { cron = "0 2 * * *" }.')
        return self
