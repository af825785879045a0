"""Which ranges a fleet asks about, and how often."""

from __future__ import annotations

import threading
from typing import Any

from rowvec.workers.fleet import POLL_WAITING, Part, _Fleet


def test_what_was_begun_is_asked_about_every_time_and_what_waits_in_turn() -> None:
    nothing: Any = None
    fleet = _Fleet(nothing, {}, None, threading.Event())
    fleet.working = [Part(str(number), None) for number in range(5 * POLL_WAITING)]
    begun = fleet.working[3]
    begun.started = True
    rounds = [fleet._asked() for _ in range(5)]
    assert all(begun in asked and len(asked) == POLL_WAITING + 1 for asked in rounds)
    assert {part.after for asked in rounds for part in asked} == {part.after for part in fleet.working}


def test_nothing_is_left_out_where_few_wait() -> None:
    nothing: Any = None
    fleet = _Fleet(nothing, {}, None, threading.Event())
    assert fleet._asked() == []
    fleet.working = [Part("1", "2"), Part("2", None)]
    assert {part.after for part in fleet._asked()} == {"1", "2"}
