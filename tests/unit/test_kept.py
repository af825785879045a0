"""What is made of an object once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from rowvec.filters import Compare, Filter, Op
from rowvec.support.kept import KeptByIdentity


def test_it_is_made_once_for_each_object() -> None:
    asked: list[Filter] = []

    def made(where: Filter) -> str:
        asked.append(where)
        return repr(where)

    kept = KeptByIdentity(made)
    one, true = Compare("tags", Op.CONTAINS, 1), Compare("tags", Op.CONTAINS, True)
    assert one == true
    for _ in range(3):
        assert (kept.of(one), kept.of(true)) == (repr(one), repr(true))
    assert [id(each) for each in asked] == [id(one), id(true)]


def test_an_object_that_is_gone_leaves_nothing_to_the_next_one_at_its_place() -> None:
    kept = KeptByIdentity[list[int], int](sum)
    assert [kept.of([number]) for number in range(5_000)] == list(range(5_000))


def test_those_asked_about_last_are_kept() -> None:
    asked: list[str] = []
    kept = KeptByIdentity[str, None](asked.append, most=2)
    for name in ("a", "b", "a", "c", "a", "b"):
        kept.of(name)
    assert asked == ["a", "b", "c", "b"]


def test_nothing_is_kept_of_a_failure() -> None:
    kept = KeptByIdentity[str, int](int)
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            kept.of("x")


def test_threads_get_what_is_theirs() -> None:
    kept, asked = KeptByIdentity[str, str](str.upper, most=3), [f"word {number}" for number in range(20)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(kept.of, asked * 200)) == [each.upper() for each in asked * 200]
