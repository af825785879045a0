"""Tables that are drawn, with odd values, names and settings, in every pair of source and store.

What is embedded is compared with the texts that the docs promise, and what is stored is read by the bare driver. Each
case has a number; `ROWVEC_NET_SEED` runs that one alone, or a range of them: `120-179`. `ROWVEC_NET_LOG` names a file
that gets a line for each case that failed and for each pair that is done.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psycopg
import pytest

from rowvec import assemble
from rowvec.auditing.audit import audit
from rowvec.config import load
from rowvec.errors import DeletionGuard, RowvecError
from rowvec.pipeline import Options, Pipeline
from rowvec.searcher import Searcher
from rowvec.searcher.candidates import score_of
from rowvec.stores.runs import Report
from rowvec.syncing.preview import preview
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from tests.differential import databases, files
from tests.differential.values import POSTGRES_OWN, Told
from tests.differential.worlds import POSTGRES_SETTINGS, Key, Table, World
from tests.integration.sql_rig import mariadb_database, postgres_database
from tests.torture import TORTURE

pytestmark = pytest.mark.slow

SOURCES = ("sqlite", "postgres", "mariadb", "csv", "tsv", "jsonl", "parquet")
STORES = ("postgres", "libsql")
CASES = 360 if TORTURE else 5
"""Of each pair: 14 pairs are 5,040 cases in the long form."""
DIMENSION = 8
STORE_TABLES = ("net", "net", "Net", "select", "żółć", "a b")
STEPS = ("back", "renamed", "retyped", "rearranged", "damaged")
PLAIN = "-c client_encoding=utf8 -c extra_float_digits=3"


class Net:
    """One source and one store for many cases."""

    def __init__(self, folder: Path, world: World, store: str, store_url: str) -> None:
        self.folder, self.world, self.store = folder, world, store
        self.store_url = store_url
        self.table, self.key = "net", "id"
        self.kept: list[int] = []
        """Places of the columns that are metadata."""

    def declare(self, table: Table, plain: bool, every: bool) -> None:
        """
        Args:
            every: the text has all columns, and none is named.
        """
        names = [name for name, _ in table.columns]
        self.key = table.key
        store: dict[str, Any] = {
            "kind": self.store,
            "table": self.table,
            "metadata": [names[place] for place in self.kept],
        }
        store["url"] = self.store_url if self.store == "postgres" else str(self.folder / "vectors.db")
        parts = {"source": self.world.source(table), "text": self._text(table, names, plain, every), "store": store}
        lines = [f"[pipelines.net.{part}]\n{_toml(settings)}" for part, settings in parts.items()]
        (self.folder / "rowvec.toml").write_text("[pipelines.net]\n" + "\n".join(lines), encoding="utf-8")

    @staticmethod
    def _text(table: Table, names: list[str], plain: bool, every: bool) -> dict[str, Any]:
        if not plain:
            return {} if every else {"columns": names}
        if table.form == "template":
            return {"template": " ".join(f"{{{{ {name} }}}}" for name in names)}
        return {"lines": [f"{name}: {{{name}}}" for name in names]}

    def pipeline(self, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
        monkeypatch.setattr(assemble, "build_embedder", lambda *_, **__: HashEmbedder(DIMENSION))
        loaded = load(self.folder / "rowvec.toml")
        return assemble.assemble(loaded, loaded.pipeline("net"))

    def forget(self) -> None:
        if self.store == "postgres":
            with psycopg.connect(self.store_url, autocommit=True) as connection:
                connection.execute("drop schema if exists rowvec cascade")
                for (name,) in connection.execute(
                    "select tablename from pg_tables where schemaname = 'public'"
                ).fetchall():
                    connection.execute(f'drop table "{name}" cascade'.encode())
        else:
            for path in self.folder.glob("vectors.db*"):
                path.unlink()

    def stored(self, metadata: list[str]) -> dict[str, tuple[Any, ...]]:
        """By key as text, read by the bare driver: the vector, and each of these columns."""
        key, table, *columns = (_quoted(name) for name in (self.key, self.table, *metadata))
        if self.store == "postgres":
            read = ", ".join(f"{column}::text" for column in [key, "embedding", *columns])
            with psycopg.connect(self.store_url, options=PLAIN) as connection:
                rows = connection.execute(f"select {read} from public.{table}".encode()).fetchall()
            return {key: (np.array(json.loads(vector), dtype="f4"), *values) for key, vector, *values in rows if vector}
        with closing(sqlite3.connect(self.folder / "vectors.db")) as database:
            rows = database.execute(f"select {', '.join([key, 'embedding', *columns])} from {table}").fetchall()
        return {str(key): (np.frombuffer(vector, dtype="<f4"), *values) for key, vector, *values in rows if vector}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _toml(settings: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()) + "\n"


@pytest.fixture(scope="module", params=SOURCES)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with ExitStack() as stack:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="rowvec-test-", dir=memory)))
        if request.param == "postgres":
            url, run = stack.enter_context(postgres_database())
            run("set synchronous_commit = off")
            for statement in POSTGRES_OWN:
                run(statement)
            yield databases.Postgres(url, run)
        elif request.param == "mariadb":
            url, run = stack.enter_context(mariadb_database())
            run("set session sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'")
            yield databases.Mariadb(url, run)
        elif request.param == "sqlite":
            sqlite, database = databases.sqlite_world(folder)
            stack.enter_context(closing(database))
            yield sqlite
        else:
            yield getattr(files, request.param.capitalize())(folder)


@pytest.mark.parametrize("store", STORES)
def test_what_is_stored_is_what_the_bare_driver_reads(
    world: World, store: str, postgres_url: str, quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net(quick_folder, world, store, postgres_url)
    first, _, last = os.environ.get("ROWVEC_NET_SEED", f"0-{CASES - 1}").partition("-")
    seeds = range(int(first), int(last or first) + 1)
    faults = []
    for seed in seeds:
        try:
            _one_case(net, seed, monkeypatch)
        except Exception as error:
            config = (net.folder / "rowvec.toml").read_text(encoding="utf-8")
            where, said = traceback.extract_tb(error.__traceback__)[-1], " ".join(str(error).split())[:300]
            case = f"ROWVEC_NET_SEED={seed}, {world.kind} -> {store}"
            _log(f"{case}: {type(error).__name__} {where.name}: {said}")
            error.add_note(f"{case}\n{config}")
            faults.append(error)
    _log(f"{world.kind} -> {store}: {len(faults)} of {len(seeds)} cases from {seeds[0]} on failed")
    if faults:
        raise ExceptionGroup(f"{len(faults)} of {len(seeds)} cases", faults)


def _log(line: str) -> None:
    if path := os.environ.get("ROWVEC_NET_LOG"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def _one_case(net: Net, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(f"{net.world.kind} {seed}")
    plain = chance.random() < 0.7
    table = net.world.draw(chance, plain)
    net.forget()
    net.world.write(table)
    net.table = chance.choice(STORE_TABLES)
    net.kept = chance.sample(range(len(table.columns)), min(len(table.columns), 2))
    settings = chance.sample(POSTGRES_SETTINGS, 3)
    case = Case(net, table, chance, monkeypatch, plain=plain, every=chance.random() < 0.3)
    with _settings(net, settings):
        case.follow()


@dataclass
class Case:
    """One table, followed as a user follows one, command after command."""

    net: Net
    table: Table
    chance: random.Random
    monkeypatch: pytest.MonkeyPatch
    plain: bool
    every: bool

    def follow(self) -> None:
        self.declare()
        with self.pipeline() as pipeline:
            preview(pipeline, Options())
            first = sync(pipeline)
            assert (first.failed, first.inserted + first.empty) == (0, len(self.table.rows))
            types = pipeline.spec.metadata
        before = self.compare()
        self.nothing_to_do()
        gone, told = self.change_and_delete(types, before)
        self.compare()
        step = self.chance.choice(STEPS)
        getattr(self, step)(gone, told)
        stored = self.compare()
        self.nothing_to_do()
        with self.pipeline() as pipeline:
            found = audit(pipeline, sample=100)
            assert not found.findings, list(found.findings.values())
            self.search(pipeline, stored)

    def declare(self) -> None:
        self.net.declare(self.table, self.plain, self.every)

    def pipeline(self) -> closing[Pipeline]:
        return closing(self.net.pipeline(self.monkeypatch))

    def nothing_to_do(self) -> None:
        with self.pipeline() as pipeline:
            again = sync(pipeline)
        assert (again.written, again.texts, again.failed) == (0, 0, 0), again.reasons

    def change_and_delete(self, types: Any, before: dict[str, Any]) -> tuple[Key, list[Told]]:
        """What was deleted is returned."""
        table, world = self.table, self.net.world
        changed, gone = self.chance.sample(list(table.rows), 2)
        told = table.rows.pop(gone)
        table.rows[changed] = world.row(self.chance, table)
        world.delete(table, gone)
        world.delete(table, changed)
        world.insert(table, [changed])
        lost = sum(table.texts().get(key, "") == "" for key in before)
        with self.pipeline() as pipeline:
            second = _guarded(pipeline, too_many=2 * lost > len(before))
            assert second.failed == 0
            # A column whose type is told by its values can be of another one now: its other values may be others too.
            updated = second.updated if pipeline.spec.metadata == types else 0
            assert second.embedded + updated + second.inserted <= 1, second.reasons
        return gone, told

    def back(self, gone: Key, told: list[Told]) -> None:
        """A deleted row comes again."""
        self.table.rows[gone] = told
        self.net.world.insert(self.table, [gone])
        with self.pipeline() as pipeline:
            third = sync(pipeline)
        assert third.failed == 0 and third.inserted <= 1, third.reasons

    def renamed(self, _gone: Key, _told: list[Told]) -> None:
        place = self.chance.randrange(len(self.table.columns))
        self.table.columns[place] = ("another_name", self.table.columns[place][1])
        self._written_again()

    def retyped(self, _gone: Key, _told: list[Told]) -> None:
        """A column gets another type, and each of its values."""
        table, world = self.table, self.net.world
        place = self.chance.randrange(len(table.columns))
        name, before = table.columns[place]
        kind = self.chance.choice(list(world.kinds_of(table)))
        table.columns[place] = (name, kind)
        for told in table.rows.values():
            told[place] = world.value(self.chance, table, kind)
            if world.remembers(before) or world.remembers(kind):
                # What a column was told to be once, it stays: only that it is read alike is known.
                told[place] = (told[place][0], None)
        if isinstance(world, files.Csv):
            world.settle(table)
        self._written_again()

    def _written_again(self) -> None:
        self.net.world.write(self.table)
        self.declare()
        with self.pipeline() as pipeline:
            assert sync(pipeline, Options(allow_delete=True)).failed == 0

    def rearranged(self, _gone: Key, _told: list[Told]) -> None:
        """Rows and columns in another order are nothing new."""
        table = self.table
        self.declare()
        order = self.chance.sample(range(len(table.columns)), len(table.columns))
        keys = self.chance.sample(list(table.rows), len(table.rows))
        told = {key: [table.rows[key][place] for place in order] for key in keys}
        self.net.world.write(replace(table, columns=[table.columns[place] for place in order], rows=told))
        self.nothing_to_do()

    def damaged(self, _gone: Key, _told: list[Told]) -> None:
        """What cannot be read changes nothing; when it is whole again, there is nothing to do."""
        self.net.world.damage(self.table, self.chance)
        with pytest.raises(RowvecError), self.pipeline() as pipeline:
            sync(pipeline)
        self.compare()
        self.net.world.write(self.table)
        self.nothing_to_do()

    def search(self, pipeline: Pipeline, stored: dict[str, Any]) -> None:
        table = self.table
        known = {key: text for key, text in table.texts().items() if text and self.plain}
        searcher = Searcher.of(pipeline)
        if known:
            key, text = self.chance.choice(sorted(known.items()))
            best = searcher.search(text, limit=len(table.rows)).hits
            assert key in {str(hit.key) for hit in best if score_of(hit) > 0.999}
        for mode in ("keyword", "hybrid"):
            searcher.search("plain words", mode=mode, limit=3)
        assert len(searcher.search("x", limit=1000).hits) == len(stored)

    def compare(self) -> dict[str, Any]:
        table = self.table
        kept = self.net.kept if self.plain else []
        stored = self.net.stored([table.columns[place][0] for place in kept])
        expected = table.texts()
        assert set(stored) <= set(expected)
        model = HashEmbedder(DIMENSION)
        for key, text in expected.items() if self.plain else ():
            if text is not None:
                assert (key in stored) == bool(text), (key, text)
            if text:
                assert np.allclose(stored[key][0], model.embed_query(text), atol=1e-6), (key, text)
        rows = {str(key): told for key, told in table.rows.items()}
        for key, (_, *values) in stored.items():
            for place, value in zip(kept, values, strict=True):
                kind, text = table.columns[place][1], rows[key][place][1]
                if kind in self.net.world.literal and text is not None:
                    assert ("" if value is None else str(value).strip()) == text, (key, kind, value, text)
        return stored


def _guarded(pipeline: Pipeline, *, too_many: bool) -> Report:
    """Where more than half of the rows go, that is refused until it is allowed."""
    if too_many:
        with pytest.raises(DeletionGuard):
            sync(pipeline)
    return sync(pipeline, Options(allow_delete=too_many))


def _settings(net: Net, settings: list[str]) -> ExitStack:
    """Of the databases of source and store, for the sessions that begin from now on."""
    stack = ExitStack()
    urls = [net.store_url] if net.store == "postgres" else []
    if isinstance(net.world, databases.Postgres):
        urls.append(net.world.url)
    for url in urls:
        with psycopg.connect(url, autocommit=True) as connection:
            for setting in settings:
                connection.execute(f'alter database "{connection.info.dbname}" set {setting}'.encode())
        stack.callback(_reset, url)
    return stack


def _reset(url: str) -> None:
    with psycopg.connect(url, autocommit=True, options="-c client_encoding=utf8") as connection:
        connection.execute(f'alter database "{connection.info.dbname}" reset all'.encode())
