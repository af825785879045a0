"""How many rows an index gives to be compared by their vectors."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rowvec.stores.index import IndexStatus
from rowvec.stores.postgres.vector_index.ordering import (
    FILTERED_CANDIDATES,
    LEAST_OVERSAMPLING,
    MOST_CANDIDATES,
    OVERSAMPLING,
    candidates,
)

BITS = IndexStatus("hnsw", precision="bit", effort=96)


def test_fewer_rows_that_pass_a_filter_take_fewer_candidates_within_bounds() -> None:
    shares = [1.0, 0.5, 0.2, 0.1, 0.01, 0.0]
    found = [candidates(BITS, 10, share=share) for share in shares]
    assert found[0] == candidates(BITS, 10) == 960
    assert all(one >= other for one, other in pairwise(found))
    assert found[-1] == 960 * LEAST_OVERSAMPLING
    # A planner may expect more rows than there are.
    assert candidates(BITS, 10, share=3.0) == 960


@pytest.mark.parametrize("effort", [None, 1, 2])
def test_a_filter_takes_some_more_than_are_asked_for(effort: int | None) -> None:
    index = IndexStatus("hnsw", precision="bit", effort=effort)
    assert candidates(index, 10) == 10 * (effort or OVERSAMPLING)
    assert candidates(index, 10, share=0.01) == 10 * FILTERED_CANDIDATES
    whole = IndexStatus("hnsw", precision="halfvec", effort=effort)
    assert candidates(whole, 10) == 10
    assert candidates(whole, 10, share=0.01) == 10 * FILTERED_CANDIDATES


def test_a_page_far_behind_gets_what_it_asks_for() -> None:
    assert candidates(BITS, 5_000, share=1.0) == MOST_CANDIDATES
    assert candidates(BITS, 2 * MOST_CANDIDATES) == 2 * MOST_CANDIDATES
