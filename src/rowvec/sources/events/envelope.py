"""Change events of Debezium as what they do to one row. No I/O.

The forms are those of Debezium's connectors and of its ExtractNewRecordState transformation
(https://debezium.io/documentation/reference/, "Data change events" and "New Record State Extraction"):

- with a schema: `{"schema": {...}, "payload": EVENT}`; the schema may be null or left out;
- an envelope: `{"op": "u", "before": {...}, "after": {...}, "source": {...}}`;
- a CloudEvent (https://debezium.io/documentation/reference/integrations/cloudevents.html) in structured form: the
  envelope, or the row, in `data`; what the envelope lacks stands beside it, as `iodebeziumop`;
- unwrapped: the row itself, deletions marked by `__deleted` or `__op`;
- a tombstone: null, after a deletion, with the key beside it.

Other tools' events have forms that could be taken for a row: those are refused by name.

A column that the database did not log holds a placeholder instead of its value; it is reported as missing here and
never becomes a value.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from rowvec.errors import SourceError
from rowvec.sources.events.forms import foreign_form, from_cloud_event, is_cloud_event, is_envelope
from rowvec.sources.events.position import Position, position_of
from rowvec.sources.events.values import Decode, Schema, declared_schema, decode_struct, decoder, struct_decoders
from rowvec.support.suggestions import suggestion

UNAVAILABLE = "__debezium_unavailable_value"
_ROW_OPS = frozenset("crud")
MARKS = frozenset({"__op", "__deleted"})
"""What ExtractNewRecordState writes into a row: it is Debezium's, whatever else its columns are called."""
_FIELDS_OF_ENVELOPE = frozenset({"before", "after", "source"})
REMOVED_KEYS = 1000
"""This many deleted keys are remembered, to tell the tombstone that follows a deletion."""


class Effect(enum.StrEnum):
    PUT = "put"
    """The row is now as `values` says."""
    REMOVE = "remove"
    TRUNCATE = "truncate"
    """The table is empty; there is no key."""


class Event(NamedTuple):
    """What one change event does."""

    effect: Effect
    key: Any
    """As it was sent and decoded, not yet of the key's type."""
    values: Mapping[str, Any]
    missing: frozenset[str]
    """Columns whose value the event does not tell."""
    position: Position | None
    """Where the change stands in the database's log, None where the event does not say."""


class Parsed(NamedTuple):
    events: tuple[Event, ...] = ()
    skipped: str = ""
    """Why there is no event, in a few words, such as `heartbeat`."""


class EnvelopeReader:
    """Reads the events of one table."""

    def __init__(
        self,
        key: str,
        *,
        table: str | None = None,
        types: Mapping[str, str] | None = None,
        placeholder: str = UNAVAILABLE,
    ) -> None:
        """
        Args:
            key: the key column.
            table: events of other tables are skipped: `table`, `schema.table` or `database.schema.table`.
            types: column -> type, for events without a schema: `Decimal(2)`, `MicroTimestamp`.
            placeholder: what the connector sends for a value that it does not know.
        """
        self.key = key
        self.table = table
        declared = {column: decoder(declared_schema(column, name)) for column, name in (types or {}).items()}
        self._declared = {column: decode for column, decode in declared.items() if decode is not None}
        raw = placeholder.encode()
        # How the same word looks in a column of text, of bytes, of a list, of a list of UUIDs, of a list of numbers, of
        # a map and of a map as JSON, which is how `hstore` comes by default.
        word = base64.b64encode(raw).decode()
        uuid = str(UUID(bytes=hashlib.md5(raw, usedforsecurity=False).digest(), version=3))
        pair = {placeholder: placeholder}
        told = json.dumps(pair, ensure_ascii=False, separators=(",", ":"))
        self._unavailable = (placeholder, word, [placeholder], [word], [uuid], list(raw), pair, told)
        self._schema: Schema = {}
        self._decoders: dict[str, Decode] = {}
        self._removed: dict[str, None] = {}

    def read(self, value: Any, key: Any, location: str) -> Parsed:
        """
        Args:
            value: the event, decoded from JSON; None for a tombstone.
            key: the event's key, decoded from JSON; None where there is none.
            location: the event's place, for messages.

        Raises:
            SourceError: no key, an unknown op, no event at all, or a change of the schema that drops the key.
        """
        try:
            parsed = self._parsed(value, key, location)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise SourceError(
                f"{location}: the schema of the event, or its form, cannot be read ({type(error).__name__}).",
                hint="Is this Debezium's JSON?",
            ) from error
        for event in parsed.events:
            self._removed.pop(str(event.key), None)
            if event.effect is Effect.REMOVE:
                self._removed[str(event.key)] = None
        while len(self._removed) > REMOVED_KEYS:
            del self._removed[next(iter(self._removed))]
        return parsed

    def _parsed(self, value: Any, key: Any, location: str) -> Parsed:
        key_schema, key = _unwrapped(key)
        if is_cloud_event(value):
            value = from_cloud_event(value, location)
        schema, payload = _unwrapped(value)
        if payload is None:
            return self._tombstone(key, key_schema)
        if not isinstance(payload, dict):
            raise SourceError(f"{location}: {_kind(payload)} is not a change event.", hint="Is this Debezium's JSON?")
        reason = _reason_to_skip(payload, schema)
        if reason is not None:
            self._check_schema_change(payload, location)
            return Parsed(skipped=reason)
        if "op" in payload and not _FIELDS_OF_ENVELOPE.isdisjoint(payload):
            return self._envelope(payload, schema, key, key_schema, location)
        if not MARKS.isdisjoint(payload):
            return self._bare_row(payload, schema, key, key_schema, location)
        if form := foreign_form(payload):
            raise SourceError(
                f"{location}: {form} is not an event that rowvec reads.",
                hint="It reads Debezium's events as JSON: with `op`, `before` and `after`, unwrapped to a row by"
                " ExtractNewRecordState, or as CloudEvents.",
            )
        return self._bare_row(payload, schema, key, key_schema, location)

    def _tombstone(self, key: Any, schema: Schema) -> Parsed:
        found = self._from_event_key(key, schema)
        if found is None:
            return Parsed(skipped="tombstone without a key")
        if str(found) in self._removed:
            # It says nothing new, and has no position: read again later, it would delete a row that came back.
            return Parsed(skipped="tombstone after a deletion")
        return Parsed((Event(Effect.REMOVE, found, {}, frozenset(), None),))

    def _envelope(self, payload: dict[str, Any], schema: Schema, key: Any, key_schema: Schema, location: str) -> Parsed:
        op, source = payload["op"], payload.get("source")
        source = source if isinstance(source, dict) else {}
        if self._of_another_table(source):
            return Parsed(skipped="of another table")
        position = position_of(source, payload.get("ts_ms"))
        if op == "t":
            return Parsed((Event(Effect.TRUNCATE, None, {}, frozenset(), position),))
        if op == "m":
            return Parsed(skipped="message")
        if op not in _ROW_OPS:
            raise SourceError(
                f"{location}: the op {op!r} is unknown.", hint="Debezium's are c, u, d, r, t and m. Is this its event?"
            )
        before = self._row(payload.get("before"), _field(schema, "before"), location)
        after = self._row(payload.get("after"), _field(schema, "after"), location)
        if op == "d":
            found = self._key_of(before, key, key_schema, location)
            return Parsed((Event(Effect.REMOVE, found, {}, frozenset(), position),))
        if after is None:
            raise SourceError(f"{location}: an event {op!r} without `after`.", hint="Is this Debezium's event?")
        return Parsed(self._put(before, after, key, key_schema, position, location))

    def _put(
        self, before: _Row | None, after: _Row, key: Any, key_schema: Schema, position: Position | None, location: str
    ) -> tuple[Event, ...]:
        values, missing = dict(after.values), set(after.missing)
        found = self._key_of(after, key, key_schema, location)
        # What was not logged because it did not change is in `before`, where that is logged in full.
        for name in after.missing:
            if before is not None and name in before.values:
                values[name] = before.values[name]
                missing.discard(name)
        put = Event(Effect.PUT, found, {**values, self.key: found}, frozenset(missing), position)
        old = None if before is None else before.values.get(self.key)
        if old is None or old == found:
            return (put,)
        # A key that is not the table's primary key can change in an update.
        return (Event(Effect.REMOVE, old, {}, frozenset(), position), put)

    def _bare_row(self, payload: dict[str, Any], schema: Schema, key: Any, key_schema: Schema, location: str) -> Parsed:
        told = {name[2:].removeprefix("source_"): each for name, each in payload.items() if name.startswith("__")}
        row = self._row({name: each for name, each in payload.items() if not name.startswith("__")}, schema, location)
        assert row is not None
        op = told.get("op")
        if op is not None and op not in _ROW_OPS:
            raise SourceError(f"{location}: the op {op!r} is unknown.", hint="Debezium's are c, u, d and r.")
        if self._of_another_table(told):
            return Parsed(skipped="of another table")
        position = position_of(told, None)
        if op == "d" or str(told.get("deleted", "")).lower() == "true":
            return Parsed(
                (Event(Effect.REMOVE, self._key_of(row, key, key_schema, location), {}, frozenset(), position),)
            )
        return Parsed(self._put(None, row, key, key_schema, position, location))

    def _row(self, value: Any, schema: Schema, location: str) -> _Row | None:
        if value is None:
            return None
        if not isinstance(value, dict):
            raise SourceError(
                f"{location}: {_kind(value)} where the columns of the row should be.",
                hint="MongoDB's events are not read; for a table of a database the row is an object.",
            )
        missing = frozenset(name for name, each in value.items() if each in self._unavailable)
        known = {name: each for name, each in value.items() if name not in missing} if missing else value
        return _Row(decode_struct(known, self._decoders_of(schema)), missing)

    def _decoders_of(self, schema: Schema) -> dict[str, Decode]:
        # Every event repeats the schema: one comparison instead of building it again.
        if schema != self._schema or not self._decoders:
            self._schema, self._decoders = schema, {**self._declared, **struct_decoders(schema)}
        return self._decoders

    def _key_of(self, row: _Row | None, key: Any, key_schema: Schema, location: str) -> Any:
        found = None if row is None else row.values.get(self.key)
        if found is None:
            found = self._from_event_key(key, key_schema)
        if found is not None:
            return found
        names = list(row.values) if row is not None else []
        names += [name for name in key if name not in names] if isinstance(key, dict) else []
        if self.key in names:
            raise SourceError(f"{location}: the key {self.key!r} is null.", hint="Name a column that never is.")
        hint = suggestion(self.key, names) if names else "Name the column in source.key, or send the event's key along."
        raise SourceError(
            f"{location}: the event has no key {self.key!r}. If a change of the table dropped or renamed it, rowvec"
            " cannot tell whose vector this is.",
            hint=hint,
        )

    def _from_event_key(self, key: Any, schema: Schema) -> Any:
        if isinstance(key, dict):
            return decode_struct(key, struct_decoders(schema)).get(self.key)
        return None if isinstance(key, list) else key

    def _of_another_table(self, source: Mapping[str, Any]) -> bool:
        if self.table is None or not source.get("table"):
            return False
        full = ".".join(str(source[part]) for part in ("db", "schema", "table") if source.get(part))
        return full != self.table and not full.endswith(f".{self.table}")

    def _check_schema_change(self, payload: Mapping[str, Any], location: str) -> None:
        if self.table is None:
            return
        for change in payload.get("tableChanges") or ():
            name = str(change.get("id", "")).replace('"', "").replace("`", "")
            columns = [column["name"] for column in (change.get("table") or {}).get("columns") or ()]
            ours = name == self.table or name.endswith(f".{self.table}")
            if ours and columns and change.get("type") != "DROP" and self.key not in columns:
                raise SourceError(
                    f"{location}: a change of the table {name} has dropped its column {self.key!r}, which is the key.",
                    hint=f"Name another column in source.key. {suggestion(self.key, columns)}",
                )


class _Row(NamedTuple):
    values: dict[str, Any]
    missing: frozenset[str]


def row_schema(value: Any) -> Schema:
    """The schema of the row in an event, {} where the event brings none."""
    if is_cloud_event(value):
        value = value.get("data")
    schema, payload = _unwrapped(value)
    if isinstance(payload, dict) and ("op" in payload or is_envelope(payload)):
        return _field(schema, "after") or _field(schema, "before")
    return schema


def _unwrapped(value: Any) -> tuple[Schema, Any]:
    """Schema, {} where there is none, and payload."""
    if isinstance(value, dict) and "payload" in value and value.keys() <= {"schema", "payload"}:
        return _mapping(value.get("schema")), value["payload"]
    return {}, value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _field(schema: Schema, name: str) -> Schema:
    fields = schema.get("fields")
    return next((_mapping(field) for field in fields or () if _mapping(field).get("field") == name), {})


def _reason_to_skip(payload: Mapping[str, Any], schema: Schema) -> str | None:
    """What an event is that changes no row, None for all others."""
    if "tableChanges" in payload or ("ddl" in payload and "databaseName" in payload):
        return "schema change"
    if payload.keys() == {"databaseName"} and str(schema.get("name", "")).endswith("SchemaChangeKey"):
        return "schema change"
    counts = not {"event_count", "data_collections"}.isdisjoint(payload)
    if payload.get("status") in ("BEGIN", "END") and "id" in payload and counts:
        return "transaction"
    if str(schema.get("name", "")).endswith("Heartbeat") or payload.keys() in _HEARTBEATS:
        return "heartbeat"
    if "aggregate_type" in payload and "additional_data" in payload:
        return "notification"
    return None


_HEARTBEATS = ({"ts_ms"}, {"ts_ms", "ts_us", "ts_ns"})


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", bool: "true or false"}.get(type(value), "a number")
