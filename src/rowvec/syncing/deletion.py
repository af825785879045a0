"""Deleting the vectors of rows that are gone or have lost their text, unless those are too many to be believed."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rowvec.errors import DeletionGuard
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Selection
from rowvec.stores.base import GenerationHandle
from rowvec.support.retry import patiently
from rowvec.syncing import cursor
from rowvec.syncing.pages import missing_keys
from rowvec.syncing.refusals import RowWriter
from rowvec.syncing.report import OnReport
from rowvec.types import Key, Reason, Report, WriteBatch

KEYS_AT_ONCE = 5000


def too_many(gone: int, present: int) -> bool:
    """More than half of what is there, which is never deleted unasked."""
    return gone > present / 2


def check_share(pipeline: Pipeline, missing: int, present: int, emptied: int = 0) -> None:
    """
    Args:
        missing: the number of the `present` entries of the ledger that are not in the source.
        emptied: the number of others that are in the source and whose text is empty now.

    Raises:
        DeletionGuard: that is more than half of them.
    """
    if too_many(missing + emptied, present):
        of_all = f" of the {present:,} rows in {pipeline.store.location}"
        said = [f"{missing:,}{of_all} are gone from the source"] if missing else []
        said += [f"{emptied:,}{'' if missing else of_all} have no text any more"] if emptied else []
        raise DeletionGuard(
            f"{' and '.join(said)}: more than half. Nothing was deleted.",
            hint="If that is right, run it again with --allow-delete; if not, look at the source, its `where` and"
            " the text settings.",
        )


def knows_share(options: Options) -> bool:
    """All rows are looked at, or those that the user named, or all that changed: it is known what share goes."""
    return options.whole or options.names_rows or options.changed is not None


def missing(
    pipeline: Pipeline,
    generation: GenerationHandle,
    reading: cursor.Reading,
    absent: int,
    entries: int,
    stop: threading.Event,
) -> int:
    """How many entries of the ledger are of rows that are gone from the source.

    Args:
        absent: entries that the rows compared did not meet.
        entries: in the ledger, when what was read is written.
    """
    selection = reading.options.selection
    if selection is not None:
        return sum(map(len, missing_keys(pipeline, generation, stop, selection)))
    if reading.incremental:
        return cursor.vanished(pipeline, reading, entries, stop)
    return max(0, absent)


def sweep(
    pipeline: Pipeline, generation: GenerationHandle, report: Report, stop: threading.Event, *, allow_delete: bool
) -> None:
    """Look for every key of the ledger in the source, and delete those that are gone."""
    if pipeline.keep_missing:
        return
    gone = sum(map(len, missing_keys(pipeline, generation, stop)))
    if not allow_delete:
        check_share(pipeline, gone, patiently(stop, generation.count))
    if gone:
        delete_missing(pipeline, generation, report, stop)


def delete_emptied(generation: GenerationHandle, report: Report, stop: threading.Event, keys: Sequence[Key]) -> None:
    writer = RowWriter(generation, stop)
    for start in range(0, len(keys), KEYS_AT_ONCE):
        _delete(writer, report, list(keys[start : start + KEYS_AT_ONCE]))


def delete_missing(
    pipeline: Pipeline,
    generation: GenerationHandle,
    report: Report,
    stop: threading.Event,
    selection: Selection | None = None,
    progress: OnReport | None = None,
) -> None:
    """Each page of keys is asked of the source again before it is deleted."""
    writer = RowWriter(generation, stop)
    for keys in missing_keys(pipeline, generation, stop, selection):
        report.count(Reason.GONE, _delete(writer, report, keys))
        if progress is not None:
            progress(report)


def _delete(writer: RowWriter, report: Report, keys: list[Key]) -> int:
    """How many were deleted; those that the store refuses to delete are on record as failures."""
    refused = len(writer.write(WriteBatch(deletes=keys)).refused)
    report.deleted += len(keys) - refused
    report.failed += refused
    return len(keys) - refused
