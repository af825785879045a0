"""Rows worth a look: cut, repeated, nearly the same, and far from all others."""

from __future__ import annotations

from rowvec.auditing.neighbours import BOUND, LISTED, ROWS, SECONDS, Neighbours, Quality, neighbours
from rowvec.generations.lifecycle import live_rows
from rowvec.pipeline import Pipeline
from rowvec.stores.base import GenerationHandle
from rowvec.types import Progress


def quality(
    pipeline: Pipeline,
    *,
    rows: int = ROWS,
    bound: float = BOUND,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> Quality:
    """
    Args: as those of `neighbours`.

    Raises:
        StoreError: there are no vectors. ConfigError: a bound that cannot be.
    """
    _, live = live_rows(pipeline.store, pipeline.spec)
    found = neighbours(live, rows=rows, bound=bound, seconds=seconds, progress=progress)
    return of(pipeline.name, live, found)


def of(name: str, live: GenerationHandle, found: Neighbours) -> Quality:
    truncated = live.status().truncated
    return Quality(name, truncated, live.truncated(LISTED) if truncated else [], live.repeated(LISTED), found)
