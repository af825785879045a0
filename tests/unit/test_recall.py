"""What an index finds of what an exact search finds."""

from __future__ import annotations

import pytest

from rowvec.evaluation.recall import recall


def test_recall_is_the_share_of_the_exact_answer() -> None:
    assert recall([0.9, 0.8, 0.7], [0.9, 0.8, 0.7]) == 1.0
    assert recall([0.9, 0.5, 0.4], [0.9, 0.8, 0.7]) == pytest.approx(1 / 3)


def test_a_hit_below_the_exact_answer_does_not_count_and_one_that_is_missing_neither() -> None:
    assert recall([0.2, 0.9], [0.9]) == 0.0
    assert recall([0.9], [0.9, 0.8]) == 0.5


@pytest.mark.parametrize(("score", "share"), [(0.5, 1.0), (0.5 - 1e-6, 1.0), (0.49, 0.5)])
def test_another_row_with_the_score_of_the_last_exact_one_is_a_hit(score: float, share: float) -> None:
    assert recall([0.9, score], [0.9, 0.5]) == share


def test_distances_count_as_negative_scores() -> None:
    assert recall([-0.5, -2.0], [-0.5, -1.0]) == 0.5


def test_where_there_is_nothing_to_find_all_is_found() -> None:
    assert recall([], []) == 1.0
