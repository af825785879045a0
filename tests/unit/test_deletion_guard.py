"""No sequence of syncs without --allow-delete removes more than half of the rows that stood there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rowvec.errors import DeletionGuard
from rowvec.pipeline import Options, Pipeline
from rowvec.pipeline_status import status
from rowvec.sources.base import Selection
from rowvec.sources.events.files import EventFiles
from rowvec.sources.events.stream import EventSettings
from rowvec.stores.guarding import GUARDED_FOR
from rowvec.syncing.preview import preview
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.testing.generation import MemoryGeneration
from rowvec.types import Embedded
from tests.integration.debezium_rig import lines, put, removed
from tests.support import rows_of, simple_pipeline

ALLOWED = Options(allow_delete=True)


def filled(rows: int = 10) -> Pipeline:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(rows)})
    sync(pipeline)
    return pipeline


def rename(pipeline: Pipeline, by: int, keys: range) -> None:
    rows = pipeline.source.rows
    for key in keys:
        rows[key + by] = {**rows.pop(key), "id": key + by}


def test_renamed_keys_are_refused_until_it_is_allowed() -> None:
    pipeline = filled()
    rename(pipeline, 100, range(10))
    said = []
    for _ in range(3):
        with pytest.raises(
            DeletionGuard, match=r"10 of the 10 rows in memory are gone .* Nothing was deleted"
        ) as refused:
            sync(pipeline)
        said.append(refused.value.message)
    assert "Refused since" in said[1]
    assert said[1] == said[2] == f"{said[0]}{said[1].removeprefix(said[0])}"
    assert rows_of(pipeline).count() == 20, "what is new is written all the same"
    found = status(pipeline)
    assert found.refusal is not None
    assert found.refusal.said == said[0]
    assert found.as_dict()["refusal"]["said"] == said[0]
    assert preview(pipeline).as_dict()["refusal"]["said"] == said[0]
    assert sync(pipeline, ALLOWED).deleted == 10
    assert status(pipeline).refusal is None
    assert sync(pipeline).unchanged == 10


def test_one_row_is_said_as_one() -> None:
    pipeline = filled(1)
    del pipeline.source.rows[0]
    with pytest.raises(DeletionGuard, match=r"^1 of the 1 row in memory is gone from the source: more than half"):
        sync(pipeline)


def test_a_table_that_is_emptied_while_the_embedder_works_keeps_its_vectors() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(1000)})
    sync(pipeline)
    rows = pipeline.source.rows
    del rows[0]
    rows[1]["name"] = "slow"

    class Slow(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> Embedded:
            rows.clear()
            return super().embed(texts)

    with pytest.raises(DeletionGuard, match="1,000 of the 1,000 rows"):
        sync(replace(pipeline, embedder=Slow()))
    assert rows_of(pipeline).count() == 1000


def test_a_refusal_is_resolved_when_the_rows_are_back() -> None:
    pipeline = filled(100)
    rows = dict(pipeline.source.rows)
    pipeline.source.rows.clear()
    with pytest.raises(DeletionGuard):
        sync(pipeline)
    for n in range(49):
        pipeline.source.rows[n] = rows[n]
    with pytest.raises(DeletionGuard, match="100 of the 100"):
        sync(pipeline)
    for n in range(60):
        pipeline.source.rows[n] = rows[n]
    assert sync(pipeline).deleted == 40
    assert status(pipeline).refusal is None


def test_new_rows_do_not_resolve_a_refusal() -> None:
    pipeline = filled()
    pipeline.source.rows.clear()
    with pytest.raises(DeletionGuard):
        sync(pipeline)
    pipeline.source.rows.update({n: {"id": n, "name": f"other {n}"} for n in range(100, 200)})
    for _ in range(2):
        with pytest.raises(DeletionGuard, match="10 of the 10"):
            sync(pipeline)
    assert set(range(10)) <= set(rows_of(pipeline).keys(None, 1000))


def test_rows_that_go_little_by_little_are_refused_at_half() -> None:
    pipeline = filled(100)
    for gone in range(50):
        del pipeline.source.rows[gone]
        assert sync(pipeline).deleted == 1
    del pipeline.source.rows[50]
    with pytest.raises(DeletionGuard, match="More than half of the 100 rows that memory held on") as refused:
        sync(pipeline)
    assert "Nothing was deleted." in refused.value.message
    assert rows_of(pipeline).count() == 50
    assert sync(pipeline, ALLOWED).deleted == 1
    for gone in range(51, 75):
        del pipeline.source.rows[gone]
    assert sync(pipeline).deleted == 24, "the guard began again with the 49 that were left"


def test_named_rows_limits_and_empty_texts_count_with_the_others() -> None:
    pipeline = filled(10)
    rows = pipeline.source.rows
    del rows[0]
    assert sync(pipeline, Options(Selection(keys=(0,)))).deleted == 1
    rows[1]["name"] = ""
    assert sync(pipeline, Options(limit=1)).deleted == 1
    del rows[2], rows[3]
    rows[4]["name"] = ""
    assert sync(pipeline).deleted == 3
    for key, options in ((5, Options(Selection(keys=(5,)))), (6, Options(limit=3)), (7, Options())):
        rows[key]["name"] = ""
        with pytest.raises(DeletionGuard):
            sync(pipeline, options)
    assert rows_of(pipeline).count() == 5


def test_while_a_refusal_stands_no_part_of_it_is_deleted() -> None:
    pipeline = filled()
    pipeline.source.rows.clear()
    with pytest.raises(DeletionGuard):
        sync(pipeline)
    with pytest.raises(DeletionGuard, match=r"10 of the 10 .*Refused since"):
        sync(pipeline, Options(Selection(keys=(1, 2))))
    assert rows_of(pipeline).count() == 10


def test_rows_that_come_and_go_are_never_refused_when_days_lie_between(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = filled(10)
    for day in range(30):
        for moment in rows_of(pipeline)._made.moments:
            moment.since -= GUARDED_FOR / 2
        rename(pipeline, 10, range(2 * day, 2 * day + 2))
        assert sync(pipeline).deleted == 2
    assert rows_of(pipeline).count() == 10


def test_a_refusal_outlives_the_days_that_the_guard_remembers() -> None:
    pipeline = filled(10)
    rename(pipeline, 100, range(10))
    with pytest.raises(DeletionGuard):
        sync(pipeline)
    for moment in rows_of(pipeline)._made.moments:
        moment.since -= dt.timedelta(days=400)
    with pytest.raises(DeletionGuard, match="Refused since"):
        sync(pipeline)


def test_the_rows_of_the_start_are_guarded_although_the_table_has_grown() -> None:
    pipeline = filled(10)
    pipeline.source.rows.update({n: {"id": n, "name": f"more {n}"} for n in range(100, 200)})
    sync(pipeline)
    for key in range(8):
        del pipeline.source.rows[key]
    with pytest.raises(DeletionGuard, match="half of the 10 rows"):
        sync(pipeline)


def test_a_sync_with_nothing_to_delete_asks_no_more_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = filled()
    asked: list[str] = []
    for name in ("standing", "refusal", "count", "write"):
        original = getattr(MemoryGeneration, name)

        def counted(self: MemoryGeneration, *given: object, name: str = name, original: object = original) -> object:
            asked.append(name)
            return original(self, *given)  # type: ignore[operator]

        monkeypatch.setattr(MemoryGeneration, name, counted)
    sync(pipeline)
    assert asked == ["standing", "count"], "one question, and the count in it"


def test_a_burst_of_delete_events_over_several_short_runs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(lines([put(n, f"row {n}", n) for n in range(1, 11)]))
    pipeline = simple_pipeline(EventFiles([str(path)], EventSettings("id")))
    sync(pipeline)
    for n in range(1, 6):
        with path.open("a") as file:
            file.write(lines([removed(n, 100 + n)]))
        assert sync(pipeline).deleted == 1
    with path.open("a") as file:
        file.write(lines([put(20, "new", 200), removed(6, 201)]))
    for _ in range(2):
        with pytest.raises(DeletionGuard, match="half of the 10 rows"):
            sync(pipeline)
    assert rows_of(pipeline).keys(None, 99) == [6, 7, 8, 9, 10, 20], "what is new is written all the same"
    assert sync(pipeline, ALLOWED).deleted == 1
    assert status(pipeline).refusal is None


def test_while_a_refusal_stands_a_range_of_a_fleet_deletes_nothing() -> None:
    pipeline = filled()
    rows = dict(pipeline.source.rows)
    pipeline.source.rows.clear()
    with pytest.raises(DeletionGuard):
        sync(pipeline)
    pipeline.source.rows.update(rows)
    rows[7]["name"] = ""
    for part in (Options(after=4), Options(until=8)):
        with pytest.raises(DeletionGuard, match=r"10 of the 10 .*Refused since"):
            sync(pipeline, part)
    assert sync(pipeline, Options(until=5)).unchanged == 6, "what deletes nothing is not refused"
    assert sync(pipeline).deleted == 1, "all rows were compared"
