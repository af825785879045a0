"""The Haystack component inside a pipeline that is written down, read again, and run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"
pytest.importorskip("haystack", reason="the extra `haystack` is not installed")

from haystack import Pipeline
from haystack.components.builders import PromptBuilder
from haystack.utils import Secret

import rowvec
from rowvec.adapters.haystack import RowvecRetriever
from rowvec.errors import SearchError
from rowvec.filters import parse
from tests.integration.adapters_rig import NOTES, QUERY, SERVER_KEY, in_memory, project, served

PRODUCTS = in_memory()
TEMPLATE = "{% for each in documents %}{{ each.content }}|{{ each.meta.colour }}\n{% endfor %}"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("notes"))


@pytest.fixture
def retriever(config: Path) -> Iterator[RowvecRetriever]:
    found = RowvecRetriever("notes", config, limit=2)
    yield found
    found.close()


def flow(retriever: RowvecRetriever) -> Pipeline:
    made = Pipeline()
    made.add_component("rows", retriever)
    made.add_component("prompt", PromptBuilder(TEMPLATE, required_variables=["documents"]))
    made.connect("rows.documents", "prompt.documents")
    return made


def keys(documents: list[Any]) -> set[Any]:
    return {each.meta["rowvec"]["key"] for each in documents}


def test_a_document_has_all_that_a_hit_has() -> None:
    (first, *_) = RowvecRetriever(PRODUCTS, mode="keyword", limit=2).run("brake pads 7")["documents"]
    hit = PRODUCTS.search("brake pads 7", mode="keyword", limit=1).hits[0]
    assert (first.id, first.content, first.score) == (f"products/{hit.key}", hit.metadata["name"], hit.score)
    assert first.meta["price"] == hit.metadata["price"]
    assert first.meta["rowvec"]["passages"][0]["text"] == hit.passages[0].text
    assert type(first).from_dict(first.to_dict()) == first


def test_a_component_of_a_server_is_written_without_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", SERVER_KEY)
    here = RowvecRetriever(PRODUCTS, limit=4).run(QUERY)
    with served(PRODUCTS) as url:
        there = RowvecRetriever("products", url=url, key=Secret.from_env_var("SHOP_KEY"), limit=4)
        written = there.to_dict()
        assert SERVER_KEY not in str(written)
        for each in (there, RowvecRetriever.from_dict(written)):
            each.warm_up()
            assert each.run(QUERY) == here == asyncio.run(each.run_async(QUERY))
        client = rowvec.Client(url, key=SERVER_KEY)
        assert RowvecRetriever(client).run(QUERY, limit=4) == here
        assert RowvecRetriever(client).to_dict()["init_parameters"]["url"] == url
        with pytest.raises(ValueError, match="serialize token-based secret"):
            RowvecRetriever("products", url=url, key=SERVER_KEY).to_dict()


def test_a_pipeline_is_written_down_and_read_again(retriever: RowvecRetriever) -> None:
    written = flow(retriever).dumps()
    again = Pipeline.loads(written, allowed_modules=["rowvec.adapters.*"])
    asked = {"rows": {"query": "the cat sat on the mat"}}
    for made in (flow(RowvecRetriever.from_dict(retriever.to_dict())), again):
        made.warm_up()
        prompt = made.run(asked)["prompt"]["prompt"]
        assert prompt.startswith(f"{NOTES[0][1]}|red\n") and prompt.count("\n") == 2
        awaited = asyncio.run(made.run_async({"rows": {**asked["rows"], "limit": 1}}))
        assert awaited["prompt"]["prompt"] == f"{NOTES[0][1]}|red\n"
        made.get_component("rows").close()


def test_a_pipeline_that_a_project_gave_is_written_by_its_place(config: Path) -> None:
    with rowvec.open(config) as opened:
        made = RowvecRetriever(opened.pipeline("notes"), filters=parse("colour = 'red'"), rerank=False)
        data = made.to_dict()
        assert data["init_parameters"]["config"] == str(config)
        again = RowvecRetriever.from_dict(data)
        assert keys(again.run("dog")["documents"]) == keys(made.run("dog")["documents"]) == {1, 4}
        again.close()


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"field": "meta.price", "operator": "<", "value": 6}, {1, 2, 3}),
        ({"field": "price", "operator": ">=", "value": 88.5}, {59, 60}),
        ({"field": "meta.name", "operator": "in", "value": ["brake pads 7", "disc rotor 1"]}, {7, 1}),
        (
            {
                "operator": "AND",
                "conditions": [
                    {"field": "meta.price", "operator": "<=", "value": 6},
                    {"operator": "NOT", "conditions": [{"field": "meta.stock", "operator": "in", "value": [1, 2]}]},
                ],
            },
            {3, 4},
        ),
        (
            {
                "operator": "OR",
                "conditions": [
                    {"field": "meta.price", "operator": "<", "value": 3},
                    {"field": "meta.price", "operator": ">", "value": 88},
                ],
            },
            {1, 59, 60},
        ),
        ({"price": {"<": 3}}, {1}),
        ("price < 3", {1}),
    ],
    ids=str,
)
def test_filters_of_haystack_mean_the_same(filters: Any, expected: set[int]) -> None:
    assert keys(RowvecRetriever(PRODUCTS, limit=60, filters=filters).run(QUERY)["documents"]) == expected
    assert keys(RowvecRetriever(PRODUCTS, limit=60).run(QUERY, filters=filters)["documents"]) == expected


def test_a_filter_of_a_run_narrows_the_one_of_the_component() -> None:
    made = RowvecRetriever(PRODUCTS, limit=60, filters={"field": "meta.price", "operator": ">", "value": 30})
    assert keys(made.run(QUERY, filters="price < 36")["documents"]) == {21, 22, 23}


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"field": "meta.price", "operator": "~", "value": 6}, "There is no filter '~'"),
        ({"field": "meta.price", "operator": "in", "value": 6}, "needs a list"),
        ({"field": "meta.price", "operator": "<"}, "has no value"),
        ({"operator": "XOR", "conditions": []}, "XOR"),
        ({"operator": "AND", "conditions": [{"field": "meta.price"}]}, "needs an operator"),
    ],
    ids=str,
)
def test_what_a_filter_cannot_say_is_named_before_a_run(filters: Any, said: str) -> None:
    with pytest.raises(SearchError, match=said):
        RowvecRetriever(PRODUCTS, filters=filters)
