"""Figures as people read them, the same in every command and on every page."""

from __future__ import annotations

import datetime as dt


def seconds(value: float) -> str:
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    for unit, length, most in (("min", 60, 7_200), ("h", 3_600, 172_800)):
        if value < most:
            return _rounded(value / length, unit)
    return _rounded(value / 86_400, "days")


def _rounded(value: float, unit: str) -> str:
    text = f"{value:.1f}" if value < 10 and unit != "min" else f"{value:,.0f}"
    return f"{text.removesuffix('.0')} {unit}"


def ago(moment: dt.datetime, now: dt.datetime | None = None) -> str:
    return seconds(max(0.0, ((now or dt.datetime.now(dt.UTC)) - moment).total_seconds())) + " ago"


def due(moment: dt.datetime, now: dt.datetime | None = None) -> str:
    """When a row is tried again."""
    left = (moment - (now or dt.datetime.now(dt.UTC))).total_seconds()
    return f"in {seconds(left)}" if left > 0 else "with the next sync"


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def percent(fraction: float) -> str:
    """Never 100 % unless it is: a missing row must show."""
    shown = int(fraction * 1000) / 10
    return f"{shown:.0f} %" if shown == int(shown) else f"{shown:.1f} %"


def count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
