"""A small shop in SQLite with its rowvec.toml, and the `rowvec` command run on it as a process."""

from __future__ import annotations

import itertools
import os
import pty
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rowvec.cli.main import main

_numbers = itertools.count()
ROWVEC = [sys.executable, "-m", "rowvec.cli.main"]
PATIENCE = 60.0
CONFIG = """
[pipelines.products]
source = {{ kind = "sql", {source} }}
text = {{ {text} }}
embedder = {{ {embedder} }}
store = {{ {store} }}
"""
PARTS = {
    "source": 'url = "sqlite:///shop.db", table = "products", key = "id"',
    "text": 'columns = ["name", "description"]',
    "embedder": 'kind = "openai", model = "text-embedding-3-small", base_url = "${MODEL_URL}", '
    'api_key = "test-key", dimensions = 16, batch_size = 10, concurrency = 2',
    "store": 'kind = "postgres", url = "${STORE_URL}", table = "products_vectors", metadata = ["price"], language = ""',
}


@dataclass(frozen=True, slots=True)
class Finished:
    code: int
    out: str
    err: str


@dataclass
class Process:
    pid: int
    out: Path
    err: Path
    code: int | None = None

    def running(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is None

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def has_said(self, words: str) -> bool:
        return self.err.exists() and words in self.err.read_text(encoding="utf-8")

    def finish(self) -> Finished:
        wait_until(lambda: not self.running(), "the command ends")
        assert self.code is not None
        return Finished(self.code, self.out.read_text(encoding="utf-8"), self.err.read_text(encoding="utf-8"))


@dataclass
class Shop:
    """
    Args:
        folder: where shop.db and rowvec.toml are.
        variables: of the environment, that rowvec.toml refers to.
    """

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def declare(self, **parts: str) -> None:
        """Write rowvec.toml; a part that is not given is as in PARTS."""
        (self.folder / "rowvec.toml").write_text(CONFIG.format(**(PARTS | parts)), encoding="utf-8")

    def sql(self, statement: str, *rows: tuple[Any, ...]) -> None:
        with closing(sqlite3.connect(self.folder / "shop.db", timeout=30)) as database, database:
            if rows:
                database.executemany(statement, rows)
            else:
                database.execute(statement)

    def stock(self, count: int, *, word: str = "lamp") -> None:
        """Make the table `products`, with as many rows of texts that are all different."""
        self.sql("drop table if exists products")
        self.sql("create table products (id integer primary key, name text, description text, price real)")
        self.sql(
            "insert into products values (?, ?, ?, ?)",
            *((number, f"{word} {number}", f"number {number} of many", number / 4) for number in range(1, count + 1)),
        )

    @property
    def environment(self) -> dict[str, str]:
        left_out = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
        return {name: value for name, value in os.environ.items() if name not in left_out} | dict(self.variables)

    def start(self, *arguments: str) -> Process:
        """Run the command in a process that is forked from this one: imports would take most of the time."""
        streams = [self.folder / f".{name}-{next(_numbers)}" for name in ("stdout", "stderr")]
        process = Process(os.fork(), streams[0], streams[1])
        if process.pid == 0:
            code = 1
            try:
                self._become(arguments, streams)
                code = _exit_code(main)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        return process

    def _become(self, arguments: Sequence[str], streams: Sequence[Path]) -> None:
        for number, path in enumerate([Path(os.devnull), *streams]):
            opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            os.dup2(opened, number)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
        sys.argv = ["rowvec", *arguments]
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)

    def run(self, *arguments: str) -> Finished:
        return self.start(*arguments).finish()

    def run_anew(self, *arguments: str) -> Finished:
        """In a Python of its own."""
        done = subprocess.run(
            [*ROWVEC, *arguments], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        return Finished(done.returncode, done.stdout, done.stderr)

    def run_on_terminal(self, *arguments: str) -> Finished:
        """With a terminal for stdin, stdout and stderr; what it shows is `out`."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*ROWVEC, *arguments], cwd=self.folder, env=self.environment | {"TERM": "xterm"},
            stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        seen = bytearray()

        def listen() -> None:
            try:
                while chunk := os.read(ours, 4096):
                    seen.extend(chunk)
            except OSError:
                # How Linux says that the other end is closed.
                return

        reader = threading.Thread(target=listen)
        reader.start()
        code = process.wait(PATIENCE)
        reader.join()
        os.close(ours)
        return Finished(code, seen.decode(), "")


def _exit_code(command: Callable[[], None]) -> int:
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.01)
