"""Whole syncs into libSQL, a file and a server that loses connections."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rowvec.errors import DeletionGuard
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.libsql.database import Statement
from rowvec.stores.libsql.local import LocalDatabase
from rowvec.support import clocks
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource
from tests.servers.hrana import HranaServer, serving
from tests.support import rows_of, simple_pipeline, vectors_match_rows


def names(source: MemorySource) -> dict[object, str]:
    return {key: row["name"] for key, row in source.rows.items()}


def source_of(count: int) -> MemorySource:
    return MemorySource({key: {"name": f"row {key % 50}", "price": key} for key in range(count)})


def edit(source: MemorySource, rng: random.Random) -> None:
    """Change, add and remove some rows."""
    for key in rng.sample(sorted(source.rows, key=int), 20):
        source.rows[key]["name"] = f"row {rng.randrange(100)}"
    for key in rng.sample(sorted(source.rows, key=int), 5):
        del source.rows[key]
    new = 1 + max(source.rows, key=int)  # type: ignore[operator]
    source.rows[new] = {"id": new, "name": "new row", "price": 1}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HranaServer]:
    with serving(tmp_path) as running:
        yield running


def test_a_file_follows_its_rows_through_edits_and_a_change_of_model(tmp_path: Path) -> None:
    source, rng = source_of(200), random.Random(0)
    store = LibsqlStore(str(tmp_path / "vectors.db"), table="things")
    pipeline = simple_pipeline(source, store)
    first = sync(pipeline)
    assert (first.inserted, first.texts) == (200, 50)
    for _ in range(5):
        edit(source, rng)
        assert sync(pipeline).conflicts == 0
        vectors_match_rows(pipeline, names(source))
    assert sync(pipeline).written == 0

    larger = simple_pipeline(source, store, HashEmbedder(24, model="larger"))
    assert sync(larger).inserted == len(source.rows)
    vectors_match_rows(larger, names(source))
    assert sync(larger).written == 0
    store.close()


@pytest.mark.parametrize("rows", [1, 250, 1000])
def test_no_write_reads_the_whole_table(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan depends on how many rows a statement has: of some hundred, SQLite would begin with the larger table."""
    store = LibsqlStore(str(tmp_path / "vectors.db"), table="things")
    written: list[Statement] = []
    transact = LocalDatabase.transact

    def noted(database: LocalDatabase, statements: Sequence[Statement], **given: Any) -> list[int]:
        written.extend(statements)
        return transact(database, statements, **given)

    source = source_of(rows)
    pipeline = simple_pipeline(source, store)
    monkeypatch.setattr(LocalDatabase, "transact", noted)
    assert sync(pipeline).inserted == rows
    for row in source.rows.values():
        row["price"] += 1
    assert sync(pipeline).updated == rows
    for row in source.rows.values():
        row["name"] += " again"
    assert sync(pipeline).embedded == rows
    store.close()
    with closing(LocalDatabase(str(tmp_path / "vectors.db"))) as database:
        about_rows = [each for each in written if each.sql.lstrip().startswith("with new")]
        plans = [database.query(f"explain query plan {sql}", values) for sql, values in about_rows]
    steps = {str(step[3]) for plan in plans for step in plan}
    assert {step for step in steps if step.startswith("SEARCH t")}
    assert not {step for step in steps if step.startswith(("SCAN t", "SCAN old"))}


def test_a_server_that_loses_requests_and_answers_ends_with_the_right_vectors(server: HranaServer) -> None:
    source, rng = source_of(200), random.Random(1)
    store = LibsqlStore(server.url("vectors"), table="things")
    pipeline = simple_pipeline(source, store)
    for turn in range(6):
        server.control(match="commit", **{rng.choice(["cut_before", "cut_after"]): 1})
        report = sync(pipeline)
        assert (report.conflicts, report.failed) == (0, 0)
        assert turn > 0 or report.texts == 50
        vectors_match_rows(pipeline, names(source))
        edit(source, rng)
    sync(pipeline)
    assert sync(pipeline).written == 0
    assert [run.outcome for run in store.runs()] == ["done"] * 8
    store.close()


def test_everything_is_stamped_by_the_clock_of_the_database(server: HranaServer) -> None:
    """Hosts whose clocks differ write into one database, and its stamps are compared with each other."""
    server.control(ahead=3 * 3600)
    source = source_of(20)
    store = LibsqlStore(server.url("vectors"), table="things")
    pipeline = simple_pipeline(source, store)
    sync(pipeline)
    sync(pipeline)
    for key in range(15):
        del source.rows[key]
    with pytest.raises(DeletionGuard):
        sync(pipeline)
    store.save_evaluation({"recall": 1.0})
    refusal, stamps = rows_of(pipeline).refusal(), [each.at for each in rows_of(pipeline).written([16, 17]).values()]
    assert refusal is not None
    stamps += [refusal.since, store.evaluations()[0].made_at, store.generations(pipeline.spec)[0].since]
    for run in store.runs():
        stamps += [run.started_at, run.ended_at]
    there = store.now()
    assert there - clocks.here() > dt.timedelta(hours=2)
    assert all(at is not None and dt.timedelta() <= there - at < dt.timedelta(minutes=5) for at in stamps)
    store.close()
