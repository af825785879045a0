"""The log of queries through HTTP and MCP, the events of its hits, and what becomes of them."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from rowvec.evaluation.asked import asked
from rowvec.evaluation.logged import LoggedQuery
from rowvec.evaluation.query_log import QueryLog
from rowvec.serve import ServeSettings, Service, create_app
from tests.integration.serve_rig import KEY, client_of, product_pipeline, serving
from tests.integration.test_serve_tokens import headers, said

MINE = {"X-API-Key": KEY}
Read = Callable[[int], list[LoggedQuery]]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[QueryLog]:
    made = QueryLog(tmp_path / "queries.db", dt.timedelta(days=30))
    yield made
    made.close()


@pytest.fixture
def client(log: QueryLog) -> Iterator[httpx.Client]:
    services = {name: Service(product_pipeline(name=name, count=20)) for name in ("products", "parts")}
    with client_of(create_app(services, ServeSettings(api_keys=(KEY,)), log)) as found:
        yield found


@pytest.fixture
def read(log: QueryLog, tmp_path: Path) -> Read:
    """The log, as soon as it holds this many records."""

    def when(records: int) -> list[LoggedQuery]:
        until = time.monotonic() + 20
        while log.written < records and time.monotonic() < until:
            time.sleep(0.01)
        return asked(tmp_path / "queries.db", "products", "latest", None, 100)

    return when


def search(client: httpx.Client, **body: Any) -> dict[str, Any]:
    reply = client.post("/pipelines/products/search/hybrid", json={"query": "oil filter", **body}, headers=MINE)
    found: dict[str, Any] = reply.json()
    return found


def test_every_search_is_logged_and_has_an_id(client: httpx.Client, read: Read) -> None:
    ids = [search(client)["query_id"], search(client, filters={"stock": {">": 90}})["query_id"]]
    ids.append(client.get("/pipelines/products/search?query=pads&where=stock=3", headers=MINE).json()["query_id"])
    ids.append(client.get("/pipelines/products/search/similar/3", headers=MINE).json()["query_id"])
    assert len(set(ids)) == 4
    found = {each.mode + each.query: each for each in read(4)}
    assert found.keys() == {"hybridoil filter", "semanticpads", "similar3"}
    assert found["semanticpads"].filter == "stock=3" and found["semanticpads"].milliseconds > 0
    assert found["similar3"].hits == 10


def test_what_was_refused_is_not_logged(client: httpx.Client, log: QueryLog) -> None:
    assert "query_id" not in search(client, filters={"nothing": 1})
    assert client.post("/pipelines/products/search/hybrid", json={"query": "secret"}).status_code == 401
    log.close()
    assert log.written == 0


def test_it_holds_no_address_and_no_token(client: httpx.Client, log: QueryLog, tmp_path: Path) -> None:
    mine = headers({"stock": 7})
    client.get("/search?query=pads", headers={**mine, "User-Agent": "a-telling-browser"})
    log.close()
    with sqlite3.connect(tmp_path / "queries.db") as database:
        (row,) = database.execute("select * from queries").fetchall()
        named = [name for (_, name, *_) in database.execute("pragma table_info(queries)")]
    database.close()
    assert named == ["id", "at", "pipeline", "mode", "query", "filter", "hits", "keys", "ms"]
    kept = (tmp_path / "queries.db").read_bytes() + repr(row).encode()
    for part in (b"127.0.0.1", b"telling", b'"stock"', *mine["Authorization"].encode().split(b".")):
        assert part not in kept


def test_clicks_and_conversions_are_kept_with_their_query(client: httpx.Client, read: Read) -> None:
    reply = search(client)
    first, second = reply["results"][0]["id"], reply["results"][1]["id"]
    for key, kind in ((first, "click"), (first, "click"), (str(second), "conversion")):
        sent = client.post("/events", json={"query_id": reply["query_id"], "key": key, "type": kind}, headers=MINE)
        assert (sent.status_code, sent.json()) == (202, {"recorded": True})
    (found,) = read(4)
    assert (found.clicks, found.conversions) == (1, 1)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"query_id": "0" * 32}, 404, "There is no query"),
        ({"query_id": "7"}, 422, "query_id"),
        ({"key": 4711}, 422, "is not a hit of that query"),
        ({"key": None}, 422, "key"),
        ({"type": "like"}, 422, "type"),
        ({"position": 0}, 422, "position"),
        ({"user": "me"}, 422, "There is no field 'user' here."),
    ],
)
def test_an_event_that_is_wrong_is_told_why(
    client: httpx.Client, change: dict[str, Any], status: int, words: str
) -> None:
    reply = search(client)
    body = {"query_id": reply["query_id"], "key": reply["results"][0]["id"], "type": "click", **change}
    found = said(client.post("/events", json=body, headers=MINE))
    assert found[0] == status and words in found[1]


def test_a_token_tells_of_its_own_pipelines_alone(client: httpx.Client) -> None:
    asked = client.get("/pipelines/products/search?query=pads", headers=headers({"stock": 7})).json()
    body = {"query_id": asked["query_id"], "key": asked["results"][0]["id"], "type": "click"}
    assert client.post("/events", json=body, headers=headers({"stock": 7})).status_code == 202
    assert client.post("/events", json=body).status_code == 401
    status, message = said(client.post("/events", json=body, headers=headers({"stock": 7}, pipeline="parts")))
    assert (status, message) == (404, f"There is no query {asked['query_id']!r} in the log.")


def test_without_a_log_there_are_no_ids_and_no_events() -> None:
    app = create_app({"products": Service(product_pipeline(count=3))})
    with client_of(app) as client:
        assert "query_id" not in client.get("/search?query=pads").json()
        body = {"query_id": "0" * 32, "key": 1, "type": "click"}
        assert said(client.post("/events", json=body)) == (404, "This server keeps no log of queries.")
        assert "query_log" not in client.get("/metrics").text


def test_metrics_say_what_was_lost(client: httpx.Client, log: QueryLog, read: Read) -> None:
    search(client)
    read(1)
    log.dropped += 3
    text = client.get("/metrics", headers=MINE).text
    assert "rowvec_query_log_written_total 1.0" in text and "rowvec_query_log_dropped_total 3.0" in text


def test_agents_are_logged_too(tmp_path: Path) -> None:
    pytest.importorskip("mcp", reason="the extra `mcp` is not installed")
    from tests.integration.test_mcp import found, over_http

    log = QueryLog(tmp_path / "queries.db", dt.timedelta(days=30))
    app = create_app({"products": Service(product_pipeline(count=20))}, ServeSettings(api_keys=(KEY,)), log)

    async def call(url: str) -> list[Any]:
        async with over_http(f"{url}/mcp", KEY) as client:
            return [
                await client.call_tool("search", {"query": "spark plug"}),
                await client.call_tool("search_rows", {"query": "brake", "where": "stock > 3"}),
                await client.call_tool("similar", {"key": "4"}),
            ]

    with serving(app) as url:
        _, rows, similar = anyio.run(call, url)
    log.close()
    ids = {found(rows)["query_id"], found(similar)["query_id"]}
    kept = asked(tmp_path / "queries.db", "products", "latest", None, 9)
    assert len(ids) == 2 and {(each.mode, each.query, each.filter) for each in kept} == {
        ("hybrid", "spark plug", None), ("hybrid", "brake", "stock > 3"), ("similar", "4", None),
    }  # fmt: skip


def test_a_reply_stays_what_it_was(client: httpx.Client) -> None:
    documented = client.get("/openapi.json").json()["components"]["schemas"]["SearchReply"]["properties"]
    assert set(search(client)) <= set(documented)
    assert json.loads(client.get("/pipelines/products/search?query=x", headers=MINE).text)["query_id"]
