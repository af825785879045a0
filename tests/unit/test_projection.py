"""The plane of the map: neighbours stay neighbours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from rowvec.maps import projection
from rowvec.maps.draw import draw
from rowvec.syncing.run import sync
from tests.support import simple_pipeline

CLUSTERS = 12
ROWS = 600


def clusters(rows: int = ROWS) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Vectors around a few directions, and which of them each is around."""
    random = np.random.default_rng(7)
    which = random.integers(CLUSTERS, size=rows)
    centres = random.normal(size=(CLUSTERS, 64))
    vectors = centres[which] + 0.4 * random.normal(size=(rows, 64))
    return vectors.astype(np.float32), which


def nearest(points: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1)[:, :count]


def kept(before: npt.NDArray[np.int64], after: npt.NDArray[np.int64]) -> float:
    """The share of neighbours that are still neighbours."""
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(before, after, strict=True)]))


# A new environment compiles UMAP first: a minute of a core, and more where others compute.
@pytest.mark.timeout(900)
@pytest.mark.slow
def test_neighbours_among_the_vectors_are_neighbours_on_the_plane() -> None:
    vectors, which = clusters()
    reduced = projection.principal_axes(vectors).reduce(vectors)
    half = ROWS // 2
    points = np.zeros((ROWS, 2), np.float32)
    points[:half] = projection.layout(reduced[:half])
    points[half:] = projection.place(reduced[half:], reduced[:half], points[:half])
    assert np.isfinite(points).all()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    chance = 10 / ROWS
    assert kept(nearest(unit, 10), nearest(points, 10)) > 10 * chance
    same = which[nearest(points, 10)] == which[:, None]
    assert same[:half].mean() > 0.95, "laid out"
    assert same[half:].mean() > 0.95, "placed beside those that were"
    again = projection.layout(reduced[:half])
    np.testing.assert_array_equal(again, points[:half])


@pytest.mark.timeout(900)
@pytest.mark.slow
def test_rows_of_a_store_beyond_the_sample_are_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowvec.maps.draw.PAGE", 16)
    pipeline = simple_pipeline(rows={number: f"thing {number}" for number in range(90)})
    sync(pipeline)
    told: list[tuple[str, int, int | None]] = []
    made = draw(pipeline.store, pipeline.spec, sample=40, progress=lambda *news: told.append(news))
    assert len(made.keys) == len(np.unique(made.places, axis=0)) == 90, "no two of different texts on one place"
    assert ("placing", 0, 50) in told
    again = draw(pipeline.store, pipeline.spec, sample=40)
    np.testing.assert_array_equal(made.places, again.places)


def test_a_row_like_one_of_the_sample_stands_where_that_stands() -> None:
    vectors, _ = clusters(40)
    reduced = projection.principal_axes(vectors).reduce(vectors)
    points = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    np.testing.assert_allclose(projection.place(reduced[:5], reduced, points), points[:5], atol=1e-3)


@pytest.mark.parametrize("rows", [1, 2, projection.FEWEST - 1])
def test_few_rows_have_a_place_too(rows: int) -> None:
    vectors, _ = clusters(rows)
    reduced = projection.principal_axes(vectors).reduce(vectors)
    points = projection.layout(reduced)
    assert points.shape == (rows, 2)
    assert np.isfinite(points).all()
    assert projection.place(reduced, reduced, points).shape == (rows, 2)


def test_only_the_direction_of_a_vector_counts() -> None:
    vectors, _ = clusters(50)
    axes = projection.principal_axes(vectors)
    np.testing.assert_allclose(axes.reduce(3 * vectors), axes.reduce(vectors), atol=1e-5)
    assert np.isfinite(axes.reduce(np.zeros((1, 64), np.float32))).all()


def test_vectors_of_one_dimension_are_a_line() -> None:
    vectors = np.ones((3, 1), np.float32)
    assert projection.layout(projection.principal_axes(vectors).reduce(vectors)).shape == (3, 2)
