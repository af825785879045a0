"""How high the mark of a cursor may be, so that it hides no later change.

A time is never later than now. A number need not be a time, so it is compared with the numbers below it: one that no
counter reaches from there is left aside. A mark that is too low costs a comparison of the rows above it; one that is
too high hides changes.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import dataclass

from rowvec.sources.base import CountsChanged, CursorValue, Incremental
from rowvec.sources.cursor_values import NUMBER_LAG, UNITS, has_time_of_day, in_the_past, not_after

LOOKED_AT = 4
"""The number of different values at the top that are looked at. All but the lowest of them may be unlike the others."""
APART = 100
"""No counter goes from one number to another that is this many times as high."""
FEW = 1000
"""More rows than that beyond the present are no rows of the future: the number is not a time."""
FREE = 4
"""There is hardly a time from this many times the present on, up to the times of the next unit."""
_YEAR, _DAY = 366 * 86_400, 86_400
_ONE_DAY = dt.timedelta(days=1)
YEARS = 25
"""The last time that is not in the future may be so old, where few rows lie beyond it."""
_NEVER = frozenset(
    {2**31 - 1, 2**32 - 1, 2**53 - 1, 2**53, 2**63 - 1, 2**64 - 1, 99991231, 99991231000000, 99991231235959}
)
"""What systems write for "never" or "not known"; so is any row of nines."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a cursor tells, as far as it can be relied on."""

    mark: CursorValue | None
    """The highest value that hides nothing; None where there is none."""
    aside: str = ""
    """In words for the user, which value is not relied on; empty where all are."""


def settled(
    source: Incremental, now: dt.datetime, lag: dt.timedelta | int | None, full_every: dt.timedelta = _ONE_DAY
) -> Settled:
    """
    Args:
        now: the time by the clock of the source.
        lag: a length of time says that a number is Unix time.
        full_every: all rows are compared so often: what was stamped before the last time was seen then.
    """
    highest = source.newest()
    if highest is None:
        return Settled(None)
    if isinstance(highest, int | float):
        mark = _number(source, highest, now, lag)
        if mark is not None:
            mark = _in_one_unit(source, mark, now, full_every + _ONE_DAY)
        if mark is None:
            return Settled(None, f"the highest {source.cursor}, {highest}, is not one that is counted up to")
        far = highest - mark > max(_in_numbers(lag), _DAY)
        return Settled(mark, _words(source, highest, "far beyond the others") if far else "")
    time = not_after(highest, now)
    far = time != highest and not_after(highest, now + dt.timedelta(days=1)) != highest
    if time != highest and has_time_of_day(time):
        # What is stamped now in local time west of UTC lies below `now`; whether it is local time, not all sources say.
        past = source.newest(time)
        time = time if past is None else past
    return Settled(time, _words(source, highest, "in the future") if far else "")


def _words(source: Incremental, highest: CursorValue, where: str) -> str:
    return f"the highest {source.cursor}, {highest}, is {where}: rows with such a value are compared each time"


def _number(
    source: Incremental, highest: int | float, now: dt.datetime, lag: dt.timedelta | int | None
) -> int | float | None:
    values = _top(source, highest, _in_numbers(lag))
    mark: int | float | None = highest
    for above, below in zip(values, [*values[1:], None], strict=True):
        if below is None:
            # The last one that was looked at, or the lowest there is.
            mark = None if above == mark and _is_never(above) and len(values) < LOOKED_AT else mark
        elif above - below > _in_numbers(lag) and (_is_never(above) or above >= APART * max(below, 1)):
            mark = below
    if mark is None:
        return None
    mark = _up_to_now(source, mark, now, declared=isinstance(lag, dt.timedelta))
    return in_the_past(mark, now, lag)


def _top(source: Incremental, highest: int | float, lag: int) -> list[int | float]:
    """The highest values, from the top."""
    found = [highest]
    # A counter that has not come far is not worth another question.
    while len(found) < LOOKED_AT and (found[-1] > APART * lag or _is_never(found[-1])):
        below = source.newest(found[-1])
        if not isinstance(below, int | float):
            break
        found.append(below)
    return found


def _up_to_now(source: Incremental, mark: int | float, now: dt.datetime, *, declared: bool) -> int | float:
    """The highest value that is not in the future, where the numbers are times.

    Args:
        declared: they are Unix times. Otherwise they are times where some are of the last years, and only few lie
            beyond the present.
    """
    found = []
    for present, years in _presents(mark, now):
        below = source.newest(int(present) + 1)
        if isinstance(below, int | float):
            found.append((below / present, below, present - below < years))
    if not found:
        return mark
    _, past, recent = max(found)
    if declared:
        return past
    few = isinstance(source, CountsChanged) and source.beyond(past, mark, FEW + 1) <= FEW
    return past if recent and few else mark


def _in_one_unit(source: Incremental, mark: int | float, now: dt.datetime, span: dt.timedelta) -> int | float:
    """The mark, or the last time that is not in the future of those in a coarser unit: where some rows are stamped in
    seconds and others in milliseconds, the seconds lie below each mark in milliseconds.

    Args:
        span: how old the last such time may be. Where it is older, nothing is stamped so any more.
    """
    for unit in UNITS:
        present = now.timestamp() * unit
        if mark <= APART * present:
            break
        below = source.newest(int(present) + 1)
        if not isinstance(below, int | float) or present - below > span.total_seconds() * unit:
            continue
        if _is_empty(source, FREE * present, APART * present):
            return below
    return mark


def _is_empty(source: Incremental, low: float, high: float) -> bool:
    """Whether no counter has gone from `low` to `high`. A few numbers may be there: the year 2999 in seconds, or ten
    nines for "never"."""
    before: int | float = int(high)
    for _ in range(LOOKED_AT):
        last = source.newest(before)
        if not isinstance(last, int | float) or last < low:
            return True
        before = last
    return False


def _presents(mark: int | float, now: dt.datetime) -> list[tuple[float, float]]:
    """What the present is among times of which one is in the future, and how far the last `YEARS` reach back.

    That is by each unit of Unix time, or as a date written in digits, 20261128 or 20261128235959. Empty where the mark
    is not such a time.
    """
    for form, year in (("%Y%m%d", 10**4), ("%Y%m%d%H%M%S", 10**10)):
        present = int(now.strftime(form))
        if mark > present and _is_written(mark, form):
            return [(present, YEARS * year)]
    seconds = now.timestamp()
    if mark <= seconds or any(0 <= seconds * unit - mark < _YEAR * unit for unit in UNITS):
        return []
    return [(seconds * unit, YEARS * _YEAR * unit) for unit in UNITS]


def _is_written(value: int | float, form: str) -> bool:
    with suppress(ValueError, OverflowError):
        return dt.datetime.strptime(str(int(value)), form).strftime(form) == str(int(value))
    return False


def _is_never(value: int | float) -> bool:
    if value in _NEVER or value == float("inf"):
        return True
    return value >= 99_999 and value == int(value) and set(str(int(value))) == {"9"}


def _in_numbers(lag: dt.timedelta | int | None) -> int:
    return lag if isinstance(lag, int) else NUMBER_LAG
