"""Deleting the vectors of rows that are gone or have lost their text, unless those are too many to be believed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from rowvec.errors import DeletionGuard
from rowvec.pipeline import Pipeline
from rowvec.sources.base import Selection
from rowvec.support.retry import patiently
from rowvec.syncing.pages import missing_keys
from rowvec.types import Key, Report, WriteBatch

KEYS_AT_ONCE = 5000


def check_share(pipeline: Pipeline, missing: int, present: int, emptied: int = 0) -> None:
    """
    Args:
        missing: so many of the `present` entries of the ledger are not in the source.
        emptied: so many others of them are there, and their text is empty now.

    Raises:
        DeletionGuard: that is more than half of them.
    """
    if missing + emptied > present / 2:
        of_all = f" of the {present:,} rows in {pipeline.store.location}"
        said = [f"{missing:,}{of_all} are gone from the source"] if missing else []
        said += [f"{emptied:,}{'' if missing else of_all} have no text any more"] if emptied else []
        raise DeletionGuard(
            f"{' and '.join(said)}: more than half. Nothing was deleted.",
            hint="If that is right, run it again with --allow-delete; if not, look at the source, its `where` and"
            " the text settings.",
        )


def delete_emptied(pipeline: Pipeline, report: Report, stop: threading.Event, keys: Sequence[Key]) -> None:
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = list(keys[start : start + KEYS_AT_ONCE])
        patiently(stop, pipeline.store.write, WriteBatch(deletes=some))
        report.deleted += len(some)


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
