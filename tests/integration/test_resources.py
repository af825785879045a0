"""Too little of something: disk, connections, memory, a right clock; and too much of something: rows that fail, text,
columns. A sync says so or copes, and the next one completes."""

from __future__ import annotations

import datetime as dt
import os
import resource
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from rowvec.documents.text import Documents, build_recipe
from rowvec.errors import StoreError, StoreUnavailable
from rowvec.pipeline import Options
from rowvec.sources.sql import SqlSource
from rowvec.stores.base import Store
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.embedded import embedded_url, stop_embedded
from rowvec.stores.postgres.store import PostgresStore
from rowvec.support.retry import patiently
from rowvec.syncing.plan import Circumstances, plan
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource
from rowvec.types import Column, ColumnType, Document, Embedded, PastFailure, Reason, Stored
from tests.acceptance.shop import Shop
from tests.servers.openai import EmbeddingServer
from tests.support import as_role, digest, in_child, rows_of, simple_pipeline, vectors_match_rows
from tests.torture import Faults, tried

pytestmark = pytest.mark.slow

SRC = Path(__file__).parents[2] / "src" / "rowvec"

# Disk


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A disk of this many MiB, mounted at `folder`."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0777", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("to mount a small disk takes root and the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(folder: Path, *, leave: int) -> Path:
    """A file that takes all room but this many bytes."""
    ballast = folder / "ballast"
    room = os.statvfs(folder)
    ballast.write_bytes(b"x" * max(0, room.f_bavail * room.f_frsize - leave))
    return ballast


MANY = {key: f"row {key}" for key in range(3000)}


def test_a_libsql_file_on_a_full_disk(tmp_path: Path, faults: Faults) -> None:
    tried(faults, "disk full: libSQL file")
    with small_disk(tmp_path / "disk", 32) as disk:
        pipeline = simple_pipeline(
            store=LibsqlStore(str(disk / "vectors.db"), table="vectors"), embedder=HashEmbedder(384), rows=MANY
        )
        sync(pipeline, Options(limit=100))
        ballast = fill_up(disk, leave=1_000_000)
        with pytest.raises(StoreError, match=r"disk is full|refused to read or write") as caught:
            sync(pipeline)
        assert caught.value.hint is not None
        assert "room" in caught.value.hint or "space" in caught.value.hint
        assert len(rows_of(pipeline).keys(None, 10_000)) >= 100, "what was stored is still there"
        ballast.unlink()
        sync(pipeline)
        vectors_match_rows(pipeline, MANY)
        pipeline.close()


def test_the_embedded_server_on_a_full_disk(state_folder: Path, faults: Faults) -> None:
    tried(faults, "disk full: embedded PostgreSQL")

    def opened() -> Any:
        store = PostgresStore(embedded_url(disk), "vectors", pipeline="things", index=None)
        return simple_pipeline(store=store, embedder=HashEmbedder(384), rows=MANY)

    with small_disk(state_folder / "disk", 256) as disk:
        pipeline = opened()
        sync(pipeline, Options(limit=100))
        ballast = fill_up(disk, leave=600_000)
        with pytest.raises(StoreError) as caught:
            sync(pipeline)
        assert "disk" in caught.value.message or isinstance(caught.value, StoreUnavailable), caught.value
        pipeline.close()
        ballast.unlink()
        pipeline = opened()
        sync(pipeline)
        vectors_match_rows(pipeline, MANY)
        pipeline.close()
        stop_embedded(disk)


# Connections


@pytest.fixture
def limited(postgres_url: str) -> Iterator[str]:
    """URL of a role that may have two connections."""
    role = f"limited_{uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create role {role} login password 'pw' connection limit 2")
        connection.execute("create extension if not exists vector")
        connection.execute(f"grant create on database {connection.info.dbname} to {role}")
        connection.execute(f"grant create on schema public to {role}")
        yield as_role(postgres_url, role, "pw")
        connection.execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = %s", [role])
        connection.execute(f"drop owned by {role}")
        connection.execute(f"drop role {role}")


def test_two_connections_are_enough(limited: str) -> None:
    rows = {key: f"row {key}" for key in range(50)}
    pipeline = simple_pipeline(store=PostgresStore(limited, "vectors", pipeline="things"), rows=rows)
    sync(pipeline)
    vectors_match_rows(pipeline, rows)
    pipeline.close()


def test_a_reached_connection_limit_is_waited_for(limited: str, faults: Faults) -> None:
    tried(faults, "connection limit reached for a moment")
    rows = {key: f"row {key}" for key in range(50)}
    pipeline = simple_pipeline(store=PostgresStore(limited, "vectors", pipeline="things"), rows=rows)
    sync(pipeline)
    pipeline.store.close()
    rows |= {key: f"row {key}" for key in range(50, 60)}
    pipeline = simple_pipeline(store=PostgresStore(limited, "vectors", pipeline="things"), rows=rows)
    other = psycopg.connect(limited)
    locked = threading.Event()
    thread = threading.Thread(target=lambda: (locked.wait(30), time.sleep(0.3), other.close()))
    thread.start()
    with pipeline.store.lock():
        locked.set()
        # The writer has the second connection: a reader gets one when the other is closed.
        assert patiently(threading.Event(), pipeline.store.ledger).filled
    thread.join()
    sync(pipeline)
    vectors_match_rows(pipeline, rows)
    pipeline.close()


def test_a_reached_connection_limit_is_said(limited: str, faults: Faults) -> None:
    tried(faults, "connection limit reached for good")
    with psycopg.connect(limited), psycopg.connect(limited):
        pipeline = simple_pipeline(store=PostgresStore(limited, "vectors", pipeline="things"), rows={1: "row"})
        with pytest.raises(StoreUnavailable, match=r"too many connections for role"):
            sync(pipeline)
    sync(pipeline)
    vectors_match_rows(pipeline, {1: "row"})
    pipeline.close()


# Memory


def allow_memory(more: int) -> None:
    """This many bytes more than this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class Forgetful(HashEmbedder):
    """Keeps no list of what it embedded."""

    def embed(self, texts: Sequence[str]) -> Embedded:
        answer = super().embed(texts)
        self.texts.clear()
        return answer


def write_wide_rows(path: Path, count: int, size: int) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table things (id integer primary key, name text, price integer)")
        for key in range(count):
            database.execute("insert into things values (?, ?, 1)", (key, f"{key} " * (size // len(f"{key} "))))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("count", "memory"),
    [(150, 400), pytest.param(1000, 600, marks=[pytest.mark.torture, pytest.mark.timeout(1200)])],
)
def test_memory_does_not_grow_with_the_text(count: int, memory: int, tmp_path: Path, faults: Faults) -> None:
    """Rows of a megabyte each, of which a sync holds a few copies on the way, in less memory than all of them take."""
    tried(faults, f"{count} MB of text in less memory")
    write_wide_rows(tmp_path / "rows.db", count, 1_000_000)

    def work() -> None:
        allow_memory(memory * 2**20)
        source = SqlSource(f"sqlite:///{tmp_path / 'rows.db'}", table="things", key="id")
        store = LibsqlStore(str(tmp_path / "vectors.db"), table="vectors")
        plain = simple_pipeline(source, store, Forgetful())
        pipeline = replace(plain, spec=replace(plain.spec, language=None))
        assert sync(pipeline).inserted == count

    assert in_child(work) == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_sync_that_runs_out_of_memory_loses_nothing(tmp_path: Path, faults: Faults) -> None:
    tried(faults, "out of memory")
    rows = {1: "small", 2: "x" * 200_000_000, 3: "small too"}
    path = str(tmp_path / "vectors.db")

    def work() -> None:
        allow_memory(150 * 2**20)
        sync(simple_pipeline(store=LibsqlStore(path, table="vectors"), rows=rows))

    # Who notices first is chance: Python, when it needs a value or a thread, or the engine, which ends the process. Or
    # what the row itself needs, which fails that row alone.
    assert in_child(work) in (0, 3, 1, -signal.SIGABRT)
    pipeline = simple_pipeline(store=LibsqlStore(path, table="vectors"), rows=rows | {2: "shorter now"})
    sync(pipeline)
    vectors_match_rows(pipeline, rows | {2: "shorter now"})
    pipeline.close()


class SmallShop(Shop):
    """Its commands have 250 MB of memory beyond what they start with."""

    def _become(self, arguments: Sequence[str], streams: Sequence[Path]) -> None:
        super()._become(arguments, streams)
        allow_memory(250 * 2**20)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_command_that_runs_out_of_memory_says_so(tmp_path: Path) -> None:
    with EmbeddingServer(dimension=8) as model:
        shop = SmallShop(tmp_path, {"MODEL_URL": model.url})
        shop.declare(
            embedder='kind = "openai", model = "text-embedding-3-small", base_url = "${MODEL_URL}", dimensions = 8,'
            ' api_key = "test-key"',
            store='kind = "libsql", url = "vectors.db", table = "vectors"',
        )
        shop.stock(3)
        shop.sql("update products set description = ? where id = 2", ("x" * 300_000_000,))
        done = shop.run("sync")
        assert done.code == 1
        assert "no memory left" in done.err
        assert "Traceback" not in done.err
        shop.sql("update products set description = 'shorter' where id = 2")
        assert shop.run("sync").code == 0


# Clocks


def test_a_failure_is_tried_again_although_the_clock_was_put_back(faults: Faults) -> None:
    """A next try further away than any failure waits comes from a clock that was wrong."""
    tried(faults, "clock put back")
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    document = Document(1, "text", (), digest("text"), digest(""))
    past = PastFailure(document.text_hash, 3, now + dt.timedelta(days=365))
    (change,) = plan([document], {1: Stored(None, None, past)}, Circumstances(now))
    assert change.reason is Reason.RETRY
    soon = past._replace(next_try=now + dt.timedelta(hours=23))
    (change,) = plan([document], {1: Stored(None, None, soon)}, Circumstances(now))
    assert change.reason is Reason.WAITING


@pytest.mark.parametrize("jump", [-3600, 3600], ids=["back", "forward"])
def test_a_lease_from_before_the_clock_jumped_does_not_lock_for_long(
    tmp_path: Path, jump: int, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    tried(faults, "clock put back" if jump < 0 else "clock put forward")
    store = LibsqlStore(str(tmp_path / "vectors.db"), table="vectors")
    pipeline = simple_pipeline(store=store, rows={1: "row"})
    sync(pipeline)
    # As another machine left it that died, by the clock of an hour ago or of an hour ahead.
    with store.lock():
        store._database.transact(
            [("update rowvec_locks set place = 'elsewhere', token = 'gone', beat = beat - ?", (jump,))]  # type: ignore[list-item]
        )
    assert sync(pipeline).unchanged == 1
    pipeline.close()


def test_waiting_and_giving_up_go_by_a_clock_that_never_jumps() -> None:
    """Only what is a date for people, or comes from one, is read from the clock on the wall."""
    readers = {
        str(path.relative_to(SRC)) for path in SRC.rglob("*.py") if "time.time()" in path.read_text(encoding="utf-8")
    }
    # Retry-After may be a date; a task says when it was asked for and when it began; a file has the age that it has.
    tasks = {"serve/routes/tasks.py", "workers/jobs.py", "workers/queue.py"}
    # A token is valid until a date; a log says when something was asked, and is read since a date.
    dates = {"api/tokens.py", "evaluation/asked.py", "evaluation/query_log.py"}
    services = {"embedders/openai/refusals.py", "api/remote.py"}
    assert readers <= tasks | dates | services | {"embedders/local/convert.py"}


# Numbers


@pytest.mark.parametrize("kind", ["postgres", "libsql"])
def test_ten_thousand_failures_are_kept_and_made_good(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, faults: Faults
) -> None:
    tried(faults, "10,000 rows that fail")
    rows = {key: f"row {key}" for key in range(10_000)}
    if kind == "postgres":
        store: Store = PostgresStore(request.getfixturevalue("postgres_url"), "vectors", pipeline="things", index=None)
    else:
        store = LibsqlStore(str(tmp_path / "vectors.db"), table="vectors")
    embedder = HashEmbedder(chunk_texts=8)
    embedder.refused = set(rows.values())
    pipeline = simple_pipeline(store=store, embedder=embedder, rows=rows)
    assert sync(pipeline).failed == 10_000
    assert len(rows_of(pipeline).failures()) == 10_000
    assert rows_of(pipeline).status().failures == 10_000
    assert sync(pipeline).waiting == 10_000
    embedder.refused.clear()
    report = sync(pipeline, Options(retry_failed=True))
    assert (report.inserted, report.failed) == (10_000, 0)
    assert rows_of(pipeline).failures() == []
    assert rows_of(pipeline).count() == 10_000
    pipeline.close()


@pytest.mark.parametrize("kind", ["postgres", "libsql-file"])
def test_a_thousand_columns(kind: str, request: pytest.FixtureRequest, tmp_path: Path, faults: Faults) -> None:
    """All of them in the text, and as many kept beside the vectors as a row of the database has room for."""
    tried(faults, "1,000 columns")
    names = [f"column_{number}" for number in range(1000)]
    values = {key: {name: f"{name} of {key}" for name in names} for key in range(120)}
    source = MemorySource(values)
    recipe = build_recipe(source.columns, "id", columns="*")
    metadata = tuple(Column(name, ColumnType.TEXT) for name in names[: 250 if kind == "postgres" else 900])
    if kind == "postgres":
        store: Store = PostgresStore(request.getfixturevalue("postgres_url"), "vectors", pipeline="things")
    else:
        store = LibsqlStore(str(tmp_path / "vectors.db"), table="vectors")
    plain = simple_pipeline(source, store)
    pipeline = replace(
        plain, to_document=Documents(recipe, metadata), text_columns=recipe.columns,
        spec=replace(plain.spec, metadata=metadata),
    )  # fmt: skip
    assert sync(pipeline).inserted == 120
    values[7]["column_3"] = source.rows[7]["column_3"] = "changed"
    assert sync(pipeline).embedded == 1
    assert rows_of(pipeline).metadata([7])[7]["column_3"] == "changed"
    assert sync(pipeline).written == 0
    pipeline.close()


def test_metadata_that_no_row_has_room_for_is_listed_and_the_vector_kept(postgres_url: str) -> None:
    names = [f"column_{number}" for number in range(600)]
    source = MemorySource({1: {name: f"{name} of a row" for name in names}})
    store = PostgresStore(postgres_url, "vectors", pipeline="things")
    metadata = tuple(Column(name, ColumnType.TEXT) for name in names)
    plain = simple_pipeline(source, store)
    recipe = build_recipe(source.columns, "id", columns=["column_1"])
    pipeline = replace(plain, to_document=Documents(recipe, metadata), spec=replace(plain.spec, metadata=metadata))
    report = sync(pipeline)
    assert (report.inserted, report.failed, report.unfit) == (1, 0, 600)
    listed = rows_of(pipeline).unfit(limit=1)
    assert "row is too big" in listed[0].reason
    pipeline.close()
