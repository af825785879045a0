"""The tools for agents, asked by the protocol's own client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, TextContent

from rowvec.serve import Service
from rowvec.serve.mcp_server import Tools
from rowvec.serve.threads import Threads
from rowvec.testing import HashEmbedder, MemoryStore
from tests.integration.serve_rig import KEY, application, product_pipeline, rows, serving

TOOLS = {"search", "fetch", "search_rows", "similar", "describe", "status"}


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    made = {}
    for name, count in (("products", 60), ("parts", 20)):
        made[name] = Service(product_pipeline(MemoryStore(), name=name, count=count, embedder=HashEmbedder(16)))
        made[name].warm()
    return made


def ask(services: dict[str, Service], tool: str, **arguments: Any) -> CallToolResult:
    """One call, in this process."""

    async def call() -> CallToolResult:
        threads = Threads(2, 10)
        async with Client(Tools(lambda call: services, threads, threads).server()) as client:
            result = await client.call_tool(tool, arguments)
        threads.close()
        return result

    return anyio.run(call)


def said(result: CallToolResult) -> str:
    assert result.is_error
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def found(result: CallToolResult) -> Any:
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


def test_every_tool_only_reads_and_says_so(services: dict[str, Service]) -> None:
    async def listed() -> Any:
        threads = Threads(1, 1)
        async with Client(Tools(lambda call: services, threads, threads).server()) as client:
            return (await client.list_tools()).tools

    tools = anyio.run(listed)
    assert {tool.name for tool in tools} == TOOLS
    for tool in tools:
        assert tool.annotations.read_only_hint and not tool.annotations.open_world_hint
        assert tool.description and tool.output_schema


def test_search_and_fetch_have_the_shapes_that_chat_clients_call(services: dict[str, Service]) -> None:
    results = found(ask(services, "search", query="brake pads 7"))["results"]
    assert {"id", "title", "url", "text"} == results[0].keys()
    assert {result["id"].partition(":")[0] for result in results} == {"products", "parts"}
    best = next(result for result in results if result["id"] == "products:7")
    assert best["title"] == "brake pads 7"
    fetched = found(ask(services, "fetch", id="products:7"))
    assert fetched["text"] == "brake pads 7"
    assert fetched["metadata"]["price"] == 10.5


def test_rows_are_searched_with_a_filter_and_show_passages(services: dict[str, Service]) -> None:
    reply = found(
        ask(services, "search_rows", query="oil filter", pipeline="products", where="price < 30", limit=3, passages=1)
    )
    assert len(reply["results"]) == 3
    assert all(hit["metadata"]["price"] < 30 for hit in reply["results"])
    (passage,) = reply["results"][0]["passages"]
    assert [passage["text"][start:end] for start, end in passage["marks"]] == ["oil", "filter"]


def test_similar_describe_and_status(services: dict[str, Service]) -> None:
    similar = found(ask(services, "similar", key="7", pipeline="parts", limit=4))
    assert len(similar["results"]) == 4
    assert 7 not in [hit["id"] for hit in similar["results"]]
    described = found(ask(services, "describe"))["pipelines"]
    assert [each["name"] for each in described] == ["products", "parts"]
    assert {"name": "price", "type": "number"} in described[0]["columns"]
    assert len(described[0]["examples"]) == 3
    assert found(ask(services, "status", pipeline="parts"))["rows"] == 20


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("search_rows", {"query": "x"}, "several pipelines"),
        ("search_rows", {"query": "x", "pipeline": "product"}, "Did you mean 'products'?"),
        ("search_rows", {"query": "x", "pipeline": "parts", "where": "prise < 3"}, "prise"),
        ("search_rows", {"query": "x", "pipeline": "parts", "where": "price <"}, "price <"),
        ("search_rows", {"query": " ", "pipeline": "parts"}, "empty"),
        ("search_rows", {"query": "x" * 20_000, "pipeline": "parts"}, "10000"),
        ("search_rows", {"query": "x", "pipeline": "parts", "limit": 100_000}, "100"),
        ("search_rows", {"query": "x", "pipeline": "parts", "mode": "magic"}, "mode"),
        ("search_rows", {"query": "x", "pipeline": "parts", "filters": "price < 3"}, "Did you mean 'where'?"),
        ("search_rows", {"query": "x", "pipeline": "parts", "limit": 0}, "'limit': input should be greater than or"),
        ("search_rows", {"pipeline": "parts", "where": {"price": {"<<": 3}}}, "there is no operator '<<'"),
        ("search_rows", {"pipeline": "parts", "where": 5}, "'where': it must be an object, such as"),
        ("search", {}, "'query' is missing."),
        ("similar", {"key": "4711", "pipeline": "parts"}, "There is no row '4711'"),
        ("similar", {"key": "seven", "pipeline": "parts"}, "not an integer"),
        ("fetch", {"id": "7"}, "There is no row '7'"),
        ("fetch", {"id": "nothing:7"}, "There is no row 'nothing:7'"),
        ("fetch", {"id": "parts:4711"}, "There is no row '4711'"),
        ("drop_rows", {}, "drop_rows"),
    ],
)
def test_a_mistake_is_an_error_that_says_what_to_do(
    services: dict[str, Service], tool: str, arguments: dict[str, Any], words: str
) -> None:
    try:
        text = said(ask(services, tool, **arguments))
    except Exception as error:  # a tool that is not there is an error of the protocol
        text = "".join(map(str, getattr(error, "exceptions", [error])))
    assert words in text
    assert "pydantic" not in text and "input_value" not in text


def test_a_filter_may_be_an_object_and_a_query_of_json_stays_a_text(services: dict[str, Service]) -> None:
    for where in ({"price": {"<": 30}}, '{"price": {"<": 30}}', "price < 30"):
        rows = found(ask(services, "search_rows", pipeline="products", where=where, limit=100))["results"]
        assert rows and all(hit["metadata"]["price"] < 30 for hit in rows)
    for query in ("null", '["oil", "filter"]', '{"oil": "filter"}'):
        rows = found(ask(services, "search_rows", query=query, pipeline="products"))["results"]
        assert all(hit["score"] is not None for hit in rows), "it is searched for, and not browsed"


@asynccontextmanager
async def over_http(url: str, key: str) -> AsyncIterator[Client]:
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    with serving(application(product_pipeline(MemoryStore()), api_keys=(KEY,))) as url:
        yield f"{url}/mcp"


def test_the_server_answers_over_http_with_its_key(server_url: str) -> None:
    async def call() -> Any:
        async with over_http(server_url, KEY) as client:
            return await client.call_tool("search_rows", {"query": "spark plug 4", "limit": 2})

    assert len(found(anyio.run(call))["results"]) == 2


def test_without_the_key_nobody_gets_in(server_url: str) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        reply = httpx.post(server_url, json=asked, headers=headers)
        assert (reply.status_code, reply.json()["error"]["message"]) == (401, "The API key is missing or wrong.")


CONFIG = """
[pipelines.things]
source = { kind = "files", paths = "things.jsonl", key = "id" }
text = { columns = ["name"] }
store = { kind = "libsql", url = "things.db", metadata = ["name"] }
"""

HELLO = (
    '{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18",'
    ' "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}}'
)


@pytest.mark.slow
def test_the_command_speaks_on_stdin_and_stdout(tmp_path: Path) -> None:
    (tmp_path / "rowvec.toml").write_text(CONFIG)
    (tmp_path / "things.jsonl").write_text("".join(f'{{"id": {n}, "name": "{n} lamps"}}\n' for n in (1, 2)))
    rowvec = [sys.executable, "-m", "rowvec.cli.main"]
    subprocess.run([*rowvec, "sync", "--config", tmp_path / "rowvec.toml"], check=True, capture_output=True)
    arguments = [*rowvec[1:], "mcp", "--config", str(tmp_path / "rowvec.toml")]

    async def call() -> Any:
        async with Client(StdioServerParameters(command=sys.executable, args=arguments)) as client:
            return await client.call_tool("search", {"query": "two lamps"})

    assert [each["id"] for each in found(anyio.run(call))["results"]] == ["things:2", "things:1"]


def answered(folder: Path, lines: Sequence[str]) -> list[Any]:
    """What `rowvec mcp` says to these lines, in any order: one answer to each."""
    (folder / "rowvec.toml").write_text(CONFIG)
    (folder / "things.jsonl").write_text('{"id": 1, "name": "lamp"}\n')
    command = [sys.executable, "-m", "rowvec.cli.main"]
    subprocess.run([*command, "sync", "--config", folder / "rowvec.toml"], check=True, capture_output=True)
    arguments = [*command, "mcp", "--config", str(folder / "rowvec.toml")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n".join([*lines, ""]))
        process.stdin.flush()
        found = [json.loads(process.stdout.readline()) for _ in lines]
        process.stdin.close()
        assert process.wait() == 0
    return found


@pytest.mark.slow
def test_a_line_that_cannot_be_read_is_answered(tmp_path: Path) -> None:
    """Whoever sent it would wait for ever; the calls around it are answered too."""
    lines = ["no json", '{"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": "\\ud800"}', "[" * 100_000, "[]"]
    ping = '{"jsonrpc": "2.0", "id": 9, "method": "ping"}'
    answers = answered(tmp_path, [HELLO, *lines, ping])
    unread = [answer["error"]["code"] for answer in answers if answer["id"] is None]
    assert unread == [-32700, -32700, -32700, -32600]
    assert {answer["id"] for answer in answers} == {1, None, 9}


@pytest.mark.slow
def test_a_line_that_has_a_name_twice_is_refused_with_its_id(tmp_path: Path) -> None:
    """The last filter would count, and the first be dropped without a word."""
    told = [HELLO, TWICE, '{"jsonrpc": "2.0", "id": 7, "id": 8, "method": "ping"}']
    answers = {answer["id"]: answer for answer in answered(tmp_path, told)}
    assert answers[5]["error"]["message"] == SAID_TWICE
    assert answers[None]["error"]["message"].startswith("The name 'id' is there twice")


TWICE = (
    '{"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "search_rows", "arguments":'
    ' {"where": "price < 3", "where": "price < 30"}}}'
)
SAID_TWICE = "The name 'where' is there twice in one object. Leave one of the two out."


def test_a_body_over_http_that_has_a_name_twice_is_refused(server_url: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", "Accept": "application/json"}
    reply = httpx.post(server_url, content=TWICE, headers=headers)
    assert (reply.status_code, reply.json()["id"], reply.json()["error"]["message"]) == (400, 5, SAID_TWICE)


def test_a_filter_as_text_that_has_a_name_twice_is_refused(services: dict[str, Service]) -> None:
    where = '{"price": {">": 3}, "price": {"<": 30}}'
    assert "'price' twice in one object" in said(ask(services, "search_rows", pipeline="parts", where=where))


def test_a_key_may_be_a_number_of_json(services: dict[str, Service]) -> None:
    by_number = found(ask(services, "similar", key=7, pipeline="parts", limit=4))
    assert by_number["results"] == found(ask(services, "similar", key="7", pipeline="parts", limit=4))["results"]
    for key in (True, 7.0, None, [7], 2**70):
        told = said(ask(services, "similar", key=key, pipeline="parts"))
        wanted = "There is no row" if key == 2**70 else "'key': it must be a whole number or a text."
        assert wanted in told


@pytest.mark.parametrize("key", ["[7]", '{"a": 7}', "null", "true"])
def test_a_key_that_looks_like_json_is_a_text(key: str) -> None:
    data = {f"row {number}": values for number, values in rows(3).items()}
    made = Service(product_pipeline(MemoryStore(), name="texts", data=data))
    made.warm()
    assert f"There is no row {key!r}" in said(ask({"texts": made}, "similar", key=key))


@pytest.mark.parametrize("limit", ["1_0", "+5", " 5", "\u0665", True])
def test_a_limit_that_is_not_written_as_a_number_is_refused(services: dict[str, Service], limit: Any) -> None:
    assert "not written as a number" in said(ask(services, "search_rows", query="x", pipeline="parts", limit=limit))
    assert found(ask(services, "search_rows", query="x", pipeline="parts", limit="5"))
