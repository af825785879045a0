"""Searching over HTTP: the same answers as the Searcher's, from the in-memory store and from PostgreSQL."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest

from rowvec.filters import bind, from_json, matches, parse
from rowvec.pipeline import Pipeline
from rowvec.ranking import Ranking
from rowvec.searcher import Searcher
from rowvec.serve.query_cache import WARM_WORDS
from rowvec.testing import HashEmbedder, MemorySource
from tests.integration.serve_rig import application, client_of, product_pipeline, rows


def ids(response: httpx.Response) -> list[Any]:
    assert response.status_code == 200, response.text
    return [hit["id"] for hit in response.json()["results"]]


@pytest.mark.parametrize("mode", ["semantic", "keyword", "hybrid"])
def test_a_search_finds_what_the_searcher_finds(client: httpx.Client, products: Pipeline, mode: Any) -> None:
    expected = Searcher(products.store, products.embedder, products.spec).search("brake pads 7", mode=mode, limit=5)
    reply = client.post(f"/search/{mode}", json={"query": "brake pads 7", "limit": 5})
    assert ids(reply) == [hit.key for hit in expected.hits]
    found = reply.json()
    assert found["exact"] is expected.exact
    assert found["complete"] is expected.complete
    assert [hit["score"] for hit in found["results"]] == pytest.approx([hit.score for hit in expected.hits])
    assert found.keys() == {"results", "exact", "complete", "execution_time_ms", "embed_ms", "search_ms", "next"}
    assert found["results"][0].keys() == {"id", "score", "metadata", "passages"}
    plain = client.post(f"/search/{mode}", json={"query": "brake pads 7", "limit": 5, "passages": 0}).json()
    assert plain["results"][0].keys() == {"id", "score", "metadata"}


def test_metadata_keeps_its_types(client: httpx.Client) -> None:
    reply = client.post("/search/semantic", json={"query": "disc rotor 8", "limit": 1})
    score = pytest.approx(1.0, abs=1e-6)
    (hit,) = reply.json()["results"]
    (passage,) = hit.pop("passages")
    assert passage == {"text": "disc rotor 8", "start": 0, "end": 12, "score": score, "marks": passage["marks"]}
    assert hit == {
        "id": 8,
        "score": score,
        "metadata": {"name": "disc rotor 8", "price": 12.0, "stock": 8, "new": True, "added": "2024-01-09T00:00:00Z"},
    }
    assert [passage["text"][start:end] for start, end in passage["marks"]] == ["disc", "rotor 8"]


@pytest.mark.parametrize(
    "filters",
    [
        {"price": {"<": 20}},
        {"new": True, "stock": [1, 2, 3]},
        {"name": {"contains": "BRAKE"}},
        {"or": [{"stock": 4}, {"added": {">=": "2024-02-20"}}]},
        {"name": {"like": "brake%1_"}},
    ],
)
@pytest.mark.parametrize("path", ["/search/semantic", "/search/filtered", "/search/hybrid"])
def test_only_rows_that_match_the_filters_are_found(client: httpx.Client, path: str, filters: dict[str, Any]) -> None:
    columns = product_pipeline(synced=False).spec.metadata
    where = bind(from_json(filters), columns)
    matching = {key for key, values in rows(60).items() if matches(where, values)}
    found = ids(client.post(path, json={"query": "brake", "limit": 100, "filters": filters}))
    assert set(found) == matching


def test_the_filters_of_a_body_may_be_text(client: httpx.Client) -> None:
    found = ids(client.post("/search/semantic", json={"query": "brake", "limit": 100, "filters": "stock in (1, 2)"}))
    assert set(found) == {key for key, values in rows(60).items() if values["stock"] in (1, 2)}


def test_everything_can_be_said_in_the_address(client: httpx.Client) -> None:
    parameters: dict[str, Any] = {
        "query": "disc rotor 8",
        "limit": 3,
        "mode": "keyword",
        "where": "price < 13",
        "explain": True,
    }
    reply = client.get("/search", params=parameters)
    assert ids(reply)[0] == 8
    assert reply.json()["results"][0]["explain"]["keyword"] > 0
    assert all(hit["metadata"]["price"] < 13 for hit in reply.json()["results"])


@pytest.mark.parametrize("filters", [{"name": "null"}, "name = 'null'"])
def test_a_filter_on_the_text_null_that_finds_nothing_says_how_to_ask_for_missing_values(
    client: httpx.Client, products: Pipeline, filters: Any
) -> None:
    reply = client.post("/search/semantic", json={"query": "brake pads", "filters": filters}).json()
    assert (reply["results"], "write `name is null`" in reply["advice"]) == ([], True)
    found = Searcher.of(products).search("brake pads", where=bind(parse("name = 'null'"), products.spec.metadata))
    assert found.advice == reply["advice"] == found.as_dict()["advice"]
    assert "advice" not in client.post("/search/semantic", json={"query": "brake pads"}).json()


def test_explain_gives_the_parts_of_each_score(client: httpx.Client) -> None:
    reply = client.post("/search/hybrid", json={"query": "oil filter 9", "limit": 2, "explain": True})
    parts = reply.json()["results"][0]["explain"]
    assert parts.keys() == {
        "semantic", "keyword", "fused", "static", "decay", "final",
        "semantic_rank", "keyword_rank", "semantic_part", "keyword_part", "static_part",
    }  # fmt: skip
    assert parts["semantic_part"] + parts["keyword_part"] == pytest.approx(parts["final"])


def test_similar_rows_leave_the_row_itself_out(client: httpx.Client, products: Pipeline) -> None:
    expected = Searcher(products.store, products.embedder, products.spec).similar(5, limit=4)
    assert ids(client.get("/search/similar/5", params={"limit": 4})) == [hit.key for hit in expected.hits]


def test_a_ranking_chooses_among_as_many_similar_rows_whatever_the_limit(products: Pipeline) -> None:
    ranking = Ranking(static="price / 100", static_weight=1.0)
    searcher = Searcher(products.store, products.embedder, products.spec, ranking)
    many, few = (searcher.similar(5, limit=limit).hits for limit in (50, 3))
    assert [hit.key for hit in few] == [hit.key for hit in many[:3]]


def test_every_route_also_exists_below_the_name_of_a_pipeline(client: httpx.Client) -> None:
    below = "/pipelines/products"
    assert ids(client.get(f"{below}/search", params={"query": "disc rotor 8", "limit": 1})) == [8]
    for mode in ("semantic", "keyword", "hybrid"):
        assert ids(client.post(f"{below}/search/{mode}", json={"query": "disc rotor 8", "limit": 1})) == [8]
    filtered = {"query": "disc rotor 8", "filters": {"stock": 8}, "limit": 1}
    assert ids(client.post(f"{below}/search/filtered", json=filtered)) == [8]
    assert len(ids(client.get(f"{below}/search/similar/8"))) == 10
    assert client.post(f"{below}/v1/embeddings", json={"input": "x"}).status_code == 200
    for path in ("health", "status", "metrics"):
        assert client.get(f"{below}/{path}").status_code == 200


def test_a_query_asked_again_is_not_embedded_again() -> None:
    with client_of(application(product_pipeline())) as client:
        _ask_again(client)


def _ask_again(client: httpx.Client) -> None:
    first = client.post("/search/semantic", json={"query": "spark plug"}).json()
    again = client.post("/search/keyword", json={"query": "other words"}).json()
    assert again["embed_ms"] == pytest.approx(0, abs=1)
    second = client.post("/search/semantic", json={"query": "spark plug"}).json()
    assert second["results"] == first["results"]
    client.post("/search/semantic", json={"query": "Spark plug"})
    metrics = client.get("/metrics").text
    assert 'rowvec_query_cache_total{pipeline="products",result="hit"} 1.0' in metrics
    assert 'rowvec_query_cache_total{pipeline="products",result="miss"} 2.0' in metrics


def test_status_says_how_far_the_vectors_are_in_step(client: httpx.Client, products: Pipeline) -> None:
    status = client.get("/status").json()
    assert (status["rows"], status["current"], status["coverage"], status["failures"]) == (60, 60, 1.0, 0)
    assert status["runs"][0]["outcome"] == "done"
    assert products.store.location not in client.get("/status").text
    assert 'rowvec_coverage_ratio_at_last_sync{pipeline="products"} 1.0' in client.get("/metrics").text


def test_bare_routes_ask_for_a_name_where_there_are_several_pipelines() -> None:
    two = product_pipeline(name="products"), product_pipeline(name="articles")
    with client_of(application(*two)) as client:
        reply = client.get("/search", params={"query": "x"})
        assert reply.status_code == 400
        assert "products, articles" in reply.json()["error"]["hint"]
        assert client.get("/pipelines/articles/search", params={"query": "x"}).status_code == 200
        assert [each["name"] for each in client.get("/pipelines").json()["pipelines"]] == ["products", "articles"]


@pytest.mark.parametrize("key", ["a/b c?d#e", "ключ", "100%", "x" * 300, "other\n", "a\nb"])
def test_text_keys_of_any_kind_have_similar_rows(key: str) -> None:
    data = dict(zip([key, "other", "third"], rows(3).values(), strict=True))
    with client_of(application(product_pipeline(data=data))) as client:
        path = "".join(f"%{byte:02X}" for byte in key.encode())
        assert sorted(ids(client.get(f"/search/similar/{path}"))) == ["other", "third"]


@pytest.mark.parametrize("key", [-(2**63), 2**63 - 1])
def test_so_have_the_least_and_the_greatest_integer(key: int) -> None:
    data = dict(zip([key, 1, 2], rows(3).values(), strict=True))
    with client_of(application(product_pipeline(data=data))) as client:
        assert sorted(ids(client.get(f"/search/similar/{key}"))) == [1, 2]


def test_uuid_keys_are_read_as_uuids() -> None:
    keys = [UUID(int=number) for number in range(1, 4)]
    with client_of(application(product_pipeline(data=dict(zip(keys, rows(3).values(), strict=True))))) as client:
        assert sorted(ids(client.get(f"/search/similar/{keys[0]}"))) == sorted(map(str, keys[1:]))
        assert client.get("/search/similar/7").status_code == 422


def test_the_model_is_loaded_before_the_first_request() -> None:
    class Lazy(HashEmbedder):
        asked: list[str]

        def embed_query(self, text: str) -> Any:
            self.asked.append(text)
            return super().embed_query(text)

    embedder = Lazy(16)
    embedder.asked = []
    pipeline = product_pipeline(embedder=embedder, count=3)
    embedder.asked.clear()
    with client_of(application(pipeline)) as client:
        warmed = len(embedder.asked)
        assert warmed == len(WARM_WORDS)
        client.get("/search", params={"query": "x"})
        assert len(embedder.asked) == warmed + 1


def test_what_json_cannot_say_is_said_in_its_own_way() -> None:
    data = {1: {"name": "thing", "price": float("nan"), "stock": 2**60, "new": None, "added": None}}
    pipeline = product_pipeline(data=data)
    assert isinstance(pipeline.source, MemorySource)
    with client_of(application(pipeline)) as client:
        metadata = client.get("/search", params={"query": "thing"}).json()["results"][0]["metadata"]
    assert metadata == {"name": "thing", "price": None, "stock": 2**60, "new": None, "added": None}
