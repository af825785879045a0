"""Searches at a standby that follows the primary by streaming replication, and falls behind, and goes away."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from rowvec.api.project import Project
from rowvec.assemble_search import assemble
from rowvec.config import load
from rowvec.errors import StoreError, StoreUnavailable
from rowvec.pipeline import Pipeline
from rowvec.pipeline_status.replica import replica_status
from rowvec.searcher import Searcher
from rowvec.sources.sql import SqlSource
from rowvec.stores.abilities import Lag
from rowvec.stores.postgres import replica
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index.index import IndexSpec
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.types import State
from tests.acceptance.shop import Shop
from tests.integration.serve_rig import application, client_of
from tests.servers.openai import EmbeddingServer
from tests.servers.standby import Servers, replicated
from tests.support import rows_of, simple_pipeline

ROWS = {key: f"row {key}" for key in range(1, 41)}
OLD, NEW = HashEmbedder(model="old"), HashEmbedder(model="new")


@pytest.fixture(scope="module")
def pair() -> Iterator[Servers]:
    with replicated() as servers:
        yield servers


@pytest.fixture
def servers(pair: Servers) -> Servers:
    """Rows with their vectors on both."""
    pair.primary.run("drop schema if exists shop, rowvec cascade; drop table if exists things")
    pair.primary.run("create table things (id integer primary key, name text, price integer)")
    with psycopg.connect(pair.primary.url) as connection, connection.cursor() as cursor:
        cursor.executemany("insert into things values (%s, %s, 1)", list(ROWS.items()))
    with pipeline_at(pair) as pipeline:
        sync(pipeline)
        rows_of(pipeline).index.build(IndexSpec())
    pair.caught_up()
    return pair


def store_at(url: str, *, replica: bool = False, silent_seconds: float = 10.0) -> PostgresStore:
    return PostgresStore(
        url, "shop.things", pipeline="things", index=None, statement_seconds=20, replica=replica,
        silent_seconds=silent_seconds,
    )  # fmt: skip


@contextmanager
def pipeline_at(servers: Servers, search_url: str | None = None, embedder: HashEmbedder = OLD) -> Iterator[Pipeline]:
    """Rows and books at the primary; searches at the standby, unless they are told where."""
    url = servers.primary.url
    with (
        closing(SqlSource(url, table="things", key="id")) as source,
        closing(store_at(url)) as store,
        closing(store_at(search_url or servers.standby.url, replica=True)) as searched,
    ):
        pipeline = simple_pipeline(source, store, embedder)
        yield replace(pipeline, replica=searched, spec=replace(pipeline.spec, language="english"))


def searcher_of(pipeline: Pipeline) -> Searcher:
    """As `Searcher.of` makes it; of two models that need not be loaded."""
    found = Searcher.of(replace(pipeline, embedder=OLD, spec=replace(pipeline.spec, fingerprint=OLD.fingerprint)))
    found.former = lambda ledger: NEW
    return found


def either(servers: Servers) -> str:
    """The standby; where it does not answer, the primary."""
    return f"postgresql://postgres@/postgres?host={servers.standby.socket},{servers.primary.socket}"


def test_searches_ask_the_standby_and_syncs_write_at_the_primary(servers: Servers) -> None:
    with pipeline_at(servers) as pipeline:
        searcher = Searcher.of(pipeline)
        with servers.standing_still():
            servers.primary.run("insert into things values (99, 'row 99', 1)")
            assert sync(pipeline).inserted == 1
            for mode in ("semantic", "keyword", "hybrid"):
                assert 99 not in [hit.key for hit in searcher.search("row 99", mode=mode, limit=50).hits]
                assert searcher.search("row 7", mode=mode, limit=1).hits[0].key == 7
            assert len(searcher.browse(limit=50).hits) == len(ROWS)
            assert len(searcher.similar(7, limit=50).hits) == len(ROWS) - 1
            assert rows_of(pipeline).count() == len(ROWS) + 1
        assert searcher.search("row 99", limit=1).hits[0].key == 99


def test_a_standby_that_lags_behind_a_swap_answers_from_the_generation_that_it_has(servers: Servers) -> None:
    with pipeline_at(servers) as pipeline, pipeline_at(servers, embedder=NEW) as renewed:
        searcher = searcher_of(pipeline)
        with servers.standing_still():
            assert sync(renewed).inserted == len(ROWS)
            assert renewed.store.ledger().fingerprint == NEW.fingerprint
            assert [searcher.search(name, limit=1).hits[0].key for name in ROWS.values()] == list(ROWS)
            assert searcher.current is OLD
            assert [each.state for each in renewed.searched.generations(renewed.spec)] == [State.LIVE]
        assert [searcher.search(name, limit=1).hits[0].key for name in ROWS.values()] == list(ROWS)
        assert searcher.current is NEW


def test_a_search_that_goes_on_at_another_server_is_of_one_generation(servers: Servers) -> None:
    """The standby has the old generation, the primary the new one, and the standby goes away between two searches."""
    with pipeline_at(servers, either(servers)) as pipeline, pipeline_at(servers, embedder=NEW) as renewed:
        searcher = searcher_of(pipeline)
        servers.caught_up()
        try:
            servers.standby.run("select pg_wal_replay_pause()")
            sync(renewed)
            assert searcher.search("row 7", limit=1).hits[0].key == 7
            assert searcher.current is OLD
            servers.standby.stop()
            assert [searcher.search(name, limit=1).hits[0].key for name in ROWS.values()] == list(ROWS)
            assert searcher.current is NEW
        finally:
            servers.standby.stop()
            servers.standby.start()
        servers.caught_up()


def test_versions_of_two_servers_differ_though_their_generation_is_the_same(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read at one of them and what is read at the other is never put together: the answer is made again."""
    with closing(store_at(either(servers), replica=True)) as store:
        before = store.live_version()
        assert store.ledger().version == before
        servers.standby.stop()
        try:
            after = store.live_version()
            assert after != before
            assert after.startswith(before)
        finally:
            servers.standby.start()
        assert store.live_version() == after
        # The server that is named first is asked again after a while.
        monkeypatch.setattr(replica.Servers, "is_due", lambda self: True)
        assert store.live_version() not in (before, after)
        assert store._sessions.moves == 2


def test_a_standby_that_says_nothing_is_left_for_the_primary(servers: Servers) -> None:
    with closing(store_at(either(servers), replica=True, silent_seconds=2.0)) as store:
        ask = "select pg_is_in_recovery()"
        assert store._read(lambda c: c.execute(ask).fetchone()) == (True,)
        with servers.standby.frozen():
            # More than one has a connection there.
            with ThreadPoolExecutor(2) as pool:
                asked = [pool.submit(store._read, lambda c: c.execute(ask).fetchone()) for _ in range(2)]
            assert [each.result() for each in asked] == [(False,), (False,)]
            assert store.ledger().exists
    with closing(store_at(servers.standby.url, replica=True, silent_seconds=2.0)) as store:
        store.ledger()
        with servers.standby.frozen(), pytest.raises(StoreUnavailable, match="said nothing"):
            store.ledger()


def test_without_another_server_a_search_says_that_the_standby_is_away(servers: Servers) -> None:
    with pipeline_at(servers) as pipeline:
        searcher = Searcher.of(pipeline)
        servers.standby.stop()
        try:
            with pytest.raises(StoreUnavailable, match="does not answer"):
                searcher.search("row 7")
            found = replica_status(pipeline)
            assert found is not None
            assert "does not answer" in str(found.problem)
        finally:
            servers.standby.start()
        assert searcher.search("row 7", limit=1).hits[0].key == 7


def test_the_status_says_how_far_the_standby_is_behind(servers: Servers) -> None:
    with pipeline_at(servers) as pipeline:
        with servers.standing_still():
            servers.primary.run("insert into things select n, 'row ' || n, 1 from generate_series(100, 400) n")
            sync(pipeline)
            found = replica_status(pipeline)
            assert found is not None
            assert found.lag is not None
            assert found.lag.standby
            assert (found.lag.bytes or 0) > 10_000
            assert (found.lag.seconds or 0) > 0
            assert " s behind, " in found.text
        deadline = time.monotonic() + 30
        while (found := replica_status(pipeline)) is not None and found.lag != Lag(True, 0.0, 0):
            assert time.monotonic() < deadline, found
            # A server writes a little now and then by itself.
            time.sleep(0.05)


def test_a_primary_in_place_of_the_standby_is_named_and_so_is_another_store(
    servers: Servers, postgres_url: str
) -> None:
    with pipeline_at(servers, servers.primary.url) as pipeline:
        found = replica_status(pipeline)
        assert found is not None
        assert "which is a primary" in found.text
    with pipeline_at(servers, postgres_url) as pipeline:
        found = replica_status(pipeline)
        assert found is not None
        assert "it is another store" in str(found.problem)


def test_a_standby_takes_no_writes_and_says_so(servers: Servers) -> None:
    store = store_at(servers.standby.url, replica=True)
    with closing(store), pytest.raises(StoreError, match="takes no writes"):
        store.spend(1.0)


def test_every_door_searches_at_the_standby_while_the_primary_is_away(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddingServer(dimension=16) as model, ExitStack() as doors:
        shop = Shop(tmp_path, {"MODEL_URL": model.url})
        monkeypatch.setenv("MODEL_URL", model.url)
        shop.stock(12)
        shop.declare(
            store=f'kind = "postgres", url = "{servers.primary.url}", search_url = "{servers.standby.url}",'
            ' table = "shop.things", metadata = ["price"]'
        )
        servers.primary.run("drop schema if exists shop, rowvec cascade")
        assert shop.run("sync").code == 0
        servers.caught_up()
        told = shop.run("status", "--json")
        # A server writes a little now and then by itself.
        assert json.loads(told.out)["replica"]["lag"]["bytes"] < 10_000
        for command in ("status", "check"):
            assert re.search(r"searches +at .+, [\d.]+ s behind", shop.run(command).out)
        servers.primary.stop()
        doors.callback(servers.primary.start)
        assert "lamp 7" in shop.run("search", "lamp 7", "--mode", "keyword", "--passages", "1").out
        project = doors.enter_context(Project(tmp_path / "rowvec.toml"))
        found = project.pipeline("products").search("lamp 7", mode="keyword", limit=1)
        assert [hit.key for hit in found.hits] == [7]
        config = load(tmp_path / "rowvec.toml")
        pipeline = doors.enter_context(closing(assemble(config, config.pipeline("products"))))
        client = doors.enter_context(client_of(application(pipeline)))
        answer = client.get("/search", params={"query": "lamp 7", "mode": "keyword", "limit": 1})
        assert answer.status_code == 200, answer.text
        assert [hit["id"] for hit in answer.json()["results"]] == [7]
