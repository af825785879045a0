"""A sync that is killed loses nothing, and the next one pays at most for what was on its way."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest

from rowvec.pipeline import Options
from rowvec.support.killpoints import Step
from rowvec.syncing.run import sync
from tests.acceptance.killed import (
    IN_FLIGHT_TEXTS,
    KILLED,
    edited,
    kill_after,
    kill_at,
    open_pipeline,
    repaid,
    sync_in_child,
    write_rows,
)
from tests.support import vectors_match_rows
from tests.torture import TORTURE

RANDOM_KILLS = 200 if TORTURE else 50


@pytest.mark.parametrize("occurrence", [1, 3])
@pytest.mark.parametrize("step", Step)
def test_a_sync_killed_at_any_step_is_completed_by_the_next(
    step: Step, occurrence: int, postgres_url: str, tmp_path: Path
) -> None:
    database, bill = tmp_path / "things.db", tmp_path / "bill"
    dice = random.Random(f"{step} {occurrence}")
    rows = {key: f"row {key}" for key in range(120)}
    write_rows(database, rows)
    pipeline = open_pipeline(database, postgres_url, bill)
    sync(pipeline)
    rows = edited(rows, dice)
    write_rows(database, rows)
    pipeline.close()

    happened = sync_in_child(database, postgres_url, bill, partial(kill_at, step, occurrence))
    assert happened == KILLED or occurrence > 1, "the step was not reached"

    pipeline = open_pipeline(database, postgres_url, bill)
    report = sync(pipeline, Options(allow_delete=True))
    vectors_match_rows(pipeline, rows)
    assert report.failed == 0
    assert repaid(bill) <= IN_FLIGHT_TEXTS
    assert sync(pipeline).unchanged == len(rows), "a third sync finds everything in step"
    if happened == KILLED and step is not Step.AFTER_RUN_RECORD:
        assert "lost" in {run.outcome for run in pipeline.store.runs()}
    pipeline.close()


@pytest.mark.slow
def test_kills_at_random_moments(postgres_url: str, tmp_path: Path) -> None:
    database, bill = tmp_path / "things.db", tmp_path / "bill"
    dice = random.Random(7)
    rows = {key: f"row {key}" for key in range(150)}
    kills = 0
    for attempt in range(2 * RANDOM_KILLS):
        if kills == RANDOM_KILLS:
            break
        rows = edited(rows, dice) if attempt % 3 == 0 else rows
        write_rows(database, rows)
        kills += sync_in_child(database, postgres_url, bill, partial(kill_after, dice.uniform(0.02, 0.15))) == KILLED
    assert kills >= RANDOM_KILLS / 2, "too few of the syncs were killed before their end to show anything"
    pipeline = open_pipeline(database, postgres_url, bill)
    sync(pipeline, Options(allow_delete=True))
    vectors_match_rows(pipeline, rows)
    assert repaid(bill) <= IN_FLIGHT_TEXTS * kills
    pipeline.close()
