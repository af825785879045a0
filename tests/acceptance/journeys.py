"""Every kind of source with every kind of store and embedder, as processes that can be killed at a labelled step.

A journey is a pipeline and a way to bring it up to date. To add a kind: write its class and name it in SOURCES, STORES
or EMBEDDERS.
"""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rowvec.documents.passages import PassageSettings
from rowvec.embedders.base import Embedder
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.openai.client import OpenAIEmbedder
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Source
from rowvec.sources.events.files import EventFiles
from rowvec.sources.events.stream import EventSettings
from rowvec.sources.files.source import FilesSource
from rowvec.sources.sql import SqlSource
from rowvec.stores.base import Store
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.runs import Report
from rowvec.syncing.run import sync
from rowvec.types import Embedded, Fingerprint, Vector
from tests.acceptance.killed import RecordingEmbedder
from tests.integration.debezium_rig import lines, put, removed
from tests.integration.sql_rig import mariadb_database
from tests.servers.hrana import serving
from tests.servers.openai import EmbeddingServer
from tests.support import simple_document, simple_pipeline
from tests.support_tiny_models import tiny_model

Rows = dict[int, str]
Run = Callable[..., object]
TABLE = "create table if not exists things (id integer primary key, name varchar(200), price integer)"


class Place(ABC):
    """Where rows are kept; `write` replaces all of them."""

    @abstractmethod
    def write(self, rows: Rows) -> None: ...

    @abstractmethod
    def open(self) -> Source: ...


class Table(Place):
    def __init__(self, url: str, run: Run) -> None:
        self.url, self.run = url, run
        run(TABLE)

    def write(self, rows: Rows) -> None:
        """Row by row, so that what stands beside them in a table of the user's own stays."""
        wanted = ", ".join(map(str, rows))
        self.run(f"delete from things where id not in ({wanted})")
        for key, name in rows.items():
            self.run(f"update things set name = '{name}', price = 1 where id = {key}")
            self.run(f"insert into things (id, name, price) select {key}, '{name}', 1 where not exists"
                     f" (select 1 from things where id = {key})")  # fmt: skip

    def open(self) -> Source:
        return SqlSource(self.url, table="things", key="id")


class Lines(Place):
    """A file of JSON Lines."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "things.jsonl"

    def write(self, rows: Rows) -> None:
        self.path.write_text("".join(json.dumps({"id": key, "name": rows[key], "price": 1}) + "\n" for key in rows))

    def open(self) -> Source:
        return FilesSource([str(self.path)], key="id")


class Events(Place):
    """Files of change events; each `write` adds one with what has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: Rows = {}
        self.position = self.count = 0

    def write(self, rows: Rows) -> None:
        changes = []
        for key in sorted({*self.rows, *rows}):
            self.position += 1
            if key not in rows:
                changes.append(removed(key, self.position))
            elif rows[key] != self.rows.get(key):
                changes.append(put(key, rows[key], self.position))
        self.count += 1
        (self.folder / f"events-{self.count:03}.jsonl").write_text(lines(changes))
        self.rows = dict(rows)

    def open(self) -> Source:
        events: Any = EventFiles([str(self.folder / "events-*.jsonl")], EventSettings("id"))
        return events


class Bill:
    """An embedder that notes each text that it was asked for where a killed process leaves it behind."""

    def __init__(self, embedder: Embedder, path: Path) -> None:
        self._embedder, self._path = embedder, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    @property
    def fingerprint(self) -> Fingerprint:
        return self._embedder.fingerprint

    def embed(self, texts: Sequence[str]) -> Embedded:
        answer = self._embedder.embed(texts)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write("".join(f"{text}\n" for text in texts))
        return answer

    def embed_query(self, text: str) -> Vector:
        return self._embedder.embed_query(text)


@dataclass
class Journey:
    """One source, one store and one embedder."""

    rows: Place
    open_store: Callable[[], Store]
    open_embedder: Callable[[], Embedder]
    bill: Path
    in_place: bool
    passages: PassageSettings | None = None
    """How long texts are cut."""

    def open(self) -> Pipeline:
        source = self.rows.open()
        source.select(["name", "price"])
        embedder: Any = Bill(self.open_embedder(), self.bill)
        pipeline = simple_pipeline(source, self.open_store(), embedder, page_size=20, passages=self.passages)
        if self.passages is not None:
            made = replace(embedder.fingerprint, passages=self.passages.identity)
            pipeline = replace(pipeline, spec=replace(pipeline.spec, fingerprint=made))
        if self.in_place:
            # Filters ask the table's own columns: nothing is kept beside the vectors for them.
            pipeline = replace(pipeline, to_document=lambda row: simple_document(row)._replace(metadata=()))
            assert isinstance(pipeline.store, PostgresStore)
            pipeline.store.apply(pipeline.spec)
        return pipeline

    def bring_up_to_date(self) -> Report:
        pipeline = self.open()
        try:
            return sync(pipeline, Options(allow_delete=True), batch_events=20)
        finally:
            pipeline.close()


# The kinds of each part. Each function opens what must outlive a single process, in `stack`.

Request = pytest.FixtureRequest


def sqlite_rows(request: Request, folder: Path, stack: ExitStack) -> Place:
    database = stack.enter_context(closing(sqlite3.connect(folder / "things.db", isolation_level=None)))
    database.execute("pragma synchronous = off")
    return Table(f"sqlite:///{folder / 'things.db'}", database.execute)


def postgres_rows(request: Request, folder: Path, stack: ExitStack) -> Place:
    url = request.getfixturevalue("postgres_url")
    connection = stack.enter_context(psycopg.connect(url, autocommit=True))
    return Table(url, connection.execute)


def mariadb_rows(request: Request, folder: Path, stack: ExitStack) -> Place:
    return Table(*stack.enter_context(mariadb_database()))


def jsonl_rows(request: Request, folder: Path, stack: ExitStack) -> Place:
    return Lines(folder)


def event_rows(request: Request, folder: Path, stack: ExitStack) -> Place:
    return Events(folder)


def postgres_store(request: Request, folder: Path, stack: ExitStack) -> Callable[[], Store]:
    url = request.getfixturevalue("postgres_url")
    return lambda: PostgresStore(url, "vectors", pipeline="things")


def in_place_store(request: Request, folder: Path, stack: ExitStack) -> Callable[[], Store]:
    """The vectors stand in a column of the table of rows."""
    url = request.getfixturevalue("postgres_url")

    def opened() -> Store:
        return PostgresStore(url, "things", pipeline="things", column="embedding")

    return opened


def libsql_file(request: Request, folder: Path, stack: ExitStack) -> Callable[[], Store]:
    return lambda: LibsqlStore(str(folder / "vectors.db"), table="vectors")


def libsql_http(request: Request, folder: Path, stack: ExitStack) -> Callable[[], Store]:
    server = stack.enter_context(serving(folder))
    return lambda: LibsqlStore(server.url("vectors"), table="vectors")


def hash_embedder(request: Request, folder: Path, stack: ExitStack) -> Callable[[], Embedder]:
    return lambda: RecordingEmbedder(folder / "unused")


def local_model(request: Request, folder: Path, stack: ExitStack) -> Callable[[], Embedder]:
    model = tiny_model(folder / "model")
    return lambda: LocalEmbedder(str(model), precision="float32", workers=2, cache_dir=folder / "cache")


def paid_api(request: Request, folder: Path, stack: ExitStack) -> Callable[[], Embedder]:
    server = stack.enter_context(EmbeddingServer(dimension=8))
    return lambda: OpenAIEmbedder(
        "text-embedding-3-small", base_url=server.url, api_key="test-key", dimensions=8, batch_size=10, concurrency=2
    )


SOURCES = {
    "sqlite": sqlite_rows,
    "postgres": postgres_rows,
    "mariadb": mariadb_rows,
    "jsonl": jsonl_rows,
    "events": event_rows,
}
STORES = {
    "postgres": postgres_store,
    "libsql-file": libsql_file,
    "libsql-http": libsql_http,
    "in-place": in_place_store,
}
EMBEDDERS = {"hash": hash_embedder, "local": local_model, "api": paid_api}
COMBINATIONS = [
    (source, store, embedder)
    for source in SOURCES
    for store in STORES
    for embedder in EMBEDDERS
    # Vectors beside rows need rows in PostgreSQL.
    if store != "in-place" or source == "postgres"
]


@contextmanager
def journey(names: tuple[str, str, str], request: Request, folder: Path) -> Iterator[Journey]:
    source, store, embedder = names
    with ExitStack() as stack:
        rows = SOURCES[source](request, folder, stack)
        open_store = STORES[store](request, folder, stack)
        open_embedder = EMBEDDERS[embedder](request, folder, stack)
        yield Journey(rows, open_store, open_embedder, folder / "bill", store == "in-place")
