"""How many rows changed since the last sync, where something can tell without reading all of them.

A cursor column tells of rows that were changed or added. The number of rows tells of those that came or went. Neither
tells of everything, so "nothing waits" is said of a cursor alone, and everything else is true as of the last sync.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rowvec.errors import ConfigError, SourceError
from rowvec.generations.watermark import STREAM, Watermark
from rowvec.pipeline import Pipeline
from rowvec.sources.base import CountsChanged, Incremental, Source
from rowvec.sources.cursor_marks import settled
from rowvec.sources.cursor_values import is_below
from rowvec.stores.base import GenerationHandle
from rowvec.stores.runs import Run
from rowvec.support.clocks import now_of

MOST = 10_000
"""Rows that are counted at most: the question must stay cheap for a source in use."""
NUMBER = "the number of rows"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Rows of the source that the next sync is going to find changed."""

    rows: int
    by: str
    """What tells: the cursor column, or `NUMBER`."""
    at_least: bool = False
    """There may be more of them."""
    aside: str = ""
    """Which value of the cursor is not relied on, in words; empty where all are."""

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def waiting(
    pipeline: Pipeline, source: Source, live: GenerationHandle, rows: int, runs: Sequence[Run]
) -> Waiting | None:
    """
    Args:
        source: that of the pipeline, opened.
        rows: how many it holds now.
        runs: latest first.

    Returns:
        None where nothing can tell.
    """
    if isinstance(source, Incremental) and source.cursor is not None:
        mark = Watermark.decoded(live.offsets().get(STREAM, ""))
        # What is wrong with the cursor is for a sync to say.
        with suppress(SourceError, ConfigError):
            found = None if mark is None else _by_cursor(pipeline, source, mark, rows)
            return None if found is not None and not found.rows and _is_day(mark) else found
        return None
    before = _rows_then(runs)
    if before is None or before == rows or (rows < before and pipeline.keep_missing):
        return None
    return Waiting(abs(rows - before), NUMBER, at_least=True)


def _is_day(mark: Watermark | None) -> bool:
    """Rows that change later on the day of the mark have its very value: nothing is known of that day."""
    highest = mark.highest if mark is not None else None
    return type(highest) is dt.date or (isinstance(highest, str) and len(highest) == len("2026-08-01"))


def _by_cursor(pipeline: Pipeline, source: Incremental, mark: Watermark, rows: int) -> Waiting:
    assert source.cursor is not None
    # A row stamped in the future would wait for ever.
    trusted, changed, more = pipeline.cursor, 0, False
    until = settled(source, now_of(source), trusted.lag, trusted.full_every)
    if until.mark is not None and is_below(mark.highest, until.mark):
        if isinstance(source, CountsChanged):
            changed = source.beyond(mark.highest, until.mark, MOST)
            more = changed >= MOST
        else:
            changed, more = 1, True
    added = rows - mark.rows if mark.rows is not None else 0
    if added < 0 and not pipeline.keep_missing:
        return Waiting(changed - added, source.cursor, at_least=more, aside=until.aside)
    # A row may come without a value in the cursor.
    return Waiting(max(changed, added), source.cursor, at_least=more or added > changed, aside=until.aside)


def _rows_then(runs: Sequence[Run]) -> int | None:
    """How many rows the latest run saw, where it compared all of them to the end."""
    latest = next((run for run in runs if run.outcome != "running"), None)
    if latest is None or latest.outcome != "done":
        return None
    report = latest.report
    return int(report.get("read", 0)) if report.get("whole") and not report.get("incremental") else None
