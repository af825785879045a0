"""A folder with rows, a config and real workers in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import psycopg
import pytest

from tests import forks
from tests.servers.openai import vector_of

DIMENSION = 8
ROWVEC = "from rowvec.cli.main import main; main()"
Started: TypeAlias = forks.Command | subprocess.Popen[str]
BROKERS = {
    "redis": ("redis://127.0.0.1:6379/9", 6379),
    "rabbitmq": ("amqp://guest:guest@127.0.0.1:5672//", 5672),
    "embedded": ("", 0),
}
CONFIG = """
[workers]
{broker}
queue = "{queue}"
{of_workers}

[pipelines.things]
source = {{ kind = "sql", url = "{source}", table = "things", key = "id" }}
text = {{ template = "{{{{ name }}}}" }}
store = {{ kind = "postgres", url = "{store}" }}
{schedule}

[pipelines.things.embedder]
kind = "openai"
model = "text-embedding-3-small"
base_url = "{model}"
api_key = "test-key"
dimensions = 8
batch_size = 16
{of_embedder}
"""


def need(broker: str) -> str:
    """The URL of a broker that answers; skips where there is none."""
    url, port = BROKERS[broker]
    if port:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert not os.environ.get("CI"), f"{broker} must answer on port {port}"
            pytest.skip(f"no {broker} answers on port {port}")
    return url


@dataclass
class Project:
    """What a user has: rows, a config, workers."""

    folder: Path
    store: str
    broker: str
    queue: str
    source: str = "sqlite:///things.db"
    of_workers: str = 'redeliver_after = "20s"'
    of_embedder: str = ""
    """More settings, as lines of rowvec.toml."""
    workers: list[Started] = field(default_factory=list)
    within: list[str] = field(default_factory=list)
    """A program that starts a Python of its own for the commands that are left running."""
    before: str = ""
    """Python that such a command runs first."""

    def configure(self, model: str, *, schedule: str = "") -> None:
        url = BROKERS[self.broker][0]
        broker = f'broker = "{url}"' if url else ""
        text = CONFIG.format(
            broker=broker, queue=self.queue, source=self.source, store=self.store, schedule=schedule, model=model,
            of_workers=self.of_workers, of_embedder=self.of_embedder,
        )  # fmt: skip
        (self.folder / "rowvec.toml").write_text(text)

    def write_rows(self, rows: dict[int, str]) -> None:
        with sqlite3.connect(self.folder / "things.db") as database:
            database.execute("create table if not exists things (id integer primary key, name text)")
            database.execute("delete from things")
            database.executemany("insert into things values (?, ?)", rows.items())
        database.close()

    def start(self, *arguments: str) -> Started:
        """A `rowvec` command in a process group of its own, its log in a file."""
        with open(self.folder / f"{arguments[0]}-{len(self.workers)}.log", "w") as log:
            process: Started
            if self.within:
                process = subprocess.Popen(
                    [*self.within, sys.executable, "-m", "rowvec.cli.main", *arguments],
                    cwd=self.folder, env=self.environment(), stdout=log, stderr=log, text=True, start_new_session=True,
                )  # fmt: skip
            else:
                process = forks.start(
                    "" if self.before else "rowvec.cli.main", *arguments, code=f"{self.before}\n{ROWVEC}",
                    cwd=self.folder, env=self.environment(), stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
        self.workers.append(process)
        return process

    def start_worker(self, *options: str) -> Started:
        worker = self.start("worker", *options)
        self.wait_until_ready(len(self.workers) - 1)
        return worker

    def wait_until_ready(self, number: int) -> None:
        log = self.folder / f"worker-{number}.log"
        try:
            wait_for(lambda: " ready." in log.read_text(), "the worker is ready")
        except AssertionError as error:
            error.add_note(log.read_text())
            raise

    def run(self, *arguments: str, expect: int = 0) -> str:
        return self.command("rowvec.cli.main", *arguments, expect=expect)

    def celery(self, *arguments: str) -> str:
        return self.command("celery", "-A", "rowvec.workers.celery", *arguments)

    def command(self, module: str, *arguments: str, code: str = "", expect: int = 0) -> str:
        done = forks.run(module, *arguments, code=code, cwd=self.folder, env=self.environment())
        assert done.returncode == expect, done.stderr + done.stdout
        return done.stdout if expect == 0 else done.stderr

    def fleet(self, expect: int = 0) -> dict[str, Any]:
        return dict(json.loads(self.run("sync", "--workers", "celery", "--json", expect=expect)))

    def result(self, task: str) -> Any:
        """Of a task, waited for."""
        code = (
            "import json, sys; from rowvec.workers.celery import app;"
            "print(json.dumps(app.AsyncResult(sys.argv[1]).get(timeout=60)))"
        )
        return json.loads(self.command("", task, code=code))

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ROWVEC_")}
        return {**kept, "PYTHONWARNINGS": "default"}

    def vectors(self) -> dict[int, list[float]]:
        with psycopg.connect(self.store, autocommit=True) as connection:
            if connection.execute("select to_regclass('things_embeddings')").fetchone() == (None,):
                return {}
            rows = connection.execute("select id, embedding::text from things_embeddings").fetchall()
        return {key: json.loads(text) for key, text in rows}

    def vectors_match(self, rows: dict[int, str]) -> None:
        found = self.vectors()
        assert sorted(found) == sorted(rows)
        for key, name in rows.items():
            assert abs(found[key] - vector_of(name, DIMENSION)).max() < 1e-6, f"row {key} has another row's vector"

    def stop(self) -> None:
        for process in self.workers:
            if process.poll() is None:
                process.terminate()
        for process in self.workers:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def project(folder: Path, store: str, broker: str) -> Iterator[Project]:
    need(broker)
    made = Project(folder, store, broker, f"rowvec-test-{uuid4().hex[:8]}")
    try:
        yield made
    finally:
        made.stop()
        _forget_queue(made)


@pytest.fixture(params=["redis", "rabbitmq", "embedded"])
def made(request: pytest.FixtureRequest, state_folder: Path, postgres_url: str) -> Iterator[Project]:
    """A project on each broker in turn."""
    with project(state_folder, postgres_url, request.param) as made:
        yield made


@pytest.fixture
def redis(state_folder: Path, postgres_url: str) -> Iterator[Project]:
    """A project on Redis, for what no other broker would tell."""
    with project(state_folder, postgres_url, "redis") as made:
        yield made


def _forget_queue(made: Project) -> None:
    from kombu import Connection, Queue

    url = BROKERS[made.broker][0]
    if url:
        with Connection(url) as connection:
            Queue(made.queue, channel=connection.default_channel).delete()


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


def many(count: int, word: str = "thing") -> dict[int, str]:
    return {number: f"{word} {number}" for number in range(1, count + 1)}
