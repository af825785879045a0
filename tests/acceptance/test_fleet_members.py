"""A fleet with a worker of another folder: it never reports success for what that worker did."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from rowvec.stores.postgres.embedded import stop_embedded
from tests.integration.celery_rig import Project, many, wait_for
from tests.integration.test_celery_api import PATH, _done, api
from tests.servers.openai import EmbeddingServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROWS = 600


@pytest.fixture
def other(redis: Project, tmp_path: Path) -> Iterator[Project]:
    """Another folder with a worker on the same broker and queue."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    other = Project(folder, redis.store, redis.broker, redis.queue)
    try:
        yield other
    finally:
        other.stop()


@pytest.fixture
def another_database(postgres_url: str) -> Iterator[str]:
    name = f"fleet_{uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        yield with_database(postgres_url, name)
        connection.execute(f"drop database {name} with (force)")


def with_database(url: str, name: str) -> str:
    from sqlalchemy import make_url

    return make_url(url).set(database=name).render_as_string(hide_password=False)


def with_a_staging_copy(made: Project, other: Project, model: EmbeddingServer, count: int) -> None:
    """Both projects are set up alike, but rows of the same keys say something else in the other."""
    made.configure(model.url)
    made.write_rows(many(count))
    other.configure(model.url)
    other.write_rows(many(count, "staged"))


def refusal(made: Project, other: Project) -> str:
    """What the fleet says, in one line."""
    said = " ".join(made.run("sync", "--workers", "celery", expect=2).split())
    assert "Traceback" not in said
    assert f"on {socket.gethostname()} in {other.folder}" in said, "which worker"
    assert f"on {socket.gethostname()} in {made.folder}" in said, "which fleet"
    return said


def test_a_worker_with_another_database_as_its_store_refuses_its_ranges(
    redis: Project, other: Project, another_database: str, model: EmbeddingServer
) -> None:
    redis.configure(model.url)
    redis.write_rows(many(ROWS))
    shutil.copy(redis.folder / "things.db", other.folder)
    other.store = another_database
    other.configure(model.url)
    other.start_worker()
    said = refusal(redis, other)
    assert "What differs is its store" in said
    assert "Give every worker the store.url of the process that starts the fleet" in said
    assert other.vectors() == {}, "nothing is written elsewhere"
    assert redis.vectors() == {}
    other.stop()
    redis.start_worker()
    assert redis.fleet()["inserted"] == ROWS
    redis.vectors_match(many(ROWS))


def test_a_worker_with_an_embedded_store_of_its_own_refuses_its_ranges(
    redis: Project, other: Project, model: EmbeddingServer
) -> None:
    redis.store = other.store = "embedded"
    for each in (redis, other):
        each.configure(model.url)
        each.write_rows(many(ROWS))
    other.run("sync")
    other.start_worker()
    try:
        said = refusal(redis, other)
    finally:
        other.stop()
        for each in (redis, other):
            stop_embedded(each.folder / ".rowvec")
    assert "The embedded PostgreSQL belongs to one folder of one machine." in said
    assert "or set store.url to a server that all of them reach" in said


def test_a_worker_that_reads_a_staging_copy_refuses_its_ranges(
    redis: Project, other: Project, model: EmbeddingServer
) -> None:
    with_a_staging_copy(redis, other, model, ROWS)
    other.start_worker()
    said = refusal(redis, other)
    assert "What differs is its source" in said
    assert str(other.folder / "things.db") in said
    assert redis.vectors() == {}


def test_one_wrong_worker_among_right_ones_ends_the_fleet_with_an_error(
    redis: Project, other: Project, model: EmbeddingServer
) -> None:
    with_a_staging_copy(redis, other, model, 3000)
    model.latency = 0.1
    redis.start_worker()
    other.start_worker()
    refusal(redis, other)
    rows = {key: name for key, name in many(3000).items() if key in redis.vectors()}
    redis.vectors_match(rows)


def test_rows_of_one_address_on_two_machines_are_compared(
    redis: Project, other: Project, model: EmbeddingServer
) -> None:
    """The same path leads to another file there: a mount that only the worker sees stands for the other machine."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("this user may not make a mount of its own")
    redis.configure(model.url)
    redis.write_rows(many(ROWS))
    copy = other.folder / "things.db"
    shutil.copy(redis.folder / "things.db", copy)
    start = f"mount --bind {copy} {redis.folder / 'things.db'} && exec"
    redis.within = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{start} "$@"', "sh"]
    worker = redis.start_worker()
    redis.within = []
    assert redis.fleet()["inserted"] == ROWS, "a copy with the same rows will do"
    with sqlite3.connect(copy) as database:
        database.execute("update things set name = 'staged 150' where id = 150")
    database.close()
    said = " ".join(redis.run("sync", "--workers", "celery", "--force", expect=1).split())
    assert "has other rows here: 200 rows here, 200 rows there, with other keys or texts." in said
    worker.terminate()
    redis.vectors_match(many(ROWS))


def test_a_task_of_one_folder_is_refused_by_a_worker_of_another(
    redis: Project, other: Project, another_database: str, model: EmbeddingServer
) -> None:
    """Asked for over HTTP, by Celery's own command and by Beat."""
    redis.configure(model.url, schedule='schedule = { every = "1s" }')
    redis.write_rows(many(20))
    shutil.copy(redis.folder / "things.db", other.folder)
    other.store = another_database
    other.configure(model.url)
    other.start_worker()
    with api(redis) as client:
        number = client.post(PATH, json={}).json()["id"]
        found = wait_for(partial(_done, client, number), "the task is ended")
    assert found["status"] == "failed", found
    assert (
        f"The worker on {socket.gethostname()} in {other.folder} refuses rowvec.generate_embeddings" in found["error"]
    )
    redis.celery("call", "rowvec.generate_embeddings", "--kwargs", '{"batch_size": 100}')
    redis.start("beat")
    log = other.folder / "worker-0.log"
    wait_for(lambda: "refuses rowvec.sync of 'things'" in log.read_text(), "the worker refuses what Beat asked for")
    assert log.read_text().count("refuses rowvec.generate_embeddings") >= 2
    assert other.vectors() == {}


def test_a_task_for_a_copied_source_is_refused_and_one_of_the_same_folder_is_not(
    redis: Project, other: Project, model: EmbeddingServer
) -> None:
    with_a_staging_copy(redis, other, model, 20)
    worker = other.start_worker()
    redis.celery("call", "rowvec.sync", "--args", '["things"]')
    log = other.folder / "worker-0.log"
    wait_for(lambda: "refuses rowvec.sync of 'things'" in log.read_text(), "the worker refuses")
    assert redis.vectors() == {}
    worker.terminate()
    worker.wait(60)
    redis.start_worker()
    task = redis.celery("call", "rowvec.sync").split()[-1]
    assert redis.result(task)["inserted"] == 20
