"""How many rows pass a filter, as the planner sees it: asked for once in a while, not for every search."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from rowvec.support.hashes import digest

SECONDS = 60.0
"""So long an estimate is good: a wrong one costs time, and no hit."""
FILTERS = 1_000
"""Those asked last, whose estimates are kept."""


class Estimates:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        self._changing = threading.Lock()

    def rows(self, filtered: str, ask: Callable[[], float]) -> float:
        """
        Args:
            filtered: a filter with its values.
            ask: asks the planner.
        """
        key, now = digest(filtered.encode()), time.monotonic()
        known = self._known.get(key)
        if known is not None and now - known[0] < SECONDS:
            return known[1]
        rows = ask()
        with self._changing:
            self._known[key] = (now, rows)
            self._known.move_to_end(key)
            if len(self._known) > FILTERS:
                self._known.popitem(last=False)
        return rows
