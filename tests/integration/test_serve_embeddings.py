"""`/v1/embeddings` as the openai client sees it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from rowvec.embedders.base import Embedder
from rowvec.pipeline import Pipeline
from rowvec.serve import ServeSettings, Service, create_app
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.types import Document, Fingerprint, Row
from tests.integration.serve_rig import KEY, application, client_of, product_pipeline, serving

TEXTS = ["brake pads", "a longer text with several words", "ünïcödé ✓"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(application(product_pipeline(), api_keys=(KEY,))) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_vectors_are_those_of_the_pipeline(client: openai.OpenAI, encoding: Any) -> None:
    options = {} if encoding is None else {"encoding_format": encoding}
    reply = client.embeddings.create(model="whatever", input=TEXTS, **options)
    expected = HashEmbedder(16).embed(TEXTS)
    found = [_numbers(each.embedding) for each in reply.data]
    assert np.array_equal(np.array(found, dtype=np.float32), expected.vectors)
    assert [each.index for each in reply.data] == [0, 1, 2]
    assert reply.usage.prompt_tokens == reply.usage.total_tokens == expected.tokens


def _numbers(embedding: Any) -> Any:
    # The client decodes base64 only where it chose that encoding itself.
    return np.frombuffer(base64.b64decode(embedding), "<f4") if isinstance(embedding, str) else embedding


def test_one_text_needs_no_list(client: openai.OpenAI) -> None:
    assert len(client.embeddings.create(model="m", input="brake pads", user="somebody").data) == 1


def test_more_texts_than_the_model_takes_at_once_come_back_in_their_order() -> None:
    embedder = HashEmbedder(16, chunk_texts=7)
    texts = [f"text {number}" for number in range(50)]
    with client_of(application(product_pipeline(embedder=embedder, count=1))) as client:
        reply = client.post("/v1/embeddings", json={"input": texts}).json()
    assert np.array_equal(
        np.array([each["embedding"] for each in reply["data"]], np.float32), embedder.embed(texts).vectors
    )


class Kept:
    """The settings of the pipeline that made the first vectors."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def embedder(self, settings: str) -> Embedder:
        return self._pipeline.embedder

    def documents(self, settings: str, model: Fingerprint) -> tuple[Callable[[Row], Document], tuple[str, ...]]:
        return self._pipeline.to_document, self._pipeline.text_columns

    def passages(self, settings: str) -> None:
        return None

    def close(self) -> None:
        pass


def test_a_reply_is_of_one_model_although_another_goes_live_meanwhile() -> None:
    old = HashEmbedder(16, model="old", chunk_texts=2)
    first = product_pipeline(embedder=old, synced=False, count=5)
    first = replace(first, spec=replace(first.spec, settings="those of old"))
    sync(first)
    new = HashEmbedder(24, model="new")
    spec = replace(first.spec, dimension=24, fingerprint=new.fingerprint)
    changed = replace(first, embedder=new, spec=spec, former=Kept(first))
    service = Service(changed)
    with client_of(create_app({"products": service}, ServeSettings())) as client:

        def swap(vectors: Any) -> Any:
            old.spoil = None
            sync(changed)
            service.check()
            return vectors

        old.spoil = swap
        texts = [f"text {number}" for number in range(6)]
        reply = client.post("/v1/embeddings", json={"input": texts}).json()
        assert (reply["model"], {len(each["embedding"]) for each in reply["data"]}) == ("old", {16})
        assert client.post("/v1/embeddings", json={"input": texts}).json()["model"] == "new"


def test_token_arrays_of_a_model_without_a_tokenizer_here_are_refused_in_words(client: openai.OpenAI) -> None:
    for tokens in ([1, 2, 3], [[1, 2], [3]]):
        with pytest.raises(openai.BadRequestError, match="there is no tokenizer") as caught:
            client.embeddings.create(model="m", input=tokens)
        assert caught.value.param == "input" and "check_embedding_ctx_length=False" in str(caught.value)


def test_the_models_own_dimension_may_be_asked_for_and_no_other(client: openai.OpenAI) -> None:
    assert client.embeddings.create(model="m", input="x", dimensions=16).data
    for other in (8, 17, 0):
        with pytest.raises(openai.BadRequestError) as caught:
            client.embeddings.create(model="m", input="x", dimensions=other)
        assert caught.value.param == "dimensions"


UNSENDABLE: list[Any] = ["", [], ["x", ""], [1.5], None, {}, ["x"] * 2049, [None], [True], "\ud800", ["x", "\ud800"]]


@pytest.mark.parametrize("given", UNSENDABLE, ids=ascii)
def test_what_cannot_be_embedded_is_refused(url: str, given: Any) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    reply = httpx.post(f"{url}/v1/embeddings", content=json.dumps({"input": given}), headers=headers)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "input", None)
    assert "input" in error["message"]


def test_a_form_that_is_not_known_is_named(url: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    body = {"input": "x", "encoding_format": "int8"}
    error = httpx.post(f"{url}/v1/embeddings", json=body, headers=headers).json()["error"]
    assert error["param"] == "encoding_format" and "'float' or 'base64'" in error["message"]


def test_the_openai_client_reports_a_wrong_key(url: str) -> None:
    wrong = openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError, match="API key is missing or wrong"):
        wrong.embeddings.create(model="m", input="x")


def test_a_text_that_the_model_refuses_is_the_callers_error_and_a_model_that_is_away_is_not() -> None:
    embedder = HashEmbedder(16)
    with client_of(application(product_pipeline(embedder=embedder, count=1))) as client:
        embedder.refused = {"bad"}
        assert client.post("/v1/embeddings", json={"input": ["good", "bad"]}).status_code == 400
        embedder.unavailable = 1
        away = client.post("/v1/embeddings", json={"input": "good"})
        assert (away.status_code, away.headers["retry-after"]) == (503, "1")
        assert client.post("/v1/embeddings", json={"input": "good"}).status_code == 200


def test_the_model_is_listed_and_a_null_encoding_is_floats(client: openai.OpenAI, url: str) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.object) == (HashEmbedder(16).fingerprint.model, "model")
    headers = {"Authorization": f"Bearer {KEY}"}
    body = {"input": "brake pads", "encoding_format": None}
    reply = httpx.post(f"{url}/v1/embeddings", json=body, headers=headers)
    assert reply.status_code == 200
    assert isinstance(reply.json()["data"][0]["embedding"], list)
    one = httpx.get(f"{url}/pipelines/products/v1/models", headers=headers)
    assert one.json()["data"][0]["id"] == model.id


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/status", "/search?query=pads"])
def test_head_is_answered_as_get_without_its_body(url: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    got, head = httpx.get(url + path, headers=headers), httpx.head(url + path, headers=headers)
    assert (head.status_code, head.content) == (got.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/search/semantic"])
def test_a_body_of_many_brackets_is_refused_in_a_sentence(url: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    for body in (b"[" * 200_000, b'{"input": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"):
        reply = httpx.post(url + path, content=body, headers=headers)
        assert reply.status_code in (400, 413, 422)
        assert "message" in reply.json()["error"]


def test_an_allowed_origin_may_send_the_headers_of_its_client() -> None:
    shop = "https://shop.example"
    with client_of(application(product_pipeline(), cors_origins=(shop,))) as client:
        asked = {
            "Origin": shop,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang,x-stainless-retry-count",
        }
        reply = client.options("/v1/embeddings", headers=asked)
        assert reply.status_code == 200
        assert "x-stainless-lang" in reply.headers["access-control-allow-headers"].lower()
        evil = client.options("/v1/embeddings", headers={**asked, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in evil.headers
