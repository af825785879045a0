"""Streams of change events, wherever they come from."""

from __future__ import annotations

import itertools
import json
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from rowvec.documents.conversion import CONVERSION_ERRORS, key_converter
from rowvec.errors import ConfigError, SourceError
from rowvec.filters import Filter
from rowvec.sources.base import Selection, Source, names_of
from rowvec.sources.events.envelope import UNAVAILABLE, Effect, EnvelopeReader, Event, row_schema
from rowvec.sources.events.values import column_type, declared_schema
from rowvec.sources.row_filter import RowFilter
from rowvec.sources.told_types import Tally, arranged, widened
from rowvec.support.json_objects import RepeatedName, once
from rowvec.support.suggestions import check_column
from rowvec.types import Column, ColumnType, Key, Row

PEEK_EVENTS = 500
"""This many of the first events tell the columns where nobody declares them."""
UNREADABLE = "event that cannot be read"
_KEY_TYPES = (ColumnType.INTEGER, ColumnType.TEXT, ColumnType.UUID)


class Record(NamedTuple):
    """One event as it was sent."""

    stream: str
    """A name for what has an order of its own: a file, a partition."""
    location: str
    key: Any
    value: Any
    next: str
    """The offset of the event after this one in its stream."""


@dataclass(slots=True)
class EventBatch:
    """Events in the order of their streams, their keys of the key's type."""

    events: list[Event] = field(default_factory=list)
    offsets: dict[str, str] = field(default_factory=dict)
    """Where to go on when these events are carried out, for each stream that they are of."""
    read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """How many were left out, by reason."""


@dataclass(frozen=True, slots=True)
class EventSettings:
    """What every stream of events is told.

    Attributes:
        key: the key column.
        key_type: integer, text or uuid; what the first events say when None.
        table: events of other tables are skipped.
        columns: the columns there are; what the first events say when None.
        types: column -> Debezium's type, such as `Decimal(2)` or `MicroTimestamp`, for events without a schema.
        where: a row that does not pass is treated as deleted.
        placeholder: what the connector sends for a value that it does not know.
        skip_bad: leave out, and count, an event that cannot be read, instead of stopping there.
    """

    key: str
    key_type: ColumnType | None = None
    table: str | None = None
    columns: Mapping[str, ColumnType] | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    where: Filter | None = None
    placeholder: str = UNAVAILABLE
    skip_bad: bool = False


class EventStream(ABC):
    """Change events of one table, from one or more streams that keep their order.

    It is a `Source` too: of the table's own rows if `rows` is one, such as an SqlSource, and else of no rows at all.
    With it a full comparison is possible, and rows whose events leave values out are read from there.
    """

    location: str

    def __init__(self, settings: EventSettings, rows: Source | None = None, remembered: Sequence[Column] = ()) -> None:
        """
        Args:
            remembered: the columns as they were at the last sync: their order stays, and their types only widen.

        Raises:
            SourceError: no columns are declared and there are no events to tell them; a key of another type.
        """
        self.settings, self.rows = settings, rows
        self.key = settings.key
        self.columns: Sequence[Column] = self._known_columns(remembered)
        names = [column.name for column in self.columns]
        check_column(self.key, names, "source.key")
        self.key_type = self._type_of_key()
        self._convert_key = key_converter(self.key_type)
        self._filter = None if settings.where is None else RowFilter(settings.where, self.columns)
        self._names = tuple(names)

    @abstractmethod
    def _records(
        self, offsets: Mapping[str, str], follow: bool, stop: threading.Event
    ) -> Generator[Record | SourceError | None]:
        """Every event after `offsets`; None where it has to wait for more, an error for an event nobody can read."""

    # --- events ---------------------------------------------------------------------------------------------

    def batches(
        self, offsets: Mapping[str, str], size: int, *, follow: bool, stop: threading.Event
    ) -> Generator[EventBatch]:
        """Batches of at most `size` events, from `offsets` on; streams without one from their beginning.

        An empty one says that there is nothing to read for the moment.

        Ends with the last event there is, or with `follow` when `stop` is set. Events before a bad one are given
        before its error is raised, so that they are not read again.

        Raises:
            SourceError: an event that cannot be read, a stream that is gone. SourceUnavailable: no answer.
        """
        reader = EnvelopeReader(
            self.key, table=self.settings.table, types=self.settings.types, placeholder=self.settings.placeholder
        )
        records = self._records(offsets, follow, stop)
        batch = EventBatch()
        try:
            for record in records:
                if isinstance(record, Record):
                    batch.read += 1
                    error = self._take(record, reader, batch)
                else:
                    error = record
                if error is not None and batch.offsets:
                    yield batch
                    batch = EventBatch()
                if error is not None:
                    raise error
                if batch.read >= size or record is None:
                    yield batch
                    batch = EventBatch()
                if stop.is_set():
                    break
        finally:
            records.close()
        if batch.read:
            yield batch

    def _take(self, record: Record, reader: EnvelopeReader, batch: EventBatch) -> SourceError | None:
        try:
            parsed = reader.read(record.value, record.key, record.location)
            batch.events += [self._typed(event, record.location) for event in parsed.events]
        except SourceError as error:
            if not self.settings.skip_bad:
                return error
            batch.skipped[UNREADABLE] += 1
        else:
            if parsed.skipped:
                batch.skipped[f"event skipped: {parsed.skipped}"] += 1
        batch.offsets[record.stream] = record.next
        return None

    def _typed(self, event: Event, location: str) -> Event:
        if event.effect is Effect.TRUNCATE:
            return event
        try:
            key = self._convert_key(event.key)
        except CONVERSION_ERRORS:
            key = None
        if key is None or key == "":
            raise SourceError(
                f"{location}: the key {self.key!r} is {event.key!r}, which is not a valid {self.key_type} key.",
                hint="Say of what type keys are: source.key_type = integer, text or uuid.",
            )
        return event._replace(key=key)

    def row(self, event: Event) -> Row:
        """The selected columns of the row as an event tells it, null where it does not know one of them."""
        values = {name: event.values.get(name) for name in self._names}
        values[self.key] = event.key
        return Row(event.key, values)

    def wanted(self, row: Row) -> bool:
        """Whether the row passes `where`.

        Raises:
            SourceError: a value is of another type than its column.
        """
        return self._filter is None or self._filter(row.values, f"Row {row.key!r}")

    # --- columns --------------------------------------------------------------------------------------------

    def _known_columns(self, remembered: Sequence[Column]) -> list[Column]:
        if self.settings.columns is not None:
            return [Column(name, kind) for name, kind in self.settings.columns.items()]
        if self.rows is not None:
            return list(self.rows.columns)
        types, refused = self._peek()
        if not types and not remembered:
            if refused is not None and not self.settings.skip_bad:
                raise refused
            raise SourceError(
                f"{self.location} has no events yet that would tell the columns of the table.",
                hint='Declare them: source.columns = { id = "integer", name = "text" }',
            )
        declared = {name: column_type(declared_schema(name, word)) for name, word in self.settings.types.items()}
        types.update(declared)
        return arranged(types, remembered, declared=declared.keys(), keep_absent=True)

    def _peek(self) -> tuple[dict[str, ColumnType | None], SourceError | None]:
        """The columns that the first events tell, and why the first of those that cannot be read cannot."""
        settings = self.settings
        reader = EnvelopeReader(self.key, table=settings.table, placeholder=settings.placeholder)
        types: dict[str, ColumnType | None] = {}
        seen = Tally(numbers=False)
        refused: SourceError | None = None
        records = self._records({}, False, threading.Event())
        try:
            for record in islice((each for each in records if each is not None), PEEK_EVENTS):
                try:
                    if not isinstance(record, Record):
                        raise record
                    events = reader.read(record.value, record.key, record.location).events
                except SourceError as error:
                    # Where others tell the columns, it is told when it is its turn to be carried out.
                    refused = refused or error
                    continue
                schema = {each["field"]: each for each in row_schema(record.value).get("fields") or ()}
                for name, value in (pair for event in events for pair in event.values.items()):
                    if name in schema:
                        types[name] = widened(types.get(name), column_type(schema[name]))
                    else:
                        seen.see(name, [value])
        finally:
            records.close()
        for name, kind in seen.types.items():
            types[name] = widened(types.get(name), kind)
        return types, refused

    def _type_of_key(self) -> ColumnType:
        declared = self.settings.key_type
        kind = declared or next(column.type for column in self.columns if column.name == self.key)
        if kind not in _KEY_TYPES:
            raise SourceError(
                f"source.key: {self.key!r} is of type {kind}; a key is integer, text or uuid.",
                hint='Say which one: source.key_type = "text"',
            )
        return kind

    # --- rows -----------------------------------------------------------------------------------------------

    def select(self, columns: Sequence[str]) -> None:
        self._names = names_of(self.columns, self.key, [*columns, *self.filtered])
        if self.rows is not None:
            self.rows.select([name for name in self._names if name != self.key])

    @property
    def filtered(self) -> frozenset[str]:
        """The columns that `where` looks at."""
        return frozenset() if self._filter is None else self._filter.columns

    def count(self, selection: Selection | None = None) -> int:
        return self._table().count(selection)

    def pages(
        self, size: int, *, selection: Selection | None = None, after: Key | None = None, until: Key | None = None
    ) -> Iterator[list[Row]]:
        return self._table().pages(size, selection=selection, after=after, until=until)

    def existing(self, keys: Sequence[Key]) -> set[Key]:
        return self._table().existing(keys)

    def close(self) -> None:
        if self.rows is not None:
            self.rows.close()

    def _table(self) -> Source:
        if self.rows is None:
            raise ConfigError(
                f"{self.location} has events, but no table to compare with.",
                hint="Follow it with `rowvec watch`, or name the table that the events are of in source.rows.",
            )
        return self.rows


def has_table(source: Source) -> bool:
    """Whether there are rows to count and to read, and not only events that change them."""
    return not isinstance(source, EventStream) or source.rows is not None


def table_of(source: Source) -> Source:
    """What rows are read from: of events with a table to compare with, that table."""
    return source if not isinstance(source, EventStream) or source.rows is None else source.rows


def first_rows(source: Source, most: int) -> list[Row]:
    """Up to `most` rows, for showing what rows are like; of events, those that the first ones tell."""
    if has_table(source):
        return list(itertools.islice((row for page in source.pages(most) for row in page), most))
    assert isinstance(source, EventStream)
    with closing(source.batches({}, most, follow=False, stop=threading.Event())) as batches:
        told = (event for batch in batches for event in batch.events)
        put = (source.row(event) for event in told if event.effect is Effect.PUT)
        return list(itertools.islice(put, most))


def untold_value(key: Key, column: str) -> SourceError:
    return SourceError(
        f"Row {key!r}: its change event does not tell the value of {column!r}, which did not change and is stored"
        " apart from the row (TOAST).",
        hint="Name the table in source.rows to read such rows from there, or let the database log whole rows:"
        " ALTER TABLE … REPLICA IDENTITY FULL.",
    )


def key_of(raw: bytes | None) -> Any:
    """An event's key: JSON, or the text that another converter wrote; None where it is neither, or names a part of the
    key twice."""
    if raw is None:
        return None
    try:
        return json.loads(raw, object_pairs_hook=once)
    except RepeatedName:
        return None
    except (ValueError, RecursionError):
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return None
