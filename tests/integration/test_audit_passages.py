"""Rows whose own vector is not the mean of their passages, and passages with a wrong vector, in both databases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rowvec.auditing.audit import audit
from rowvec.auditing.repair import repair
from rowvec.pipeline import Pipeline
from rowvec.stores.auditor import Drift
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.types import Vector
from tests.integration.stores_rig import Open
from tests.integration.test_bad_rows import in_table
from tests.integration.test_passages_faults import cut
from tests.support import rows_of
from tests.unit.test_passages_sync import check_row, long_text, passages_of


@pytest.fixture
def pipeline(opened: Open) -> Pipeline:
    """Row 1 and row 2 are of several passages, row 3 of one."""
    made = cut(opened, {1: long_text("pumps"), 2: long_text("lamps", 5), 3: "short"})
    sync(made)
    return made


def found(pipeline: Pipeline, sample: int = 0) -> dict[Drift, list[Any]]:
    return {drift: list(each.keys) for drift, each in audit(pipeline, settle=0, sample=sample).findings.items()}


def literal(pipeline: Pipeline, vector: Vector) -> str:
    if isinstance(pipeline.store, PostgresStore):
        return f"'{np.asarray(vector).tolist()}'"
    return f"x'{np.asarray(vector, '<f4').tobytes().hex()}'"


def passage_table(pipeline: Pipeline) -> tuple[str, str]:
    """And its condition for row 1."""
    if isinstance(pipeline.store, PostgresStore):
        return "vectors__passages", "key = 1"
    return "rowvec_passages_vectors_1", '"row" = 1'


def damage_row(pipeline: Pipeline, vector: Vector) -> None:
    in_table(pipeline.store, f"update vectors set embedding = {literal(pipeline, vector)} where id = 1")


def damage_passage(pipeline: Pipeline, vector: Vector) -> None:
    table, condition = passage_table(pipeline)
    in_table(pipeline.store, f"update {table} set embedding = {literal(pipeline, vector)} where {condition} and n = 1")


@pytest.mark.parametrize("sample", [0, 100])
def test_a_row_whose_vector_is_not_the_mean_of_its_passages_is_averaged_again(pipeline: Pipeline, sample: int) -> None:
    assert found(pipeline) == {}
    right = rows_of(pipeline).vector(1)
    assert right is not None
    texts = [pipeline.embedder.embed_query(text) for text in passages_of(pipeline, 1)]
    without_one = np.mean(texts[1:], axis=0)
    damage_row(pipeline, (without_one / np.linalg.norm(without_one)).astype(np.float32))
    seen = audit(pipeline, settle=0, sample=sample)
    assert {drift: list(each.keys) for drift, each in seen.findings.items()} == {Drift.MEAN: [1]}
    sent = len(pipeline.embedder.texts)
    done = repair(pipeline, seen)
    assert (done.left, done.total.texts, len(pipeline.embedder.texts)) == ([], 0, sent)
    again = rows_of(pipeline).vector(1)
    assert again is not None
    np.testing.assert_allclose(again, right, atol=1e-6)
    check_row(pipeline, 1)
    assert found(pipeline) == {}


def test_the_length_of_a_vector_is_not_judged_by_the_passages(pipeline: Pipeline) -> None:
    held = rows_of(pipeline).vector(1)
    assert held is not None
    damage_row(pipeline, 0.5 * held)
    assert found(pipeline) == {Drift.NOT_NORMALISED: [1]}


def test_a_damaged_passage_is_named_once(pipeline: Pipeline) -> None:
    damage_passage(pipeline, np.zeros(8, np.float32))
    assert found(pipeline) == {Drift.PASSAGES: [1]}
    assert repair(pipeline, audit(pipeline, settle=0, sample=0)).left == []
    check_row(pipeline, 1)


def test_a_passage_with_the_vector_of_another_text_is_embedded_again(pipeline: Pipeline) -> None:
    damage_passage(pipeline, pipeline.embedder.embed_query("something else"))
    seen = audit(pipeline, settle=0, sample=100)
    assert {drift: list(each.keys) for drift, each in seen.findings.items()} == {Drift.WRONG_VECTOR: [1]}
    assert repair(pipeline, seen).left == []
    check_row(pipeline, 1)
    assert found(pipeline, sample=100) == {}


def test_the_last_passage_of_a_row_that_is_lost_is_embedded_again(pipeline: Pipeline) -> None:
    texts = passages_of(pipeline, 1)
    table, condition = passage_table(pipeline)
    in_table(pipeline.store, f"delete from {table} where {condition} and n = {len(texts) - 1}")
    seen = audit(pipeline, settle=0, sample=0)
    assert {drift: list(each.keys) for drift, each in seen.findings.items()} == {Drift.MEAN: [1]}
    done = repair(pipeline, seen)
    assert (done.left, done.total.texts) == ([], 1)
    assert passages_of(pipeline, 1) == texts


def test_rows_of_an_older_rowvec_are_not_judged_by_weights_that_nobody_knows(pipeline: Pipeline) -> None:
    in_table(pipeline.store, f"alter table {passage_table(pipeline)[0]} drop column tokens")
    assert found(pipeline) == {}
    pipeline.source.rows[2]["name"] = long_text("chairs", 5)
    sync(pipeline)
    damage_row(pipeline, pipeline.embedder.embed_query("something else"))
    assert found(pipeline) == {}
    check_row(pipeline, 2)
