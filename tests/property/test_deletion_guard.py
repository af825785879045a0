"""Whatever is done to a table: no sequence of syncs without --allow-delete removes more than half of what stood there.

What stood there are the rows of the ledger at the start, or after the last deletion that was allowed. A row that is
removed and comes back counts as removed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from rowvec.errors import DeletionGuard
from rowvec.pipeline import Options, Pipeline
from rowvec.pipeline_status import status
from rowvec.sources.base import Selection
from rowvec.sources.sql import SqlSource
from rowvec.stores.base import Store
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemoryStore
from rowvec.types import Embedded, Key
from tests.support import rows_of, simple_pipeline

_numbers = count()
keys = st.integers(1, 30)
few = st.integers(1, 12)


@dataclass
class World:
    """Tables in one SQLite file, and a store for the vectors of each."""

    folder: Path
    open_store: Callable[[str], Store]
    table: str = ""

    def begin(self) -> Pipeline:
        self.table = f"things_{next(_numbers)}"
        self.sql(f"create table {self.table} (id integer primary key, name text)")
        source = SqlSource(f"sqlite:///{self.folder / 'rows.db'}", table=self.table, key="id")
        return simple_pipeline(source, self.open_store(f"{self.table}_vectors"), HashEmbedder())

    def filled(self, rows: int) -> Pipeline:
        pipeline = self.begin()
        for key in range(rows):
            self.sql("insert into things values (?, ?)", key, f"thing {key}")
        sync(pipeline)
        return pipeline

    def sql(self, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.folder / "rows.db")) as database, database:
            database.execute(statement.replace("things ", f"{self.table} "), values)


class Erosion(RuleBasedStateMachine):
    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.pipeline = self.world.begin()
        self.stood: set[Key] = set()
        self.removed: set[Key] = set()
        self.next = 1

    def teardown(self) -> None:
        self.pipeline.close()

    @initialize(number=few)
    def begin(self, number: int) -> None:
        self.insert(number)
        sync(self.pipeline)
        self.stood = self.ledger()

    def ledger(self) -> set[Key]:
        return set(rows_of(self.pipeline).keys(None, 10_000))

    @rule(number=few)
    def insert(self, number: int) -> None:
        for key in range(self.next, self.next + number):
            self.world.sql("insert or ignore into things values (?, ?)", key, f"thing {key}")
        self.next += number

    @rule(key=keys, number=few)
    def delete(self, key: int, number: int) -> None:
        self.world.sql("delete from things where id between ? and ?", key, key + number)

    @rule(key=keys)
    def put_back(self, key: int) -> None:
        self.world.sql("insert or replace into things values (?, ?)", key, f"thing {key}")

    @rule(key=keys, number=few)
    def rename_keys(self, key: int, number: int) -> None:
        self.world.sql("update things set id = id + 1000000 where id between ? and ?", key, key + number)
        self.world.sql("update things set id = id - 1000000 + ? where id > 1000000", self.next + 100)
        self.next += 200

    @rule(key=keys, number=few)
    def empty_texts(self, key: int, number: int) -> None:
        self.world.sql("update things set name = '' where id between ? and ?", key, key + number)

    @rule()
    def truncate(self) -> None:
        self.world.sql("delete from things ")

    @rule(full=st.booleans())
    def sync_all(self, full: bool) -> None:
        self.sync(Options(full=full))

    @rule(key=keys, number=few)
    def sync_keys(self, key: int, number: int) -> None:
        self.sync(Options(Selection(ranges=((key, key + number),))))

    @rule(key=keys)
    def sync_as_it_is_followed(self, key: int) -> None:
        self.sync(Options(Selection(keys=(key, key + 1)), followed=True))

    @rule(limit=few)
    def sync_some(self, limit: int) -> None:
        self.sync(Options(limit=limit))

    @rule(after=keys)
    def sync_a_range(self, after: int) -> None:
        self.sync(Options(after=after))

    def sync(self, options: Options) -> None:
        try:
            sync(self.pipeline, options)
        except DeletionGuard as error:
            said = error.message
        else:
            return
        refusal = status(self.pipeline).refusal
        assert refusal is not None
        assert refusal.said in said

    @rule()
    def sync_allowed(self) -> None:
        if sync(self.pipeline, Options(allow_delete=True)).deleted:
            self.stood, self.removed = self.ledger(), set()
        assert status(self.pipeline).refusal is None

    @invariant()
    def half_of_what_stood_is_there(self) -> None:
        self.removed |= self.stood - self.ledger()
        assert 2 * len(self.removed) <= len(self.stood), f"{sorted(map(str, self.removed))} of {len(self.stood)} rows"


@pytest.fixture(params=["memory", "postgres", "libsql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        yield World(tmp_path, lambda table: MemoryStore())
    elif request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        yield World(tmp_path, lambda table: PostgresStore(url, table, pipeline="things", index=None))
    else:
        yield World(tmp_path, lambda table: LibsqlStore(str(tmp_path / "vectors.db"), table=table))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_sequence_of_syncs_removes_more_than_half_unasked(world: World, request: pytest.FixtureRequest) -> None:
    in_memory = "memory" in request.node.name
    machine = type("Machine", (Erosion,), {"world": world})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60 if in_memory else 6, stateful_step_count=30 if in_memory else 20, deadline=None,
            database=None, derandomize=True, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("ends", [True, False])
def test_a_first_fill_that_was_interrupted_is_no_measure_when_it_has_ended(world: World, ends: bool) -> None:
    """Rows that are read first are often those that go first."""
    pipeline = world.begin()
    for key in range(100):
        world.sql("insert into things values (?, ?)", key, f"thing {key}")
    first, second = Options(limit=10), Options() if ends else Options(limit=100)
    sync(pipeline, first)
    assert sync(pipeline, second).inserted == 90
    world.sql("delete from things where id < 8")
    named = Options(Selection(ranges=((0, 9),)))
    if ends:
        assert sync(pipeline, named).deleted == 8
        world.sql("delete from things where id < 60")
        with pytest.raises(DeletionGuard, match="52 of the 92 rows"):
            sync(pipeline)
    else:
        with pytest.raises(DeletionGuard, match="half of the 10 rows"):
            sync(pipeline, named)
    pipeline.close()


def test_a_table_emptied_while_the_embedder_works_keeps_its_vectors(world: World) -> None:
    """What was few when it was counted is all when it comes to the deletion."""
    pipeline = world.filled(200)
    world.sql("delete from things where id = 0")
    world.sql("update things set name = 'slow' where id = 1")

    class Slow(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> Embedded:
            world.sql("delete from things ")
            return super().embed(texts)

    for _ in range(2):
        with pytest.raises(DeletionGuard, match="200 of the 200 rows"):
            sync(replace(pipeline, embedder=Slow()))
    assert rows_of(pipeline).count() == 200
    pipeline.close()


def test_renamed_keys_are_refused_until_it_is_allowed(world: World) -> None:
    pipeline = world.filled(10)
    world.sql("update things set id = id + 100")
    for _ in range(3):
        with pytest.raises(DeletionGuard, match=r"10 of the 10 rows .* Nothing was deleted"):
            sync(pipeline)
    assert rows_of(pipeline).count() == 20
    assert sync(pipeline, Options(allow_delete=True)).deleted == 10
    pipeline.close()
