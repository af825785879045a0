"""One call for one thing: each opens the project, does its work and closes it again.

A program that asks more than once keeps a project open (`rowvec.open`): its model stays loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rowvec.api.calls import Call
from rowvec.api.project import Project
from rowvec.api.results import AuditResult, Plan, SyncResult
from rowvec.auditing.findings import SAMPLE
from rowvec.filters import Filter
from rowvec.pipeline_status import Status
from rowvec.searcher import Mode, SearchResult
from rowvec.support.tables import Rows
from rowvec.types import Document, Generation, Key


@Call
def sync(
    pipeline: str | None = None,
    *,
    config: Path | str | None = None,
    max_cost: float | None = None,
    keys: Sequence[Key] | None = None,
    limit: int | None = None,
    force: bool = False,
    full: bool = False,
    retry_failed: bool = False,
    allow_delete: bool = False,
    from_start: bool = False,
    accept: bool = False,
    stop: threading.Event | None = None,
) -> SyncResult:
    """Make the vectors of a pipeline match its rows. See `ProjectPipeline.sync`."""
    with Project(config) as project:
        return project.pipeline(pipeline, max_cost=max_cost).sync(
            keys=keys,
            limit=limit,
            force=force,
            full=full,
            retry_failed=retry_failed,
            allow_delete=allow_delete,
            from_start=from_start,
            accept=accept,
            stop=stop,
        )


@Call
def plan(
    pipeline: str | None = None,
    *,
    config: Path | str | None = None,
    keys: Sequence[Key] | None = None,
    limit: int | None = None,
    force: bool = False,
    full: bool = False,
    retry_failed: bool = False,
    stop: threading.Event | None = None,
) -> Plan:
    """What a sync would do, why, and what it would cost. See `ProjectPipeline.plan`."""
    with Project(config) as project:
        return project.pipeline(pipeline).plan(
            keys=keys, limit=limit, force=force, full=full, retry_failed=retry_failed, stop=stop
        )


@Call
def search(
    query: str | None = None,
    pipeline: str | None = None,
    *,
    config: Path | str | None = None,
    mode: Mode = "semantic",
    limit: int = 10,
    where: str | Filter | None = None,
    explain: bool = False,
    exact: bool = False,
    passages: int = 1,
    rerank: bool | None = None,
    ranking: Mapping[str, Any] | None = None,
    generation: Literal["live", "previous", "building"] = "live",
    typos: bool | None = None,
    prefix: bool | None = None,
    partial: bool | None = None,
    facets: Sequence[str] = (),
    facet_limit: int = 10,
    distinct: str | None = None,
    offset: int = 0,
    after: str | None = None,
    order: str | None = None,
) -> SearchResult:
    """The best rows for a query, or without one those that pass the filter. See `ProjectPipeline.search`."""
    with Project(config) as project:
        return project.pipeline(pipeline).search(
            query, mode=mode, limit=limit, where=where, explain=explain, exact=exact, passages=passages, rerank=rerank,
            ranking=ranking, generation=generation,
            facets=facets, facet_limit=facet_limit, distinct=distinct, offset=offset, after=after, order=order,
            typos=typos, prefix=prefix, partial=partial,
        )  # fmt: skip


@Call
def similar(
    key: Key,
    pipeline: str | None = None,
    *,
    config: Path | str | None = None,
    limit: int = 10,
    where: str | Filter | None = None,
    explain: bool = False,
    passages: int = 1,
    partial: bool | None = None,
) -> SearchResult:
    """The rows nearest to the row `key`, itself left out. See `ProjectPipeline.similar`."""
    with Project(config) as project:
        return project.pipeline(pipeline).similar(
            key, limit=limit, where=where, explain=explain, passages=passages, partial=partial
        )


@Call
def status(pipeline: str | None = None, *, config: Path | str | None = None) -> Status:
    """How far the vectors are in step with the rows. See `ProjectPipeline.status`."""
    with Project(config) as project:
        return project.pipeline(pipeline).status()


@Call
def audit(
    pipeline: str | None = None,
    *,
    config: Path | str | None = None,
    sample: int = SAMPLE,
    fix: bool = False,
    allow_delete: bool = False,
    stop: threading.Event | None = None,
) -> AuditResult:
    """Compare every row with the store and the store with every row. See `ProjectPipeline.audit`."""
    with Project(config) as project:
        return project.pipeline(pipeline).audit(sample=sample, fix=fix, allow_delete=allow_delete, stop=stop)


@Call
def rollback(pipeline: str | None = None, *, config: Path | str | None = None) -> Rows[Generation]:
    """Swap the live generation and the previous one. See `ProjectPipeline.rollback`."""
    with Project(config) as project:
        return project.pipeline(pipeline).rollback()


@Call
def rows_to_embed(limit: int, pipeline: str | None = None, *, config: Path | str | None = None) -> Sequence[Document]:
    """Up to `limit` documents that a sync would embed now. See `ProjectPipeline.rows_to_embed`."""
    with Project(config) as project:
        return project.pipeline(pipeline).rows_to_embed(limit)
