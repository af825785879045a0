"""A fleet whose workers are killed again and again, while the broker and the database are each restarted once.

    ROWVEC_CHAOS_SECONDS=120 ROWVEC_CHAOS_EVERY=10 pytest tests/acceptance/test_fleet_chaos.py

is the long form of what runs for some seconds otherwise.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from rowvec.stores.postgres.embedded import embedded_url, stop_embedded
from tests.integration.celery_rig import BROKERS, Project, many, project, wait_for
from tests.servers.openai import EmbeddingServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SECONDS = float(os.environ.get("ROWVEC_CHAOS_SECONDS", "9"))
EVERY = float(os.environ.get("ROWVEC_CHAOS_EVERY", "3"))
ROWS = int(90 * SECONDS)
"""What two workers with this model take about half as long for as there are kills."""
LATENCY = 0.5


class Redis:
    """A server of the test's own that keeps what it was told when it is stopped."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--bind", "127.0.0.1"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for(self._answers, "Redis answers")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def fill(self) -> None:
        for setting, value in (("maxmemory-policy", "noeviction"), ("maxmemory", "1")):
            self._say("config", "set", setting, value)

    def _say(self, *words: str) -> None:
        subprocess.run(["redis-cli", "-p", str(self.port), *words], check=True, stdout=subprocess.DEVNULL)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    if shutil.which("redis-server") is None:
        assert not os.environ.get("CI"), "redis-server must be installed"
        pytest.skip("no redis-server is installed")
    server = Redis(tmp_path)
    monkeypatch.setitem(BROKERS, "private", (f"redis://127.0.0.1:{server.port}/0", server.port))
    yield server
    server.stop()


@contextmanager
def fleet(folder: Path, store: str) -> Iterator[Project]:
    with project(folder, store, "private") as made:
        yield made


def test_nothing_is_lost_or_mixed_up(redis: Redis, state_folder: Path) -> None:
    dice = random.Random(5)
    rows = many(ROWS)
    server = state_folder / "database"
    with EmbeddingServer(dimension=8, latency=LATENCY) as model, fleet(state_folder, embedded_url(server)) as made:
        try:
            made.configure(model.url)
            made.write_rows(rows)
            workers = [made.start_worker(), made.start_worker()]
            started = made.start("sync", "--workers", "celery")
            wait_for(lambda: len(made.vectors()) > 20, "the fleet is at work")
            kills = 0
            troubles = {int(SECONDS / EVERY / 3): redis_restarts, int(2 * SECONDS / EVERY / 3): database_restarts}
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                victim = workers.pop(dice.randrange(len(workers)))
                os.killpg(victim.pid, signal.SIGKILL)
                victim.wait()
                kills += 1
                if kills in troubles:
                    troubles.pop(kills)(redis, server)
                workers.append(made.start_worker())
                time.sleep(max(0.0, EVERY - (time.monotonic() % EVERY)))
            assert not troubles, "there was no time for all of them"
            assert started.wait(300) == 0, _logs(state_folder)
            made.vectors_match(rows)
            again = Counter(model.billed_texts.values())
            # In flight in one worker: four requests of 16 texts, and what was answered but not committed.
            assert sum(count - 1 for count in again.elements()) <= (2 * kills + 4) * 5 * 16
            with psycopg.connect(made.store) as connection:
                runs = connection.execute("select outcome, count(*) from rowvec.runs group by 1").fetchall()
            assert runs == [("done", 1)]
            assert made.fleet()["unchanged"] == ROWS, "a second one finds nothing to do"
        finally:
            made.stop()
            stop_embedded(server)


def test_a_worker_whose_broker_is_full_ends_with_an_exit_code(
    redis: Redis, state_folder: Path, postgres_url: str
) -> None:
    """A supervisor starts again what ended with one, and leaves what ended with 0."""
    with EmbeddingServer(dimension=8) as model, fleet(state_folder, postgres_url) as made:
        made.configure(model.url)
        made.write_rows(many(30))
        for _ in range(3):
            made.celery("call", "rowvec.sync")
        model.latency = 2.0
        # Minutes of waiting for a broker that takes nothing, which show no more than seconds do.
        made.before = "from rowvec.workers import celery, fleet; celery.STORE_TRIES, fleet.PATIENCE = 4, 3.0"
        worker = made.start_worker()
        redis.fill()
        assert worker.wait(60) == 1, _logs(state_folder)
        started = made.start("sync", "--workers", "celery")
        assert started.wait(120) == 1, _logs(state_folder)
        said = (made.folder / f"sync-{len(made.workers) - 1}.log").read_text()
        assert "refuses what it is sent" in said, said
        assert "Traceback" not in said


def test_progress_that_cannot_be_told_ends_no_fleet(redis: Redis, state_folder: Path, postgres_url: str) -> None:
    with EmbeddingServer(dimension=8, latency=1.0) as model, fleet(state_folder, postgres_url) as made:
        made.configure(model.url)
        made.write_rows(many(300))
        made.start_worker()
        started = made.start("sync", "--workers", "celery")
        wait_for(lambda: len(made.vectors()) > 20, "the fleet is at work")
        redis.stop()
        time.sleep(6)
        redis.start()
        assert started.wait(200) == 0, _logs(state_folder)
        made.vectors_match(many(300))


def _logs(folder: Path) -> str:
    return "\n".join(f"{log.name}\n{log.read_text()[-3000:]}" for log in sorted(folder.glob("*.log")))


def redis_restarts(redis: Redis, server: Path) -> None:
    redis.stop()
    redis.start()


def database_restarts(redis: Redis, server: Path) -> None:
    stop_embedded(server)
    embedded_url(server)
