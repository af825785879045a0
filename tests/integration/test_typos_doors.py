"""Typos and last words through every door: HTTP, Python, the commands, agents and the page's script."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import httpx
import pytest

from rowvec.api.project_pipeline import ProjectPipeline
from rowvec.cli import search
from rowvec.errors import SearchError
from rowvec.pipeline import Pipeline
from rowvec.serve import Service
from rowvec.syncing.preview import preview
from rowvec.syncing.run import sync
from tests.integration.serve_rig import application, client_of, opening, product_pipeline, project_pipeline

TYPO, MEANT = "braek pads", "brake pads"


@pytest.fixture(scope="module")
def products() -> Pipeline:
    """Corrects typos and takes beginnings when asked; the rows were synced before their words were kept."""
    made = product_pipeline(count=60)
    assert preview(made).generation == ""
    made = dataclasses.replace(made, spec=dataclasses.replace(made.spec, keeps_words=True), typos=True)
    assert "passes every row once" in preview(made).generation
    report = sync(made)
    assert (report.updated, report.texts) == (60, 0)
    assert preview(made).generation == ""
    return made


@pytest.fixture
def door(products: Pipeline, monkeypatch: pytest.MonkeyPatch) -> ProjectPipeline:
    """The pipeline as a project gives it, and as the commands open it."""
    return opening(project_pipeline(products), monkeypatch, search)


def named(reply: dict[str, Any]) -> set[str]:
    return {hit["metadata"]["name"].rsplit(" ", 1)[0] for hit in reply["results"]}


@pytest.mark.parametrize("mode", ["keyword", "hybrid", "semantic"])
def test_http_says_what_it_searched_for(client: httpx.Client, mode: str) -> None:
    meant = client.post(f"/search/{mode}", json={"query": MEANT}).json()
    found = client.post(f"/search/{mode}", json={"query": TYPO}).json()
    assert found["corrected"] == MEANT and found["results"] == meant["results"]
    assert "corrected" not in meant
    written = client.post(f"/search/{mode}", json={"query": TYPO, "typos": False}).json()
    assert "corrected" not in written and written["results"] != meant["results"]
    simple = client.get("/search", params={"query": TYPO, "mode": mode, "typos": "false"}).json()
    assert simple["results"] == written["results"]
    assert client.get("/search", params={"query": TYPO, "mode": mode}).json()["corrected"] == MEANT


def test_http_takes_the_last_word_as_a_beginning(client: httpx.Client) -> None:
    found = client.get("/search", params={"query": "spark pl", "mode": "keyword", "prefix": "true"}).json()
    assert named(found) == {"spark plug"}
    found = client.post("/search/keyword", json={"query": "bla", "prefix": True}).json()
    assert named(found) == {"wiper blade"}
    assert not client.post("/search/keyword", json={"query": "bla"}).json()["results"]


@pytest.mark.parametrize("given", [{"typos": "maybe"}, {"prefix": 1}, {"typo": True}])
def test_http_refuses_what_is_no_answer(client: httpx.Client, given: dict[str, Any]) -> None:
    assert client.post("/search/keyword", json={"query": TYPO, **given}).status_code == 422


def test_http_refuses_typos_where_no_words_are_kept() -> None:
    with client_of(application(product_pipeline(count=5))) as client:
        for setting in ("typos", "prefix"):
            refused = client.post("/search/keyword", json={"query": TYPO, setting: True})
            assert refused.status_code == 422
            assert f"{setting} needs the words of the rows" in refused.json()["error"]["message"]
        assert client.post("/search/keyword", json={"query": TYPO}).status_code == 200


def test_python_says_it_too(door: ProjectPipeline) -> None:
    assert door.search(TYPO, mode="keyword").corrected == MEANT
    assert door.search(TYPO, mode="keyword", typos=False).corrected is None
    assert door.search("spark pl", mode="keyword", prefix=True).hits
    without = ProjectPipeline(None, "products", None)  # type: ignore[arg-type]
    without._assembled = without._searchable = product_pipeline(count=5)
    with pytest.raises(SearchError, match="does not keep"):
        without.search(TYPO, typos=True)


def test_the_command_says_it_on_a_line_of_its_own(door: ProjectPipeline, capsys: pytest.CaptureFixture[str]) -> None:
    def searched(
        query: str, typos: bool | None, *, prefix: bool | None = None, as_json: bool = False
    ) -> tuple[str, str]:
        search.search(
            None, None, query, mode="keyword", where=None, limit=3, explain=False, exact=False, passages=1,
            rerank=None, typos=typos, prefix=prefix, partial=None, facets=(), facet_limit=10, distinct=None,
            offset=0, after=None, order=None, columns=None, as_json=as_json,
            ranking=(), generation="live",
        )  # fmt: skip
        told = capsys.readouterr()
        return told.out, told.err

    out, told = searched(TYPO, None)
    assert "Searched for 'brake pads' instead of 'braek pads'" in told and "Searched" not in out
    assert "--no-typos" in told
    assert json.loads(searched(TYPO, None, as_json=True)[0])["corrected"] == MEANT
    assert "Searched" not in searched(TYPO, False)[1]
    assert "wiper blade" in searched("bla", None, prefix=True)[0]


def test_agents_are_told(products: Pipeline) -> None:
    pytest.importorskip("mcp", reason="the extra `mcp` is not installed")
    from tests.integration.test_mcp import ask, found

    service = Service(products)
    service.warm()
    services = {"products": service}
    reply = found(ask(services, "search_rows", query=TYPO, mode="keyword"))
    assert reply["corrected"] == MEANT
    plain = found(ask(services, "search_rows", query=TYPO, mode="keyword", typos=False))
    assert plain.get("corrected") is None
    assert found(ask(services, "search", query=TYPO))["results"][0]["title"].startswith("brake pads")
