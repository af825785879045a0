"""What a search token opens over HTTP and MCP, and that everything else stays shut."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest

import rowvec
from rowvec.api.tokens import sign
from rowvec.searcher import Searcher
from rowvec.searcher.within import Within
from rowvec.serve.guard.auth import is_public, opens
from rowvec.stores.base import GenerationHandle, LedgerHandle
from tests.integration.serve_rig import KEY, application, client_of, product_pipeline, serving
from tests.unit.test_tokens import made

OTHER = "another-key-of-some-length"
CLOSED = {
    "/api/tasks/generate-embeddings", "/api/tasks/{id}", "/failures/retry", "/metrics",
    "/pipelines/{name}/failures/retry", "/pipelines/{name}/health", "/pipelines/{name}/metrics",
    "/pipelines/{name}/quality", "/pipelines/{name}/status", "/pipelines/{name}/sync/stop",
    "/pipelines/{name}/v1/embeddings", "/pipelines/{name}/v1/models", "/pipelines/{name}/v1/rerank",
    "/pipelines/{name}/v2/rerank", "/quality", "/status", "/sync/stop", "/ui/compare/judgements",
    "/ui/compare/score", "/ui/eval/", "/ui/eval/body", "/ui/events", "/ui/map/names", "/ui/map/points",
    "/ui/map/row", "/ui/map/rows", "/ui/map/search", "/ui/overview/body", "/ui/quality/", "/ui/quality/body",
    "/ui/runs/", "/ui/runs/body", "/ui/status/", "/ui/status/body", "/v1/embeddings", "/v1/models",
    "/v1/models/{id:path}", "/v1/rerank", "/v2/rerank",
}  # fmt: skip
"""Routes that a search token does not open. A new route belongs here, or into `auth.TOKENS_OPEN` once its answers come
from `context_of(request).services` alone and the property test of tenants asks for it."""


def headers(where: Any = None, *, pipeline: str = "products", key: str = KEY) -> dict[str, str]:
    token = rowvec.token({pipeline: {"stock": 7} if where is None else where}, api_key=key)
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    app = application(product_pipeline(), product_pipeline(name="parts", count=20), api_keys=(OTHER, KEY))
    with client_of(app) as found:
        yield found


def said(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["message"]


def paths() -> set[str]:
    """Of every route of the application, however it was added."""

    def walk(routes: Any) -> Iterator[str]:
        for route in routes:
            if hasattr(route, "effective_candidates"):
                yield from walk(route.effective_candidates())
                yield from walk(route.effective_low_priority_routes())
            else:
                yield route.path

    return set(walk(application(product_pipeline(count=1)).router.routes))


def test_every_route_is_open_shut_or_public() -> None:
    found = paths()
    assert {"/search", "/mcp", "/pipelines/{name}/search/similar/{id:key}", "/metrics", "/static"} <= found
    for path in found:
        example = path.replace("{name}", "products").replace("{id:key}", "7")
        public = is_public(example) or path == "/static"
        assert (path in CLOSED) + public + opens(example) == 1, f"{path} is not classified, or twice: see CLOSED"
    assert found >= CLOSED


def test_every_way_of_reading_rows_is_limited() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert methods(GenerationHandle) - methods(LedgerHandle) == methods(Within) - {"rows", "only"}


@pytest.mark.parametrize("path", sorted(CLOSED))
def test_what_is_shut_stays_shut(client: httpx.Client, path: str) -> None:
    where = path.replace("{name}", "products").replace("{id}", "7")
    for method in ("GET", "POST", "HEAD", "DELETE"):
        reply = client.request(method, where, headers=headers())
        assert reply.status_code == 403
        assert method == "HEAD" or said(reply)[1].startswith("A search token does not open this.")


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/search/",
        "/search/facets",
        "/SEARCH",
        "//search",
        "/search/../metrics",
        "/pipelines/a/b/search",
        "/mcp/x",
    ],
)
def test_what_is_not_known_is_shut_too(client: httpx.Client, path: str) -> None:
    url = httpx.URL(str(client.base_url)).copy_with(raw_path=path.encode())
    assert client.get(url, headers=headers()).status_code in (403, 404)


def test_rows_of_others_are_not_there(client: httpx.Client) -> None:
    mine = headers()
    for path in (
        "/pipelines/products/search/semantic",
        "/pipelines/products/search/keyword",
        "/pipelines/products/search/hybrid",
    ):
        reply = client.post(path, json={"query": "brake pads 7", "limit": 100}, headers=mine).json()
        assert {hit["metadata"]["stock"] for hit in reply["results"]} == {7}
        other = client.post(path, json={"query": "x", "filters": "stock != 7 or stock = 7"}, headers=mine).json()
        assert {hit["metadata"]["stock"] for hit in other["results"]} <= {7}
    found = client.get("/pipelines/products/search/similar/17?limit=100", headers=mine).json()["results"]
    assert {hit["id"] for hit in found} == {7, 27, 37, 47, 57}


def test_a_foreign_row_and_no_row_are_the_same(client: httpx.Client) -> None:
    foreign, missing = (client.get(f"/pipelines/products/search/similar/{key}", headers=headers()) for key in (8, 4711))
    assert foreign.status_code == missing.status_code == 404
    assert foreign.text.replace("8", "N") == missing.text.replace("4711", "N")


def test_the_page_of_a_row_is_there_for_the_rows_of_the_token_and_says_nothing_of_its_syncs(
    client: httpx.Client,
) -> None:
    for name in ("data", "metadata"):
        foreign, missing = (client.get(f"/ui/row/{name}?id={key}", headers=headers()) for key in (8, 4711))
        assert foreign.status_code == missing.status_code == 404
        assert foreign.text.replace("8", "N") == missing.text.replace("4711", "N")
        assert client.get(f"/ui/row/{name}?id=7&pipeline=parts", headers=headers()).status_code == 404
    assert client.get("/ui/row/metadata?id=7", headers=headers()).json()["metadata"]["stock"] == 7
    mine, whole = (client.get("/ui/row/data?id=7", headers=each).json() for each in (headers(), {"X-API-Key": KEY}))
    assert mine["text"] == whole["text"] == "brake pads 7"
    assert {name for name in whole if mine[name] != whole[name]} == {"written_at"}
    assert mine["written_at"] is None


def test_compare_tells_a_token_the_models_and_no_counts_or_judgements(client: httpx.Client) -> None:
    about = client.get("/ui/compare/about", headers=headers()).json()
    assert about["generations"] == [{"state": "live", "model": "hash (16 dimensions, float32)", "rows": None}]
    assert (about["judges"], about["scores"]) == (False, False)
    whole = client.get("/ui/compare/about?pipeline=products", headers={"X-API-Key": KEY}).json()
    assert (whole["generations"][0]["rows"], whole["scores"]) == (60, True)


def test_only_the_pipelines_of_the_token_are_there(client: httpx.Client) -> None:
    listed = client.get("/pipelines", headers=headers()).json()["pipelines"]
    assert [each["name"] for each in listed] == ["products"]
    # The only one that the caller sees needs no name.
    assert client.get("/search?query=x", headers=headers()).status_code == 200
    reply = client.get("/pipelines/parts/search?query=x", headers=headers())
    assert said(reply) == (404, "There is no pipeline 'parts'.")
    assert (
        "products" not in client.get("/pipelines/products/search?query=x", headers=headers(pipeline="parts")).text[60:]
    )
    assert said(client.get("/search?query=x", headers=headers(pipeline="gone")))[0] == 403


def test_health_shows_no_details(client: httpx.Client) -> None:
    assert client.get("/health", headers=headers()).json()["details"] is None


def test_a_token_comes_in_either_header(client: httpx.Client) -> None:
    token = headers()["Authorization"].removeprefix("Bearer ")
    for given in ({"X-API-Key": token}, {"authorization": f"bearer  {token}"}):
        assert client.get("/search?query=x", headers=given).status_code == 200


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (sign(KEY, {"products": {}}, int(time.time()) - 60), "has expired"),
        (rowvec.token({"products": {}}, api_key="a-key-that-the-server-does-not-have"), "No API key of this server"),
        (made(key="a-key-that-the-server-does-not-have").decode(), "The signature of the search token is wrong"),
        (made(header={"alg": "none", "typ": "JWT"}).decode(), "The header of the search token is wrong"),
        (made({"exp": 2**33, "rowvec": {"pipelines": {"products": "stock ="}}}).decode(), "filter for the pipeline"),
        (
            made({"exp": 2**33, "rowvec": {"pipelines": {"products": {"name": ["x" * 99] * 99}}}}).decode(),
            "longer than",
        ),
        ("a.b.c", "cannot be read"),
    ],
)
def test_a_wrong_token_is_told_why(client: httpx.Client, token: str, words: str) -> None:
    reply = client.get("/pipelines/products/search?query=x", headers={"Authorization": f"Bearer {token}"})
    status, message = said(reply)
    assert status == 401 and words in message
    assert reply.headers["www-authenticate"] == "Bearer"
    assert client.get("/health", headers={"X-API-Key": token}).status_code == 200, "what is public asks nobody"


@pytest.mark.parametrize("where", [{"tenant_id": 7}, "id = 7", {"stock": "7"}, "stock contains '7'"])
def test_a_filter_that_does_not_fit_the_columns_opens_nothing(client: httpx.Client, where: Any) -> None:
    for path in ("/search?query=x", "/pipelines", "/pipelines/products/search/similar/7"):
        status, message = said(client.get(path, headers=headers(where)))
        assert (status, message[:54]) == (403, "The search token's filter does not fit the pipeline 'p")


def test_a_server_without_a_key_does_not_overlook_a_token() -> None:
    with client_of(application(product_pipeline(count=5))) as client:
        status, message = said(client.get("/search?query=x", headers=headers()))
        assert (status, message) == (401, "This server has no API key to check a search token with.")
        # A token of somebody else, such as a proxy's, is none of its business.
        other = made(header={"alg": "RS256", "typ": "JWT", "kid": "idp"}).decode()
        assert client.get("/search?query=x", headers={"Authorization": f"Bearer {other}"}).status_code == 200


def test_each_token_has_its_own_limit_of_requests() -> None:
    with client_of(application(product_pipeline(count=5), rate=0.5, api_keys=(KEY,))) as client:
        one, two = headers({"stock": 1}), headers({"stock": 2})
        assert [client.get("/search?query=x", headers=each).status_code for each in (one, one, two)] == [200, 429, 200]
        wrong = [client.get("/search?query=x", headers={"X-API-Key": f"a.b.{n}"}).status_code for n in (1, 2)]
        assert wrong == [401, 429], "wrong ones are counted for the address"


def test_no_log_has_a_token(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    pipeline = product_pipeline(count=5)
    app = application(pipeline, api_keys=(KEY,))
    sent = [headers(), headers({"nothing": 7}), {"X-API-Key": made(key=OTHER).decode()}]
    with caplog.at_level(logging.DEBUG), client_of(app) as client:
        for given in sent:
            client.get("/search?query=x", headers=given)
            client.get("/metrics", headers=given)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(pipeline.store.generation(pipeline.spec)), "nearest", None)
            assert client.get("/search?query=x", headers=sent[0]).status_code == 500
        metrics = client.get("/metrics", headers={"X-API-Key": KEY}).text
    printed = "".join(capfd.readouterr())
    own = [
        record.getMessage() + str(record.exc_text)
        for record in caplog.records
        if "httpx" not in record.name and "httpcore" not in record.name
    ]
    everything = "".join(own) + printed + metrics
    assert "Request" in everything
    for given in sent:
        for part in next(iter(given.values())).removeprefix("Bearer ").split("."):
            assert part not in everything


def test_agents_see_the_rows_of_their_token() -> None:
    pytest.importorskip("mcp", reason="the extra `mcp` is not installed")
    from tests.integration.test_mcp import found, over_http, said

    app = application(product_pipeline(), product_pipeline(name="parts", count=20), api_keys=(KEY,))

    async def ask(url: str) -> list[Any]:
        async with over_http(f"{url}/mcp", headers()["Authorization"].removeprefix("Bearer ")) as client:
            calls: list[tuple[str, dict[str, Any]]] = [
                ("search", {"query": "spark plug"}),
                ("search_rows", {"query": "spark plug", "limit": 100, "where": "stock >= 0"}),
                ("similar", {"key": "17"}),
                ("describe", {}),
                ("fetch", {"id": "products:7"}),
                ("fetch", {"id": "products:8"}),
                ("fetch", {"id": "parts:7"}),
                ("similar", {"key": "8"}),
                ("status", {}),
                ("search_rows", {"query": "x", "pipeline": "parts"}),
            ]
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    with serving(app) as url:
        search, rows, similar, described, fetched, *refused = anyio.run(ask, url)
    assert {each["id"] for each in found(search)["results"]} <= {f"products:{n}7" for n in ("", 1, 2, 3, 4, 5)}
    assert {each["id"] for each in found(rows)["results"]} == {7, 17, 27, 37, 47, 57}
    assert {each["id"] for each in found(similar)["results"]} == {7, 27, 37, 47, 57}
    (only,) = found(described)["pipelines"]
    assert only["name"] == "products" and {each["stock"] for each in only["examples"]} == {7}
    assert found(fetched)["title"] == "brake pads 7"
    words = (
        "There is no row '8' with",
        "There is no row 'parts:7'",
        "There is no row '8' with",
        "token",
        "no pipeline 'parts'",
    )
    assert [word in said(each) for word, each in zip(words, refused, strict=True)] == [True] * 5


def test_health_is_checked_as_often_for_tokens_as_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no limit of requests: a check for each would let one caller burden the store."""
    checks = []
    look = Searcher.check

    def counted(searcher: Searcher) -> None:
        checks.append(searcher)
        look(searcher)

    monkeypatch.setattr(Searcher, "check", counted)
    app = application(product_pipeline(count=9), api_keys=(KEY,))
    with client_of(app) as client:
        app.state.context.services["products"]._checked = float("-inf")
        before = len(checks)
        assert {client.get("/health", headers=headers()).status_code for _ in range(5)} == {200}
    assert len(checks) - before in (1, 2)


def test_nothing_behind_a_limited_service_is_in_reach() -> None:
    from rowvec.filters import parse
    from rowvec.serve import Service
    from rowvec.serve.problems import Problem

    service = Service(product_pipeline(count=9))
    service.warm()
    limited = service.within(parse("stock = 7"))
    assert limited.row("7")[0]["stock"] == 7 and [row["stock"] for row in limited.examples(9)] == [7]
    narrower = limited.within(parse("stock = 6"))
    assert narrower.examples(9) == [], "a second filter does not take the place of the first"
    for ask in (
        lambda: limited.pipeline.store.runs(),
        lambda: limited.pipeline.source.key,
        lambda: limited.operations.status(),
    ):
        with pytest.raises(Problem, match="403"):
            ask()
    assert service.operations.status().rows == 9 and len(service.examples(9)) == 9
    service.problem, service._checked = "It is out of order.", float("-inf")
    limited.ready()
    assert service.problem is None, "to be ready is one thing for all callers"
