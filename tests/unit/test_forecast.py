"""What a month is going to cost: what counts as the rate of change, and what is too little to say."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from rowvec.pipeline_status.forecast import RUNS, forecast
from rowvec.stores.runs import Run

NOW = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
FILLED = {"cost": 100.0, "texts": 10_000, "whole": True, "reasons": {"new row": 10_000}}


def history(*reports: tuple[float, dict[str, Any]], first: int = 1) -> list[Run]:
    """Runs that ended that number of days ago, latest first."""
    made = [
        Run(first + place, "p", NOW - dt.timedelta(days=days), NOW - dt.timedelta(days=days), "done", report)
        for place, (days, report) in enumerate(reports)
    ]
    return made[::-1]


def changed(cost: float, texts: int = 10, **reasons: int) -> dict[str, Any]:
    return {"cost": cost, "texts": texts, "whole": True, "reasons": reasons or {"text changed": texts}}


def test_the_first_filling_is_not_the_rate_of_change() -> None:
    found = forecast(history((10, FILLED), (6, changed(1.0)), (2, changed(2.0, 20))), NOW)
    assert found.per_month == pytest.approx(9.0)
    assert found.texts_per_month == 90
    assert (found.days, found.runs, found.cost, found.too_little) == (10.0, 2, 3.0, "")
    assert found.words == "about $9.00 a month, by 2 runs of the last 10 days, which cost $3.00"


def test_a_run_that_was_cut_short_belongs_to_the_filling() -> None:
    cut = {"cost": 50.0, "texts": 5000, "whole": False, "reasons": {"new row": 5000}}
    found = forecast(history((20, cut), (10, FILLED), (6, changed(1.0)), (2, changed(2.0))), NOW)
    assert found.cost == 3.0


def test_another_model_and_force_are_no_changes() -> None:
    mixed = changed(8.0, 40, **{"text changed": 10, "model changed": 20, "forced": 10})
    found = forecast(history((10, FILLED), (6, mixed), (2, changed(0.0, 0, unchanged=10_000))), NOW)
    assert (found.cost, found.per_month, found.texts_per_month) == (2.0, pytest.approx(6.0), 30)


def test_what_changed_a_long_time_ago_says_nothing_of_today() -> None:
    found = forecast(history((90, FILLED), (60, changed(500.0)), (20, changed(1.0)), (10, changed(1.0))), NOW)
    assert (found.per_month, found.days, found.runs) == (pytest.approx(2.0), 30.0, 2)


def test_a_long_history_whose_beginning_is_forgotten_counts_from_its_first_run() -> None:
    runs = history(*[(15 - 0.01 * place, changed(0.01, 1)) for place in range(RUNS)], first=7000)
    found = forecast(runs, NOW)
    assert found.per_month == pytest.approx(RUNS * 0.01 * 2, rel=0.01)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (history(), "the first sync of all rows has not ended"),
        (history((3, {"cost": 1.0, "whole": False})), "the first sync of all rows has not ended"),
        (history((0.5, FILLED), (0.4, changed(1.0)), (0.2, changed(1.0))), "12 h have passed since the first sync"),
        (history((9, FILLED), (2, changed(1.0))), "1 run in the last 9 days, 2 are the least"),
        (history((0.1, changed(1.0)), (0.05, changed(1.0)), first=900), "the runs on record are of the last 2.4 h"),
    ],
)
def test_too_little_is_said_and_no_figure_given(runs: list[Run], said: str) -> None:
    found = forecast(runs, NOW)
    assert (found.per_month, found.texts_per_month) == (None, None)
    assert said in found.too_little
    assert found.words.startswith("no forecast yet: ")


def test_nothing_that_changes_costs_nothing() -> None:
    found = forecast(history((10, FILLED), (6, changed(0.0, 0)), (2, changed(0.0, 0))), NOW)
    assert (found.per_month, found.words) == (0.0, "$0 a month, by 2 runs of the last 10 days, which cost $0")
