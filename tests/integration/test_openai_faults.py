"""The openai embedder on bad days: faults, rate limits, closing."""

from __future__ import annotations

import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from rowvec.embedders.openai.client import OpenAIEmbedder
from rowvec.errors import (
    EmbedderUnavailable,
    RateLimited,
)
from tests.integration.openai_rig import (
    CHEAP,
    SMALL,
    TEXTS,
    assert_each_vector_is_its_texts_own,
    running,
)
from tests.servers.openai import LOST, Fault, vector_of

# Faults that pass


@pytest.mark.parametrize(
    "fault",
    [fault for fault in Fault if fault in LOST | {Fault.ERROR, Fault.CUT_BEFORE, Fault.ERROR_IN_200}],
    ids=lambda fault: fault.name.lower(),
)
def test_a_failed_try_is_made_again_and_every_cent_of_it_counted(fault: Fault) -> None:
    with running(script=[fault, fault]) as (server, embedder):
        answer = embedder.embed(TEXTS)
        assert_each_vector_is_its_texts_own(answer, TEXTS)
        assert server.requests == 3
        assert server.billed_texts[TEXTS[0]] == 1 + 2 * (fault in LOST)
        budget = embedder.budget
        assert budget.tokens == answer.tokens
        assert budget.spent == pytest.approx(answer.cost)
        # An answer that never came may have been billed: the two together are never less than the server's bill.
        assert budget.spent + budget.lost >= CHEAP.cost(server.billed_tokens) - 1e-12


def test_three_tries_are_enough() -> None:
    with running(script=[Fault.ERROR, Fault.NAN, Fault.ERROR]) as (server, embedder):
        with pytest.raises(EmbedderUnavailable, match="500: The server had an error"):
            embedder.embed(TEXTS)
        assert server.requests == 3


def test_a_server_that_is_too_slow_is_tried_again() -> None:
    with running(latency=5.0, timeout=0.1, max_tries=2) as (server, embedder):
        with pytest.raises(EmbedderUnavailable, match="broke"):
            embedder.embed(TEXTS)
        assert embedder.budget.lost > 0
        server.latency = 0.0


def test_an_address_where_nobody_listens_is_named_and_costs_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        embedder = OpenAIEmbedder(SMALL, base_url=url, price=CHEAP, backoff=0.01)
        with pytest.raises(EmbedderUnavailable, match=f"{url} cannot be reached"):
            embedder.embed(TEXTS)
    assert embedder.budget.lost == 0
    embedder.close()


def test_closing_ends_a_wait_at_once() -> None:
    with running(script=[Fault.RATE_LIMIT], retry_after={"Retry-After": "600"}) as (server, embedder):
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(embedder.embed, TEXTS)
            while not server.log:
                time.sleep(0.01)
            embedder.close()
            assert isinstance(future.exception(timeout=30), EmbedderUnavailable)
        assert server.requests == 1


# 429


def test_a_429_is_waiting_and_not_a_try_and_keeps_the_batch_full() -> None:
    script = [Fault.RATE_LIMIT] * 6
    with running(script=script, max_tries=1, retry_after={"Retry-After": "0.01"}) as (server, embedder):
        assert_each_vector_is_its_texts_own(embedder.embed(TEXTS), TEXTS)
        assert [len(request.texts) for request in server.log] == [40] * 7


def test_a_503_that_says_how_long_it_takes_is_waiting_too() -> None:
    with running(script=[Fault.BUSY] * 6, max_tries=1, retry_after={"Retry-After": "0.01"}) as (server, embedder):
        assert_each_vector_is_its_texts_own(embedder.embed(TEXTS), TEXTS)
        assert [request.status for request in server.log] == [503] * 6 + [200]


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "1"}, {"retry-after-ms": "400"}, {"x-ratelimit-reset-tokens": "400ms"}],
    ids=lambda headers: next(iter(headers)),
)
def test_all_threads_wait_as_long_as_the_service_says(headers: dict[str, str]) -> None:
    stated = 1.0 if "Retry-After" in headers else 0.4
    with running(script=[Fault.RATE_LIMIT], retry_after=headers) as (server, embedder):
        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(embedder.embed, TEXTS)
            while not server.log:
                time.sleep(0.005)
            time.sleep(0.05)
            others = [pool.submit(embedder.embed, TEXTS) for _ in range(3)]
            for future in (first, *others):
                assert_each_vector_is_its_texts_own(future.result(), TEXTS)
        refused, *answered = server.log
        assert all(request.at - refused.at >= stated for request in answered)


def test_a_wait_longer_than_allowed_is_given_up_with_the_time_it_takes() -> None:
    with running(script=[Fault.RATE_LIMIT], retry_after={"Retry-After": "86400"}) as (server, embedder):
        with pytest.raises(RateLimited, match=r"asks for \d+ seconds more, but a request waits at most 1800") as caught:
            embedder.embed(TEXTS)
        assert caught.value.retry_after == 86400
        assert server.requests == 1


def test_a_service_slower_than_its_client_gets_every_request_in_the_end() -> None:
    with running(rate=(4, 0.2), max_tries=1, concurrency=8) as (server, embedder), ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda text: embedder.embed([text]), TEXTS[:16]))
        assert Counter(request.status for request in server.log)[429] > 0
    for text, answer in zip(TEXTS, answers, strict=False):
        assert_each_vector_is_its_texts_own(answer, [text])


# Limits per minute


def test_requests_are_spread_so_that_the_limit_per_minute_is_never_reached() -> None:
    with running(requests_per_minute=600) as (server, embedder), ThreadPoolExecutor(4) as pool:
        started = time.monotonic()
        list(pool.map(embedder.embed, [[text] for text in TEXTS[:6]]))
        assert max(request.at for request in server.log) - started >= 5 * 0.1
        assert {request.status for request in server.log} == {200}


def test_tokens_are_spread_over_the_minute_by_what_was_really_billed() -> None:
    with running(tokens_per_minute=60_000, count_tokens=lambda texts: [500] * len(texts)) as (server, embedder):
        started = time.monotonic()
        for text in TEXTS[:3]:
            embedder.embed([text])
        assert server.log[-1].at - started >= 1.0


def test_expected_time_follows_from_latency_and_concurrency_or_from_the_limits() -> None:
    free = OpenAIEmbedder(SMALL, concurrency=4)
    assert free.expected_seconds(2437, 389_920) == pytest.approx(7 * 0.5)
    slow = OpenAIEmbedder(SMALL, requests_per_minute=10)
    assert slow.expected_seconds(2437, 389_920) == pytest.approx(150)


# Everything at once


def test_a_bad_day_leaves_every_text_embedded_or_failed_and_nothing_billed_twice_for_nothing() -> None:
    chances = {
        Fault.ERROR: 0.10,
        Fault.RATE_LIMIT: 0.10,
        Fault.CUT_AFTER: 0.05,
        Fault.WRONG_COUNT: 0.02,
        Fault.NAN: 0.01,
    }
    texts = [f"{text} take {take}" for take in range(50) for text in TEXTS]
    chunks = [texts[start : start + 10] for start in range(0, len(texts), 10)]
    embedded: dict[str, Any] = {}
    failed: dict[str, str] = {}
    with running(chances=chances, seed=7, dimension=16, concurrency=8) as (server, embedder):

        def one(chunk: list[str]) -> None:
            try:
                vectors = embedder.embed(chunk).vectors
            except EmbedderUnavailable as error:
                failed.update(dict.fromkeys(chunk, str(error)))
            else:
                embedded.update(zip(chunk, vectors, strict=True))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, chunks))
        assert embedded.keys() | failed.keys() == set(texts)
        assert len(embedded) > 0.95 * len(texts)
        for text, vector in embedded.items():
            np.testing.assert_allclose(vector, vector_of(text, 16), atol=1e-6)
        useful = Counter(server.billed_texts)
        useful.subtract(server.lost_texts)
        assert max(useful.values()) == 1
        assert set(+useful) == embedded.keys()
        seen = {request.fault for request in server.log}
        assert seen == {None, *chances}
        assert embedder.budget.tokens <= server.billed_tokens
        assert CHEAP.cost(server.billed_tokens) <= embedder.budget.spent + embedder.budget.lost
