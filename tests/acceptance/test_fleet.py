"""A fleet whose workers are killed on the way, and the schedule."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from functools import partial

import psycopg
import pytest

from tests.integration.celery_rig import Project, many, wait_for
from tests.servers.openai import EmbeddingServer, vector_of

pytestmark = pytest.mark.slow

KILLS = 4


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


def test_a_fleet_changes_the_model_once_its_workers_know_of_it(redis: Project) -> None:
    rows = many(300)
    with EmbeddingServer(dimension=16) as model:
        redis.configure(model.url)
        redis.write_rows(rows)
        worker = redis.start_worker()
        assert redis.fleet()["inserted"] == 300
        config = redis.folder / "rowvec.toml"
        config.write_text(config.read_text().replace("dimensions = 8", "dimensions = 12"))
        assert "Give every worker the same rowvec.toml" in redis.run("sync", "--workers", "celery", expect=2)
        redis.vectors_match(rows)
        worker.terminate()
        assert worker.wait(60) == 0
        redis.start_worker()
        said = _said_by_fleet(redis)
        assert "The model changes from text-embedding-3-small (8 dimensions" in said
        assert "The new generation is live." in said
        assert _dimensions(redis, rows) == 12
        redis.run("rollback")
        assert "which was rolled back on" in _said_by_fleet(redis)
        assert _dimensions(redis, rows) == 8
        assert "The new generation is live." in _said_by_fleet(redis, "--accept")
        assert _dimensions(redis, rows) == 12


def _said_by_fleet(made: Project, *options: str) -> str:
    """What `rowvec sync --workers celery` writes."""
    fleet = made.start("sync", "--workers", "celery", *options)
    log = made.folder / f"sync-{len(made.workers) - 1}.log"
    assert fleet.wait(120) == 0, log.read_text()
    return " ".join(log.read_text().split())


def _dimensions(made: Project, rows: dict[int, str]) -> int:
    """Of the live vectors, each of which must be that of its row."""
    found = made.vectors()
    assert sorted(found) == sorted(rows)
    dimension = len(found[next(iter(rows))])
    assert all(abs(found[key] - vector_of(name, dimension)).max() < 1e-6 for key, name in rows.items())
    return dimension


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
