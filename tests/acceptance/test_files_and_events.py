"""Pipelines over files and over change events, as a user runs them on the command line."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import forks
from tests.integration.debezium_rig import lines, put, removed
from tests.servers.openai import EmbeddingServer

pytestmark = pytest.mark.slow

THINGS = {number: f"thing number {number}" for number in range(1, 21)}
MODEL = "text-embedding-3-small"
UNREADABLE_LINE = '{"op": "u", "after"\n'


@dataclass
class Folder:
    """A rowvec.toml, what it reads, and the service that counts what is embedded."""

    path: Path
    server: EmbeddingServer

    def configure(self, source: str) -> None:
        config = f"""
            [pipelines.things]
            source = {source}
            text = {{ columns = ["name"] }}
            store = {{ kind = "libsql", url = "vectors.db", metadata = ["price"] }}

            [pipelines.things.embedder]
            kind = "openai"
            model = "{MODEL}"
            base_url = "{self.server.url}"
            api_key = "test-key"
            dimensions = 64
            """
        (self.path / "rowvec.toml").write_text(textwrap.dedent(config))

    def start(self, *arguments: str) -> forks.Command:
        return forks.start(
            "rowvec.cli.main", *arguments,
            # Elsewhere: paths of the config start beside it.
            cwd=self.path.parent, env={**os.environ, "TIKTOKEN_CACHE_DIR": os.devnull},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, expect: int = 0) -> str:
        """What the command said, on whichever stream."""
        process = self.start(arguments[0], *arguments[1:], "--config", str(self.path))
        out, err = process.communicate()
        assert process.returncode == expect, out + err
        return out if expect == 0 else err

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def sync(self, *arguments: str) -> dict[str, int]:
        """The counts that are not zero."""
        names = ("inserted", "embedded", "updated", "deleted", "unchanged", "failed")
        report = self.json("sync", *arguments)
        return {name: report[name] for name in names if report[name]}

    def embedded(self) -> list[str]:
        """The texts that were paid for since the last time."""
        texts = sorted(self.server.billed_texts.elements())
        self.server.log.clear()
        return texts

    def found(self, query: str) -> list[int]:
        return [hit["id"] for hit in self.json("search", query, "--mode", "keyword")["results"]]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    path = tmp_path / "shop"
    path.mkdir()
    with EmbeddingServer() as server:
        yield Folder(path, server)


def write_csv(path: Path, things: dict[int, str]) -> None:
    path.write_text("id,name,price\n" + "".join(f"{key},{name},{key}.5\n" for key, name in things.items()))


def test_csv_files_are_planned_synced_and_searched(folder: Folder) -> None:
    write_csv(folder.path / "part-1.csv", dict(list(THINGS.items())[:10]))
    write_csv(folder.path / "part-2.csv", dict(list(THINGS.items())[10:]))
    folder.configure('{ kind = "files", paths = "part-*.csv", key = "id", where = "price < 20" }')
    assert "19 rows, key id (integer)" in folder.run("check")
    assert folder.json("plan")["changes"] == {"insert": 19}
    assert folder.sync() == {"inserted": 19}
    assert folder.found("number 7")[0] == 7
    folder.embedded()

    write_csv(folder.path / "part-2.csv", {11: "a red lamp"})
    assert folder.sync() == {"embedded": 1, "deleted": 8, "unchanged": 10}
    assert folder.embedded() == ["name: a red lamp"]
    assert folder.json("status")["coverage"] == 1


def test_a_parquet_file_is_synced(folder: Folder) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {"id": list(THINGS), "name": list(THINGS.values()), "price": [1] * len(THINGS)}
    parquet.write_table(pyarrow.table(table), folder.path / "things.parquet")
    folder.configure('{ kind = "files", paths = "things.parquet", key = "id" }')
    assert folder.sync() == {"inserted": 20}
    assert folder.sync() == {"unchanged": 20}
    assert len(folder.embedded()) == 20
    assert "no change events" in folder.run("watch", expect=2)
    assert "--from-start" in folder.run("sync", "--from-start", expect=2)


class TestEvents:
    @pytest.fixture
    def events(self, folder: Folder) -> Path:
        path = folder.path / "events.jsonl"
        path.write_text(lines([put(key, name, key, "c") for key, name in THINGS.items()]))
        folder.configure('{ kind = "debezium", paths = "events.jsonl", key = "id" }')
        return path

    def test_only_the_row_that_changed_is_embedded(self, folder: Folder, events: Path) -> None:
        assert folder.sync() == {"inserted": 20}
        assert len(folder.embedded()) == 20
        with events.open("a") as file:
            file.write(lines([put(3, "a red lamp", 21), put(4, THINGS[4], 22), removed(5, 23)]))
        assert folder.sync() == {"embedded": 1, "deleted": 1, "unchanged": 1}
        assert folder.embedded() == ["name: a red lamp"]
        assert folder.sync() == {}
        assert folder.found("lamp") == [3]

    def test_a_replay_from_the_start_changes_nothing(self, folder: Folder, events: Path) -> None:
        with events.open("a") as file:
            file.write(lines([put(3, "a red lamp", 21), removed(5, 23)]))
        assert folder.sync() == {"inserted": 19}
        folder.embedded()
        assert folder.json("sync", "--from-start")["read"] == 22
        assert folder.embedded() == []
        assert folder.json("status")["current"] == 19
        assert folder.found("lamp") == [3]

    def test_check_and_status_work_without_a_table_and_plan_says_why_it_does_not(
        self, folder: Folder, events: Path
    ) -> None:
        said = folder.run("check")
        assert "change events, key id (integer)" in said
        assert "name: thing number 1" in said
        assert "which are not planned" in folder.run("plan", expect=2)
        assert folder.json("status")["rows"] == 0
        folder.sync()
        status = folder.json("status")
        assert (status["rows"], status["current"], status["coverage"]) == (20, 20, 1)
        assert "no table to compare with" in folder.run("sync", "--full", expect=2)

    def test_the_table_is_compared_when_asked_for(self, folder: Folder, events: Path) -> None:
        with closing(sqlite3.connect(folder.path / "shop.db")) as database, database:
            database.execute("create table things (id integer primary key, name text, price integer)")
            database.executemany("insert into things values (?, ?, 1)", [*THINGS.items(), (21, "unheard of")])
        rows = 'rows = { kind = "sql", url = "sqlite:///shop.db", table = "things" }'
        folder.configure(f'{{ kind = "debezium", paths = "events.jsonl", key = "id", {rows} }}')
        assert folder.sync() == {"inserted": 20}
        assert folder.json("plan", "--full")["changes"] == {"insert": 1, "unchanged": 20}
        assert folder.sync("--full") == {"inserted": 1, "unchanged": 20}

    def test_watch_follows_until_it_is_stopped(self, folder: Folder, events: Path) -> None:
        folder.sync()
        folder.embedded()
        process = folder.start("watch", "--config", str(folder.path), "--skip-bad", "--json")
        with events.open("a") as file:
            file.write(UNREADABLE_LINE + lines([put(3, "a red lamp", 21)]))
        while not folder.server.requests and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert json.loads(out)["embedded"] == 1
        assert folder.found("lamp") == [3]

    def test_a_line_that_is_no_event_stops_a_sync_and_says_where(self, folder: Folder, events: Path) -> None:
        with events.open("a") as file:
            file.write(UNREADABLE_LINE)
        assert "events.jsonl, line 21" in folder.run("sync", expect=1)
        assert folder.json("status")["current"] == 20
