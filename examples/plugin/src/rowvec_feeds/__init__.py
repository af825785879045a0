"""Two kinds of one's own: RSS feeds as a source, and an embedder that counts words.

The entry points in pyproject.toml name FEED and HASHING; rowvec.toml names them by `kind`. What a source or an
embedder imports is imported when it is built, so that `rowvec --help` stays quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from rowvec.config.bases import EmbedderConfig, SourceConfig
from rowvec.config.kinds import Building, Kind
from rowvec.embedders.base import Embedder
from rowvec.sources.base import Source


def _beside_the_config(value: Path, info: ValidationInfo) -> Path:
    return info.context.folder / value if info.context else value


class FeedConfig(SourceConfig):
    """[pipelines.NAME.source] kind = "feed"."""

    kind: Literal["feed"] = "feed"
    key: Literal["guid"] = "guid"
    path: Annotated[Path, AfterValidator(_beside_the_config)] = Field(examples=["news.rss"])
    """An RSS 2.0 file."""


class HashingConfig(EmbedderConfig):
    """[pipelines.NAME.embedder] kind = "hashing"."""

    kind: Literal["hashing"] = "hashing"
    dimension: int = Field(default=256, ge=8, le=4096)
    """Of the vectors."""


def _feed(chosen: FeedConfig, to: Building) -> Source:
    from rowvec_feeds.feed import FeedSource

    return FeedSource(chosen.path)


def _hashing(chosen: HashingConfig, to: Building) -> Embedder:
    from rowvec_feeds.hashing import HashingEmbedder

    return HashingEmbedder(chosen.dimension)


FEED = Kind(FeedConfig, _feed)
HASHING = Kind(HashingConfig, _hashing)
