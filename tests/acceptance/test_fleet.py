"""A fleet whose workers are killed on the way, and the schedule."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.integration.celery_rig import Project, many, project, wait_for
from tests.servers.openai import EmbeddingServer

pytestmark = pytest.mark.slow

KILLS = 4


@pytest.fixture(params=["redis", "rabbitmq", "embedded"])
def made(request: pytest.FixtureRequest, state_folder: Path, postgres_url: str) -> Iterator[Project]:
    with project(state_folder, postgres_url, request.param) as made:
        yield made


@pytest.fixture
def redis(state_folder: Path, postgres_url: str) -> Iterator[Project]:
    with project(state_folder, postgres_url, "redis") as made:
        yield made


def test_a_fleet_ends_complete_however_often_a_worker_is_killed(made: Project) -> None:
    rows = many(1500)
    dice = random.Random(7)
    with EmbeddingServer(dimension=8, latency=0.3) as model:
        made.configure(model.url)
        made.write_rows(rows)
        workers = [made.start_worker(), made.start_worker()]
        fleet = made.start("sync", "--workers", "celery")
        wait_for(lambda: len(made.vectors()) > 100, "the fleet is at work")
        for _ in range(KILLS):
            victim = workers.pop(dice.randrange(len(workers)))
            os.killpg(victim.pid, signal.SIGKILL)
            workers.append(made.start_worker())
            time.sleep(dice.random())
        assert fleet.wait(240) == 0
        made.vectors_match(rows)
        again = Counter(model.billed_texts.values())
    # What a killed worker had in flight is paid twice: four requests at once, of 16 texts each, and what was not yet
    # committed of a request that had been answered.
    assert sum(count - 1 for count in again.elements()) <= KILLS * 5 * 16
    with psycopg.connect(made.store) as connection:
        assert connection.execute("select outcome, count(*) from rowvec.runs group by 1").fetchall() == [("done", 1)]


def test_a_schedule_runs_never_twice_at_once_and_survives_a_restart_of_beat(redis: Project) -> None:
    with EmbeddingServer(dimension=8, latency=1.2) as model:
        redis.configure(model.url, schedule='schedule = { every = "1s" }')
        redis.write_rows(many(200))
        redis.start_worker("--concurrency", "2")
        beat = redis.start("beat")
        wait_for(lambda: len(redis.vectors()) == 200, "the schedule has synced all rows")
        os.killpg(beat.pid, signal.SIGKILL)
        beat.wait()
        before = _runs(redis)
        redis.write_rows(many(220))
        redis.start("beat")
        wait_for(partial(_more_runs, redis, before), "beat goes on after a restart")
        wait_for(lambda: len(redis.vectors()) == 220, "the new rows have their vectors")
        assert max(model.billed_texts.values()) == 1
    redis.stop()
    with psycopg.connect(redis.store) as connection:
        overlapping = connection.execute(
            "select a.id, b.id from rowvec.runs a join rowvec.runs b on a.id < b.id"
            " and b.started_at < a.ended_at and a.started_at < b.ended_at"
        ).fetchall()
    assert overlapping == []
    assert "skipped" in (redis.folder / "worker-0.log").read_text()


def _runs(made: Project) -> int:
    with psycopg.connect(made.store) as connection:
        found = connection.execute("select count(*) from rowvec.runs").fetchone()
    return int(found[0]) if found else 0


def _more_runs(made: Project, before: int) -> bool:
    return _runs(made) > before + 1
