"""Hosts whose clocks differ by hours: libfaketime gives a process another time, and leaves its intervals alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.celery_rig import Project, many, wait_for
from tests.servers.openai import EmbeddingServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

AHEAD, BEHIND = "+3h", "-3h"
"""Far more than `redeliver_after`, and than the time between two syncs of a schedule."""
ROWS = 600


@pytest.fixture(scope="module")
def library() -> Path:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is not installed (Debian: apt-get install libfaketime)")
    return found[0]


@contextmanager
def clock(made: Project, library: Path, time: str) -> Iterator[None]:
    """What is started meanwhile has a clock that is wrong by that."""
    made.within = ["env", f"LD_PRELOAD={library}", f"FAKETIME={time}", "FAKETIME_DONT_FAKE_MONOTONIC=1"]
    try:
        yield
    finally:
        made.within = []


def said(made: Project, *arguments: str) -> str:
    """What a command writes that has the clock of the moment."""
    number = len(made.workers)
    command = made.start(*arguments)
    assert command.wait(120) == 0, (made.folder / f"{arguments[0]}-{number}.log").read_text()
    return (made.folder / f"{arguments[0]}-{number}.log").read_text()


def test_a_fleet_whose_workers_disagree_about_the_time_ends_complete(
    redis: Project, model: EmbeddingServer, library: Path
) -> None:
    model.latency = 0.1
    redis.configure(model.url)
    redis.write_rows(many(ROWS))
    for time in (AHEAD, BEHIND):
        with clock(redis, library, time):
            redis.start_worker()
    assert redis.fleet()["inserted"] == ROWS
    redis.vectors_match(many(ROWS))
    assert max(model.billed_texts.values()) == 1
    logs = [(redis.folder / f"worker-{number}.log").read_text() for number in (0, 1)]
    assert "is 3 h ahead of that of the store" in logs[0]
    assert "is 3 h behind that of the store" in logs[1]


@pytest.mark.parametrize("time", [AHEAD, BEHIND])
def test_a_schedule_is_kept_by_a_worker_whose_clock_is_wrong(
    redis: Project, model: EmbeddingServer, library: Path, time: str
) -> None:
    redis.configure(model.url, schedule='schedule = { every = "1s" }')
    redis.write_rows(many(30))
    with clock(redis, library, time):
        redis.start_worker()
    redis.start("beat")
    wait_for(lambda: len(redis.vectors()) == 30, "the schedule has synced all rows")
    redis.write_rows(many(40))
    wait_for(lambda: len(redis.vectors()) == 40, "and does so again")


def test_a_task_that_comes_again_is_not_held_until_the_clock_of_its_sender(
    redis: Project, model: EmbeddingServer, library: Path
) -> None:
    """One worker writes by its clock when the task is due, and hands it on when it ends."""
    redis.configure(model.url)
    redis.write_rows(many(30))
    assert redis.run("sync", "--limit", "1")
    with psycopg.connect(redis.store, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(hashtextextended('public.things_embeddings', 0))")
        with clock(redis, library, AHEAD):
            worker = redis.start_worker()
        task = redis.celery("call", "rowvec.generate_embeddings").split()[-1]
        wait_for(lambda: "Retry in" in (redis.folder / "worker-0.log").read_text(), "the task comes again")
        worker.terminate()
        assert worker.wait(60) == 0
    redis.start_worker()
    assert redis.result(task)["processed"] == 29


def test_status_and_check_go_by_the_clocks_of_store_and_source(
    redis: Project, model: EmbeddingServer, library: Path
) -> None:
    redis.configure(model.url)
    config = redis.folder / "rowvec.toml"
    source = f'kind = "sql", url = "{redis.store}", table = "things", key = "id", cursor = "changed"'
    config.write_text(
        config.read_text().replace('kind = "sql", url = "sqlite:///things.db", table = "things", key = "id"', source)
    )
    with psycopg.connect(redis.store, autocommit=True) as rows:
        rows.execute("create table things (id int primary key, name text, changed timestamptz default now())")
        rows.execute("insert into things (id, name) select n, 'thing ' || n from generate_series(1, 30) n")
        redis.run("sync")
        rows.execute("update things set name = 'other', changed = now() where id = 7")
        for time, where in ((AHEAD, "ahead of"), (BEHIND, "behind")):
            with clock(redis, library, time):
                found: dict[str, Any] = json.loads(said(redis, "status", "--json"))
                checked = said(redis, "check")
            assert found["waiting"]["rows"] == 1, "the row that changed, whatever time it is here"
            assert 0 <= found["lag_seconds"] < 600
            assert abs(abs(found["clock_ahead"]) - 10_800) < 60
            assert f"is 3 h {where} that of the store" in found["verdict"]["text"]
            for part in ("store", "source"):
                assert f"is 3 h {where} that of the {part}" in " ".join(checked.split())
            with clock(redis, library, time):
                said(redis, "sync")
            redis.vectors_match(many(30) | {7: "other"})
            # The mark that was kept must not hide what is changed from now on.
            rows.execute("update things set name = 'thing 7', changed = now() where id = 7")
            redis.run("sync")
            redis.vectors_match(many(30))
            rows.execute("update things set name = 'other', changed = now() where id = 7")
    assert "clock" not in redis.run("check")


def test_the_library_does_change_what_a_process_sees(library: Path) -> None:
    words = ["env", f"LD_PRELOAD={library}", f"FAKETIME={AHEAD}", "date", "+%s"]
    there, here = (int(subprocess.run(each, capture_output=True, check=True).stdout) for each in (words, words[3:]))
    assert 10_600 < there - here < 11_000
