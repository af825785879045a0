"""Both kinds keep what rowvec relies on: run with `pytest` where this package and rowvec are installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from rowvec_feeds.feed import FeedSource
from rowvec_feeds.hashing import HashingEmbedder

from rowvec.embedders.base import Embedder
from rowvec.sources.base import Source
from rowvec.testing.contract import EmbedderContract, SourceContract

ITEM = "<item><guid>g{n:03}</guid><title>Title {n}</title><description>Text {n}</description></item>"


class TestFeed(SourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        path = tmp_path / "news.rss"
        items = "".join(ITEM.format(n=n) for n in range(30))
        path.write_text(f"<rss><channel>{items}</channel></rss>", encoding="utf-8")
        return FeedSource(path)


class TestHashing(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return HashingEmbedder(64)
