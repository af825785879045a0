"""A small shop in SQLite with its rowvec.toml, and the `rowvec` command run on it as a process."""

from __future__ import annotations

import os
import pty
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*ROWVEC, *arguments], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
        )  # fmt: skip

    def run(self, *arguments: str) -> Finished:
        return ended(self.start(*arguments))

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


def ended(process: subprocess.Popen[str]) -> Finished:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Finished(process.returncode, out, err)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.01)
