"""rowvec called from Python."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import rowvec
from rowvec.api import search
from rowvec.errors import ConfigError
from tests.integration.celery_rig import Project, many, project
from tests.servers.openai import EmbeddingServer


@pytest.fixture
def made(state_folder: Path, postgres_url: str) -> Iterator[Project]:
    with EmbeddingServer(dimension=8) as model, project(state_folder, postgres_url, "embedded") as made:
        made.configure(model.url)
        made.write_rows(many(20))
        yield made


def test_three_lines_bring_the_vectors_in_step(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.folder)
    assert rowvec.sync("things").inserted == 20
    assert rowvec.sync().unchanged == 20
    made.vectors_match(many(20))


def test_options_of_a_sync_are_keywords(made: Project) -> None:
    assert rowvec.sync(config=made.folder, limit=5).inserted == 5
    assert rowvec.sync(config=made.folder, limit=5, force=True).embedded == 5
    with pytest.raises(TypeError, match="no_such"):
        rowvec.sync(config=made.folder, no_such=True)


def test_a_coroutine_can_wait_for_it_and_do_other_things(made: Project) -> None:
    async def work() -> tuple[int, int]:
        ticks = 0
        task = asyncio.create_task(rowvec.sync_async("things", config=made.folder))
        while not task.done():
            ticks += 1
            await asyncio.sleep(0.01)
        return (await task).inserted, ticks

    inserted, ticks = asyncio.run(work())
    assert inserted == 20
    assert ticks > 1


def test_what_would_be_embedded_can_be_looked_at_before(made: Project) -> None:
    rowvec.sync(config=made.folder, limit=15)
    found = rowvec.rows_to_embed(3, config=made.folder)
    assert [(document.key, document.text) for document in found] == [(n, f"thing {n}") for n in (16, 17, 18)]
    assert len(made.vectors()) == 15


def test_a_search_is_one_call(made: Project) -> None:
    rowvec.sync(config=made.folder)
    assert search("thing 7", config=made.folder, limit=1).hits[0].key == 7


def test_an_unknown_pipeline_is_named(made: Project) -> None:
    with pytest.raises(ConfigError, match="no pipeline 'nothing'"):
        rowvec.sync("nothing", config=made.folder)
