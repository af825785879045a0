"""A column that gets another type while the pipeline is open: no value is lost, and whoever follows goes on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rowvec.api.project import Project
from rowvec.errors import ConfigError
from tests.integration.celery_rig import Project as Fleet
from tests.integration.celery_rig import many, wait_for
from tests.integration.sql_rig import Run, mariadb_database, postgres_database
from tests.servers.openai import EmbeddingServer

pytestmark = pytest.mark.slow

CONFIG = """
[pipelines.things]
source = {{ {source}, key = "id" }}
text = {{ columns = ["name"] }}
store = {{ {store}, metadata = ["v"] }}

[pipelines.things.embedder]
kind = "openai"
model = "text-embedding-3-small"
base_url = "{model}"
api_key = "test-key"
dimensions = 8
"""


@dataclass
class Things:
    """Rows 1 to 3 of `things`, whose `v` are whole numbers."""

    source: str
    widen: Callable[[], object]
    """`v` is a number with a fraction, 5.5 in row 1, and then text: `A12`."""
    widen_again: Callable[[], object]


def of_database(url: str, run: Run, retype: str) -> Things:
    run("create table things (id int primary key, name varchar(50), v int)")
    run("insert into things values (1, 'lamp', 5), (2, 'chair', 6), (3, 'desk', 7)")

    def to(kind: str, value: str) -> Callable[[], object]:
        return lambda: (run(retype.format(kind)), run(f"update things set v = {value} where id = 1"))

    source = f'kind = "sql", url = "{url}", table = "things"'
    return Things(source, to("decimal(10, 2)", "5.5"), to("varchar(20)", "'A12'"))


def of_sqlite(folder: Path) -> Things:
    def run(statement: str) -> None:
        with closing(sqlite3.connect(folder / "things.db")) as database, database:
            database.execute(statement)

    run("create table things (id integer primary key, name text, v)")
    run("insert into things values (1, 'lamp', 5), (2, 'chair', 6), (3, 'desk', 7)")
    source = 'kind = "sql", url = "sqlite:///things.db", table = "things"'
    change = "update things set v = {} where id = 1".format
    return Things(source, lambda: run(change("5.5")), lambda: run(change("'A12'")))


def of_file(folder: Path) -> Things:
    def write(value: str) -> None:
        (folder / "things.csv").write_text(f"id,name,v\n1,lamp,{value}\n2,chair,6\n3,desk,7\n")

    write("5")
    return Things('kind = "files", paths = ["things.csv"]', lambda: write("5.5"), lambda: write("A12"))


@pytest.fixture(params=["csv", "sqlite", "postgres", "mariadb"])
def things(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Things]:
    with ExitStack() as stack:
        match request.param:
            case "csv":
                yield of_file(tmp_path)
            case "sqlite":
                yield of_sqlite(tmp_path)
            case "postgres":
                yield of_database(*stack.enter_context(postgres_database()), "alter table things alter v type {}")
            case _:
                yield of_database(*stack.enter_context(mariadb_database()), "alter table things modify v {}")


STORES = {"libsql": 'kind = "libsql", url = "vectors.db"', "postgres": 'kind = "postgres", url = "{}"'}


@pytest.fixture(params=STORES)
def project(
    request: pytest.FixtureRequest, things: Things, tmp_path: Path, model: EmbeddingServer
) -> Iterator[Project]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    store = STORES[request.param].format(url)
    (tmp_path / "rowvec.toml").write_text(CONFIG.format(source=things.source, store=store, model=model.url))
    with Project(tmp_path) as made:
        yield made


def test_a_pipeline_that_stays_open_takes_a_column_as_it_is_now(things: Things, project: Project) -> None:
    pipeline = project.pipeline()

    def found(where: str | None = None) -> dict[Any, Any]:
        return {hit.key: hit.metadata["v"] for hit in pipeline.search("lamp", where=where).hits}

    assert pipeline.sync().inserted == 3
    assert found() == {1: 5, 2: 6, 3: 7}
    things.widen()
    report = pipeline.sync()
    assert (report.unfit, report.failed, report.texts) == (0, 0, 0)
    assert {key: float(value) for key, value in found().items()} == {1: 5.5, 2: 6, 3: 7}
    assert found("v < 5.9").keys() == {1}
    things.widen_again()
    assert pipeline.plan().changes["update"]
    report = pipeline.sync()
    assert (report.unfit, report.failed, report.texts) == (0, 0, 0)
    assert found()[1] == "A12" and None not in found().values()
    assert found("v = 'A12'").keys() == {1}
    assert pipeline.sync().unchanged == 3
    assert not pipeline.audit(sample=3).drift


def test_a_watch_goes_on_with_a_column_as_it_is_now(postgres_url: str, tmp_path: Path, model: EmbeddingServer) -> None:
    with postgres_database() as (url, run):
        things = of_database(url, run, "alter table things alter v type {}")
        store = STORES["postgres"].format(postgres_url)
        (tmp_path / "rowvec.toml").write_text(CONFIG.format(source=things.source, store=store, model=model.url))
        told: list[str] = []
        stop, errors = threading.Event(), list[BaseException]()
        with Project(tmp_path) as made, Project(tmp_path) as other:
            pipeline = made.pipeline()
            assert pipeline.sync().inserted == 3
            notifier = pipeline.assembled.source.notifier()
            notifier.carry_out(notifier.install_sql())

            def follow() -> None:
                try:
                    pipeline.watch(tell=told.append, stop=stop)
                except BaseException as error:
                    errors.append(error)

            def stored() -> dict[Any, Any]:
                assembled = other.pipeline().current
                rows = assembled.store.generation(assembled.spec)
                return {} if rows is None else {key: each["v"] for key, each in rows.metadata(range(1, 5)).items()}

            thread = threading.Thread(target=follow)
            thread.start()
            try:
                run("update things set v = 8 where id = 3")
                wait_for(lambda: stored().get(3) == 8, "it follows")
                things.widen()
                wait_for(lambda: str(stored().get(1)) in ("5.5", "5.50"), "the fraction is there")
                things.widen_again()
                wait_for(lambda: stored().get(1) == "A12", "the text is there")
                assert None not in stored().values()
                run("insert into things values (4, 'sofa', 'B7')")
                wait_for(lambda: stored().get(4) == "B7", "it goes on")
                run("alter table things drop column v")
                run("update things set name = 'bench' where id = 2")
                thread.join(30)
            finally:
                stop.set()
                thread.join()
    assert [type(error) for error in errors] == [ConfigError]
    assert "there is no column 'v'" in str(errors[0])
    assert "The column 'v' is decimal now, and was integer." in told
    assert "The column 'v' is text now, and was decimal." in told


def test_a_worker_takes_a_column_as_it_is_now(redis: Fleet, model: EmbeddingServer) -> None:
    """It keeps its pipelines open from one task to the next."""
    redis.configure(model.url)
    config = redis.folder / "rowvec.toml"
    config.write_text(config.read_text().replace('kind = "postgres",', 'kind = "postgres", metadata = ["v"],'))
    redis.write_rows(many(3))

    def run(statement: str) -> None:
        with closing(sqlite3.connect(redis.folder / "things.db")) as database, database:
            database.execute(statement)

    run("alter table things add column v")
    run("update things set v = 5")
    redis.start_worker()
    for value in ("6", "'A12'"):
        run(f"update things set v = {value} where id = 1")
        done = redis.result(redis.celery("call", "rowvec.sync", "--args", '["things"]').split()[-1])
        assert (done["failed"], done["unfit"]) == (0, 0)
    with Project(redis.folder) as made:
        assert {hit.key: hit.metadata["v"] for hit in made.pipeline().search("thing").hits} == {
            1: "A12",
            2: "5",
            3: "5",
        }
