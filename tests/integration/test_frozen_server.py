"""A server that says nothing and ends nothing: its processes are stopped, or the network swallows what is sent.

Without an end to the wait these tests would not fail but hang.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from rowvec.errors import PartUnavailable, RowvecError, StoreUnavailable
from rowvec.pipeline import Pipeline
from rowvec.searcher import Searcher, SearchResult
from rowvec.stores import away, pulse
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.partitioned import PartitionedStore
from rowvec.stores.postgres.embedded import embedded_url, folder
from rowvec.stores.postgres.embedded.folder import Place
from rowvec.stores.postgres.session import Session
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.runs import Report
from tests.acceptance.shop import Shop
from tests.integration.serve_rig import application, client_of, product_pipeline
from tests.servers.hrana import serving
from tests.servers.openai import EmbeddingServer
from tests.servers.pgbouncer import pgbouncer
from tests.servers.proxy import Proxy
from tests.servers.standby import Server, alone_with_vectors, standing_still

SILENT = 2.0
READERS = 2
PATIENCE = 60.0
_tables = itertools.count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[Server]]:
    with alone_with_vectors(3) as servers:
        yield servers


@pytest.fixture
def servers(cluster: list[Server], monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    monkeypatch.setattr(away, "AGAIN_SECONDS", 0.5)
    monkeypatch.setattr(pulse, "AGAIN_SECONDS", 0.2)
    return cluster


def store_at(url: str, table: str = "products", **options: object) -> PostgresStore:
    chosen = {"index": None, "readers": READERS, "statement_seconds": SILENT, "silent_seconds": SILENT, **options}
    return PostgresStore(url, table, pipeline="products", **chosen)  # type: ignore[arg-type]


@contextmanager
def split_over(servers: Sequence[Server]) -> Iterator[Pipeline]:
    table = f"products_{next(_tables)}"
    with closing(
        PartitionedStore(lambda number: store_at(servers[number].url, table, alone=False), len(servers))
    ) as store:
        yield product_pipeline(store, count=90)


def until(done: Callable[[], bool]) -> None:
    last = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < last, "it does not happen"
        time.sleep(0.05)


def answer_of(search: Callable[[], SearchResult]) -> SearchResult | RowvecError:
    try:
        return search()
    except RowvecError as error:
        return error


def sessions(server: Server) -> int:
    found = (
        "select count(*) from pg_stat_activity where application_name like 'rowvec%' and backend_type like 'client%'"
    )
    return int(server.run(found)[0][0])


def test_searches_in_a_frozen_part_end_and_the_next_ones_leave_it_out_at_once(servers: list[Server]) -> None:
    with split_over(servers) as pipeline:
        strict, partial = Searcher.of(pipeline), Searcher.of(replace(pipeline, partial=True))
        whole = [hit.key for hit in strict.search("brake pads", exact=True).hits]
        searching = [(each, each.search) for each in (strict, partial) for _ in range(4 * READERS)]
        with servers[1].frozen():
            # More than there are connections for: those that wait for one are told the same.
            with ThreadPoolExecutor(len(searching)) as pool:
                answers = list(pool.map(lambda each: answer_of(lambda: each[1]("brake pads", exact=True)), searching))
            for (searcher, _), answer in zip(searching, answers, strict=True):
                if searcher is strict:
                    assert isinstance(answer, PartUnavailable) and answer.part == 1, answer
                    assert "Part 2 of 3 does not answer" in str(answer)
                else:
                    assert isinstance(answer, SearchResult) and answer.missing_parts == (2,), answer
            with pytest.raises(PartUnavailable, match=r"it has said nothing for \d+ s, not even to a new connection"):
                strict.search("brake pads")
            assert pipeline.store.without(frozenset({1})).ledger().exists
            with pytest.raises(PartUnavailable, match="Part 2 of 3"):
                pipeline.store.generations(pipeline.spec)
        until(lambda: not isinstance(answer_of(lambda: strict.search("brake pads")), RowvecError))
        until(lambda: not partial.search("brake pads").partial)
        assert [hit.key for hit in partial.search("brake pads", exact=True).hits] == whole
        # Those that were given up have ended.
        until(lambda: sessions(servers[1]) <= READERS + 1)


def test_a_part_that_is_frozen_when_a_process_begins(servers: list[Server]) -> None:
    with split_over(servers[:2]) as pipeline:
        tables = pipeline.store.location
        with servers[1].frozen(), split_again(servers, tables) as store:
            fresh = replace(pipeline, store=store)
            with pytest.raises(PartUnavailable, match="Part 2 of 2 does not answer"):
                Searcher.of(fresh)
            assert Searcher.of(replace(fresh, partial=True)).search("brake pads").missing_parts == (2,)


@contextmanager
def split_again(servers: Sequence[Server], location: str) -> Iterator[PartitionedStore]:
    table = location.partition(" ")[0]
    with closing(PartitionedStore(lambda number: store_at(servers[number].url, table, alone=False), 2)) as store:
        yield store


def test_a_slow_statement_of_a_server_that_answers_others_is_waited_for(servers: list[Server]) -> None:
    with closing(store_at(servers[0].url, silent_seconds=1.0, statement_seconds=None)) as store:
        found = store._read(lambda connection: connection.execute("select pg_sleep(3), 7").fetchall())
        assert found[0][1] == 7


def test_a_connection_whose_wait_was_given_up_for_any_reason_is_not_used_again(servers: list[Server]) -> None:
    with closing(store_at(servers[0].url, statement_seconds=None)) as store:
        given_up: list[Session] = []

        def ask(connection: psycopg.Connection[object]) -> None:
            def out_of_threads(session: Session, _: float) -> None:
                given_up.append(session)
                raise RuntimeError("can't start new thread")

            assert isinstance(connection, Session)
            connection.watch = out_of_threads
            connection.execute("select pg_sleep(60)")

        with pytest.raises(RuntimeError, match="can't start"):
            store._read(ask)
        assert given_up[0].closed
        assert store._read(lambda connection: connection.execute("select 7").fetchone()) == (7,)


def test_one_process_of_the_server_that_stands_still_costs_its_own_search(servers: list[Server]) -> None:
    with closing(store_at(servers[0].url, silent_seconds=1.0, statement_seconds=1.0)) as store:

        def ask(connection: psycopg.Connection[object]) -> None:
            with standing_still(connection.info.backend_pid):
                connection.execute("select 1")

        with pytest.raises(StoreUnavailable, match="has not cancelled the statement either"):
            store._read(ask)
        assert store.ledger().exists is False


def test_a_network_that_swallows_what_is_sent(servers: list[Server]) -> None:
    with Proxy(f"{servers[0].socket}/.s.PGSQL.5432") as proxy, ExitStack() as stack:
        url, table = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres", f"products_{next(_tables)}"
        searcher = Searcher.of(product_pipeline(stack.enter_context(closing(store_at(url, table)))))
        proxy.silent = True
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="does not answer"):
                searcher.search("brake pads")
        proxy.silent = False
        until(lambda: not isinstance(answer_of(lambda: searcher.search("brake pads")), RowvecError))


@pytest.fixture(scope="module")
def shop(cluster: list[Server]) -> str:
    """URL of a database beside the one that every server has."""
    cluster[0].run("create database shop")
    url = make_conninfo(cluster[0].url, dbname="shop")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create extension vector")
    return url


@pytest.mark.parametrize("own", [False, True])
def test_a_server_that_is_frozen_behind_a_pooler(servers: list[Server], shop: str, own: bool) -> None:
    table, direct = f"products_{next(_tables)}", shop if own else servers[0].url
    with pgbouncer(direct, "transaction") as url, closing(store_at(url, table)) as store:
        with closing(store_at(direct, table)) as filling:
            searcher = Searcher.of(replace(product_pipeline(filling), store=store))
        assert searcher.search("brake pads").hits
        with servers[0].frozen(), pytest.raises(StoreUnavailable, match="not even to a new connection"):
            searcher.search("brake pads")
        until(lambda: not isinstance(answer_of(lambda: searcher.search("brake pads")), RowvecError))


def test_a_slow_statement_is_waited_for_where_all_sessions_of_the_pool_are_busy(shop: str) -> None:
    with (
        pgbouncer(shop, "transaction", pool_size=1) as url,
        closing(store_at(url, silent_seconds=SILENT, statement_seconds=None)) as store,
    ):
        found = store._read(lambda connection: connection.execute("select pg_sleep(6), 7").fetchall())
        assert found[0][1] == 7


def test_an_answer_to_another_is_a_sign_of_life() -> None:
    beat = pulse.Pulse(lambda address, seconds: False, 600.0)
    long_ago = time.monotonic() - 6_000
    beat.heard()
    beat.watch({}, long_ago, None)
    assert not beat.in_doubt, "nobody was asked"
    beat._heard = long_ago
    beat.watch({}, long_ago, None)
    until(lambda: not beat.in_doubt)
    with pytest.raises(pulse.Silent):
        beat.check()
    beat.heard()
    beat.check()


def test_a_server_with_one_store_answers_503_while_that_is_frozen(
    state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "AGAIN_SECONDS", 0.2)
    with closing(store_at(embedded_url(state_folder, durable=False))) as store:
        pipeline = product_pipeline(store)
        run = store.begin_run("products")
        store.save_run(run, Report(), "done")
        body = {"query": "brake pads", "limit": 3}
        with client_of(application(pipeline)) as client:
            assert client.post("/search/semantic", json=body).status_code == 200

            def code(*_: object) -> int:
                return client.post("/search/hybrid", json=body).status_code

            server, _ = folder.postmaster(Place(state_folder))
            with standing_still(server):
                with ThreadPoolExecutor(16) as pool:
                    assert set(pool.map(code, range(16))) == {503}
                assert client.get("/health").status_code == 503
                assert client.get("/health/live").status_code == 200
                assert client.get("/status").status_code == 503
                assert client.get("/metrics").status_code == 200
                assert client.get("/?q=brake").status_code == 200
            until(lambda: code() == 200)
            assert client.get("/health").status_code == 200
            until(lambda: client.get("/status").status_code == 200)


def test_a_remote_libsql_database_that_is_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "AGAIN_SECONDS", 0.2)
    with (
        serving(tmp_path) as server,
        closing(LibsqlStore(server.url("vectors"), table="products", silent_seconds=SILENT)) as store,
    ):
        searcher = Searcher.of(product_pipeline(store))
        with server.frozen():
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match=r"said nothing for \d+ s, not even to a new connection"):
                    searcher.search("brake pads")
        until(lambda: not isinstance(answer_of(lambda: searcher.search("brake pads")), RowvecError))


def test_the_commands_say_that_the_store_does_not_answer(tmp_path: Path, servers: list[Server]) -> None:
    with EmbeddingServer(dimension=16) as model:
        shop = Shop(tmp_path, {"MODEL_URL": model.url})
        table = f"shop_{next(_tables)}"
        shop.declare(
            store=f'kind = "postgres", url = "{servers[0].url}", table = "{table}", language = "", timeout = 2'
        )
        shop.stock(10)
        assert shop.run("sync").code == 0
        with servers[0].frozen():
            for command in (["search", "lamp"], ["status"]):
                done = shop.run(*command)
                assert done.code != 0 and "does not answer" in done.err
        assert shop.run("search", "lamp").code == 0


def test_a_pulse_asks_one_question_at_a_time() -> None:
    asked, go = list[float](), threading.Event()

    def ask(_: pulse.Address, seconds: float) -> bool:
        asked.append(seconds)
        return go.wait()

    beat = pulse.Pulse(ask, 10.0)
    long_ago = time.monotonic() - 5
    for _ in range(3):
        beat.watch({}, long_ago, None)
    assert asked == [7.0] and beat.in_doubt
    go.set()
    until(lambda: not beat.in_doubt)
    beat.admit()
