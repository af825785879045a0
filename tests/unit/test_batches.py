"""What a service takes at once, as batches learn it that are on their way at the same time."""

from __future__ import annotations

from rowvec.syncing.batches import Limits


def test_a_larger_batch_that_was_on_its_way_does_not_raise_what_was_learned() -> None:
    limits = Limits()
    small, large = ["a"] * 10, ["a"] * 100
    limits.learn(small, (small[:5], small[5:]))
    limits.learn(large, (large[:50], large[50:]))
    assert limits.texts == 5
    assert [len(part) for part in limits.parts(small)] == [5, 5]


def test_nor_does_one_that_was_too_long() -> None:
    limits = Limits(passed_texts=100)
    short, long = ["aa"] * 10, ["a" * 20] * 10
    limits.learn(short, (short[:5], short[5:]))
    limits.learn(long, (long[:5], long[5:]))
    assert limits.characters == 10
