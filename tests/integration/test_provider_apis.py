"""The APIs of Cohere, Gemini, Jina and Voyage: each is told which texts are queries and which are rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rowvec.embedders.openai.client import OpenAIEmbedder
from rowvec.errors import ConfigError, EmbedderError
from tests.servers.openai import vector_of
from tests.servers.providers import KEY, SIZE, ProviderServer

SAID = {
    "cohere": ("search_query", "search_document"),
    "gemini": ("RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT"),
    "jina": ("retrieval.query", "retrieval.passage"),
    "voyage": ("query", "document"),
}
MOST = {"cohere": 96, "gemini": 100, "jina": 512, "voyage": 1000}
TEXTS = ["brake pads", "oil filter", "spark plug"]


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as running:
        yield running


@pytest.fixture
def made(server: ProviderServer) -> Iterator[Any]:
    opened: list[OpenAIEmbedder] = []

    def make(api: str, **options: Any) -> OpenAIEmbedder:
        settings = {"api_key": KEY, "backoff": 0.01, "max_tries": 2, **options}
        opened.append(OpenAIEmbedder("m", api=api, base_url=server.url(api), **settings))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.mark.parametrize("api", SAID)
def test_rows_and_queries_are_told_apart(made: Any, api: str) -> None:
    embedder, (query, row) = made(api), SAID[api]
    expected = np.stack([vector_of(f"{row}|{text}", SIZE) for text in TEXTS])
    np.testing.assert_allclose(embedder.embed(TEXTS).vectors, expected, atol=1e-6)
    np.testing.assert_allclose(embedder.embed_query("brakes"), vector_of(f"{query}|brakes", SIZE), atol=1e-6)
    assert row in embedder.fingerprint.params and embedder.fingerprint.dimension == SIZE


@pytest.mark.parametrize("api", SAID)
def test_shorter_vectors_and_fields_of_ones_own(made: Any, server: ProviderServer, api: str) -> None:
    name = {"cohere": "input_type", "voyage": "input_type", "jina": "task", "gemini": "task_type"}[api]
    embedder = made(api, dimensions=4, passage_params={name: "clustering"})
    expected = np.stack([vector_of(f"clustering|{text}", 4) for text in TEXTS])
    np.testing.assert_allclose(embedder.embed(TEXTS).vectors, expected, atol=1e-6)
    assert embedder.embed_query("x").shape == (4,)
    assert embedder.fingerprint != made(api, dimensions=4).fingerprint
    assert embedder.fingerprint == made(api, dimensions=4, passage_params={name: "clustering"}).fingerprint
    assert (
        embedder.fingerprint
        == made(api, dimensions=4, passage_params={name: "clustering"}, query_params={name: "other"}).fingerprint
    )


@pytest.mark.parametrize("api", SAID)
def test_a_request_has_no_more_texts_than_the_api_takes(made: Any, server: ProviderServer, api: str) -> None:
    del server.bodies[:]
    texts = [f"text {number}" for number in range(MOST[api] + 1)]
    embedder = made(api, batch_size=2048)
    assert embedder.chunk_texts == MOST[api]
    assert len(embedder.embed(texts).vectors) == len(texts)
    named = {"cohere": "texts", "gemini": "requests"}.get(api, "input")
    sizes = [len(body[named]) for body in server.bodies]
    assert max(sizes) == MOST[api] and sum(sizes) == len(texts)


@pytest.mark.parametrize("api", SAID)
def test_fewer_vectors_than_texts_are_asked_for_again(made: Any, server: ProviderServer, api: str) -> None:
    server.fewer = True
    expected = np.stack([vector_of(f"{SAID[api][1]}|{text}", SIZE) for text in TEXTS])
    np.testing.assert_allclose(made(api).embed(TEXTS).vectors, expected, atol=1e-6)
    embedder = made(api, max_tries=1)
    if api != "voyage":  # Of which it is not known yet whether it packs: that is one more try.
        server.fewer = True
        with pytest.raises(EmbedderError, match="answered with 2 vectors for 3 texts"):
            embedder.embed(TEXTS)


@pytest.mark.parametrize("api", SAID)
def test_a_field_that_the_service_does_not_know_is_not_a_fault_of_the_rows(made: Any, api: str) -> None:
    with pytest.raises(EmbedderError, match="refuses a plain word"):
        made(api, passage_params={"no_such_field": 1}).embed(TEXTS)


@pytest.mark.parametrize("api", SAID)
def test_a_wrong_key_is_said_without_it(made: Any, api: str) -> None:
    with pytest.raises(EmbedderError, match="does not accept the key") as caught:
        made(api, api_key="wrong-key-1234567").embed(TEXTS)
    assert "wrong-key" not in str(caught.value)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"input": ["x"]}, "holds 'input', which rowvec sets itself"),
        ({"model": "other"}, "holds 'model'"),
        ({"dimensions": 4}, "holds 'dimensions'"),
        ({"output_dimension": 4}, "holds 'output_dimension'"),
        ({"late_chunking": True}, "embeds the texts of a request as one"),
        ({"texts": []}, "holds 'texts'"),
        ({"encoding_format": "float"}, "changes the form of the answer"),
        ({"output_dtype": "binary"}, "changes the form of the answer"),
        ({"api_key": "abc"}, "holds a secret in 'api_key'"),
        ({"extra": {"auth_token": "abc"}}, "holds a secret in 'auth_token'"),
        ({"note": f"see {KEY}"}, "holds a secret in 'note'"),
        ({"task": {1}}, "JSON has no form for"),
        ({"task": float("nan")}, "JSON has no form for"),
    ],
    ids=str,
)
def test_params_cannot_override_or_give_away(made: Any, params: Any, said: str) -> None:
    for side in ("query_params", "passage_params"):
        with pytest.raises(ConfigError, match=said) as caught:
            made("openai", **{side: params})
        assert side in str(caught.value) and "abc" not in str(caught.value) and KEY not in str(caught.value)


def test_harmless_params_pass(made: Any, server: ProviderServer) -> None:
    embedder = made("voyage", passage_params={"truncation": True}, query_params={"truncation": False})
    embedder.embed(TEXTS)
    assert server.bodies[-1]["truncation"] is True
    embedder.embed_query("x")
    assert server.bodies[-1]["truncation"] is False
