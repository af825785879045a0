"""rowvec as a library: one call for each thing that the command line does."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

from rowvec import assemble
from rowvec.filters import bind, parse
from rowvec.pipeline import Options
from rowvec.searcher import Mode, Searcher, SearchResult
from rowvec.syncing.preview import documents_to_embed
from rowvec.syncing.run import sync as carry_out
from rowvec.types import Document, Report


def sync(
    pipeline: str | None = None,
    *,
    config: Path | str | None = None,
    max_cost: float | None = None,
    **options: Any,
) -> Report:
    """Make the vectors of a pipeline match its rows, or carry out the change events that are there.

    Args:
        pipeline: its name in the config; not needed where there is one.
        config: a rowvec.toml or its folder; the nearest one from the working directory upwards by default.
        max_cost: US dollars that a paid model may cost.
        options: fields of rowvec.pipeline.Options, such as `limit=100` or `force=True`; with either of these a pipeline
            of change events is compared with its table instead.

    Raises:
        RowvecError: see rowvec.errors; what was embedded before is stored.
    """
    with assemble.opened(_path(config), pipeline, max_cost=max_cost) as opened:
        return carry_out(opened, Options(**options))


async def sync_async(pipeline: str | None = None, **arguments: Any) -> Report:
    """The same from a coroutine: it runs in a thread, the event loop goes on."""
    return await asyncio.to_thread(sync, pipeline, **arguments)


def rows_to_embed(limit: int, pipeline: str | None = None, *, config: Path | str | None = None) -> list[Document]:
    """Up to `limit` documents that a sync would embed now. Nothing is written, embedded or paid for."""
    with assemble.opened(_path(config), pipeline) as opened:
        return list(itertools.islice(documents_to_embed(opened), limit))


def search(
    query: str,
    pipeline: str | None = None,
    *,
    config: Path | str | None = None,
    mode: Mode = "semantic",
    limit: int = 10,
    where: str | None = None,
) -> SearchResult:
    """The best rows for a query. Each call loads the model: keep a rowvec.searcher.Searcher for many.

    Args:
        where: a filter on metadata columns, such as `price < 100 and supplier = 'HP'`.
    """
    with assemble.opened(_path(config), pipeline) as opened:
        searcher = Searcher.of(opened)
        condition = bind(parse(where), opened.spec.metadata) if where else None
        return searcher.search(query, mode=mode, limit=limit, where=condition)


def _path(config: Path | str | None) -> Path | None:
    return None if config is None else Path(config)
