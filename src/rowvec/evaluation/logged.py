"""What the log says about a query."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

Order = Literal["latest", "slow", "no-hits", "top"]


@dataclass(frozen=True, slots=True)
class LoggedQuery:
    """One query, or all of the same words."""

    pipeline: str
    query: str
    """The words; of a search for similar rows, the key."""
    mode: str
    """Of the latest one."""
    filter: str | None
    """Of the latest one, as its caller sent it."""
    at: dt.datetime
    """Of the latest one."""
    times: int
    hits: int
    """Of the latest one."""
    milliseconds: float
    """Of the slowest one."""
    clicks: int
    conversions: int
