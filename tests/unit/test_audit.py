"""What counts as drift, what an audit asks twice, and what a repair refuses."""

from __future__ import annotations

import datetime as dt
import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rowvec.auditing.audit import audit, confirmed, judged_row
from rowvec.auditing.findings import Audit
from rowvec.auditing.repair import repair
from rowvec.errors import DeletionGuard, SourceError, StoreError
from rowvec.pipeline import Options
from rowvec.stores.auditor import Drift, Fault, Seen
from rowvec.stores.write_batch import WriteBatch
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from rowvec.testing.generation import MemoryGeneration
from rowvec.types import Document, Failure, Key, PastFailure, Row, State
from tests.support import digest, rows_of, simple_document, simple_pipeline, vectors_match_rows

NOW = dt.datetime.now(dt.UTC)
EVERY_ROW = 10**9
ROWS: dict[Any, str] = {key: f"thing number {key}" for key in range(1, 41)}


def keys(result: Audit) -> dict[Drift, list[Key]]:
    return {drift: sorted(finding.keys) for drift, finding in result.findings.items()}


def failure(key: Key, text: str) -> Failure:
    return Failure(key, "refused", 1, NOW, NOW, digest(text))


@pytest.mark.parametrize(
    ("changes", "drift"),
    [
        ({}, None),
        ({"text_hash": None}, Drift.MISSING),
        ({"text_hash": None, "failure": PastFailure(digest("text"), 1, NOW)}, None),
        ({"text_hash": None, "failure": PastFailure(digest("older text"), 1, NOW)}, Drift.MISSING),
        ({"text_hash": digest("older")}, Drift.STALE),
        ({"text_hash": digest("older"), "failure": PastFailure(digest("text"), 1, NOW)}, None),
        ({"dimension": 7}, Drift.DIMENSION),
        ({"dimension": 0}, Drift.DIMENSION),
        ({"norm": math.nan}, Drift.NOT_FINITE),
        ({"norm": math.inf}, Drift.NOT_FINITE),
        ({"norm": 0.0}, Drift.NOT_FINITE),
        ({"norm": 1.1}, Drift.NOT_NORMALISED),
        ({"norm": 0.9}, Drift.NOT_NORMALISED),
        ({"norm": 1.001}, None),
        ({"row_hash": b"another"}, Drift.METADATA),
        ({"metadata": False}, Drift.METADATA),
    ],
)
def test_each_kind_of_drift_is_told_from_what_the_store_holds(changes: dict[str, Any], drift: Drift | None) -> None:
    document = Document(1, "text", (1,), digest("text"), digest("1"))
    spec = simple_pipeline(rows=ROWS).spec
    seen = Seen(digest("text"), digest("1"), spec.dimension, 1.0)._replace(**changes)
    assert judged_row(document, seen, spec) is drift


def test_a_model_that_does_not_normalise_may_have_any_length() -> None:
    document = Document(1, "text", (1,), digest("text"), digest("1"))
    spec = simple_pipeline(rows=ROWS).spec
    assert spec.fingerprint is not None
    spec = replace(spec, fingerprint=replace(spec.fingerprint, normalized=False))
    assert judged_row(document, Seen(digest("text"), digest("1"), spec.dimension, 7.5), spec) is None


def test_what_is_in_step_has_no_findings() -> None:
    pipeline = simple_pipeline(rows={**ROWS, 41: "", 42: "thing number 1"})
    sync(pipeline)
    result = audit(pipeline, sample=EVERY_ROW, settle=0)
    assert keys(result) == {}
    assert (result.rows, result.entries) == (42, 41)
    assert result.sample is not None
    assert result.sample.rows == 41
    assert result.sample.lowest == pytest.approx(1.0)


def test_nothing_synced_yet_is_an_error() -> None:
    with pytest.raises(StoreError, match="no vectors yet"):
        audit(simple_pipeline(rows=ROWS))


def test_a_sample_is_as_large_as_asked_for_and_differs_each_time() -> None:
    embedder = HashEmbedder(chunk_texts=5)
    pipeline = simple_pipeline(rows=ROWS, embedder=embedder)
    sync(pipeline)
    chosen = []
    for _ in range(5):
        embedder.texts.clear()
        result = audit(pipeline, sample=8, settle=0)
        assert result.sample is not None
        assert result.sample.rows == len(embedder.texts) == 8
        chosen.append(tuple(embedder.texts))
    assert len(set(chosen)) > 1

    embedder.texts.clear()
    assert audit(pipeline, sample=0, settle=0).sample is None
    assert embedder.texts == []


def test_rows_that_are_gone_or_kept() -> None:
    pipeline = simple_pipeline(rows=ROWS)
    sync(pipeline)
    source = pipeline.source
    assert isinstance(source, MemorySource)
    del source.rows[3]
    rows_of(pipeline).write(WriteBatch(failures=[failure(99, "nothing"), failure(3, "other")]))
    assert keys(audit(pipeline, settle=0)) == {Drift.ORPHANED: [3], Drift.LOST_FAILURE: [99]}
    kept = replace(pipeline, keep_missing=True)
    assert keys(audit(kept, settle=0)) == {Drift.LOST_FAILURE: [99]}

    assert repair(pipeline, audit(pipeline, settle=0)).left == []
    assert rows_of(pipeline).failures() == []
    assert 3 not in rows_of(pipeline).keys(None, 1000)


def test_a_row_whose_text_has_become_empty_loses_its_vector_and_its_failure() -> None:
    pipeline = simple_pipeline(rows=ROWS)
    sync(pipeline)
    source = pipeline.source
    assert isinstance(source, MemorySource)
    source.rows[5]["name"] = ""
    source.rows[50] = {"id": 50, "name": "", "price": 1}
    rows_of(pipeline).write(WriteBatch(failures=[failure(50, "text")]))
    result = audit(pipeline, settle=0)
    assert keys(result) == {Drift.STALE: [5], Drift.LOST_FAILURE: [50]}
    assert repair(pipeline, result).left == []
    assert keys(audit(pipeline, settle=0)) == {}


def test_rows_that_cannot_be_rendered_count_until_they_are_on_record() -> None:
    def strict(row: Row) -> Document:
        if row.key in (7, 70):
            raise SourceError(f"Row {row.key}: no")
        return simple_document(row)

    pipeline = simple_pipeline(rows=ROWS)
    sync(pipeline)
    source = pipeline.source
    assert isinstance(source, MemorySource)
    source.rows[70] = {"id": 70, "name": "x", "price": 1}
    pipeline = replace(pipeline, to_document=strict)
    result = audit(pipeline, settle=0)
    assert keys(result) == {Drift.MISSING: [70], Drift.STALE: [7]}
    repaired = repair(pipeline, result)
    assert (repaired.left, repaired.failed) == ([], 2)
    assert {each.key for each in rows_of(pipeline).failures()} == {7, 70}


def test_a_row_that_changes_while_it_is_looked_at_is_no_finding() -> None:
    """At the first look the row is behind; before the second somebody has changed it once more."""

    class Restless(MemorySource):
        def pages(self, *args: Any, **options: Any) -> Any:
            self.rows[9]["name"] += " again"
            return super().pages(*args, **options)

    source = Restless({key: {"name": name, "price": 1} for key, name in ROWS.items()})
    pipeline = simple_pipeline(source)
    sync(pipeline)
    assert keys(audit(pipeline, settle=0)) == {}


def test_what_is_behind_counts_only_when_it_stays_so() -> None:
    """A sync that comes while the audit waits puts one row right; the other is still behind at the end."""
    store = MemoryStore()
    pipeline = simple_pipeline(rows=ROWS, store=store)
    sync(pipeline)
    source = pipeline.source
    assert isinstance(source, MemorySource)
    source.rows[9]["name"] = "changed"
    looks = 0

    class WatchedRows(MemoryGeneration):
        def keys(self, after: Key | None, limit: int) -> list[Key]:
            nonlocal looks
            looks += 1
            if looks == 2:
                # The rows have been looked at, and all that is left is to wait.
                sync(simple_pipeline(source, MemoryStore(share=store)))
                source.rows[10]["name"] = "changed"
            return super().keys(after, limit)

    class Watched(MemoryStore):
        handle = WatchedRows

    watched = replace(pipeline, store=Watched(share=store))
    assert keys(audit(watched, settle=0)) == {}
    assert keys(audit(watched, settle=0)) == {Drift.STALE: [10]}


def test_a_repair_embeds_just_what_was_found() -> None:
    embedder = HashEmbedder()
    pipeline = simple_pipeline(rows=ROWS, embedder=embedder)
    sync(pipeline)
    source = pipeline.source
    assert isinstance(source, MemorySource)
    rows_of(pipeline).write(WriteBatch(deletes=[1, 2]))
    source.rows[3]["price"] = 5
    embedder.texts.clear()
    repaired = repair(pipeline, audit(pipeline, sample=0, settle=0))
    assert repaired.left == []
    assert sorted(embedder.texts) == [ROWS[1], ROWS[2]]
    assert rows_of(pipeline).metadata([3]) == {3: {"price": 5}}
    vectors_match_rows(pipeline, ROWS)


def test_a_wrong_vector_is_not_repaired_with_itself() -> None:
    """Rows 1 and 2 have the same text: what is wrong in one must not be taken for the other."""
    pipeline = simple_pipeline(rows={**ROWS, 2: ROWS[1]})
    sync(pipeline)
    store = pipeline.store
    assert isinstance(store, MemoryStore)
    store.tables.generations[State.LIVE].records[1].vector = pipeline.embedder.embed_query("another text")
    rows_of(pipeline).write(WriteBatch(deletes=[2]))
    result = audit(pipeline, sample=EVERY_ROW, settle=0)
    assert keys(result) == {Drift.MISSING: [2], Drift.WRONG_VECTOR: [1]}
    repair(pipeline, result)
    vectors_match_rows(pipeline, {**ROWS, 2: ROWS[1]})


def test_metadata_altered_by_hand_costs_no_embedding() -> None:
    embedder = HashEmbedder()
    pipeline = simple_pipeline(rows=ROWS, embedder=embedder)
    sync(pipeline)
    store = pipeline.store
    assert isinstance(store, MemoryStore)
    record = store.tables.generations[State.LIVE].records[8]
    record.document = record.document._replace(metadata=(1000,))
    assert sync(pipeline).written == 0, "a sync goes by the hashes and cannot see it"
    result = audit(pipeline, sample=0, settle=0)
    assert keys(result) == {Drift.METADATA: [8]}
    embedder.texts.clear()
    assert repair(pipeline, result).left == []
    assert embedder.texts == []
    assert rows_of(pipeline).metadata([8]) == {8: {"price": 1}}


def test_a_repair_that_would_delete_more_than_half_stops_before_anything() -> None:
    pipeline = simple_pipeline(rows=ROWS)
    sync(pipeline)
    source = pipeline.source
    assert isinstance(source, MemorySource)
    rows_of(pipeline).write(WriteBatch(deletes=[1]))
    for key in range(2, 30):
        del source.rows[key]
    result = audit(pipeline, settle=0)
    assert {drift: len(found) for drift, found in keys(result).items()} == {Drift.MISSING: 1, Drift.ORPHANED: 28}
    with pytest.raises(DeletionGuard, match="28 of the 39") as refused:
        repair(pipeline, result)
    assert "--allow-delete" in str(refused.value.hint)
    assert rows_of(pipeline).vector(1) is None
    assert repair(pipeline, result, allow_delete=True).left == []
    assert keys(audit(pipeline, settle=0)) == {}


def test_a_repair_deletes_what_has_no_text_any_more_only_where_that_is_allowed() -> None:
    pipeline = simple_pipeline(rows=ROWS)
    sync(pipeline)
    for key in range(1, 31):
        pipeline.source.rows[key]["name"] = ""
    result = audit(pipeline, settle=0)
    with pytest.raises(DeletionGuard, match="30 of the 40 rows in memory have no text any more"):
        repair(pipeline, result)
    assert repair(pipeline, result, allow_delete=True).left == []
    assert rows_of(pipeline).count() == 10


def test_vectors_of_another_model_are_compared_by_their_texts_and_left_alone() -> None:
    store = MemoryStore()
    pipeline = simple_pipeline(rows=ROWS, store=store, embedder=HashEmbedder(8))
    sync(pipeline)
    rows_of(pipeline).write(WriteBatch(deletes=[4]))
    other = simple_pipeline(pipeline.source, store, HashEmbedder(16, model="newer"))
    result = audit(other, sample=EVERY_ROW, settle=0)
    assert keys(result) == {Drift.MISSING: [4]}
    assert result.sample is None
    assert any("another model" in note for note in result.notes)
    sync(other, Options(limit=5))
    assert keys(audit(other, sample=0, settle=0)) == {Drift.MISSING: [4]}, "what is being built is not what is audited"
    with pytest.raises(StoreError, match="another model"):
        repair(other, result)
    assert repair(pipeline, audit(pipeline, settle=0)).left == []


def test_a_rollback_between_audit_and_repair_is_left_as_it_was_decided() -> None:
    store = MemoryStore()
    sync(simple_pipeline(rows=ROWS, store=store, embedder=HashEmbedder(8)))
    pipeline = simple_pipeline(rows=ROWS, store=store, embedder=HashEmbedder(16, model="newer"))
    sync(pipeline)
    rows_of(pipeline).write(WriteBatch(deletes=[4]))
    result = audit(pipeline, settle=0)
    store.rollback(pipeline.spec)
    with pytest.raises(StoreError, match="Another generation of memory went live since the audit"):
        repair(pipeline, result)
    assert {each.state: each.undone for each in store.generations(pipeline.spec)} == {
        State.LIVE: False, State.PREVIOUS: True,
    }  # fmt: skip


def test_a_repair_that_is_stopped_does_not_say_that_all_is_well() -> None:
    pipeline = simple_pipeline(rows=ROWS)
    sync(pipeline)
    rows_of(pipeline).write(WriteBatch(deletes=[4]))
    result = audit(pipeline, settle=0)
    stop = threading.Event()
    stop.set()
    assert [finding.drift for finding in repair(pipeline, result, stop=stop).left] == [Drift.MISSING]
    assert rows_of(pipeline).vector(4) is None


def test_a_text_that_the_model_refuses_now_is_no_wrong_vector() -> None:
    embedder = HashEmbedder()
    pipeline = simple_pipeline(rows=ROWS, embedder=embedder)
    sync(pipeline)
    embedder.refused = {ROWS[6]}
    result = audit(pipeline, sample=EVERY_ROW, settle=0)
    assert keys(result) == {}
    assert result.sample is not None
    assert (result.sample.rows, result.sample.failed) == (len(ROWS) - 1, 1)


def test_an_audit_that_is_stopped_says_so() -> None:
    pipeline = simple_pipeline(rows=ROWS, page_size=10)
    sync(pipeline)
    stop = threading.Event()
    result = audit(pipeline, settle=60, stop=stop, progress=lambda phase, done, total: stop.set())
    assert result.interrupted
    assert result.rows == 10


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        ([Fault(Drift.NO_WORDS, 2, [1, 2])], [Fault(Drift.NO_WORDS, 2, [2, 3])], [Fault(Drift.NO_WORDS, 1, [2])]),
        ([Fault(Drift.NO_WORDS, 1, [1])], [Fault(Drift.NO_WORDS, 1, [3])], []),
        ([Fault(Drift.INDEX, 1, detail="x")], [Fault(Drift.INDEX, 1, detail="x")], [Fault(Drift.INDEX, 1, [], "x")]),
        ([Fault(Drift.INDEX, 1)], [], []),
        ([], [Fault(Drift.INDEX, 1)], []),
    ],
)
def test_a_fault_is_what_was_there_both_times(
    before: Sequence[Fault], after: Sequence[Fault], left: Sequence[Fault]
) -> None:
    assert confirmed(before, after) == left


def test_a_vector_with_nan_or_of_another_length_is_told_by_the_memory_store_too() -> None:
    pipeline = simple_pipeline(rows=ROWS)
    sync(pipeline)
    store = pipeline.store
    assert isinstance(store, MemoryStore)
    store.tables.generations[State.LIVE].records[1].vector[0] = np.nan
    store.tables.generations[State.LIVE].records[2].vector = np.ones(3, np.float32)
    result = audit(pipeline, sample=EVERY_ROW, settle=0)
    assert keys(result) == {Drift.DIMENSION: [2], Drift.NOT_FINITE: [1]}
    assert repair(pipeline, result).left == []
