"""The mean similarity of rows, from a sample that is not too old."""

from __future__ import annotations

import numpy as np
import pytest

from rowvec.errors import StoreError
from rowvec.stores import typical
from rowvec.stores.typical import KEPT_SECONDS, SAMPLED, Typical
from rowvec.types import Vector


def test_a_sample_is_drawn_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now, drawn = [0.0], []
    stored: list[Vector] = []

    def sample(most: int) -> list[Vector]:
        drawn.append(most)
        return stored[:most]

    monkeypatch.setattr(typical.time, "monotonic", lambda: now[0])
    subject, query = Typical("cosine", sample), np.array([1, 0], np.float32)
    assert subject.similarity(query) is None
    stored.append(np.array([1, 0], np.float32))
    assert [subject.similarity(query) for _ in range(3)] == [1.0] * 3
    stored.append(np.array([0, 5], np.float32))
    assert subject.similarity(query) == 1.0
    now[0] += KEPT_SECONDS + 1
    assert [subject.similarity(query) for _ in range(3)] == [0.5] * 3
    assert drawn == [SAMPLED] * 3


def test_rows_of_another_model_are_said_and_not_remembered() -> None:
    """A search that meets a swap looks for the live generation again where the store refuses, and fails otherwise."""
    stored = [np.ones(24, np.float32)]
    subject, query = Typical("cosine", lambda most: stored), np.ones(8, np.float32)
    with pytest.raises(StoreError, match="24 dimensions, the query has 8"):
        subject.similarity(query)
    stored[0] = np.ones(8, np.float32)
    assert subject.similarity(query) == pytest.approx(1.0)
