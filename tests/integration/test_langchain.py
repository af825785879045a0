"""LangChain's standard tests of a retriever, and the adapters as a program uses them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core", reason="the extra `langchain` is not installed")
pytest.importorskip("langchain_tests", reason="the package langchain-tests is not installed")

from langchain_core.documents import Document
from langchain_core.load import dumps
from langchain_core.runnables import RunnableLambda
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import SecretStr

import rowvec
from rowvec.adapters.langchain import RowvecReranker, RowvecRetriever
from rowvec.api.project_pipeline import ProjectPipeline
from rowvec.errors import ConfigError, SearchError
from tests.integration.adapters_rig import NOTES, QUERY, SERVER_KEY, in_memory, project, ranking, served
from tests.servers.rerank import Fault, RerankServer

PRODUCTS = in_memory()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
class TestStandard(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[RowvecRetriever]:
        return RowvecRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"pipeline": PRODUCTS}

    @property
    def retriever_query_example(self) -> str:
        return QUERY

    @property
    def num_results_arg_name(self) -> str:
        return "limit"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(PRODUCTS) as url:
        yield url


@pytest.mark.anyio
class TestStandardOverHttp(TestStandard):
    @pytest.fixture(autouse=True)
    def _of_the_server(self, address: str) -> None:
        self.address = address

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"pipeline": "products", "url": self.address, "key": SERVER_KEY}


def test_a_server_gives_the_documents_of_the_library(address: str) -> None:
    asked: dict[str, Any] = {"mode": "hybrid", "limit": 7, "filters": "price < 60"}
    there = RowvecRetriever(url=address, key=SecretStr(SERVER_KEY), **asked)
    here = RowvecRetriever(pipeline=PRODUCTS, **asked)
    assert there.invoke(QUERY, filters={"stock": [1, 2]}) == here.invoke(QUERY, filters={"stock": [1, 2]})
    assert asyncio.run(there.ainvoke(QUERY)) == here.invoke(QUERY)
    assert SERVER_KEY not in repr(there) + dumps(there)
    with pytest.raises(SearchError, match="prise") as caught:
        there.invoke(QUERY, filters="prise < 3")
    assert caught.value.hint == "Did you mean 'price'?"


def test_a_token_narrows_a_retriever(address: str) -> None:
    token = rowvec.token({"products": {"stock": 3}}, api_key=SERVER_KEY)
    found = RowvecRetriever(url=address, key=SecretStr(token), limit=60).invoke(QUERY)
    assert {each.metadata["stock"] for each in found} == {3}


def test_a_server_puts_documents_into_order(reranked: ProjectPipeline) -> None:
    documents = [Document(page_content=text) for text in ("one 1", "three 3", "two 2")]
    with served(reranked) as url:
        there = RowvecReranker(url=url, key=SecretStr(SERVER_KEY))
        found = there.compress_documents(documents, QUERY)
        assert contents(list(found)) == ["three 3", "two 2", "one 1"]
        assert asyncio.run(there.acompress_documents(documents, QUERY)) == found


@pytest.mark.parametrize(
    "given",
    [
        {"url": "http://host", "config": "rowvec.toml"},
        {"key": "a-key"},
        {"pipeline": PRODUCTS, "url": "http://host"},
    ],
)
def test_two_places_for_one_pipeline_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        RowvecRetriever(**given)


@pytest.fixture(scope="module")
def server() -> Iterator[RerankServer]:
    with ranking() as running:
        yield running


@pytest.fixture
def reranked(server: RerankServer) -> Iterator[ProjectPipeline]:
    """The products, with a reranker."""
    found = in_memory(server)
    yield found
    found.searchable.reranker.close()


def contents(documents: list[Document]) -> list[str]:
    return [each.page_content for each in documents]


def key_of(document: Document) -> Any:
    return document.metadata["rowvec"]["key"]


def test_a_document_has_all_that_a_hit_has() -> None:
    (first, *_) = RowvecRetriever(pipeline=PRODUCTS, mode="keyword", limit=2).invoke("brake pads 7")
    hit = PRODUCTS.search("brake pads 7", mode="keyword", limit=1).hits[0]
    about = first.metadata["rowvec"]
    assert first.page_content == hit.metadata["name"] and first.id == f"products/{hit.key}"
    assert (about["key"], about["score"], about["pipeline"]) == (hit.key, hit.score, "products")
    assert about["passages"][0]["text"] == hit.passages[0].text
    assert first.metadata["price"] == hit.metadata["price"]
    assert first.metadata["added"].startswith("2024-01-")  # As JSON has it.
    assert dumps(first)


def test_a_filter_of_a_call_narrows_the_one_of_the_retriever() -> None:
    retriever = RowvecRetriever(pipeline=PRODUCTS, filters="price > 30", limit=60)
    assert {key_of(each) for each in retriever.invoke(QUERY)} == set(range(21, 61))
    narrowed = retriever.invoke(QUERY, filters={"price": {"<": 36}})
    assert {key_of(each) for each in narrowed} == {21, 22, 23}
    awaited = asyncio.run(retriever.ainvoke(QUERY, filters={"price": {"<": 36}}, mode="keyword", limit=1))
    assert len(awaited) == 1 and key_of(awaited[0]) in {21, 22, 23}


def test_mistakes_are_named() -> None:
    retriever = RowvecRetriever(pipeline=PRODUCTS)
    with pytest.raises(SearchError, match="'prise'"):
        retriever.invoke(QUERY, filters="prise < 5")
    with pytest.raises(SearchError, match="limit is 0"):
        retriever.invoke(QUERY, limit=0)
    with pytest.raises(SearchError, match="The limit is '5', which is not a whole number"):
        retriever.invoke(QUERY, limit="5")
    with pytest.raises(SearchError, match="empty"):
        retriever.invoke("  ")
    with pytest.raises(ConfigError, match="mode is 'fuzzy'"):
        retriever.invoke(QUERY, mode="fuzzy")
    with pytest.raises(ConfigError, match="config goes with the name"):
        RowvecRetriever(pipeline=PRODUCTS, config="rowvec.toml")


@pytest.mark.parametrize("made", [RowvecRetriever, RowvecReranker])
def test_an_argument_of_another_name_is_refused(made: type[RowvecRetriever | RowvecReranker]) -> None:
    """It was dropped, and a filter with it."""
    given: dict[str, Any] = {"pipeline": PRODUCTS, "filter": "price < 36", "kye": "a-key"}
    with pytest.raises(ConfigError, match=f"{made.__name__} has no argument 'filter'") as refused:
        made(**given)
    assert ("Did you mean 'filters'?" in str(refused.value)) == (made is RowvecRetriever)
    assert "a-key" not in str(refused.value)


def test_it_opens_a_project_by_name_and_works_in_a_chain(tmp_path: Path) -> None:
    config = project(tmp_path)
    retriever = RowvecRetriever(pipeline="notes", config=config, limit=2)
    try:
        chain = retriever | RunnableLambda(contents)
        texts = chain.invoke("the cat sat on the mat")
        assert texts[0] == NOTES[0][1] and len(texts) == 2
        assert chain.batch(["red", "dog"]) and asyncio.run(chain.ainvoke("the dog and the cat"))[0] == NOTES[3][1]
        assert RowvecRetriever(config=config, text="passages").invoke("red")[0].page_content
    finally:
        retriever.close()
    with pytest.raises(ConfigError, match="no pipeline"):
        RowvecRetriever(pipeline="nots", config=config).invoke("cat")


def test_the_reranker_orders_documents_of_any_retriever(reranked: ProjectPipeline) -> None:
    documents = [Document(f"text {number}", metadata={"source": "a wiki"}) for number in (3, 9, 1)]
    reranker = RowvecReranker(pipeline=reranked, top_n=2)
    ordered = reranker.compress_documents(documents, "anything")
    assert [each.page_content for each in ordered] == ["text 9", "text 3"]
    assert ordered[0].metadata == {"source": "a wiki", "relevance_score": 9.0}
    assert "relevance_score" not in documents[1].metadata
    awaited = asyncio.run(reranker.acompress_documents(documents, "something"))
    assert [each.page_content for each in awaited] == ["text 9", "text 3"]
    assert reranker.compress_documents([], "anything") == []


def test_a_reranker_that_fails_costs_the_order_alone(server: RerankServer, reranked: ProjectPipeline) -> None:
    server.script.append(Fault.HTML)
    documents = [Document("text 1"), Document("text 2"), Document("text 3")]
    kept = RowvecReranker(pipeline=reranked, top_n=2).compress_documents(documents, "not asked before")
    assert kept == documents[:2]


def test_a_pipeline_without_a_reranker_says_what_to_add() -> None:
    with pytest.raises(SearchError, match="has no reranker") as caught:
        RowvecReranker(pipeline=PRODUCTS).compress_documents([Document("x")], "y")
    assert "[pipelines.products.search.rerank]" in str(caught.value.hint)


def test_a_retriever_reranks_where_the_pipeline_does(reranked: ProjectPipeline) -> None:
    assert [key_of(each) for each in RowvecRetriever(pipeline=reranked, limit=3).invoke(QUERY)] == [60, 59, 58]
    plain = RowvecRetriever(pipeline=reranked, limit=3, rerank=False).invoke(QUERY)
    assert [key_of(each) for each in plain] != [60, 59, 58]
