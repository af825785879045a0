"""What is said of a pipeline whose rows have changed since the last sync."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from rowvec.errors import EmbedderError, StoreError
from rowvec.pipeline import Options, Pipeline
from rowvec.pipeline_status import Status, Work, status
from rowvec.pipeline_status.verdict import verdict
from rowvec.pipeline_status.waiting import MOST, NUMBER, Waiting
from rowvec.sources.base import CursorSettings
from rowvec.stores.runs import Report
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from rowvec.types import Embedded
from tests.support import simple_pipeline


def pipeline_of(count: int = 10, *, cursor: str | None = "at", **changes: Any) -> Pipeline:
    source = MemorySource(
        {n: {"name": f"row {n}", "price": n, "at": n * 10} for n in range(1, count + 1)}, cursor=cursor
    )
    return simple_pipeline(source, cursor=CursorSettings(5), **changes)


def rows(pipeline: Pipeline) -> dict[Any, dict[str, Any]]:
    assert isinstance(pipeline.source, MemorySource)
    return pipeline.source.rows


def put(pipeline: Pipeline, key: int, name: str, at: int | None) -> None:
    rows(pipeline)[key] = {"id": key, "name": name, "price": 1, "at": at}


class Uncounted:
    """A source that has a cursor and does not count by it."""

    def __init__(self, rows: dict[Any, dict[str, Any]]) -> None:
        self._source = MemorySource(rows, cursor="at")

    def __getattr__(self, name: str) -> Any:
        if name == "beyond":
            raise AttributeError(name)
        return getattr(self._source, name)


class TestWithACursor:
    def test_after_a_sync_nothing_waits(self) -> None:
        pipeline = pipeline_of()
        sync(pipeline)
        found = status(pipeline)
        assert found.waiting is not None
        assert (found.waiting.rows, found.waiting.by, found.waiting.at_least) == (0, "at", False)
        assert found.verdict.tone == "good"
        assert found.verdict.text.startswith("in step as of the last sync, ")

    @pytest.mark.parametrize(
        ("change", "waits"),
        [
            (lambda p: put(p, 3, "changed", 200), 1),
            (lambda p: [put(p, n, "new", 200 + n) for n in (20, 21, 22)], 3),
            (lambda p: rows(p).pop(4), 1),
            (lambda p: (rows(p).pop(4), put(p, 5, "changed", 300)), 2),
            (lambda p: put(p, 20, "without a value", None), 1),
        ],
    )
    def test_what_changed_is_counted_and_nothing_is_in_step(self, change: Any, waits: int) -> None:
        pipeline = pipeline_of()
        sync(pipeline)
        change(pipeline)
        found = status(pipeline)
        assert found.waiting is not None
        assert found.waiting.rows == waits
        assert found.verdict.tone == "warn"
        assert "in step" not in found.verdict.text
        assert f"{waits} row" in found.verdict.text
        assert found.lag_seconds is not None
        sync(pipeline)
        after = status(pipeline)
        assert after.waiting is not None
        assert (after.waiting.rows, after.verdict.tone, after.lag_seconds) == (0, "good", None)

    @pytest.mark.parametrize("unix", [False, True])
    def test_a_row_stamped_in_the_future_does_not_wait_for_ever(self, unix: bool) -> None:
        now = dt.datetime.now(dt.UTC)
        stamps = [int(each.timestamp()) if unix else each for each in (now, now.replace(day=1, year=2999))]
        source = MemorySource(
            {key: {"name": f"row {key}", "price": 1, "at": at} for key, at in enumerate(stamps)}, cursor="at"
        )
        pipeline = simple_pipeline(source, cursor=CursorSettings(dt.timedelta(minutes=5)))
        sync(pipeline)
        found = status(pipeline)
        assert found.waiting is not None
        assert found.waiting.rows == 0

    def test_the_count_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rowvec.pipeline_status.waiting.MOST", 3)
        assert MOST > 3
        pipeline = pipeline_of()
        sync(pipeline)
        for key in range(1, 11):
            put(pipeline, key, "changed", 500 + key)
        found = status(pipeline)
        assert found.waiting is not None
        assert (found.waiting.rows, found.waiting.at_least) == (3, True)
        assert "at least 3 rows" in found.verdict.text

    def test_a_source_that_cannot_count_keeps_its_cursor(self) -> None:
        made = pipeline_of()
        pipeline = replace(made, source=Uncounted(rows(made)))
        sync(pipeline)
        assert status(pipeline).waiting == Waiting(0, "at", at_least=False)
        for key in (3, 4):
            pipeline.source.rows[key] = {"id": key, "name": "changed", "price": 1, "at": 200}
        assert status(pipeline).waiting == Waiting(1, "at", at_least=True)
        report = sync(pipeline)
        assert (report.incremental, report.embedded) == (True, 2)


class TestWithoutACursor:
    def test_a_changed_row_cannot_be_seen_and_nothing_claims_that_there_is_none(self) -> None:
        pipeline = pipeline_of(cursor=None)
        sync(pipeline)
        put(pipeline, 3, "changed", 1)
        found = status(pipeline)
        assert found.waiting is None
        assert "as of the last sync" in found.verdict.text

    def test_rows_that_came_or_went_are_counted(self) -> None:
        pipeline = pipeline_of(cursor=None)
        sync(pipeline)
        rows(pipeline).pop(1)
        rows(pipeline).pop(2)
        found = status(pipeline)
        assert found.waiting is not None
        assert (found.waiting.rows, found.waiting.by, found.waiting.at_least) == (2, NUMBER, True)
        assert "behind by at least 2 rows" in found.verdict.text

    def test_after_a_part_was_synced_the_number_says_nothing(self) -> None:
        pipeline = pipeline_of(cursor=None)
        sync(pipeline)
        put(pipeline, 30, "new", 1)
        sync(pipeline, Options(limit=20))
        assert status(pipeline).waiting is None

    def test_it_is_of_yesterday_and_grey_after_a_day(self) -> None:
        pipeline = pipeline_of(cursor=None)
        sync(pipeline)
        found = status(pipeline)
        assert found.as_of is not None
        assert verdict(found, found.as_of + dt.timedelta(hours=1)).tone == "good"
        later = verdict(found, found.as_of + dt.timedelta(days=3))
        assert (later.tone, later.text) == ("old", "in step as of the last sync, 3 days ago")


class TestVerdict:
    def test_a_pipeline_that_was_never_synced(self) -> None:
        pipeline = pipeline_of()
        for _ in range(2):
            found = status(pipeline)
            assert (found.verdict.tone, found.verdict.text, found.lag_seconds) == ("warn", "never synced", None)
            pipeline.store.prepare(pipeline.spec)

    def test_failed_rows(self) -> None:
        embedder = HashEmbedder(16)
        embedder.refused = {"row 3"}
        pipeline = pipeline_of(embedder=embedder)
        sync(pipeline)
        assert status(pipeline).verdict.reasons == ("1 row failed",)

    def test_a_sync_that_failed_is_said_with_its_error_and_the_one_before_is_still_the_last(self) -> None:
        pipeline = pipeline_of()
        sync(pipeline)
        before = status(pipeline).as_of
        run = pipeline.store.begin_run("things")
        pipeline.store.save_run(run, Report(), "failed", "The key is wrong.")
        found = status(pipeline)
        assert found.as_of == before
        assert found.verdict.reasons == ("the last sync failed: The key is wrong.",)

    def test_a_first_sync_that_was_stopped(self) -> None:
        pipeline = pipeline_of()
        sync(pipeline, Options(limit=4))
        assert status(pipeline).verdict.reasons == ("no sync of all rows has ended yet: 4 of 10 rows have a vector",)

    def test_another_model_in_the_config(self) -> None:
        store = MemoryStore()
        sync(pipeline_of(store=store))
        found = status(pipeline_of(store=MemoryStore(share=store), embedder=HashEmbedder(16, model="another")))
        assert "the model of the config has changed since the last sync" in found.verdict.reasons

    def test_a_source_without_rows(self) -> None:
        pipeline = pipeline_of(0, cursor=None)
        sync(pipeline)
        assert status(pipeline).verdict.text.startswith("no rows as of the last sync, ")


class TestWork:
    def seen_during(self, pipeline: Pipeline, *, after: int = 1) -> Status:
        """The status as another process finds it while the sync is at work."""
        seen: list[Status] = []

        def look(report: Report) -> None:
            if report.settled >= after and not seen:
                running = pipeline.store.runs(1)[0]
                pipeline.store.save_run(running.id, report, "running")
                seen.append(status(replace(pipeline, store=MemoryStore(share=pipeline.store))))  # type: ignore[arg-type]

        sync(pipeline, progress=look)
        return seen[0]

    def test_it_names_the_phase_the_rows_and_who_holds_the_lock(self) -> None:
        found = self.seen_during(pipeline_of(200))
        work = found.work
        assert work is not None
        assert work.total == 200
        assert 0 < work.rows <= 200
        assert work.phase in ("comparing rows", "embedding", "deleting what is gone")
        assert work.holder is not None
        assert "thread" in work.holder
        assert found.verdict.tone == "busy"
        assert found.verdict.text.startswith(f"syncing: {work.phase}, {work.rows} of 200 rows")

    def test_time_left_follows_from_the_pace(self) -> None:
        now = dt.datetime.now(dt.UTC)
        work = Work(1, now, "embedding", 100, 300, 50.0, 0, 0, 0, 0.0, None, now, None)
        assert (work.seconds_left, work.share) == (4.0, pytest.approx(1 / 3))
        assert replace(work, per_second=0.0).seconds_left is None
        assert replace(work, total=None).share is None

    def test_it_ends_cleanly_when_somebody_asks_it_to_stop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rowvec.syncing.recorder.FIRST_RECORD_SECONDS", 0.0)
        monkeypatch.setattr("rowvec.syncing.recorder.RECORD_SECONDS", 0.0)
        pipeline = pipeline_of(5000, embedder=HashEmbedder(8, seconds=0.01))
        told: list[str] = []

        def look(report: Report) -> None:
            if report.embedded + report.inserted:
                pipeline.store.ask_to_stop(pipeline.store.runs(1)[0].id)

        report = sync(pipeline, progress=look, tell=told.append)
        (run,) = pipeline.store.runs()
        assert run.outcome == "interrupted"
        assert 0 < report.inserted < 5000
        assert "asked this sync to stop" in told[0]
        assert sync(pipeline).unchanged == report.inserted

    def test_a_sync_that_ended_is_no_work(self) -> None:
        pipeline = pipeline_of()
        sync(pipeline)
        found = status(pipeline)
        assert found.work is None
        assert (found.runs[0].report["phase"], found.runs[0].report["per_second"]) == ("", 0.0)

    def test_a_failed_one_has_no_phase_either(self) -> None:
        class Wrong(HashEmbedder):
            def embed(self, texts: Sequence[str]) -> Embedded:
                raise EmbedderError("The key is wrong.")

        pipeline = pipeline_of(embedder=Wrong(16))
        with pytest.raises(EmbedderError):
            sync(pipeline)
        assert status(pipeline).runs[0].report["phase"] == ""


@pytest.mark.parametrize("times", [1, 2])
def test_a_table_that_goes_away_in_the_middle_is_looked_at_again(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    pipeline = pipeline_of()
    sync(pipeline)
    totals, left = pipeline.store.totals, [times]

    def gone() -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise StoreError("relation products_vectors does not exist")
        return totals()

    monkeypatch.setattr(pipeline.store, "totals", gone)
    if times == 1:
        assert status(pipeline).current == 10
    else:
        with pytest.raises(StoreError, match="does not exist"):
            status(pipeline)
