"""An embedding API, a shop whose rows it embeds, a project with workers, and a browser: what most of these tests begin
with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.acceptance.browser_rig import chromium, faultless
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """Of the server that the module's `url` names."""
    with faultless(browser, url) as page:
        yield page
