"""The values of a cursor column: times, dates, texts that are times, and numbers.

Local time goes back once a year: a time without a zone is not trusted on days when any clock of the world does.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from rowvec.errors import ConfigError
from rowvec.sources.base import CursorValue

TIME_LAG = dt.timedelta(minutes=5)
NUMBER_LAG = 1000
LOWEST = -(2**63)
"""No database has an integer below it."""
UNITS = (1, 10**3, 10**6, 10**9)
"""What Unix times count: these parts of a second."""
_MILLISECONDS_FROM = 253_402_387_200
"""A Unix time from here on counts milliseconds, and from a thousand times as much on microseconds. In seconds it is a
day after the year 9999, whose last second many systems write for "never"."""
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:([T ])(\d\d:\d\d)(:\d\d)?(?:[.,]\d+)?\s?(?:Z|[-+]\d\d(?::?\d\d)?)?)?")


def value_of(said: Any) -> CursorValue | None:
    """The value of a cursor as a kept mark has it; None where it is of an unknown kind."""
    try:
        kind, value = said
        if kind in ("date", "datetime"):
            found: CursorValue = getattr(dt, kind).fromisoformat(value)
            return found
        if kind == "str":
            _moment(value)
    except (ConfigError, TypeError, ValueError, AttributeError):
        return None
    return value if kind in ("str", "int", "float") and type(value).__name__ == kind else None


def lowered(mark: CursorValue, lag: dt.timedelta | int | None) -> CursorValue:
    """The value that lies a lag below `mark`, or a little lower.

    Args:
        lag: by default TIME_LAG, of a number NUMBER_LAG. A length of time below a number takes it for Unix time.

    Raises:
        ConfigError: an amount as the lag of a time, or a text that is none.
    """
    if isinstance(mark, int | float):
        lower = mark - _in_units(mark, lag)
        return max(lower, LOWEST) if isinstance(lower, int) else lower
    if isinstance(lag, int):
        raise ConfigError(
            f"source.cursor_lag is the number {lag}, and the cursor holds times such as {mark}.",
            hint='Write a length of time, such as cursor_lag = "5m".',
        )
    span = TIME_LAG if lag is None else lag
    if isinstance(mark, dt.datetime):
        return _earlier(mark, span if mark.tzinfo else span + clocks_go_back(mark.date()))
    if isinstance(mark, dt.date):
        return _earlier(dt.datetime.combine(mark, dt.time()), span).date()
    moment = _moment(mark)
    if moment.tzinfo is None:
        span += clocks_go_back(moment.date())
    return _written_like(mark, _earlier(moment.replace(tzinfo=None), span))


@lru_cache(maxsize=16)
def clocks_go_back(day: dt.date) -> dt.timedelta:
    """By how much the clocks of some part of the world are put back around that day: what is stamped in local time
    there lies below what was stamped before."""
    if not dt.date.min + dt.timedelta(2) < day < dt.date.max - dt.timedelta(2):
        return dt.timedelta()
    moments = [dt.datetime.combine(day, dt.time(12), dt.UTC) + dt.timedelta(days) for days in (-2, -1, 0, 1)]
    most = dt.timedelta()
    for name in available_timezones():
        offsets = [moment.astimezone(ZoneInfo(name)).utcoffset() or dt.timedelta() for moment in moments]
        most = max([most, *(earlier - later for earlier, later in pairwise(offsets))])
    return most


def _earlier(moment: dt.datetime, span: dt.timedelta) -> dt.datetime:
    try:
        return moment - span
    except OverflowError:  # What other systems write for "never" is the first moment that there is.
        return dt.datetime.min.replace(tzinfo=moment.tzinfo)


def in_the_past(mark: int | float, now: dt.datetime, lag: dt.timedelta | int | None) -> int | float:
    """`not_after` of a number, which is Unix time where the lag is a length of time."""
    return min(mark, int(now.timestamp() * _unit(mark))) if isinstance(lag, dt.timedelta) else mark


def not_after(mark: dt.date | str, now: dt.datetime) -> CursorValue:
    """A row stamped in the future must not hide those that are stamped with the time it really is."""
    if isinstance(mark, dt.datetime):
        return min(mark, now if mark.tzinfo else now.replace(tzinfo=None))
    if isinstance(mark, dt.date):
        return min(mark, now.date())
    moment = _moment(mark)
    here = now.astimezone(moment.tzinfo or dt.UTC)
    return mark if moment.replace(tzinfo=moment.tzinfo or dt.UTC) <= here else _written_like(mark, here)


def has_time_of_day(mark: CursorValue) -> bool:
    return isinstance(mark, dt.datetime) or (isinstance(mark, str) and ":" in mark)


def _in_units(mark: int | float, lag: dt.timedelta | int | None) -> int:
    if not isinstance(lag, dt.timedelta):
        return NUMBER_LAG if lag is None else lag
    return int(lag.total_seconds()) * _unit(mark)


def _unit(mark: int | float) -> int:
    """How many a second has of what a Unix time counts."""
    return next((unit for unit in UNITS if abs(mark) < _MILLISECONDS_FROM * unit), UNITS[-1])


def _moment(text: str) -> dt.datetime:
    if _TIME.fullmatch(text.strip()):
        try:
            return dt.datetime.fromisoformat(text.strip())
        except ValueError:
            pass
    raise ConfigError(
        f"source.cursor: {text!r} is not an ISO 8601 time, such as 2026-08-01 12:00:00.",
        hint="Name a column of times, dates or integers.",
    )


def _written_like(pattern: str, moment: dt.datetime) -> str:
    """The moment as text that sorts among texts like `pattern`: without a fraction and zone it sorts before them."""
    found = _TIME.fullmatch(pattern.strip())
    assert found is not None
    _, separator, minutes, seconds = found.groups()
    day = moment.date().isoformat()
    if minutes is None:
        return day
    return f"{day}{separator}{moment:%H:%M:%S}" if seconds else f"{day}{separator}{moment:%H:%M}"


def is_below(value: Any, other: Any) -> bool:
    try:
        return bool(value < other)
    except TypeError:
        # The column is of another type now, or has got a time zone.
        return True
