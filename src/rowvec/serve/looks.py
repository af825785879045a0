"""What was found when somebody looked for rows worth a look: it takes seconds, and is kept for a while."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass

from rowvec.auditing.neighbours import Quality
from rowvec.auditing.quality import quality
from rowvec.pipeline import Pipeline

KEPT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Look:
    at: dt.datetime
    rows: int
    """As many were to be compared."""
    found: Quality


class Looks:
    """The looks at one pipeline. For several threads: one looks, and the others wait for what it finds."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._looking = threading.Lock()
        self.latest: Look | None = None

    def look(self, rows: int, bound: float, fresh: bool = False) -> Look:
        """
        Args:
            rows, bound: as those of `rowvec.auditing.quality`.
            fresh: look again, unless somebody has begun to since this was asked; else what was found in the last
                KEPT_SECONDS will do.

        Raises:
            StoreError: it does not answer. ConfigError: a bound that cannot be.
        """
        asked = dt.datetime.now(dt.UTC)
        with self._looking:
            now, kept = dt.datetime.now(dt.UTC), self.latest
            fresh = fresh and (kept is None or kept.at < asked)
            known = kept is not None and (kept.rows, kept.found.neighbours.bound) == (rows, bound)
            if kept is None or fresh or not known or (now - kept.at).total_seconds() > KEPT_SECONDS:
                kept = Look(now, rows, quality(self._pipeline, rows=rows, bound=bound))
                self.latest = kept
            return kept
