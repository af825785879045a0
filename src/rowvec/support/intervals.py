"""Durations as PostgreSQL has them: months, days and a time, each with a sign of its own.

A metadata value of the type `interval` is a text in the form in which PostgreSQL writes it: `1 year 2 mons -3 days
04:05:06`. It is compared by its span, in which a month has 30 days and a day 24 hours, as in PostgreSQL.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Context, Decimal, localcontext
from typing import NamedTuple

_LONGEST = 100
"""Characters of a duration that is written down."""
_NUMBER = r"[-+]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})"
_PART = re.compile(rf"({_NUMBER})\s*([a-z]+)")
_CLOCK = re.compile(r"([-+]?)([0-9]{1,15}):([0-5]?[0-9])(?::([0-5]?[0-9](?:\.[0-9]{0,15})?))?")
_ISO = re.compile(
    rf"([-+]?)P(?:({_NUMBER})Y)?(?:({_NUMBER})M)?(?:({_NUMBER})W)?(?:({_NUMBER})D)?"
    rf"(?:T(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?",
    re.IGNORECASE,
)
_SECOND = 10**6
_DAY = 24 * 60 * 60 * _SECOND
_WORDS = {
    "us": "us usec usecs usecond useconds microsecond microseconds",
    "ms": "ms msec msecs msecond mseconds millisecond milliseconds",
    "s": "s sec secs second seconds",
    "min": "m min mins minute minutes",
    "h": "h hr hrs hour hours",
    "d": "d day days",
    "w": "w week weeks",
    "mon": "mon mons month months",
    "y": "y yr yrs year years",
    "decade": "dec decs decade decades",
    "century": "c cent century centuries",
}
_UNITS = {word: unit for unit, words in _WORDS.items() for word in words.split()}
_MONTHS = {"y": 12, "decade": 120, "century": 1200}
_DAYS = {"d": 1, "w": 7}
_MICROSECONDS = {"us": 1, "ms": 1_000, "s": _SECOND, "min": 60 * _SECOND, "h": 3_600 * _SECOND}
_ISO_UNITS = ("y", "mon", "w", "d", "h", "min", "s")


class Interval(NamedTuple):
    months: int
    days: int
    microseconds: int

    @property
    def span(self) -> dt.timedelta:
        """What it is compared by."""
        return dt.timedelta(days=30 * self.months + self.days, microseconds=self.microseconds)

    def __str__(self) -> str:
        years, months = _divided(self.months, 12)
        said: list[str] = []
        below = False
        for number, unit in ((years, "year"), (months, "mon"), (self.days, "day")):
            if number:
                # PostgreSQL writes a plus where the part before it is negative.
                said.append(f"{'+' * (below and number > 0)}{number} {unit}{'s' * (number != 1)}")
                below = number < 0
        if self.microseconds or not said:
            sign = "-" if self.microseconds < 0 else "+" * below
            minutes, seconds = divmod(abs(self.microseconds), 60 * _SECOND)
            fraction = f"{seconds / _SECOND:09.6f}".rstrip("0").rstrip(".")
            said.append(f"{sign}{minutes // 60:02}:{minutes % 60:02}:{fraction}")
        return " ".join(said)


def interval_of(value: str | dt.timedelta) -> Interval:
    """A duration, or a text that says one, by its parts.

    Args:
        value: `2 days`, `1h 30m`, `1 year 2 mons -3 days 04:05:06`, `90 min ago`, or in ISO 8601 `P1DT2H`. A number
            without a unit says nothing.

    Raises:
        ValueError: it says no duration, or one of more than 2.7 million years.
    """
    if isinstance(value, dt.timedelta):
        found = Interval(0, *_divided(value // dt.timedelta(microseconds=1), _DAY))
    else:
        # Not with the digits that an application has set for its own numbers.
        with localcontext(Context(prec=28)):
            found = _read(value)
    fits = all(abs(number) < 2**31 for number in found[:2]) and abs(found.microseconds) < 2**63
    if not fits or abs(30 * found.months + found.days + found.microseconds // _DAY) >= dt.timedelta.max.days:
        raise ValueError("more than 2.7 million years")
    return found


def _divided(number: int, by: int) -> tuple[int, int]:
    """Quotient and remainder, both with the sign of the number."""
    quotient, remainder = divmod(abs(number), by)
    return (quotient, remainder) if number >= 0 else (-quotient, -remainder)


def _read(text: str) -> Interval:
    rest = text.strip().lower()
    if not rest or len(rest) > _LONGEST:
        raise ValueError("not a duration")
    if iso := _ISO.fullmatch(rest):
        sign, *numbers = iso.groups()
        if rest[-1] in "pt" or (sign and any(number and number[0] in "+-" for number in numbers)):
            raise ValueError("not a duration")
        units = zip(_ISO_UNITS, numbers, strict=True)
        return _sum([(unit, Decimal(number)) for unit, number in units if number], negated=sign == "-")
    rest, ago = (rest[:-3], True) if rest.endswith("ago") else (rest, False)
    parts: list[tuple[str, Decimal]] = []
    rest = rest.removeprefix("@").strip(" ,")
    while rest:
        if found := _CLOCK.match(rest):
            sign, hours, minutes, seconds = found.groups()
            number = (int(hours) * 60 + int(minutes)) * 60 + Decimal(seconds or 0)
            parts.append(("s", -number if sign == "-" else number))
        elif (found := _PART.match(rest)) and found[2] in _UNITS:
            parts.append((_UNITS[found[2]], Decimal(found[1])))
        else:
            raise ValueError("not a duration")
        rest = rest[found.end() :].lstrip(" ,\t")
    if not parts:
        raise ValueError("not a duration")
    return _sum(parts, negated=ago)


def _sum(parts: list[tuple[str, Decimal]], *, negated: bool) -> Interval:
    """A part of a year is whole months; a part of a month or week is days, and a part of a day is time."""
    months = days = 0
    microseconds = Decimal(0)
    for unit, number in parts:
        number = -number if negated else number
        if unit in _MONTHS:
            months += round(number * _MONTHS[unit])
        elif unit in _MICROSECONDS:
            microseconds += number * _MICROSECONDS[unit]
        else:
            if unit == "mon":
                months += int(number)
                number = (number - int(number)) * 30
            number *= _DAYS.get(unit, 1)
            days += int(number)
            microseconds += (number - int(number)) * _DAY
    return Interval(months, days, round(microseconds))
