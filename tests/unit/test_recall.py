"""What an index finds of what an exact search finds."""

from __future__ import annotations

import numpy as np
import pytest

from rowvec.evaluation.recall import at_least, queries_needed, recall


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


@pytest.mark.parametrize("target", [0.9, 0.98, 0.99])
def test_so_many_queries_are_needed_to_show_a_recall(target: float) -> None:
    needed = queries_needed(target)
    assert at_least([1.0] * needed) >= target
    assert at_least([1.0] * (needed - 3)) < target


@pytest.mark.parametrize("size", [50, 200])
def test_other_queries_find_at_least_that_in_nearly_every_sample(size: int) -> None:
    """Of every hundred queries the index finds nothing for two, and all for most of the others."""
    dice = np.random.default_rng(7)
    every = np.concatenate([np.zeros(20), np.full(80, 0.9), np.ones(900)])
    samples = [dice.choice(every, size).tolist() for _ in range(1_000)]
    assert np.mean([at_least(sample) <= every.mean() for sample in samples]) > 0.95
    # A standard error alone, as most samples of 50 have no more than one such query.
    naive = [np.mean(sample) - np.std(sample) / np.sqrt(size) <= every.mean() for sample in samples]
    assert np.mean(naive) < 0.9


def test_the_bound_nears_the_mean_as_queries_grow_in_number() -> None:
    sample = [1.0, 0.9, 1.0, 0.0, 1.0]
    bounds = [at_least(sample * times) for times in (1, 10, 100, 1_000)]
    assert bounds == sorted(bounds) and bounds[0] >= 0 and np.mean(sample) - bounds[-1] < 0.02
