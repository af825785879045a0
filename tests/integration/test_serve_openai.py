"""What OpenAI's, Cohere's and Jina's clients find on the server beside texts and vectors, and those clients."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.rerankers.service import ServiceReranker
from rowvec.testing import HashEmbedder
from tests.integration.serve_rig import KEY, application, client_of, product_pipeline, serving
from tests.servers.rerank import KEY as RERANK_KEY
from tests.servers.rerank import Fault, RerankServer
from tests.support_tiny_models import WIDTH, tiny_model

TEXTS = ["the cat sat on the mat", "a dog runs. red and blue, the cat", "xyz and a cat"]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEmbedder]:
    """A small model whose files say that its vectors may be cut."""
    folder = tmp_path_factory.mktemp("model")
    tiny_model(folder / "tiny", config={"matryoshka_dimensions": [8, 16]})
    embedder = LocalEmbedder(str(folder / "tiny"), cache_dir=folder / "cache")
    yield embedder
    embedder.close()


@pytest.fixture(scope="module")
def url(local: LocalEmbedder) -> Iterator[str]:
    pipeline = product_pipeline(embedder=local, count=3)  # type: ignore[arg-type]
    with serving(application(pipeline, api_keys=(KEY,))) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def vectors(reply: Any) -> Any:
    return np.array([each.embedding for each in reply.data], np.float32)


def numbers(embedding: Any) -> Any:
    return np.frombuffer(base64.b64decode(embedding), "<f4") if isinstance(embedding, str) else embedding


# Token arrays


def test_token_arrays_give_the_vectors_of_their_texts(client: openai.OpenAI, local: LocalEmbedder) -> None:
    tokenizer = local.tokenizer()
    expected = local.embed(TEXTS).vectors
    for special in (True, False):
        arrays = [tokenizer.encode(text, add_special_tokens=special).ids for text in TEXTS]
        assert np.array_equal(vectors(client.embeddings.create(model="m", input=arrays)), expected)
        # Some processors multiply one row otherwise than several: the last digit may differ.
        alone = vectors(client.embeddings.create(model="m", input=arrays[1]))
        assert np.allclose(alone, expected[1:2], rtol=0, atol=1e-6)


def test_a_long_token_array_is_embedded_as_its_text(client: openai.OpenAI, local: LocalEmbedder) -> None:
    text = "the cat sat on a red mat and runs " * 20
    array = local.tokenizer().encode(text, add_special_tokens=False).ids
    assert len(array) > local.fingerprint.max_tokens  # type: ignore[operator]
    assert np.array_equal(vectors(client.embeddings.create(model="m", input=array)), local.embed([text]).vectors)


def test_tokens_of_another_model_are_refused(client: openai.OpenAI, local: LocalEmbedder) -> None:
    piece = local.tokenizer().token_to_id("##b")
    assert piece is not None
    for tokens, said in (
        ([100_000], "Token 100000 is not in the vocabulary"),
        ([2**70], "not in the vocabulary"),
        ([piece, piece], "do not come from the tokenizer"),
        (local.tokenizer().encode("").ids, "do not come from the tokenizer"),
    ):
        with pytest.raises(openai.BadRequestError, match=said) as caught:
            client.embeddings.create(model="m", input=[tokens])
        assert caught.value.param == "input" and "Send text" in str(caught.value)


@pytest.mark.parametrize("given", [[[]], [[1], []], [[1], "x"], ["x", 1], [-1], [[1.5]], [[True]], [[[1]]]], ids=str)
def test_what_is_neither_text_nor_tokens_is_refused(url: str, given: Any) -> None:
    reply = httpx.post(f"{url}/v1/embeddings", json={"input": given}, headers={"Authorization": f"Bearer {KEY}"})
    assert reply.status_code == 400 and reply.json()["error"]["param"] == "input"


# Shorter vectors


def test_a_model_that_was_trained_for_it_gives_shorter_vectors(client: openai.OpenAI, local: LocalEmbedder) -> None:
    whole = local.embed(TEXTS).vectors
    cut = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    for encoding in ("float", "base64"):
        reply = client.embeddings.create(model="m", input=TEXTS, dimensions=8, encoding_format=encoding)
        found = [numbers(each.embedding) for each in reply.data]
        np.testing.assert_allclose(np.array(found, np.float32), cut, atol=1e-6)
    with pytest.raises(openai.BadRequestError, match=f"gives {WIDTH} or fewer"):
        client.embeddings.create(model="m", input="x", dimensions=WIDTH + 1)


# Models, and which pipeline is meant


def test_models_are_listed_and_found(client: openai.OpenAI, local: LocalEmbedder) -> None:
    name = local.fingerprint.model
    assert [each.id for each in client.models.list()] == [name]
    assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError, match="There is no model 'gpt-x'"):
        client.models.retrieve("gpt-x")


def test_a_model_with_a_slash_in_its_name_is_found_and_chooses_its_pipeline() -> None:
    one = product_pipeline(name="one", count=1, embedder=HashEmbedder(8, model="a/b"))
    two = product_pipeline(name="two", count=1, embedder=HashEmbedder(12, model="c/d"))
    with serving(application(one, two)) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="x") as client:
        assert client.models.retrieve("c/d").id == "c/d"
        for model, size in (("a/b", 8), ("c/d", 12), ("one", 8), ("two", 12)):
            assert len(client.embeddings.create(model=model, input="x").data[0].embedding) == size
        with pytest.raises(openai.NotFoundError, match="No pipeline, and no model of one") as caught:
            client.embeddings.create(model="e/f", input="x")
        assert caught.value.param == "model"


def test_two_pipelines_of_one_model_are_told_apart_by_name() -> None:
    same = [product_pipeline(name=name, count=1, embedder=HashEmbedder(8)) for name in ("one", "two")]
    with client_of(application(*same)) as client:
        assert client.post("/v1/embeddings", json={"input": "x", "model": "hash"}).status_code == 200
        assert client.post("/v1/embeddings", json={"input": "x"}).status_code == 400
    other = product_pipeline(name="three", count=1, embedder=HashEmbedder(12))
    with client_of(application(same[0], other)) as client:
        error = client.post("/v1/embeddings", json={"input": "x", "model": "hash"}).json()["error"]
        assert "Name one: one, three" in error["message"]


# Errors


def test_errors_have_openais_shape_on_its_addresses_alone(url: str, client: openai.OpenAI) -> None:
    wrong = openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError) as caught:
        wrong.embeddings.create(model="m", input="x")
    assert (caught.value.type, caught.value.code) == ("invalid_request_error", "invalid_api_key")
    headers = {"Authorization": f"Bearer {KEY}"}
    for path in ("/v1/nothing", "/pipelines/products/v1/nothing"):
        error = httpx.get(url + path, headers=headers).json()["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["code"] == "not_found"
    for path in ("/nothing", "/search/semantic"):
        assert set(httpx.post(url + path, json={}, headers=headers).json()["error"]) == {"message", "hint"}
    assert httpx.post(f"{url}/search/semantic", json={}, headers=headers).status_code == 422


def test_a_model_that_is_away_is_the_servers_error() -> None:
    embedder = HashEmbedder(8)
    with client_of(application(product_pipeline(embedder=embedder, count=1))) as client:
        embedder.unavailable = 1
        away = client.post("/v1/embeddings", json={"input": "x"})
        assert (away.status_code, away.json()["error"]["type"]) == (503, "server_error")


# Reranking


@pytest.fixture(scope="module")
def ranking() -> Iterator[RerankServer]:
    with RerankServer(lambda query, text: float(text.split()[-1])) as running:
        yield running


@pytest.fixture(scope="module")
def reranking(ranking: RerankServer) -> Iterator[httpx.Client]:
    reranker = ServiceReranker("cohere", ranking.url("cohere"), "m", api_key=RERANK_KEY, timeout=20.0)
    with client_of(application(dataclasses.replace(product_pipeline(count=3), reranker=reranker))) as client:
        yield client
    reranker.close()


DOCUMENTS = ["text 3", "text 9", "text 1"]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/pipelines/products/v1/rerank"])
def test_documents_are_put_into_order(reranking: httpx.Client, path: str) -> None:
    asked: dict[str, Any] = {"model": "any", "query": "numbers", "documents": DOCUMENTS}
    found = reranking.post(path, json=asked).json()
    assert found["model"] == "any" and found["id"]
    assert found["results"] == [
        {"index": 1, "relevance_score": 9.0},
        {"index": 0, "relevance_score": 3.0},
        {"index": 2, "relevance_score": 1.0},
    ]
    asked |= {"documents": [{"text": each} for each in DOCUMENTS], "top_n": 1, "return_documents": True}
    (best,) = reranking.post(path, json=asked).json()["results"]
    assert best == {"index": 1, "relevance_score": 9.0, "document": {"text": "text 9"}}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": "  "}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "text"}, "documents"),
        ({"documents": [3]}, "documents"),
        ({"documents": ["\ud800"]}, "documents"),
        ({"documents": [{"text": "\ud800"}]}, "documents"),
        ({"documents": [{"title": "x"}]}, "documents"),
        ({"documents": ["x"] * 1001}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": "3"}, "top_n"),
        ({"query": None}, "query"),
    ],
    ids=ascii,
)
def test_a_request_that_cannot_be_ranked_is_refused(reranking: httpx.Client, change: Any, param: str) -> None:
    body = json.dumps({"query": "q", "documents": ["x"], **change})
    reply = reranking.post("/v1/rerank", content=body, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_a_reranker_that_fails_or_is_not_there_is_said(reranking: httpx.Client, ranking: RerankServer) -> None:
    ranking.script.append(Fault.HTML)
    failed = reranking.post("/v1/rerank", json={"query": "never asked", "documents": ["text 5"]})
    assert (failed.status_code, failed.headers["retry-after"]) == (503, "1")
    with client_of(application(product_pipeline(count=1))) as client:
        none = client.post("/v1/rerank", json={"query": "q", "documents": ["x"]})
        assert none.status_code == 404 and "[pipelines.products.search.rerank]" in none.json()["error"]["message"]


# Clients


def test_langchains_embeddings_work_unchanged(url: str, local: LocalEmbedder) -> None:
    found = pytest.importorskip("langchain_openai", reason="the package langchain-openai is not installed")
    options = {
        "model": "m", "base_url": f"{url}/v1", "api_key": KEY, "check_embedding_ctx_length": False, "max_retries": 0,
    }  # fmt: skip
    expected = local.embed(TEXTS).vectors
    # Clients of the test's own: the usual ones are closed by nobody.
    with httpx.Client() as client:
        embeddings = found.OpenAIEmbeddings(**options, http_client=client)
        np.testing.assert_allclose(embeddings.embed_documents(TEXTS), expected, atol=1e-6)
        np.testing.assert_allclose(embeddings.embed_query(TEXTS[0]), expected[0], atol=1e-6)

    async def work() -> Any:
        async with httpx.AsyncClient() as client:
            return await found.OpenAIEmbeddings(**options, http_async_client=client).aembed_documents(TEXTS)

    np.testing.assert_allclose(asyncio.run(work()), expected, atol=1e-6)


def test_llamaindexes_embeddings_work_unchanged(url: str, local: LocalEmbedder) -> None:
    found = pytest.importorskip(
        "llama_index.embeddings.openai", reason="the package llama-index-embeddings-openai is not installed"
    )
    expected = local.embed(TEXTS).vectors
    with httpx.Client() as client:
        embeddings = found.OpenAIEmbedding(
            model_name="m", api_base=f"{url}/v1", api_key=KEY, max_retries=0, http_client=client
        )
        np.testing.assert_allclose(embeddings.get_text_embedding_batch(TEXTS), expected, atol=1e-6)
        np.testing.assert_allclose(embeddings.get_query_embedding(TEXTS[0]), expected[0], atol=1e-6)


def test_rowvecs_own_client_works_against_it(url: str, local: LocalEmbedder) -> None:
    from rowvec.embedders.openai.client import OpenAIEmbedder

    embedder = OpenAIEmbedder("m", base_url=f"{url}/v1", api_key=KEY)
    np.testing.assert_allclose(embedder.embed(TEXTS).vectors, local.embed(TEXTS).vectors, atol=1e-6)
    embedder.close()
