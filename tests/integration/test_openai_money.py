"""What the openai embedder costs: the budget, and tokens counted before and after."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rowvec.embedders.openai.client import OpenAIEmbedder
from rowvec.embedders.pricing import Budget
from rowvec.errors import (
    BudgetExceeded,
)
from rowvec.syncing.run import sync
from tests.integration.openai_rig import (
    CHEAP,
    SMALL,
    TEXTS,
    minilm_tokenizer,
    running,
)
from tests.servers.openai import Fault, tokenizer_count
from tests.support import simple_pipeline


@pytest.fixture(scope="module")
def minilm() -> str:
    return minilm_tokenizer()


# Money


@pytest.mark.parametrize("exact", [False, True], ids=["estimated", "exact"])
def test_max_cost_is_never_passed_by_the_servers_own_count(exact: bool, minilm: str) -> None:
    limit = 0.0002
    budget = Budget(limit)
    texts = [[f"{text} and part {part}" for text in TEXTS[:20]] for part in range(60)]
    stopped: list[BaseException] = []
    with running(
        count_tokens=tokenizer_count(minilm),
        budget=budget,
        latency=0.005,
        tokenizer=minilm if exact else None,
        chances={Fault.CUT_AFTER: 0.05, Fault.NAN: 0.05, Fault.ERROR: 0.05},
        concurrency=8,
    ) as (server, embedder):

        def one(chunk: list[str]) -> None:
            try:
                embedder.embed(chunk)
            except BudgetExceeded as error:
                stopped.append(error)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, texts))
        billed = CHEAP.cost(server.billed_tokens)
        assert stopped
        assert billed <= limit
        assert billed <= budget.spent + budget.lost + 1e-12 <= limit + 1e-12
        assert budget.spent + budget.lost > 0.8 * limit


def test_a_budget_too_small_for_one_request_sends_none() -> None:
    with running(budget=Budget(1e-9)) as (server, embedder):
        with pytest.raises(BudgetExceeded, match="--max-cost"):
            embedder.embed(TEXTS)
        assert server.requests == 0


def test_what_one_run_lost_is_not_on_the_bill_of_the_next() -> None:
    """As in a worker, whose model stays loaded from task to task."""
    with running(script=[Fault.CUT_AFTER]) as (server, embedder):
        pipeline = simple_pipeline(rows={1: "a bright synth loop"}, embedder=embedder)
        first = sync(pipeline)
        assert first.cost_lost >= CHEAP.cost(server.log[0].billed) > 0
        pipeline.source.rows[2] = {"id": 2, "name": "a slow pad", "price": 1}
        second = sync(pipeline)
        assert (second.inserted, second.cost_lost) == (1, 0)
        assert second.cost > 0


# Tokens


def test_with_the_tokenizer_at_hand_the_count_is_the_bill(minilm: str) -> None:
    with running(count_tokens=tokenizer_count(minilm), tokenizer=minilm) as (server, embedder):
        assert embedder.exact_tokens
        assert embedder.token_error(TEXTS) == 0.02
        assert sum(embedder.count_tokens(TEXTS)) == embedder.embed(TEXTS).tokens == server.billed_tokens


def test_without_it_the_estimate_is_within_its_stated_error(minilm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", os.devnull)
    texts = [
        f"Title: Night Drive {n}\nGenre: Deep House\nBPM: {100 + n}\nKey: F# minor\nMood: dark, hypnotic\n"
        f"Energy: 0.{n % 90 + 10}\nTags: analog, pads, tape\nDescription: A slow pad over a dusty kick, take {n}."
        for n in range(200)
    ]
    with running(count_tokens=tokenizer_count(minilm)) as (server, embedder):
        assert not embedder.exact_tokens
        estimated = sum(embedder.count_tokens(texts))
        embedder.embed(texts)
        assert embedder.token_error(texts) == 0.15
        assert abs(estimated - server.billed_tokens) <= 0.15 * server.billed_tokens


def test_the_stated_error_is_wider_for_other_languages() -> None:
    embedder = OpenAIEmbedder("local-model")
    assert embedder.token_error(["Szybki brązowy lis przeskakuje nad leniwym psem, źle śpiąc"]) == 0.8
    assert embedder.token_error(["Быстрая лиса"]) == 0.8
    assert embedder.token_error(["A quick fox in a café" + ", which sits there and does nothing at all" * 3]) == 0.15


def test_a_missing_vocabulary_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    embedder = OpenAIEmbedder(SMALL)
    assert not embedder.exact_tokens
    assert embedder.count_tokens(["a quick fox"]) == [3]
    assert list(tmp_path.iterdir()) == []
