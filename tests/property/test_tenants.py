"""Whatever the holder of a search token asks, no row, count or word of another tenant comes back.

Every text and every row names its tenant and its number, as `t3r17`: a reply is searched for the names of others.
Beside the server of all tenants there is one for each tenant that holds its rows alone: where both must agree to the
letter, such as in refusals, they are compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

import rowvec
from rowvec.pipeline import Pipeline
from rowvec.rerankers.service import ServiceReranker
from rowvec.stores.base import Store, TableSpec
from rowvec.stores.libsql.store import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from rowvec.types import Column, ColumnType, Document, Row
from tests.integration.serve_rig import KEY, application, serving
from tests.servers.rerank import KEY as RERANK_KEY
from tests.servers.rerank import RerankServer
from tests.support import digest
from tests.torture import TORTURE

TENANTS, ROWS = (1, 2, 3, 4), 12
COLUMNS = (
    Column("tenant_id", ColumnType.INTEGER),
    Column("title", ColumnType.TEXT),
    Column("price", ColumnType.NUMBER),
    Column("attrs", ColumnType.JSON),
    Column("tags", ColumnType.ARRAY),
)
WORDS = ("brake", "pads", "rotor", "filter", "oil", "secret")
NAME = re.compile(r"t(\d)r\d+")
EXAMPLES = 10_000 if TORTURE else 300
"""Requests, over the three stores."""


def rows(tenants: tuple[int | None, ...]) -> dict[int, dict[str, Any]]:
    """Keys say whose they are: 3007 is the seventh row of tenant 3. Rows of nobody are 9001 and up."""
    found = {}
    for tenant in tenants:
        for number in range(1, ROWS + 1):
            name = f"t{tenant or 9}r{number}"
            found[(tenant or 9) * 1000 + number] = {
                "tenant_id": tenant,
                "title": f"{name} {WORDS[number % 6]}",
                "price": float(number),
                "attrs": {"owner": name, "size": number},
                "tags": [name, WORDS[number % 6]],
                # Texts of several tenants differ in the name alone.
                "text": f"{WORDS[number % 6]} {WORDS[(number + 1) % 6]} {name}",
            }
    return found


def _document(row: Row) -> Document:
    metadata = tuple(row.values[column.name] for column in COLUMNS)
    return Document(row.key, row.values["text"], metadata, digest(row.values["text"]), digest(repr(metadata)))


def pipeline(store: Store, tenants: tuple[int | None, ...], reranker: ServiceReranker | None) -> Pipeline:
    embedder, source = HashEmbedder(16), MemorySource(rows(tenants))
    spec = TableSpec("items", "id", source.key_type, 16, COLUMNS, fingerprint=embedder.fingerprint, recipe="text")
    made = Pipeline("items", source, _document, ("text",), embedder, store, spec)
    sync(made)
    return replace(made, reranker=reranker)


@dataclass(frozen=True)
class World:
    client: httpx.Client
    alone: dict[int, httpx.Client]
    tokens: dict[int, str]
    reranker: RerankServer


@pytest.fixture(scope="module", params=["memory", "libsql", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    kind, folder = request.param, tmp_path_factory.mktemp("tenants")
    with RerankServer(lambda query, text: float(len(text))) as judge, ExitStack() as stack:

        def serve(made: Pipeline) -> httpx.Client:
            url = stack.enter_context(serving(application(made, api_keys=(KEY,), rate=1e6)))
            return stack.enter_context(httpx.Client(base_url=url, timeout=60))

        reranker = ServiceReranker("cohere", judge.url("cohere"), "m", api_key=RERANK_KEY, top=5, timeout=20.0)
        store = stack.enter_context(_store(kind, folder, request))
        client = serve(pipeline(store, (*TENANTS, None), reranker))
        alone = {tenant: serve(pipeline(MemoryStore(), (tenant,), reranker)) for tenant in TENANTS}
        tokens = {tenant: rowvec.token({"items": {"tenant_id": tenant}}, api_key=KEY) for tenant in TENANTS}
        yield World(client, alone, tokens, judge)
        reranker.close()


@contextmanager
def _store(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    if kind == "memory":
        yield MemoryStore()
    elif kind == "libsql":
        with closing(LibsqlStore(str(folder / "items.db"), table="items")) as store:
            yield store
    else:
        server, name = request.getfixturevalue("server"), f"tenants_{uuid4().hex[:12]}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            url = urlsplit(server)._replace(path=f"/{name}").geturl()
            with closing(PostgresStore(url, "items", pipeline="items", readers=4)) as store:
                yield store
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


# What is asked

KEYS = st.sampled_from([1001, 1007, 2003, 3012, 4004, 9001, 5001, 1999, 0, -1]).map(str) | st.sampled_from(
    ["x", "../../metrics", "1001/../2003", "1e3", "", "٣", "1001 or 1=1"]
)
TEXTS = st.lists(
    st.sampled_from([*WORDS, "t1r3", "t2r7", "t3r5", "t4r1", "tenant_id", "%", "'"]), min_size=1, max_size=4
).map(" ".join)
WHERE = st.sampled_from(
    [
        "tenant_id = 1", "tenant_id != 1", "tenant_id in (1, 2, 3, 4)", "tenant_id is null", "not tenant_id = 2",
        "not (tenant_id = 3 and price > 0)", "tenant_id is not null or price < 5", "price >= 0", "price < 5",
        "title like '%'", "title contains 't2'", "title like 't3%' or title like 't1%'", "attrs.owner = 't2r7'",
        "attrs.size > 3", "not attrs.owner = 'nobody'", "tags contains 't4r1'", "tags contains 'oil'",
        "tenant_id = 1) or (tenant_id = 2", "tenant_id = 1 or", "tenant = 2", "attrs.owner > 3", "price = 'x'", "",
        "title = 't2r7 pads'; --", "tenant_id between 1 and 4", "attrs.owner is null",
    ]
) | st.sampled_from(
    [
        {}, {"tenant_id": 2}, {"tenant_id": {"!=": 1}}, {"not": {"tenant_id": 3}},
        {"or": [{"tenant_id": 1}, {"price": {"<": 99}}]},
        {"or": []}, {"and": []}, {"tenant_id": None}, {"tenant_id": [1, 2, 3, 4]}, {"nothing": 1},
        {"price": {"lt": "x"}},
    ]
)  # fmt: skip
SEEN = "the cursor that was seen last, whoever got it"
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "limit": st.sampled_from([1, 3, 10, 100, 1000, 0]),
        "explain": st.booleans(),
        "passages": st.sampled_from([0, 1, 5, 20]),
        "rerank": st.sampled_from([True, False, None]),
        "facets": st.sampled_from([["tenant_id"], ["title", "price"], ["tags"], ["tenant_id", "tenant"]]),
        "facet_limit": st.sampled_from([1, 100]),
        "distinct": st.sampled_from(["tenant_id", "title"]),
        "offset": st.sampled_from([0, 3, 11, 12, 50]),
        "after": st.just(SEEN),
    },
)


@dataclass(frozen=True)
class Ask:
    method: str
    path: str
    body: Any = None


PREFIX = st.sampled_from(["", "/pipelines/items"])


def _post(prefix: str, mode: str, query: str, options: dict[str, Any], where: Any) -> Ask:
    return Ask(
        "POST", f"{prefix}/search/{mode}", {"query": query, **options, **({} if where is None else {"filters": where})}
    )


def _get(prefix: str, mode: str, query: str, options: dict[str, Any], where: Any) -> Ask:
    values = {**options, **({"where": where} if isinstance(where, str) else {})}
    listed = [(name, each) for name, value in values.items() for each in (value if name == "facets" else [value])]
    said = "".join(f"&{name}={quote(json.dumps(value).strip(chr(34)))}" for name, value in listed if value is not None)
    return Ask("GET", f"{prefix}/search?mode={mode}&query={quote(query)}{said}")


def _tool(name: str, arguments: dict[str, Any]) -> Ask:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    return Ask("POST", "/mcp", body)


MODES = st.sampled_from(["semantic", "keyword", "hybrid", "filtered"])
SEARCHES = st.builds(_post, PREFIX, MODES, TEXTS, OPTIONS, st.none() | WHERE) | st.builds(
    _get, PREFIX, st.sampled_from(["semantic", "keyword", "hybrid"]), TEXTS, OPTIONS, st.none() | WHERE
)
BROWSE = st.builds(
    lambda prefix, options, where, order: Ask(
        "POST", f"{prefix}/search/browse", {**options, **({} if where is None else {"filters": where}), **order}
    ),
    PREFIX, OPTIONS.map(lambda given: {k: v for k, v in given.items() if k not in ("explain", "rerank", "distinct")}),
    st.none() | WHERE,
    st.sampled_from([{}, {"order": "price"}, {"order": "price desc"}, {"order": "title"}, {"order": "x"}]),
)  # fmt: skip
SIMILAR = st.builds(
    lambda prefix, key, limit: Ask("GET", f"{prefix}/search/similar/{quote(key, safe='/')}?limit={limit}&passages=3"),
    PREFIX, KEYS, st.sampled_from([1, 5, 1000]),
)  # fmt: skip
ROW_TEXTS = st.builds(
    lambda prefix, keys: Ask("POST", f"{prefix}/texts", {"ids": keys}), PREFIX, st.lists(KEYS, max_size=8)
)
TOOLS = st.one_of(
    st.builds(lambda query: _tool("search", {"query": query}), TEXTS),
    st.builds(lambda key: _tool("fetch", {"id": f"items:{key}"}), KEYS),
    st.builds(
        lambda query, where, mode: _tool("search_rows", {"query": query, "where": where, "mode": mode, "limit": 100}),
        TEXTS, WHERE.filter(lambda where: isinstance(where, str)), st.sampled_from(["semantic", "keyword", "hybrid"]),
    ),
    st.builds(lambda key: _tool("similar", {"key": key, "limit": 100, "passages": 2}), KEYS),
    st.builds(
        lambda query, facets, limit: _tool("search_rows", {"query": query, "facets": facets, "limit": limit}),
        st.none() | TEXTS, st.sampled_from([["tenant_id"], ["title", "tags"]]), st.sampled_from([1, 100]),
    ),
    st.sampled_from([_tool("describe", {}), _tool("describe", {"pipeline": "items"}), _tool("status", {})]),
)  # fmt: skip
OTHERS = st.sampled_from(
    [
        Ask("GET", path) for path in (
            "/status", "/metrics", "/pipelines", "/health", "/pipelines/items/health", "/pipelines/items/status",
            "/ui/status/body", "/ui/overview/body",
            "/ui/quality/body", "/ui/events", "/ui/compare/judgements?query=oil", "/ui/map/points",
            "/ui/map/row?point=1&version=1", "/v1/models", "/api/tasks/1",
            "/pipelines/items", "/pipelines/parts/search?query=oil", "/docs", "/openapi.json", "/", "/nothing",
        )
    ]
    + [
        Ask("POST", "/v1/embeddings", {"input": "t2r7"}),
        Ask("POST", "/api/tasks/generate-embeddings", {}),
        Ask("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}),
        Ask("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "resources/list", "params": {}}),
    ]
)  # fmt: skip
PAGES = st.builds(
    lambda name, key: Ask("GET", f"/ui/row/{name}?id={quote(key)}"), st.sampled_from(["data", "metadata"]), KEYS
) | st.sampled_from([Ask("GET", "/ui/compare/about"), Ask("GET", "/ui/row/data"), Ask("GET", "/ui/row/data?key=2003")])
"""What the pages that a token opens ask for."""
ASKS = st.one_of(SEARCHES, SEARCHES, SEARCHES, BROWSE, SIMILAR, ROW_TEXTS, TOOLS, PAGES, OTHERS)


def send(client: httpx.Client, ask: Ask, credential: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {credential}", "Accept": "application/json, text/event-stream"}
    url = client.base_url.copy_with(raw_path=ask.path.encode())
    return client.request(ask.method, url, headers=headers, json=ask.body)


def pages_after(ask: Ask, cursor: str) -> Ask:
    body = {**ask.body, "after": cursor} if isinstance(ask.body, dict) and "after" in ask.body else ask.body
    return Ask(ask.method, ask.path.replace(quote(SEEN), quote(cursor)), body)


def foreign(text: str, tenant: int) -> set[str]:
    """Names and keys of other tenants' rows in a text."""
    names = {found[0] for found in NAME.finditer(text) if found[1] != str(tenant)}
    keys = {key for key in re.findall(r"(?<![\d.])[12349]0(?:0[1-9]|1[0-2])(?![\d.])", text) if key[0] != str(tenant)}
    return names | keys


def structured(reply: httpx.Response) -> Any:
    """What a tool answered."""
    result = reply.json().get("result")
    return result.get("structuredContent") if isinstance(result, dict) else None


def counts(reply: httpx.Response) -> Any:
    """Facets and totals: of all rows, so that they must be as if there were no other tenant."""
    found = structured(reply) or reply.json()
    return found.get("total"), found.get("facets")


def hits(reply: httpx.Response) -> dict[int, Any] | None:
    if not reply.headers["content-type"].startswith("application/json"):
        return None
    found = structured(reply) or reply.json()
    listed = found.get("results") if isinstance(found, dict) else None
    return None if listed is None else {hit["id"]: hit.get("metadata") for hit in listed}


def exact(ask: Ask, reply: httpx.Response) -> Any:
    """What of a reply must be as if there were no other tenant; None where times and scores are in it."""
    tool = ask.body["params"].get("name") if ask.path == "/mcp" else None
    if (
        reply.status_code >= 400
        or ask.path.startswith("/ui/")
        or tool in ("fetch", "describe", "status")
        or '"isError":true' in reply.text
    ):
        # The text beside it says the same, with the members of an object in the store's order.
        return structured(reply) or reply.json()
    return None


@pytest.mark.timeout(1200)
def test_no_row_count_or_word_of_another_tenant_is_seen(world: World) -> None:
    cursors: list[str] = []
    counted = {"requests": 0, "hits": 0, "refused": 0}

    @settings(
        max_examples=EXAMPLES // 3 + 1, deadline=None, derandomize=not TORTURE,
        suppress_health_check=list(HealthCheck), database=None,
    )  # fmt: skip
    @given(ASKS, st.sampled_from(TENANTS))
    def check(ask: Ask, tenant: int) -> None:
        began = len(world.reranker.log)
        pages = SEEN in unquote(ask.path) + json.dumps(ask.body)
        ask = pages_after(ask, cursors[-1] if cursors else "none")
        reply = send(world.client, ask, world.tokens[tenant])
        assert reply.status_code < 500, reply.text
        counted["requests"] += 1
        # What the caller has sent may come back, in an error.
        own = json.dumps(ask.body) + unquote(ask.path)
        assert foreign(reply.text, tenant) <= foreign(own, tenant), (ask, reply.text)
        for asked in world.reranker.log[began:]:
            assert not foreign(" ".join(asked.texts), tenant), (ask, asked)
        found = hits(reply)
        counted["hits"] += len(found or ())
        counted["refused"] += reply.status_code >= 400
        if found is not None:
            cursors.extend(filter(None, [(structured(reply) or reply.json()).get("next")]))
        if pages:
            return  # A cursor is of one server.
        alone = send(world.alone[tenant], ask, world.tokens[tenant])
        assert (reply.status_code, exact(ask, reply)) == (alone.status_code, exact(ask, alone)), (ask, reply.text)
        expected = hits(alone)
        if found is not None and expected is not None:
            assert len(found) == len(expected), (ask, reply.text, alone.text)
            assert counts(reply) == counts(alone), ask
            if len(found) not in (1, 3, 5, 10) and "offset" not in str(ask):
                # All that match: which of them come first, or on which page, is up to the scores.
                assert found == expected, ask

    check()
    print(counted)
    assert counted["hits"] > EXAMPLES // 3
    assert counted["refused"] > EXAMPLES // 60


def test_the_test_itself_sees_a_leak(world: World) -> None:
    """With the API key, the same questions show rows of all tenants."""
    reply = send(world.client, Ask("POST", "/search/semantic", {"query": "oil", "limit": 100}), KEY)
    assert foreign(reply.text, 1) and foreign(reply.text, 2)
    assert len(hits(reply) or ()) == ROWS * (len(TENANTS) + 1)
