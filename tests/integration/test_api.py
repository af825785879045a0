"""rowvec called from Python."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
import typing
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

import rowvec
from rowvec.api import functions
from rowvec.errors import ConfigError, SearchError, StoreError
from rowvec.filters import Compare, Op
from rowvec.stores.runs import Report
from tests.integration.celery_rig import Project, many, project
from tests.servers.openai import EmbeddingServer


@pytest.fixture
def made(state_folder: Path, postgres_url: str) -> Iterator[Project]:
    with EmbeddingServer(dimension=8) as model, project(state_folder, postgres_url, "embedded") as made:
        made.configure(model.url)
        made.write_rows(many(20))
        yield made


@pytest.fixture
def things(made: Project) -> Iterator[rowvec.ProjectPipeline]:
    with rowvec.open(made.folder) as opened:
        yield opened.pipeline("things")


def test_three_lines_bring_the_vectors_in_step(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.folder)
    assert rowvec.sync("things").inserted == 20
    assert rowvec.sync().unchanged == 20
    made.vectors_match(many(20))


def test_options_of_a_sync_are_keywords(made: Project) -> None:
    assert rowvec.sync(config=made.folder, limit=5).inserted == 5
    assert rowvec.sync(config=made.folder, limit=5, force=True).embedded == 5
    with pytest.raises(TypeError, match="no_such"):
        rowvec.sync(config=made.folder, no_such=True)  # type: ignore[call-arg]


def test_a_coroutine_can_wait_for_it_and_do_other_things(made: Project) -> None:
    async def work() -> tuple[int, int]:
        ticks = 0
        task = asyncio.create_task(rowvec.sync.aio("things", config=made.folder))
        while not task.done():
            ticks += 1
            await asyncio.sleep(0.01)
        return (await task).inserted, ticks

    inserted, ticks = asyncio.run(work())
    assert inserted == 20
    assert ticks > 1


def test_a_cancelled_coroutine_stops_the_sync_and_keeps_what_was_embedded(made: Project) -> None:
    made.write_rows(many(3000))
    reached = threading.Event()

    def when_written(report: Report) -> None:
        if report.inserted:
            reached.set()

    async def work() -> None:
        with rowvec.open(made.folder) as opened:
            task = asyncio.create_task(opened.pipeline().sync.aio(progress=when_written))
            await asyncio.to_thread(reached.wait, 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(work())
    stored = len(made.vectors())
    assert 0 < stored < 3000
    report = rowvec.sync(config=made.folder)
    assert (report.inserted, report.unchanged) == (3000 - stored, stored)


def test_what_would_be_embedded_can_be_looked_at_before(made: Project) -> None:
    rowvec.sync(config=made.folder, limit=15)
    found = rowvec.rows_to_embed(3, config=made.folder)
    assert [(document.key, document.text) for document in found] == [(n, f"thing {n}") for n in (16, 17, 18)]
    assert len(made.vectors()) == 15


def test_a_plan_says_what_a_sync_would_do_and_why(things: rowvec.ProjectPipeline) -> None:
    plan = things.plan()
    assert (plan.rows, plan.texts, plan.changes) == (20, 20, {"insert": 20})
    assert sum(row["rows"] for row in plan.to_dicts()) == 20
    with pytest.raises(FrozenInstanceError):
        plan.rows = 1  # type: ignore[misc]


def test_a_search_is_one_call(made: Project) -> None:
    rowvec.sync(config=made.folder)
    assert rowvec.search("thing 7", config=made.folder, limit=1).hits[0].key == 7
    assert rowvec.similar(7, config=made.folder, limit=3).hits[0].key != 7


def test_an_open_pipeline_answers_again_and_again(things: rowvec.ProjectPipeline) -> None:
    with pytest.raises(StoreError):
        things.search("thing 7")
    result = things.sync()
    assert (result.pipeline, result.inserted, result.interrupted, result.notes) == ("things", 20, False, ())
    assert [things.search(f"thing {n}", limit=1).hits[0].key for n in (1, 2, 3)] == [1, 2, 3]
    assert things.search("thing 3", mode="hybrid", limit=2).to_dicts()[0]["key"] == 3
    assert things.status().coverage == 1.0
    assert len(things.failures()) == 0
    assert [each.state for each in things.generations()] == ["live"]
    assert things.audit(sample=5).drift is False


def test_searches_go_on_beside_a_sync_of_the_same_pipeline(things: rowvec.ProjectPipeline) -> None:
    things.sync()
    done = threading.Event()
    errors: list[BaseException] = []

    def search() -> None:
        try:
            while not done.is_set():
                assert things.search("thing 7", limit=1).hits[0].key == 7
                assert things.status().rows == 20
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        things.sync(force=True)
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []


def test_an_unknown_pipeline_is_named(made: Project) -> None:
    with pytest.raises(ConfigError, match="no pipeline 'nothing'"):
        rowvec.sync("nothing", config=made.folder)


def test_a_filter_is_text_or_a_value(things: rowvec.ProjectPipeline) -> None:
    things.sync()
    with pytest.raises(SearchError, match="nothing"):
        things.search("thing 7", where="nothing = 1")
    with pytest.raises(SearchError, match="nothing"):
        things.search("thing 7", where=Compare("nothing", Op.EQ, 1))


def test_rows_of_a_result_make_a_table_in_a_notebook(things: rowvec.ProjectPipeline) -> None:
    things.sync()
    shown = things.search("thing 7", limit=2)._repr_html_()
    assert shown.count("<tr>") == 3
    assert "<th>key</th>" in shown
    assert "<script" not in things.generations()._repr_html_()


def test_every_public_name_is_there_and_is_what_it_says() -> None:
    assert set(rowvec.__all__) <= set(dir(rowvec))
    for name in rowvec.__all__:
        assert getattr(rowvec, name) is not None
    code = (
        "import importlib, pkgutil, rowvec\n"
        "for module in pkgutil.walk_packages(rowvec.__path__, 'rowvec.'):\n"
        "    if module.name.split('.')[1] in rowvec.__all__: print(module.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "", "a module with the name of a function would shadow it"


def test_the_type_hints_of_every_public_name_can_be_read() -> None:
    public = [getattr(rowvec, name) for name in rowvec.__all__ if name != "__version__"]
    members = [
        getattr(member, "fget", member)
        for each in public
        if inspect.isclass(each)
        for name, member in inspect.getmembers(each)
        # pandas and polars need not be installed.
        if (not name.startswith("_") or name == "__init__") and name not in ("to_pandas", "to_polars")
    ]
    # A field with a default of its own, or a slot, is not a function; the class itself tells its type.
    hinted = [each for each in public + members if hasattr(each, "__annotations__")]
    assert {rowvec.ProjectPipeline.search, rowvec.ProjectPipeline.__init__} <= set(hinted)
    for each in hinted:
        typing.get_type_hints(each)


def test_importing_rowvec_imports_nothing_else() -> None:
    code = "import sys, rowvec; print(*sorted(name for name in sys.modules if name.startswith('rowvec')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["rowvec"]


@pytest.mark.parametrize("name", ["sync", "plan", "search", "similar", "status", "audit", "rollback", "rows_to_embed"])
def test_a_single_call_takes_what_the_method_takes(name: str) -> None:
    def parameters(function: Any) -> set[str]:
        return set(inspect.signature(function).parameters)

    method = inspect.getattr_static(rowvec.ProjectPipeline, name)._function
    # `progress` is for programs that keep a project open.
    left_out = parameters(method) - parameters(getattr(functions, name)) - {"self", "progress"}
    assert not left_out
