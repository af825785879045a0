"""Facets: how the rows that pass a filter are spread over the values of a metadata column."""

from __future__ import annotations

import datetime as dt
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, localcontext
from typing import Any, Literal, TypeAlias

from rowvec.errors import SearchError
from rowvec.filters.binding import unknown_column
from rowvec.filters.meaning import lowered
from rowvec.filters.values import clipped
from rowvec.types import Column, ColumnType

MAX_FACETS = 20
MAX_FACET_VALUES = 1_000
NUMBER_BINS = 20
"""The most bins that numbers are counted in."""
DATE_BINS = 36
"""Three years of months."""
COUNTED = {ColumnType.TEXT, ColumnType.BOOLEAN, ColumnType.UUID, ColumnType.TIME}
NUMBERS = {ColumnType.INTEGER, ColumnType.NUMBER, ColumnType.DECIMAL}
DATES = {ColumnType.DATE, ColumnType.TIMESTAMP}
LARGEST = 1e300
"""Facets give decimals as floats, and add up as many as there are rows."""

Unit = Literal["second", "minute", "hour", "day", "week", "month", "quarter", "year", "decade", "century", "millennium"]


@dataclass(frozen=True, slots=True)
class ValueCount:
    value: Any
    count: int


@dataclass(frozen=True, slots=True)
class Bin:
    """Values from `start` up to `end`, which belongs to the next bin; the last bin has its end too."""

    start: Any
    end: Any
    count: int


@dataclass(frozen=True, slots=True)
class ValueFacet:
    """Of texts, booleans, UUIDs and times of day."""

    values: Sequence[ValueCount]
    """The most frequent first, equally frequent ones by value."""
    other: int
    """Rows with a value that is not listed."""
    missing: int
    """Rows without a value."""
    distinct: int
    """Number of different values."""

    def as_dict(self) -> dict[str, Any]:
        return {"kind": "values", **asdict(self)}


@dataclass(frozen=True, slots=True)
class RangeFacet:
    """Of numbers, dates and timestamps. NaN, infinity and numbers from 1e300 on count as missing."""

    kind: Literal["numbers", "dates"]
    min: Any
    """None where there is no value."""
    max: Any
    mean: float | None
    """None for dates."""
    missing: int
    unit: Unit | None
    """Of the bins of dates; days and longer ones begin at midnight UTC, weeks on Monday."""
    bins: Sequence[Bin]
    """All from the least value to the greatest, the empty ones too."""

    def as_dict(self) -> dict[str, Any]:
        bins = [{"from": each.start, "to": each.end, "count": each.count} for each in self.bins]
        found = {"kind": self.kind, "min": self.min, "max": self.max, "missing": self.missing, "bins": bins}
        return found | ({"mean": self.mean} if self.kind == "numbers" else {"unit": self.unit})


Facet: TypeAlias = ValueFacet | RangeFacet


@dataclass(frozen=True, slots=True)
class Facets:
    """Counts over all rows with a vector that pass the filter, however many of them a search shows."""

    rows: int
    columns: Mapping[str, Facet]


def facet_columns(names: Sequence[str], columns: Sequence[Column], most: int) -> list[Column]:
    """The columns to count, each once.

    Args:
        most: values that each facet lists.

    Raises:
        SearchError: not a metadata column, or one whose values are not counted; too many; `most` out of bounds.
    """
    known = {column.name: column for column in columns}
    chosen = list(dict.fromkeys(names))
    if len(chosen) > MAX_FACETS:
        raise SearchError(f"There are {len(chosen)} facets; {MAX_FACETS} are the most.")
    if not 1 <= most <= MAX_FACET_VALUES:
        raise SearchError(f"facet_limit is {most:,}; it must be between 1 and {MAX_FACET_VALUES:,}.")
    for name in chosen:
        if name not in known:
            raise unknown_column(name, known)
        kind = known[name].type
        if kind not in COUNTED | NUMBERS | DATES:
            usable = [column.name for column in columns if column.type in COUNTED | NUMBERS | DATES]
            raise SearchError(
                f"The column {clipped(name)} holds {kind} values, which are not counted.",
                hint=f"Facets are for texts, numbers, booleans, dates, times and UUIDs: {', '.join(usable) or 'none'}.",
            )
    return [known[name] for name in chosen]


def facets_of(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[Column],
    most: int,
    spans: Mapping[str, tuple[Any, Any]] | None = None,
) -> Facets:
    """By definition: what every store must answer for the rows that pass.

    Args:
        spans: see `stores.part.PartHandle.facets`.
    """
    kept = list(rows)
    return Facets(
        len(kept), {each.name: _facet([row[each.name] for row in kept], each, most, spans) for each in columns}
    )


def _facet(values: Sequence[Any], column: Column, most: int, spans: Mapping[str, tuple[Any, Any]] | None) -> Facet:
    held = [value for value in (_counted(value, column) for value in values) if value is not None]
    missing = len(values) - len(held)
    if column.type in COUNTED:
        counts = Counter(held)
        best = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
        return value_facet(best, missing, len(counts), len(held))
    if not held:
        return range_facet(column, None, None, None, missing, None)
    mean = math.fsum(held) / len(held) if column.type in NUMBERS else None
    least, greatest = min(held), max(held)
    if spans is not None and column.name not in spans:
        return range_facet(column, least, greatest, mean, missing, None)
    least, greatest = (spans or {}).get(column.name, (least, greatest))
    found = edges(column.type, least, greatest)
    counted = Counter(bisect_right(found.inner, value) for value in held)
    return range_facet(column, least, greatest, mean, missing, found, counted)


def _counted(value: Any, column: Column) -> Any:
    """As facets see it; None for what counts as missing."""
    match value:
        case Decimal():
            return float(value) if value.is_finite() and abs(value) < Decimal(repr(LARGEST)) else None
        case float():
            return value if abs(value) < LARGEST else None
        case int() if column.type in (ColumnType.NUMBER, ColumnType.DECIMAL):
            return float(value)
        case str() if column.ignores_case:
            return lowered(value)
        case dt.datetime():
            return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    return value


def value_facet(best: Iterable[tuple[Any, int]], missing: int, distinct: int, held: int) -> ValueFacet:
    listed = [ValueCount(value, count) for value, count in best]
    return ValueFacet(listed, held - sum(each.count for each in listed), missing, distinct)


@dataclass(frozen=True, slots=True)
class Edges:
    """Where bins begin and end: one more than there are bins, rising."""

    all: Sequence[Any]
    unit: Unit | None = None

    @property
    def inner(self) -> Sequence[Any]:
        """Those between two bins: what is at one of them is in the bin above it."""
        return self.all[1:-1]


def range_facet(
    column: Column, least: Any, greatest: Any, mean: float | None, missing: int, found: Edges | None,
    counts: Mapping[int, int] | None = None,
) -> RangeFacet:  # fmt: skip
    """
    Args:
        counts: values in each bin, by its number; those that hold none may be left out.
    """
    kind: Literal["numbers", "dates"] = "numbers" if column.type in NUMBERS else "dates"
    if found is None:
        return RangeFacet(kind, least, greatest, mean, missing, None, ())
    pairs = zip(found.all, found.all[1:], strict=False)
    bins = [Bin(start, end, (counts or {}).get(number, 0)) for number, (start, end) in enumerate(pairs)]
    return RangeFacet(kind, least, greatest, mean, missing, found.unit, bins)


def edges(kind: ColumnType, least: Any, greatest: Any) -> Edges:
    """Round ones, so that the bins between the least and the greatest value are few enough to be shown."""
    if kind in NUMBERS:
        return _number_edges(least, greatest, whole=kind is ColumnType.INTEGER)
    return _date_edges(least, greatest)


def _number_edges(least: float, greatest: float, *, whole: bool) -> Edges:
    """Multiples of 1, 2 or 5 times a power of ten."""
    if least == greatest:
        return Edges([least, greatest])
    with localcontext() as context:
        context.prec = 700
        low, high = Decimal(repr(least)), Decimal(repr(greatest))
        power = ((high - low) / NUMBER_BINS).adjusted()
        steps = (Decimal(each).scaleb(power + more) for more in range(3) for each in (1, 2, 5))
        for step in steps:
            first, last = math.floor(low / step), math.floor(high / step) + 1
            if last - first <= NUMBER_BINS and (step >= 1 or not whole):
                break
        exact = [step * number for number in range(first, last + 1)]
        made: list[Any] = [int(each) if whole else float(each) for each in exact]
    # Where few floats lie between the two, several multiples are one float.
    return Edges(list(dict.fromkeys(made)))


_UNITS: tuple[tuple[Unit, dt.timedelta], ...] = (
    ("second", dt.timedelta(seconds=1)),
    ("minute", dt.timedelta(minutes=1)),
    ("hour", dt.timedelta(hours=1)),
    ("day", dt.timedelta(days=1)),
    ("week", dt.timedelta(days=7)),
    ("month", dt.timedelta(days=28)),
    ("quarter", dt.timedelta(days=90)),
    ("year", dt.timedelta(days=365)),
    ("decade", dt.timedelta(days=3_652)),
    ("century", dt.timedelta(days=36_524)),
    ("millennium", dt.timedelta(days=365_242)),
)
"""Each with the least time that it takes."""
_MONTHS: dict[str, int] = {
    "month": 1, "quarter": 3, "year": 12, "decade": 120, "century": 1_200, "millennium": 12_000,
}  # fmt: skip


def _date_edges(least: dt.date, greatest: dt.date) -> Edges:
    """Beginnings of the shortest unit that gives few enough bins."""
    for unit, length in _UNITS[0 if isinstance(least, dt.datetime) else 3 :]:
        # Only then are this many edges written down.
        if (greatest - least) / length < DATE_BINS:
            made = _dates(unit, least, greatest)
            if len(made) <= DATE_BINS + 1:
                break
    return Edges(made, unit)


def _dates(unit: Unit, least: dt.date, greatest: dt.date) -> list[dt.date]:
    made = [_began(unit, least)]
    while made[-1] <= greatest:
        try:
            made.append(_next(unit, made[-1]))
        except (OverflowError, ValueError):
            made.append(dt.datetime.max.replace(tzinfo=dt.UTC) if isinstance(least, dt.datetime) else dt.date.max)
            break
    return made


def _began(unit: Unit, moment: dt.date) -> dt.date:
    if isinstance(moment, dt.datetime):
        if unit in ("second", "minute", "hour"):
            second, minute = moment.second if unit == "second" else 0, 0 if unit == "hour" else moment.minute
            return moment.replace(minute=minute, second=second, microsecond=0)
        moment = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "week":
        return moment - dt.timedelta(days=min(moment.weekday(), moment.toordinal() - 1))
    if unit == "day":
        return moment
    months = (moment.year * 12 + moment.month - 1) // _MONTHS[unit] * _MONTHS[unit]
    # There is no year 0.
    return moment.replace(year=max(1, months // 12), month=months % 12 + 1 if months >= 12 else 1, day=1)


def _next(unit: Unit, moment: dt.date) -> dt.date:
    if unit not in _MONTHS:
        length = dict(_UNITS)[unit]
        return moment + (length - dt.timedelta(days=moment.weekday()) if unit == "week" else length)
    months = ((moment.year * 12 + moment.month - 1) // _MONTHS[unit] + 1) * _MONTHS[unit]
    return moment.replace(year=months // 12, month=months % 12 + 1)
