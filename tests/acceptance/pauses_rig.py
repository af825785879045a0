"""A process of rowvec that is stopped while it embeds, and loses its hold on the store before it goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from rowvec.api.project import opened
from rowvec.pipeline import Options
from rowvec.workers.members import identity
from rowvec.workers.ranges import sync_range
from tests.acceptance.shop import Process, Shop
from tests.integration.debezium_rig import lines, put
from tests.servers.openai import EmbeddingServer, vector_of
from tests.support import forked, in_child

MODELS = ("alpha", "beta", "gamma")
DIMENSION = 8
BATCH = 10
UNTIL = 200
"""The last key of the range that a worker of a fleet syncs."""
QUIET_SECONDS = 1.0
"""A process that has asked for no vectors for so long has none left to ask for."""
PATIENCE = 120.0
TABLE = "things_embeddings"
PARTS = 3
"""Paragraphs of a long text; each is a passage."""
PASSAGES = "passages = { tokens = 12, overlap = 0 }"
Rows = dict[int, str]
Found = dict[int, list[tuple[str, list[float]]]]


class Models(EmbeddingServer):
    """Gives each model vectors of its own."""

    def __init__(self) -> None:
        super().__init__(dimension=DIMENSION, models=MODELS, latency=0.02)

    def answer(self, body: dict[str, Any], key: str | None) -> Any:
        return super().answer({**body, "input": [f"{body['model']}: {text}" for text in body["input"]]}, key)


def expected(model: str, text: str) -> Any:
    return vector_of(f"{model}: {text}", DIMENSION)


class Stored(ABC):
    """What a store holds, read and changed by its driver alone."""

    declared: str

    @abstractmethod
    def vectors(self) -> dict[int, list[float]]: ...

    @abstractmethod
    def passages(self) -> Found:
        """Text and vector of each passage, in their order, by the row's key."""

    @abstractmethod
    def live(self) -> str | None:
        """The model that the books name."""

    @abstractmethod
    def end_hold(self) -> bool:
        """As a lost connection and a lease that has run out do. False where the process stands in a transaction."""


class InPostgres(Stored):
    def __init__(self, url: str) -> None:
        self.url = url
        self.declared = f'kind = "postgres", url = "{url}", table = "{TABLE}"'

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def vectors(self) -> dict[int, list[float]]:
        return {key: json.loads(text) for key, text in self._ask(f"select id, embedding::text from {TABLE}")}

    def passages(self) -> Found:
        found: Found = {}
        for key, text, vector in self._ask(f"select key, text, embedding::text from {TABLE}_passages order by key, n"):
            found.setdefault(key, []).append((text, json.loads(vector)))
        return found

    def live(self) -> str | None:
        if self._ask("select to_regclass('rowvec.generations')") == [(None,)]:
            return None
        found = self._ask("select fingerprint->>'model' from rowvec.generations where state = 'live'")
        return found[0][0] if found else None

    def end_hold(self) -> bool:
        end_sessions(self.url)
        return True


class InLibsql(Stored):
    """The driver works in processes of its own, which end with all their locks on the file."""

    def __init__(self, folder: Path) -> None:
        self.path, self.answer = folder / "vectors.db", folder / "answer.json"
        self.declared = f'kind = "libsql", url = "vectors.db", table = "{TABLE}"'

    def _run(self, statement: str) -> Any:
        def work() -> None:
            import libsql

            connection = libsql.connect(str(self.path), timeout=0.1, isolation_level=None)
            try:
                found = connection.execute(statement).fetchall() or []
            except ValueError as error:
                if "locked" not in str(error):
                    raise
                found = None
            self.answer.write_text(json.dumps(found, default=bytes.hex))

        assert in_child(work) == 0
        return json.loads(self.answer.read_text())

    def vectors(self) -> dict[int, list[float]]:
        found = self._run(f"select id, embedding from {TABLE}")
        assert found is not None
        return {key: unpacked(vector) for key, vector in found}

    def passages(self) -> Found:
        rows = self._run(f"select key, text, embedding from {TABLE}_passages order by key, n")
        assert rows is not None
        found: Found = {}
        for key, text, vector in rows:
            found.setdefault(key, []).append((text, unpacked(vector)))
        return found

    def live(self) -> str | None:
        found = self._run("select fingerprint from rowvec_generations where state = 'live'")
        return json.loads(found[0][0])["model"] if found else None

    def end_hold(self) -> bool:
        return self._run("update rowvec_locks set beat = 0") is not None


def right(model: str, text: str, vector: list[float], passages: list[tuple[str, list[float]]]) -> bool:
    """Whether these are the vectors of a row with that text."""
    parts = text.split("\n\n")
    if [said for said, _ in passages] != (parts if len(parts) > 1 else []):
        return False
    wanted = [expected(model, part) for part in parts]
    # All parts have as many tokens, and a mean is as long as it comes out: the model's length is not known.
    apart = [np.mean(wanted, axis=0) - vector]
    apart += [one - other for one, (_, other) in zip(wanted, passages, strict=False)]
    return bool(np.abs(apart).max() <= 1e-6)


def unpacked(vector: str) -> list[float]:
    return list(struct.unpack(f"<{DIMENSION}f", bytes.fromhex(vector)))


def end_sessions(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )


class Work(ABC):
    """A kind of process, and where its rows are."""

    follows = False
    source: str

    def __init__(self, shop: Shop, url: str) -> None:
        self.shop, self.url = shop, url

    @abstractmethod
    def write(self, rows: Rows) -> None:
        """Bring these rows into the source; others stay."""

    def start(self) -> Process:
        return self.shop.start(*self.arguments())

    def arguments(self) -> tuple[str, ...]:
        return ("sync",)

    def keys(self, rows: Rows) -> set[int]:
        """Those whose vectors the process makes."""
        return set(rows)

    def other(self) -> tuple[str, ...]:
        """The command that changes the model."""
        return ("sync",)


class Sync(Work):
    def __init__(self, shop: Shop, url: str) -> None:
        super().__init__(shop, url)
        self.source = 'kind = "sql", url = "sqlite:///shop.db", table = "things", key = "id"'
        shop.sql("create table things (id integer primary key, name text)")

    def write(self, rows: Rows) -> None:
        self.shop.sql("insert or replace into things values (?, ?)", *rows.items())


class Keys(Sync):
    def arguments(self) -> tuple[str, ...]:
        return ("sync", "--keys", f"1-{UNTIL}")

    def keys(self, rows: Rows) -> set[int]:
        return {key for key in rows if key <= UNTIL}


class Range(Keys):
    """As a worker of a fleet does it."""

    def start(self) -> Process:
        def work() -> None:
            os.chdir(self.shop.folder)
            with opened(self.shop.folder / "rowvec.toml", None) as door:
                made = door.assembled
                known, ours = made.store.ledger(), identity(made)
                sync_range(made, None, str(UNTIL), ledger=known, expected=ours, options=Options())

        return Process(forked(work), Path(os.devnull), Path(os.devnull))


class WatchEvents(Work):
    follows = True

    def __init__(self, shop: Shop, url: str) -> None:
        super().__init__(shop, url)
        self.source = 'kind = "debezium", paths = "events.jsonl", key = "id"'
        self.position = 0

    def write(self, rows: Rows) -> None:
        changes = []
        for key, text in rows.items():
            self.position += 1
            changes.append(put(key, text, self.position))
        with (self.shop.folder / "events.jsonl").open("a") as file:
            file.write(lines(changes))

    def arguments(self) -> tuple[str, ...]:
        return ("watch",)

    def other(self) -> tuple[str, ...]:
        return ("sync", "--from-start")


class WatchRows(Work):
    follows = True

    def __init__(self, shop: Shop, url: str) -> None:
        super().__init__(shop, url)
        self.source = f'kind = "sql", url = "{url}", table = "things", key = "id"'
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create table things (id integer primary key, name text)")
        self.installed = False

    def write(self, rows: Rows) -> None:
        with psycopg.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(
                "insert into things select * from unnest(%s::int[], %s::text[])"
                " on conflict (id) do update set name = excluded.name",
                [list(rows), list(rows.values())],
            )

    def start(self) -> Process:
        if not self.installed:
            done = self.shop.run("watch", "--install")
            assert done.code == 0, done.err
            self.installed = True
        return super().start()

    def arguments(self) -> tuple[str, ...]:
        return ("watch",)


WORKS: dict[str, Callable[[Shop, str], Work]] = {
    "sync": Sync, "keys": Keys, "range": Range, "watch-events": WatchEvents, "watch-rows": WatchRows,
}  # fmt: skip


class Pauses:
    """One store and one kind of process, paused again and again; what is live in the end of one is the next's begin.

    Args:
        passages: texts are long, and each of their paragraphs is a passage.
    """

    def __init__(
        self, kind: str, store: Stored, model: Models, folder: Path, url: str, dice: random.Random, passages: bool
    ) -> None:
        self.shop = Shop(folder)
        self.store, self.model, self.dice, self.url = store, model, dice, url
        self.work = WORKS[kind](self.shop, url)
        self.whole = kind == "sync"
        self.divided = passages
        self.rows: Rows = {}
        self.turn = 0
        self.moments = 0
        """This many pauses were survived."""

    def edit(self, keys: range) -> None:
        self.turn += 1
        changed = {key: self.said(key) for key in keys}
        self.work.write(changed)
        self.rows |= changed

    def said(self, key: int) -> str:
        """Of this turn. One paragraph of a long text says so; the others are those of every turn. Some are short."""
        if not self.divided or key % 5 == 0:
            return f"row {key} turn {self.turn}"
        turns = (self.turn if part == key % PARTS else 0 for part in range(PARTS))
        return "\n\n".join(f"row {key:04} part {part} turn {turn:04}." for part, turn in enumerate(turns))

    def configure(self, name: str, model: str) -> None:
        (self.shop.folder / name).write_text(
            f"""
[pipelines.things]
source = {{ {self.work.source} }}
text = {{ template = "{{{{ name }}}}"{", " + PASSAGES if self.divided else ""} }}
store = {{ {self.store.declared} }}

[pipelines.things.embedder]
kind = "openai"
model = "{model}"
base_url = "{self.model.url}"
api_key = "test-key"
dimensions = {DIMENSION}
batch_size = {BATCH}
concurrency = 2
"""
        )

    def begin(self, count: int) -> None:
        """A first model goes live, for that number of rows."""
        self.edit(range(1, count + 1))
        self.configure("rowvec.toml", MODELS[0])
        self.carry_out("sync")
        self.check(MODELS[0], self.rows)

    def carry_out(self, *arguments: str) -> Any:
        done = self.shop.run(*arguments, "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    def wrong(self, model: str, rows: Rows) -> list[int]:
        """The keys whose vectors are not those of the model and of the row's text."""
        found = self.store.vectors()
        assert sorted(found) == sorted(rows)
        passages = self.store.passages() if self.divided else {}
        return [key for key, text in rows.items() if not right(model, text, found[key], passages.get(key, []))]

    def check(self, model: str, rows: Rows) -> None:
        wrong = self.wrong(model, rows)
        assert not wrong, f"{len(wrong)} vectors are not of {model} and the row's text, such as that of row {wrong[0]}"
        assert self.store.live() == model

    def moment(self) -> bool:
        """One pause at a random moment; False where the process had ended before it."""
        live = self.store.live()
        assert live is not None
        mine = live if not self.whole or self.dice.random() < 0.6 else self.dice.choice(sorted({*MODELS} - {live}))
        other = self.dice.choice(sorted({*MODELS} - {live, mine}))
        self.configure("rowvec.toml", mine)
        self.configure("other.toml", other)
        count = len(self.rows)
        # What follows a table meets some of the changes at its start, and hears of the others.
        self.edit(range(1, (count // 2 if self.work.follows else count) + 1))
        process = self.paused(count)
        if process is None:
            return False
        complete = not self.unwritten(mine)
        self.edit(range(count - 9, count + 1))
        self.carry_out(*self.work.other(), "--config", "other.toml")
        self.check(other, self.rows)
        before = dict(self.rows)
        process.signal(signal.SIGCONT)
        later = 0
        if self.work.follows:
            later = BATCH
            self.edit(range(1, later + 1))
        code = self.end_of(process)
        said = process.err.read_text() if process.err != Path(os.devnull) else ""
        assert code > 0 or (complete and not self.work.follows), f"it ended with {code}: {said}"
        self.check(other, before)
        report = self.carry_out("sync", "--config", "other.toml")
        assert (report["inserted"], report["embedded"], report["deleted"]) == (0, later, 0)
        self.check(other, self.rows)
        self.moments += 1
        return True

    def paused(self, count: int) -> Process | None:
        """The process, stopped at a random moment after its first request, its hold on the store ended."""
        asked = self.model.requests
        wanted = self.dice.randint(1, len(self.work.keys(self.rows)) // BATCH)
        jitter = self.dice.choice([self.dice.uniform(0, 0.08), self.dice.uniform(0, 0.3)])
        process = self.work.start()
        told, heard, when = False, self.model.requests, time.monotonic()
        end = time.monotonic() + PATIENCE
        while process.running() and self.model.requests - asked < wanted:
            assert time.monotonic() < end, process.err.read_text()
            if self.model.requests != heard:
                heard, when = self.model.requests, time.monotonic()
            if self.work.follows and not told and heard > asked:
                told = True
                self.edit(range(count // 2 + 1, count + 1))
            if heard > asked and time.monotonic() - when > QUIET_SECONDS:
                break
            time.sleep(0.005)
        time.sleep(jitter)
        while self.stopped(process):
            if self.store.end_hold():
                end_sessions(self.url)
                return process
            # It stands in a transaction, which nobody else can end: somewhere else, then.
            process.signal(signal.SIGCONT)
            time.sleep(self.dice.uniform(0, 0.1))
        return None

    def stopped(self, process: Process) -> bool:
        """Stop it; False where it has ended."""
        if not process.running():
            return False
        process.signal(signal.SIGSTOP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return True
        process.code = os.waitstatus_to_exitcode(status)
        return False

    def unwritten(self, model: str) -> list[int]:
        wrong = self.wrong(model, self.rows)
        return sorted(self.work.keys(self.rows) & set(wrong))

    def end_of(self, process: Process) -> int:
        end = time.monotonic() + PATIENCE
        while process.running():
            if time.monotonic() > end:
                os.kill(process.pid, signal.SIGKILL)
                said = process.err.read_text() if process.err != Path(os.devnull) else ""
                raise AssertionError(f"it did not end: {said}")
            time.sleep(0.02)
        assert process.code is not None
        return process.code
