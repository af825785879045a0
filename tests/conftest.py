"""Servers and data for every test; one embedded PostgreSQL a session, one database a test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from rowvec.stores.postgres.embedded import embedded_url, stop_embedded
from tests.models import models
from tests.torture import faults, pytest_collection_modifyitems, pytest_terminal_summary

pytest.register_assert_rewrite("rowvec.testing.contract", "tests.differential.case", "tests.differential.steps")

__all__ = ["faults", "models", "pytest_collection_modifyitems", "pytest_terminal_summary"]

ROOT = Path(__file__).parents[1]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Of a shell that runs this in the background; what the tests start would take no Ctrl-C either.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def errors_without_tracebacks() -> Iterator[None]:
    """What `--verbose` of a command in this process sets, for it and for those that it starts, ends with its test."""
    yield
    os.environ.pop("ROWVEC_VERBOSE", None)


@pytest.fixture
def state_folder() -> Iterator[Path]:
    """A folder for an embedded server of the test's own."""
    with TemporaryDirectory(prefix="rowvec-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
        stop_embedded(Path(folder))


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where the system has one, for tests that write much and try no power cut."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(prefix="rowvec-test-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """URL of an embedded PostgreSQL that forgets what it wrote when it crashes, because tests need no more.

    Or of the server that ROWVEC_TEST_SERVER names: one with pgvector, as its superuser.
    """
    if given := os.environ.get("ROWVEC_TEST_SERVER"):
        yield given
        return
    with TemporaryDirectory(prefix="rowvec-test-", ignore_cleanup_errors=True) as folder:
        yield embedded_url(Path(folder), durable=False)
        stop_embedded(Path(folder))


EMPTY = """
do $$ declare name text; begin
    perform pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid();
    for name in select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' loop
        execute format('drop schema %I cascade', name);
    end loop;
    drop extension if exists vector cascade;
    create schema public;
    grant usage on schema public to public;
end $$
"""


@pytest.fixture(scope="session")
def shared_database(server: str) -> str:
    """URL of the one database that tests use in turn: emptying it is ten times faster than making another."""
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    return urlsplit(server)._replace(path=f"/{name}").geturl()


@pytest.fixture
def postgres_url(shared_database: str) -> str:
    """URL of a database with nothing in it, this test's alone until it ends."""
    with psycopg.connect(shared_database, autocommit=True) as connection:
        connection.execute(EMPTY)
    return shared_database


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; its tests skip where it is absent."""
    folder = Path(os.environ.get("ROWVEC_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the test data is not at {folder}; set ROWVEC_TEST_DATA")
    return folder
