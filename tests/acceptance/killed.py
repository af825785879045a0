"""A sync in a process of its own that is killed on the way."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rowvec.pipeline import Options, Pipeline
from rowvec.sources.sql import SqlSource
from rowvec.stores.postgres.store import PostgresStore
from rowvec.support import killpoints
from rowvec.support.killpoints import Step
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from rowvec.types import Embedded
from tests.support import in_child, simple_pipeline

KILLED = -9
IN_FLIGHT_TEXTS = 3 * 10
"""Three batches of ten can be on their way: two in the embedding threads and one in line."""


class RecordingEmbedder(HashEmbedder):
    """Writes each embedded text to a file that outlives the process, as a bill does."""

    def __init__(self, ledger: Path) -> None:
        super().__init__(concurrency=2, chunk_texts=10, billed=True)
        self._ledger = ledger

    def embed(self, texts: Sequence[str]) -> Embedded:
        answer = super().embed(texts)
        with open(self._ledger, "a", encoding="utf-8") as file:
            file.write("".join(f"{text}\n" for text in texts))
        return answer


def write_rows(path: Path, rows: dict[int, str]) -> None:
    with sqlite3.connect(path) as database:
        database.execute("create table if not exists things (id integer primary key, name text, price integer)")
        database.execute("delete from things")
        database.executemany("insert into things values (?, ?, 1)", rows.items())
    database.close()


def open_pipeline(database: Path, url: str, bill: Path) -> Pipeline:
    return simple_pipeline(
        SqlSource(f"sqlite:///{database}", table="things", key="id"),
        PostgresStore(url, "things_embeddings", pipeline="things"),
        RecordingEmbedder(bill),
        page_size=40,
    )


def sync_in_child(database: Path, url: str, bill: Path, prepare: Callable[[], None]) -> int:
    """Run one sync in a forked process, `prepare` called in it first; its exit status, -9 when it was killed."""

    def work() -> None:
        prepare()
        sync(open_pipeline(database, url, bill), Options(allow_delete=True))

    return in_child(work)


def kill_at(step: Step, occurrence: int) -> None:
    """Kill this process when `step` is reached for the n-th time."""
    seen = 0

    def observe(reached: Step) -> None:
        nonlocal seen
        seen += reached is step
        if reached is step and seen == occurrence:
            os.kill(os.getpid(), signal.SIGKILL)

    killpoints.observer = observe


def kill_after(seconds: float) -> None:
    """Kill this process after a while, wherever it is then."""

    def wait_and_kill() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait_and_kill, daemon=True).start()


def billed(bill: Path) -> list[str]:
    return bill.read_text(encoding="utf-8").splitlines() if bill.exists() else []


def repaid(bill: Path) -> int:
    """How often a text was embedded again; no test writes a text twice."""
    return sum(count - 1 for count in Counter(billed(bill)).values())


def edited(rows: dict[int, str], dice: random.Random) -> dict[int, str]:
    """Some rows changed, some gone, some new; never a text that was there before."""
    kept = {key: text for key, text in rows.items() if dice.random() > 0.2}
    for key in dice.sample(sorted(kept), len(kept) // 4):
        kept[key] = f"changed {key} {dice.random()}"
    fresh = max(rows, default=0) + 1
    return kept | {key: f"new {key} {dice.random()}" for key in range(fresh, fresh + 30)}
