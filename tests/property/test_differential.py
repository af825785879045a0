"""Tables that are drawn, with odd values, names and settings, in every pair of source and store.

What is embedded is compared with the texts that the docs promise, and what is stored is read by the bare driver. Each
case has a number; `ROWVEC_NET_SEED` runs that one alone, or a range of them: `120-179`. `ROWVEC_NET_LOG` names a file
that gets a line for each case that failed and for each pair that is done.
"""

from __future__ import annotations

import os
import random
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest

from tests.differential import databases, files, steps
from tests.differential.case import Case
from tests.differential.net import Net, Surroundings
from tests.differential.values import POSTGRES_OWN
from tests.differential.worlds import POSTGRES_SETTINGS, World
from tests.integration.sql_rig import POSTGRES, database_in, mariadb_database, postgres_database
from tests.torture import TORTURE

pytestmark = pytest.mark.slow

SOURCES = ("sqlite", "postgres", "mariadb", "csv", "tsv", "jsonl", "parquet")
STORES = ("postgres", "libsql")
CASES = 360 if TORTURE else 5
"""Of each pair: 14 pairs are 5,040 cases in the long form."""
STORE_TABLES = ("net", "net", "Net", "select", "żółć", "a b")
PAGES = (1, 2, 3, 2000)
STORE_SETTINGS: tuple[Mapping[str, Any], ...] = (
    {}, {}, {"language": "simple"}, {"language": ["german", "english"]}, {"language": "auto"}, {"language": ""},
    {"texts": False}, {"metric": "l2"}, {"metric": "ip"},
)  # fmt: skip
SURROUNDINGS = (
    Surroundings(), Surroundings(), Surroundings({"TZ": "America/New_York"}),
    Surroundings({"TZ": "Pacific/Kiritimati"}),
    Surroundings(digits=3),
    Surroundings({"PGTZ": "Asia/Kolkata", "PGDATESTYLE": "German", "PGCLIENTENCODING": "LATIN1"}),
    Surroundings({"PGOPTIONS": "-c datestyle=SQL,DMY -c extra_float_digits=0 -c standard_conforming_strings=off"}),
)  # fmt: skip
ENCODINGS = ("", "SQL_ASCII", "LATIN1")
"""Of databases of PostgreSQL; "" for that of the server."""
LACKING = {
    "SQL_ASCII": ("create collation", ["text collate any_case"]),
    "LATIN1": ("create type mood", ["mood", "mood[]"]),
}
"""What cannot be made in them, and the types that are missing then."""
SQLITE_SETTINGS = ((), ("encoding = 'UTF-16le'", "page_size = 512"), ("encoding = 'UTF-16be'", "journal_mode = wal"))


@pytest.fixture(scope="module", params=SOURCES)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with ExitStack() as stack:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="rowvec-test-", dir=memory)))
        if request.param == "postgres":
            yield databases.Postgres(*(stack.enter_context(_postgres_place(encoding)) for encoding in ENCODINGS))
        elif request.param == "mariadb":
            url, run = stack.enter_context(mariadb_database())
            run("set session sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'")
            yield databases.Mariadb(databases.Place(url, run))
        elif request.param == "sqlite":
            places = []
            for number, settings in enumerate(SQLITE_SETTINGS):
                place, database = databases.sqlite_place(folder / f"rows {number}.db", *settings)
                stack.enter_context(closing(database))
                places.append(place)
            yield databases.Sqlite(*places)
        else:
            yield getattr(files, request.param.capitalize())(folder)


@contextmanager
def _postgres_place(encoding: str) -> Iterator[databases.Place]:
    with database_in(f"{POSTGRES}/postgres", encoding) if encoding else _usual_database() as url:
        options = "-c client_encoding=utf8 -c synchronous_commit=off"
        # Tests make a table again with other types: a prepared statement would keep those of before.
        with psycopg.connect(url, autocommit=True, prepare_threshold=None, options=options) as connection:
            for statement in POSTGRES_OWN:
                if not (LACKING.get(encoding) and statement.startswith(LACKING[encoding][0])):
                    connection.execute(statement.encode())
            lacks = frozenset(LACKING[encoding][1]) if encoding else frozenset()
            python = "latin-1" if encoding == "LATIN1" else ""
            yield databases.Place(url, lambda statement: connection.execute(statement.encode()), python, lacks)


@contextmanager
def _usual_database() -> Iterator[str]:
    with postgres_database() as (url, _):
        yield url


@pytest.mark.parametrize("store", STORES)
def test_what_is_stored_is_what_the_bare_driver_reads(
    world: World, store: str, postgres_url: str, quick_folder: Path
) -> None:
    net = Net(quick_folder, world, store, postgres_url)
    first, _, last = os.environ.get("ROWVEC_NET_SEED", f"0-{CASES - 1}").partition("-")
    seeds = range(int(first), int(last or first) + 1)
    faults = []
    for seed in seeds:
        try:
            _one_case(net, seed)
        except Exception as error:
            config = (net.folder / "rowvec.toml").read_text(encoding="utf-8")
            where, said = traceback.extract_tb(error.__traceback__)[-1], " ".join(str(error).split())[:300]
            case = f"ROWVEC_NET_SEED={seed}, {world.kind} -> {store}"
            _log(f"{case}: {type(error).__name__} {where.name}: {said}")
            error.add_note(f"{case}\n{' '.join(net.done)}, {net.surroundings}\n{config}")
            faults.append(error)
    _log(f"{world.kind} -> {store}: {len(faults)} of {len(seeds)} cases from {seeds[0]} on failed")
    if faults:
        raise ExceptionGroup(f"{len(faults)} of {len(seeds)} cases", faults)


def _log(line: str) -> None:
    if path := os.environ.get("ROWVEC_NET_LOG"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def _one_case(net: Net, seed: int) -> None:
    chance = random.Random(f"{net.world.kind} {seed}")
    table = net.world.draw(chance, chance.random() < 0.7)
    net.forget()
    net.world.write(table)
    net.table = chance.choice(STORE_TABLES)
    names = [name for name, _ in table.columns]
    net.kept = chance.sample(names, min(len(names), 2))
    net.source = {"page_size": chance.choice(PAGES)}
    net.settings = dict(chance.choice(STORE_SETTINGS))
    if net.store == "postgres" and chance.random() < 0.2:
        net.settings["storage"] = "halfvec"
    net.surroundings = chance.choice(SURROUNDINGS)
    net.done = ["begin"]
    case = Case(net, table, chance)
    with _settings(net, chance.sample(POSTGRES_SETTINGS, 3)):
        case.begin()
        for step in steps.some(chance):
            net.done.append(step.__name__)
            step(case)
            case.compare()
        case.end()


def _settings(net: Net, settings: list[str]) -> ExitStack:
    """Of the databases of source and store, for the sessions that begin from now on."""
    stack = ExitStack()
    urls = [net.store_url] if net.store == "postgres" else []
    if isinstance(net.world, databases.Postgres):
        urls.append(net.world.at.url)
    for url in urls:
        with psycopg.connect(url, autocommit=True) as connection:
            for setting in settings:
                connection.execute(f'alter database "{connection.info.dbname}" set {setting}'.encode())
        stack.callback(_reset, url)
    return stack


def _reset(url: str) -> None:
    with psycopg.connect(url, autocommit=True, options="-c client_encoding=utf8") as connection:
        connection.execute(f'alter database "{connection.info.dbname}" reset all'.encode())
