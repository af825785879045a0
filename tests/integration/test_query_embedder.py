"""Rows embedded by a service and queries by the same model on this machine; and what is not the same model."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rowvec
from rowvec.cli.check import _lines
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.separate_queries import SAMPLES, SeparateQueries
from rowvec.errors import ConfigError, EmbedderError, EmbedderUnavailable
from rowvec.pipeline import Pipeline
from rowvec.serve.query_cache import WARM_WORDS, CachedQueries
from rowvec.testing import HashEmbedder
from rowvec.types import Check
from tests.integration.adapters_rig import NOTES
from tests.integration.serve_rig import application, client_of, product_pipeline, serving
from tests.support_tiny_models import WIDTH, tiny_model

CONFIG = """
[pipelines.notes]
source = {{ kind = "sql", url = "sqlite:///notes.db", table = "notes", key = "id" }}
text = {{ template = "{{{{ body }}}}" }}
store = {{ kind = "libsql", url = "vectors.db" }}

[pipelines.notes.embedder]
kind = "openai"
base_url = "{url}/v1"
model = "tiny"
dimensions = {size}
max_tries = 1

[pipelines.notes.query_embedder]
kind = "local"
model = "./{model}"
cache_dir = "cache"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model(tmp_path / "tiny")
    tiny_model(tmp_path / "other", seed=1)
    with sqlite3.connect(tmp_path / "notes.db") as connection:
        connection.execute("create table notes (id integer primary key, body text)")
        connection.executemany("insert into notes values (?, ?)", [(key, body) for key, body, *_ in NOTES])
    connection.close()
    return tmp_path


@pytest.fixture
def service(folder: Path) -> Iterator[str]:
    """rowvec itself, which serves the small model to everybody who speaks OpenAI's API."""
    embedder = LocalEmbedder(str(folder / "tiny"), cache_dir=folder / "served", overflow="mean")
    with serving(application(product_pipeline(embedder=embedder, count=1))) as url:  # type: ignore[arg-type]
        yield url
    embedder.close()


def configured(folder: Path, url: str, model: str = "tiny", size: int = WIDTH) -> Path:
    config = folder / "rowvec.toml"
    config.write_text(CONFIG.format(url=url, model=model, size=size))
    return config


def best(config: Path) -> int:
    with rowvec.open(config) as project:
        found = project.pipeline().search("the dog and the cat", limit=1).hits[0].key
    assert isinstance(found, int)
    return found


def checked(config: Path) -> Check:
    return next(each for each in _lines(config, "notes", apply=False) if each.what == "queries")


def test_queries_are_embedded_here_and_the_service_may_be_away(folder: Path, service: str) -> None:
    config = configured(folder, service)
    rowvec.sync(config=config)
    assert best(config) == 4
    kept = json.loads((folder / ".rowvec" / "notes.query_embedder.json").read_text())
    assert next(iter(kept.values())) > 0.9999
    # The same rows and the same proof, and nobody at the address of the service.
    configured(folder, "http://127.0.0.1:9")
    assert best(config) == 4
    (folder / ".rowvec" / "notes.query_embedder.json").write_text("{ damaged")
    with pytest.raises(EmbedderUnavailable, match="cannot be reached"):
        best(config)


def test_another_model_is_refused_and_check_says_so(folder: Path, service: str) -> None:
    config = configured(folder, service, model="other")
    rowvec.sync(config=config)
    for _ in range(2):
        with pytest.raises(EmbedderError, match="does not agree with the embedder") as caught:
            best(config)
        assert "0.99 is the least" in str(caught.value)
    line = checked(config)
    assert not line.ok and "Leave out query_embedder" in str(line.fix)
    configured(folder, service)
    line = checked(config)
    assert line.ok and "1.0000 or more" in line.detail


def test_other_dimensions_are_refused_before_anything_is_sent() -> None:
    rows, queries = HashEmbedder(8), HashEmbedder(12)
    with pytest.raises(EmbedderError, match="gives vectors of 12 numbers, the embedder of 8"):
        SeparateQueries(rows, queries)


def test_a_pair_is_compared_once_for_many_queries(tmp_path: Path) -> None:
    rows, queries = Counting(8), Counting(8)
    pair = SeparateQueries(rows, queries, tmp_path / "proof.json")
    for _ in range(3):
        pair.embed_query("x")
    assert (rows.queries, queries.queries) == (len(SAMPLES), len(SAMPLES) + 3)
    again = SeparateQueries(Counting(8), Counting(8), tmp_path / "proof.json")
    again.embed_query("x")
    assert (again.rows.queries, again.queries.queries) == (0, 1)
    # Nothing is known where queries have another prompt, which no fingerprint holds, nor of another pair.
    prompted = SeparateQueries(Counting(8), Counting(8), tmp_path / "proof.json", "query: ")
    prompted.embed_query("x")
    assert prompted.rows.queries == len(SAMPLES)
    other = SeparateQueries(Counting(8, model="other"), Counting(8), tmp_path / "proof.json")
    with pytest.raises(EmbedderError, match="does not agree"):
        other.embed_query("x")


def test_rows_and_the_texts_of_the_server_keep_the_embedder_of_the_rows() -> None:
    rows, queries = HashEmbedder(8), Counting(8)
    pair = SeparateQueries(rows, queries)
    assert np.array_equal(pair.embed(["x"]).vectors, rows.embed(["x"]).vectors)
    assert pair.fingerprint == rows.fingerprint and queries.queries == 0


@pytest.mark.parametrize("billed", [False, True])
def test_the_page_goes_by_what_queries_cost_and_not_rows(billed: bool) -> None:
    made, queries = product_pipeline(count=1), Counting(16, billed=billed)
    of_billed_rows = SeparateQueries(HashEmbedder(16, billed=True), queries)
    CachedQueries(made.embedder, 10, of_billed_rows).warm()
    assert queries.queries - len(SAMPLES) == (1 if billed else len(WARM_WORDS))
    declared = replace(made, query_embedder=SeparateQueries(made.embedder, queries))
    with client_of(application(declared)) as client:
        assert client.get("/pipelines").json()["pipelines"][0]["billed"] is billed


def test_a_former_model_embeds_its_own_queries() -> None:
    made: Pipeline = product_pipeline(count=1)
    separate = SeparateQueries(made.embedder, HashEmbedder(16))
    declared = replace(made, query_embedder=separate)
    assert declared.searching is separate
    former = HashEmbedder(16, model="former")
    assert replace(declared, embedder=former).searching is former


def test_another_query_prompt_is_compared_again(folder: Path, service: str) -> None:
    config = configured(folder, service)
    rowvec.sync(config=config)
    assert best(config) == 4
    config.write_text(config.read_text() + 'query_prompt = "mouse mouse mouse mouse mouse mouse "\n')
    with pytest.raises(EmbedderError, match="does not agree with the embedder"):
        best(config)


def test_a_mistake_in_the_table_is_named_with_its_place(folder: Path) -> None:
    config = configured(folder, "http://127.0.0.1:9")
    config.write_text(
        config.read_text().replace('kind = "local"\nmodel = "./tiny"', 'kind = "local"\nmodle = "./tiny"')
    )
    with pytest.raises(ConfigError, match=r"pipelines\.notes\.query_embedder\.modle"):
        rowvec.open(config)


class Counting(HashEmbedder):
    """Counts queries, and not what rows ask it for."""

    queries = 0

    def embed_query(self, text: str) -> np.ndarray:
        self.queries += 1
        return super().embed_query(text)
