"""What is read of values that PostgreSQL has and Python has not, or reads otherwise."""

from __future__ import annotations

import datetime as dt
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.types import datetime as pg_datetime

from rowvec.sources.databases.base import readable
from rowvec.support.intervals import interval_of


class IntervalLoader(Loader):
    """psycopg takes a year for 365 days and a month for 30: one that has such stays text."""

    def load(self, data: Buffer) -> dt.timedelta | str:
        text = bytes(data).decode()
        try:
            found = interval_of(text)
        except ValueError:
            return text
        return str(found) if found.months else found.span


def _lenient(strict: type[Any]) -> type[Any]:
    class Lenient(strict):  # type: ignore[misc]
        def load(self, data: Buffer) -> Any:
            try:
                return super().load(data)
            except psycopg.DataError:
                return bytes(data).decode()

    return Lenient


class ReadableLoader(Loader):
    """For a text that is not in the encoding of its database."""

    def load(self, data: Buffer) -> str:
        return readable(bytes(data))


LENIENT = {
    "date": _lenient(pg_datetime.DateLoader),
    "time": _lenient(pg_datetime.TimeLoader),
    "timetz": _lenient(pg_datetime.TimetzLoader),
    "timestamp": _lenient(pg_datetime.TimestampLoader),
    "timestamptz": _lenient(pg_datetime.TimestamptzLoader),
}
"""By type: `infinity`, years before 1 and after 9999, 24:00 and other times that Python has not stay text."""
