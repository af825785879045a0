"""The history of a real dataset catalogue, replayed into a table that is synced every hundred events."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowvec.documents.text import Documents, build_recipe
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.sql import SqlSource
from rowvec.stores.base import Store, TableSpec
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemoryStore
from rowvec.types import Document, Key
from tests.support import rows_of

EVERY = 100
COLUMNS = ("id", "name", "description", "tags", "update_frequency", "license", "managed_by", "documentation")
TEXT_COLUMNS = ("name", "description", "tags")
METADATA = ("license", "managed_by")


@pytest.fixture
def events(data: Path) -> list[dict[str, Any]]:
    with gzip.open(data / "registry" / "events.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.slow
def test_after_every_hundred_events_the_vectors_are_those_of_a_fresh_sync(
    events: list[dict[str, Any]], postgres_url: str, tmp_path: Path
) -> None:
    """And as many texts are embedded as the ledger does not hold: texts that are new to the table, each once.

    A text that another row has already, or that moved from one row to another, costs nothing; a change of metadata
    costs nothing; a text that was gone from the whole table for one sync and comes back is embedded again.
    """
    assert len(events) == 3_500
    path = tmp_path / "registry.db"
    pipeline = opened(path, PostgresStore(postgres_url, "datasets_vectors", pipeline="datasets", index=None))
    before: dict[Key, Document] = {}
    changed_rows = embedded = 0
    for part in chunks(events):
        apply(path, part)
        after = documents(pipeline)
        new_texts = texts(after) - texts(before)
        report = sync(pipeline, Options(allow_delete=True))

        assert report.texts == len(new_texts)
        assert report.inserted == len(after.keys() - before.keys())
        assert report.deleted == len(before.keys() - after.keys())
        common = after.keys() & before.keys()
        retold = {key for key in common if after[key].text != before[key].text}
        assert report.embedded == len(retold)
        assert report.updated == sum(after[key].metadata != before[key].metadata for key in common - retold)
        assert report.failed == report.conflicts == 0
        assert_equal_to_a_fresh_sync(pipeline, path, after)
        changed_rows += report.inserted + report.embedded
        embedded += report.texts
        before = after
    assert 0 < embedded <= changed_rows
    assert sync(pipeline).unchanged == len(before), "and then there is nothing left to do"
    pipeline.close()


def assert_equal_to_a_fresh_sync(pipeline: Pipeline, path: Path, after: Mapping[Key, Document]) -> None:
    fresh = opened(path, MemoryStore())
    sync(fresh)
    keys = sorted(after, key=str)
    assert sorted(rows_of(pipeline).keys(None, 100_000), key=str) == keys
    for key in keys:
        vector, expected = rows_of(pipeline).vector(key), rows_of(fresh).vector(key)
        assert vector is not None
        assert expected is not None
        np.testing.assert_allclose(vector, expected, atol=1e-6, err_msg=str(key))
    found = rows_of(pipeline).metadata(keys)
    assert {key: tuple(found[key].values()) for key in keys} == {key: after[key].metadata for key in keys}
    fresh.close()


def chunks(events: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(events), EVERY):
        yield events[start : start + EVERY]


def apply(path: Path, events: list[dict[str, Any]]) -> None:
    """Carry out change events as the catalogue's own database did."""
    with closing(sqlite3.connect(path)) as database, database:
        for event in events:
            database.execute("delete from datasets where id = ?", (event["key"],))
            if event["op"] != "d":
                values = [event["after"].get(column) for column in COLUMNS]
                said = [json.dumps(value) if isinstance(value, list | dict) else value for value in values]
                database.execute(f"insert into datasets values ({', '.join('?' * len(COLUMNS))})", said)


def opened(path: Path, store: Store) -> Pipeline:
    with closing(sqlite3.connect(path)) as database, database:
        columns = ", ".join(f"{name} text" for name in COLUMNS[1:])
        database.execute(f"create table if not exists datasets (id text primary key not null, {columns})")
    source = SqlSource(f"sqlite:///{path}", table="datasets", key="id")
    recipe = build_recipe(source.columns, "id", columns=TEXT_COLUMNS)
    metadata = tuple(column for column in source.columns if column.name in METADATA)
    embedder = HashEmbedder(dimension=16)
    spec = TableSpec(
        "datasets", "id", source.key_type, 16, metadata, fingerprint=embedder.fingerprint, recipe=recipe.fingerprint
    )
    return Pipeline("datasets", source, Documents(recipe, metadata), recipe.columns, embedder, store, spec)


def documents(pipeline: Pipeline) -> dict[Key, Document]:
    """Of every row that has a text."""
    found = {row.key: pipeline.to_document(row) for page in pipeline.source.pages(1_000) for row in page}
    return {key: document for key, document in found.items() if document.text}


def texts(rows: Mapping[Key, Document]) -> set[str]:
    return {document.text for document in rows.values()}
