"""A PostgreSQL and a standby that follows it by streaming replication, from the binaries that rowvec brings.

with replicated() as servers:
    psycopg.connect(servers.primary.url)
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from rowvec.stores.postgres.embedded.binaries import find

SECONDS = 60.0
UNSAFE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=")


@contextmanager
def standing_still(process: int) -> Iterator[None]:
    """A process and all that it has started do nothing."""
    # The first one first: what it does not start any more needs no stop.
    stopped: list[int] = []
    try:
        waiting = [process]
        while waiting:
            number = waiting.pop()
            with suppress(ProcessLookupError, FileNotFoundError):
                os.kill(number, signal.SIGSTOP)
                stopped.append(number)
                waiting += map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())
        yield
    finally:
        for number in reversed(stopped):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGCONT)


def _account() -> dict[str, Any]:
    """PostgreSQL does not run as root."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid}


@dataclass
class Server:
    folder: Path
    _process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return str(self.folder)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.socket}"

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        settings = (*UNSAFE, f"unix_socket_directories={self.folder}", "hot_standby_feedback=on")
        command: list[str | Path] = [find().postgres, "-D", self.folder / "data"]
        command += [part for each in settings for part in ("-c", each)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **_account())
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                psycopg.connect(self.url).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            # Without waiting for those who are connected.
            self._process.send_signal(signal.SIGINT)
            self._process.wait(SECONDS)
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It says nothing and ends nothing, as on a machine that stands still."""
        assert self._process is not None
        with standing_still(self._process.pid):
            yield

    def run(self, statement: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@dataclass
class Servers:
    primary: Server
    standby: Server

    def caught_up(self) -> None:
        """Wait until the standby has all that the primary has written."""
        ((written,),) = self.primary.run("select pg_current_wal_insert_lsn()::text")
        deadline = time.monotonic() + SECONDS
        while self.standby.run(f"select pg_last_wal_replay_lsn() >= '{written}'") != [(True,)]:
            assert time.monotonic() < deadline, "the standby does not catch up"
            time.sleep(0.02)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """The standby gets everything and carries out nothing."""
        self.caught_up()
        self.standby.run("select pg_wal_replay_pause()")
        deadline = time.monotonic() + SECONDS
        while self.standby.run("select pg_get_wal_replay_pause_state()") != [("paused",)]:
            assert time.monotonic() < deadline, "the standby goes on"
            # The state is looked at when something comes.
            self.primary.run("select pg_logical_emit_message(false, '', '')")
            time.sleep(0.02)
        try:
            yield
        finally:
            self.standby.run("select pg_wal_replay_resume()")
        self.caught_up()


@contextmanager
def alone(count: int) -> Iterator[list[Server]]:
    """That number of servers, which know nothing of each other."""
    binaries, account = find(), _account()
    with TemporaryDirectory(prefix="rowvec-test-", ignore_cleanup_errors=True) as temporary:
        servers = [Server(Path(temporary) / str(number)) for number in range(count)]
        for folder in (Path(temporary), *(server.folder for server in servers)):
            folder.mkdir(exist_ok=True)
            if account:
                os.chown(folder, account["user"], account["group"])
        command: list[Any] = [binaries.initdb, "-D", servers[0].folder / "data", "-U", "postgres", "-A", "trust", "-N"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **account)
        assert done.returncode == 0, done.stderr
        for server in servers[1:]:
            copy: list[Any] = ["cp", "-a", servers[0].folder / "data", server.folder / "data"]
            subprocess.run(copy, check=True, **account)
        try:
            for server in servers:
                server.start()
            yield servers
        finally:
            for server in servers:
                server.stop()


@contextmanager
def alone_with_vectors(count: int) -> Iterator[list[Server]]:
    """The same, with pgvector."""
    with alone(count) as servers:
        for server in servers:
            server.run("create extension vector")
        yield servers


@contextmanager
def replicated() -> Iterator[Servers]:
    binaries, account = find(), _account()
    with TemporaryDirectory(prefix="rowvec-test-", ignore_cleanup_errors=True) as temporary:
        servers = Servers(Server(Path(temporary) / "p"), Server(Path(temporary) / "s"))
        for folder in (Path(temporary), servers.primary.folder, servers.standby.folder):
            folder.mkdir(exist_ok=True)
            if account:
                os.chown(folder, account["user"], account["group"])
        programs: list[list[Any]] = [
            [binaries.initdb, "-D", servers.primary.folder / "data", "-U", "postgres", "-A", "trust", "-N"],
            [
                binaries.root / "bin/pg_basebackup", "-D", servers.standby.folder / "data", "-R", "-N", "-c", "fast",
                "-d", f"host={servers.primary.socket} user=postgres",
            ],
        ]  # fmt: skip
        try:
            for program, server in zip(programs, (servers.primary, servers.standby), strict=True):
                done = subprocess.run(program, capture_output=True, text=True, check=False, **account)
                assert done.returncode == 0, done.stderr
                server.start()
            yield servers
        finally:
            servers.standby.stop()
            servers.primary.stop()
