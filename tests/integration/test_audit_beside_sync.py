"""An audit beside a sync that runs and rows that change: nothing is called damaged that is only under way."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from random import Random

import libsql
import psycopg
import pytest

from rowvec.auditing.audit import audit
from rowvec.auditing.findings import Audit
from rowvec.auditing.repair import repair
from rowvec.errors import Locked
from rowvec.pipeline import Pipeline
from rowvec.sources.sql import SqlSource
from rowvec.stores.auditor import Drift
from rowvec.stores.base import Store
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from tests.integration.damage_rig import LibsqlHands, PostgresHands, Spoiler, unit
from tests.support import simple_pipeline

ROWS = 300
UNTOUCHED = range(1, 21)
"""Rows that nobody edits; some of them are damaged."""
AUDITS = 3


class Rows:
    """A table in SQLite, edited without a pause."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.edits = 0
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("pragma journal_mode = wal")
            database.execute("create table things (id integer primary key, name text, price integer)")
            names = [(key, f"thing {key}", key) for key in range(1, ROWS + 1)]
            database.executemany("insert into things values (?, ?, ?)", names)

    def source(self) -> SqlSource:
        return SqlSource(f"sqlite:///{self.path}", table="things", key="id")

    def edit_until(self, stop: threading.Event) -> None:
        dice = Random(1)
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as database:
            while not stop.wait(0.003):
                key = dice.randrange(UNTOUCHED.stop, ROWS + 50)
                match dice.randrange(4):
                    case 0:
                        database.execute("delete from things where id = ?", (key,))
                    case 1:
                        database.execute("update things set price = price + 1 where id = ?", (key,))
                    case _:
                        values = (key, f"thing of another name {dice.random()}", key)
                        database.execute("insert or replace into things values (?, ?, ?)", values)
                self.edits += 1


@pytest.fixture(params=["postgres", "libsql"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Rows, Callable[[], Pipeline], Spoiler]]:
    rows = Rows(tmp_path / "rows.db")
    with ExitStack() as stack:

        def store() -> Store:
            if request.param == "postgres":
                url = request.getfixturevalue("postgres_url")
                return stack.enter_context(closing(PostgresStore(url, "vectors", pipeline="things")))
            return stack.enter_context(closing(LibsqlStore(str(tmp_path / "vectors.db"), table="vectors")))

        def pipeline() -> Pipeline:
            return simple_pipeline(stack.enter_context(closing(rows.source())), store(), page_size=50)

        first = pipeline()
        sync(first)
        hands: Spoiler
        if request.param == "postgres":
            url = request.getfixturevalue("postgres_url")
            connection = stack.enter_context(psycopg.connect(url, autocommit=True))
            hands = PostgresHands(connection, Names.parse("vectors"), first.spec)
        else:
            database = stack.enter_context(closing(libsql.connect(str(tmp_path / "vectors.db"), timeout=30)))
            hands = LibsqlHands(database, "vectors", "rowvec_keywords_vectors_1")
        yield rows, pipeline, hands


@contextmanager
def at_work(rows: Rows, pipeline: Pipeline) -> Iterator[list[int]]:
    """Rows change and syncs follow one another as fast as they can, until the block ends; tells how many."""
    stop = threading.Event()
    done: list[int] = []

    def keep_in_step() -> None:
        while not stop.is_set():
            done.append(sync(pipeline).written)

    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(rows.edit_until, stop), pool.submit(keep_in_step)]
        try:
            yield done
        finally:
            stop.set()
        for task in tasks:
            task.result()


def findings(result: Audit) -> dict[Drift, set[object]]:
    return {drift: set(finding.keys) for drift, finding in result.findings.items()}


def test_what_changes_during_an_audit_is_no_finding(
    rig: tuple[Rows, Callable[[], Pipeline], Spoiler],
) -> None:
    rows, pipeline, hands = rig
    auditing, dice = pipeline(), Random(2)
    damaged = {2, 3, 5, 7, 11}
    for key in damaged:
        hands.set_vector(key, unit(dice))
    with at_work(rows, pipeline()) as syncs:
        results = [findings(audit(auditing, sample=10**6, settle=30)) for _ in range(AUDITS)]
        while len(syncs) < 3:
            assert not threading.Event().wait(0.05)
    assert rows.edits > 10
    assert sum(syncs) > 0
    assert results == [{Drift.WRONG_VECTOR: damaged}] * AUDITS

    last = pipeline()
    sync(last)
    assert repair(last, audit(last, sample=10**6, settle=0)).left == []
    assert not audit(last, sample=10**6, settle=0).findings


def test_a_repair_waits_for_nobody(rig: tuple[Rows, Callable[[], Pipeline], Spoiler]) -> None:
    _, pipeline, hands = rig
    hands.remove(4)
    repairing, other = pipeline(), pipeline()
    found = audit(repairing, settle=0)
    other.store.prepare(other.spec)
    with other.store.lock(), pytest.raises(Locked):
        repair(repairing, found)
    assert findings(audit(repairing, settle=0))[Drift.MISSING] == {4}
