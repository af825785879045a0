"""Vector indexes that serve the searches they are there for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, Protocol

import pytest

from rowvec.auditing.audit import audit
from rowvec.errors import StoreUnavailable
from rowvec.pipeline import Pipeline
from rowvec.pipeline_status import status
from rowvec.stores.auditor import Drift
from rowvec.stores.index import IndexSpec, IndexStatus
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource
from rowvec.types import Key
from tests.models import Models
from tests.support import rows_of, simple_pipeline

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
        built.append(rows_of(pipeline).index.build(IndexSpec("hnsw")).name)

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


def index_of(pipeline: Pipeline) -> IndexStatus:
    (found,) = rows_of(pipeline).index.status()
    return found


def is_read(pipeline: Pipeline, models: Models) -> bool:
    """Whether a search reads the index."""
    store = store_of(pipeline)
    assert rows_of(pipeline).nearest(models.old.embed_query("row 7"), 5).keys[0] == 7

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
    rows_of(pipeline).index.build(IndexSpec(precision=precision))
    assert is_read(pipeline, models)


def test_another_metric_gets_an_index_of_its_own(opened: Open, few_are_many: None, models: Models) -> None:
    before = opened()
    sync(before)
    assert index_of(before).operators == "cosine_ops"
    pipeline = opened(metric="l2")
    assert rows_of(pipeline).nearest(models.old.embed_query("row 7"), 1).exact, "the index cannot answer"
    assert Drift.INDEX in audit(pipeline, settle=0).findings
    sync(pipeline)
    assert index_of(pipeline).operators == "l2_ops"
    assert not rows_of(pipeline).nearest(models.old.embed_query("row 7"), 1).exact


def test_vectors_that_are_too_long_for_full_precision_are_indexed_at_half(opened: Open) -> None:
    before = opened()
    sync(before)
    rows_of(before).index.build(IndexSpec(precision="vector"))
    longer = opened(HashEmbedder(3072, model="longer"))
    sync(longer)
    assert index_of(longer).precision == "halfvec"


def test_the_index_of_a_new_generation_has_a_name_that_fits(opened: Open, models: Models) -> None:
    """The longest name that a table can have, in letters of two bytes."""
    before = opened(table="я" * 25)
    sync(before)
    rows_of(before).index.build(IndexSpec())
    sync(models.of(models.new, before))
    assert index_of(before).valid


def test_a_build_whose_progress_cannot_be_looked_at_goes_on(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def another() -> Any:
        raise StoreUnavailable("too many connections")

    pipeline = opened()
    sync(pipeline)
    monkeypatch.setattr(store_of(pipeline)._sessions, "another", another)
    rows_of(pipeline).index.build(IndexSpec(), lambda *phase: None)
    assert index_of(pipeline).valid


def test_the_recall_that_tuning_and_audit_tell_is_that_of_the_searches(opened: Open, models: Models) -> None:
    """Counted here by the keys of what searches answer, for every row."""
    many = HashEmbedder(16, model="many")
    source = MemorySource({n: {"name": f"row {n}", "price": 1} for n in range(3000)})
    pipeline = models.of(many, replace(opened(), source=source))
    sync(pipeline)
    index = rows_of(pipeline).index
    assert index is not None
    index.build(IndexSpec("ivfflat", "vector", lists=40))
    tuned = index.tune(0.7, queries=300)
    assert tuned[-1].recall >= 0.7
    (found,) = index.status()
    assert (found.effort, found.recall) == (tuned[-1].effort, tuned[-1].recall)

    def answered(*, exact: bool) -> list[set[Key]]:
        live = rows_of(pipeline)
        vectors = (many.embed_query(f"row {key}") for key in range(0, 3000, 10))
        return [set(live.nearest(vector, 11, exact=exact).keys) - {10 * n} for n, vector in enumerate(vectors)]

    shares = [len(near & all_) / 10 for near, all_ in zip(answered(exact=False), answered(exact=True), strict=True)]
    counted = sum(shares) / len(shares)
    assert counted < 1.0, "so coarse an index does not find all"
    assert tuned[-1].recall == pytest.approx(counted, abs=0.05)
    assert status(pipeline).index == found
    audited = audit(pipeline, sample=3000, settle=0).index
    assert audited is not None
    assert audited.recall == pytest.approx(counted, abs=0.15), "of 30 rows"
