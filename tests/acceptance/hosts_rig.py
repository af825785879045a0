"""A fleet whose broker, store, source and workers are on hosts of their own, with a network between them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.integration.celery_rig import BROKERS, Project, Started, wait_for
from tests.servers.hosts import Host, network, postgres_on, redis_on
from tests.servers.openai import EmbeddingServer

HOSTS = ("broker", "store", "source", "worker-a", "worker-b")
BROKER = "another host"


@dataclass
class Fleet(Project):
    """The project of those hosts; what is not started on one of them runs on a sixth."""

    of_workers: str = ""
    of_embedder: str = "concurrency = 1\nallow_http = true"
    hosts: dict[str, Host] = field(default_factory=dict)

    def write_rows(self, rows: dict[int, str]) -> None:
        with psycopg.connect(self.source) as connection, connection.cursor() as cursor:
            cursor.execute("create table if not exists things (id integer primary key, name text)")
            cursor.execute("delete from things")
            cursor.executemany("insert into things values (%s, %s)", list(rows.items()))

    def start_workers(self, *hosts: str) -> None:
        """One on each of these hosts."""
        first = len(self.workers)
        for host in hosts:
            self.within = self.hosts[host].within
            self.start("worker")
        self.within = []
        for number in range(first, len(self.workers)):
            self.wait_until_ready(number)

    def start_fleet(self) -> Started:
        return self.start("sync", "--workers", "celery")

    def said(self, command: str = "sync") -> str:
        """By the latest of these commands, in one line."""
        log = max(self.folder.glob(f"{command}-*.log"), key=lambda each: int(each.stem.rpartition("-")[2]))
        return " ".join(log.read_text().split())

    def logs(self) -> str:
        return "\n".join(f"{log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))

    def stored(self) -> int:
        """Rows that have a vector."""
        return len(self.vectors())

    def wait_for_more(self, seconds: float = 120) -> float:
        """Seconds until the store holds more vectors than now."""
        before, began = self.stored(), time.monotonic()
        wait_for(lambda: self.stored() > before, f"more than {before} vectors\n{self.logs()}", seconds)
        return time.monotonic() - began

    def end_of(self, fleet: Started, seconds: float = 300) -> None:
        try:
            code = fleet.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(self.logs()) from error
        assert code == 0, self.logs()


@contextmanager
def fleet(folder: Path, model: EmbeddingServer) -> Iterator[Fleet]:
    """
    Args:
        model: not started yet; it runs beside the process that starts the fleet.
    """
    with ExitStack() as stack:
        hosts = stack.enter_context(network(*HOSTS))
        model.host = hosts["broker"].gateway
        stack.enter_context(model)
        broker = stack.enter_context(redis_on(hosts["broker"], folder))
        store = stack.enter_context(postgres_on(hosts["store"], folder))
        source = stack.enter_context(postgres_on(hosts["source"], folder))
        BROKERS[BROKER] = (broker, 6379)
        stack.callback(BROKERS.pop, BROKER)
        project = folder / "project"
        project.mkdir()
        made = Fleet(project, store, BROKER, "rowvec", source=source, hosts=hosts)
        stack.callback(made.stop)
        made.configure(model.url)
        yield made
