"""A bad network between rowvec and everything it talks to: a sync survives it or fails clearly, and the next completes.

Nothing may hang: each sync here ends by itself, well within the test's own time limit.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from rowvec.embedders.base import Embedder
from rowvec.embedders.openai.client import OpenAIEmbedder
from rowvec.errors import Locked, RowvecError, StoreUnavailable
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.sql import SqlSource
from rowvec.stores.base import Store
from rowvec.stores.libsql import LibsqlStore, lease
from rowvec.stores.libsql.remote import RemoteDatabase
from rowvec.stores.postgres import connect
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.runs import Report
from rowvec.support.retry import KEEPALIVES, patiently
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from tests.integration.celery_rig import BROKERS, many, need, project, wait_for
from tests.servers import proxy as proxies
from tests.servers.hrana import serving
from tests.servers.openai import EmbeddingServer
from tests.servers.proxy import Proxy
from tests.support import defaults_of, over_tcp, rows_of, simple_pipeline, vectors_match_rows
from tests.torture import Faults, error_of, tried

pytestmark = pytest.mark.slow

ROWS = {key: f"row {key}" for key in range(1, 201)}
PATIENCE = 2.0


@dataclass
class Rig:
    """A pipeline one of whose links goes through a proxy."""

    proxy: Proxy
    open: Callable[[], Pipeline]


def unix_socket(url: str) -> str:
    parts = conninfo_to_dict(url)
    return f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"


def fill(run: Callable[..., object]) -> None:
    run("create table things (id integer primary key, name text, price integer)")
    for key, name in ROWS.items():
        run(f"insert into things values ({key}, '{name}', 1)")


@contextmanager
def opened(
    rows: str, store: Callable[[], Store], embedder: Callable[[], Embedder] | None = None
) -> Iterator[Callable[[], Pipeline]]:
    """What opens the same pipeline again each time; all of them are closed at the end."""
    made: list[Pipeline] = []

    def again() -> Pipeline:
        source = SqlSource(rows, table="things", key="id")
        model = embedder() if embedder else HashEmbedder(chunk_texts=20)
        made.append(simple_pipeline(source, store(), model, page_size=50))
        return made[-1]

    yield again
    for pipeline in made:
        pipeline.close()


@pytest.fixture
def sqlite_rows(quick_folder: Path) -> str:
    with closing(sqlite3.connect(quick_folder / "rows.db")) as database, database:
        fill(database.execute)
    return f"sqlite:///{quick_folder / 'rows.db'}"


@pytest.fixture(params=["postgres-store", "postgres-source", "libsql-http", "embedding-api"])
def rig(request: pytest.FixtureRequest, sqlite_rows: str, quick_folder: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        enter = stack.enter_context
        if request.param == "postgres-store":
            url = request.getfixturevalue("postgres_url")
            proxy = enter(Proxy(unix_socket(url)))
            through = over_tcp(url, "127.0.0.1", proxy.port)
            again = enter(opened(sqlite_rows, lambda: PostgresStore(through, "vectors", pipeline="things")))
        elif request.param == "postgres-source":
            url = request.getfixturevalue("postgres_url")
            with psycopg.connect(url, autocommit=True) as connection:
                fill(connection.execute)
            proxy = enter(Proxy(unix_socket(url)))
            through = over_tcp(url, "127.0.0.1", proxy.port)
            again = enter(opened(through, lambda: PostgresStore(url, "vectors", pipeline="things")))
        elif request.param == "libsql-http":
            server = enter(serving(quick_folder))
            proxy = enter(Proxy(("127.0.0.1", server.port)))
            address = proxy.through(server.url("vectors"))
            again = enter(opened(sqlite_rows, lambda: LibsqlStore(address, table="vectors")))
        else:
            model = enter(EmbeddingServer(dimension=8))
            proxy = enter(Proxy(("127.0.0.1", int(model.url.split(":")[2].split("/")[0]))))
            path = str(quick_folder / "vectors.db")
            again = enter(
                opened(sqlite_rows, lambda: LibsqlStore(path, table="vectors"), lambda: _api(proxy.through(model.url)))
            )
        enter(proxy_closed_first(proxy))
        yield Rig(proxy, again)


@contextmanager
def proxy_closed_first(proxy: Proxy) -> Iterator[None]:
    """A test that failed must not have its pipelines wait for a silent proxy when they are closed."""
    yield
    proxy.silent = False


def _api(url: str) -> OpenAIEmbedder:
    return OpenAIEmbedder(
        "text-embedding-3-small", base_url=url, api_key="test-key", dimensions=8, batch_size=20, timeout=0.5,
        max_tries=2, backoff=0.01,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a minute takes a second or two here."""
    monkeypatch.setitem(defaults_of(patiently), "patience", PATIENCE)
    monkeypatch.setitem(defaults_of(RemoteDatabase.__init__), "timeout", 0.5)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 2.0)


def completes(rig: Rig) -> None:
    """A sync over a network that is good again finds everything in order, or brings it there."""
    with pytest.MonkeyPatch.context() as patient:
        # Nothing here is meant to be late any more: a busy machine must not look like a network that is gone.
        patient.setitem(defaults_of(patiently), "patience", 60.0)
        patient.setitem(defaults_of(RemoteDatabase.__init__), "timeout", 10.0)
        finds_everything(rig)


def finds_everything(rig: Rig) -> None:
    pipeline = rig.open()
    while isinstance(error := error_of(lambda: sync(pipeline)), Locked):
        # A lease that could not be given back runs out.
        time.sleep(0.2)
    assert error is None, error
    if rows_of(pipeline).failures():
        sync(pipeline, Options(retry_failed=True))
    vectors_match_rows(pipeline, ROWS)
    assert sync(pipeline).texts == 0


@pytest.mark.parametrize(("delay", "piece"), [(0.003, 65_536), (0.0005, 700)], ids=["delay", "slow bytes"])
def test_a_slow_network_costs_time_and_nothing_else(rig: Rig, delay: float, piece: int, faults: Faults) -> None:
    tried(faults, "network: every packet late" if piece > 1000 else "network: slow bytes")
    rig.proxy.delay, rig.proxy.piece = delay, piece
    pipeline = rig.open()
    report = sync(pipeline)
    assert (report.inserted, report.failed, report.conflicts) == (len(ROWS), 0, 0)
    rig.proxy.delay = 0.0
    vectors_match_rows(pipeline, ROWS)


@pytest.mark.parametrize("after", [1_000, 9_000])
def test_a_cut_is_survived_or_said(rig: Rig, after: int, faults: Faults) -> None:
    tried(faults, "network: connections cut")
    pipeline = rig.open()
    rig.proxy.cut_after = after
    error = error_of(lambda: sync(pipeline))
    assert error is None or (error.transient and ("not answer" in error.message or "fails" in error.message)), error
    rig.proxy.cut_after = None
    completes(rig)


def test_a_network_that_is_gone_for_good_is_said_and_nothing_is_lost(rig: Rig, faults: Faults) -> None:
    tried(faults, "network: refused for good")
    pipeline = rig.open()
    rig.proxy.cut_after = 6_000

    def refuse(report: Report) -> None:
        rig.proxy.refusing = rig.proxy.refusing or rig.proxy.cuts > 0

    error = error_of(lambda: sync(pipeline, progress=refuse, patience=PATIENCE))
    assert error is None or (error.transient and (error.hint or "127.0.0.1" in error.message)), error
    assert rig.proxy.cuts == 1
    rig.proxy.refusing = False
    completes(rig)


def test_a_connection_that_falls_silent_is_given_up(rig: Rig, request: pytest.FixtureRequest, faults: Faults) -> None:
    """PostgreSQL is another matter: a server may work for an hour on a statement; see the test of a vanished host."""
    if "postgres" in request.node.callspec.params["rig"]:
        pytest.skip("a proxy cannot play a vanished host to PostgreSQL")
    tried(faults, "network: half-open")
    pipeline = rig.open()
    silenced: list[Any] = []

    def silence(report: Report) -> None:
        if not silenced:
            silenced.append(report)
            rig.proxy.silent = True

    began = time.monotonic()
    with pytest.raises(RowvecError) as caught:
        # An embedding service is waited for; what is shown here is that silence is noticed at all.
        sync(pipeline, progress=silence, patience=5)
    assert caught.value.transient
    assert time.monotonic() - began < 60
    rig.proxy.silent = False
    rig.proxy.cut()
    completes(rig)


# A host that vanished: no packet comes back, not even that the connection is closed.


@contextmanager
def vanishing_host(target: str) -> Iterator[tuple[str, int, Callable[[], object]]]:
    """A host of its own before a Unix socket; address, port, and what makes it vanish."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("to make a host vanish takes root and the program ip")
    name = f"rv{uuid4().hex[:6]}"
    ours, theirs = "10.213.77.1", "10.213.77.2"
    inside = ["ip", "netns", "exec", name]
    commands = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name],
        ["ip", "addr", "add", f"{ours}/30", "dev", f"{name}a"],
        ["ip", "link", "set", f"{name}a", "up"],
        [*inside, "ip", "addr", "add", f"{theirs}/30", "dev", f"{name}b"],
        [*inside, "ip", "link", "set", f"{name}b", "up"],
    ]
    try:
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no network namespace can be made here: {done.stderr.strip()}")
        command = [*inside, sys.executable, proxies.__file__, target, "--host", theirs]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield theirs, port, lambda: subprocess.run([*inside, "ip", "addr", "flush", "dev", f"{name}b"], check=True)
            process.kill()
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
        subprocess.run(["ip", "link", "del", f"{name}a"], capture_output=True)


@pytest.mark.parametrize("part", ["source", "store"])
def test_a_database_whose_host_vanished_is_given_up(
    part: str, postgres_url: str, sqlite_rows: str, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    tried(faults, "network: host vanished")
    for name, value in {"keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 2}.items():
        monkeypatch.setitem(KEEPALIVES, name, value)
    monkeypatch.setitem(KEEPALIVES, "tcp_user_timeout", 3000)
    monkeypatch.setattr(connect, "CONNECT_TIMEOUT", 2)
    with vanishing_host(unix_socket(postgres_url)) as (host, port, vanish):
        distant = over_tcp(postgres_url, host, port)
        if part == "source":
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                fill(connection.execute)
        rows, vectors = (distant, postgres_url) if part == "source" else (sqlite_rows, distant)
        with opened(rows, lambda: PostgresStore(vectors, "vectors", pipeline="things")) as again:
            pipeline = again()
            gone: list[Report] = []

            def lose(report: Report) -> None:
                if not gone:
                    gone.append(report)
                    vanish()

            with pytest.raises(RowvecError) as caught:
                sync(pipeline, progress=lose)
            assert caught.value.transient
    near = postgres_url if part == "source" else sqlite_rows
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'rowvec%'"
        )
    with opened(near, lambda: PostgresStore(postgres_url, "vectors", pipeline="things")) as again:
        pipeline = again()
        sync(pipeline)
        vectors_match_rows(pipeline, ROWS)


def test_a_port_where_nobody_listens_is_said_at_once(sqlite_rows: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with opened(sqlite_rows, lambda: PostgresStore(f"postgresql://u@127.0.0.1:{port}/d", "v", pipeline="p")) as again:
        pipeline = again()
        with pytest.raises(StoreUnavailable, match=r"Is the server running"):
            sync(pipeline)


def test_a_fleet_whose_broker_is_cut_off_again_and_again(
    state_folder: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    rows = many(600)
    need("redis")
    with Proxy(("127.0.0.1", BROKERS["redis"][1])) as proxy, EmbeddingServer(dimension=8, latency=0.1) as model:
        monkeypatch.setitem(BROKERS, "redis", (f"redis://127.0.0.1:{proxy.port}/9", proxy.port))
        with project(state_folder, postgres_url, "redis") as made:
            made.configure(model.url)
            made.write_rows(rows)
            made.start_worker()
            fleet = made.start("sync", "--workers", "celery")
            wait_for(lambda: len(made.vectors()) > 50, "the fleet is at work")
            for _ in range(3):
                tried(faults, "network: broker cut off")
                proxy.cut()
                time.sleep(0.5)
            if fleet.wait(200) != 0:
                said = (state_folder / "sync-1.log").read_text()
                assert "does not answer" in said
                assert "Traceback" not in said
            made.fleet()
            made.vectors_match(rows)
