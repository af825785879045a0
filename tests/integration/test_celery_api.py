"""Asking for embeddings over HTTP."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest

from rowvec.stores.postgres.embedded import embedded_url
from tests import forks
from tests.integration.celery_rig import Project, many, wait_for
from tests.servers.openai import EmbeddingServer

pytestmark = pytest.mark.slow

KEY = "a-key-that-is-long-enough"
PATH = "/api/tasks/generate-embeddings"
IN_TRANSACTION = "select query from pg_stat_activity where state like 'idle in transaction%'"


@contextmanager
def api(made: Project) -> Iterator[httpx.Client]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = made.folder / "api.log"
    with log.open("w") as file:
        process = forks.start(
            "rowvec.cli.main", "serve", "--port", str(port),
            cwd=made.folder, env={**made.environment(), "ROWVEC_API_KEY": KEY}, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {KEY}"}, timeout=60
        ) as client:
            wait_for(partial(_lives, client), "the API answers")
            yield client
    finally:
        process.terminate()
        process.wait(20)
        for each in made.folder.glob("*.log"):  # Shown where a test fails.
            print(each.name, each.read_text(), sep="\n")


def _lives(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False


def _done(client: httpx.Client, number: str) -> dict[str, Any] | None:
    answer = client.get(f"/api/tasks/{number}")
    assert answer.status_code == 200, answer.text
    reply = answer.json()
    return reply if reply["status"] in ("done", "failed") else None


@pytest.mark.parametrize("made", ["redis", "embedded"], indirect=True)
def test_a_task_is_queued_carried_out_and_looked_up(made: Project, model: EmbeddingServer) -> None:
    made.configure(model.url)
    made.write_rows(many(80))
    with api(made) as client:
        reply = client.post(PATH, json={"batch_size": 50})
        assert reply.status_code == 200, reply.text
        body = reply.json()
        assert body == {
            "id": body["id"],
            "task_name": "rowvec.generate_embeddings",
            "status": "queued",
            "message": f"Task queued with ID: {body['id']}."
            " No worker listens now: it waits until `rowvec worker` runs.",
            "workers": 0,
        }
        assert client.get(f"/api/tasks/{body['id']}").json()["status"] == "queued"
        made.start_worker()
        found = wait_for(partial(_done, client, body["id"]), "the task is done")
        assert found["result"] == {"processed": 50, "failed": 0}
        again = client.post(PATH, json={"batch_size": 50}).json()
        assert (again["workers"], again["message"]) == (1, f"Task queued with ID: {again['id']}")
        wait_for(partial(_done, client, again["id"]), "the second task is done")
    assert len(made.vectors()) == 80


@pytest.mark.parametrize("made", ["redis", "embedded"], indirect=True)
def test_a_small_batch_does_not_count_as_the_work_of_a_large_one(made: Project, model: EmbeddingServer) -> None:
    made.configure(model.url)
    made.write_rows(many(300))
    made.start_worker("--concurrency", "2")
    with api(made) as client:
        small, large = (client.post(PATH, json={"batch_size": size}).json()["id"] for size in (1, 1000))
        wait_for(partial(_done, client, small), "the small one is done")
        wait_for(partial(_done, client, large), "the large one is done")
    assert len(made.vectors()) == 300


@pytest.mark.parametrize("made", ["embedded"], indirect=True)
def test_no_connection_of_ours_waits_in_a_transaction(made: Project, model: EmbeddingServer) -> None:
    """One that does makes every CREATE INDEX CONCURRENTLY of that server wait for ever."""
    made.configure(model.url)
    made.write_rows(many(20))
    with api(made) as client, psycopg.connect(embedded_url(made.folder / ".rowvec"), autocommit=True) as server:
        server.execute("create table shop (id int); insert into shop select generate_series(1, 10)")
        server.execute("set statement_timeout = '20s'")
        for worked in (False, True):
            if worked:
                made.start_worker()
            number = client.post(PATH, json={}).json()["id"]
            for path in ("/metrics", "/ui/status/body", f"/api/tasks/{number}"):
                assert client.get(path).status_code == 200
            if worked:
                wait_for(partial(_done, client, number), "the task is done")
            server.execute("create index concurrently on shop (id)")
            # A worker polls between two answers: what stays is what is there for longer than a moment.
            wait_for(lambda: not server.execute(IN_TRANSACTION).fetchall(), "no transaction is left open", 10)


def test_of_fifty_posts_at_once_one_does_the_work(redis: Project, model: EmbeddingServer) -> None:
    redis.configure(model.url)
    redis.write_rows(many(300))
    redis.start_worker("--concurrency", "2")
    with api(redis) as client, ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda _: client.post(PATH, json={"batch_size": 1000}), range(50)))
        assert {reply.status_code for reply in replies} == {200}
        ended = [wait_for(partial(_done, client, r.json()["id"]), "done") for r in replies]
    assert [each["error"] for each in ended if each["error"]] == []
    results = [each["result"] for each in ended]
    assert sorted(result["processed"] for result in results) == [0] * 49 + [300]
    assert sum("skipped" in result for result in results) >= 45
    assert max(model.billed_texts.values()) == 1
    with psycopg.connect(redis.store) as connection:
        found = connection.execute("select count(*) from rowvec.runs where report->>'texts' <> '0'").fetchone()
    assert found == (1,)


def test_what_makes_no_sense_is_refused_before_it_is_queued(redis: Project, model: EmbeddingServer) -> None:
    redis.configure(model.url)
    redis.write_rows(many(3))
    with api(redis) as client:
        for size in (0, -1, "a", 10**9, 1.5, True, None):
            assert client.post(PATH, json={"batch_size": size}).status_code == 422, size
        assert client.post(PATH, json={"pipeline": "nothing"}).status_code == 404
        assert client.post(PATH, json={"batchsize": 5}).status_code == 422
        assert client.post(PATH, json={}, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/api/tasks/no-such").status_code == 404
        assert client.get("/api/tasks/b872fe6a-f8ba-4f00-bc2d-547e818ca3a2").status_code == 404


def test_a_broker_that_does_not_answer_is_a_503(redis: Project, model: EmbeddingServer) -> None:
    redis.configure(model.url)
    config = redis.folder / "rowvec.toml"
    config.write_text(config.read_text().replace(":6379/9", ":1/0"))
    redis.write_rows(many(3))
    with api(redis) as client:
        for reply in (client.post(PATH, json={}), client.get("/api/tasks/b872fe6a-f8ba-4f00-bc2d-547e818ca3a2")):
            assert reply.status_code == 503, reply.text + (redis.folder / "api.log").read_text()
            assert reply.headers["Retry-After"] == "5"


def test_a_server_whose_config_is_gone_says_that_it_cannot_send_tasks(redis: Project, model: EmbeddingServer) -> None:
    redis.configure(model.url)
    redis.write_rows(many(3))
    with api(redis) as client:
        (redis.folder / "rowvec.toml").unlink()
        reply = client.post(PATH, json={})
        assert (reply.status_code, reply.json()["error"]["message"]) == (
            503, "This server is not set up for background work.",
        )  # fmt: skip
        assert client.get("/metrics").status_code == 200
