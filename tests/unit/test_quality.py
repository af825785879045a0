"""Near-duplicates and odd rows: what is found is what comparing all rows finds, within the budget."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from rowvec.auditing import neighbours as module
from rowvec.auditing.neighbours import FENCE, neighbours
from rowvec.auditing.quality import quality
from rowvec.errors import ConfigError
from rowvec.pipeline import Pipeline
from rowvec.testing import HashEmbedder
from rowvec.testing.generation import MemoryGeneration
from rowvec.types import Vector
from tests.integration.serve_rig import product_pipeline, rows

COUNT = 60


class Placed(HashEmbedder):
    """Gives texts of a list the vectors of that list."""

    def __init__(self, places: dict[str, list[float]]) -> None:
        super().__init__(4)
        self.places = places

    def embed(self, texts: Any) -> Any:
        found = super().embed(texts)
        for number, text in enumerate(texts):
            if text in self.places:
                found.vectors[number] = np.array(self.places[text], np.float32)
        return found


def placed() -> Pipeline:
    """A crowd of rows with two of them nearly the same, two of one text, and one that is far from all."""
    random, data = np.random.default_rng(1), rows(COUNT)
    places = {}
    for number, values in data.items():
        values["name"] = f"row {number}"
        places[values["name"]] = [1.0, *(0.3 * random.normal(size=2)), 0.0]
    places["row 2"] = [value + 0.001 for value in places["row 1"]]
    places["row 9"] = [0.0, 0.0, 0.0, 1.0]
    data[41]["name"] = data[42]["name"] = "row 40"
    return product_pipeline(data=data, embedder=Placed(places))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return placed()


def handle(pipeline: Pipeline) -> MemoryGeneration:
    found = pipeline.store.generation(pipeline.spec)
    assert isinstance(found, MemoryGeneration)
    return found


def cosine(a: Vector, b: Vector) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_pairs_are_those_of_comparing_every_row_with_every_other(pipeline: Pipeline) -> None:
    found = neighbours(handle(pipeline), bound=0.99999)
    vectors = dict(handle(pipeline).vectors(None, COUNT))
    expected = {
        frozenset((a, b))
        for a, b in combinations(vectors, 2)
        if cosine(vectors[a], vectors[b]) >= 0.99999 and {a, b} - {40, 41, 42}
    }
    assert {frozenset((pair.a, pair.b)) for pair in found.near} == expected
    assert frozenset((1, 2)) in expected
    assert (found.asked, found.rows, found.near_found) == (COUNT, COUNT, len(expected))


def test_odd_rows_lie_below_the_fence_and_the_farthest_comes_first(pipeline: Pipeline) -> None:
    found = neighbours(handle(pipeline))
    assert found.odd[0].key == 9
    assert found.usual is not None and found.fence is not None
    assert found.odd[0].similarity < found.fence < found.usual
    assert all(each.similarity < found.fence for each in found.odd)
    assert found.odd_found == len(found.odd) < COUNT / 4
    assert FENCE > 1


def test_rows_of_a_small_budget_are_among_those_of_a_larger_one(pipeline: Pipeline) -> None:
    small, again, large = (neighbours(handle(pipeline), rows=count, bound=0.9) for count in (20, 20, COUNT))
    assert (small.asked, large.asked) == (20, COUNT)
    assert small.near == again.near
    pairs = [{frozenset((pair.a, pair.b)) for pair in each.near} for each in (small, large)]
    assert small.near_found < large.near_found
    assert len(large.near) == module.LISTED or pairs[0] < pairs[1]


def test_no_further_row_is_looked_at_when_the_time_is_up(pipeline: Pipeline) -> None:
    assert neighbours(handle(pipeline), seconds=0).asked == 0


def test_the_cost_is_one_search_for_each_row(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    nearest = MemoryGeneration.nearest
    monkeypatch.setattr(
        MemoryGeneration, "nearest", lambda self, *given, **more: (asked.append(1), nearest(self, *given, **more))[1]
    )
    neighbours(handle(pipeline), rows=25)
    assert len(asked) == 25


def test_few_rows_have_nothing_usual() -> None:
    found = neighbours(handle(product_pipeline(count=5)))
    assert (found.odd, found.usual, found.fence) == ([], None, None)


@pytest.mark.parametrize("bound", [0, -0.5, 1.01])
def test_a_bound_that_cannot_be_is_refused(pipeline: Pipeline, bound: float) -> None:
    with pytest.raises(ConfigError, match="must be above 0"):
        neighbours(handle(pipeline), bound=bound)


def test_all_lists_as_rows_and_as_json(pipeline: Pipeline) -> None:
    found = quality(pipeline, bound=0.99999)
    listed = found.to_dicts()
    assert {"list": "repeated", "key": 41, "other": 40, "similarity": 1.0} in listed
    assert [each["key"] for each in listed if each["list"] == "odd"] == [each.key for each in found.neighbours.odd]
    said = found.as_dict()
    assert said["near"][0].keys() == {"a", "b", "similarity"}
    assert said["repeated"] == [{"rows": 3, "keys": (40, 41, 42)}]
    assert said["near_found"] == found.neighbours.near_found
