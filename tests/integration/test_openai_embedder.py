"""The openai embedder against a real HTTP server on loopback: good answers, other servers, and what stops a run."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rowvec.embedders.base import Embedder
from rowvec.embedders.openai.client import OpenAIEmbedder
from rowvec.embedders.pricing import Budget
from rowvec.errors import (
    ConfigError,
    EmbedderError,
    EmbedderUnavailable,
    TextRefused,
)
from tests.integration.openai_rig import (
    CHEAP,
    KEY,
    SMALL,
    TEXTS,
    assert_each_vector_is_its_texts_own,
    make,
    running,
)
from tests.servers.openai import EmbeddingServer, Fault, four_characters_a_token, vector_of

# Good answers


def test_it_is_an_embedder() -> None:
    with running() as (_, embedder):
        checked: Embedder = embedder
        assert checked.concurrency == 4
        assert checked.chunk_texts == 100
        assert checked.billed


def test_every_vector_is_its_texts_own_and_the_bill_is_the_servers() -> None:
    with running() as (server, embedder):
        answer = embedder.embed(TEXTS)
        assert_each_vector_is_its_texts_own(answer, TEXTS)
        assert answer.tokens == server.billed_tokens == sum(four_characters_a_token(TEXTS))
        assert answer.cost == pytest.approx(CHEAP.cost(server.billed_tokens))
        assert not answer.estimated
        assert server.requests == 1
        assert server.log[0].body["encoding_format"] == "base64"


@pytest.mark.parametrize("packing", ["<f8", ">f4", ">f8"])
@pytest.mark.parametrize("dimensions", [None, 64])
def test_base64_of_other_floats_is_not_taken_for_vectors(packing: str, dimensions: int | None) -> None:
    with EmbeddingServer(packing=packing, models=["other"]) as server:
        embedder = OpenAIEmbedder(
            "other", base_url=server.url, api_key=KEY, dimensions=dimensions, max_tries=1, backoff=0.01
        )
        assert_each_vector_is_its_texts_own(embedder.embed(TEXTS), TEXTS)
        assert embedder.fingerprint.dimension == 64
        assert [request.body.get("encoding_format") for request in server.log] == ["base64", None]
        assert_each_vector_is_its_texts_own(embedder.embed(TEXTS[:2]), TEXTS[:2])
        assert server.log[-1].body.get("encoding_format") is None
        embedder.close()


def test_a_query_and_a_passage_get_their_own_prompts() -> None:
    with running(query_prompt="query: ", passage_prompt="passage: ") as (_, embedder):
        assert_each_vector_is_its_texts_own(embedder.embed(TEXTS[:3]), TEXTS[:3], "passage: ")
        np.testing.assert_allclose(embedder.embed_query("drums"), vector_of("query: drums", 64), atol=1e-6)
        assert embedder.fingerprint.prompt == "passage: "


def test_no_texts_cost_nothing_and_send_nothing() -> None:
    with running() as (server, embedder):
        assert embedder.embed([]).vectors.shape == (0, 64)
        assert server.requests == 0


def test_answers_in_another_order_are_placed_by_their_index() -> None:
    with running(script=[Fault.SHUFFLED]) as (server, embedder):
        assert_each_vector_is_its_texts_own(embedder.embed(TEXTS), TEXTS)
        assert server.requests == 1


def test_a_call_beyond_one_requests_limit_is_split() -> None:
    texts = [f"{number}" for number in range(2100)]
    with running(dimension=8) as (server, embedder):
        answer = embedder.embed(texts)
        assert_each_vector_is_its_texts_own(answer, texts)
        assert [len(request.texts) for request in server.log] == [2048, 52]


def test_requests_of_several_threads_overlap() -> None:
    # Each request waits until four are in the server: without overlap the barrier breaks and the test fails.
    barrier = threading.Barrier(4, timeout=20)

    def refuse(text: str) -> bool:
        barrier.wait()
        return False

    with running(concurrency=4, refuse=refuse) as (server, embedder), ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda text: embedder.embed([text]), TEXTS[:8]))
        assert server.most_at_once == 4
    for text, answer in zip(TEXTS, answers, strict=False):
        assert_each_vector_is_its_texts_own(answer, [text])


# Servers that differ


def test_a_server_without_base64_is_asked_for_floats_once_and_for_all() -> None:
    with running(fields=frozenset({"dimensions", "usage"})) as (server, embedder):
        assert_each_vector_is_its_texts_own(embedder.embed(TEXTS), TEXTS)
        assert_each_vector_is_its_texts_own(embedder.embed(TEXTS), TEXTS)
        assert [request.status for request in server.log] == [400, 200, 200]


def test_tokens_are_estimated_and_marked_so_when_the_server_does_not_tell() -> None:
    with running(script=[Fault.NO_USAGE]) as (_, embedder):
        answer = embedder.embed(TEXTS)
        assert answer.estimated
        assert answer.tokens == sum(embedder.count_tokens(TEXTS)) > 0
        assert not embedder.embed(TEXTS).estimated


def test_a_cost_that_the_server_states_goes_before_the_price_table() -> None:
    with running(cost_per_token=1e-6) as (server, embedder):
        assert embedder.embed(TEXTS).cost == pytest.approx(server.billed_tokens * 1e-6)


def test_a_server_that_ignores_dimensions_is_found_out() -> None:
    with (
        running(fields=frozenset({"base64", "usage"}), dimension=96, dimensions=32) as (server, embedder),
        pytest.raises(EmbedderError, match="asked for 32 dimensions but gives 96") as caught,
    ):
        embedder.embed(TEXTS)
    assert "dimensions = 96" in str(caught.value)
    assert not caught.value.transient
    assert server.requests == 1


# What the service says once and for all


def stops_at_once(server: EmbeddingServer, embedder: OpenAIEmbedder, pattern: str) -> EmbedderError:
    with pytest.raises(EmbedderError, match=pattern) as caught:
        embedder.embed(TEXTS)
    assert not caught.value.transient
    assert not isinstance(caught.value, TextRefused)
    assert server.requests == 1
    assert server.billed_tokens == 0
    return caught.value


def test_a_wrong_key_stops_the_run_and_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "sk-secret-0123456789"
    with running(api_key=KEY) as (server, _):
        embedder = make(server, api_key=secret)
        error = stops_at_once(server, embedder, "does not accept the key in OPENAI_API_KEY")
        shown = [str(error), repr(error), repr(embedder), repr(embedder._endpoint), caplog.text]
        cause = error.__cause__
        while cause is not None:
            shown.append(f"{cause!r} {cause}")
            cause = cause.__cause__
        assert not any(secret in text for text in shown)
        embedder.close()


def test_a_missing_key_is_named_by_its_variable() -> None:
    with running() as (server, _):
        embedder = make(server, api_key=None, key_env="OPENROUTER_API_KEY")
        error = stops_at_once(server, embedder, "OPENROUTER_API_KEY is not set")
        assert "export OPENROUTER_API_KEY=" in str(error)
        embedder.close()


@pytest.mark.parametrize("base_url", ["https://api.openai.com/v1", "https://openrouter.ai/api/v1"])
def test_a_service_that_wants_a_key_is_not_asked_without_one(base_url: str) -> None:
    """Or each row would be written down as failed where the service cannot be reached."""
    embedder = OpenAIEmbedder(SMALL, base_url=base_url, key_env="THE_KEY")
    with pytest.raises(EmbedderError, match=r"needs a key, but THE_KEY is not set") as caught:
        embedder.embed(["a text"])
    assert not isinstance(caught.value, EmbedderUnavailable)
    embedder.close()


@pytest.mark.parametrize("fault", [Fault.NO_MONEY, Fault.NO_QUOTA])
def test_no_money_stops_the_run_and_is_not_taken_for_a_rate_limit(fault: Fault) -> None:
    with running(script=[fault]) as (server, embedder):
        stops_at_once(server, embedder, "no credit or quota left")


def test_an_unknown_model_is_named() -> None:
    with running(models=["another-model"]) as (server, embedder):
        stops_at_once(server, embedder, f"does not know the model: The model '{SMALL}' does not exist")


def test_a_url_that_is_no_api_is_told_from_an_unknown_model() -> None:
    with running() as (server, _):
        embedder = OpenAIEmbedder(SMALL, base_url=server.url + "/wrong", api_key=KEY)
        with pytest.raises(EmbedderError, match="is not an embeddings API") as caught:
            embedder.embed(TEXTS)
        assert "Check base_url" in str(caught.value)
        embedder.close()


def test_a_web_page_with_status_200_is_told_from_an_api() -> None:
    with (
        running(script=[Fault.HTML] * 3) as (_, embedder),
        pytest.raises(EmbedderUnavailable, match="web page") as caught,
    ):
        embedder.embed(TEXTS)
    assert "Check base_url" in str(caught.value)


def test_a_dimension_that_the_model_does_not_give_is_refused_by_its_server() -> None:
    with EmbeddingServer(dimension=64, models=["local-model"]) as server:
        embedder = OpenAIEmbedder("local-model", base_url=server.url, api_key=KEY, dimensions=128)
        with pytest.raises(EmbedderError, match="does not give the dimension asked for"):
            embedder.embed(TEXTS)
        embedder.close()


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"dimensions": 1537}, "1536 or fewer"),
        ({"dimensions": 0}, "dimensions is 0; it must be at least 1"),
        ({"base_url": "https://user:hunter2@example.com/v1"}, "holds a user, a password or a query"),
        ({"base_url": "https://example.com/v1?key=hunter2"}, "holds a user, a password or a query"),
        ({"base_url": "https://user:hunter2@example.com:no/v1"}, "not an http address"),
        ({"base_url": "ftp://example.com/v1"}, "not an http address"),
        ({"api_key": "hunter2\nhunter3"}, "characters that keys cannot hold"),
        ({"tokenizer": "no/such/tokenizer.json"}, "cannot be read"),
        ({"requests_per_minute": 0}, "it must be more than 0"),
        ({"price": None, "budget": Budget(1.0)}, "needs a price"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_anything_is_sent(options: dict[str, Any], pattern: str) -> None:
    with pytest.raises(ConfigError, match=pattern) as caught:
        OpenAIEmbedder(SMALL, **({"base_url": "https://example.com/v1", "api_key": KEY} | options))
    assert "hunter" not in str(caught.value)


def test_certificates_are_checked_however_the_scheme_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr("httpx2.Client", lambda **options: checked.append(options["verify"]))
    for base_url in ("https://example.com/v1", "HTTPS://example.com/v1", "http://example.com/v1"):
        OpenAIEmbedder(SMALL, base_url=base_url, api_key=KEY)
    assert checked == [True, True, False]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://user:hunter2@127.0.0.1:1080"),
        ("HTTPS_PROXY", "ftp://user:hunter2@127.0.0.1:1080"),
        ("SSL_CERT_FILE", "/no/such/certificates.pem"),
    ],
)
def test_a_proxy_or_certificates_that_cannot_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"https://example\.com/v1.*\n.*HTTPS_PROXY.*SSL_CERT_FILE") as caught:
        OpenAIEmbedder(SMALL, base_url="https://example.com/v1", api_key=KEY)
    assert "hunter2" not in str(caught.value)


def test_the_fixed_dimension_of_ada_is_known() -> None:
    with pytest.raises(ConfigError, match="only 1536"):
        OpenAIEmbedder("text-embedding-ada-002", dimensions=512)
    assert OpenAIEmbedder("text-embedding-ada-002", dimensions=1536).fingerprint.dimension == 1536


# Fingerprint


def test_the_fingerprint_of_a_known_model_is_known_without_a_request_and_equal_through_openrouter() -> None:
    direct = OpenAIEmbedder(SMALL, api_key=KEY)
    routed = OpenAIEmbedder(f"openai/{SMALL}", base_url="https://openrouter.ai/api/v1", api_key=KEY)
    assert direct.fingerprint == routed.fingerprint
    assert direct.fingerprint.dimension == 1536
    assert OpenAIEmbedder("text-embedding-3-large", dimensions=256).fingerprint.dimension == 256


def test_the_dimension_of_an_unknown_model_is_asked_for_once_and_billed() -> None:
    budget = Budget()
    with EmbeddingServer(dimension=48, models=["local-model"]) as server:
        embedder = OpenAIEmbedder("local-model", base_url=server.url, api_key=KEY, price=CHEAP, budget=budget)
        with ThreadPoolExecutor(4) as pool:
            dimensions = list(pool.map(lambda _: embedder.fingerprint.dimension, range(4)))
        assert dimensions == [48] * 4
        assert server.requests == 1
        assert budget.tokens == server.billed_tokens
        embedder.close()


# Texts that are refused


def test_a_refused_text_is_the_callers_to_find() -> None:
    with running(refuse=lambda text: text == TEXTS[7]) as (server, embedder):
        with pytest.raises(TextRefused, match="maximum context length"):
            embedder.embed(TEXTS)
        assert_each_vector_is_its_texts_own(embedder.embed(TEXTS[:7]), TEXTS[:7])
        with pytest.raises(TextRefused):
            embedder.embed([TEXTS[7]])
        # One plain word told, once, that the service is not refusing everything.
        assert [len(request.texts) for request in server.log] == [40, 1, 7, 1]


def test_a_service_that_refuses_every_text_is_not_taken_for_bad_rows() -> None:
    with running(refuse=lambda text: True) as (server, embedder), ThreadPoolExecutor(4) as pool:
        errors = [future.exception() for future in [pool.submit(embedder.embed, [text]) for text in TEXTS[:4]]]
        assert all(isinstance(error, EmbedderError) and not isinstance(error, TextRefused) for error in errors)
        assert "refuse every text" in str(errors[0])
        assert server.billed_tokens == 0


def test_half_a_character_is_refused_like_any_other_bad_text() -> None:
    with running() as (server, embedder):
        with pytest.raises(TextRefused, match="half a character"):
            embedder.embed(["fine", "broken \ud83d"])
        assert server.requests == 0


@pytest.mark.parametrize("answer", [(500, b'{"error": "encoding"}'), (200, b"")], ids=["500", "empty"])
def test_a_server_that_fails_over_base64_is_asked_for_floats(answer: tuple[int, bytes]) -> None:
    """tabbyAPI#268: base64 gets 500, or an empty body."""
    with running() as (server, embedder):
        work = server.answer
        asked: list[Any] = []

        def without_base64(body: dict[str, Any], key: str | None) -> Any:
            asked.append(body.get("encoding_format"))
            good = work(body, key)
            return replace(good, status=answer[0], body=answer[1]) if asked[-1] == "base64" else good

        server.answer = without_base64  # type: ignore[method-assign]
        assert_each_vector_is_its_texts_own(embedder.embed(TEXTS), TEXTS)
        assert_each_vector_is_its_texts_own(embedder.embed(TEXTS), TEXTS)
        assert asked == ["base64", None, None]


def test_every_answer_of_success_is_one() -> None:
    with running() as (server, embedder):
        work = server.answer
        server.answer = lambda body, key: replace(work(body, key), status=201)  # type: ignore[method-assign]
        assert_each_vector_is_its_texts_own(embedder.embed(TEXTS), TEXTS)
