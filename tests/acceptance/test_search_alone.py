"""Searching needs the vectors and the model that made them: neither the rows nor the model of the config."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests import forks
from tests.integration.celery_rig import wait_for
from tests.support_tiny_models import tiny_model

pytestmark = pytest.mark.slow

ROWS = [(1, "the cat", 3.0), (2, "the dog", 5.0), (3, "the red mat", 8.0)]
SOURCES = ["sqlite", "files", "postgres"]


class Project:
    """Synced, and then without its rows."""

    def __init__(self, folder: Path, kind: str, store: str, database: str) -> None:
        self.folder, self.kind, self.store, self.database = folder, kind, store, database
        tiny_model(folder / "old", seed=1)
        self.configure("./old")
        self._fill()
        self.run("sync")

    def configure(self, model: str, source: str = "") -> None:
        sources = {
            "sqlite": 'kind = "sql", url = "sqlite:///shop.db", table = "things", key = "id"',
            "files": 'paths = "things.csv", kind = "files", key = "id"',
            "postgres": f'kind = "sql", url = "{self.database}", table = "things", key = "id"',
        }
        (self.folder / "rowvec.toml").write_text(
            f"""
            [pipelines.things]
            source = {{ {source or sources[self.kind]} }}
            text = {{ template = "{{{{ name }}}}" }}
            embedder = {{ kind = "local", model = "{model}", workers = 1, cache_dir = "./cache" }}
            store = {{ {self.store}, metadata = ["price"] }}
            """
        )

    def _fill(self) -> None:
        if self.kind == "sqlite":
            with closing(sqlite3.connect(self.folder / "shop.db")) as database, database:
                database.execute("create table things (id integer primary key, name text, price real)")
                database.executemany("insert into things values (?, ?, ?)", ROWS)
        elif self.kind == "files":
            lines = ["id,name,price", *(",".join(map(str, row)) for row in ROWS)]
            (self.folder / "things.csv").write_text("\n".join(lines) + "\n")
        else:
            with psycopg.connect(self.database) as connection:
                connection.execute("create table things (id int primary key, name text, price float8)")
                connection.cursor().executemany("insert into things values (%s, %s, %s)", ROWS)

    def lose_rows(self) -> None:
        if self.kind == "postgres":
            self.configure("./old", 'kind = "sql", url = "postgresql://me@127.0.0.1:1/x", table = "things", key = "id"')
        else:
            for name in ("shop.db", "things.csv"):
                if (self.folder / name).exists():
                    (self.folder / name).rename(self.folder / "moved")

    def run(self, *words: str, expect: int = 0) -> str:
        done = forks.run("rowvec.cli.main", *words, cwd=self.folder, env=os.environ)
        assert done.returncode == expect, done.stderr + done.stdout
        return done.stdout if expect == 0 else done.stderr

    def found(self, *words: str) -> list[Any]:
        return [hit["id"] for hit in json.loads(self.run(*words, "--json"))["results"]]

    @contextmanager
    def served(self) -> Iterator[httpx.Client]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = forks.start(
            "rowvec.cli.main", "serve", "--port", str(port),
            cwd=self.folder, env=os.environ, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                wait_for(lambda: process.poll() is not None or lives(client), "the server answers")
                assert process.poll() is None, process.communicate()[1]
                yield client
        finally:
            process.terminate()
            process.communicate()


def lives(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def make(tmp_path: Path, postgres_url: str) -> Callable[[str, str], Project]:
    def make(kind: str, store: str) -> Project:
        where = f'kind = "postgres", url = "{postgres_url}"' if store == "postgres" else 'kind = "libsql", url = "v.db"'
        return Project(tmp_path, kind, where, postgres_url)

    return make


@pytest.mark.parametrize("store", ["postgres", "libsql"])
@pytest.mark.parametrize("kind", SOURCES)
def test_without_the_rows(make: Callable[[str, str], Project], kind: str, store: str) -> None:
    project = make(kind, store)
    project.lose_rows()
    assert project.found("search", "the dog", "--limit", "1") == [2]
    assert project.found("search", "the dog", "--where", "price > 4", "--mode", "hybrid")[0] == 2
    assert sorted(project.found("similar", "1")) == [2, 3]
    with project.served() as client:
        assert client.get("/search", params={"query": "the cat", "limit": 1}).json()["results"][0]["id"] == 1
        assert client.get("/search/similar/1").status_code == 200
        reply = client.get("/status")
        assert (reply.status_code, reply.json()["error"]["message"]) == (
            503, "The source of the rows does not answer now.",
        )  # fmt: skip
    assert "Traceback" not in project.run("sync", expect=1)


def test_while_the_rows_are_locked(make: Callable[[str, str], Project]) -> None:
    project = make("sqlite", "libsql")
    with closing(sqlite3.connect(project.folder / "shop.db")) as other:
        other.execute("begin exclusive")
        assert project.found("search", "the dog", "--limit", "1") == [2]


def test_without_the_model_of_the_config(make: Callable[[str, str], Project]) -> None:
    project = make("sqlite", "libsql")
    project.configure("./not-there-yet")
    assert project.found("search", "the dog", "--limit", "1") == [2]
    with project.served() as client:
        assert client.get("/search", params={"query": "the cat", "limit": 1}).json()["results"][0]["id"] == 1


def test_without_any_model_words_and_rows_are_found(make: Callable[[str, str], Project]) -> None:
    project = make("sqlite", "libsql")
    os.rename(project.folder / "old", project.folder / "gone")
    assert project.found("search", "dog", "--mode", "keyword") == [2]
    assert sorted(project.found("similar", "1")) == [2, 3]
    assert "Traceback" not in project.run("search", "the dog", expect=1)


@pytest.mark.parametrize("store", ["postgres", "libsql"])
def test_facets_pages_and_browsing_on_the_command_line(make: Callable[[str, str], Project], store: str) -> None:
    project = make("sqlite", store)
    said = json.loads(project.run("search", "the dog", "--limit", "1", "--facet", "price", "--json"))
    assert (said["total"], said["facets"]["scope"], said["facets"]["columns"]["price"]["max"]) == (3, "all rows", 8.0)
    after = project.found("search", "the dog", "--limit", "2", "--after", said["next"])
    assert [2, *after] == project.found("search", "the dog")
    assert after == project.found("search", "the dog", "--offset", "1")
    assert project.found("search", "--order", "price desc", "--limit", "2") == [3, 2]
    shown = project.run("search", "--where", "price > 4", "--facet", "price")
    assert "2 rows pass the filter:" in shown
    assert "from 5 to 8, mean 6.5" in shown
    assert "Did you mean 'price'?" in project.run("search", "dog", "--facet", "prise", expect=2)
    assert "is not a cursor" in project.run("search", "dog", "--after", said["next"][:-3], expect=2)
    assert "needs a query" in project.run("search", "--distinct", "price", expect=2)


def test_a_metadata_column_that_no_sync_has_seen_is_looked_for_in_the_source(
    make: Callable[[str, str], Project],
) -> None:
    project = make("sqlite", "libsql")
    config = project.folder / "rowvec.toml"
    config.write_text(config.read_text().replace('["price"]', '["price", "colour"]'))
    assert "colour" in project.run("search", "the dog", expect=2)
