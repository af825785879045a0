"""Pipelines for the adapters: one in memory, with a reranker, and one of a rowvec.toml."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rowvec
from rowvec.api.project_pipeline import ProjectPipeline
from rowvec.rerankers.service import ServiceReranker
from tests.integration.serve_rig import KEY as SERVER_KEY
from tests.integration.serve_rig import application, product_pipeline, project_pipeline, serving
from tests.servers.rerank import KEY, RerankServer
from tests.support_tiny_models import tiny_model

QUERY = "brake pads"
CONFIG = """
[pipelines.notes]
source = { kind = "sql", url = "sqlite:///notes.db", table = "notes", key = "id" }
text = { template = "{{ body }}" }
embedder = { kind = "local", model = "./tiny", cache_dir = "cache" }
store = { kind = "libsql", url = "vectors.db", metadata = ["colour", "weight"] }
"""
NOTES = [
    (1, "the cat sat on the mat", "red", 1.5),
    (2, "a dog runs under the blue mat", "blue", 2.5),
    (3, "red and green", "green", None),
    (4, "the dog and the cat", "red", 9.0),
]


def in_memory(server: RerankServer | None = None) -> ProjectPipeline:
    """Sixty products. `server` prefers those with the largest numbers."""
    made = product_pipeline(count=60)
    if server is not None:
        reranker = ServiceReranker("cohere", server.url("cohere"), "m", api_key=KEY, top=60, timeout=20.0)
        made = dataclasses.replace(made, reranker=reranker)
    return project_pipeline(made)


@contextmanager
def served(pipeline: ProjectPipeline) -> Iterator[str]:
    """The address of a `rowvec serve` that has it, under the key SERVER_KEY."""
    with serving(application(pipeline.searchable, api_keys=(SERVER_KEY,), rate=1e6)) as url:
        yield url


@contextmanager
def ranking() -> Iterator[RerankServer]:
    with RerankServer(lambda query, text: float(text.split()[-1])) as running:
        yield running


def project(folder: Path) -> Path:
    """A rowvec.toml over SQLite and libSQL, with a small model of its own, synced."""
    tiny_model(folder / "tiny")
    with sqlite3.connect(folder / "notes.db") as connection:
        connection.execute("create table notes (id integer primary key, body text, colour text, weight real)")
        connection.executemany("insert into notes values (?, ?, ?, ?)", NOTES)
    connection.close()
    config = folder / "rowvec.toml"
    config.write_text(CONFIG)
    assert rowvec.sync(config=config).inserted == len(NOTES)
    return config
