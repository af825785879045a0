"""An embedding API, a project with workers, sources and stores that tests open, and products to serve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from rowvec.pipeline import Pipeline
from rowvec.sources.sql import SqlSource
from tests.integration.celery_rig import made, redis
from tests.integration.serve_rig import application, client_of, filled_store, product_pipeline
from tests.integration.sql_rig import Open
from tests.integration.stores_rig import opened
from tests.servers.openai import EmbeddingServer

__all__ = ["made", "opened", "redis"]


@pytest.fixture
def model() -> Iterator[EmbeddingServer]:
    with EmbeddingServer(dimension=8) as server:
        yield server


@pytest.fixture
def source() -> Iterator[Open]:
    opened: list[SqlSource] = []

    def open_source(url: str, **settings: Any) -> SqlSource:
        opened.append(SqlSource(url, **{"key": "id", **settings}))
        return opened[-1]

    yield open_source
    for each in opened:
        each.close()


@pytest.fixture(scope="module", params=["memory", "postgres"])
def products(request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    """In a store in memory, then in PostgreSQL."""
    if request.param == "memory":
        yield product_pipeline()
        return
    with filled_store(request.getfixturevalue("server")) as store:
        yield product_pipeline(store, synced=False)


@pytest.fixture(scope="module")
def client(products: Pipeline) -> Iterator[httpx.Client]:
    """Of a server of the module's `products`."""
    with client_of(application(products)) as client:
        yield client
