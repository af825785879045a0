"""Rows of several passages where something goes wrong, in both databases: refusals, rows that are not whole, audits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rowvec.auditing.audit import audit
from rowvec.pipeline import Options, Pipeline
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from tests.integration.stores_rig import Open
from tests.integration.test_bad_rows import in_table
from tests.support import rows_of, simple_pipeline
from tests.unit.test_passages_sync import SETTINGS, check_row, cutting, long_text, passages_of, with_passages


def whole(text: str) -> list[str]:
    known = cutting({1: text})
    sync(known)
    return passages_of(known, 1)


def cut(opened: Open, rows: dict[Any, str], embedder: HashEmbedder | None = None, settings: Any = SETTINGS) -> Pipeline:
    return with_passages(simple_pipeline(store=opened(), embedder=embedder, rows=rows), settings)


def findings(pipeline: Pipeline) -> dict[str, Any]:
    found = audit(pipeline, settle=0, sample=0).findings
    return {drift.value: list(each.keys) for drift, each in found.items()}


def test_an_audit_does_not_blame_the_passages_of_a_row_that_is_not_whole(opened: Open) -> None:
    text = long_text("pumps", 4)
    pipeline = cut(opened, {1: text, 2: long_text("lamps")})
    pipeline.embedder.refused = set(whole(text)[1:])
    report = sync(pipeline)
    assert report.failed == 1
    assert len(passages_of(pipeline, 1)) == 1
    assert findings(pipeline) == {}


def test_one_passage_at_most(opened: Open) -> None:
    pipeline = cut(opened, {1: long_text("pumps")}, settings=replace(SETTINGS, max_passages=1))
    sync(pipeline)
    assert findings(pipeline) == {}


def test_a_row_that_the_database_refuses_is_a_failure_that_waits_longer_each_time(opened: Open) -> None:
    rows = {n: long_text(f"pump {n}", 30) for n in range(2)}
    pipeline = cut(opened, {0: "short", 1: "short"}, HashEmbedder(chunk_texts=4, billed=True))
    sync(pipeline)
    refuse(pipeline)
    for n in rows:
        pipeline.source.rows[n]["name"] = rows[n]
    for attempt in (1, 2, 3):
        report = sync(pipeline, Options(retry_failed=attempt > 1))
        (failure,) = rows_of(pipeline).failures()
        assert (report.failed, report.conflicts, failure.attempts) == (1, 0, attempt)
        assert sync(pipeline).waiting == 1
    check_row(pipeline, 0)


def refuse(pipeline: Pipeline) -> None:
    if isinstance(pipeline.store, PostgresStore):
        in_table(pipeline.store, "alter table vectors add check (id <> 1) not valid")
    else:
        in_table(
            pipeline.store,
            "create trigger refuses before update on vectors when new.id = 1 begin select raise(abort, 'refused'); end",
        )
