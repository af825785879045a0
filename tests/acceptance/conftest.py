"""An embedding API, a shop whose rows it embeds, and a project with workers: what most of these tests begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.shop import Shop
from tests.integration.celery_rig import made, redis
from tests.servers.openai import EmbeddingServer

__all__ = ["made", "redis"]


@pytest.fixture
def model() -> Iterator[EmbeddingServer]:
    with EmbeddingServer(dimension=16) as server:
        yield server


@pytest.fixture
def shop(request: pytest.FixtureRequest, model: EmbeddingServer, postgres_url: str, tmp_path: Path) -> Shop:
    """Declared, and stocked with as many rows as the module's ROWS says; not synced."""
    shop = Shop(tmp_path, {"MODEL_URL": model.url, "STORE_URL": postgres_url})
    shop.declare()
    shop.stock(getattr(request.module, "ROWS", 12))
    return shop
