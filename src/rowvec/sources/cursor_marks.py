"""How high the mark of a cursor may be, so that it hides no later change.

A time is never later than now. A number need not be a time, so it is compared with the numbers below it: one that no
counter reaches from there is left aside. A mark that is too low costs a comparison of the rows above it; one that is
too high hides changes.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from rowvec.sources.base import CountsChanged, CursorValue, Incremental
from rowvec.sources.cursor_values import NUMBER_LAG, UNITS, in_the_past, not_after

LOOKED_AT = 4
"""Up to this many different values at the top may be unlike the others."""
APART = 100
"""A number that is so many times the one below it is not counted up to from there."""
FEW = 1000
"""More rows than that beyond the present are no rows of the future: the number is not a time."""
_YEAR, _DAY = 366 * 86_400, 86_400
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


def settled(source: Incremental, now: dt.datetime, lag: dt.timedelta | int | None) -> Settled:
    """
    Args:
        now: the time by the clock of the source.
        lag: a length of time says that a number is Unix time.
    """
    highest = source.newest()
    if highest is None:
        return Settled(None)
    if isinstance(highest, int | float):
        mark = _number(source, highest, now, lag)
        if mark is None:
            return Settled(None, f"the highest {source.cursor}, {highest}, is not one that is counted up to")
        far = highest - mark > max(_in_numbers(lag), _DAY)
        return Settled(mark, _words(source, highest, "far beyond the others") if far else "")
    time = not_after(highest, now)
    far = time != highest and not_after(highest, now + dt.timedelta(days=1)) != highest
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
    while len(found) < LOOKED_AT and found[-1] > APART * lag:
        below = source.newest(found[-1])
        if not isinstance(below, int | float):
            break
        found.append(below)
    return found


def _up_to_now(source: Incremental, mark: int | float, now: dt.datetime, *, declared: bool) -> int | float:
    """The highest value that is not in the future, where the numbers are Unix times.

    Args:
        declared: they are. Otherwise they are where some are of the last year, and only few lie beyond the present.
    """
    seconds = now.timestamp()
    if mark <= seconds or any(0 <= seconds * unit - mark < _YEAR * unit for unit in UNITS):
        return mark
    nearest: tuple[float, int | float] | None = None
    for unit in UNITS:
        below = source.newest(int(seconds * unit) + 1)
        if isinstance(below, int | float):
            nearest = max(nearest or (0.0, below), (below / (seconds * unit), below))
    if nearest is None:
        return mark
    share, past = nearest
    if declared:
        return past
    recent = 1 - share < _YEAR / seconds
    few = isinstance(source, CountsChanged) and source.beyond(past, mark, FEW + 1) <= FEW
    return past if recent and few else mark


def _is_never(value: int | float) -> bool:
    return value in _NEVER or value == float("inf") or (value >= 99_999 and set(str(int(value))) == {"9"})


def _in_numbers(lag: dt.timedelta | int | None) -> int:
    return lag if isinstance(lag, int) else NUMBER_LAG
