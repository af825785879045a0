"""Whose clock counts, where hosts do not agree on the time."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pytest

from rowvec.sources.base import CursorSettings
from rowvec.support import clocks
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from tests.support import rows_of, simple_pipeline, vectors_match_rows

HOURS = dt.timedelta(hours=3)
NEAR = dt.timedelta(minutes=5)


class Elsewhere(MemoryStore):
    """On a host whose clock is three hours ahead of this one's."""

    def now(self) -> dt.datetime:
        return clocks.here() + HOURS


class Server:
    """Answers each question after `wait` seconds, with the time at which it was asked."""

    def __init__(self, wait: float, ahead: dt.timedelta = dt.timedelta()) -> None:
        self.wait, self.ahead = wait, ahead

    def now(self) -> dt.datetime:
        asked = clocks.here()
        time.sleep(self.wait)
        return asked + self.ahead


@pytest.mark.parametrize(("other", "words"), [(HOURS, "3 h behind"), (-HOURS, "3 h ahead of")])
def test_a_clock_that_differs_by_hours_is_reported(other: dt.timedelta, words: str) -> None:
    said = clocks.difference(clocks.ahead(Server(0, other)), "the store")
    assert said is not None
    assert f"{words} that of the store" in said


def test_a_slow_answer_is_not_taken_for_a_wrong_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "MOST", dt.timedelta(milliseconds=1))
    assert clocks.difference(clocks.ahead(Server(0.05)), "the store") is None


def test_a_clock_goes_on_from_what_another_one_said() -> None:
    clock = clocks.Clock(clocks.here() - HOURS)
    first = clock.now()
    assert abs(clocks.here() - HOURS - first) < NEAR
    time.sleep(0.01)
    assert clock.now() > first


def test_a_failed_row_is_due_by_the_clock_of_the_store() -> None:
    embedder = HashEmbedder()
    embedder.refused = {"row 2"}
    pipeline = simple_pipeline(store=Elsewhere(), embedder=embedder, rows={1: "row 1", 2: "row 2"})
    assert sync(pipeline).failed == 1
    (failure,) = rows_of(pipeline).failures()
    assert abs(failure.failed_at - clocks.here() - HOURS) < NEAR
    assert dt.timedelta() < failure.next_try - clocks.here() - HOURS < NEAR


def test_a_row_that_changes_while_changes_are_looked_for_is_not_hidden_by_a_row_of_the_future() -> None:
    """The mark is the moment before anything was read, not the one after."""
    future = clocks.here() + dt.timedelta(days=400)

    def row(key: int, name: str, at: dt.datetime) -> dict[str, Any]:
        return {"id": key, "name": name, "price": 1, "at": at}

    class Busy(MemorySource):
        change: str | None = None

        def changed(self, *args: Any, **named: Any) -> Any:
            found = super().changed(*args, **named)
            if self.change:
                self.rows[1] = row(1, self.change, clocks.here())
                self.change = None
            return found

    begun = clocks.here() - HOURS
    source = Busy({n: {"name": f"row {n}", "price": 1, "at": begun} for n in (1, 2)}, cursor="at")
    pipeline = simple_pipeline(source, cursor=CursorSettings(dt.timedelta()))
    source.rows[2] = row(2, "row 2", future)
    sync(pipeline)
    source.change = "changed meanwhile"
    # This one reads before the change, or with it; the next one must see it.
    source.rows[2] = row(2, "row 2 again", future)
    assert sync(pipeline).incremental
    sync(pipeline)
    vectors_match_rows(pipeline, {1: "changed meanwhile", 2: "row 2 again"})
