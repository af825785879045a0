"""How far a cursor column was read, so that the next sync compares only what has changed since.

A cursor is stamped before its transaction commits, so a row can appear below the highest value that was seen. Each
read therefore starts a lag below it, and rows that commit later than that are found when all rows are compared, which
happens every `full_every`. The mark is the highest value there was *before* anything was read, and it moves only when
everything read is written or recorded as a failure.

A cursor says nothing of rows that are gone, nor of those that appear with an old value or come into view of `where`.
They are noticed by their number: of the rows that the source holds, as many as last time should be without an entry in
the ledger, and it should hold no more than it did when the last sync ended and the cursor tells of.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from rowvec.documents.text import settings_and_rendering
from rowvec.embedders.base import AbsentEmbedder
from rowvec.generations.watermark import STREAM, Watermark
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import CursorValue, Incremental
from rowvec.sources.cursor_marks import Settled, settled
from rowvec.sources.cursor_values import is_below, lowered
from rowvec.stores.base import GenerationHandle
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.clocks import now_of
from rowvec.support.figures import count
from rowvec.support.retry import patiently
from rowvec.syncing.plan import Circumstances
from rowvec.types import Key
from rowvec.words import FORMAT

MOST_KEYS = 200_000
"""When more rows than that have changed, all are compared: their keys are held in memory."""
KEYS_AT_ONCE = 5000
EMPTY_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Reading:
    """Which rows a sync compares, and why those."""

    options: Options
    comparison: str = ""
    """In words for the user; empty where no cursor is set."""
    rows: int | None = None
    """Number of rows to compare, where that is known."""
    source_rows: int = 0
    """Number of rows in the source before anything was read: too few rather than too many, and a deletion is noticed
    late rather than looked for in vain."""
    before: Watermark | None = None
    next: Watermark | None = None
    """What to remember when the sync has ended, its counts aside."""

    @property
    def incremental(self) -> bool:
        return self.options.changed is not None


def choose(
    pipeline: Pipeline,
    generation: GenerationHandle | None,
    options: Options,
    at: Circumstances,
    stop: threading.Event,
    *,
    entries: int = 0,
    refused: bool = False,
) -> Reading:
    """Decide which rows to compare: those that the cursor tells of, or all of them.

    Args:
        generation: what is compared with; None where there is nothing yet.
        entries: rows of the ledger; it matters only where all rows may be compared.
        refused: a refusal to delete stands: only a comparison of all rows tells whether it still holds.

    Raises:
        ConfigError: the lag does not suit the column.
        SourceError: the column holds no time or number.
    """
    source = pipeline.source
    partial = options.after is not None or options.until is not None
    if not isinstance(source, Incremental) or source.cursor is None or partial:
        return Reading(options)
    before = _load(generation, stop) if generation is not None else None
    if not options.whole:
        # What it writes is not a reason to distrust the ledger next time.
        return Reading(options, before=before, next=before)
    # Before anything is read: where the mark is this moment, rows that are stamped later lie above it.
    now = patiently(stop, now_of, source)
    highest = patiently(stop, settled, source, now, pipeline.cursor.lag, pipeline.cursor.full_every)
    rows = patiently(stop, source.count)
    reason = _reason_for_all(pipeline, options, at, before, highest.mark, entries)
    if reason is None and refused:
        reason = "the last sync refused to delete"
    if reason is None:
        assert before is not None
        assert generation is not None
        since = lowered(before.highest, pipeline.cursor.lag)
        keys = _changed(pipeline, generation, since, stop)
        unseen = _unseen(generation, before, rows, keys, stop) if len(keys) <= MOST_KEYS else 0
        if unseen > 0:
            reason = f"the source holds {count(unseen, 'row')} more than {source.cursor} tells of"
        elif len(keys) <= MOST_KEYS:
            return Reading(
                replace(options, changed=keys),
                f"{len(keys):,} of {rows:,} rows: {source.cursor} since {since}, rows without it, and rows that failed"
                " before."
                f" All are compared next after {before.compared_at + pipeline.cursor.full_every:%Y-%m-%d %H:%M} UTC."
                f"{_told(highest)}",
                len(keys),
                rows,
                before,
                _next(pipeline, highest, before.compared_at),
            )
        else:
            reason = f"more than {MOST_KEYS:,} rows have changed"
    words = f"all rows: {reason}.{_told(highest)}"
    return Reading(options, words, rows, rows, before, _next(pipeline, highest, at.now))


def _told(highest: Settled) -> str:
    return f" {highest.aside[0].upper()}{highest.aside[1:]}." if highest.aside else ""


def _reason_for_all(
    pipeline: Pipeline,
    options: Options,
    at: Circumstances,
    before: Watermark | None,
    highest: CursorValue | None,
    entries: int,
) -> str | None:
    """Why all rows must be compared; None where those that the cursor tells of are enough."""
    if before is None or not entries:
        return "nothing was compared yet"
    if before.settings != _settings(pipeline) or at.recipe_changed or at.rendering_changed or at.model_changed:
        return "the settings have changed"
    if options.full or options.force:
        return "as asked for"
    if not dt.timedelta() <= at.now - before.compared_at < pipeline.cursor.full_every:
        return f"the last time was {before.compared_at:%Y-%m-%d %H:%M} UTC"
    if before.entries != entries:
        return f"the store holds {count(entries, 'row')}, and the last sync left {before.entries:,}"
    cursor = pipeline.source.cursor if isinstance(pipeline.source, Incremental) else None
    if highest is None:
        return f"no row has a value in {cursor} that tells what has changed"
    if is_below(highest, lowered(before.highest, pipeline.cursor.lag)):
        return f"{cursor} went back from {before.highest} to {highest}"
    return None


def _changed(
    pipeline: Pipeline, generation: GenerationHandle, since: CursorValue, stop: threading.Event
) -> tuple[Key, ...]:
    """What the cursor tells of, and the rows that failed before, whose cursor does not move when they are due."""
    source = pipeline.source
    assert isinstance(source, Incremental)
    keys = dict.fromkeys(patiently(stop, source.changed, since, MOST_KEYS))
    keys.update(dict.fromkeys(failure.key for failure in patiently(stop, generation.failures)))
    ordered: list[Any] = list(keys)
    return tuple(sorted(ordered))


def _unseen(
    generation: GenerationHandle, before: Watermark, rows: int, keys: Sequence[Key], stop: threading.Event
) -> int:
    """The least number of rows that are new in the source and not among the `keys` that the cursor names; 0 or less
    where it names all of them, or where others are gone."""
    if before.rows is None or rows <= before.rows:
        return 0
    known = set(before.empty)
    return rows - before.rows - sum(str(key) not in known for key in _without_entry(generation, keys, stop))


def _newest(pipeline: Pipeline, mark: Watermark, stop: threading.Event) -> Sequence[Key]:
    """What the cursor is going to tell of again."""
    source = pipeline.source
    assert isinstance(source, Incremental)
    return patiently(stop, source.changed, lowered(mark.highest, pipeline.cursor.lag), KEYS_AT_ONCE)


def _without_entry(generation: GenerationHandle, keys: Sequence[Key], stop: threading.Event) -> Iterator[Key]:
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[start : start + KEYS_AT_ONCE]
        there = patiently(stop, generation.lookup, some)
        yield from (key for key in some if key not in there or there[key].text_hash is None)


def _next(pipeline: Pipeline, highest: Settled, compared_at: dt.datetime) -> Watermark | None:
    return None if highest.mark is None else Watermark(highest.mark, compared_at, _settings(pipeline))


def vanished(pipeline: Pipeline, reading: Reading, entries: int, stop: threading.Event) -> int:
    """The least number of rows that are in the ledger and gone from the source, when the ledger holds `entries`."""
    unembedded = reading.before.unembedded if reading.before is not None else 0
    return max(0, entries + unembedded - patiently(stop, pipeline.source.count))


def keep(
    pipeline: Pipeline,
    generation: GenerationHandle,
    reading: Reading,
    stop: threading.Event,
    *,
    conflicts: int,
    entries: Callable[[], int],
    more: int,
) -> None:
    """Remember that everything was read, and written or recorded as a failure.

    Args:
        entries: counts the rows of the ledger.
        more: the rows that this sync has added to the ledger, without those that it has deleted.
    """
    mark = reading.next
    # Without an embedder, what has changed is left as it is, and is not a failure either.
    if mark is None or conflicts or isinstance(pipeline.embedder, AbsentEmbedder):
        return
    if reading.options.whole or reading.incremental:
        left = entries()
        # Counted after everything was read: what came meanwhile is not missed, or read twice.
        rows = patiently(stop, pipeline.source.count)
        named = reading.options.changed or _newest(pipeline, mark, stop)
        empty = islice(_without_entry(generation, named, stop), EMPTY_KEPT)
        unembedded = reading.source_rows - left
        mark = replace(mark, entries=left, unembedded=unembedded, rows=rows, empty=tuple(map(str, empty)))
    elif more:
        # The table is not counted for a few rows that were named: where others have written too, the next sync sees
        # that the number is not the one it was left with. Those rows may be new, and need not be looked for then.
        known = None if mark.rows is None else mark.rows + max(0, more)
        mark = replace(mark, entries=mark.entries + more, rows=known)
    else:
        return
    patiently(stop, generation.write, WriteBatch(offsets={STREAM: mark.encoded()}))


def _load(generation: GenerationHandle, stop: threading.Event) -> Watermark | None:
    text = patiently(stop, generation.offsets).get(STREAM)
    return None if text is None else Watermark.decoded(text)


def _settings(pipeline: Pipeline) -> str:
    source, spec = pipeline.source, pipeline.spec
    assert isinstance(source, Incremental)
    fingerprint = spec.fingerprint.identity() if spec.fingerprint else None
    # Other rendering rules are told by the ledger.
    text = settings_and_rendering(spec.recipe)[0]
    words = None if spec.language is None else (spec.language, FORMAT, *([True] if spec.keeps_words else []))
    parts = (source.identity, source.cursor, spec.key, spec.key_type, spec.metadata, text, fingerprint, words)
    return hashlib.blake2b(repr((*parts, pipeline.keep_missing)).encode(), digest_size=16).hexdigest()
