"""What the tasks of a worker do, without a broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Selection
from rowvec.stores.runs import Report
from rowvec.syncing.run import sync
from rowvec.testing import MemoryStore
from rowvec.types import Document
from rowvec.workers import jobs
from tests.support import rows_of, simple_pipeline


@pytest.mark.parametrize("outcome", ["failed", "interrupted", "running"])
def test_only_a_run_that_did_the_work_answers_what_was_asked_before_it(outcome: str) -> None:
    """One that is still called running, while nobody holds the lock, is that of a process that died."""
    pipeline = simple_pipeline(store=MemoryStore(), rows={1: "one", 2: "two"})
    pipeline.store.prepare(pipeline.spec)
    asked = jobs.newest_run(pipeline)
    pipeline.store.save_run(pipeline.store.begin_run("things"), Report(whole=True), outcome)
    assert jobs.generate_embeddings(pipeline, 100, asked) == {"processed": 2, "failed": 0}
    assert "began after this task was requested" in jobs.generate_embeddings(pipeline, 100, asked)["skipped"]


PARTS = [
    Options(Selection(keys=(1,))),
    Options(limit=1),
    Options(after=3),
    Options(changed=[1]),
    Options(retry_failed=True),
]


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_a_run_of_some_rows_does_not_count_as_the_work_of_all(part: Options) -> None:
    pipeline = simple_pipeline(store=MemoryStore(), rows={number: f"row {number}" for number in range(1, 5)})
    pipeline.store.prepare(pipeline.spec)
    asked = jobs.newest_run(pipeline)
    sync(pipeline, part)
    done = jobs.generate_embeddings(pipeline, 100, asked)
    assert "skipped" not in done
    assert rows_of(pipeline).count() == 4


def test_of_syncs_that_waited_through_a_night_one_is_carried_out() -> None:
    pipeline = simple_pipeline(store=MemoryStore(), rows={1: "one", 2: "two"})
    asked = [jobs.newest_run(pipeline)] * 3
    done = [jobs.sync(pipeline, Options(), after) for after in asked]
    assert [each["processed"] for each in done] == [2, 0, 0]
    assert ["skipped" in each for each in done] == [False, True, True]
    asked = [jobs.newest_run(pipeline)]
    assert "skipped" not in jobs.sync(pipeline, Options(), asked[0]), "the next one is due"


def test_a_batch_that_was_full_does_not_count_as_the_work_of_all() -> None:
    pipeline = simple_pipeline(store=MemoryStore(), rows={1: "one", 2: "two", 3: "three"})
    asked = jobs.newest_run(pipeline)
    assert jobs.generate_embeddings(pipeline, 1, asked) == {"processed": 1, "failed": 0}
    assert jobs.generate_embeddings(pipeline, 1000, asked) == {"processed": 2, "failed": 0}
    assert "skipped" in jobs.generate_embeddings(pipeline, 1000, asked)


def test_what_changed_after_a_run_is_embedded_whatever_the_clocks_say(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = simple_pipeline(store=MemoryStore(), rows={1: "one", 2: "two"})
    sync(pipeline)
    monkeypatch.setattr("time.time", lambda: 0.0)
    asked = jobs.newest_run(pipeline)
    pipeline.source.rows[1] = {"name": "changed"}
    assert "skipped" not in jobs.generate_embeddings(pipeline, 100, asked)


def test_a_row_that_came_while_a_batch_chose_its_rows_is_embedded_by_whoever_asked_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = simple_pipeline(store=MemoryStore(), rows={1: "one", 2: "two"})
    pipeline.store.prepare(pipeline.spec)
    chosen, asked = jobs.documents_to_embed, list[int]()

    def then_a_row_comes(pipeline: Pipeline) -> Iterator[Document]:
        yield from chosen(pipeline)
        pipeline.source.rows[3] = {"name": "three"}
        asked.append(jobs.newest_run(pipeline))

    monkeypatch.setattr(jobs, "documents_to_embed", then_a_row_comes)
    assert jobs.generate_embeddings(pipeline, 100, 0) == {"processed": 2, "failed": 0}
    monkeypatch.setattr(jobs, "documents_to_embed", chosen)
    assert jobs.generate_embeddings(pipeline, 100, asked[0]) == {"processed": 1, "failed": 0}
