"""What the tests of the server share: pipelines to serve, and a real server for an application."""

from __future__ import annotations

import datetime as dt
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
import uvicorn
from fastapi import FastAPI
from psycopg import sql

from rowvec.api.project_pipeline import ProjectPipeline
from rowvec.pipeline import Pipeline
from rowvec.serve import ServeSettings, Service, create_app
from rowvec.serve.guard.connections import uvicorn_settings
from rowvec.stores.base import Store, TableSpec
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from rowvec.types import Column, ColumnType, Document, Row
from tests.support import digest

COLUMNS = (
    Column("name", ColumnType.TEXT),
    Column("price", ColumnType.NUMBER),
    Column("stock", ColumnType.INTEGER),
    Column("new", ColumnType.BOOLEAN),
    Column("added", ColumnType.TIMESTAMP),
)
NAMES = ("brake pads", "disc rotor", "oil filter", "spark plug", "timing belt", "wiper blade", "<b>clutch</b> & kit")
KEY = "a-key-of-sixteen-characters-or-more"


def rows(count: int) -> dict[Any, dict[str, Any]]:
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    return {
        number: {
            "name": f"{NAMES[number % len(NAMES)]} {number}",
            "price": number * 1.5,
            "stock": number % 10,
            "new": number % 2 == 0,
            "added": start + dt.timedelta(days=number),
        }
        for number in range(1, count + 1)
    }


def _document(row: Row) -> Document:
    name = row.values["name"]
    metadata = tuple(row.values[column.name] for column in COLUMNS)
    return Document(row.key, name, metadata, digest(name), digest(repr(metadata)))


def product_pipeline(
    store: Store | None = None,
    *,
    name: str = "products",
    count: int = 60,
    embedder: HashEmbedder | None = None,
    synced: bool = True,
    data: dict[Any, dict[str, Any]] | None = None,
) -> Pipeline:
    """Products numbered from 1; the text of each is its name."""
    embedder = embedder or HashEmbedder(16)
    source = MemorySource(rows(count) if data is None else data)
    spec = TableSpec(
        pipeline=name,
        key="id",
        key_type=source.key_type,
        dimension=embedder.fingerprint.dimension,
        metadata=COLUMNS,
        fingerprint=embedder.fingerprint,
        recipe="name",
    )
    pipeline = Pipeline(name, source, _document, ("name",), embedder, store or MemoryStore(), spec)
    if synced:
        sync(pipeline)
    return pipeline


def project_pipeline(pipeline: Pipeline, project: Any = None, *, name: str = "products") -> ProjectPipeline:
    """The pipeline as a project gives it."""
    found = ProjectPipeline(project, name, None)
    found._assembled = found._searchable = pipeline
    return found


def opening(found: ProjectPipeline, monkeypatch: pytest.MonkeyPatch, *commands: ModuleType) -> ProjectPipeline:
    """The same pipeline, which these modules of `rowvec.cli` now open."""

    @contextmanager
    def opened(config: Path | None, name: str | None) -> Iterator[ProjectPipeline]:
        yield found

    for command in commands:
        monkeypatch.setattr(command, "opened", opened)
    return found


def application(*pipelines: Pipeline, **settings: Any) -> FastAPI:
    return create_app({each.name: Service(each) for each in pipelines}, ServeSettings(**settings))


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The application on a free port of this machine, as `rowvec serve` runs it; yields its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", **uvicorn_settings(app.state.context.settings))
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            app.state.context.closing.set()
            server.should_exit = True
            thread.join()


@contextmanager
def filled_store(server: str, name: str | None = None) -> Iterator[PostgresStore]:
    """A store in a database `name` of its own that holds the products; `server` is the URL of a PostgreSQL.

    Filled by one store and searched through another, as a server is another process than the sync.
    """
    name = name or f"serve_{uuid4().hex[:12]}"
    url = urlsplit(server)._replace(path=f"/{name}").geturl()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        filling = PostgresStore(url, "products", pipeline="products")
        product_pipeline(filling)
        filling.close()
        store = PostgresStore(url, "products", pipeline="products", readers=4)
        yield store
        store.close()
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@contextmanager
def client_of(app: FastAPI, **options: Any) -> Iterator[httpx.Client]:
    with serving(app) as url, httpx.Client(base_url=url, timeout=30, **options) as client:
        yield client
