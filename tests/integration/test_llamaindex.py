"""The LlamaIndex retriever inside a query engine without a paid model, and its filters."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_index.core", reason="the extra `llamaindex` is not installed")

from llama_index.core import get_response_synthesizer
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import MetadataMode, QueryBundle
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from rowvec.adapters.llamaindex import RowvecRetriever
from rowvec.errors import SearchError
from tests.integration.adapters_rig import NOTES, QUERY, SERVER_KEY, in_memory, project, served

PRODUCTS = in_memory()


def keys(nodes: Any) -> set[Any]:
    return {each.node.metadata["rowvec"]["key"] for each in nodes}


def test_a_node_has_all_that_a_hit_has() -> None:
    (first, *_) = RowvecRetriever(PRODUCTS, mode="keyword", limit=2).retrieve("brake pads 7")
    hit = PRODUCTS.search("brake pads 7", mode="keyword", limit=1).hits[0]
    assert (first.node.node_id, first.score) == (f"products/{hit.key}", hit.score)
    assert first.node.get_content() == hit.metadata["name"]
    assert first.node.metadata["rowvec"]["passages"][0]["text"] == hit.passages[0].text
    seen = first.node.get_content(metadata_mode=MetadataMode.LLM)
    assert "price: " in seen and "rowvec" not in seen


def test_a_query_engine_answers_from_the_rows_of_a_project(tmp_path: Path) -> None:
    retriever = RowvecRetriever("notes", project(tmp_path), limit=2)
    try:
        synthesizer = get_response_synthesizer(llm=MockLLM(), response_mode="compact")  # type: ignore[arg-type]
        engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), response_synthesizer=synthesizer)
        for answer in (engine.query("the cat sat on the mat"), asyncio.run(engine.aquery("the cat sat on the mat"))):
            # The mock answers with the prompt that it was given.
            assert NOTES[0][1] in str(answer) and "rowvec" not in str(answer)
            assert len(answer.source_nodes) == 2
    finally:
        retriever.close()


def test_a_server_gives_the_nodes_of_the_library() -> None:
    filters = MetadataFilters(filters=[MetadataFilter(key="price", operator=FilterOperator.LT, value=30)])
    here = RowvecRetriever(PRODUCTS, limit=7, filters=filters)
    with served(PRODUCTS) as url:
        there = RowvecRetriever("products", url=url, key=SERVER_KEY, limit=7, filters=filters)
        assert there.retrieve(QUERY) == asyncio.run(there.aretrieve(QUERY)) == here.retrieve(QUERY)
        there.close()


def test_retrievers_are_fused() -> None:
    halves = [RowvecRetriever(PRODUCTS, mode="semantic", limit=5), RowvecRetriever(PRODUCTS, mode="keyword", limit=5)]
    fused = QueryFusionRetriever(halves, llm=MockLLM(), num_queries=1, similarity_top_k=8, use_async=False)  # type: ignore[arg-type]
    nodes = fused.retrieve(QueryBundle("brake pads 7"))
    assert 5 < len(nodes) == len({each.node.node_id for each in nodes})


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([MetadataFilter(key="price", operator=FilterOperator.LT, value=6)], {1, 2, 3}),
        ([MetadataFilter(key="price", operator=FilterOperator.GTE, value=88.5)], {59, 60}),
        ([MetadataFilter(key="name", value="brake pads 7")], {7}),
        ([MetadataFilter(key="name", operator=FilterOperator.IN, value=["brake pads 7", "disc rotor 1"])], {7, 1}),
        ([MetadataFilter(key="name", operator=FilterOperator.TEXT_MATCH_INSENSITIVE, value="PADS 7")], {7}),
        (
            [
                MetadataFilter(key="price", operator=FilterOperator.LTE, value=6),
                MetadataFilter(key="stock", operator=FilterOperator.NIN, value=[1, 2]),
            ],
            {3, 4},
        ),
        ([MetadataFilter(key="price", operator=FilterOperator.IS_EMPTY, value=None)], set()),
    ],
    ids=str,
)
def test_filters_of_llamaindex_mean_the_same(filters: list[Any], expected: set[int]) -> None:
    found = RowvecRetriever(PRODUCTS, limit=60, filters=MetadataFilters(filters=filters)).retrieve(QUERY)
    assert keys(found) == expected


def test_conditions_are_joined_and_nested() -> None:
    first, last = (MetadataFilter(key="price", operator=op, value=at) for op, at in (("<", 3), (">", 88)))  # type: ignore[arg-type]
    either = MetadataFilters(filters=[first, last], condition=FilterCondition.OR)
    assert keys(RowvecRetriever(PRODUCTS, limit=60, filters=either).retrieve(QUERY)) == {1, 59, 60}
    neither = MetadataFilters(filters=[either], condition=FilterCondition.NOT)
    assert keys(RowvecRetriever(PRODUCTS, limit=60, filters=neither).retrieve(QUERY)) == set(range(2, 59))
    assert keys(RowvecRetriever(PRODUCTS, limit=60, filters="price < 3").retrieve(QUERY)) == {1}


def test_what_a_filter_cannot_say_is_named() -> None:
    matched = MetadataFilter(key="name", operator=FilterOperator.TEXT_MATCH, value="pads")
    with pytest.raises(SearchError, match="There is no filter 'text_match'"):
        RowvecRetriever(PRODUCTS, filters=MetadataFilters(filters=[matched]))
    single = MetadataFilter(key="stock", operator=FilterOperator.IN, value=3)
    with pytest.raises(SearchError, match="needs a list"):
        RowvecRetriever(PRODUCTS, filters=MetadataFilters(filters=[single]))
    unknown = MetadataFilters(filters=[MetadataFilter(key="prise", value=3)])
    with pytest.raises(SearchError, match="'prise'"):
        RowvecRetriever(PRODUCTS, filters=unknown).retrieve(QUERY)
