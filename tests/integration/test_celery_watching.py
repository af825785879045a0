"""Looking at the workers: metrics, the status page, log lines; change events as tasks; one machine without a broker."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.integration.celery_rig import Project, many, project, wait_for
from tests.integration.debezium_rig import lines, put, removed
from tests.integration.test_celery_api import PATH, api
from tests.servers.openai import EmbeddingServer


def metric(client: httpx.Client, name: str) -> float | None:
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.M)
    return float(found[1]) if found else None


def test_what_waits_is_in_the_metrics_and_on_the_status_page(made: Project, model: EmbeddingServer) -> None:
    made.configure(model.url)
    made.write_rows(many(40))
    made.run("sync", "--limit", "10")
    with api(made) as client:
        if made.broker == "embedded":
            assert metric(client, "rowvec_broker_up") is None, "it is not started to be looked at"
        for _ in range(3):
            client.post(PATH, json={"batch_size": 5})
        assert metric(client, "rowvec_tasks_waiting") == 3
        assert metric(client, "rowvec_broker_up") == 1
        assert metric(client, "rowvec_workers") == 0
        assert metric(client, 'rowvec_runs_total{outcome="done",pipeline="things"}') == 1
        assert (metric(client, 'rowvec_run_seconds_total{outcome="done",pipeline="things"}') or 0) > 0
        page = client.get("/ui/status/body").text
        assert re.search(r'Tasks waiting</h2>\s*<p class="big good">3</p>', page)


@pytest.mark.slow
def test_who_works_is_in_the_metrics(redis: Project, model: EmbeddingServer) -> None:
    redis.configure(model.url)
    redis.write_rows(many(10))
    with api(redis) as client:
        redis.start_worker()
        model.latency = 8.0
        redis.celery("call", "rowvec.sync")
        wait_for(lambda: " begins." in _log(redis), "the worker is at it")
        assert metric(client, "rowvec_workers") == 1
        assert metric(client, "rowvec_tasks_waiting") == 0
        assert metric(client, 'rowvec_tasks_active{task="rowvec.sync"}') == 1
        assert (metric(client, "rowvec_task_longest_seconds") or 0) > 0


def _log(made: Project) -> str:
    return (made.folder / "worker-0.log").read_text()


def test_a_broker_that_does_not_answer_is_in_the_metrics_and_on_the_page(
    redis: Project, model: EmbeddingServer
) -> None:
    redis.configure(model.url)
    redis.write_rows(many(3))
    redis.run("sync")
    config = redis.folder / "rowvec.toml"
    config.write_text(config.read_text().replace(":6379/9", ":1/0"))
    with api(redis) as client:
        assert metric(client, "rowvec_broker_up") == 0
        assert metric(client, "rowvec_tasks_waiting") is None
        assert "the broker does not answer" in client.get("/ui/status/body").text


def test_log_lines_are_json_with_pipeline_run_and_task_and_without_secrets(
    redis: Project, model: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Project, "environment", _with_json_logs(Project.environment))
    redis.configure(model.url)
    redis.write_rows(many(300))
    redis.start_worker()
    task = redis.celery("call", "rowvec.generate_embeddings", "--args", '["things", 20]').split()[-1]
    assert redis.result(task) == {"processed": 20, "failed": 0}
    redis.fleet()
    text = (redis.folder / "worker-0.log").read_text()
    assert "test-key" not in text
    parsed = list(_json_lines(text))
    about = [line for line in parsed if line.get("task") == task]
    with psycopg.connect(redis.store) as connection:
        runs = [number for (number,) in connection.execute("select id from rowvec.runs order by id")]
    assert {line["pipeline"] for line in about} == {"things"}
    done = next(line for line in about if " is done after " in line["message"])
    assert done["run"] == runs[0]
    ranges = [line for line in parsed if line["message"].startswith("rowvec.sync_range of things is done")]
    assert len(ranges) > 1
    assert {line["run"] for line in ranges} == {runs[1]}
    assert len({line["task"] for line in ranges}) == len(ranges)


def _with_json_logs(environment: Any) -> Any:
    return lambda made: {**environment(made), "ROWVEC_LOG": "json"}


def _json_lines(text: str) -> Iterator[dict[str, Any]]:
    """What was logged; Celery's banner is printed, not logged."""
    for line in text.splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def test_a_task_carries_change_events_out(redis: Project, model: EmbeddingServer) -> None:
    redis.configure(model.url)
    config, events = redis.folder / "rowvec.toml", redis.folder / "events.jsonl"
    source = f'source = {{ kind = "debezium", paths = ["{events}"], key = "id" }}'
    config.write_text(re.sub(r"^source = .*$", source, config.read_text(), flags=re.M))
    events.write_text(lines([put(1, "one", 1, "c"), put(2, "two", 2, "c")]))
    redis.start_worker()
    call = partial(redis.celery, "call")
    assert redis.result(call("rowvec.sync").split()[-1])["processed"] == 2
    with events.open("a") as file:
        file.write(lines([put(3, "three", 3, "c"), removed(1, 4)]))
    assert redis.result(call("rowvec.generate_embeddings").split()[-1]) == {"processed": 1, "failed": 0}
    redis.vectors_match({2: "two", 3: "three"})


def test_one_machine_without_a_broker_has_worker_beat_and_trigger(
    state_folder: Path, postgres_url: str, model: EmbeddingServer
) -> None:
    with project(state_folder, postgres_url, "embedded") as made:
        made.configure(model.url, schedule='schedule = { every = "1s" }')
        made.write_rows(many(60))
        made.start_worker("--beat")
        wait_for(lambda: len(made.vectors()) == 60, "the schedule has synced all rows")
        with api(made) as client:
            made.write_rows(many(70))
            number = client.post(PATH, json={"batch_size": 100}).json()["id"]
            reply = wait_for(partial(_ended, client, number), "the task is done")
            assert reply["status"] == "done", reply
            wait_for(lambda: len(made.vectors()) == 70, "the new rows have their vectors")
        assert max(model.billed_texts.values()) == 1


def _ended(client: httpx.Client, number: str) -> dict[str, Any] | None:
    reply: dict[str, Any] = client.get(f"/api/tasks/{number}").json()
    return reply if reply["status"] in ("done", "failed") else None
