"""`rowvec serve` as a process: it starts, answers, stops, and says why when it cannot."""

from __future__ import annotations

import re
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx
import psycopg
import pytest
from psycopg import sql

from tests.acceptance.shop import Process, Shop, wait_until
from tests.integration.serve_rig import KEY
from tests.servers.openai import EmbeddingServer

ROWS = 12
ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+)/ ")


@pytest.fixture
def shop(shop: Shop) -> Shop:
    assert shop.run("sync").code == 0
    return shop


@contextmanager
def served(shop: Shop, *options: str) -> Iterator[tuple[Process, httpx.Client]]:
    """The server on a free port, once it says that it is ready; stopped at the end, if it is not yet."""
    process = shop.start("serve", "--port", "0", *options)
    try:
        wait_until(lambda: process.has_said("Stop with Ctrl-C.") or not process.running(), "the server is ready")
        found = ADDRESS.search(process.err.read_text(encoding="utf-8").replace("0.0.0.0", "127.0.0.1"))
        assert found, process.err.read_text(encoding="utf-8")
        with httpx.Client(base_url=found[1], timeout=30) as client:
            yield process, client
    finally:
        if process.running():
            process.signal(signal.SIGTERM)
            process.finish()


def search(client: httpx.Client) -> httpx.Response:
    return client.get("/search", params={"query": "lamp 7"})


def test_it_says_when_it_is_ready_answers_and_stops(shop: Shop) -> None:
    with served(shop) as (process, client):
        assert process.has_said("products: ready")
        answer = search(client)
        assert answer.status_code == 200
        assert len(answer.json()["results"]) == 10
        assert client.get("/health").json()["ready"] is True
        # The client keeps its connection open: that must not keep the server.
        process.signal(signal.SIGTERM)
        ended = process.finish()
    assert (ended.code, ended.out) == (0, "")
    assert "Traceback" not in ended.err
    with pytest.raises(httpx.ConnectError):
        search(client.__class__(base_url=client.base_url))


def test_ctrl_c_ends_it_without_a_traceback(shop: Shop) -> None:
    with served(shop) as (process, client):
        assert search(client).status_code == 200
        process.signal(signal.SIGINT)
        ended = process.finish()
    assert ended.code == 130
    assert "Traceback" not in ended.err


def test_a_port_that_is_taken_is_said_before_a_model_is_loaded(shop: Shop, model: EmbeddingServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        asked = model.requests
        ended = shop.run("serve", "--port", str(port))
    assert (ended.code, ended.out) == (2, "")
    assert f"Port {port} of 127.0.0.1 is taken by another program." in ended.err
    assert f"rowvec serve --port {port + 1}" in ended.err
    assert model.requests == asked


def test_a_host_that_is_not_this_machine(shop: Shop) -> None:
    ended = replace(shop, variables={**shop.variables, "ROWVEC_API_KEY": KEY}).run("serve", "--host", "192.0.2.1")
    assert ended.code == 2
    assert "192.0.2.1 port 8000: Cannot assign requested address." in ended.err
    assert "--host takes an address of this machine" in ended.err


def test_another_host_needs_a_key(shop: Shop) -> None:
    ended = shop.run("serve", "--host", "0.0.0.0")
    assert ended.code == 2
    assert "would let everybody on the network search without a key" in ended.err
    assert "ROWVEC_API_KEY" in ended.err
    locked = replace(shop, variables={**shop.variables, "ROWVEC_API_KEY": KEY})
    with served(locked, "--host", "0.0.0.0") as (process, client):
        assert search(client).status_code == 401
        assert client.get("/search", params={"query": "lamp"}, headers={"X-API-Key": KEY}).status_code == 200
        assert KEY not in process.err.read_text(encoding="utf-8")


def test_it_outlives_a_database_that_goes_away_and_comes_back(shop: Shop, postgres_url: str, server: str) -> None:
    name = re.search(r"/(test_\w+)\?", postgres_url)
    assert name is not None
    gate = sql.SQL("alter database {} with allow_connections {}")
    # Only the server's own connections may break.
    with psycopg.connect(server, autocommit=True) as administrator, served(shop) as (process, client):
        assert search(client).status_code == 200
        administrator.execute(gate.format(sql.Identifier(name[1]), sql.SQL("false")))
        try:
            administrator.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name[1]]
            )
            answer = search(client)
            assert answer.status_code == 503
            assert answer.json()["error"]["message"] == "The vector store does not answer now."
            assert "Retry-After" in answer.headers
            assert client.get("/health/live").status_code == 200
        finally:
            administrator.execute(gate.format(sql.Identifier(name[1]), sql.SQL("true")))
        wait_until(lambda: search(client).status_code == 200, "searches are answered again")
        assert process.running()


def test_it_starts_without_its_database_and_searches_as_soon_as_it_is_there(shop: Shop, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("alter table products_vectors rename to elsewhere")
        with served(shop) as (process, client):
            assert process.has_said("products: ") and not process.has_said("products: ready")
            answer = search(client)
            assert answer.status_code == 503
            assert "`rowvec check`" in answer.json()["error"]["hint"]
            assert client.get("/health").status_code == 503
            connection.execute("alter table elsewhere rename to products_vectors")
            wait_until(lambda: search(client).status_code == 200, "searches are answered")


def test_silent_connections_take_not_all_descriptors_and_fill_no_log(shop: Shop) -> None:
    with served(shop) as (process, client):
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (200, 200))
        silent = [socket.create_connection((client.base_url.host, client.base_url.port)) for _ in range(400)]
        for number in range(20):
            assert client.get("/search", params={"query": f"lamp {number}"}).status_code == 200
        assert process.err.stat().st_size < 20_000
        for each in silent:
            each.close()
