"""Reading a pipeline's rows page by page, and planning each page against the ledger."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from rowvec.embedders.base import Embedder
from rowvec.errors import SourceError
from rowvec.gate import Gate
from rowvec.plan import LONGEST_WAIT, Circumstances, is_current, plan
from rowvec.ranking import Ranking
from rowvec.retry import patiently
from rowvec.sources.base import CursorSettings, Selection, Source
from rowvec.steps import Step, reached
from rowvec.stores.base import Ledger, Store, TableSpec
from rowvec.types import Change, Document, Failure, Key, Row, Stored
from rowvec.values import clean

PAGE_BYTES = 16 * 2**20
"""Text in one page of rows: wide rows make smaller pages, so that memory does not follow them."""
FIRST_ROWS = 50
"""In the first page, before it is known how wide they are."""


class Former(Protocol):
    """Puts together again, from the settings that a store kept, what made the vectors of another generation."""

    def embedder(self, settings: str) -> Embedder:
        """The same one each time it is asked for with the same settings. Raises RowvecError where it cannot be had."""
        ...

    def documents(self, settings: str) -> tuple[Callable[[Row], Document], tuple[str, ...]]:
        """How a row became text, and the columns in it. Raises ConfigError where a column is gone."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One declared mapping, its parts put together."""

    name: str
    source: Source
    to_document: Callable[[Row], Document]
    text_columns: tuple[str, ...]
    embedder: Embedder
    store: Store
    spec: TableSpec
    keep_missing: bool = False
    """`on_missing = "keep"`: rows gone from the source keep their vector."""
    page_size: int = 2000
    ranking: Ranking = Ranking()
    cursor: CursorSettings = field(default_factory=CursorSettings)
    former: Former | None = None
    gate: Gate | None = None
    """What a new generation has to pass before searches see it."""

    def close(self) -> None:
        if self.former is not None:
            self.former.close()
        self.embedder.close()
        self.store.close()
        self.source.close()


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may ask of one plan or sync."""

    selection: Selection | None = None
    limit: int | None = None
    force: bool = False
    full: bool = False
    """Compare every row, whatever a cursor or change events say."""
    retry_failed: bool = False
    """Only rows that failed before, whether their next try is due or not."""
    allow_delete: bool = False
    """Go on although more than half of the vectors would be deleted."""
    after: Key | None = None
    until: Key | None = None
    changed: Sequence[Key] | None = None
    """Only these rows: those that a cursor tells of (`rowvec.watermark`)."""

    @property
    def whole(self) -> bool:
        """Every row is looked at, so that what is missing from the source can be told."""
        bounds = (self.selection, self.limit, self.after, self.until, self.changed)
        return all(bound is None for bound in bounds) and not self.retry_failed

    @property
    def names_rows(self) -> bool:
        """Every row that the user named is looked at, so that those missing from the source can be told."""
        return self.selection is not None and self.limit is self.after is self.until is None


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


def circumstances(pipeline: Pipeline, ledger: Ledger, options: Options) -> Circumstances:
    return Circumstances(
        now=dt.datetime.now(dt.UTC),
        force=options.force,
        retry=options.retry_failed,
        recipe_changed=ledger.exists and ledger.recipe != pipeline.spec.recipe,
        model_changed=ledger.filled and ledger.fingerprint not in (None, pipeline.spec.fingerprint),
    )


def planned_pages(
    pipeline: Pipeline, at: Circumstances, options: Options, stop: threading.Event, *, ledger_exists: bool = True
) -> Iterator[Page]:
    """Read, render, look up and plan; one page of rows is in hand at a time."""
    for rows in row_pages(pipeline, options, stop):
        reached(Step.AFTER_READ)
        stored = patiently(stop, pipeline.store.lookup, [row.key for row in rows]) if ledger_exists else {}
        yield _planned(pipeline.to_document, rows, stored, at)


def _planned(
    to_document: Callable[[Row], Document], rows: list[Row], stored: Mapping[Key, Stored], at: Circumstances
) -> Page:
    page = Page(rows, len(stored))
    documents: list[Document] = []
    for row in rows:
        before = stored.get(row.key)
        try:
            document = to_document(row)
        except SourceError as error:
            page.failures.append(new_failure(row.key, error, b"", before, at.now))
            continue
        # Let go of at once: where nothing has changed, this loop is the time that a sync takes.
        if before is None or not is_current(document, before, at):
            documents.append(document)
        else:
            page.unchanged += 1
            if before.failure is not None:
                page.recovered.append(row.key)
    page.changes = plan(documents, stored, at)
    return page


def row_pages(pipeline: Pipeline, options: Options, stop: threading.Event) -> Iterator[list[Row]]:
    """Pages of the chosen rows; a broken connection costs a wait, not the run."""
    if options.changed is not None:
        for start in range(0, len(options.changed), pipeline.page_size):
            keys = tuple(options.changed[start : start + pipeline.page_size])
            yield from row_pages(pipeline, replace(options, changed=None, selection=Selection(keys)), stop)
        return
    left = options.limit
    after = options.after
    size = min(FIRST_ROWS, pipeline.page_size)
    selection = options.selection
    if options.retry_failed and selection is None:
        selection = Selection(keys=tuple(sorted((f.key for f in pipeline.store.failures()), key=str)))
        if not selection.keys:
            return
    while not stop.is_set() and left != 0:
        wanted = size if left is None else min(size, left)

        rows = patiently(stop, _one_page, pipeline.source, wanted, selection, after, options.until)
        if not rows:
            return
        yield rows
        after = rows[-1].key
        left = None if left is None else left - len(rows)
        sample = rows[:: max(1, len(rows) // 50)]
        width = sum(map(_width, sample)) / len(sample)
        size = max(1, min(pipeline.page_size, int(PAGE_BYTES / max(width, 1))))


def _one_page(
    source: Source, size: int, selection: Selection | None, after: Key | None, until: Key | None
) -> list[Row]:
    return next(iter(source.pages(size, selection=selection, after=after, until=until)), [])


def _width(row: Row) -> int:
    return sum(len(value) for value in row.values.values() if isinstance(value, str | bytes))


def new_failure(key: Key, error: Exception, text_hash: bytes, before: Stored | None, now: dt.datetime) -> Failure:
    """The failure of one row, its next try later each time: a minute, four, sixteen … at most a day."""
    past = before.failure if before is not None else None
    attempts = 1 + (past.attempts if past is not None and past.text_hash == text_hash else 0)
    delay = min(dt.timedelta(minutes=4 ** min(attempts - 1, 8)), LONGEST_WAIT)
    return Failure(key, clean(str(error)), attempts, now, now + delay, text_hash)


def missing_keys(
    pipeline: Pipeline, stop: threading.Event, selection: Selection | None = None, size: int = 5000
) -> Iterator[list[Key]]:
    """Keys of the ledger, or of a selection of it, that the source does not hold now; asked of the source itself."""
    for keys in _ledger_keys(pipeline, stop, selection, size):
        existing = patiently(stop, pipeline.source.existing, keys)
        gone = [key for key in keys if key not in existing]
        if gone:
            yield gone


def _ledger_keys(
    pipeline: Pipeline, stop: threading.Event, selection: Selection | None, size: int
) -> Iterator[list[Key]]:
    if selection is None:
        yield from _keys_between(pipeline, stop, None, None, size)
        return
    for start in range(0, len(selection.keys), size):
        named = selection.keys[start : start + size]
        known = patiently(stop, pipeline.store.lookup, named)
        if known:
            yield list(known)
    for low, high in selection.ranges:
        # Ranges are of integers, which every store orders alike.
        assert isinstance(low, int)
        assert isinstance(high, int)
        yield from _keys_between(pipeline, stop, low - 1, high, size)


def _keys_between(
    pipeline: Pipeline, stop: threading.Event, after: Key | None, last: int | None, size: int
) -> Iterator[list[Key]]:
    while not stop.is_set():
        keys = patiently(stop, pipeline.store.keys, after, size)
        found = [key for key in keys if last is None or (isinstance(key, int) and key <= last)]
        if found:
            yield found
        if not keys or len(found) < len(keys):
            return
        after = keys[-1]
