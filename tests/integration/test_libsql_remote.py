"""The libSQL store over HTTP, when the network and the server misbehave."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pytest

from rowvec.errors import ConfigError, StoreError, StoreUnavailable
from rowvec.stores.auditor import Audited
from rowvec.stores.base import GenerationHandle, TableSpec, existing
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.libsql.database import Statement
from rowvec.stores.libsql.remote import RemoteDatabase
from rowvec.stores.libsql.write import KEYS
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing import HashEmbedder
from rowvec.testing.contract.divided_samples import DIVIDING, W, X, divided
from rowvec.types import ColumnType, Document, Entry
from tests.servers.hrana import HranaServer, serving
from tests.servers.loopback import Handler, LoopbackServer
from tests.support import digest

DIMENSION = 8
EMBEDDER = HashEmbedder(DIMENSION)
SPEC = TableSpec("items", "id", ColumnType.INTEGER, DIMENSION)


def rows(store: LibsqlStore, spec: TableSpec = SPEC) -> GenerationHandle:
    return existing(store, spec)


TOKEN = "eyJhbGciOi-secret-token"


def entry(key: int, text: str, *, expected: bytes | None = None) -> Entry:
    return Entry(Document(key, text, (), digest(text), digest(text)), EMBEDDER.embed_query(text), expected)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HranaServer]:
    with serving(tmp_path_factory.mktemp("hrana")) as running:
        yield running


@pytest.fixture
def store(server: HranaServer, tmp_path: Path) -> Iterator[LibsqlStore]:
    opened = LibsqlStore(server.url(tmp_path.name), table="items")
    opened.prepare(SPEC)
    rows(opened).write(WriteBatch([entry(1, "lamp"), entry(2, "chair")]))
    yield opened
    server.control(cut_before=0, cut_after=0, match="")
    opened.close()


BATCH = WriteBatch([entry(1, "red lamp", expected=digest("lamp")), entry(3, "table")], deletes=[2])


def carried_out(store: LibsqlStore) -> bool:
    found = rows(store)
    return (
        found.keys(None, 10) == [1, 3] and found.keyword("red", 5).keys == [1] and found.keyword("chair", 5).keys == []
    )


@pytest.mark.parametrize("cut", ["cut_before", "cut_after"])
def test_a_batch_whose_connection_is_cut_is_sent_again(store: LibsqlStore, server: HranaServer, cut: str) -> None:
    server.control(**{cut: 1, "match": "commit"})
    assert rows(store).write(BATCH) == 0
    assert carried_out(store)


def test_a_batch_whose_answers_all_got_lost_can_be_written_again_without_conflict(
    store: LibsqlStore, server: HranaServer
) -> None:
    server.control(cut_after=99, match="commit")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        rows(store).write(BATCH)
    server.control(cut_after=0)
    assert rows(store).write(BATCH) == 0
    assert carried_out(store)


def test_a_batch_that_never_arrived_changed_nothing(store: LibsqlStore, server: HranaServer) -> None:
    server.control(cut_before=99, match="commit")
    with pytest.raises(StoreUnavailable):
        rows(store).write(BATCH)
    assert rows(store).keys(None, 10) == [1, 2]


def test_a_large_batch_of_new_passages_is_written_once_where_it_is_sent_twice(
    server: HranaServer, tmp_path: Path
) -> None:
    with closing(LibsqlStore(server.url(tmp_path.name), table="items")) as store:
        store.prepare(DIVIDING)
        live = rows(store, DIVIDING)
        server.control(cut_after=1, match="commit")
        assert live.write(WriteBatch([divided(key, ("red ", W), ("lamp", X)) for key in range(KEYS + 1)])) == 0
        assert isinstance(live, Audited)
        assert live.auditor().faults(10) == []


def test_a_batch_of_long_texts_takes_several_requests(
    server: HranaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may refuse a request that is too long, and a statement is never divided."""
    sizes = []
    post = RemoteDatabase.post

    def measured(database: RemoteDatabase, base: str | None, body: str, *, reads: bool = False) -> Any:
        sizes.append(len(body))
        return post(database, base, body, reads=reads)

    monkeypatch.setattr(RemoteDatabase, "post", measured)
    with closing(LibsqlStore(server.url(tmp_path.name), table="items")) as store:
        spec = replace(SPEC, keeps_texts=True)
        store.prepare(spec)
        assert rows(store, spec).write(WriteBatch([entry(key, "żółw " * 6_000) for key in range(80)])) == 0
    assert 2**20 < max(sizes) < 4.5 * 2**20


def test_a_run_that_was_begun_twice_is_one_run(store: LibsqlStore, server: HranaServer) -> None:
    with store.lock():
        server.control(cut_after=1, match="rowvec_runs")
        store.begin_run("items")
    assert len(store.runs()) == 1


def test_a_lock_whose_answer_was_lost_is_held_all_the_same(store: LibsqlStore, server: HranaServer) -> None:
    server.control(cut_after=1, match="insert into rowvec_locks")
    with store.lock():
        assert rows(store).count() == 2


def test_a_cut_search_is_asked_again(store: LibsqlStore, server: HranaServer) -> None:
    server.control(cut_after=1, match="vector_distance")
    assert rows(store).nearest(EMBEDDER.embed_query("lamp"), 1).keys == [1]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_that_is_busy_for_a_moment_is_asked_again(
    store: LibsqlStore, server: HranaServer, status: int
) -> None:
    server.control(status=status)
    assert rows(store).write(BATCH) == 0
    assert carried_out(store)


def test_the_store_goes_on_after_the_server_was_killed_and_started_again(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        store = LibsqlStore(server.url("vectors"), table="items")
        store.prepare(SPEC)
        rows(store).write(WriteBatch([entry(1, "lamp"), entry(2, "chair")]))
        server.kill()
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
            rows(store).write(BATCH)
        assert not store.checks(SPEC)[0].ok
        server.start()
        assert rows(store).write(BATCH) == 0
        assert carried_out(store)
        store.close()


@pytest.fixture
def database(server: HranaServer, tmp_path: Path) -> Iterator[RemoteDatabase]:
    opened = RemoteDatabase(server.url(tmp_path.name))
    yield opened
    opened.close()


def test_a_transaction_too_large_for_one_request_is_still_one_transaction(
    database: RemoteDatabase, server: HranaServer
) -> None:
    database.query("create table t (x)")
    large = [Statement("insert into t values (?)", (bytes(1 << 20),)) for _ in range(10)]
    before = server.control()["requests"]
    assert database.transact(large) == [1] * 10
    assert server.control()["requests"] - before > 1
    assert database.query("select count(*) from t") == [(10,)]
    with pytest.raises(StoreError, match="no such column"):
        database.transact([*large, Statement("insert into t values (nonsense)")])
    assert database.query("select count(*) from t") == [(10,)]
    server.control(cut_before=1, match="commit")
    assert database.transact(large) == [1] * 10
    assert database.query("select count(*) from t") == [(20,)]


def test_every_kind_of_value_comes_back_from_the_server(database: RemoteDatabase) -> None:
    values = (None, 5, -(2**31), 2.5, "naïve 😀", b"\x00\xff\x10", "", b"")
    assert database.query("select ?, ?, ?, ?, ?, ?, ?, ?", values) == [values]
    database.query("create table t (x integer)")
    database.query("insert into t values (?)", (2**53 + 1,))
    assert database.query("select x from t where x = ?", (2**53 + 1,)) == [(2**53 + 1,)]
    with pytest.raises(StoreError, match="infinite"):
        database.query("select ?", (np.inf,))


@pytest.mark.parametrize("form", ["{}", "{}?authToken=" + TOKEN])
def test_the_token_opens_the_database_and_is_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(tmp_path, TOKEN) as server:
        url = form.format(server.url("vectors"))
        store = LibsqlStore(url, table="items", token=None if "authToken" in form else TOKEN)
        store.prepare(SPEC)
        server.kill()
        with pytest.raises(StoreUnavailable) as caught:
            rows(store).count()
        shown = [str(caught.value), repr(store), store.location, str(store.checks(SPEC)), str(vars(store))]
        store.close()
    assert "127.0.0.1" in store.location
    assert TOKEN not in "".join(shown) + caplog.text


def test_a_wrong_token_is_an_error_that_says_so(tmp_path: Path) -> None:
    with serving(tmp_path, TOKEN) as server:
        store = LibsqlStore(server.url("vectors"), table="items", token="wrong-token")
        with pytest.raises(StoreError, match="refused the token") as caught:
            store.prepare(SPEC)
        store.close()
    assert not caught.value.transient
    assert "wrong-token" not in str(caught.value)


def test_a_token_that_is_not_set_is_an_error_that_says_so(tmp_path: Path) -> None:
    with serving(tmp_path, TOKEN) as server:
        store = LibsqlStore(server.url("vectors"), table="items")
        with pytest.raises(StoreError, match=r"needs a token \(HTTP 401\), and store\.token is not set"):
            store.prepare(SPEC)
        store.close()


class Page(Handler):
    """Some web server that knows nothing of databases."""

    def do_POST(self) -> None:
        body = b"<html>hello</html>" if self.path.startswith("/html") else json.dumps({"hello": 1}).encode()
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(404 if self.path.startswith("/missing") else 200, body, {})


@pytest.mark.parametrize("path", ["html", "json", "missing"])
def test_an_address_that_is_no_libsql_server_is_told(path: str) -> None:
    with LoopbackServer(Page) as pages:
        store = LibsqlStore(f"http://{pages.address}/{path}", table="items")
        with pytest.raises(StoreError, match="does not answer as a libSQL server") as caught:
            store.prepare(SPEC)
        store.close()
    assert not caught.value.transient


class Damaged(Handler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(200, b"no gzip", {"Content-Encoding": "gzip"})


def test_an_answer_that_was_damaged_on_its_way_is_one_that_did_not_come() -> None:
    with LoopbackServer(Damaged) as proxy:
        database = RemoteDatabase(f"http://{proxy.address}", tries=2)
        with pytest.raises(StoreUnavailable, match="does not answer"):
            database.query("select 1")
        database.close()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("libsql://db.turso.io", "https://db.turso.io"),
        ("libsql://127.0.0.1:8080?tls=0", "http://127.0.0.1:8080"),
        ("https://db.example.com/one/", "https://db.example.com/one"),
        ("ws://localhost:8080", "http://localhost:8080"),
    ],
)
def test_an_address_is_spoken_to_over_http(url: str, address: str) -> None:
    database = RemoteDatabase(url)
    assert database.address == address
    database.close()


class Odd(Handler):
    """Answers with the last part of the path, as a server that speaks something like Hrana may."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(200, unquote(self.path.split("/")[1]).encode(), {"Content-Type": "application/json"})


@pytest.mark.parametrize(
    "answer",
    [
        '"results"',
        '{"results": []}',
        '{"baton": null, "results": [5]}',
        '{"baton": null, "results": [{"type": "ok"}]}',
        '{"baton": null, "results": [{"type": "error"}]}',
        '{"baton": null, "results": [{"type": "ok", "response": {"result": {"rows": [[{"type": "integer"}]]}}}]}',
    ],
)
def test_an_answer_of_another_form_is_told(answer: str) -> None:
    with LoopbackServer(Odd) as server:
        database = RemoteDatabase(f"http://{server.address}/{quote(answer)}", tries=1)
        for ask in (lambda: database.query("select 1"), lambda: database.transact([Statement("select 1")])):
            with pytest.raises(StoreError, match="does not answer as a libSQL server") as caught:
                ask()
            assert not caught.value.transient
        database.close()


@pytest.mark.parametrize("token", ["hush\nhush", "hush hush", "hüsh", "“hush”"])
@pytest.mark.parametrize("in_url", [False, True])
def test_a_token_that_no_header_carries_is_refused_without_being_shown(token: str, in_url: bool) -> None:
    url = f"http://127.0.0.1:9?authToken={quote(token)}" if in_url else "http://127.0.0.1:9"
    with pytest.raises(ConfigError, match=r"store\.token") as caught:
        RemoteDatabase(url, None if in_url else token)
    assert token not in str(caught.value)
    assert "hush" not in str(caught.value)
