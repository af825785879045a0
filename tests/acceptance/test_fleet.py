"""A fleet whose workers are killed on the way, and the schedule."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from functools import partial

import psycopg
import pytest
import redis as client

from tests.integration.celery_rig import BROKERS, Project, many, wait_for
from tests.servers.openai import EmbeddingServer, vector_of

pytestmark = pytest.mark.slow

KILLS = 4
TEXT = 'template = "{{ name }}"'
"""As the projects of these tests declare it."""


def on_one_broker(short: str) -> pytest.MarkDecorator:
    """A test on all of them takes minutes: the short form has one."""
    return pytest.mark.parametrize(
        "made",
        [
            pytest.param(each, marks=() if each == short else pytest.mark.torture)
            for each in ("redis", "rabbitmq", "embedded")
        ],
        indirect=True,
    )


@on_one_broker("embedded")
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


@on_one_broker("rabbitmq")
def test_workers_that_come_and_go_hand_their_ranges_back_and_nothing_is_embedded_twice(made: Project) -> None:
    """As where a scaler starts and ends them: SIGTERM, and some seconds until they are gone."""
    rows = many(1500)
    with EmbeddingServer(dimension=8, latency=0.2) as model:
        made.configure(model.url)
        config = made.folder / "rowvec.toml"
        config.write_text(config.read_text() + "concurrency = 1\n")
        made.write_rows(rows)
        workers = [made.start_worker()]
        fleet = made.start("sync", "--workers", "celery")
        for count in (30, 200, 350):
            wait_for(partial(_has, made, count), "the fleet is at work")
            workers.append(made.start_worker())
            leaving = workers.pop(0)
            leaving.terminate()
            assert leaving.wait(60) == 0
        made.start_worker()
        assert fleet.wait(240) == 0
        made.vectors_match(rows)
        assert max(model.billed_texts.values()) == 1
    with psycopg.connect(made.store) as connection:
        found = connection.execute("select report from rowvec.runs").fetchall()
    assert [(run["inserted"], run["texts"], run["unchanged"]) for (run,) in found] == [(1500, 1500, 0)]
    logs = [log.read_text() for log in made.folder.glob("worker-*.log")]
    assert any("is handed back: this worker ends." in log for log in logs)


def _has(made: Project, count: int) -> bool:
    return len(made.vectors()) > count


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


def test_syncs_that_no_worker_took_wait_in_a_list_named_after_the_queue_and_cost_one(redis: Project) -> None:
    """A scaler reads the length of that list."""
    with EmbeddingServer(dimension=8) as model, client.from_url(BROKERS["redis"][0]) as broker:
        redis.configure(model.url, schedule='schedule = { every = "1s" }')
        redis.write_rows(many(20))
        redis.run("sync", "--limit", "1")
        beat = redis.start("beat")
        wait_for(lambda: broker.llen(redis.queue) >= 4, "the schedule has sent four tasks")
        beat.terminate()
        beat.wait(30)
        redis.start_worker()
        log = redis.folder / f"worker-{len(redis.workers) - 1}.log"
        wait_for(lambda: log.read_text().count("began after this task was requested") >= 3, "the others skip")
        # The schedule may have sent more before it ended.
        wait_for(lambda: broker.llen(redis.queue) == 0, "no task waits any more")
        redis.vectors_match(many(20))
    assert _runs(redis) == 2


def _runs(made: Project) -> int:
    with psycopg.connect(made.store) as connection:
        found = connection.execute("select count(*) from rowvec.runs").fetchone()
    return int(found[0]) if found else 0


def _more_runs(made: Project, before: int) -> bool:
    return _runs(made) > before + 1


def test_a_fleet_keeps_the_passages_of_long_texts(redis: Project) -> None:
    """Beyond the window of the model, and each passage with the vector of its own text."""
    rows = {key: " ".join(f"Sentence {n} of row {key} is about pumps." for n in range(1200)) for key in range(1, 25)}
    rows[25] = "a short text"
    with EmbeddingServer(dimension=8) as model:
        redis.configure(model.url)
        config = redis.folder / "rowvec.toml"
        config.write_text(config.read_text().replace(TEXT, f"{TEXT}, passages = {{ tokens = 4000 }}"))
        redis.write_rows(rows)
        redis.start_worker()
        redis.start_worker()
        found = redis.fleet()
        assert (found["inserted"], found["divided"]) == (25, 24)
        assert redis.fleet()["unchanged"] == 25
    with psycopg.connect(redis.store) as connection:
        passages = connection.execute(
            'select key, n, text, start, "end", embedding::text from things_embeddings_passages order by key, n'
        ).fetchall()
    assert len(passages) == found["passages"] > 48
    for key, _, text, start, end, vector in passages:
        assert text == rows[key][start:end]
        assert abs(json.loads(vector) - vector_of(text, 8)).max() < 1e-6
