"""Indexes of bits and of first numbers: smaller than what they are built over, and searched with oversampling."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import psycopg
import pytest
from psycopg import sql

from rowvec.auditing.audit import audit
from rowvec.auditing.repair import repair
from rowvec.errors import StoreError
from rowvec.filters import bind, parse
from rowvec.pipeline import Pipeline
from rowvec.stores.index import KINDS, IndexSpec, IndexStatus
from rowvec.stores.postgres.connect import one_snapshot
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index import centre as centres
from rowvec.stores.postgres.vector_index import nearest
from rowvec.stores.postgres.vector_index.index import spec_of
from rowvec.stores.postgres.vector_index.ordering import settings
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource
from rowvec.types import Embedded
from tests.models import Models
from tests.support import count_statistics, rows_of, simple_pipeline

ROWS = 2_000
BIT = KINDS["hnsw-bit"]
FIRST = IndexSpec(dimensions=40)
FIRST_BITS = IndexSpec(precision="bit", dimensions=100)


class Open(Protocol):
    def __call__(self, rows: int = ROWS, dimension: int = 120, **settings: Any) -> Pipeline: ...


class Clustered(HashEmbedder):
    """Texts of the same ten lie around one point, as texts of one subject do."""

    def embed(self, texts: Any) -> Embedded:
        found = super().embed(texts)
        centers = super().embed([f"subject {int(text.split()[-1]) // 10}" for text in texts])
        vectors = centers.vectors + 0.5 * found.vectors
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return found._replace(vectors=vectors.astype(np.float32))


class Leaning(Clustered):
    """All vectors lie to one side, as those of a real model do."""

    def embed(self, texts: Any) -> Embedded:
        found = super().embed(texts)
        side = super().embed(["side 0"]).vectors
        vectors = found.vectors + 8 * side
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return found._replace(vectors=vectors.astype(np.float32))


@pytest.fixture
def opened(postgres_url: str, models: Models) -> Iterator[Open]:
    with ExitStack() as stores:

        def opener(
            rows: int = ROWS, dimension: int = 120, kind: type[Clustered] = Clustered, **settings: Any
        ) -> Pipeline:
            store = stores.enter_context(
                closing(PostgresStore(postgres_url, "shop.things", pipeline="things", **settings))
            )
            source = MemorySource({n: {"name": f"row {n}", "price": n % 10} for n in range(rows)})
            embedder = kind(dimension, model=f"{kind.__name__.lower()} {dimension}")
            return models.of(embedder, simple_pipeline(source=source, store=store))

        yield opener


def index_of(pipeline: Pipeline) -> IndexStatus:
    (found,) = rows_of(pipeline).index.status()
    return found


def store_of(pipeline: Pipeline) -> PostgresStore:
    assert isinstance(pipeline.store, PostgresStore)
    return pipeline.store


def scans(pipeline: Pipeline) -> int:
    def counted(connection: Any) -> int:
        asked = "select sum(idx_scan) from pg_stat_user_indexes where indexrelname = %s"
        return int(connection.execute(asked, [name]).fetchone()[0])

    name, store = index_of(pipeline).name, store_of(pipeline)
    store._read(count_statistics)
    return store._read(counted)


def recall(pipeline: Pipeline, k: int = 10) -> float:
    """Counted by the keys of what searches answer, for rows that are asked with their own vectors."""
    rows = rows_of(pipeline)
    found = 0
    for key in range(0, ROWS, 40):
        vector = rows.vector(key)
        assert vector is not None
        best = rows.nearest(vector, k, exact=True)
        answer = rows.nearest(vector, k)
        assert best.exact
        assert not answer.exact
        assert answer.complete
        assert answer.scores == sorted(answer.scores, reverse=True)
        found += len({*best.keys} & {*answer.keys})
    return found / (k * len(range(0, ROWS, 40)))


@pytest.mark.parametrize(
    ("spec", "metric", "storage"),
    [
        (BIT, "cosine", "vector"),
        (BIT, "l2", "halfvec"),
        (BIT, "ip", "vector"),
        (FIRST, "cosine", "vector"),
        (FIRST, "ip", "halfvec"),
        (FIRST_BITS, "cosine", "halfvec"),
        (IndexSpec(precision="vector", dimensions=40), "l2", "vector"),
        (IndexSpec(precision="vector", dimensions=40), "cosine", "halfvec"),
    ],
)
def test_it_is_read_by_searches_and_finds_what_an_exact_one_finds(
    opened: Open, spec: IndexSpec, metric: Any, storage: Any
) -> None:
    pipeline = opened(metric=metric, storage=storage)
    sync(pipeline)
    built = rows_of(pipeline).index.build(spec)
    assert spec_of(built) == (spec if storage == "vector" or spec.precision == "bit" else FIRST)
    assert built.valid
    assert recall(pipeline) > 0.85
    assert scans(pipeline) >= 50
    assert rows_of(pipeline).nearest(rows_of(pipeline).vector(7), 1).keys == [7]  # type: ignore[arg-type]


@pytest.mark.parametrize(("storage", "dimensions"), [("vector", None), ("halfvec", None), ("vector", 100)])
def test_bits_are_relative_to_the_mean_of_the_rows(
    opened: Open, postgres_url: str, storage: str, dimensions: int | None
) -> None:
    pipeline = opened(storage=storage, kind=Leaning)
    sync(pipeline)
    built = rows_of(pipeline).index.build(IndexSpec(precision="bit", dimensions=dimensions))
    stored = np.stack([vector for _, vector in rows_of(pipeline).vectors(None, ROWS)])
    length = dimensions or 120
    below, centre, above = -centres.around(
        np.zeros(120, np.float32), centres.text_of(built.definition), length
    ).reshape(3, length)
    assert np.abs(centre - stored.mean(axis=0)[:length]).max() < 1e-3
    spread = stored[:, :length].std(axis=0)
    assert np.allclose(above - centre, centre - below, atol=2e-3)
    assert 0.5 * spread.mean() < (above - centre).mean() < spread.mean()
    before = scans(pipeline)
    around = recall(pipeline)
    assert scans(pipeline) > before
    # One that an earlier rowvec has built serves as it is.
    held = "embedding" if dimensions is None else f"subvector(embedding, 1, {dimensions})"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"drop index shop.{built.name}".encode())
        plain = f"(binary_quantize({held})::bit({dimensions or 120})) bit_hamming_ops"
        connection.execute(f"create index {built.name} on shop.things using hnsw ({plain})".encode())
    reopened = opened(storage=storage, kind=Leaning)
    assert recall(reopened) < around - 0.2
    assert scans(reopened) >= 50


def test_a_tuning_outlasts_another_centre(opened: Open) -> None:
    pipeline = opened(kind=Leaning)
    sync(pipeline)
    index = rows_of(pipeline).index
    before = index.build(BIT).definition
    index.tune(0.9)
    tuned = index_of(pipeline).effort
    assert tuned is not None
    source = MemorySource({n: {"name": f"row {n}", "price": n % 10} for n in range(500, 2 * ROWS)})
    sync(replace(pipeline, source=source))
    after = index.build(BIT)
    assert centres.text_of(after.definition) != centres.text_of(before)
    assert after.effort == tuned


@pytest.mark.parametrize("after", [BIT, IndexSpec()])
def test_whoever_knows_the_former_index_reads_an_index_all_the_while(opened: Open, after: IndexSpec) -> None:
    """A statement around a former centre, which no index has any more, would read the whole table."""
    pipeline, other = opened(kind=Leaning), opened(kind=Leaning)
    sync(pipeline)
    index = rows_of(pipeline).index
    assert index is not None
    before = index.build(BIT)
    changed = MemorySource({n: {"name": f"row {n}", "price": n % 10} for n in range(500, 2 * ROWS)})
    sync(replace(pipeline, source=changed))
    # With what it remembers, as another process has it.
    rows, plans = rows_of(other), list[str]()
    plans.append(plan_of(other, rows))
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(index.build, after)
        while not building.done() or len(plans) < 3:
            plans.append(plan_of(other, rows))
        built = building.result()
    plans.append(plan_of(other, rows))
    assert built.name != before.name
    assert f"using {before.name}" in plans[0] and f"using {built.name}" in plans[-1]
    assert all("Index Scan using" in plan for plan in plans)


def plan_of(pipeline: Pipeline, rows: Any) -> str:
    """How the server would answer a search now, by the index that these rows know."""

    def explained(connection: Any) -> str:
        serving = rows.index.usable(connection)
        vector = pipeline.embedder.embed_query("row 7")
        statement = sql.SQL("explain ") + nearest._by_index(rows.index.table, serving, nearest.EVERYTHING, (40, 10))
        with one_snapshot(connection, settings(serving.status, 40, filtered=False, iterates=False)):
            found = connection.execute(statement, [vector, serving.asked(vector)]).fetchall()
        return "\n".join(line for (line,) in found)

    return store_of(pipeline)._read(explained)


def test_an_old_server_gets_the_bits_whose_centre_its_catalogue_can_hold(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centres, "MOVES_OUT", 1_000_000)
    pipeline = opened(kind=Leaning)
    sync(pipeline)
    for longest, numbers in ((centres.LONGEST, 3 * 120), (2_000, 2 * 120), (1_000, 120), (100, 0)):
        monkeypatch.setattr(centres, "LONGEST", longest)
        built = rows_of(pipeline).index.build(BIT)
        text = centres.text_of(built.definition)
        assert len(text.split(",")) * bool(text) == numbers
        assert f"bit({numbers or 120})" in built.definition
        found = rows_of(pipeline).nearest(rows_of(pipeline).vector(7), 1).keys  # type: ignore[arg-type]
        # Without a centre nearly all of these vectors have the same bits.
        assert found == [7] or (not numbers and len(found) == 1)


@pytest.mark.parametrize(("length", "bits"), [(512, 3), (513, 2), (768, 2), (769, 1), (2_000, 1)])
def test_the_longer_a_vector_the_fewer_bits_a_number_has(postgres_url: str, length: int, bits: int) -> None:
    vectors = np.random.default_rng(1).normal(0.02, 0.04, (50, length)).astype(np.float32)
    square = float((vectors**2).sum(axis=1).mean())
    with psycopg.connect(postgres_url) as connection:
        text = centres._fitting(connection, vectors.mean(axis=0), square, 0)
    assert centres.bits_for_each(text, length) == bits
    asked = centres.around(vectors[0], text, length).reshape(bits, length) > 0
    # What exceeds an amount exceeds each smaller one.
    assert (asked[:-1] >= asked[1:]).all()
    assert asked.any() and not asked.all()


def test_tuning_finds_the_oversampling_that_reaches_the_target(opened: Open) -> None:
    pipeline = opened()
    sync(pipeline)
    index = rows_of(pipeline).index
    index.build(BIT)
    tuned = index.tune(0.95)
    assert tuned[0].recall < 0.95 <= tuned[-1].recall
    found = index_of(pipeline)
    assert (found.effort, found.recall) == (tuned[-1].effort, tuned[-1].recall)
    reopened = opened()
    assert recall(reopened) == pytest.approx(tuned[-1].recall, abs=0.05)


def test_a_filter_is_kept_and_nothing_is_lost_by_it(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowvec.stores.postgres.vector_index.nearest.MOST_EXACT_ROWS", 0)
    pipeline = opened(rows=6_000)
    sync(pipeline)
    store_of(pipeline)._sessions.write(lambda c: c.execute("analyze shop.things"))
    rows_of(pipeline).index.build(BIT)
    rows = rows_of(pipeline)
    where = bind(parse("price < 8"), list(pipeline.spec.metadata))
    vector = rows.vector(17)
    assert vector is not None
    answer = rows.nearest(vector, 10, where)
    assert not answer.exact
    assert all(isinstance(key, int) and key % 10 < 8 for key in answer.keys)
    few = bind(parse("price = 3"), list(pipeline.spec.metadata))
    assert rows.nearest(vector, 700, few).exact, "more than there are: all are compared"
    assert len(rows.nearest(vector, 700, few).keys) == 600


@pytest.mark.parametrize("dimension", [1, 7, 13])
def test_vectors_whose_length_is_not_a_multiple_of_eight(opened: Open, dimension: int) -> None:
    pipeline = opened(rows=200, dimension=dimension)
    sync(pipeline)
    rows_of(pipeline).index.build(BIT)
    vector = rows_of(pipeline).vector(7)
    assert vector is not None
    assert len(rows_of(pipeline).nearest(vector, 5).keys) == 5


def test_vectors_of_zeros_do_no_harm(opened: Open, postgres_url: str) -> None:
    pipeline = opened()
    sync(pipeline)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        zeros = "update shop.things set embedding = array_fill(0, array[120])::vector where id < 5"
        connection.execute(zeros)
    rows_of(pipeline).index.build(BIT)
    rows = rows_of(pipeline)
    vector = rows.vector(70)
    assert vector is not None
    answer = rows.nearest(vector, 10)
    assert answer.keys[0] == 70
    assert not set(answer.keys) & set(range(5))
    assert np.isfinite(answer.scores).all()
    assert len(rows.nearest(np.zeros(120, np.float32), 3).keys) == 3


def test_vectors_too_long_for_anything_else_are_indexed_by_their_bits(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("vector_index.indexes", "audit"):
        monkeypatch.setattr(f"rowvec.stores.postgres.{module}.AUTO_ROWS", 60)
    pipeline = opened(rows=60, dimension=5_001)
    for _ in range(2):
        sync(pipeline)
        assert index_of(pipeline).precision == "bit"
    assert not audit(pipeline, settle=0).findings
    vector = rows_of(pipeline).vector(7)
    assert vector is not None
    answer = rows_of(pipeline).nearest(vector, 5)
    assert answer.keys[0] == 7
    assert not answer.exact
    with pytest.raises(StoreError, match="5,001 dimensions; IVFFlat takes 4,000 at most"):
        rows_of(pipeline).index.build(IndexSpec("ivfflat"))
    # Of its first numbers there are few enough for half precision.
    assert rows_of(pipeline).index.build(IndexSpec(dimensions=512)).precision == "halfvec"


def test_another_kind_is_built_beside_the_old_one_while_searches_go_on(opened: Open) -> None:
    pipeline = opened()
    sync(pipeline)
    index, rows = rows_of(pipeline).index, rows_of(pipeline)
    index.build(IndexSpec())
    vector = rows.vector(7)
    assert vector is not None
    ended, answers = threading.Event(), []

    def search() -> None:
        while not ended.is_set():
            answers.append(rows.nearest(vector, 3).keys[0])

    thread = threading.Thread(target=search)
    thread.start()
    try:
        for spec in (BIT, FIRST, IndexSpec("ivfflat"), BIT, IndexSpec()):
            index.build(spec)
            assert spec_of(index_of(pipeline)).precision == spec.precision
    finally:
        ended.set()
        thread.join()
    assert set(answers) == {7}


def test_a_build_that_was_cut_off_is_dropped_by_the_next_one(opened: Open, postgres_url: str) -> None:
    pipeline = opened()
    sync(pipeline)
    index = rows_of(pipeline).index
    index.build(BIT)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        # What a build that was cut off leaves behind.
        connection.execute(
            "update pg_index set indisvalid = false where indexrelid = 'shop.things_vectors_1'::regclass"
        )
    assert not index_of(pipeline).valid
    vector = rows_of(pipeline).vector(7)
    assert vector is not None
    assert opened() and rows_of(opened()).nearest(vector, 1).exact, "an invalid index answers nothing"
    assert repair(pipeline, audit(pipeline, sample=0, settle=0)).left == []
    assert (index_of(pipeline).valid, index_of(pipeline).precision) == (True, "bit")


def test_a_former_index_that_a_dead_process_left_is_dropped(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = opened()
    sync(pipeline)
    built = rows_of(pipeline).index
    built.build(IndexSpec(precision="halfvec"))
    with monkeypatch.context() as patched:
        patched.setattr("rowvec.stores.postgres.vector_index.index.retire", lambda *given: None)
        newer = built.build(IndexSpec(precision="bit"))
    assert len(built.status()) == 2
    sync(pipeline)
    assert [each.name for each in built.status()] == [newer.name]


def test_a_new_generation_gets_the_kind_of_index_that_the_live_one_has(opened: Open) -> None:
    before = opened(rows=300)
    sync(before)
    rows_of(before).index.build(FIRST_BITS)
    for dimension, expected in ((256, FIRST_BITS), (64, BIT)):  # Of 64 numbers there are no first hundred.
        after = opened(rows=300, dimension=dimension)
        sync(after)
        assert spec_of(index_of(after)) == expected


def test_repeated_texts_are_left_out_of_it_too(opened: Open) -> None:
    pipeline = opened()
    names = {n: {"name": "row 5" if n % 2 else f"row {n}", "price": 1} for n in range(ROWS)}
    pipeline = replace(pipeline, source=MemorySource(names))
    sync(pipeline)
    built = rows_of(pipeline).index.build(BIT)
    assert " WHERE " in built.definition
    vector = rows_of(pipeline).vector(1)
    assert vector is not None
    assert rows_of(pipeline).nearest(vector, 20).keys == list(range(1, 41, 2))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (IndexSpec("ivfflat", "bit"), "IVFFlat index holds whole vectors"),
        (IndexSpec("ivfflat", dimensions=10), "IVFFlat index holds whole vectors"),
        (IndexSpec(dimensions=120), "120 dimensions; an index of the first 120 is not a part"),
        (IndexSpec(dimensions=0), "the first 0 is not a part"),
    ],
)
def test_what_cannot_be_built_is_refused_before_it_is_begun(opened: Open, spec: IndexSpec, message: str) -> None:
    pipeline = opened(rows=60)
    sync(pipeline)
    with pytest.raises(StoreError, match=message):
        rows_of(pipeline).index.build(spec)
    assert rows_of(pipeline).index.status() == []


def test_an_old_pgvector_is_named(opened: Open, postgres_url: str) -> None:
    pipeline = opened(rows=60)
    sync(pipeline)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        (version,) = connection.execute("select extversion from pg_extension where extname = 'vector'").fetchone() or ()
        change = "update pg_extension set extversion = %s where extname = 'vector'"
        connection.execute(change, ["0.6.2"])
        try:
            with pytest.raises(StoreError, match=r"takes pgvector 0.7 or later; this server has 0.6.2") as caught:
                rows_of(pipeline).index.build(BIT)
        finally:
            connection.execute(change, [version])
    assert "ALTER EXTENSION vector UPDATE" in str(caught.value.hint)


def test_the_index_of_somebody_else_over_other_bits_is_not_used(opened: Open, postgres_url: str) -> None:
    pipeline = opened(rows=60)
    sync(pipeline)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("alter table shop.things add own bit(8)")
        connection.execute("create index on shop.things using hnsw (own bit_hamming_ops)")
    vector = rows_of(pipeline).vector(7)
    assert vector is not None
    assert rows_of(pipeline).nearest(vector, 5).exact
