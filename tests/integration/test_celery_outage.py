"""A broker that goes away under a worker: two lines in the log of each process that notices, and the work goes on."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest

from rowvec.workers.outages import Outage
from tests.integration.celery_rig import BROKERS, many, need, project, wait_for
from tests.servers.openai import EmbeddingServer
from tests.servers.proxy import Proxy

AWAY = 15.0
"""Seconds; more than a task in hand still takes."""


@pytest.mark.slow
@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_broker_that_goes_away_is_told_once_and_again_when_it_is_back(
    state_folder: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch, broker: str
) -> None:
    url = need(broker)
    with Proxy(("127.0.0.1", BROKERS[broker][1])) as proxy, EmbeddingServer(dimension=8, latency=0.3) as model:
        monkeypatch.setitem(BROKERS, broker, (proxy.through(url), proxy.port))
        with project(state_folder, postgres_url, broker) as made:
            made.configure(model.url, schedule='schedule = { every = "4s" }')
            made.write_rows(many(300))
            made.start_worker("--beat")
            log = state_folder / "worker-0.log"
            wait_for(lambda: len(made.vectors()) > 20, "a task is in hand")
            proxy.refusing = True
            proxy.cut()
            wait_for(lambda: "does not answer" in log.read_text(), "it is told", 5)
            time.sleep(AWAY)
            proxy.refusing = False
            wait_for(lambda: log.read_text().count("/MainProcess] The broker") == 2, "the worker is told too")
            wait_for(lambda: len(made.vectors()) == 300, "the task in hand goes on")
            done = log.read_text().count(" succeeded in ")
            wait_for(lambda: log.read_text().count(" succeeded in ") > done, "the next task is carried out")
            said = log.read_text()
    assert "Traceback" not in said and "CPendingDeprecationWarning" not in said
    told = [line for line in said.splitlines() if " answer" in line]
    for process in ("MainProcess", "Beat"):
        lines = [line for line in told if f"/{process}]" in line]
        assert len(lines) in (0, 2) if process == "Beat" else len(lines) == 2, told
    assert all("guest:guest" not in line for line in told)


def record(name: str, text: str, error: BaseException | None = None) -> logging.LogRecord:
    told: Any = (type(error), error, None) if error else None
    return logging.LogRecord(name, logging.ERROR, "file.py", 1, text, None, told)


def test_of_a_store_of_results_it_says_the_same(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("redis://here/0")
    first, second = (
        record("celery.backends.base", "Failed operation _store_result. Retrying 14 more times.", OSError())
        for _ in "12"
    )
    assert outage.filter(first)
    assert first.getMessage() == "The store of results does not answer. It is tried again until it does."
    assert first.exc_info is None
    assert not outage.filter(second)
    outage.worked()
    outage.worked()
    assert [each.getMessage() for each in caplog.records] == ["The store of results answers again."]


def test_what_is_no_outage_is_said_as_it_is() -> None:
    outage = Outage("redis://here/0")
    fault = record("celery.beat", "Message Error: Couldn't apply scheduled task x: no such task", KeyError("x"))
    assert outage.filter(fault) and fault.exc_info is not None
    assert outage.filter(record("rowvec.workers", "consumer: Cannot connect to"))
    began = record("celery.worker.consumer.connection", "Connected to redis://here/0")
    assert outage.filter(began) and began.getMessage() == "Connected to redis://here/0"
