"""Forms of change events other than Debezium's plain ones: CloudEvents, and those that are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowvec.errors import SourceError

_PREFIX = "iodebezium"
# The names of attributes have neither capitals nor underscores.
_SOURCE = {
    "tsms": "ts_ms", "tsus": "ts_us", "tsns": "ts_ns", "commitlsn": "commit_lsn", "changelsn": "change_lsn",
    "eventserialno": "event_serial_no", "txid": "txId",
}  # fmt: skip
_HINT = (
    "Let Debezium write the data as JSON: value.converter.data.serializer.type=json, or use the plain form:"
    " value.converter=org.apache.kafka.connect.json.JsonConverter"
)


def is_cloud_event(value: Any) -> bool:
    return isinstance(value, dict) and "specversion" in value and not value.keys().isdisjoint(_OF_CLOUD_EVENTS)


_OF_CLOUD_EVENTS = {"data", "data_base64", "datacontenttype", "type", "source"}


def is_envelope(payload: Mapping[str, Any]) -> bool:
    """It has a row before and after a change, whatever else."""
    return all(name in payload and isinstance(payload[name], dict | None) for name in ("before", "after"))


def from_cloud_event(event: Mapping[str, Any], location: str) -> Any:
    """The event of Debezium in one of CloudEvents, `op` and `source` in their usual places.

    Raises:
        SourceError: it is of somebody else, or its data is not JSON.
    """
    if not str(event.get("type", "")).startswith("io.debezium"):
        raise SourceError(
            f"{location}: a CloudEvent of type {event.get('type')!r} is not a change event.",
            hint="Only those of Debezium are read: their type begins with io.debezium.",
        )
    data = event.get("data")
    schema: Any = None
    if isinstance(data, dict) and "payload" in data and data.keys() <= {"schema", "payload"}:
        schema, data = data.get("schema"), data["payload"]
    if not isinstance(data, dict):
        raise SourceError(f"{location}: a CloudEvent whose data is not an object of JSON.", hint=_HINT)
    told = {name.removeprefix(_PREFIX): value for name, value in event.items() if name.startswith(_PREFIX)}
    source = {_SOURCE.get(name, name): value for name, value in told.items() if name != "op"}
    if is_envelope(data) or "op" in data:
        own = data.get("source")
        beside = {"op": told.get("op"), **data, "source": {**source, **(own if isinstance(own, dict) else {})}}
        return {"schema": schema, "payload": beside}
    marks = {"__op": told.get("op"), **{f"__source_{name}": value for name, value in source.items()}}
    return {
        "schema": schema,
        "payload": {**{name: value for name, value in marks.items() if value is not None}, **data},
    }


def foreign_form(payload: Mapping[str, Any]) -> str | None:
    """What an object is that is known not to be a row, None for all others."""
    names = payload.keys()
    if is_envelope(payload):
        return "an object with `before` and `after`, and without `op`,"
    if "specversion" in names and "id" in names:
        return "a CloudEvent without its data"
    if {"database", "table", "type", "data"} <= names:
        return "an event of Maxwell or Canal"
    changes = payload.get("change")
    listed = isinstance(changes, list) and bool(changes) and all("kind" in _object(each) for each in changes)
    if listed or any(form <= names for form in _WAL2JSON):
        return "an event of wal2json"
    if {"data", "metadata"} <= names and "record-type" in _object(payload["metadata"]):
        return "an event of AWS DMS"
    return next((said for form, said in _FOREIGN if form <= names), None)


_WAL2JSON = ({"action", "schema", "table", "columns"}, {"kind", "table", "columnnames", "columnvalues"})
_FOREIGN = (
    ({"table", "op_type", "op_ts"}, "an event of Oracle GoldenGate"),
    ({"operationType", "ns"}, "an event of MongoDB"),
    ({"operationType", "documentKey"}, "an event of MongoDB"),
    ({"eventName", "dynamodb"}, "an event of DynamoDB"),
    ({"type", "table", "schema", "record", "old_record"}, "an event of Supabase"),
    ({"type", "stream", "record"}, "a message of Singer"),
    ({"_airbyte_data"}, "a record of Airbyte"),
)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
