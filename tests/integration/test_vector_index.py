"""Vector indexes that serve the searches they are there for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any, Protocol

import pytest

from rowvec.auditing.audit import audit
from rowvec.errors import StoreError, StoreUnavailable
from rowvec.pipeline import Pipeline
from rowvec.stores.auditor import Drift
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index.index import IndexInfo, IndexSpec
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from tests.models import Models
from tests.support import simple_pipeline

ROWS = {n: f"row {n}" for n in range(60)}


class Open(Protocol):
    def __call__(
        self, embedder: HashEmbedder | None = None, table: str = "shop.things", **settings: Any
    ) -> Pipeline: ...


@pytest.fixture
def opened(postgres_url: str, models: Models) -> Iterator[Open]:
    with ExitStack() as stores:

        def opener(embedder: HashEmbedder | None = None, table: str = "shop.things", **settings: Any) -> Pipeline:
            store = PostgresStore(postgres_url, table, pipeline="things", **settings)
            stores.enter_context(closing(store))
            return models.of(embedder or models.old, simple_pipeline(rows=ROWS, store=store))

        yield opener


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("vector_index.indexes", "audit"):
        monkeypatch.setattr(f"rowvec.stores.postgres.{module}.AUTO_ROWS", len(ROWS))


def test_builds_at_the_same_time_come_one_after_the_other(opened: Open) -> None:
    pipelines = [opened(), opened(), opened()]
    sync(pipelines[0])
    built: list[str] = []

    def build(pipeline: Pipeline) -> None:
        store = store_of(pipeline)
        store.attach(pipeline.spec)
        built.append(store.indexes.build(IndexSpec("hnsw")).name)

    threads = [threading.Thread(target=build, args=[pipeline]) for pipeline in pipelines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 3
    assert index_of(pipelines[0]).name == built[-1]
    assert index_of(pipelines[0]).valid


def store_of(pipeline: Pipeline) -> PostgresStore:
    assert isinstance(pipeline.store, PostgresStore)
    return pipeline.store


def index_of(pipeline: Pipeline) -> IndexInfo:
    (found,) = store_of(pipeline).indexes.find()
    return found


def is_read(pipeline: Pipeline, models: Models) -> bool:
    """Whether a search reads the index."""
    store = store_of(pipeline)
    assert store.nearest(models.old.embed_query("row 7"), 5).keys[0] == 7

    def scans(connection: Any) -> int:
        counted = "select idx_scan from pg_stat_user_indexes where indexrelname = %s"
        return int(connection.execute(counted, [name]).fetchone()[0])

    name = index_of(pipeline).name
    store._read(lambda connection: connection.execute("select pg_stat_force_next_flush()"))
    return store._read(scans) > 0


@pytest.mark.parametrize(
    ("table", "storage", "precision"),
    [
        ("shop.things", "vector", "halfvec"),
        ("shop.halfvec_things", "vector", "vector"),
        ("shop.things", "halfvec", "vector"),
    ],
)
def test_an_index_is_read_by_searches(opened: Open, models: Models, table: str, storage: str, precision: Any) -> None:
    pipeline = opened(table=table, storage=storage)
    sync(pipeline)
    store_of(pipeline).indexes.build(IndexSpec(precision=precision))
    assert is_read(pipeline, models)


def test_another_metric_gets_an_index_of_its_own(opened: Open, few_are_many: None, models: Models) -> None:
    before = opened()
    sync(before)
    assert index_of(before).operators == "cosine_ops"
    pipeline = opened(metric="l2")
    store_of(pipeline).attach(pipeline.spec)
    assert store_of(pipeline).nearest(models.old.embed_query("row 7"), 1).exact, "the index cannot answer"
    assert Drift.INDEX in audit(pipeline, settle=0).findings
    sync(pipeline)
    assert index_of(pipeline).operators == "l2_ops"
    assert not store_of(pipeline).nearest(models.old.embed_query("row 7"), 1).exact


def test_vectors_that_are_too_long_for_an_index_are_compared_one_by_one(opened: Open, few_are_many: None) -> None:
    pipeline = opened(HashEmbedder(4096, model="long"))
    for _ in range(2):
        sync(pipeline)
        assert store_of(pipeline).indexes.find() == []
    assert not audit(pipeline, settle=0).findings
    with pytest.raises(StoreError, match="4,096 dimensions; pgvector indexes 4,000 at most"):
        store_of(pipeline).indexes.build(IndexSpec())


def test_vectors_that_are_too_long_for_full_precision_are_indexed_at_half(opened: Open) -> None:
    before = opened()
    sync(before)
    store_of(before).indexes.build(IndexSpec(precision="vector"))
    longer = opened(HashEmbedder(3072, model="longer"))
    sync(longer)
    assert index_of(longer).precision == "halfvec"


def test_the_index_of_a_new_generation_has_a_name_that_fits(opened: Open, models: Models) -> None:
    """The longest name that a table can have, in letters of two bytes."""
    before = opened(table="я" * 25)
    sync(before)
    store_of(before).indexes.build(IndexSpec())
    sync(models.of(models.new, before))
    assert index_of(before).valid


def test_a_build_whose_progress_cannot_be_looked_at_goes_on(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def another() -> Any:
        raise StoreUnavailable("too many connections")

    pipeline = opened()
    sync(pipeline)
    monkeypatch.setattr(store_of(pipeline)._sessions, "another", another)
    store_of(pipeline).indexes.build(IndexSpec(), lambda *phase: None)
    assert index_of(pipeline).valid
