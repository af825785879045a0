"""Asking a silent server over a connection of its own."""

from __future__ import annotations

import threading
import time

import pytest

from rowvec.stores.pulse import Pulse, Silent


def test_a_question_that_could_not_be_asked_is_asked_by_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def ask(_: object, __: float) -> bool:
        asked.set()
        return True

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pulse, since = Pulse(ask, 10.0), time.monotonic() - 5
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            pulse.watch({}, since, None)
    assert not pulse.in_doubt
    pulse.watch({}, since, None)
    assert asked.wait(30)


def test_a_server_that_does_not_answer_is_asked_once_for_all_who_wait() -> None:
    questions, answer = [], threading.Event()

    def ask(_: object, __: float) -> bool:
        questions.append(1)
        answer.wait(30)
        return False

    pulse, since = Pulse(ask, 10.0), time.monotonic() - 5
    for _ in range(3):
        pulse.watch({}, since, None)
    answer.set()
    until = time.monotonic() + 30
    while pulse.in_doubt and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(Silent, match="not even to a new connection"):
        pulse.watch({}, since, None)
    assert len(questions) == 1
