"""Which ranges a fleet sends out, which of them it asks about, and how often."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rowvec.syncing.report import Running
from rowvec.workers.fleet import POLL_WAITING, Part, _Fleet, _parts


def test_what_was_begun_is_asked_about_every_time_and_what_waits_in_turn() -> None:
    nothing: Any = None
    fleet = _Fleet(nothing, {}, Running(0, threading.Event()))
    fleet.working = [Part(str(number), None) for number in range(5 * POLL_WAITING)]
    begun = fleet.working[3]
    begun.started = True
    rounds = [fleet._asked() for _ in range(5)]
    assert all(begun in asked and len(asked) == POLL_WAITING + 1 for asked in rounds)
    assert {part.after for asked in rounds for part in asked} == {part.after for part in fleet.working}


@pytest.mark.parametrize("rows", [0, 1, 7, 60, 99, 100, 101])
def test_the_ranges_cover_all_keys_although_rows_went_away_since_they_were_counted(rows: int) -> None:
    class Counted:
        def boundaries(self, size: int) -> Iterator[int]:
            yield from range(size, rows + 1, size)

    source: Any = Counted()
    parts = list(_parts(source, 100))
    assert bool(parts) == bool(rows)
    bounds = [None, *(until for _, until in parts)]
    assert [after for after, _ in parts] == bounds[:-1]
    assert bounds[-1] is None


def test_nothing_is_left_out_where_few_wait() -> None:
    nothing: Any = None
    fleet = _Fleet(nothing, {}, Running(0, threading.Event()))
    assert fleet._asked() == []
    fleet.working = [Part("1", "2"), Part("2", None)]
    assert {part.after for part in fleet._asked()} == {"1", "2"}


def test_that_nobody_works_is_said_and_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    now, told = [1000.0], list[str]()
    monkeypatch.setattr("rowvec.workers.fleet.time.monotonic", lambda: now[0])
    fleet = _Fleet(nothing, {}, Running(0, threading.Event(), tell=told.append))
    fleet._tell_silence()
    fleet.working = [Part("1", "2"), Part("2", None)]
    for seconds in (29, 1, 20, 10):
        now[0] += seconds
        fleet._tell_silence()
    assert [text[:60] for text in told] == [
        "No worker has said anything for 30 s, and 2 ranges wait. Doe",
        "No worker has said anything for 60 s, and 2 ranges wait. Doe",
    ]
