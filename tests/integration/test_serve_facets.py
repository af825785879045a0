"""Facets, pages and browsing over HTTP and as a tool: the same answers as the Searcher's, and mistakes in words."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from rowvec.filters import bind, parse
from rowvec.pipeline import Pipeline
from rowvec.searcher import Refine, Searcher

QUERY = "brake pads 7"


def posted(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def ids(found: dict[str, Any]) -> list[Any]:
    return [hit["id"] for hit in found["results"]]


@pytest.mark.parametrize("mode", ["semantic", "keyword", "hybrid"])
def test_facets_count_what_the_filter_passes(client: httpx.Client, products: Pipeline, mode: str) -> None:
    asked: dict[str, Any] = {"facets": ["new", "stock", "added"], "facet_limit": 5}
    found = posted(client, f"/search/{mode}", query=QUERY, limit=2, filters="price < 60", **asked)
    rows = [number for number in range(1, 61) if number * 1.5 < 60]
    assert found["total"] == found["facets"]["rows"] == len(rows)
    assert found["facets"]["scope"] == "filtered rows"
    columns = found["facets"]["columns"]
    assert columns["new"] == {
        "kind": "values", "other": 0, "missing": 0, "distinct": 2,
        "values": [{"value": False, "count": 20}, {"value": True, "count": 19}],
    }  # fmt: skip
    assert columns["stock"]["kind"] == "numbers"
    assert [each["count"] for each in columns["stock"]["bins"]] == [sum(n % 10 == s for n in rows) for s in range(10)]
    assert (columns["added"]["kind"], columns["added"]["unit"]) == ("dates", "week")
    assert columns["added"]["min"] == "2024-01-02T00:00:00Z"
    by_address = client.get(
        "/search", params={"query": QUERY, "limit": 2, "mode": mode, "where": "price < 60", **asked}
    ).json()
    assert by_address["facets"] == found["facets"]


def test_pages_follow_each_other_by_cursor_and_by_offset(client: httpx.Client) -> None:
    whole = ids(posted(client, "/search/hybrid", query=QUERY, limit=24))
    found, after = [], None
    for _ in range(3):
        page = posted(client, "/search/hybrid", query=QUERY, limit=8, after=after)
        found += ids(page)
        after = page["next"]
    assert found == whole
    assert ids(posted(client, "/search/hybrid", query=QUERY, limit=8, offset=16)) == whole[16:]
    assert posted(client, "/search/semantic", query=QUERY, offset=500)["results"] == []
    assert posted(client, "/search/semantic", query=QUERY, limit=100)["next"] is None


def test_one_hit_a_value(client: httpx.Client, products: Pipeline) -> None:
    found = posted(client, "/search/semantic", query=QUERY, limit=20, distinct="stock")
    stocks = [hit["metadata"]["stock"] for hit in found["results"]]
    assert sorted(stocks) == list(range(10))
    searcher = Searcher(products.store, products.embedder, products.spec)
    expected = searcher.search(QUERY, limit=20, refine=Refine(distinct="stock"))
    assert ids(found) == [hit.key for hit in expected.hits]


def test_rows_are_browsed(client: httpx.Client, products: Pipeline) -> None:
    found = posted(client, "/search/browse", limit=7, filters={"new": True}, order="price desc", facets=["stock"])
    assert ids(found) == [60, 58, 56, 54, 52, 50, 48]
    assert {hit["score"] for hit in found["results"]} == {None}
    assert (found["total"], found["exact"], found["facets"]["rows"]) == (30, True, 30)
    second = posted(client, "/search/browse", limit=100, filters={"new": True}, order="price desc", after=found["next"])
    assert ids(second) == list(range(46, 0, -2))
    assert second["next"] is None
    where = bind(parse("new"), products.spec.metadata)
    searcher = Searcher(products.store, products.embedder, products.spec)
    assert searcher.search(None, where=where).total == 30


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("semantic", {"query": QUERY, "facets": ["stocks"]}, "There is no metadata column 'stocks'."),
    ("semantic", {"query": QUERY, "facets": "stock"}, "'facets'"),
    ("semantic", {"query": QUERY, "facets": ["stock"], "facet_limit": 1001}, "'facet_limit'"),
    ("semantic", {"query": QUERY, "order": "price"}, "There is no field 'order' here."),
    ("semantic", {"query": QUERY, "offset": -1}, "'offset'"),
    ("semantic", {"query": QUERY, "offset": 20_000}, "10,000 are the most"),
    ("semantic", {"query": QUERY, "distinct": "colour"}, "There is no metadata column 'colour'."),
    ("semantic", {"query": QUERY, "after": "abc"}, "'abc' is not a cursor, or not a whole one."),
    ("browse", {"order": "prize"}, "There is no metadata column 'prize'."),
    ("browse", {"query": QUERY}, "There is no field 'query' here."),
    ("browse", {"offset": 1, "after": "abc"}, "both an offset and a cursor"),
]


@pytest.mark.parametrize(("path", "body", "said"), MISTAKES, ids=str)
def test_a_mistake_is_said(client: httpx.Client, path: str, body: dict[str, Any], said: str) -> None:
    reply = client.post(f"/search/{path}", json=body)
    assert reply.status_code in (400, 422), reply.text
    assert said in reply.json()["error"]["message"]


def test_a_cursor_of_another_filter_is_told_so(client: httpx.Client) -> None:
    after = posted(client, "/search/semantic", query=QUERY, limit=2, filters={"new": True})["next"]
    reply = client.post("/search/semantic", json={"query": QUERY, "limit": 2, "after": after})
    assert reply.json()["error"]["message"] == "The cursor belongs to another filter."


def test_an_agent_gets_the_same(client: httpx.Client) -> None:
    arguments = {"facets": ["stock"], "order": "price desc", "limit": 3, "where": "new"}
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "search_rows", "arguments": arguments},
    }
    reply = client.post("/mcp", json=call, headers={"accept": "application/json, text/event-stream"}).json()
    found = reply["result"]["structuredContent"]
    assert [hit["id"] for hit in found["results"]] == [60, 58, 56]
    assert (found["total"], sum(each["count"] for each in found["facets"]["columns"]["stock"]["bins"])) == (30, 30)
    assert found["next"]
