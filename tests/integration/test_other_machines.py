"""Many machines have one host name: who works on another one is not taken for dead, and loses no lock."""

from __future__ import annotations

import socket
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from rowvec.errors import Locked
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.libsql.local import LocalDatabase
from rowvec.stores.postgres import connect
from rowvec.stores.postgres.store import PostgresStore
from rowvec.support.processes import place
from tests.support import ended, forked, simple_pipeline

HERE = place()


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    child = forked(lambda: None)
    ended(child)
    return child


def elsewhere() -> str:
    """A machine with the name of this one, and another boot."""
    host, _, processes = HERE.split(" ", 2)
    assert host == socket.gethostname()
    return f"{host} {uuid4()} {processes}"


def lease(path: Path, machine: str, pid: int) -> None:
    database = LocalDatabase(str(path))
    database.query(
        "insert or replace into rowvec_locks values ('things', 'token', ?, ?, 'a process elsewhere', '2026-01-01',"
        " julianday('now') * 86400.0)",
        (machine, pid),
    )
    database.close()


def test_a_lease_of_another_machine_with_the_same_name_holds(tmp_path: Path, gone: int) -> None:
    path = tmp_path / "vectors.db"
    store = LibsqlStore(str(path), table="things")
    store.prepare(simple_pipeline().spec)
    store.close()
    lease(path, elsewhere(), gone)
    with pytest.raises(Locked, match="a process elsewhere"), LibsqlStore(str(path), table="things").lock():
        pass
    lease(path, HERE, gone)
    with LibsqlStore(str(path), table="things").lock():
        pass


def test_a_session_of_another_machine_with_the_same_name_keeps_its_lock(
    postgres_url: str, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(postgres_url, "things", pipeline="things", index=None)
    names = [connect._process(gone)]
    with monkeypatch.context() as there:
        there.setattr(connect, "place", elsewhere)
        names.insert(0, connect._process(gone))
    other = psycopg.connect(postgres_url, autocommit=True)
    other.execute("select pg_advisory_lock(hashtextextended('public.things', 0))")
    other.execute("select set_config('application_name', %s, false)", [f"{names[0]}, sync things"])
    with pytest.raises(Locked, match=f"at work: rowvec pid {gone} on "), store.lock():
        pass
    assert other.execute("select 1").fetchone() == (1,), "the session of the other machine goes on"
    other.execute("select set_config('application_name', %s, false)", [f"{names[1]}, sync things"])
    with store.lock():
        pass
    with pytest.raises(psycopg.OperationalError):
        other.execute("select 1")
    store.close()
