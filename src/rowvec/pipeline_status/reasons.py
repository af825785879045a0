"""Failures by reason: a thousand rows that failed for one cause are one line."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rowvec.types import Failure, Key

EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Reason:
    """Why rows failed."""

    rows: int
    error: str
    """Of one of them, on one line."""
    keys: tuple[Key, ...]
    """Some of them."""
    next_try: dt.datetime
    """Of the first that is due."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows, "error": self.error, "next_try": self.next_try,
            "keys": [key if isinstance(key, int) else str(key) for key in self.keys],
        }  # fmt: skip


def reasons(failures: Sequence[Failure]) -> list[Reason]:
    """The reason with most rows first."""
    return [
        Reason(
            len(group),
            " ".join(group[0].error.split()),
            tuple(failure.key for failure in group[:EXAMPLES]),
            min(failure.next_try for failure in group),
        )
        for group in grouped((failure.error, failure.key, failure) for failure in failures)
    ]


def grouped(items: Iterable[tuple[str, Key, Any]]) -> list[list[Any]]:
    """Items of the same reason together, the largest group first. Reasons that differ by the key or by numbers are one.

    Args:
        items: reason, key, item.
    """
    groups: dict[str, list[Any]] = {}
    for reason, key, item in items:
        if not isinstance(key, int) and str(key) in reason:
            reason = re.sub(rf"(?<!\w){re.escape(str(key))}(?!\w)", "…", reason)
        plain = re.sub(r"\d+", "0", reason)
        groups.setdefault(plain, []).append(item)
    return sorted(groups.values(), key=len, reverse=True)
