"""Bad input and bad days: one shape of error, no secret in it, and the server goes on."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import psycopg
import pytest

from rowvec.errors import SourceUnavailable
from rowvec.serve import api
from rowvec.serve.parameters import check_encoding
from rowvec.serve.problems import Problem
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.testing import HashEmbedder, MemoryStore
from rowvec.testing.generation import MemoryGeneration
from tests.integration.serve_rig import application, client_of, filled_store, product_pipeline

SQL = "'; drop table products; --"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module", params=["memory", "postgres"])
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    if request.param == "memory":
        with client_of(application(product_pipeline())) as client:
            yield client
        return
    with (
        filled_store(request.getfixturevalue("server")) as store,
        client_of(application(product_pipeline(store, synced=False))) as client,
    ):
        yield client


def error(reply: httpx.Response, status: int) -> str:
    assert reply.status_code == status, reply.text
    found = reply.json()
    assert found.keys() == {"error"}
    assert found["error"].keys() == {"message", "hint"}
    assert "Traceback" not in reply.text
    return f"{found['error']['message']} {found['error']['hint']}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"query": ""}, "query"),
        ({"query": " \n\t "}, "empty"),
        ({"query": "x" * 100_000}, "10000 characters"),
        ({"query": "x\0y"}, "NUL"),
        ({"query": None}, "query"),
        ({"query": ["x"]}, "query"),
        ({}, "'query' is missing"),
        ([], "JSON object"),
        ({"query": "x", "limit": 0}, "limit"),
        ({"query": "x", "limit": -1}, "limit"),
        ({"query": "x", "limit": 10**9}, "limit"),
        ({"query": "x", "limit": "10"}, "limit"),
        ({"query": "x", "limit": 10**400}, "limit"),
        ({"query": "x", "limit": True}, "limit"),
        ({"query": "x", "filter": {"price": 1}}, "no field 'filter' here. Did you mean 'filters'?"),
        ({"query": "x", "where": "price = 1"}, "Did you mean 'filters'?"),
        ({"q": "x"}, "no field 'q' here. Did you mean 'query'?"),
        ({"query": "x", "top_k": 3}, "Did you mean 'limit'?"),
        ({"query": "x", "filters": []}, "filters"),
        ({"query": "x", "filters": ""}, "The filter is empty"),
        ({"query": "x", "filters": "price <"}, "the filter ends here"),
        ({"query": "x", "filters": {"prise": 1}}, "Did you mean 'price'?"),
        ({"query": "x", "filters": {"price": "cheap"}}, "number"),
        ({"query": "x", "filters": {"stock": 1.5}}, "integer"),
        ({"query": "x", "filters": {"new": "yes"}}, "boolean"),
        ({"query": "x", "filters": {"added": "yesterday"}}, "timestamp"),
        ({"query": "x", "filters": {"price": {"~": 1}}}, "operator"),
        ({"query": "x", "filters": {"name": "a\0b"}}, "NUL"),
        ({"query": "x", "filters": {"a\0b": 1}}, "no metadata column"),
        ({"query": "x", "filters": {"\ud800": 1}}, "no metadata column"),
        ({"query": "\ud800"}, "query"),
    ],
)
@pytest.mark.parametrize("mode", ["semantic", "hybrid"])
def test_a_request_that_cannot_be_is_refused_in_words(client: httpx.Client, mode: str, body: Any, said: str) -> None:
    reply = client.post(f"/search/{mode}", content=json.dumps(body), headers=JSON)
    assert said in error(reply, 422)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"query": "\xff"}', b"[" * 100_000, b'{"a":' * 100_000, b"NaN", b"\0"]
)
def test_a_body_that_is_no_json_object_is_refused(client: httpx.Client, body: bytes) -> None:
    reply = client.post("/search/semantic", content=body, headers=JSON)
    error(reply, 422 if body in (b"", b"NaN") else 400)


def test_a_body_of_another_type_is_refused(client: httpx.Client) -> None:
    reply = client.post("/search/semantic", content=b'{"query": "x"}', headers={"Content-Type": "text/plain"})
    assert "application/json" in error(reply, 422)


def test_filters_nested_too_deep_are_refused(client: httpx.Client) -> None:
    filters: dict[str, Any] = {"price": 1}
    for _ in range(200):
        filters = {"not": filters}
    assert "deep" in error(client.post("/search/semantic", json={"query": "x", "filters": filters}), 422)


@pytest.mark.parametrize(
    "parameters", [{}, {"query": ""}, {"query": "x", "limit": "many"}, {"query": "x", "mode": "sql"}]
)
def test_so_is_an_address_that_cannot_be(client: httpx.Client, parameters: dict[str, str]) -> None:
    error(client.get("/search", params=parameters), 422)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("filters", "where"), ("filter", "where"), ("were", "where"), ("q", "query"), ("limt", "limit"), ("k", "limit")],
)
@pytest.mark.parametrize("path", ["/search", "/pipelines/products/search"])
def test_a_parameter_that_there_is_not_is_refused_and_not_dropped(
    client: httpx.Client, path: str, name: str, meant: str
) -> None:
    said = error(client.get(path, params={"query": "lamp", name: "price<10"}), 422)
    assert said == f"There is no parameter {name!r} here. Did you mean {meant!r}?"


@pytest.mark.parametrize("name", ["where", "query", "limit", "distinct"])
def test_a_parameter_that_is_there_twice_is_refused_and_not_dropped(client: httpx.Client, name: str) -> None:
    """Of two filters the last one counted, and rows that the first one excludes were hits."""
    several = httpx.QueryParams([("query", "lamp"), (name, "price < 10"), (name, "price > 5")])
    said = error(client.get("/search", params=several), 422)
    assert said.startswith(f"The parameter {name!r} is there {3 if name == 'query' else 2} times")


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ('{"query": "lamp", "filters": "price < 10", "filters": "price > 5"}', "Join conditions by `and`."),
        ('{"query": "lamp", "filters": {"price": {"<": 10}, "price": {">": 5}}}', "Join conditions by `and`."),
        ('{"query": "lamp", "filters": {"or": [{"price": {"<": 10, "<": 20}}]}}', "Join conditions by `and`."),
        ('{"query": "lamp", "limit": 1, "limit": 2}', "Leave one of them out."),
        ('{"query": "lamp", "ranking": {"fusion": "rrf", "fusion": "rrf"}}', "Leave one of them out."),
    ],
)
def test_a_field_that_is_there_twice_in_a_body_is_refused_and_not_dropped(
    client: httpx.Client, body: str, hint: str
) -> None:
    answer = client.post("/search/semantic", content=body, headers={"Content-Type": "application/json"})
    said = error(answer, 422)
    assert "2 times in one object" in said
    assert hint in said


def test_a_large_body_is_answered_as_a_small_one_is(client: httpx.Client) -> None:
    """Beyond 100,000 bytes the last of two filters counted, and rows that the first one excludes were hits."""
    query = "lamp " * 30_000
    for fields in ('"limit": 1, "limit": 2', '"filters": "price < 10", "filters": "price > 5"'):
        small, large = (
            client.post(
                "/search/keyword",
                content=f'{{"query": "{text}", {fields}}}',
                headers={"Content-Type": "application/json"},
            )
            for text in ("lamp", query)
        )
        assert error(large, 422) == error(small, 422)
        assert "2 times in one object" in error(large, 422)


def test_every_route_that_takes_a_body_refuses_a_field_that_is_there_twice(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    taking = [path for path, methods in paths.items() if "requestBody" in methods.get("post", {})]
    assert len(taking) > 5
    for path in taking:
        reply = client.post(re.sub(r"{.*?}", "products", path), content=b'{"x": 1, "x": 2}', headers=JSON)
        assert (reply.status_code, "2 times in one object" in reply.text) == (400 if "/v" in path else 422, True), path


@pytest.mark.parametrize(
    "address",
    [
        "/search?query=%ff",
        "/search?query=lamp&where=name='%C3'",
        "/search?qu%fery=lamp",
        "/search?query=%ed%a0%80",
        "/search/similar/%ff",
        "/search/similar/1?limit=%e4",
        "/pipelines/%ff/search?query=lamp",
        "/ui/row/products?key=%ff",
        "/v1/models/%ff",
    ],
)
def test_an_address_that_is_not_text_is_refused(client: httpx.Client, address: str) -> None:
    """The bytes were replaced by U+FFFD, and that was looked for."""
    reply = client.get(address)
    assert reply.status_code == 400, reply.text
    said = reply.json()["error"]["message"]
    assert "of the address has %" in said
    assert "UTF-8" in said


def test_letters_that_a_client_did_not_escape_are_those_letters() -> None:
    asked: dict[str, Any] = {"query_string": "query=Müller&where=name='é'".encode(), "raw_path": b"/search"}
    check_encoding(asked)
    assert asked["query_string"] == b"query=M%C3%BCller&where=name='%C3%A9'"
    asked["query_string"] = b"query=M\xfcller"
    with pytest.raises(Problem):
        check_encoding(asked)


def test_facets_may_be_there_several_times(client: httpx.Client) -> None:
    answer = client.get("/search", params={"query": "lamp", "facets": ["price", "stock"]})
    assert answer.status_code == 200
    assert answer.json()["facets"]["columns"].keys() == {"price", "stock"}


@pytest.mark.parametrize("number", ["1_0", "+5", " 5", "5 ", "\u0665", "0x5", "nan", "1e1"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/search?query=lamp", "limit"),
        ("/search?query=lamp", "offset"),
        ("/search?query=lamp", "passages"),
        ("/search?query=lamp", "facet_limit"),
        ("/search/similar/1?explain=true", "limit"),
        ("/quality?fresh=false", "rows"),
        ("/quality?fresh=false", "bound"),
        ("/ui/map/search?query=lamp&version=1", "limit"),
        ("/ui/map/row?id=1", "version"),
    ],
)
def test_a_number_that_is_not_written_as_one_is_refused(
    client: httpx.Client, path: str, name: str, number: str
) -> None:
    """Python's own parser takes 1_0 for 10. 1e1 is a number, and no whole one."""
    said = error(client.get(f"{path}&{urlencode({name: number})}"), 422)
    assert name in said


@pytest.mark.parametrize("path", ["/status", "/health", "/pipelines", "/metrics"])
def test_no_route_drops_a_parameter(client: httpx.Client, path: str) -> None:
    assert "no parameter 'where'" in error(client.get(path, params={"where": "price < 10"}), 422)


def test_similar_rows_are_those_that_pass_the_filter(client: httpx.Client) -> None:
    found = client.get("/search/similar/1", params={"where": "price < 10"}).json()["results"]
    assert found and all(hit["metadata"]["price"] < 10 for hit in found)
    assert "no parameter 'filter'" in error(client.get("/search/similar/1", params={"filter": "price < 10"}), 422)


def test_an_empty_filter_is_not_every_row(client: httpx.Client) -> None:
    assert "The filter is empty" in error(client.get("/search", params={"query": "lamp", "where": " "}), 422)


@pytest.mark.parametrize(("key", "status"), [("99999", 404), ("9" * 25, 404), ("-1", 404), ("abc", 422), ("1.5", 422)])
def test_a_row_that_is_not_there_is_not_found(client: httpx.Client, key: str, status: int) -> None:
    assert key in error(client.get(f"/search/similar/{key}"), status)


def test_unknown_pipelines_and_addresses_are_not_found(client: httpx.Client) -> None:
    assert "Did you mean 'products'?" in error(client.get("/pipelines/product/search?query=x"), 404)
    error(client.get("/pipelines/x%00y/search?query=x"), 404)
    error(client.get("/wp-login.php"), 404)
    error(client.get("/static/../api.py"), 404)
    error(client.get("/static/%2e%2e/api.py"), 404)
    error(client.put("/search/semantic"), 405)


def test_sql_is_only_text(client: httpx.Client) -> None:
    for mode in ("semantic", "keyword", "hybrid"):
        reply = client.post(f"/search/{mode}", json={"query": SQL, "filters": {"name": SQL}})
        assert (reply.status_code, reply.json()["results"]) == (200, [])
    error(client.post("/search/semantic", json={"query": "x", "filters": {SQL: 1}}), 422)
    error(client.post("/search/semantic", json={"query": "x", "filters": {"stock": SQL}}), 422)
    error(client.get("/search", params={"query": "x", "where": SQL}), 422)
    error(client.get("/search", params={"query": "x", "mode": SQL}), 422)
    error(client.get(f"/search/similar/{SQL}"), 422)
    error(client.get(f"/pipelines/{SQL}/search", params={"query": "x"}), 404)
    assert len(client.get("/search", params={"query": "x", "limit": 60}).json()["results"]) == 60


def test_a_database_that_went_away_is_503_until_it_is_back(server: str) -> None:
    name = "serve_gone"
    with filled_store(server, name) as store:
        pipeline = product_pipeline(store, synced=False)
        with client_of(application(pipeline)) as client, psycopg.connect(server, autocommit=True) as admin:
            search = {"query": "disc rotor 8", "limit": 1}
            assert client.post("/search/semantic", json=search).status_code == 200
            admin.execute(f'alter database "{name}" with allow_connections false')
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
            reply = client.post("/search/semantic", json=search)
            message = error(reply, 503)
            assert int(reply.headers["retry-after"]) >= 1
            assert name not in message
            assert "postgres" not in message.lower()
            health = client.get("/health")
            assert (health.status_code, health.json()["live"]) in ((200, True), (503, True))
            admin.execute(f'alter database "{name}" with allow_connections true')
            assert _answers_again(client, search)


def _answers_again(client: httpx.Client, search: dict[str, Any]) -> bool:
    # Each connection that was cut may be noticed by one request.
    return any(client.post("/search/semantic", json=search).status_code == 200 for _ in range(40))


def test_a_source_that_does_not_answer_keeps_no_search_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = product_pipeline()
    asked, answers = threading.Semaphore(0), threading.Event()
    times = 0

    def count() -> int:
        nonlocal times
        times += 1
        asked.release()
        answers.wait(30)
        raise SourceUnavailable("The source does not answer.")

    monkeypatch.setattr(pipeline.source, "count", count)
    with client_of(application(pipeline, threads=2)) as client, ThreadPoolExecutor(8) as pool:
        paths = ["/status", "/ui/status/body", "/metrics"] * 3
        waiting = [pool.submit(client.get, path) for path in paths]
        assert asked.acquire(timeout=10)
        assert client.get("/search", params={"query": "brake pads"}, timeout=10).status_code == 200
        answers.set()
        assert {each.result().status_code for each in waiting} == {200, 503}
    assert times == 1, "who waited through it does not ask again"


def test_a_server_starts_without_its_database_and_says_so() -> None:
    store = PostgresStore("postgresql://somebody:topsecret@127.0.0.1:1/nowhere", "t", pipeline="products")
    with client_of(application(product_pipeline(store, synced=False))) as client:
        message = error(client.post("/search/semantic", json={"query": "x"}), 503)
        health = client.get("/health")
        assert health.status_code == 503
        assert health.json()["ready"] is False
        error(client.get("/status"), 503)
        assert 'rowvec_up{pipeline="products"} 0.0' in client.get("/metrics").text
    for text in (message, health.text):
        assert "topsecret" not in text
    assert "127.0.0.1" not in message


def test_a_pipeline_without_vectors_is_served_as_soon_as_it_has_them() -> None:
    store = MemoryStore()
    with client_of(application(product_pipeline(store, synced=False))) as client:
        assert "has no vectors yet. Run `rowvec sync`" in error(client.get("/search?query=x"), 503)
        assert "There are no vectors yet. `rowvec sync`" in error(client.get("/quality"), 503)
        assert "rowvec sync" in client.get("/health").json()["details"]["products"]["problem"]
        product_pipeline(store)
        assert any(client.get("/search?query=x").status_code == 200 for _ in range(3000))


def test_vectors_that_are_gone_are_no_fault_of_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "vectors.db"
    with client_of(application(product_pipeline(LibsqlStore(str(path), table="products")))) as client:
        path.unlink()
        for address in ("/search?query=x", "/search/similar/5"):
            assert str(tmp_path) not in error(client.get(address), 503)


def test_vectors_of_another_model_are_not_searched() -> None:
    store = MemoryStore()
    product_pipeline(store, embedder=HashEmbedder(16, model="old"))
    with client_of(application(product_pipeline(store, synced=False))) as client:
        error(client.get("/search?query=x"), 503)
        assert "made by old" in client.get("/health").json()["details"]["products"]["problem"]


def test_a_defect_is_500_with_an_id_that_the_log_has_too(caplog: pytest.LogCaptureFixture) -> None:
    class BrokenRows(MemoryGeneration):
        def nearest(self, *values: Any, **named: Any) -> Any:
            raise ZeroDivisionError("secret detail")

    class Broken(MemoryStore):
        handle = BrokenRows

    with client_of(application(product_pipeline(Broken()))) as client:
        message = error(client.get("/search?query=x"), 500)
        assert "secret detail" not in message
        incident = message.split("id ")[1].split(".")[0]
        record = next(record for record in caplog.records if incident in record.getMessage())
        assert record.exc_info is not None
        assert client.get("/health").status_code == 200


def test_a_check_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    app, looks, went_on = application(product_pipeline(count=1)), [], threading.Event()

    def check() -> None:
        looks.append(1)
        if len(looks) == 1:
            raise RuntimeError("A defect.")
        went_on.set()

    service = app.state.context.services["products"]
    service.warm()
    monkeypatch.setattr(api, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(service, "check", check)
    with client_of(app):
        assert went_on.wait(10)
    assert "The check of the pipeline products failed." in caplog.text
