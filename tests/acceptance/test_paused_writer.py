"""A writer that was stopped, and lost its connection, while another model went live: it writes nothing more."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from rowvec.errors import GenerationChanged, Locked, StoreError
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Selection
from rowvec.sources.sql import SqlSource
from rowvec.stores.base import Store
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.libsql.database import Statement
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.types import Embedded
from tests.support import simple_pipeline, vectors_match_rows

ROWS = {key: f"row {key}" for key in range(60)}
PATIENCE = 60.0


class Paused(HashEmbedder):
    """Answers its second request only when it is told to."""

    def __init__(self) -> None:
        super().__init__(model="hash-8", chunk_texts=10)
        self.sent, self.go, self.armed = threading.Event(), threading.Event(), False

    def embed(self, texts: Sequence[str]) -> Embedded:
        if self.armed:
            self.sent.set()
            assert self.go.wait(PATIENCE)
        return super().embed(texts)


@pytest.fixture(params=["postgres", "libsql"])
def store_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    if request.param == "libsql":
        return lambda: LibsqlStore(str(tmp_path / "vectors.db"), table="things_embeddings")
    url = request.getfixturevalue("postgres_url")
    return lambda: PostgresStore(url, "things_embeddings", pipeline="things", index=None)


def end_its_hold(store: Store) -> None:
    """What a lost connection does in PostgreSQL, and a lease that runs out in libSQL."""
    if isinstance(store, LibsqlStore):
        store._database.transact([Statement("update rowvec_locks set beat = 0")])
        return
    assert isinstance(store, PostgresStore)
    writer = store._sessions._writer
    assert writer is not None
    with psycopg.connect(store._url, autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(%s, 10000)", [writer.pid])


@pytest.mark.parametrize("options", [Options(full=True), Options(Selection(tuple(range(40))))], ids=["whole", "keys"])
def test_a_sync_that_was_away_while_another_model_went_live_writes_none_of_its_vectors(
    store_of: Callable[[], Store], tmp_path: Path, options: Options
) -> None:
    path = tmp_path / "things.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table things (id integer primary key, name text, price integer)")
        database.executemany("insert into things values (?, ?, 1)", ROWS.items())

    def opened(embedder: HashEmbedder) -> Pipeline:
        source = SqlSource(f"sqlite:///{path}", table="things", key="id")
        return simple_pipeline(source, store_of(), embedder)

    paused = Paused()
    first, other = opened(paused), opened(HashEmbedder(model="alt-8"))
    sync(first)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("update things set name = name || ' new'")
    rows = {key: f"{name} new" for key, name in ROWS.items()}
    paused.armed = True
    errors: list[StoreError] = []

    def work() -> None:
        try:
            sync(first, options)
        except StoreError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert paused.sent.wait(PATIENCE)
    end_its_hold(first.store)
    sync(other, Options(force=True))
    vectors_match_rows(other, rows)
    paused.go.set()
    thread.join(PATIENCE)
    assert [type(error) for error in errors] in ([GenerationChanged], [Locked])
    assert "another" in str(errors[0]).lower()
    vectors_match_rows(other, rows)
    assert sync(other).unchanged == len(rows)
    for pipeline in (first, other):
        pipeline.close()
