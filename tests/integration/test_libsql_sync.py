"""Whole syncs into libSQL, a file and a server that loses connections."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowvec.stores.libsql import LibsqlStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource
from tests.servers.hrana import HranaServer, serving
from tests.support import simple_pipeline, vectors_match_rows


def names(source: MemorySource) -> dict[object, str]:
    return {key: row["name"] for key, row in source.rows.items()}


def source_of(count: int) -> MemorySource:
    return MemorySource({key: {"name": f"row {key % 50}", "price": key} for key in range(count)})


def edit(source: MemorySource, rng: random.Random) -> None:
    """Change, add and remove some rows."""
    for key in rng.sample(sorted(source.rows, key=int), 20):
        source.rows[key]["name"] = f"row {rng.randrange(100)}"
    for key in rng.sample(sorted(source.rows, key=int), 5):
        del source.rows[key]
    new = 1 + max(source.rows, key=int)  # type: ignore[operator]
    source.rows[new] = {"id": new, "name": "new row", "price": 1}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HranaServer]:
    with serving(tmp_path) as running:
        yield running


def test_a_file_follows_its_rows_through_edits_and_a_change_of_model(tmp_path: Path) -> None:
    source, rng = source_of(200), random.Random(0)
    store = LibsqlStore(str(tmp_path / "vectors.db"), table="things")
    pipeline = simple_pipeline(source, store)
    first = sync(pipeline)
    assert (first.inserted, first.texts) == (200, 50)
    for _ in range(5):
        edit(source, rng)
        assert sync(pipeline).conflicts == 0
        vectors_match_rows(pipeline, names(source))
    assert sync(pipeline).written == 0

    larger = simple_pipeline(source, store, HashEmbedder(24, model="larger"))
    assert sync(larger).inserted == len(source.rows)
    vectors_match_rows(larger, names(source))
    assert sync(larger).written == 0
    store.close()


def test_a_server_that_loses_requests_and_answers_ends_with_the_right_vectors(server: HranaServer) -> None:
    source, rng = source_of(200), random.Random(1)
    store = LibsqlStore(server.url("vectors"), table="things")
    pipeline = simple_pipeline(source, store)
    for turn in range(6):
        server.control(match="commit", **{rng.choice(["cut_before", "cut_after"]): 1})
        report = sync(pipeline)
        assert (report.conflicts, report.failed) == (0, 0)
        assert turn > 0 or report.texts == 50
        vectors_match_rows(pipeline, names(source))
        edit(source, rng)
    sync(pipeline)
    assert sync(pipeline).written == 0
    assert [run.outcome for run in store.runs()] == ["done"] * 8
    store.close()
