"""Clusters of a map, and the words that name them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rowvec.maps.clusters import FEWEST, MOST, clusters, named
from rowvec.maps.draw import SIDE
from rowvec.pipeline import Pipeline
from rowvec.syncing.run import sync
from rowvec.testing.generation import MemoryGeneration
from tests.integration.serve_rig import product_pipeline, rows

TOPICS = ("lamp shade bulb", "chair seat wood", "teapot cup saucer")
EACH = 40


def pipeline(language: str | None = "english") -> Pipeline:
    """Rows of three topics, all of which also say what every row says."""
    data = rows(EACH * len(TOPICS))
    for number, values in data.items():
        values["name"] = f"the new product {TOPICS[number % 3]} item{number}"
    made = product_pipeline(data=data, synced=False)
    made = replace(made, spec=replace(made.spec, language=language))
    sync(made)
    return made


def places(count: int) -> np.ndarray:
    """A corner of the map for each topic."""
    random = np.random.default_rng(3)
    corners = np.array([[0, 0], [SIDE, 0], [SIDE // 2, SIDE]])
    spread = random.normal(scale=SIDE / 40, size=(count, 2))
    return (corners[np.arange(1, count + 1) % 3] + spread).clip(0, SIDE).astype(np.uint16)


def handle(made: Pipeline) -> MemoryGeneration:
    found = made.store.generation(made.spec)
    assert isinstance(found, MemoryGeneration)
    return found


@pytest.mark.parametrize("language", ["english", None])
def test_a_cluster_is_named_by_what_its_rows_say_and_others_do_not(language: str | None) -> None:
    count = EACH * len(TOPICS)
    found = named(handle(pipeline(language)), list(range(1, count + 1)), places(count))
    for cluster in found:
        topic = next(topic for topic in TOPICS if cluster.words[0] in topic)
        assert set(cluster.words) <= set(topic.split()), "what every row says names nothing"
    assert {topic for topic in TOPICS for cluster in found if cluster.words[0] in topic} == set(TOPICS)
    assert [each.rows for each in found] == sorted((each.rows for each in found), reverse=True)


def test_every_point_belongs_to_the_nearest_middle() -> None:
    points = places(300)
    middles, nearest = clusters(points)
    away = np.linalg.norm(points[:, None].astype(float) - middles[None], axis=2)
    assert (away.argmin(axis=1) == nearest).all()
    assert 3 <= len(middles) <= MOST
    assert (clusters(points)[1] == nearest).all(), "the same map has the same clusters"


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1])
def test_few_points_are_not_named(count: int) -> None:
    assert named(handle(pipeline()), list(range(1, count + 1)), places(count)) == []


def test_points_at_one_place_are_one_cluster() -> None:
    middles, nearest = clusters(np.full((50, 2), 7, np.uint16))
    assert (len(middles), set(nearest)) == (1, {0})


def test_rows_whose_text_is_not_kept_have_no_names() -> None:
    made = product_pipeline(synced=False)
    made = replace(made, spec=replace(made.spec, keeps_texts=False))
    sync(made)
    assert named(handle(made), list(range(1, 61)), places(60)) == []
