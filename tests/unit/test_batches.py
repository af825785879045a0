"""What a service takes at once, as batches learn it that are on their way at the same time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rowvec.syncing.batches import Limits, embed_batch
from rowvec.testing import HashEmbedder
from rowvec.types import Embedded, TextVector


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


def test_each_vector_of_an_answer_that_cannot_be_used_costs_its_own_text() -> None:
    class Spoilt(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> Embedded:
            vectors = super().embed(texts).vectors
            vectors[1, 3], vectors[2, 0], vectors[3] = np.nan, np.inf, 0
            vectors[5] *= np.float32(1e25)
            vectors[6] *= np.float32(1e-25)
            return Embedded(
                vectors, 0, truncated=[0, 3], problems={4: ValueError("no vector"), 1: ValueError("no text")}
            )

    good, nan, infinite, zeros, problem, long, short = embed_batch(Spoilt(), list("abcdefg")).vectors
    assert isinstance(good, TextVector)
    assert good.truncated
    assert np.array_equal(good.vector, HashEmbedder().embed_query("a"))
    assert [str(each) for each in (nan, problem)] == ["no text", "no vector"]
    assert "NaN or infinite" in str(infinite)
    assert "zeros" in str(zeros)
    # A database that squares their numbers finds infinity, or zero: their distance to every query would be NaN.
    assert "too long or too short" in str(long)
    assert "too long or too short" in str(short)
