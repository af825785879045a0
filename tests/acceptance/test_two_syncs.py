"""Two syncs of one pipeline at the same time: one works, the other says who does, and nothing is damaged."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from rowvec.errors import Locked
from rowvec.pipeline import Pipeline
from rowvec.sources.sql import SqlSource
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from tests.acceptance.shop import Shop, wait_until
from tests.servers.openai import EmbeddingServer
from tests.support import simple_pipeline, vectors_match_rows

ROWS = 300


def test_the_second_sync_says_who_holds_the_lock_and_since_when(
    shop: Shop, model: EmbeddingServer, postgres_url: str
) -> None:
    model.latency = 0.5
    first = shop.start("sync")
    wait_until(lambda: model.requests > 0, "the first sync embeds")
    second = shop.run("sync")
    assert first.running(), "the second one was to come while the first one works"
    model.latency = 0.0
    answer = first.finish()

    assert (second.code, second.out) == (1, "")
    assert f"pid {first.pid}" in second.err
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", second.err)
    assert "Traceback" not in second.err
    assert answer.code == 0, answer.err
    assert f"{ROWS} new" in answer.out
    assert max(model.billed_texts.values()) == 1, "nothing was paid for twice"
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select count(*) from products_vectors").fetchone() == (ROWS,)
        outcomes = connection.execute("select outcome from rowvec.runs").fetchall()
    assert outcomes == [("done",)], "the one that was turned away left no trace"


def test_a_sync_with_another_model_waits_for_its_turn_too(postgres_url: str, tmp_path: Path) -> None:
    """To prepare its table it would drop the one that the other sync is filling."""
    rows = {key: f"row {key}" for key in range(60)}
    write(tmp_path / "things.db", rows)
    first = opened(tmp_path, postgres_url, HashEmbedder(model="old"))
    sync(first)
    slow = opened(tmp_path, postgres_url, HashEmbedder(model="new", seconds=0.05, chunk_texts=5))
    working = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            sync(slow, progress=lambda report: working.set())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert working.wait(30)
    third = opened(tmp_path, postgres_url, HashEmbedder(model="third"))
    with pytest.raises(Locked, match=rf"pid {os.getpid()}"):
        sync(third)
    thread.join()
    assert errors == []
    vectors_match_rows(slow, rows)
    for pipeline in (first, slow, third):
        pipeline.close()


@pytest.mark.slow
def test_syncs_that_start_at_the_same_moment_end_as_one_would(shop: Shop, model: EmbeddingServer) -> None:
    answers = [process.finish() for process in [shop.start("sync") for _ in range(3)]]
    assert {answer.code for answer in answers} <= {0, 1}
    assert any(answer.code == 0 for answer in answers)
    for answer in answers:
        assert answer.code == 0 or "Another sync" in answer.err
        assert "Traceback" not in answer.err
    assert max(model.billed_texts.values()) == 1
    assert f"{ROWS} unchanged; 0 texts embedded" in shop.run("sync").out


def write(path: Path, rows: dict[int, str]) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table things (id integer primary key, name text, price integer)")
        database.executemany("insert into things values (?, ?, 1)", rows.items())


def opened(folder: Path, url: str, embedder: HashEmbedder) -> Pipeline:
    source = SqlSource(f"sqlite:///{folder / 'things.db'}", table="things", key="id")
    return simple_pipeline(source, PostgresStore(url, "things_embeddings", pipeline="things", index=None), embedder)
