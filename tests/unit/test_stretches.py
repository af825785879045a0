"""Cutting what is sent into stretches."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from rowvec.support.stretches import stretches


@given(st.lists(st.integers(0, 50)), st.integers(1, 6), st.integers(1, 60))
def test_stretches_are_within_both_limits_and_as_long_as_they_can_be(sizes: list[int], items: int, total: int) -> None:
    cut = [sizes[part] for part in stretches(sizes, items, total)]
    assert [size for part in cut for size in part] == sizes
    for part in cut:
        assert 1 <= len(part) <= items
        assert sum(part) <= total or len(part) == 1, "an item that is too large stands alone"
    for part, after in itertools.pairwise(cut):
        assert len(part) == items or sum(part) + after[0] > total
