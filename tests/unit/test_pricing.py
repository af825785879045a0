"""Prices, estimates and the budget: the arithmetic that a user pays by."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rowvec.embedders.pricing import Budget, Estimate, Price, dollars, price_of
from rowvec.errors import BudgetExceeded, ConfigError

SMALL = "text-embedding-3-small"


def test_389920_tokens_at_two_cents_a_million_cost_78_hundredths_of_a_cent() -> None:
    price = price_of(SMALL)
    assert price is not None
    assert price.cost(389_920) == pytest.approx(0.0077984)
    assert dollars(price.cost(389_920)) == "$0.0078"


@pytest.mark.parametrize(
    ("model", "per_million"),
    [(SMALL, 0.02), ("text-embedding-3-large", 0.13), ("text-embedding-ada-002", 0.10)],
)
@pytest.mark.parametrize("vendor", ["", "openai/"])
def test_openai_models_cost_the_same_directly_and_through_openrouter(
    vendor: str, model: str, per_million: float
) -> None:
    price = price_of(vendor + model, "https://openrouter.ai/api/v1")
    assert price is not None
    assert price.per_million == per_million
    assert "2026" in price.source


def test_a_price_from_the_configuration_goes_before_the_table() -> None:
    assert price_of(SMALL, override=0.01) == Price(0.01, "configuration")
    assert price_of(SMALL, override=0.0) == Price(0.0, "configuration")


def test_a_known_model_behind_a_local_proxy_still_has_its_price() -> None:
    price = price_of(SMALL, "http://127.0.0.1:4000/v1")
    assert price is not None
    assert price.per_million == 0.02


@pytest.mark.parametrize("url", ["http://localhost:11434/v1", "http://127.0.0.1:8000/v1", "http://[::1]:8000/v1"])
def test_an_unknown_model_on_this_machine_is_free(url: str) -> None:
    price = price_of("nomic-embed-text", url)
    assert price is not None
    assert price.per_million == 0


def test_an_unknown_model_elsewhere_has_no_price_rather_than_a_guessed_one() -> None:
    assert price_of("my-model", "https://gpu.example.com/v1") is None


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_a_price_that_makes_no_sense_is_refused(price: float) -> None:
    with pytest.raises(ConfigError):
        price_of(SMALL, override=price)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "$0"),
        (0.0077984, "$0.0078"),
        (0.0000032, "$0.0000032"),
        (0.5, "$0.5000"),
        (12.5, "$12.50"),
        (1234.5, "$1,234.50"),
    ],
)
def test_dollars_show_at_least_two_digits_that_matter(amount: float, shown: str) -> None:
    assert dollars(amount) == shown


def test_an_estimate_divides_the_cost_by_the_rows() -> None:
    estimate = Estimate.of(2437, 389_920, price_of(SMALL), seconds=9.0, exact_tokens=False, error=0.15)
    assert estimate.cost == pytest.approx(0.0077984)
    assert estimate.cost_per_row == pytest.approx(0.0077984 / 2437)
    assert estimate.as_dict()["exact_tokens"] is False


def test_an_estimate_without_a_price_has_no_cost_and_one_without_rows_costs_nothing() -> None:
    unknown = Estimate.of(10, 100, None, seconds=1.0, exact_tokens=True, error=0.02)
    assert (unknown.cost, unknown.cost_per_row) == (None, None)
    empty = Estimate.of(0, 0, price_of(SMALL), seconds=0.0, exact_tokens=True, error=0.02)
    assert (empty.cost, empty.cost_per_row) == (0.0, 0.0)


def test_a_budget_stops_before_the_request_that_would_pass_it() -> None:
    budget = Budget(1.0)
    with budget.hold(0.6) as hold:
        hold.pay(0.6, tokens=10)
    with pytest.raises(BudgetExceeded, match=r"\$0\.5000.*budget of \$1\.00 .*\$0\.6000 spent"):
        budget.hold(0.5)
    assert (budget.spent, budget.tokens) == (0.6, 10)


def test_what_a_request_did_not_use_is_free_again() -> None:
    budget = Budget(1.0)
    for _ in range(10):
        with budget.hold(0.5) as hold:
            hold.pay(0.05, tokens=1)
    assert budget.spent == pytest.approx(0.5)


def test_a_request_whose_answer_was_lost_counts_as_spent() -> None:
    budget = Budget(1.0)
    with budget.hold(0.6) as hold:
        hold.lose(0.6)
        with pytest.raises(BudgetExceeded, match="lost"):
            hold.require(0.6)
    assert (budget.spent, budget.lost) == (0.0, 0.6)


def test_a_second_try_is_paid_from_what_is_left_of_the_limit() -> None:
    budget = Budget(1.0)
    with budget.hold(0.4) as hold:
        hold.lose(0.4)
        hold.require(0.4)
        hold.pay(0.3, tokens=1)
    assert (budget.spent, budget.lost) == (0.3, 0.4)


def test_a_request_waits_for_money_that_those_in_flight_may_give_back() -> None:
    budget = Budget(1.0)
    first = budget.hold(0.7)
    entered = threading.Event()

    def second() -> None:
        with budget.hold(0.7) as hold:
            entered.set()
            hold.pay(0.1, tokens=1)

    thread = threading.Thread(target=second)
    thread.start()
    assert not entered.wait(0.05)
    with first:
        first.pay(0.1, tokens=1)
    thread.join(5)
    assert entered.is_set()
    assert budget.spent == pytest.approx(0.2)


def test_many_threads_together_never_pass_the_limit_and_use_nearly_all_of_it() -> None:
    budget = Budget(1.0)
    stopped = []

    def spend(seed: int) -> None:
        draw = random.Random(seed)
        try:
            while True:
                most = draw.uniform(0.001, 0.01)
                with budget.hold(most) as hold:
                    hold.pay(most * draw.random(), tokens=1)
        except BudgetExceeded:
            stopped.append(seed)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(spend, range(8)))
    assert len(stopped) == 8
    assert 0.98 < budget.spent <= 1.0


def test_a_budget_without_a_limit_only_counts() -> None:
    budget = Budget()
    with budget.hold(1e9) as hold:
        hold.pay(5.0, tokens=7)
        hold.require(1e9)
    assert (budget.spent, budget.tokens) == (5.0, 7)


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_a_budget_that_allows_nothing_is_refused(limit: float) -> None:
    with pytest.raises(ConfigError, match="max-cost"):
        Budget(limit)
