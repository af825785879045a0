"""A reranker through every door: HTTP, Python, and the commands. Each says whether it had a part in the order."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rowvec.api.project_pipeline import ProjectPipeline
from rowvec.cli import evaluate, search
from rowvec.errors import SearchError
from rowvec.pipeline import Pipeline
from rowvec.rerankers.pricing import RerankPrice
from rowvec.rerankers.service import ServiceReranker
from tests.integration.serve_rig import application, client_of, opening, product_pipeline, project_pipeline
from tests.servers.rerank import KEY, Fault, RerankServer

QUERY = "brake pads"


@pytest.fixture(scope="module")
def server() -> Iterator[RerankServer]:
    """Prefers the rows with the largest numbers."""
    with RerankServer(lambda query, text: float(text.split()[-1])) as running:
        yield running


@pytest.fixture(scope="module")
def products(server: RerankServer) -> Iterator[Pipeline]:
    price = RerankPrice(per_search=0.002)
    reranker = ServiceReranker("cohere", server.url("cohere"), "m", api_key=KEY, top=60, timeout=20.0, price=price)
    yield dataclasses.replace(product_pipeline(count=60), reranker=reranker)
    reranker.close()


@pytest.fixture
def door(products: Pipeline, monkeypatch: pytest.MonkeyPatch) -> ProjectPipeline:
    """The pipeline as a project gives it, and as the commands open it."""
    return opening(project_pipeline(products), monkeypatch, search, evaluate)


def ids(reply: dict[str, Any]) -> list[int]:
    return [hit["id"] for hit in reply["results"]]


def test_http_says_whether_it_was_reranked(client: httpx.Client, server: RerankServer) -> None:
    found = client.post("/search/hybrid", json={"query": QUERY, "limit": 3, "explain": True}).json()
    assert ids(found) == [60, 59, 58] and found["reranked"] is True and found["rerank_ms"] > 0
    assert [hit["explain"]["rerank"] for hit in found["results"]] == [60, 59, 58]
    assert client.get("/search", params={"query": QUERY, "limit": 3, "rerank": "true"}).json()["reranked"] is True
    for plain in (
        client.post("/search/hybrid", json={"query": QUERY, "limit": 3, "rerank": False}).json(),
        client.get("/search", params={"query": QUERY, "limit": 3, "rerank": "false"}).json(),
        client.get("/search/similar/7").json(),
    ):
        assert "reranked" not in plain and "rerank_ms" not in plain and ids(plain) != [60, 59, 58]
    server.script.append(Fault.HTML)
    failed = client.post("/search/hybrid", json={"query": "something else", "limit": 3})
    assert (failed.status_code, failed.json()["reranked"]) == (200, False)
    metrics = client.get("/metrics").text
    assert 'rowvec_search_reranks_total{pipeline="products",reranked="true"}' in metrics
    assert 'rowvec_search_reranks_total{pipeline="products",reranked="false"} 1.0' in metrics
    assert 'rowvec_rerank_cost_dollars_total{pipeline="products"} 0.0' in metrics


def test_http_refuses_to_rerank_where_nothing_can() -> None:
    with client_of(application(product_pipeline(count=5))) as client:
        refused = client.post("/search/keyword", json={"query": QUERY, "rerank": True})
        assert refused.status_code == 422 and "has no reranker" in refused.json()["error"]["message"]
        assert "reranked" not in client.post("/search/keyword", json={"query": QUERY}).json()


def test_python_reranks_and_measures_what_it_brings(door: ProjectPipeline, products: Pipeline) -> None:
    assert door.search(QUERY, limit=2).reranked is True
    assert door.search(QUERY, limit=2, rerank=False).reranked is None
    judged = {"q": {"60": 3, "59": 2, "58": 1}}
    better = door.eval({"q": QUERY}, judged, modes=["semantic"], measures=["nDCG@10"])
    plain = door.eval({"q": QUERY}, judged, modes=["semantic"], measures=["nDCG@10"], rerank=False)
    assert better["semantic"].means["nDCG@10"] == pytest.approx(1.0)
    assert plain["semantic"].means["nDCG@10"] < 0.9
    without = ProjectPipeline(None, "products", None)  # type: ignore[arg-type]
    without._assembled = without._searchable = dataclasses.replace(products, reranker=None)
    with pytest.raises(SearchError, match=r"search\.rerank"):
        without.eval({"q": QUERY}, judged, modes=["semantic"], measures=["nDCG@10"], rerank=True)


def test_the_commands_carry_it(
    door: ProjectPipeline, server: RerankServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def searched(query: str, rerank: bool | None, as_json: bool = True) -> str:
        search.search(
            None, None, query, mode="semantic", where=None, limit=2, explain=True, exact=False, passages=1,
            rerank=rerank, facets=(), facet_limit=10, distinct=None, offset=0, after=None, order=None, typos=None,
            prefix=None, partial=None, columns=None, as_json=as_json,
            ranking=(), generation="live",
        )  # fmt: skip
        told = capsys.readouterr()
        return told.out + told.err

    assert json.loads(searched(QUERY, None))["reranked"] is True
    assert "reranked" not in json.loads(searched(QUERY, False))
    assert "rerank" in searched(QUERY, None, as_json=False).split("\n")[0]
    server.script.append(Fault.ERROR)
    assert "status 500: internal error. This is the order without it." in searched("oil", None, as_json=False)
    (tmp_path / "queries.csv").write_text(f"id,query\nq,{QUERY}\nr,timing belt\n")
    (tmp_path / "judged.csv").write_text("query_id,key,rating\nq,60,1\nr,60,1\n")
    server.script.extend([Fault.ERROR] * 2)

    def measured(rerank: bool | None) -> tuple[float, str]:
        evaluate.evaluate(
            None, None, tmp_path / "queries.csv", tmp_path / "judged.csv", modes=["keyword"], measures=["MRR@10"],
            condensed=False, rerank=rerank, worst=5, run_file=None, as_json=True,
        )  # fmt: skip
        told = capsys.readouterr()
        return json.loads(told.out)["keyword"]["means"]["MRR@10"], told.err

    failed, said = measured(None)
    plain, quiet = measured(False)
    assert failed == plain
    assert (
        "Of 2 searches, 2 kept the order without the reranker. The reranker refused with status 500" in said
        and "kept the order" not in quiet
    )
    assert "The reranker billed $0.0" in said
