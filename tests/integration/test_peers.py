"""What users of similar systems ran into, and must not run into here; each test names where it was reported.

Many more of these are held by tests of the part they belong to: docs/reliability.md has the whole list.
"""

from __future__ import annotations

import datetime as dt
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rowvec.errors import EmbedderUnavailable, TextRefused
from rowvec.filters import bind, parse
from rowvec.pipeline import Options
from rowvec.pipeline_status import status
from rowvec.ranking import Ranking
from rowvec.stores.index import IndexSpec
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index import indexes
from rowvec.stores.write_batch import WriteBatch
from rowvec.syncing.pages import new_failure
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource
from rowvec.types import PastFailure, Stored
from tests.integration.stores_rig import Open
from tests.support import rows_of as vectors_of
from tests.support import simple_pipeline, vectors_match_rows


def rows_of(count: int) -> dict[Any, str]:
    return {key: f"row {key}" for key in range(count)}


def test_vectors_that_vanished_behind_its_back_are_counted_and_made_again(opened: Open) -> None:
    """langchain#39937: the record manager said "skipped" while the index that was searched was three per cent full."""
    rows = rows_of(100)
    pipeline = simple_pipeline(store=opened(), rows=rows)
    sync(pipeline)
    # Another process throws vectors away; there is no second book that would still count them.
    opened_by_another = opened()
    opened_by_another.prepare(pipeline.spec)
    vectors_of(pipeline).write(WriteBatch(deletes=list(range(3, 100))))
    told = status(pipeline)
    assert (told.rows, told.current) == (100, 3)
    assert sync(pipeline).inserted == 97
    assert status(pipeline).current == 100
    vectors_match_rows(pipeline, rows)


def test_an_index_is_built_although_rows_keep_arriving(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """pgai#791: the index was never built while rows kept arriving."""
    monkeypatch.setattr(indexes, "AUTO_ROWS", 50)
    store = PostgresStore(postgres_url, "vectors", pipeline="things")
    pipeline = simple_pipeline(store=store, rows=rows_of(40))
    assert isinstance(pipeline.source, MemorySource)
    for count in (40, 60, 80):
        for key, name in rows_of(count).items():
            pipeline.source.rows[key] = {"id": key, "name": name, "price": 1}
        # A row comes while the sync is at work, each time.
        late = {"id": 1000 + count, "name": f"late {count}", "price": 1}
        sync(pipeline, progress=lambda report, late=late: pipeline.source.rows.update({late["id"]: late}))  # type: ignore[misc]
        assert [found.valid for found in vectors_of(pipeline).index.status()] == ([True] if count > 40 else [])
    pipeline.close()


def test_a_backlog_is_counted_exactly_however_long(opened: Open) -> None:
    """pgai#409: a backlog of more than 10,000 rows was shown as 9223372036854775807."""
    pipeline = simple_pipeline(store=opened(), rows=rows_of(12_345))
    sync(pipeline, Options(limit=5))
    told = status(pipeline)
    assert (told.rows, told.current) == (12_345, 5)


def test_a_failure_is_tried_again_soon_and_then_ever_later() -> None:
    """pgai#335: every failure waited for five minutes."""
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    failure = new_failure(1, TextRefused("no"), b"h", None, now)
    waits = [failure.next_try - now]
    for _ in range(12):
        before = Stored(None, None, PastFailure(b"h", failure.attempts, failure.next_try))
        failure = new_failure(1, TextRefused("no"), b"h", before, now)
        waits.append(failure.next_try - now)
    assert waits[0] == dt.timedelta(minutes=1)
    assert waits == sorted(waits)
    assert waits[-1] == dt.timedelta(days=1)
    assert new_failure(1, TextRefused("no"), b"another text", before, now).attempts == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_syncs_leave_no_file_open(opened: Open) -> None:
    """pgai#23: "too many open files" on a large table."""
    counts = []
    for _ in range(4):
        pipeline = simple_pipeline(store=opened(), rows=rows_of(200), page_size=10)
        sync(pipeline, Options(force=True))
        pipeline.close()
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[-1] <= counts[0]


def test_a_bad_row_costs_its_neighbours_nothing_and_its_tries_are_counted(opened: Open) -> None:
    """pgedge-vectorizer#51, #52: the failure was written in the aborted transaction, so that attempts stayed 0 and the
    batch was embedded, and billed, again and again."""
    rows = rows_of(60)
    embedder = HashEmbedder(chunk_texts=20, billed=True)
    embedder.refused = {"row 33"}
    pipeline = simple_pipeline(store=opened(), embedder=embedder, rows=rows)
    for attempt in (1, 2, 3):
        sync(pipeline, Options(retry_failed=attempt > 1))
        (failure,) = vectors_of(pipeline).failures()
        assert (failure.key, failure.attempts) == (33, attempt)
    assert max(Counter(embedder.texts).values()) == 1
    assert len(embedder.texts) == 59


def test_an_empty_table_is_no_error(opened: Open) -> None:
    """supabase#45954: the guide's cron function fails when there is nothing to do."""
    pipeline = simple_pipeline(store=opened(), rows={})
    assert sync(pipeline).read == 0
    assert sync(pipeline, Options(retry_failed=True)).read == 0
    assert pipeline.store.runs()[0].outcome == "done"
    assert (status(pipeline).rows, status(pipeline).current) == (0, 0)


def test_a_filtered_search_of_an_index_never_comes_back_short(postgres_url: str) -> None:
    """pgvector#259, #671, #721, #785: a filtered search of an HNSW index gives too few rows, and says nothing."""
    count = 2000
    store = PostgresStore(postgres_url, "vectors", pipeline="things", index=None)
    source = MemorySource({key: {"name": f"row {key}", "price": key % 100} for key in range(count)})
    pipeline = simple_pipeline(source, store, HashEmbedder(16))
    sync(pipeline)
    vectors_of(pipeline).index.build(IndexSpec())
    for price, limit in ((7, 10), (7, 20), (99, 15)):
        where = bind(parse(f"price = {price}"), pipeline.spec.metadata)
        found = vectors_of(pipeline).nearest(pipeline.embedder.embed_query("query"), limit, where)
        assert found.complete
        assert len(found.keys) == min(limit, count // 100)
        assert all(int(key) % 100 == price for key in found.keys)
    pipeline.close()


def test_rows_are_counted_right_beside_a_vector_index(quick_folder: Path) -> None:
    """libsql-python#76: count(*) gives 0 on a table with a vector index."""
    store = LibsqlStore(str(quick_folder / "vectors.db"), table="vectors")
    pipeline = simple_pipeline(store=store, rows=rows_of(50))
    sync(pipeline)
    vectors_of(pipeline).index.build()
    assert (vectors_of(pipeline).count(), store.ledger().filled, vectors_of(pipeline).status().rows) == (50, True, 50)
    assert status(pipeline).current == 50
    pipeline.close()


def test_a_service_that_is_down_for_a_while_costs_a_wait_and_no_row(opened: Open) -> None:
    """pg_net#110: a request that failed was never made again."""
    embedder = HashEmbedder(chunk_texts=10)
    embedder.unavailable = 2
    pipeline = simple_pipeline(store=opened(), embedder=embedder, rows=rows_of(60))
    with suppress(EmbedderUnavailable):
        sync(pipeline)
    sync(pipeline)
    sync(pipeline, Options(retry_failed=True))
    vectors_match_rows(pipeline, rows_of(60))


def test_two_rows_that_swap_their_texts_swap_their_vectors(opened: Open) -> None:
    """llama_index#22638, #19579: skipped by a hash that was seen before, on whatever row."""
    pipeline = simple_pipeline(store=opened(), rows={1: "one", 2: "two", 3: "one"})
    sync(pipeline)
    assert isinstance(pipeline.source, MemorySource)
    for key, name in {1: "two", 2: "one"}.items():
        pipeline.source.rows[key]["name"] = name
    report = sync(pipeline)
    assert (report.embedded, report.texts) == (2, 0)
    vectors_match_rows(pipeline, {1: "two", 2: "one", 3: "one"})


def test_no_row_is_ranked_by_its_age_unless_asked_for() -> None:
    """qdrant#5311, milvus#24978 ask for decay; qdrant#3457 warns of boosts by hand: there is one, and it is off."""
    assert not Ranking().reorders
    asked = Ranking(decay="added", half_life_days=1)
    assert asked.reorders
    assert asked.decay_factor({"added": None}, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)) == 1.0


def test_a_database_that_is_restarted_is_connected_to_again(postgres_url: str) -> None:
    """pgedge-vectorizer#23: a worker that had lost its database served nothing, in silence."""
    store = PostgresStore(postgres_url, "vectors", pipeline="things")
    pipeline = simple_pipeline(store=store, rows=rows_of(10))
    sync(pipeline)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'rowvec%'"
        )
    assert vectors_of(pipeline).nearest(pipeline.embedder.embed_query("row 3"), 1).keys == [3]
    pipeline.close()
