"""Models that the config no longer names: what the store keeps of them, and how they are had again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from rowvec import assemble
from rowvec.config import Config, PipelineConfig, load
from rowvec.errors import EmbedderError
from rowvec.generations.kept_settings import kept
from rowvec.generations.lifecycle import as_live, live_embedder, roll_back
from rowvec.pipeline import Pipeline
from rowvec.searcher import Searcher
from rowvec.searcher.candidates import score_of
from rowvec.syncing.run import sync
from rowvec.testing import MemorySource
from tests.servers.openai import EmbeddingServer
from tests.support_tiny_models import tiny_model

CONFIG = """
[pipelines.things]
source = {{ kind = "sql", url = "sqlite:///{folder}/things.db", table = "things", key = "id" }}
text = {{ {text} }}
embedder = {{ {embedder} }}
store = {{ {store} }}
"""
SECRET = "sk-a-key-that-must-not-be-kept"


class Project:
    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder
        self.store = store
        self.pipelines: list[Pipeline] = []
        with sqlite3.connect(folder / "things.db") as database:
            database.execute("create table things (id integer primary key, name text, kind text)")
            rows = [(n, f"the {word}", "x") for n, word in enumerate(["cat", "dog", "red mat", "blue mat"])]
            database.executemany("insert into things values (?, ?, ?)", rows)
        database.close()

    def declare(self, embedder: str, text: str = 'columns = ["name"]') -> Config:
        written = CONFIG.format(folder=self.folder, text=text, embedder=embedder, store=self.store)
        (self.folder / "rowvec.toml").write_text(written)
        return load(self.folder)

    def opened(self, embedder: str, text: str = 'columns = ["name"]') -> Pipeline:
        loaded = self.declare(embedder, text)
        self.pipelines.append(assemble.assemble(loaded, loaded.pipeline()))
        return self.pipelines[-1]

    def local(self, model: str, *more: str) -> str:
        return ", ".join([f'kind = "local", model = "./{model}", workers = 1, cache_dir = "./cache"', *more])


@pytest.fixture(params=["postgres", "libsql"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    for seed, model in enumerate(["old", "new"]):
        tiny_model(tmp_path / model, seed=seed)
    url = "vectors.db" if request.param == "libsql" else request.getfixturevalue("postgres_url")
    project = Project(tmp_path, f'kind = "{request.param}", url = "{url}"')
    yield project
    for pipeline in project.pipelines:
        pipeline.close()


def first(pipeline: Pipeline, query: str) -> tuple[object, float]:
    hit = Searcher.of(pipeline).search(query, limit=1).hits[0]
    return hit.key, round(score_of(hit), 3)


def test_a_former_model_is_had_again_with_its_prompts(project: Project) -> None:
    """Without its query prompt, the query would not be the text of the row."""
    prompts = ('query_prompt = "a "', 'passage_prompt = "a "')
    old = project.opened(project.local("old", *prompts))
    sync(old)
    new = project.opened(project.local("new"))
    assert first(new, "name: the red mat") == (2, 1.0), "by the old model, since its vectors are live"
    sync(new)
    assert first(new, "name: the red mat") == (2, 1.0)
    roll_back(new)
    assert first(new, "name: the red mat") == (2, 1.0)
    assert live_embedder(new, new.store.ledger()).fingerprint.model == "old"


def test_a_model_whose_folder_is_renamed_is_the_same_model(project: Project) -> None:
    """Nothing is embedded again, the live generation keeps its model, and its name is that of today from then on."""
    sync(project.opened(project.local("old")))
    (project.folder / "old").rename(project.folder / "renamed")
    moved = project.opened(project.local("renamed"))
    assert first(moved, "name: the red mat") == (2, 1.0)
    report = sync(moved)
    assert (report.unchanged, report.texts) == (4, 0)
    (only,) = moved.store.generations(moved.spec)
    assert only.fingerprint is not None and only.fingerprint.model == "renamed"
    other = project.opened(project.local("new"))
    assert first(other, "name: the red mat") == (2, 1.0), "by the renamed model, whose vectors are live"
    assert live_embedder(other, other.store.ledger()).fingerprint.model == "renamed"


def test_a_model_with_another_file_is_another_model(project: Project) -> None:
    sync(project.opened(project.local("old")))
    shutil.copytree(project.folder / "old", project.folder / "copy")
    (project.folder / "copy" / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    report = sync(project.opened(project.local("copy")))
    assert report.texts == 4


def test_text_settings_go_with_the_model_they_were_used_with(project: Project) -> None:
    """Both change at once: nothing is embedded again by the old model, and a changed row gets its old text."""
    old = project.opened(project.local("old"))
    sync(old)
    new = project.opened(project.local("new"), text='lines = ["Kind: {kind}", "Thing: {name}"]')
    live = as_live(new, new.store.ledger())
    assert (live.text_columns, live.embedder.fingerprint.model) == (("name",), "old")
    with sqlite3.connect(project.folder / "things.db") as database:
        database.execute("update things set name = 'the green cat' where id = 0")
    database.close()
    report = sync(new)
    assert report.reasons["live generation: embedded"] == 1
    assert report.inserted == 4
    assert first(new, "Kind: x\nThing: the green cat") == (0, 1.0)
    roll_back(new)
    assert first(new, "name: the green cat") == (0, 1.0)
    assert sync(new).unchanged == 4


def test_a_former_model_of_a_service_gets_the_key_of_that_service_only(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-official-service")
    with EmbeddingServer(dimension=8, api_key=SECRET) as mine, EmbeddingServer(dimension=8) as other:

        def at(url: str, model: str, key: str = "") -> str:
            given = f', api_key = "{key}"' if key else ""
            return f'kind = "openai", model = "{model}", base_url = "{url}", dimensions = 8{given}'

        old = project.opened(at(mine.url, "text-embedding-3-small", SECRET))
        sync(old)
        assert SECRET not in old.spec.settings
        assert SECRET not in old.store.ledger().settings
        moved = project.opened(at(other.url, "text-embedding-3-large", "sk-of-another-service"))
        for key in ("sk-of-the-official-service", "sk-of-another-service"):
            mine.api_key = key
            with pytest.raises(EmbedderError):
                first(moved, "the cat")
        mine.api_key = SECRET
        assert mine.billed_texts.total() == 4
        same = project.opened(at(mine.url, "text-embedding-3-large", SECRET))
        assert first(same, "the cat")[0] is not None, "the service knows the key"


def test_what_is_kept_holds_no_secret_and_nothing_of_the_machine(tmp_path: Path) -> None:
    project = Project(tmp_path, 'kind = "libsql", url = "v.db"')
    declared = project.declare(
        f'kind = "openai", model = "m", base_url = "http://localhost:1/v1?key={SECRET}", api_key = "{SECRET}"'
    ).pipeline()
    assert SECRET not in _kept(declared)
    assert json.loads(_kept(declared))["embedder"]["base_url"] == "http://localhost:1/v1"
    declared = project.declare('kind = "sentence-transformers", model = "m", trust_remote_code = true').pipeline()
    assert "trust_remote_code" not in _kept(declared), "code is run only for the model that the config names"


def _kept(declared: PipelineConfig) -> str:
    return kept(declared, MemorySource({1: {"name": "x"}}), ())


def test_books_that_somebody_spoiled_are_told(project: Project, postgres_url: str) -> None:
    if "libsql" in project.store:
        pytest.skip("the same code for every store")
    old = project.opened(project.local("old"))
    sync(old)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "update rowvec.generations set settings ="
            " jsonb_set(settings::jsonb, '{embedder,precision}', '\"half\"')::text"
        )
    new = project.opened(project.local("new"))
    said: list[str] = []
    sync(new, tell=said.append)
    assert "the settings kept with it do not fit" in said[0]
