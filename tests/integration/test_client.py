"""`rowvec.Client` against the real server: what it gives is what the library gives."""

from __future__ import annotations

import asyncio
import datetime as dt
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

import pytest

import rowvec
from rowvec.api.project_pipeline import ProjectPipeline
from rowvec.errors import (
    ConfigError,
    RowvecError,
    SearchError,
    ServerError,
    ServerSlow,
    ServerUnavailable,
    TokenRefused,
)
from rowvec.filters import parse
from rowvec.pipeline import Pipeline
from rowvec.searcher import SearchResult
from rowvec.stores.base import TableSpec
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from rowvec.types import Column, ColumnType, Document, Row
from tests.integration.adapters_rig import QUERY, in_memory, ranking
from tests.integration.serve_rig import KEY, application, product_pipeline, project_pipeline, serving
from tests.support import digest

COLUMNS = (
    Column("name", ColumnType.TEXT),
    Column("price", ColumnType.DECIMAL),
    Column("seen", ColumnType.DATE),
    Column("changed", ColumnType.TIMESTAMP),
    Column("opens", ColumnType.TIME),
    Column("takes", ColumnType.INTERVAL),
    Column("maker", ColumnType.UUID),
    Column("picture", ColumnType.BYTES),
    Column("attrs", ColumnType.JSON),
    Column("tags", ColumnType.ARRAY),
)


def _document(row: Row) -> Document:
    values = tuple(row.values[column.name] for column in COLUMNS)
    return Document(row.key, row.values["name"], values, digest(row.values["name"]), digest(repr(values)))


def every_type() -> Pipeline:
    """Rows whose keys are UUIDs, with a column of each type that JSON has no form for."""
    moment = dt.datetime(2026, 3, 1, 12, 30, 15, 250_000, dt.UTC)
    data: dict[Any, dict[str, Any]] = {
        UUID(int=number): {
            "name": f"brake pads {number}",
            "price": Decimal(number) / 8 if number != 3 else Decimal("0.12345678901234567890123"),
            "seen": dt.date(2026, 1, number),
            "changed": moment + dt.timedelta(days=number),
            "opens": dt.time(8, number),
            "takes": dt.timedelta(days=number, microseconds=5),
            "maker": UUID(int=number % 3),
            "picture": bytes([number, 255]),
            "attrs": {"a": [number, None]},
            "tags": ["new", "old"],
        }
        for number in range(1, 13)
    }
    data[UUID(int=13)] = {**dict.fromkeys(data[UUID(int=1)]), "name": "nothing known"}
    embedder, source = HashEmbedder(16), MemorySource(data)
    spec = TableSpec("typed", "id", source.key_type, 16, COLUMNS, fingerprint=embedder.fingerprint, recipe="name")
    made = Pipeline("typed", source, _document, ("name",), embedder, MemoryStore(), spec)
    sync(made)
    return made


typed, products = cache(every_type), cache(in_memory)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    parts = product_pipeline(name="parts ü", count=5)
    app = application(typed(), products().searchable, parts, api_keys=(KEY,), rate=1e6)
    with serving(app) as found:
        yield found


@pytest.fixture
def client(url: str) -> Iterator[rowvec.Client]:
    with rowvec.Client(url, "products", key=KEY) as found:
        yield found


def timeless(found: SearchResult) -> SearchResult:
    return replace(found, embed_ms=0.0, search_ms=0.0, rerank_ms=0.0)


ASKED: list[dict[str, Any]] = [
    {"query": QUERY},
    {"query": QUERY, "mode": "keyword", "limit": 3, "explain": True},
    {"query": QUERY, "mode": "hybrid", "explain": True, "passages": 2, "ranking": {"semantic_weight": 0.9}},
    {"query": QUERY, "where": "price < 40 and not new = true", "offset": 2},
    {"query": QUERY, "facets": ["name", "price", "new", "added"], "facet_limit": 2, "distinct": "stock"},
    {"where": "stock = 3", "order": "price desc", "limit": 2},
    {"limit": 1},
]


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_search_gives_what_the_library_gives(client: rowvec.Client, asked: dict[str, Any]) -> None:
    assert timeless(client.search(**asked)) == timeless(products().search(**asked))


@pytest.mark.parametrize(
    "asked",
    [
        {"query": QUERY, "limit": 20},
        {"query": QUERY, "facets": ["name", "price", "seen", "changed", "opens", "maker"]},
        {"order": "takes desc", "where": "changed > '2026-03-04'"},
    ],
    ids=str,
)
def test_values_of_every_type_and_keys_come_back_as_they_are(url: str, asked: dict[str, Any]) -> None:
    library = project_pipeline(typed(), name="typed")
    with rowvec.Client(url, "typed", key=KEY) as client:
        found, known = client.search(**asked), library.search(**asked)
        assert timeless(found) == timeless(known)
        assert [type(value) for hit in found.hits for value in (hit.key, *hit.metadata.values())] == [
            type(value) for hit in known.hits for value in (hit.key, *hit.metadata.values())
        ]
        key = UUID(int=4)
        assert timeless(client.similar(key, limit=3)) == timeless(library.similar(key, limit=3))
        assert client.texts([key, UUID(int=999)]) == library.texts([key, UUID(int=999)]) == {key: "brake pads 4"}


def test_pages_follow_each_other(client: rowvec.Client) -> None:
    found: list[Any] = []
    after = None
    while True:
        page = client.search(QUERY, limit=25, after=after)
        found += [hit.key for hit in page.hits]
        after = page.next
        if after is None:
            break
    assert found == [hit.key for hit in products().search(QUERY, limit=60).hits]


def test_a_filter_may_be_text_json_or_parsed(client: rowvec.Client) -> None:
    forms: list[Any] = ["price < 6", {"price": {"<": 6}}, {"price": {"<": Decimal(6)}}, parse("price < 6")]
    for where in forms:
        assert {hit.key for hit in client.search(QUERY, where=where).hits} == {1, 2, 3}
        assert {hit.key for hit in client.similar(1, where=where).hits} == {2, 3}


def test_coroutines_have_the_same_calls(client: rowvec.Client) -> None:
    async def ask() -> list[SearchResult]:
        return await asyncio.gather(*(client.search.aio(QUERY, limit=limit) for limit in range(1, 9)))

    found = asyncio.run(ask())
    assert [len(each.hits) for each in found] == list(range(1, 9))


def test_a_pipeline_of_any_name_is_reached(url: str) -> None:
    with rowvec.Client(url, "parts ü", key=KEY) as client:
        assert client.name == "parts ü"
        assert len(client.search(QUERY).hits) == 5


def test_a_token_shows_its_rows_alone(url: str) -> None:
    token = rowvec.token({"products": {"stock": 3}}, api_key=KEY)
    with rowvec.Client(url, key=token) as client:
        assert client.name == "products"
        assert {hit.metadata["stock"] for hit in client.search(QUERY, limit=60).hits} == {3}
        assert client.texts([3, 4]).keys() == {3}
        with pytest.raises(SearchError, match="no row '4'"):
            client.similar(4)
        with pytest.raises(TokenRefused, match="does not open this"):
            client.status()
        with pytest.raises(TokenRefused, match="does not open this"):
            client.rerank(QUERY, ["one"])


def test_status_counts_the_rows(client: rowvec.Client) -> None:
    assert client.status()["rows"] == 60


def test_texts_are_reranked_and_a_late_reranker_is_a_problem_and_no_error() -> None:
    with ranking() as server:
        pipeline: ProjectPipeline = in_memory(server)
        try:
            with serving(application(pipeline.searchable)) as url, rowvec.Client(url) as client:
                texts = ["brake 3", "brake 9", "brake 5"]
                assert client.rerank(QUERY, texts).scores == pipeline.rerank(QUERY, texts).scores == [3.0, 9.0, 5.0]
                assert client.rerank(QUERY, []).scores == []
                assert client.search(QUERY, limit=3).reranked
        finally:
            pipeline.searchable.reranker.close()


def test_a_pipeline_without_a_reranker_says_what_to_add(client: rowvec.Client) -> None:
    with pytest.raises(SearchError, match=r"has no reranker.*rowvec\.toml"):
        client.rerank(QUERY, ["one"])


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda c: c.search(QUERY, where="prise < 3"), SearchError, "'prise'"),
        (lambda c: c.search(QUERY, where="price <"), SearchError, "filter"),
        (lambda c: c.search(" "), SearchError, "empty"),
        (lambda c: c.search(QUERY, limit=0), SearchError, "'limit'"),
        (lambda c: c.search(QUERY, after="x"), SearchError, "not a cursor"),
        (lambda c: c.search(QUERY, distinct="colour"), SearchError, "'colour'"),
        (lambda c: c.similar(4711), SearchError, "no row '4711'"),
        (lambda c: c.similar("x"), SearchError, "not an integer"),
        (lambda c: c.search(QUERY, where={"prise": 3}), SearchError, "'prise'"),
        (lambda c: c.search(QUERY, ranking={"semantic_weight": float("nan")}), SearchError, "written as JSON"),
        (lambda c: c.search(QUERY, limit=Decimal(3)), SearchError, "written as JSON"),
        (lambda c: c.search("brake \ud800"), SearchError, "query"),
        (lambda c: c.search(QUERY, order="price desc"), SearchError, "takes no `order`"),
        (lambda c: c.search(distinct="supplier"), SearchError, "needs a query"),
    ],
)
def test_an_error_is_the_one_of_the_server_with_its_hint(
    client: rowvec.Client, call: Any, kind: type[RowvecError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        call(client)


def test_a_hint_comes_with_its_error(client: rowvec.Client) -> None:
    with pytest.raises(SearchError) as caught:
        client.search(QUERY, where="prise < 3")
    assert caught.value.hint == "Did you mean 'price'?"


@pytest.mark.parametrize("name", ["prodcts", None])
def test_a_pipeline_that_is_not_there_or_not_named(url: str, name: str | None) -> None:
    with rowvec.Client(url, name, key=KEY) as client, pytest.raises(SearchError, match="pipeline") as caught:
        client.search(QUERY)
    assert "products" in str(caught.value.hint)


def test_a_wrong_key_is_refused_and_shown_nowhere(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "wrong-key-that-nobody-may-see"
    with rowvec.Client(url, "products", key=secret) as client:
        with pytest.raises(TokenRefused) as caught:
            client.search(QUERY)
        assert secret not in repr(client) + str(caught.value) + repr(caught.value)
    for held in (KEY, f"{KEY},another-key-of-the-server", f" , {KEY} , old"):
        monkeypatch.setenv("ROWVEC_API_KEY", held)
        with rowvec.Client(url, "products") as client:
            assert client.search(QUERY).hits


@pytest.mark.parametrize(
    "address",
    [
        "search.example.com",
        "ftp://host",
        "http://",
        "http://user:secret@host",
        "http://host/?key=secret",
        "http://h#x",
        "http://[::1",
        "http://host:port",
        "http://host:99999",
    ],
)
def test_an_address_that_is_none_is_refused_without_being_shown(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rowvec.Client(address)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with (
        rowvec.Client("http://127.0.0.1:9", tries=2) as client,
        pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:9"),
    ):
        client.search(QUERY)


Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def answering(*answers: Answer) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these answers, one after the other and the last one again; yields it and what was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, headers, body = answers[min(len(asked), len(answers)) - 1]
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


ONE = json.dumps({"pipelines": [{"name": "p", "key_type": "integer", "columns": []}]}).encode()


def test_a_gateway_that_gave_up_waiting_is_not_asked_again() -> None:
    with answering((504, {}, b"")) as (url, asked), pytest.raises(ServerSlow, match="no answer in time"):
        rowvec.Client(url).search(QUERY)
    assert len(asked) == 1


@pytest.mark.parametrize("status", [429, 503, 502])
def test_what_may_pass_is_asked_again(status: int) -> None:
    with answering((status, {"retry-after": "0"}, b"busy"), (200, {}, ONE)) as (url, asked):
        assert rowvec.Client(url).name == "p"
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ((503, {"retry-after": "0"}, b'{"error": {"message": "Full.", "hint": null}}'), ServerUnavailable, "Full"),
        ((500, {}, b'{"error": {"message": "It failed: id 5f.", "hint": "See the log."}}'), ServerError, "id 5f"),
        ((404, {}, b"<html>not found</html>"), ServerError, "404"),
        ((301, {"location": "https://elsewhere.example"}, b""), ServerError, "elsewhere.example"),
        ((200, {}, b"<html>hello</html>"), ServerError, "something else than JSON"),
        ((200, {}, b"[1]"), ServerError, "something else than JSON"),
        ((200, {}, b'{"pipelines": [{"title": "p"}]}'), ServerError, "cannot be read"),
        ((400, {}, b'{"error": "odd"}'), ServerError, "400"),
    ],
)
def test_an_answer_that_is_none_is_an_error_in_words(answer: Answer, kind: type[RowvecError], message: str) -> None:
    with answering(answer) as (url, asked), pytest.raises(kind, match=message):
        rowvec.Client(url, tries=2).search(QUERY)
    assert len(asked) == (2 if kind is ServerUnavailable else 1)


def test_a_server_that_says_nothing_is_not_asked_twice() -> None:
    from socket import create_server

    with create_server(("127.0.0.1", 0)) as silent:
        client = rowvec.Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)
        with client, pytest.raises(ServerError, match=r"no answer within 0\.2 s"):
            client.search(QUERY)


@pytest.mark.parametrize("given", [{"timeout": 0}, {"tries": 0}])
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        rowvec.Client("http://localhost", **given)
