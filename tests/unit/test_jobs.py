"""What the tasks of a worker do, without a broker."""

from __future__ import annotations

import time

import pytest

from rowvec.testing import MemoryStore
from rowvec.types import Report
from rowvec.workers import jobs
from tests.support import simple_pipeline


@pytest.mark.parametrize("outcome", ["failed", "interrupted", "running"])
def test_only_a_run_that_did_the_work_answers_what_was_asked_before_it(outcome: str) -> None:
    """One that is still called running, while nobody holds the lock, is that of a process that died."""
    pipeline, asked_at = simple_pipeline(store=MemoryStore(), rows={1: "one", 2: "two"}), time.time() - 60
    pipeline.store.prepare(pipeline.spec)
    pipeline.store.save_run(pipeline.store.begin_run(), Report(), outcome)
    assert jobs.generate_embeddings(pipeline, 100, asked_at) == {"processed": 2, "failed": 0}
    assert "began after this was asked for" in jobs.generate_embeddings(pipeline, 100, asked_at)["skipped"]
