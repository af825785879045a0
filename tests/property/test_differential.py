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
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from rowvec import assemble
from rowvec.auditing.audit import audit
from rowvec.config import load
from rowvec.errors import DeletionGuard
from rowvec.pipeline import Options, Pipeline
from rowvec.searcher import Searcher
from rowvec.searcher.candidates import score_of
from rowvec.stores.runs import Report
from rowvec.syncing.preview import preview
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from tests.differential import worlds
from tests.differential.worlds import POSTGRES_SETTINGS, Table, World
from tests.integration.sql_rig import mariadb_database, postgres_database
from tests.torture import TORTURE

pytestmark = pytest.mark.slow

SOURCES = ("sqlite", "postgres", "mariadb", "csv", "tsv", "jsonl", "parquet")
STORES = ("postgres", "libsql")
CASES = 360 if TORTURE else 5
"""Of each pair: 14 pairs are 5,040 cases in the long form."""
DIMENSION = 8
PLAIN = "-c client_encoding=utf8 -c extra_float_digits=3"


class Net:
    """One source and one store for many cases."""

    def __init__(self, folder: Path, world: World, store: str, store_url: str) -> None:
        self.folder, self.world, self.store = folder, world, store
        self.store_url = store_url

    def declare(self, table: Table, chance: random.Random, plain: bool) -> None:
        names = [name for name, _ in table.columns]
        text = {"lines": [f"{name}: {{{name}}}" for name in names]} if plain else {"columns": names}
        kept = chance.sample(names, min(len(names), 2))
        store: dict[str, Any] = {"kind": self.store, "table": "net", "metadata": kept}
        store["url"] = self.store_url if self.store == "postgres" else str(self.folder / "vectors.db")
        parts = {"source": self.world.source(), "text": text, "store": store}
        lines = [f"[pipelines.net.{part}]\n{_toml(settings)}" for part, settings in parts.items()]
        (self.folder / "rowvec.toml").write_text("[pipelines.net]\n" + "\n".join(lines), encoding="utf-8")

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

    def vectors(self) -> dict[str, Any]:
        """By key as text, read by the bare driver."""
        if self.store == "postgres":
            with psycopg.connect(self.store_url, options=PLAIN) as connection:
                rows = connection.execute("select id::text, embedding::text from public.net").fetchall()
            return {key: np.array(json.loads(value), dtype="f4") for key, value in rows if value is not None}
        with closing(sqlite3.connect(self.folder / "vectors.db")) as database:
            rows = database.execute("select id, embedding from net").fetchall()
        return {str(key): np.frombuffer(value, dtype="<f4") for key, value in rows if value is not None}


def _toml(settings: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items()) + "\n"


@pytest.fixture(scope="module", params=SOURCES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("net")
    with ExitStack() as stack:
        if request.param == "postgres":
            yield worlds.Postgres(*stack.enter_context(postgres_database()))
        elif request.param == "mariadb":
            url, run = stack.enter_context(mariadb_database())
            run("set session sql_mode = 'ALLOW_INVALID_DATES'")
            yield worlds.Mariadb(url, run)
        elif request.param == "sqlite":
            yield worlds.sqlite_world(folder)
        else:
            yield getattr(worlds, request.param.capitalize())(folder)


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
    net.declare(table, chance, plain)
    settings = chance.sample(POSTGRES_SETTINGS, 3)
    with _settings(net, settings):
        _follow(net, table, chance, plain, monkeypatch)


def _follow(net: Net, table: Table, chance: random.Random, plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync, nothing to do, change, delete and insert, audit, search: as one user does, command after command."""
    with closing(net.pipeline(monkeypatch)) as pipeline:
        preview(pipeline, Options())
        first = sync(pipeline)
        assert (first.failed, first.inserted + first.empty) == (0, len(table.rows))
        types = pipeline.spec.metadata
    before = _compare(net, table, plain)
    with closing(net.pipeline(monkeypatch)) as pipeline:
        again = sync(pipeline)
        assert (again.written, again.texts, again.failed) == (0, 0, 0), again.reasons
    changed, gone = chance.sample(list(table.rows), 2)
    told = net.world.row(chance, table)
    table.rows[changed] = told
    net.world.change(table, changed, told)
    del table.rows[gone]
    net.world.delete(table, gone)
    lost = sum(table.texts().get(key, "") == "" for key in before)
    with closing(net.pipeline(monkeypatch)) as pipeline:
        second = _guarded(pipeline, too_many=2 * lost > len(before))
        assert second.failed == 0
        # A column whose type is told by its values can be of another one now: its other values may be others too.
        updated = second.updated if pipeline.spec.metadata == types else 0
        assert second.embedded + updated + second.inserted <= 1, second.reasons
    stored = _compare(net, table, plain)
    with closing(net.pipeline(monkeypatch)) as pipeline:
        found = audit(pipeline, sample=100)
        assert not found.findings, list(found.findings.values())
        known = {key: text for key, text in table.texts().items() if text and plain}
        searcher = Searcher.of(pipeline)
        if known:
            key, text = chance.choice(sorted(known.items()))
            best = searcher.search(text, limit=len(table.rows)).hits
            assert key in {str(hit.key) for hit in best if score_of(hit) > 0.999}
        for mode in ("keyword", "hybrid"):
            searcher.search("plain words", mode=mode, limit=3)
        assert len(searcher.search("x", limit=1000).hits) == len(stored)


def _guarded(pipeline: Pipeline, *, too_many: bool) -> Report:
    """Where more than half of the rows go, that is refused until it is allowed."""
    if too_many:
        with pytest.raises(DeletionGuard):
            sync(pipeline)
    return sync(pipeline, Options(allow_delete=too_many))


def _compare(net: Net, table: Table, plain: bool) -> dict[str, Any]:
    stored = net.vectors()
    expected = table.texts()
    assert set(stored) <= set(expected)
    if not plain:
        return stored
    model = HashEmbedder(DIMENSION)
    for key, text in expected.items():
        if text is None:
            continue
        assert (key in stored) == bool(text), (key, text)
        if text:
            assert np.allclose(stored[key], model.embed_query(text), atol=1e-6), (key, text)
    return stored


def _settings(net: Net, settings: list[str]) -> ExitStack:
    """Of the databases of source and store, for the sessions that begin from now on."""
    stack = ExitStack()
    urls = [net.store_url] if net.store == "postgres" else []
    if isinstance(net.world, worlds.Postgres):
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
