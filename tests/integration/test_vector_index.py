"""Vector indexes that serve the searches they are there for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import psycopg
import pytest
from psycopg import sql

from rowvec.auditing.audit import audit
from rowvec.errors import StoreUnavailable
from rowvec.filters import bind, parse
from rowvec.pipeline import Pipeline
from rowvec.pipeline_status import status
from rowvec.stores.abilities import ComparesMany
from rowvec.stores.auditor import Drift
from rowvec.stores.index import IndexSpec, IndexStatus, VectorIndex
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index import exhaustive
from rowvec.stores.postgres.vector_index.index import graph_bytes
from rowvec.stores.postgres.vector_index.indexes import Indexes
from rowvec.stores.postgres.vector_index.nearest import VectorTable, exact_rows
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource
from rowvec.types import Key
from tests.models import Models
from tests.support import count_statistics, rows_of, simple_pipeline

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


def many_rows(opened: Open, models: Models, embedder: HashEmbedder) -> tuple[Pipeline, VectorIndex]:
    """A table of 3,000 rows, with an index that misses some of the nearest."""
    source = MemorySource({n: {"name": f"row {n}", "price": 1} for n in range(3000)})
    pipeline = models.of(embedder, replace(opened(), source=source))
    sync(pipeline)
    index = rows_of(pipeline).index
    assert index is not None
    index.build(IndexSpec("ivfflat", "vector", lists=40))
    return pipeline, index


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("vector_index.indexes", "audit"):
        monkeypatch.setattr(f"rowvec.stores.postgres.{module}.AUTO_ROWS", len(ROWS))


def test_tuning_by_queries_tells_the_recall_of_their_searches(opened: Open, models: Models) -> None:
    many = HashEmbedder(16, model="many")
    pipeline, index = many_rows(opened, models, many)
    asked = np.stack([many.embed_query(f"asked {n}") for n in range(200)])
    tuned = index.tune(0.7, asked)
    live = rows_of(pipeline)

    def answered(*, exact: bool) -> list[set[Key]]:
        return [set(live.nearest(vector, 10, exact=exact).keys) for vector in asked]

    shares = [len(near & all_) / 10 for near, all_ in zip(answered(exact=False), answered(exact=True), strict=True)]
    assert 0.7 <= tuned[-1].recall < 1.0
    assert tuned[-1].recall == pytest.approx(sum(shares) / len(shares))


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("storage", ["vector", "halfvec"])
def test_exact_answers_of_many_queries_are_those_of_each(
    opened: Open, models: Models, monkeypatch: pytest.MonkeyPatch, metric: str, storage: str
) -> None:
    monkeypatch.setattr(exhaustive, "PAGE_BYTES", 1)  # A page of 100 rows.
    many = HashEmbedder(16, model="many")
    source = MemorySource({n: {"name": f"row {n % 390}", "price": 1} for n in range(400)})
    pipeline = models.of(many, replace(opened(metric=metric, storage=storage), source=source))
    sync(pipeline)
    live = rows_of(pipeline)
    index = live.index
    assert isinstance(index, Indexes)
    asked = np.stack([3 * many.embed_query(f"asked {n}") for n in range(7)])
    found = index._sessions.write(lambda c: exhaustive.exact(c, index.table, asked, 12, lambda *_: None))
    for vector, ranked in zip(asked, found, strict=True):
        alone = live.nearest(vector, 12, exact=True)
        assert ranked.scores == pytest.approx(alone.scores)
        assert list(ranked.keys) == list(alone.keys)


@pytest.mark.parametrize("kind", ["hnsw", "ivfflat"])
def test_the_progress_of_a_build_never_passes_its_total(opened: Open, models: Models, kind: Any) -> None:
    many = HashEmbedder(200, model="many")
    source = MemorySource({n: {"name": f"row {n}", "price": 1} for n in range(4000)})
    pipeline = models.of(many, replace(opened(), source=source))
    sync(pipeline)
    index = rows_of(pipeline).index
    assert index is not None
    told: list[tuple[str, int, int]] = []
    index.build(IndexSpec(kind, "vector", m=64, ef_construction=400), lambda *told_now: told.append(told_now))
    assert kind == "ivfflat" or any(total for _, _, total in told), "HNSW takes seconds"
    assert all(done <= total for _, done, total in told if total)


def test_a_filter_that_some_thousand_rows_pass_is_answered_exactly(opened: Open, models: Models) -> None:
    many = HashEmbedder(8, model="many")
    source = MemorySource({n: {"name": f"row {n}", "price": n % 12} for n in range(12_000)})
    pipeline = models.of(many, replace(opened(), source=source))
    sync(pipeline)
    live = rows_of(pipeline)
    assert live.index is not None
    assert [each.kind for each in live.index.status()] == ["hnsw"]
    price = [column for column in pipeline.spec.metadata if column.name == "price"]
    exact = [live.nearest(many.embed_query("asked"), 10, bind(parse(f"price < {n}"), price)).exact for n in (4, 9, 12)]
    assert exact == [True, True, False]


@pytest.mark.parametrize(
    ("dimension", "storage", "rows"),
    [
        (8, "vector", 10_000),
        (384, "halfvec", 10_000),
        (384, "vector", 5_461),
        (1536, "halfvec", 2_730),
        (1536, "vector", 2_500),
    ],
)
def test_fewer_rows_are_compared_one_by_one_the_longer_their_vectors_are(
    dimension: int, storage: str, rows: int
) -> None:
    names = Names("public", "things")
    assert exact_rows(VectorTable(names, sql.Identifier("id"), "cosine", storage, dimension)) == rows


@pytest.mark.parametrize(
    ("precision", "column", "m"),
    [
        ("halfvec", "v::halfvec(96) halfvec_l2_ops", 16),
        ("vector", "v vector_l2_ops", 32),
        ("bit", "binary_quantize(v)::bit(96) bit_hamming_ops", 8),
    ],
)
def test_a_graph_fits_into_the_memory_that_is_asked_for_it(
    postgres_url: str, precision: str, column: str, m: int
) -> None:
    expression, operators = column.rsplit(" ", 1)
    rows = 5_000
    needed = rows * graph_bytes(precision, 96, m)
    notes: list[str] = []
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.add_notice_handler(lambda said: notes.append(said.message_primary or ""))
        connection.execute("create extension if not exists vector")
        connection.execute("create temp table t (v vector(96))")
        connection.execute("set max_parallel_maintenance_workers = 0")
        vectors = "select array_agg(random() - 0.5)::vector from generate_series(0, 96 * %s - 1) n group by n / 96"
        connection.execute(f"insert into t {vectors}".encode(), [rows])
        # It is taken in blocks of a megabyte.
        for given in (needed + 2**20, 0.85 * needed):
            connection.execute(f"set maintenance_work_mem = '{round(given / 1024)}kB'".encode())
            connection.execute(f"create index on t using hnsw (({expression}) {operators}) with (m = {m})".encode())
            notes.append("built")
    assert notes[0] == "built"
    assert "no longer fits" in notes[1]


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
    store._read(count_statistics)
    return store._read(scans) > 0


@pytest.mark.parametrize(
    ("table", "storage", "precision"),
    [
        ("shop.things", "vector", "halfvec"),
        ("shop.halfvec_things", "vector", "vector"),
        ("shop.things", "halfvec", "vector"),
    ],
)
def test_an_index_is_read_by_searches(
    opened: Open, models: Models, postgres_url: str, table: str, storage: str, precision: Any
) -> None:
    if storage == "halfvec":
        needs_short_vectors(postgres_url)
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


def needs_short_vectors(url: str) -> None:
    """Skips where the server's pgvector is older than halfvec."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create extension if not exists vector")
        if connection.execute("select to_regtype('halfvec')").fetchone() == (None,):
            pytest.skip("the server's pgvector has no halfvec")


def test_vectors_that_are_too_long_for_full_precision_are_indexed_at_half(opened: Open, postgres_url: str) -> None:
    needs_short_vectors(postgres_url)
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
    pipeline, index = many_rows(opened, models, many)
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


def test_one_reading_finds_what_each_exact_search_finds(opened: Open) -> None:
    pipeline = opened()
    sync(pipeline)
    live = rows_of(pipeline)
    assert isinstance(live, ComparesMany)
    vectors = np.stack([vector for _, vector in live.vectors(None, 20)])
    found = live.compared(vectors, 5)
    for vector, one in zip(vectors, found, strict=True):
        best = live.nearest(vector, 5, exact=True)
        assert one.keys == best.keys
        assert one.scores == pytest.approx(best.scores, abs=1e-6)


@pytest.mark.usefixtures("few_are_many")
def test_an_audit_reads_the_table_once_for_all_exact_answers(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = opened()
    sync(pipeline)
    live, asked = type(rows_of(pipeline)), []
    nearest = live.nearest

    def told(self: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(options)
        return nearest(self, *arguments, **options)

    monkeypatch.setattr(live, "nearest", told)
    phases: list[str] = []
    found = audit(pipeline, settle=0, progress=lambda phase, done, total: phases.append(phase))
    assert found.index is not None
    assert found.index.queries == 30
    assert asked
    assert not any(options.get("exact") for options in asked)
    said = ["Comparing rows", "Looking for rows that are gone", "Looking at the store by itself", "exact searches"]
    assert list(dict.fromkeys(phases)) == said


def test_a_build_that_gets_too_little_memory_says_so(
    opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = opened()
    sync(pipeline)
    index = rows_of(pipeline).index
    assert index is not None
    index.build(IndexSpec("hnsw"))
    assert not caplog.messages
    # As if a row took as much as two thousand do.
    monkeypatch.setattr("rowvec.stores.postgres.vector_index.index.NODE_BYTES", 10**9)
    monkeypatch.setattr("rowvec.stores.postgres.vector_index.index.memory_bytes", lambda: 2**28)
    index.build(IndexSpec("ivfflat", lists=2))
    assert not caplog.messages
    index.build(IndexSpec("hnsw"))
    (message,) = caplog.messages
    assert "takes about 63.0 GB of memory to build and has 89.5 MB" in message
    assert "--kind hnsw-bit" in message
