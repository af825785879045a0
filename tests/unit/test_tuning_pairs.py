"""Which efforts of two indexes are tried: the cheapest that are enough are found by few of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from rowvec.stores.postgres.vector_index.tuning import EF_SEARCH, PROBES, Pair, _pairs

LADDERS = ((EF_SEARCH, EF_SEARCH), (PROBES, PROBES), (PROBES, EF_SEARCH))


def tried(rows: tuple[int, ...], passages: tuple[int, ...], enough: Callable[[Pair], bool]) -> list[Pair]:
    pairs = _pairs(rows, passages)
    asked: list[Pair] = []
    pair = next(pairs, None)
    while pair is not None:
        asked.append(pair)
        try:
            pair = pairs.send(enough(pair))
        except StopIteration:
            break
    return asked


@settings(max_examples=500)
@given(st.sampled_from(LADDERS), st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 1000)), max_size=5))
def test_no_cheaper_pair_is_enough(
    ladders: tuple[tuple[int, ...], tuple[int, ...]], corners: list[tuple[int, int]]
) -> None:
    """What is enough stays enough with more effort: each corner, and whatever is above it on both sides."""

    def enough(pair: Pair) -> bool:
        return any(pair[0] >= rows and pair[1] >= passages for rows, passages in corners)

    asked = tried(*ladders, enough)
    assert len(set(asked)) == len(asked) <= 3 * max(map(len, ladders))
    found = [sum(pair) for pair in asked if enough(pair)]
    best = [sum(pair) for pair in product(*ladders) if enough(pair)]
    assert (min(found) if found else None) == (min(best) if best else None)


def test_one_index_is_tried_with_rising_efforts() -> None:
    asked = tried(EF_SEARCH, (0,), lambda pair: pair[0] >= 60)
    assert asked == [(effort, 0) for effort in (10, 20, 30, 40, 60)]
