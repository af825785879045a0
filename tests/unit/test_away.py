"""Parts that do not answer are left alone for a while, and one search asks them again."""

from __future__ import annotations

import logging

import pytest

from rowvec.errors import PartUnavailable
from rowvec.stores import away
from rowvec.stores.away import AGAIN_SECONDS, Away, answer_without


class Parts:
    """Three parts and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gone: set[int] = set()
        self.asked: list[int] = []
        self.seconds = 100.0
        self.away = Away("the store")
        monkeypatch.setattr(away.time, "monotonic", lambda: self.seconds)

    def ask(self, missing: frozenset[int]) -> int:
        for part in range(3):
            if part not in missing:
                self.asked.append(part)
                if part in self.gone:
                    raise PartUnavailable(f"part {part} is gone", part=part)
        return 3 - len(missing)

    def search(self) -> tuple[int, list[int]]:
        self.asked = []
        found, missing = answer_without(self.away, self.ask)
        return found, sorted(missing)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    return Parts(monkeypatch)


def test_a_part_that_is_gone_is_asked_once_and_then_left_alone(parts: Parts) -> None:
    assert parts.search() == (3, [])
    parts.gone = {1}
    assert parts.search() == (2, [1])
    assert parts.asked == [0, 1, 0, 2]
    for _ in range(3):
        assert parts.search() == (2, [1])
        assert parts.asked == [0, 2]
    assert parts.away.known() == [1]


def test_one_search_asks_again_after_a_while_and_the_others_do_not_wait_for_it(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    parts.gone = {1}
    with caplog.at_level(logging.WARNING, logger="rowvec.stores"):
        parts.search()
        parts.seconds += AGAIN_SECONDS
        assert parts.away.now() == frozenset()
        assert parts.away.now() == frozenset({1})
        parts.seconds += 20 * AGAIN_SECONDS
        assert parts.away.now() == frozenset({1}), "the first one still waits for it"
        parts.away.ended(frozenset())
        assert parts.away.now() == frozenset({1})
        parts.seconds += AGAIN_SECONDS
        parts.gone = set()
        assert parts.search() == (3, [])
    assert parts.away.known() == []
    assert [each.message.partition(": ")[2] for each in caplog.records] == [
        "searches go on without part 2: part 1 is gone", "part 2 answers again.",
    ]  # fmt: skip


def test_a_part_that_is_needed_and_left_out_is_an_error(parts: Parts) -> None:
    parts.gone = {2}
    parts.search()

    def needs(missing: frozenset[int]) -> int:
        raise PartUnavailable("the row is in part 3", part=2)

    with pytest.raises(PartUnavailable, match="the row is in part 3"):
        answer_without(parts.away, needs)


def test_a_search_that_fails_for_another_reason_lets_the_next_one_ask(parts: Parts) -> None:
    parts.gone = {1}
    parts.search()
    parts.seconds += AGAIN_SECONDS

    def fails(missing: frozenset[int]) -> None:
        raise ValueError(f"not for the store: {sorted(missing)}")

    with pytest.raises(ValueError, match=r"not for the store: \[\]"):
        answer_without(parts.away, fails)
    parts.gone = set()
    assert parts.search() == (2, [1])
    parts.seconds += AGAIN_SECONDS
    assert parts.search() == (3, [])
