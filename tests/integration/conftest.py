"""An embedding API, a project with workers, and sources that are closed when a test ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rowvec.sources.sql import SqlSource
from tests.integration.celery_rig import made, redis
from tests.integration.sql_rig import Open
from tests.servers.openai import EmbeddingServer

__all__ = ["made", "redis"]


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
