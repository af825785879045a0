"""Searches by an index of rows many of which have the same text (pgvector#837)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from rowvec.auditing.audit import audit
from rowvec.auditing.repair import repair
from rowvec.filters import parse
from rowvec.pipeline import Pipeline
from rowvec.stores.auditor import Drift
from rowvec.stores.base import GenerationHandle
from rowvec.stores.index import IndexSpec
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index import index as vector_index
from rowvec.stores.postgres.vector_index import repeated
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource
from tests.support import rows_of, simple_document, simple_pipeline

ROWS = 4000
MODEL = HashEmbedder(24, model="many")


def rows(share: float, texts: int = 1) -> dict[Any, dict[str, Any]]:
    """The first `share` of them have one of a few texts; the price of a row is its number modulo 10."""
    many = int(ROWS * share)
    return {n: {"name": f"shared {n % texts}" if n < many else f"single {n}", "price": n % 10} for n in range(ROWS)}


def pipeline_of(store: Any, share: float, texts: int = 1) -> Pipeline:
    return simple_pipeline(MemorySource(rows(share, texts)), store, MODEL)


@pytest.fixture(params=["postgres", "libsql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "libsql":
        made: Any = LibsqlStore(str(tmp_path / "v.db"), table="things")
    else:
        made = PostgresStore(request.getfixturevalue("postgres_url"), "things", pipeline="things")
    with closing(made):
        yield made


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(postgres_url, "things", pipeline="things")) as made:
        yield made


def singles(share: float, count: int = 120) -> list[int]:
    many = int(ROWS * share)
    return list(range(many, ROWS, max(1, (ROWS - many) // count)))


def top_one(live: GenerationHandle, keys: list[int]) -> float:
    found = [live.nearest(MODEL.embed_query(f"single {key}"), 10) for key in keys]
    assert not any(each.exact for each in found), "answered by the index"
    return sum(each.keys[0] == key for each, key in zip(found, keys, strict=True)) / len(keys)


@pytest.mark.parametrize(("share", "texts"), [(0.0, 1), (0.5, 1), (0.8, 1), (0.5, 10), (0.8, 40)])
def test_single_rows_are_found_among_many_with_the_same_text(store: Any, share: float, texts: int) -> None:
    pipeline = pipeline_of(store, share, texts)
    sync(pipeline)
    live = rows_of(pipeline)
    assert live.index is not None
    live.index.build()
    assert top_one(live, singles(share)) >= 0.99
    if share:
        found = live.nearest(MODEL.embed_query("shared 0"), 30)
        assert found.scores == pytest.approx([1.0] * 30, abs=1e-3)
        assert found.complete


def test_the_answer_is_that_of_an_exact_search_with_a_filter_too(
    postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowvec.stores.postgres.vector_index.nearest.MOST_EXACT_ROWS", 0)
    pipeline = pipeline_of(postgres, 0.8, 3)
    sync(pipeline)
    live = rows_of(pipeline)
    assert live.index is not None
    live.index.build()
    postgres._write(lambda c: c.execute("analyze things"))
    random = np.random.default_rng(0)
    for condition in (None, "price < 9"):
        where = parse(condition) if condition else None
        for text in ("shared 1", "single 3500", "single 3999"):
            vector = MODEL.embed_query(text) + 0.05 * random.standard_normal(24).astype(np.float32)
            near, exact = live.nearest(vector, 20, where), live.nearest(vector, 20, where, exact=True)
            assert not near.exact
            assert near.scores == pytest.approx(exact.scores, abs=1e-5)
            assert len(set(near.keys)) == 20


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("storage", ["vector", "halfvec"])
def test_a_shared_text_has_its_place_among_the_others_by_every_metric(
    postgres_url: str, metric: str, storage: str
) -> None:
    with closing(PostgresStore(postgres_url, "m", pipeline="things", metric=metric, storage=storage)) as store:
        pipeline = pipeline_of(store, 0.5)
        sync(pipeline)
        live = rows_of(pipeline)
        assert live.index is not None
        live.index.build()
        vector = MODEL.embed_query("shared 0") + MODEL.embed_query("single 3000")
        near, exact = live.nearest(vector, 10), live.nearest(vector, 10, exact=True)
        assert (near.exact, exact.exact) == (False, True)
        assert near.scores == pytest.approx(exact.scores, abs=1e-3)


def test_vectors_in_a_table_of_the_users_own(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create extension if not exists vector")
        connection.execute("create table products (id bigint primary key, name text, price integer)")
        with connection.cursor().copy("copy products from stdin") as copy:
            for key, row in rows(0.5).items():
                copy.write_row((key, row["name"], row["price"]))
    with closing(PostgresStore(postgres_url, "products", pipeline="things", column="embedding")) as store:
        pipeline = pipeline_of(store, 0.5)
        spec = replace(pipeline.spec, language=None)
        pipeline = replace(pipeline, spec=spec, to_document=lambda row: simple_document(row)._replace(metadata=()))
        store.apply(spec)
        sync(pipeline)
        live = rows_of(pipeline)
        assert live.index is not None
        live.index.build()
        assert top_one(live, singles(0.5)) >= 0.99
        assert live.nearest(MODEL.embed_query("shared 0"), 30).scores == pytest.approx([1.0] * 30, abs=1e-3)


def test_an_index_of_the_users_own_with_a_condition_is_not_taken_for_one_of_all_rows(postgres: PostgresStore) -> None:
    pipeline = pipeline_of(postgres, 0.0)
    sync(pipeline)
    live = rows_of(pipeline)
    postgres._write(
        lambda c: c.execute(
            "create index partial on things using hnsw ((embedding::halfvec(24)) halfvec_cosine_ops) where price > 5"
        )
    )
    assert live.nearest(MODEL.embed_query("single 7"), 1).exact


def test_tuning_asks_for_texts_that_differ(postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """By rows chosen by chance, four fifths of the queries would be the same one."""
    monkeypatch.setattr(repeated, "COPIES", 10**6)
    pipeline = pipeline_of(postgres, 0.8)
    sync(pipeline)
    index = rows_of(pipeline).index
    assert index is not None
    index.build(IndexSpec("hnsw", "vector"))
    worst = index.tune(0.98)[0].recall
    keys = singles(0.8, 200)
    near = [rows_of(pipeline).nearest(MODEL.embed_query(f"single {key}"), 11) for key in keys]
    exact = [rows_of(pipeline).nearest(MODEL.embed_query(f"single {key}"), 11, exact=True) for key in keys]
    shares = [sum(s >= e.scores[-1] - 1e-5 for s in n.scores) / 11 for n, e in zip(near, exact, strict=True)]
    assert worst < 0.97 and np.mean(shares) < 0.97, "the defect is there, and tuning sees it"


def test_a_text_that_becomes_common_later_is_left_out_by_the_next_sync(
    postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowvec.stores.postgres.vector_index.indexes.AUTO_ROWS", 1000)
    pipeline = pipeline_of(postgres, 0.0)
    sync(pipeline)
    index = rows_of(pipeline).index
    assert index is not None
    (before,) = index.status()
    assert repeated.hashes_of(before.definition) == []
    index.tune(0.9)
    pipeline = pipeline_of(postgres, 0.5)
    sync(pipeline)
    (after,) = index.status()
    assert len(repeated.hashes_of(after.definition)) == 1
    assert after.effort is not None, "what tuning chose is kept"
    assert top_one(rows_of(pipeline), singles(0.5)) >= 0.99
    sync(pipeline)
    (again,) = index.status()
    assert again.name == after.name, "it is not built again for nothing"


def test_a_repair_says_when_rows_are_still_not_found(postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new index has the same defect here."""
    monkeypatch.setattr(repeated, "COPIES", 10**6)
    pipeline = pipeline_of(postgres, 0.8)
    sync(pipeline)
    live = rows_of(pipeline)
    assert live.index is not None
    live.index.build()
    found = audit(pipeline, sample=ROWS, settle=0)
    assert found.index is not None and found.index.queries == 30
    assert Drift.INDEX in found.findings
    left = repair(pipeline, found).left
    assert [finding.drift for finding in left] == [Drift.INDEX]
    monkeypatch.undo()
    assert repair(pipeline, found).left == []


def test_a_long_list_of_texts_still_lets_the_planner_use_the_index(
    postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated, "COPIES", 0)
    pipeline = pipeline_of(postgres, 0.5, 250)
    sync(pipeline)
    live = rows_of(pipeline)
    assert live.index is not None
    monkeypatch.setattr(repeated, "least_copies", lambda m: 4)
    status = live.index.build()
    assert len(repeated.hashes_of(status.definition)) == 250
    assert vector_index.spec_of(status) == IndexSpec()
    assert top_one(live, singles(0.5)) >= 0.99
