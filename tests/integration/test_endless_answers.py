"""Services whose answers do not end: no sync hangs because of one, and none fills the memory."""

from __future__ import annotations

import gzip
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rowvec.api.remote import Remote
from rowvec.embedders.openai.client import OpenAIEmbedder
from rowvec.errors import EmbedderUnavailable, ServerError, StoreError
from rowvec.stores.libsql.database import Statement
from rowvec.stores.libsql.remote import RemoteDatabase
from tests.servers.loopback import Handler, LoopbackServer

Write = Callable[[bytes], object]
BOMB = gzip.compress(b" " * 2**28, 1)


class Endless(Handler):
    """`/drip/...` sends a byte now and then, `/flood/...` more than there is memory, `/bomb/...` what unpacks to it."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        packed = {"Content-Encoding": "gzip"} if kind == "bomb" else {}
        if kind == "bomb":
            self.reply(200, BOMB, packed)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(2**40))
        self.end_headers()
        while True:
            self.wfile.write(b" " if kind == "drip" else b" " * 2**20)
            self.wfile.flush()
            if kind == "drip":
                time.sleep(0.02)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(Endless) as server:
        yield server


@contextmanager
def bounded_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 2**10


@pytest.mark.parametrize(
    ("kind", "said"), [("drip", "did not end its answer"), ("flood", "more than"), ("bomb", "more than")]
)
def test_an_answer_of_an_embedding_service_ends(kind: str, said: str, server: LoopbackServer) -> None:
    url = f"http://{server.address}/{kind}/v1"
    embedder = OpenAIEmbedder("m", base_url=url, dimensions=64, timeout=0.1, max_tries=1, backoff=0.01)
    with bounded_memory(), pytest.raises(EmbedderUnavailable, match=said):
        embedder.embed(["lamp"])
    embedder.close()


@pytest.mark.parametrize(("kind", "said"), [("drip", "did not end its answer"), ("flood", "more than")])
def test_an_answer_to_the_client_ends(
    kind: str, said: str, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowvec.api.remote.MOST_BYTES", 2**24)
    remote = Remote(f"http://{server.address}/{kind}", None, timeout=0.1, tries=1)
    with bounded_memory(), pytest.raises(ServerError, match=said):
        remote.get("/status")
    remote.close()


@pytest.mark.parametrize(
    ("kind", "said"), [("drip", "did not end its answer"), ("flood", "more than"), ("bomb", "more than")]
)
@pytest.mark.parametrize("writes", [True, False])
def test_an_answer_of_a_libsql_server_ends(
    kind: str, said: str, writes: bool, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowvec.stores.libsql.remote.MOST_BYTES", 2**24)
    database = RemoteDatabase(f"http://{server.address}/{kind}", timeout=0.1, tries=1)
    with bounded_memory(), pytest.raises(StoreError, match=said):
        database.transact([Statement("select 1")]) if writes else database.query("select 1")
    database.close()
