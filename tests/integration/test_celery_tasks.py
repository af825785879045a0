"""Tasks through real brokers: Redis, RabbitMQ, and the embedded PostgreSQL."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import psycopg
import pytest
from celery import Celery

from rowvec.config import load
from rowvec.stores.postgres.embedded import embedded_url
from rowvec.workers.settings import celery_settings
from tests.integration.celery_rig import Project, many, wait_for
from tests.servers.openai import EmbeddingServer

pytestmark = pytest.mark.slow


def test_celery_s_own_commands_carry_a_batch_out(made: Project, model: EmbeddingServer) -> None:
    made.configure(model.url)
    made.write_rows(many(30))
    made.start_worker()
    task = made.celery("call", "rowvec.generate_embeddings", "--args", '["things", 20]').split()[-1]
    assert made.result(task) == {"processed": 20, "failed": 0}
    task = made.celery("call", "rowvec.generate_embeddings", "--kwargs", '{"batch_size": 100}').split()[-1]
    assert made.result(task) == {"processed": 10, "failed": 0}
    made.vectors_match(many(30))


def test_a_fleet_gives_the_vectors_of_a_plain_sync_and_deletes_once(made: Project, model: EmbeddingServer) -> None:
    made.configure(model.url)
    made.write_rows(many(900))
    made.start_worker()
    made.start_worker()
    report = made.fleet()
    assert (report["inserted"], report["failed"]) == (900, 0)
    made.vectors_match(many(900))
    left = {key: name for key, name in many(900).items() if key % 3}
    made.write_rows(left | {1: "changed"})
    report = made.fleet()
    assert (report["embedded"], report["deleted"], report["unchanged"]) == (1, 300, 599)
    made.vectors_match(left | {1: "changed"})
    with psycopg.connect(made.store) as connection:
        runs = connection.execute("select outcome, report->>'deleted' from rowvec.runs order by id").fetchall()
    assert runs == [("done", "0"), ("done", "300")]


def test_a_failed_row_is_counted_and_the_others_go_through(redis: Project, model: EmbeddingServer) -> None:
    model.refuse = lambda text: text == "thing 7"
    redis.configure(model.url)
    redis.write_rows(many(20))
    redis.start_worker()
    task = redis.celery("call", "rowvec.generate_embeddings").split()[-1]
    assert redis.result(task) == {"processed": 19, "failed": 1}


def test_mistakes_in_a_task_s_arguments_fail_the_task(redis: Project, model: EmbeddingServer) -> None:
    redis.configure(model.url)
    redis.write_rows(many(3))
    redis.start_worker()
    for arguments, said in [
        ('["things", 0]', "batch_size is '0'"),
        ('["things", -1]', "batch_size is '-1'"),
        ('["things", "a"]', "batch_size is 'a'"),
        ('["things", 1000000000]', "batch_size is '1000000000'"),
        ('["nothing"]', "there is no pipeline 'nothing'"),
    ]:
        redis.celery("call", "rowvec.generate_embeddings", "--args", arguments)
        wait_for(partial(_logged, redis, said), said)
    assert redis.vectors() == {}


def _logged(made: Project, said: str) -> bool:
    return said in (made.folder / "worker-0.log").read_text()


def test_a_fleet_refuses_to_wipe_a_table(redis: Project, model: EmbeddingServer) -> None:
    redis.configure(model.url)
    redis.write_rows(many(300))
    redis.start_worker()
    redis.fleet()
    redis.write_rows({})
    assert "more than half" in redis.run("sync", "--workers", "celery", expect=1)
    redis.vectors_match(many(300))


def test_workers_with_another_config_refuse_the_ranges(redis: Project, model: EmbeddingServer) -> None:
    redis.configure(model.url)
    redis.write_rows(many(300))
    redis.start_worker()
    redis.fleet()
    config = redis.folder / "rowvec.toml"
    config.write_text(config.read_text().replace("{{ name }}", "a {{ name }}"))
    assert "differs here from the one" in redis.run("sync", "--workers", "celery", expect=2)


def test_results_older_than_they_are_kept_are_dropped_without_beat_too(state_folder: Path, postgres_url: str) -> None:
    Project(state_folder, postgres_url, "embedded", "tasks").configure("http://127.0.0.1:1")
    loaded = load(state_folder)
    backend = Celery(backend=celery_settings(loaded)["result_backend"]).backend
    for task in ("old", "new"):
        backend.store_result(task, {"processed": 1}, "SUCCESS")
    with psycopg.connect(embedded_url(loaded.state), autocommit=True) as connection:
        aged = "update rowvec_tasks.celery_taskmeta set date_done = now() - interval '8 days' where task_id = 'old'"
        connection.execute(aged)
        celery_settings(loaded)
        found = connection.execute("select task_id from rowvec_tasks.celery_taskmeta").fetchall()
    assert found == [("new",)]


def test_options_that_a_fleet_has_not_are_refused(redis: Project, model: EmbeddingServer) -> None:
    redis.configure(model.url)
    redis.write_rows(many(3))
    assert "--limit does not go with --workers" in redis.run("sync", "--workers", "celery", "--limit", "5", expect=2)
    assert "--workers dask: unknown kind of workers" in redis.run("sync", "--workers", "dask", expect=2)


def test_a_broker_that_does_not_answer_is_named_without_its_password(redis: Project, model: EmbeddingServer) -> None:
    redis.configure(model.url)
    config = redis.folder / "rowvec.toml"
    config.write_text(config.read_text().replace("redis://127.0.0.1:6379/9", "redis://:sesame@127.0.0.1:1/0"))
    redis.write_rows(many(3))
    for command in (["worker"], ["beat"], ["sync", "--workers", "celery"]):
        said = redis.run(*command, expect=1)
        assert "redis://:**@127.0.0.1:1/0 does not answer" in said
        assert "sesame" not in said
    config.write_text(config.read_text().replace(":sesame@", ""))
    assert "redis://127.0.0.1:1/0 does not answer" in redis.run("worker", expect=1), "no password, none masked"
