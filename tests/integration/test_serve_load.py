"""What callers who ask for much, slowly or not at all do to the others."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from rowvec import assemble, assemble_search
from rowvec.config import load
from rowvec.serve.guard import connections
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.types import Embedded
from tests.integration.serve_rig import application, client_of, filled_store, product_pipeline, serving
from tests.servers.openai import EmbeddingServer

LIST = {"input": [f"text {number}" for number in range(320)]}


class Held(HashEmbedder):
    """Each list of texts waits for the test."""

    def __init__(self, concurrency: int = 2) -> None:
        super().__init__(16, concurrency=concurrency)
        self.steps = threading.Semaphore(0)
        self.begun = 0

    def embed(self, texts: Sequence[str]) -> Embedded:
        self.begun += 1
        assert self.steps.acquire(timeout=30)
        return super().embed(texts)


@pytest.fixture
def held() -> Iterator[tuple[Held, httpx.Client]]:
    embedder = Held()
    embedder.steps.release(100)
    pipeline = product_pipeline(embedder=embedder, count=5)
    embedder.steps, embedder.begun, embedder.calls = threading.Semaphore(0), 0, 0
    with client_of(application(pipeline, threads=2)) as client:
        yield embedder, client
        embedder.steps.release(1000)


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def test_lists_of_texts_take_no_place_of_a_search(held: tuple[Held, httpx.Client]) -> None:
    embedder, client = held
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(client.post, "/v1/embeddings", json=LIST) for _ in range(8)]
        until(lambda: embedder.begun >= 1 and sum(each.done() for each in asked) == 4, "the others are sent away")
        for number in range(10):
            assert client.get("/search", params={"query": f"new query {number}"}).status_code == 200
        embedder.steps.release(1000)
        replies = [each.result() for each in asked]
    assert sorted(reply.status_code for reply in replies) == [200] * 4 + [503] * 4
    refused = next(reply for reply in replies if reply.status_code == 503)
    assert refused.json()["error"]["message"].startswith("The server embeds as many lists of texts as it can.")
    assert refused.headers["Retry-After"] == "1"


def test_a_query_gets_its_turn_between_two_parts_of_a_list() -> None:
    embedder = Held(concurrency=1)
    embedder.steps.release(100)
    pipeline = product_pipeline(embedder=embedder, count=5)
    embedder.steps, embedder.begun = threading.Semaphore(0), 0
    with client_of(application(pipeline)) as client, ThreadPoolExecutor(2) as pool:
        pool.submit(client.post, "/v1/embeddings", json=LIST)
        until(lambda: embedder.begun == 1, "the list is begun")
        searched = pool.submit(client.get, "/search", params={"query": "new query"})
        for _ in range(5):
            embedder.steps.release()
            time.sleep(0.1)
        assert searched.result(5).status_code == 200
        assert embedder.begun < 10
        embedder.steps.release(1000)


def test_work_for_a_caller_who_left_ends(held: tuple[Held, httpx.Client]) -> None:
    embedder, client = held
    body = json.dumps(LIST).encode()
    with closing(raw(client)) as caller:
        caller.sendall(head("POST /v1/embeddings", len(body)) + body)
        until(lambda: embedder.begun == 1, "the list is begun")
    time.sleep(0.2)
    embedder.steps.release(1000)
    until(lambda: busy(client) == 0, "the place is free")
    assert sum(text.startswith("text ") for text in embedder.texts) == 32


def busy(client: httpx.Client) -> int:
    # Another caller gets all four places where they are free.
    small = {"input": ["one"]}
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: client.post("/v1/embeddings", json=small).status_code, range(4)))
    return sum(status != 200 for status in replies)


def raw(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20)


def connection(client: httpx.Client) -> HTTPConnection:
    return HTTPConnection(client.base_url.host, client.base_url.port, timeout=20)


def head(line: str, length: int) -> bytes:
    return (
        f"{line} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def received(caller: socket.socket) -> bytes:
    """All there is until the server closes."""
    parts = []
    while part := caller.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    "sent", [b"", b"G", b"GET /search?query=x HTTP/1.1\r\nHost: loc", head("POST /search/semantic", 20) + b"{"]
)
def test_a_request_that_does_not_arrive_is_ended(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.3)
    with client_of(application(product_pipeline(count=1))) as client, closing(raw(client)) as caller:
        caller.sendall(sent)
        reply = received(caller)
        assert reply.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"The request took too long to arrive." in reply
        assert client.get("/search", params={"query": "x"}).status_code == 200


def test_so_is_one_that_comes_letter_by_letter_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1.0)
    with client_of(application(product_pipeline(count=1))) as client, closing(raw(client)) as caller:
        caller.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert caller.recv(65536).startswith(b"HTTP/1.1 200")
        with pytest.raises(OSError, match=r"reset|pipe"):
            dribble(caller, b"GET /health/live HTTP/1.1\r\nX: " + b"x" * 1000)


def dribble(caller: socket.socket, message: bytes) -> None:
    for letter in message:
        caller.sendall(bytes([letter]))
        time.sleep(0.05)


def test_and_an_answer_that_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "READ_SECONDS", 0.3)
    pipeline = product_pipeline(embedder=HashEmbedder(512), count=1)
    with client_of(application(pipeline)) as client, closing(socket.socket()) as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.settimeout(30)
        caller.connect((client.base_url.host, client.base_url.port))
        body = json.dumps({"input": ["a"] * 1500}).encode()
        caller.sendall(head("POST /v1/embeddings", len(body)) + body)
        caller.recv(1, socket.MSG_PEEK)
        time.sleep(3)
        reply = received(caller)
        length = re.search(rb"content-length: (\d+)", reply)
        assert length is not None
        assert len(reply) < int(length[1]), "the rest was given up"


def test_the_silent_make_room_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "most_connections", lambda: 10)
    with serving(application(product_pipeline(count=1))) as url, httpx.Client(base_url=url) as client:
        silent = [raw(client) for _ in range(30)]
        assert client.get("/search", params={"query": "x"}).status_code == 200
        replies = [received(each) for each in silent[:20]]
        assert all(b" 503 " in reply and b"too many connections" in reply for reply in replies)
        for each in silent:
            each.close()


def test_whoever_has_asked_before_makes_room_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "most_connections", lambda: 10)
    with client_of(application(product_pipeline(count=1))) as client, closing(connection(client)) as kept:
        for _ in range(3):
            kept.request("GET", "/health")
            with kept.getresponse() as reply:
                assert (reply.status, reply.will_close) == (200, False)
                reply.read()
            silent = [raw(client) for _ in range(30)]
            assert all(b" 503 " in received(each) for each in silent[:20])
            for each in silent:
                each.close()


def test_a_filter_that_reads_every_row_many_times_is_refused() -> None:
    with client_of(application(product_pipeline(count=5))) as client:
        for count, status in ((5, 200), (6, 422)):
            where = " or ".join(f"name contains '{number}'" for number in range(count))
            reply = client.get("/search", params={"query": "x", "where": where})
            assert reply.status_code == status
            many = {"not": {"or": [{"name": {"contains": str(number)}} for number in range(count)]}}
            assert client.post("/search/semantic", json={"query": "x", "filters": many}).status_code == status
        assert reply.json()["error"]["message"] == "The filter uses contains or like 6 times; this server allows 5."


def test_a_budget_that_is_spent_has_one_too(tmp_path: Path) -> None:
    with EmbeddingServer(dimension=1536) as model:
        (tmp_path / "rowvec.toml").write_text(
            f"""
            [pipelines.things]
            source = {{ kind = "files", paths = "things.csv", key = "id" }}
            store = {{ kind = "libsql", url = "v.db" }}

            [pipelines.things.embedder]
            kind = "openai"
            model = "text-embedding-3-small"
            base_url = "{model.url}"
            api_key = "test-key"
            price_per_million = 1
            max_cost = 0.00004
            """
        )
        (tmp_path / "things.csv").write_text("id,name\n1,lamp\n")
        loaded = load(tmp_path)
        with closing(assemble.assemble(loaded, loaded.pipeline())) as pipeline:
            sync(pipeline)
        searched = assemble_search.assemble(loaded, loaded.pipeline())
        with closing(searched), client_of(application(searched)) as client:
            replies = [client.get("/search", params={"query": f"a lamp {number}"}) for number in range(40)]
            assert replies[0].status_code == 200
            assert replies[-1].status_code == 503
            assert replies[-1].json()["error"]["message"] == "The budget for the embedding model is spent."
            assert client.get("/search", params={"query": "lamp", "mode": "keyword"}).status_code == 200
            assert 1e-6 * model.billed_tokens <= 0.00008, "twice the budget: that of the sync, and that of the server"


def test_a_statement_that_was_cancelled_has_an_answer_of_its_own(postgres_url: str) -> None:
    with filled_store(postgres_url, "cancelled_search") as store:
        url = urlsplit(postgres_url)._replace(path="/cancelled_search").geturl()
        impatient = PostgresStore(url, "products", pipeline="products", readers=4, statement_seconds=0.3)
        with client_of(application(product_pipeline(impatient, synced=False))) as client:
            assert client.get("/search", params={"query": "x"}).status_code == 200
            with psycopg.connect(url) as other:
                other.execute("lock table products in access exclusive mode")
                reply = client.get("/search", params={"query": "y"})
            assert reply.status_code == 422
            assert reply.json()["error"]["message"] == "The database took longer for this than a request may take."
        impatient.close()
        store.close()
