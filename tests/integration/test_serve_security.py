"""Who is let in, and what is refused before it costs anything."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from rowvec.errors import ConfigError
from rowvec.serve import ServeSettings, create_app
from rowvec.serve.guard.limits import RateLimit
from tests.integration.serve_rig import KEY, application, client_of, product_pipeline, serving

SEARCH = {"query": "brake pads"}


@pytest.fixture(scope="module")
def locked() -> Iterator[httpx.Client]:
    with client_of(application(product_pipeline(), api_keys=("another-key-of-some-length", KEY))) as client:
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with client_of(application(product_pipeline())) as client:
        yield client


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, {"X-API-Key": KEY}]
)
def test_a_right_key_opens_the_server(locked: httpx.Client, headers: dict[str, str]) -> None:
    assert locked.post("/search/semantic", json=SEARCH, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"Authorization": "Bearer"},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": KEY + "x"},
        {"X-API-Key": "ключ".encode()},
    ],
)
@pytest.mark.parametrize(
    "path", ["/search?query=x", "/status", "/metrics", "/pipelines", "/ui/status/body", "/nothing"]
)
def test_any_other_key_does_not(locked: httpx.Client, path: str, headers: Any) -> None:
    reply = locked.get(path, headers=headers)
    assert reply.status_code == 401
    assert reply.json()["error"]["message"] == "The API key is missing or wrong."
    assert reply.headers["www-authenticate"] == "Bearer"


def test_health_needs_no_key_but_its_details_do(locked: httpx.Client) -> None:
    assert locked.get("/health").json() == {"live": True, "ready": True, "details": None}
    details = locked.get("/health", headers={"X-API-Key": KEY}).json()["details"]
    assert details == {"products": {"ready": True, "problem": None}}
    assert locked.get("/health/live").json() == {"live": True}


@pytest.mark.parametrize("path", ["/", "/ui/status", "/docs", "/static/search.js", "/openapi.json"])
def test_frames_of_pages_need_no_key_and_hold_no_data(locked: httpx.Client, path: str) -> None:
    reply = locked.get(path)
    assert reply.status_code == 200
    assert "products" not in reply.text
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_another_host_needs_a_key_or_a_flag() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org", ""):
        with pytest.raises(ConfigError, match="without a key"):
            ServeSettings(host=host)
    ServeSettings(host="0.0.0.0", api_keys=(KEY,))
    ServeSettings(host="0.0.0.0", insecure=True)
    for host in ("127.0.0.1", "127.0.0.2", "localhost", "::1"):
        ServeSettings(host=host)


def test_a_short_key_is_refused_and_a_key_is_never_shown() -> None:
    with pytest.raises(ConfigError, match="shorter than 16") as caught:
        ServeSettings(api_keys=("short-secret",))
    assert "short-secret" not in str(caught.value)
    assert KEY not in repr(ServeSettings(api_keys=(KEY,)))


def test_a_server_needs_something_to_serve() -> None:
    with pytest.raises(ConfigError, match="no pipeline"):
        create_app({})


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "",
        "127.0.0.1:x.evil",
        "127.0.0.1:80.evil",
        "[::1].evil",
        "[::1]evil:80",
        "a@127.0.0.1",
    ],
)
def test_a_name_that_was_made_to_point_here_is_not_answered(client: httpx.Client, host: str) -> None:
    assert client.get("/search?query=x", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:80"])
def test_the_names_of_this_machine_are(client: httpx.Client, host: str) -> None:
    assert client.get("/search?query=x", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://[", "x"])
def test_pages_of_other_origins_may_not_post(client: httpx.Client, origin: str) -> None:
    assert client.post("/search/semantic", json=SEARCH, headers={"Origin": origin}).status_code == 403


ASKING = [
    "/search?query=x", "/search/similar/1", "/v1/embeddings", "/status", "/metrics", "/pipelines", "/ui/map/points",
]  # fmt: skip


@pytest.mark.parametrize("site", ["cross-site", "same-site", "made-up"])
@pytest.mark.parametrize("path", ASKING)
def test_nor_may_they_have_a_browser_get_what_costs_or_reads(client: httpx.Client, path: str, site: str) -> None:
    """A picture of another page sends no Origin, and its query would be embedded although nobody can read the reply."""
    for mode in ("no-cors", "navigate"):
        reply = client.get(path, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode})
        assert reply.status_code == 403
        assert reply.json()["error"]["message"].startswith("Pages of other origins may not call this server.")


def test_a_link_to_the_page_may_be_followed_and_an_address_typed(client: httpx.Client) -> None:
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
    for site in ("none", "same-origin"):
        assert client.get("/search?query=x", headers={"Sec-Fetch-Site": site}).status_code == 200


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8",), ("127.0.0.1",), ("127.0.0.0/8", "::1")])
def test_a_forwarded_address_counts_only_from_a_proxy_that_was_named(
    monkeypatch: pytest.MonkeyPatch, trusted: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    with client_of(application(product_pipeline(count=1), rate=0.5, trusted_proxies=trusted)) as client:
        found = [
            client.get("/search?query=x", headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code
            for number in range(3)
        ]
    assert found == ([200] * 3 if trusted and "127" in trusted[0] else [200, 429, 429])


def test_a_proxy_has_an_address() -> None:
    with pytest.raises(ConfigError, match="this is not an address"):
        ServeSettings(trusted_proxies=("proxy.example",))


@pytest.mark.parametrize("origin", ["*", "shop.example", "https://shop.example/a", "https://*.shop.example", ""])
def test_an_origin_has_a_scheme_and_a_host_and_nothing_else(origin: str) -> None:
    with pytest.raises(ConfigError, match="this is not an origin"):
        ServeSettings(cors_origins=(origin,))


def test_the_servers_own_page_may(client: httpx.Client) -> None:
    origin = str(client.base_url).rstrip("/")
    reply = client.post("/search/semantic", json=SEARCH, headers={"Origin": origin})
    assert reply.status_code == 200
    assert "access-control-allow-origin" not in reply.headers


def test_origins_that_were_allowed_may_and_are_told_so() -> None:
    shop = "https://shop.example"
    with client_of(application(product_pipeline(), cors_origins=(shop,), api_keys=(KEY,))) as client:
        asked = {"Origin": shop, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
        assert client.options("/search/semantic", headers=asked).headers["access-control-allow-origin"] == shop
        headers = {"Origin": shop, "X-API-Key": KEY}
        reply = client.post("/search/semantic", json=SEARCH, headers=headers)
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, shop)
        other = {"Origin": "https://evil.example", "X-API-Key": KEY}
        assert client.post("/search/semantic", json=SEARCH, headers=other).status_code == 403


def test_an_origin_may_be_written_as_people_write_it() -> None:
    with client_of(application(product_pipeline(count=1), cors_origins=("https://Shop.example:8443/",))) as client:
        reply = client.post("/search/semantic", json=SEARCH, headers={"Origin": "https://shop.example:8443"})
    assert (reply.status_code, reply.headers.get("access-control-allow-origin")) == (200, "https://shop.example:8443")


def test_a_caller_who_asks_too_often_is_told_how_long_to_wait() -> None:
    with client_of(application(product_pipeline(), rate=0.5, api_keys=(KEY,))) as client:
        headers = {"X-API-Key": KEY}
        assert client.get("/search?query=x", headers=headers).status_code == 200
        refused = client.get("/search?query=x", headers=headers)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 2
        # Wrong keys are counted for their address, not for the key that they guess; health is never counted.
        assert [client.get("/status", headers={"X-API-Key": str(n)}).status_code for n in (1, 2)] == [401, 429]
        assert client.get("/health").status_code == 200


def test_tokens_come_back_with_time() -> None:
    limit = RateLimit(rate=2, burst=3)
    assert [limit.wait("a", now=0.0) for _ in range(3)] == [0.0] * 3
    assert limit.wait("a", now=0.0) == pytest.approx(0.5)
    assert limit.wait("b", now=0.0) == 0.0
    assert limit.wait("a", now=0.5) == 0.0
    assert limit.wait("a", now=0.5) > 0
    assert [limit.wait("a", now=100.0) for _ in range(4)][:3] == [0.0] * 3


def test_a_body_that_is_too_large_is_refused(client: httpx.Client) -> None:
    large = json.dumps({"query": "x" * 1_100_000})
    headers = {"Content-Type": "application/json"}
    assert client.post("/search/semantic", content=large, headers=headers).status_code == 413
    embed = json.dumps({"input": ["x" * 1_100_000]})
    assert client.post("/v1/embeddings", content=embed, headers=headers).status_code == 200
    assert client.post("/v1/embeddings", content=b" " * 5_000_001, headers=headers).status_code == 413


def test_and_so_is_one_that_does_not_say_how_large_it_is(client: httpx.Client) -> None:
    chunks = (b" " * 100_000 for _ in range(20))
    reply = client.post("/search/semantic", content=chunks, headers={"Content-Type": "application/json"})
    assert reply.status_code == 413
    assert reply.json()["error"]["message"] == "The body is larger than 1,000,000 bytes."


def test_a_method_that_nobody_knows_is_counted_without_its_name(locked: httpx.Client) -> None:
    for path in ("/health", "/search", "/nothing"):
        assert locked.request("BREW", path).status_code in (401, 405)
    metrics = locked.get("/metrics", headers={"X-API-Key": KEY}).text
    assert 'rowvec_http_requests_total{method="other",route="/health",status="405"} 1.0' in metrics
    assert "BREW" not in metrics


def test_a_length_that_is_no_number_is_refused() -> None:
    with serving(application(product_pipeline(count=1))) as url:
        port = int(url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
            raw.sendall(b"POST /search/semantic HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n{}")
            assert b" 400 " in raw.recv(1000).split(b"\r\n")[0]
        assert httpx.get(f"{url}/health").status_code == 200
