"""Deleting the vectors of rows that are gone from the source, unless those are too many to be believed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rowvec.errors import DeletionGuard
from rowvec.retry import patiently
from rowvec.sources.base import Selection
from rowvec.stream import Pipeline, missing_keys
from rowvec.types import Report, WriteBatch


def check_share(pipeline: Pipeline, missing: int, present: int) -> None:
    """
    Args:
        missing: so many of the `present` entries of the ledger are not in the source.

    Raises:
        DeletionGuard: that is more than half of them.
    """
    if missing > present / 2:
        raise DeletionGuard(
            f"{missing:,} of the {present:,} rows in {pipeline.store.where} are gone from the source:"
            " more than half. Nothing was deleted.",
            hint="If that is right, run it again with --allow-delete; if not, look at the source and its `where`.",
        )


def delete_missing(
    pipeline: Pipeline,
    report: Report,
    stop: threading.Event,
    selection: Selection | None = None,
    progress: Callable[[Report], None] | None = None,
) -> None:
    """Each page of keys is asked of the source again before it is deleted."""
    for keys in missing_keys(pipeline, stop, selection):
        patiently(stop, pipeline.store.write, WriteBatch(deletes=keys))
        report.deleted += len(keys)
        report.reasons["gone from the source"] = report.reasons.get("gone from the source", 0) + len(keys)
        if progress is not None:
            progress(report)
