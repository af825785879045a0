"""Reading the rows of a pipeline page by page, and planning each page against the ledger."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rowvec.documents.text import settings_and_rendering
from rowvec.documents.values import clean
from rowvec.errors import SourceError
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import ReadsAhead, Selection, Source
from rowvec.sources.events.stream import EventStream, table_of
from rowvec.sources.lazy import opened
from rowvec.sources.page_size import PageSize, sample
from rowvec.stores.base import GenerationHandle
from rowvec.stores.ledger import Ledger
from rowvec.support.clocks import now_of
from rowvec.support.killpoints import Step, reached
from rowvec.support.retry import patiently
from rowvec.support.tracing import span
from rowvec.syncing.plan import LONGEST_WAIT, Circumstances, is_current, plan
from rowvec.types import Change, Document, Failure, Key, PastFailure, Row, Stored


def events_of(pipeline: Pipeline, options: Options) -> EventStream | None:
    """The change events that a sync with these options carries out; None where it compares rows."""
    source = pipeline.source
    compares = options.force or options.full or not options.whole
    return source if isinstance(source, EventStream) and not compares else None


@dataclass(slots=True)
class Page:
    """What is to be done about one page of rows."""

    rows: Sequence[Row]
    known: int
    """How many of the page's keys the ledger holds."""
    changes: list[Change] = field(default_factory=list)
    """Those of rows that are not as they should be."""
    unchanged: int = 0
    recovered: list[Key] = field(default_factory=list)
    """Unchanged rows that failed before."""
    failures: list[Failure] = field(default_factory=list)
    """Rows that could not be made a document."""


def circumstances(pipeline: Pipeline, ledger: Ledger, options: Options, stop: threading.Event) -> Circumstances:
    settings, rendering = settings_and_rendering(ledger.recipe)
    wanted, todays = settings_and_rendering(pipeline.spec.recipe)
    return Circumstances(
        now=patiently(stop, now_of, pipeline.store),
        force=options.force,
        retry=options.retry_failed,
        recipe_changed=ledger.exists and settings != wanted,
        rendering_changed=ledger.exists and rendering != todays,
        model_changed=ledger.filled and ledger.fingerprint not in (None, pipeline.spec.fingerprint),
    )


def planned_pages(
    pipeline: Pipeline, generation: GenerationHandle | None, at: Circumstances, options: Options, stop: threading.Event
) -> Iterator[Page]:
    """Read, render, look up and plan; one page of rows is in hand at a time.

    Args:
        generation: what is compared with; None where there is nothing yet.
    """
    if options.retry_failed and options.selection is None:
        failed = patiently(stop, generation.failures) if generation is not None else []
        if not failed:
            return
        options = replace(options, selection=Selection(keys=tuple(sorted((f.key for f in failed), key=str))))
    to_document = pipeline.documents
    for rows in row_pages(pipeline, options, stop):
        reached(Step.AFTER_READ)
        stored = patiently(stop, generation.lookup, [row.key for row in rows]) if generation is not None else {}
        yield planned(to_document, rows, stored, at)


def planned(
    to_document: Callable[[Row], Document], rows: Sequence[Row], stored: Mapping[Key, Stored], at: Circumstances
) -> Page:
    """What is to be done about those rows, of which the ledger knows `stored`."""
    page = Page(rows, len(stored))
    documents: list[Document] = []
    for row in rows:
        before = stored.get(row.key)
        try:
            document = to_document(row)
        except SourceError as error:
            page.failures.append(new_failure(row.key, error, b"", before, at.now))
            continue
        if before is not None and document.whole_hash is not None:
            document = as_held(document, before.text_hash, before.failure)
        # Let go of at once: where nothing has changed, this loop is the time that a sync takes.
        if before is None or not is_current(document, before, at):
            documents.append(document)
        else:
            page.unchanged += 1
            if before.failure is not None:
                page.recovered.append(row.key)
    page.changes = plan(documents, stored, at)
    return page


def as_held(document: Document, text_hash: bytes | None, failure: PastFailure | None) -> Document:
    """The document as whole where what is held of the row says that its text was one passage: so it is as long as text
    and model stay the same, and none has to be cut to know it."""
    held = (text_hash, failure.text_hash if failure is not None else None)
    return document.as_whole() if document.whole_hash in held else document


def row_pages(pipeline: Pipeline, options: Options, stop: threading.Event) -> Iterator[list[Row]]:
    """Pages of the chosen rows; a broken connection costs a wait, not the run."""
    if options.changed is not None:
        for start in range(0, len(options.changed), pipeline.page_size):
            keys = tuple(options.changed[start : start + pipeline.page_size])
            yield from row_pages(pipeline, replace(options, changed=None, selection=Selection(keys)), stop)
        return
    left, after, read = options.limit, options.after, True
    size = PageSize(pipeline.page_size)
    while read and left != 0 and not stop.is_set():
        read = False
        with span("rowvec.read") as traced:
            pages = patiently(stop, _next_pages, pipeline, size.rows, replace(options, after=after, limit=left), stop)
            if isinstance(pages, list):
                traced.note({"rowvec.rows": sum(map(len, pages))})
        for rows in pages:
            if stop.is_set():
                return
            yield rows
            after, read = rows[-1].key, True
            left = None if left is None else left - len(rows)
            size.learn([row.values.values() for row in sample(rows)])


def _next_pages(pipeline: Pipeline, size: int, options: Options, stop: threading.Event) -> Iterable[list[Row]]:
    """One page; many where the source reads ahead; none at the end."""
    source: Source = table_of(opened(pipeline.source))
    selection, after, until, limit = options.selection, options.after, options.until, options.limit
    if isinstance(source, ReadsAhead):
        ahead = source.read_ahead(
            pipeline.page_size, stop=stop, selection=selection, after=after, until=until, limit=limit
        )
        if ahead is not None:
            return ahead
    wanted = size if limit is None else min(size, limit)
    return list(itertools.islice(source.pages(wanted, selection=selection, after=after, until=until), 1))


def new_failure(key: Key, error: Exception, text_hash: bytes, before: Stored | None, now: dt.datetime) -> Failure:
    """The failure of one row, its next try later each time: a minute, four, sixteen … at most a day."""
    past = before.failure if before is not None else None
    attempts = 1 + (past.attempts if past is not None and past.text_hash == text_hash else 0)
    delay = min(dt.timedelta(minutes=4 ** min(attempts - 1, 8)), LONGEST_WAIT)
    return Failure(key, clean(str(error)), attempts, now, now + delay, text_hash)


def missing_keys(
    pipeline: Pipeline,
    generation: GenerationHandle,
    stop: threading.Event,
    selection: Selection | None = None,
    size: int = 5000,
) -> Iterator[list[Key]]:
    """Keys of the ledger, or of a selection of it, that the source does not hold now; asked of the source itself."""
    for keys in _ledger_keys(generation, stop, selection, size):
        existing = patiently(stop, pipeline.source.existing, keys)
        gone = [key for key in keys if key not in existing]
        if gone:
            yield gone


def _ledger_keys(
    generation: GenerationHandle, stop: threading.Event, selection: Selection | None, size: int
) -> Iterator[list[Key]]:
    if selection is None:
        yield from _keys_between(generation, stop, None, None, size)
        return
    for start in range(0, len(selection.keys), size):
        named = selection.keys[start : start + size]
        known = patiently(stop, generation.lookup, named)
        if known:
            yield list(known)
    for low, high in selection.ranges:
        # Ranges are of integers, which every store orders alike.
        assert isinstance(low, int)
        assert isinstance(high, int)
        yield from _keys_between(generation, stop, low - 1, high, size)


def _keys_between(
    generation: GenerationHandle, stop: threading.Event, after: Key | None, last: int | None, size: int
) -> Iterator[list[Key]]:
    while not stop.is_set():
        keys = patiently(stop, generation.keys, after, size)
        found = [key for key in keys if last is None or (isinstance(key, int) and key <= last)]
        if found:
            yield found
        if not keys or len(found) < len(keys):
            return
        after = keys[-1]
