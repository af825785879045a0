"""Change events of Debezium as what they do to a row."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowvec.errors import ConfigError, SourceError
from rowvec.sources.events.envelope import UNAVAILABLE, Effect, EnvelopeReader, Event, Parsed, row_schema
from rowvec.sources.events.position import Position, is_older, position_of
from rowvec.sources.events.values import column_type, declared_schema, decoder

OP_EFFECTS = {"c": Effect.PUT, "u": Effect.PUT, "r": Effect.PUT, "d": Effect.REMOVE, "t": Effect.TRUNCATE}
KEYS = ("id", "ID", "pk", "field1", "event_id", "_id", "__lsn")


def read(value: Any, key: Any = None, **options: Any) -> Parsed:
    return EnvelopeReader("id", **options).read(value, key, "events.jsonl, line 7")


def one(value: Any, key: Any = None, **options: Any) -> Event:
    (event,) = read(value, key, **options).events
    return event


def envelope(op: str, before: Any = None, after: Any = None, **source: Any) -> dict[str, Any]:
    return {"op": op, "before": before, "after": after, "source": {"name": "shop", **source}, "ts_ms": 9}


def with_schema(row: dict[str, Any], fields: list[dict[str, Any]]) -> dict[str, Any]:
    struct = {"type": "struct", "field": "after", "fields": fields}
    return {"schema": {"type": "struct", "fields": [struct]}, "payload": envelope("c", None, row)}


ROW = {"id": 1, "name": "one"}


class TestForms:
    @pytest.mark.parametrize("op", ["c", "u", "r"])
    @pytest.mark.parametrize("wrap", [lambda e: e, lambda e: {"schema": None, "payload": e}, lambda e: {"payload": e}])
    def test_create_update_and_read_put_the_row(self, op: str, wrap: Any) -> None:
        event = one(wrap(envelope(op, None, ROW)))
        assert (event.effect, event.key, event.values, event.missing) == (Effect.PUT, 1, ROW, frozenset())

    def test_a_deletion_takes_its_key_from_before_or_from_the_event_key(self) -> None:
        assert one(envelope("d", {"id": 4})).key == 4
        assert one(envelope("d"), {"id": 5})[:2] == (Effect.REMOVE, 5)
        assert one(envelope("d"), {"schema": {}, "payload": {"id": 6}}).key == 6
        assert one(envelope("d"), 7).key == 7, "a key without a name is the key"

    def test_an_unwrapped_row_is_put_without_what_was_added_to_it(self) -> None:
        event = one({**ROW, "__op": "u", "__lsn": "70", "__source_ts_ms": 5, "__deleted": "false"})
        assert (event.effect, event.values) == (Effect.PUT, ROW)
        assert event.position == Position(5, "lsn:", "00000000000000000070")

    @pytest.mark.parametrize("mark", [{"__deleted": "true"}, {"__deleted": True}, {"__op": "d"}])
    def test_an_unwrapped_row_can_be_marked_as_deleted(self, mark: dict[str, Any]) -> None:
        assert one({**ROW, **mark})[:2] == (Effect.REMOVE, 1)

    @pytest.mark.parametrize("value", [None, {"schema": None, "payload": None}])
    def test_a_tombstone_removes_the_row_of_its_key(self, value: Any) -> None:
        assert one(value, {"id": 3})[:2] == (Effect.REMOVE, 3)
        assert read(value).skipped == "tombstone without a key"

    def test_a_tombstone_after_its_deletion_says_nothing_new(self) -> None:
        reader = EnvelopeReader("id")
        reader.read(envelope("d", {"id": 1}), {"id": 1}, "")
        assert reader.read(None, {"id": 1}, "").skipped == "tombstone after a deletion"
        reader.read(envelope("c", None, {"id": 1}), {"id": 1}, "")
        assert reader.read(None, {"id": 1}, "").events

    def test_a_truncation_has_no_key(self) -> None:
        assert one(envelope("t"))[:2] == (Effect.TRUNCATE, None)

    def test_a_change_of_the_key_removes_the_old_one(self) -> None:
        removed, put = read(envelope("u", {"id": 1}, {"id": 2})).events
        assert (removed[:2], put[:2]) == ((Effect.REMOVE, 1), (Effect.PUT, 2))

    def test_a_table_called_like_a_part_of_the_envelope_is_still_a_row(self) -> None:
        event = one({"id": 1, "op": "x"})
        assert event.values == {"id": 1, "op": "x"}

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ({"ts_ms": 1}, "heartbeat"),
            ({"schema": {"name": "io.debezium.connector.common.Heartbeat"}, "payload": {"ts_ms": 1}}, "heartbeat"),
            ({"status": "BEGIN", "id": "571:1", "event_count": None, "data_collections": None}, "transaction"),
            ({"status": "END", "id": "571:1", "event_count": 2}, "transaction"),
            ({"op": "m", "source": {}, "message": {"prefix": "p", "content": "eA=="}}, "message"),
            ({"source": {}, "databaseName": "d", "ddl": "ALTER …", "tableChanges": []}, "schema change"),
            ({"id": "1", "aggregate_type": "s", "type": "t", "additional_data": {}}, "notification"),
        ],
    )
    def test_what_changes_no_row_is_skipped_with_a_reason(self, value: Any, reason: str) -> None:
        assert read(value, {"id": 1}) == Parsed(skipped=reason)

    @pytest.mark.parametrize("table", ["t", "dbo.t", "d.dbo.t"])
    def test_only_events_of_the_named_table_count(self, table: str) -> None:
        ours = envelope("c", None, ROW, db="d", schema="dbo", table="t")
        theirs = envelope("c", None, ROW, db="d", schema="dbo", table="not_t")
        assert one(ours, table=table).key == 1
        assert read(theirs, table=table).skipped == "of another table"


class TestUnavailableValues:
    @pytest.mark.parametrize(
        "sent",
        [
            UNAVAILABLE,
            base64.b64encode(UNAVAILABLE.encode()).decode(),
            [UNAVAILABLE],
            list(UNAVAILABLE.encode()),
            {UNAVAILABLE: UNAVAILABLE},
            f'{{"{UNAVAILABLE}":"{UNAVAILABLE}"}}',
            # What Java makes of it: UUID.nameUUIDFromBytes(placeholder)
            ["b68a35a7-17ad-35b3-af2a-ae46edb4545a"],
        ],
    )
    def test_a_placeholder_never_becomes_a_value(self, sent: Any) -> None:
        for value in (envelope("u", None, {**ROW, "body": sent}), {**ROW, "body": sent}):
            event = one(value)
            assert event.missing == {"body"}
            assert event.values == ROW

    def test_what_before_holds_stands_in_for_it(self) -> None:
        event = one(envelope("u", {**ROW, "body": "long"}, {**ROW, "body": UNAVAILABLE}))
        assert (event.values["body"], event.missing) == ("long", frozenset())

    def test_a_text_about_the_placeholder_is_a_text(self) -> None:
        body = f"{UNAVAILABLE} is what Debezium sends"
        assert one(envelope("u", None, {**ROW, "body": body})).values["body"] == body

    def test_another_placeholder_can_be_named(self) -> None:
        assert one({**ROW, "body": "n/a"}, placeholder="n/a").missing == {"body"}


class TestBadEvents:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (envelope("x", None, ROW), "line 7: the op 'x' is unknown"),
            ({**ROW, "__op": "z"}, "line 7: the op 'z' is unknown"),
            (envelope("c", None, {"name": "x"}), "line 7: the event has no key 'id'"),
            (envelope("d", None), "line 7: the event has no key 'id'"),
            (envelope("c", None, {"id": None}), "line 7: the key 'id' is null"),
            (envelope("c"), "line 7: an event 'c' without `after`"),
            (envelope("c", None, '{"_id": 1}'), "a text where the columns of the row should be"),
            ([1, 2], "line 7: a list is not a change event"),
            ("x", "line 7: a text is not a change event"),
        ],
    )
    def test_an_event_that_cannot_be_carried_out_is_an_error_with_its_place(self, value: Any, message: str) -> None:
        with pytest.raises(SourceError, match=message):
            read(value)

    def test_a_change_of_the_table_that_drops_the_key_is_an_error(self) -> None:
        def changed(*columns: str, table: str = "customers") -> dict[str, Any]:
            table_change = {
                "type": "ALTER",
                "id": f'"testDB"."dbo"."{table}"',
                "table": {"columns": [{"name": name} for name in columns]},
            }
            return {"databaseName": "testDB", "ddl": None, "tableChanges": [table_change]}

        with pytest.raises(SourceError, match=r"testDB\.dbo\.customers has dropped its column 'id'"):
            read(changed("customer_id", "name"), table="customers")
        assert read(changed("id", "name"), table="customers").skipped
        assert read(changed("x", table="others"), table="customers").skipped


class TestValues:
    @pytest.mark.parametrize(
        ("name", "sent", "value", "kind"),
        [
            ("io.debezium.time.Date", 19844, dt.date(2024, 5, 1), "date"),
            ("org.apache.kafka.connect.data.Date", -1, dt.date(1969, 12, 31), "date"),
            ("io.debezium.time.Timestamp", 1714566600123, dt.datetime(2024, 5, 1, 12, 30, 0, 123000), "timestamp"),
            ("io.debezium.time.MicroTimestamp", -1, dt.datetime(1969, 12, 31, 23, 59, 59, 999999), "timestamp"),
            ("io.debezium.time.NanoTimestamp", 1714566600000001999, dt.datetime(2024, 5, 1, 12, 30, 0, 1), "timestamp"),
            ("org.apache.kafka.connect.data.Timestamp", 0, dt.datetime(1970, 1, 1), "timestamp"),
            (
                "io.debezium.time.ZonedTimestamp",
                "2011-01-11T11:40:30.123456789-05:00",
                dt.datetime(2011, 1, 11, 16, 40, 30, 123456, dt.UTC),
                "timestamp",
            ),
            ("io.debezium.time.IsoTimestamp", "2024-05-01T12:30:00Z", dt.datetime(2024, 5, 1, 12, 30), "timestamp"),
            ("io.debezium.time.IsoDate", "2024-05-01Z", dt.date(2024, 5, 1), "date"),
            ("io.debezium.time.MicroTime", 45000000001, dt.time(12, 30, 0, 1), "time"),
            ("io.debezium.time.Time", 45000000, dt.time(12, 30), "time"),
            ("io.debezium.time.MicroTime", -3600000000, dt.timedelta(hours=-1), "time"),
            ("io.debezium.time.MicroDuration", 1500000, dt.timedelta(seconds=1.5), "interval"),
            ("io.debezium.time.Interval", "P0Y0M2DT1H0M0.5S", dt.timedelta(2, 3600.5), "interval"),
            ("io.debezium.time.Interval", "P1Y2M-3DT0H0M0S", "1 year 2 mons -3 days", "interval"),
            ("io.debezium.time.Year", 2024, 2024, "integer"),
            ("io.debezium.data.Uuid", str(UUID(int=7)), UUID(int=7), "uuid"),
            ("io.debezium.data.Json", '{"a": [1]}', {"a": [1]}, "json"),
            ("io.debezium.data.Enum", "small", "small", "text"),
            ("io.debezium.data.VariableScaleDecimal", {"scale": 3, "value": "BNI="}, Decimal("1.234"), "decimal"),
            ("io.debezium.time.Timestamp", 10**18, "31690708-07-05 01:46:40.000", "timestamp"),
            ("io.debezium.time.MicroTimestamp", 253402300800000000, "10000-01-01 00:00:00.000000", "timestamp"),
            ("io.debezium.time.Date", 2147483647, "5881580-07-11", "date"),
            ("io.debezium.time.Date", 2932897, "10000-01-01", "date"),
            ("io.debezium.time.Date", -(2**31), "-5877641-06-23", "date"),
            ("io.debezium.time.Timestamp", -(2**63), -(2**63), "timestamp"),
            ("io.debezium.data.Json", "{", "{", "json"),
            ("io.debezium.data.Json", "[1e400]", [Decimal("1e400")], "json"),
        ],
    )
    def test_a_logical_type_gives_what_a_driver_would(self, name: str, sent: Any, value: Any, kind: str) -> None:
        field = {"type": "?", "name": name, "field": "x"}
        event = one(with_schema({"id": 1, "x": sent}, [{"type": "int32", "field": "id"}, field]))
        assert event.values["x"] == value
        assert type(event.values["x"]) is type(value)
        assert column_type(field) == kind

    @given(st.integers(), st.integers(0, 12))
    def test_a_decimal_keeps_every_digit(self, unscaled: int, scale: int) -> None:
        raw = unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)
        schema = {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": str(scale)}}
        decode = decoder(schema)
        assert decode is not None
        assert decode(base64.b64encode(raw).decode()).as_tuple() == Decimal(f"{unscaled}e-{scale}").as_tuple()

    def test_nested_values_and_nulls_are_decoded_too(self) -> None:
        date = {"type": "int32", "name": "io.debezium.time.Date"}
        inner = {"type": "struct", "fields": [{**date, "field": "day"}]}
        fields: list[dict[str, Any]] = [{"type": "array", "items": inner, "field": "days"}, {**date, "field": "none"}]
        event = one(with_schema({"id": 1, "days": [{"day": 0}, None], "none": None}, fields))
        assert event.values == {"id": 1, "days": [{"day": dt.date(1970, 1, 1)}, None], "none": None}

    def test_types_can_be_declared_for_events_without_a_schema(self) -> None:
        types = {"price": "Decimal(2)", "at": "io.debezium.time.MicroTimestamp", "raw": "bytes"}
        event = one(envelope("c", None, {"id": 1, "price": "BNI=", "at": 0, "raw": "AAE="}), types=types)
        assert event.values == {"id": 1, "price": Decimal("12.34"), "at": dt.datetime(1970, 1, 1), "raw": b"\0\1"}

    @pytest.mark.parametrize("name", ["MicroTimestmp", "Decimal", "Date(2)", ""])
    def test_a_type_that_is_none_is_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match="is not a type of an event"):
            declared_schema("price", name)


class TestPositions:
    def test_each_database_counts_in_its_own_way(self) -> None:
        pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({"lsn": 99, "ts_ms": 5}, {"lsn": "100", "ts_ms": 5}),
            ({"file": "bin.000009", "pos": 900, "row": 0}, {"file": "bin.000010", "pos": 4, "row": 0}),
            ({"file": "bin.000009", "pos": 900, "row": 0}, {"file": "bin.000009", "pos": 900, "row": 1}),
            ({"commit_lsn": "00000027:00000db0:0007", "change_lsn": None},
             {"commit_lsn": "00000027:00000db0:0007", "change_lsn": "00000027:00000db0:0005", "event_serial_no": "1"}),
            ({"scn": "99"}, {"scn": "2122184"}),
            ({"ts_ms": 5}, {"ts_ms": "6"}),
            ({"ts_sec": 5}, {"ts_sec": 6}),
        ]  # fmt: skip
        for older, newer in pairs:
            first, second = position_of(older, None), position_of(newer, None)
            assert is_older(first, second)
            assert not is_older(second, first)
            assert not is_older(first, first), "an event that comes again is carried out again"

    def test_a_database_that_counts_anew_is_not_taken_for_old(self) -> None:
        kept = position_of({"lsn": 9000, "ts_ms": 100}, None)
        restored = position_of({"lsn": 20, "ts_ms": 200}, None)
        assert not is_older(restored, kept)

    def test_a_clock_that_goes_back_is_outvoted_by_the_log(self) -> None:
        kept = position_of({"lsn": 20, "ts_ms": 200}, None)
        assert not is_older(position_of({"lsn": 30, "ts_ms": 100}, None), kept)

    def test_unknown_places_are_older_than_nothing(self) -> None:
        known = position_of({"lsn": 1, "ts_ms": 1}, None)
        other = position_of({"lsn": 0, "ts_ms": 0, "name": "another"}, None)
        assert position_of({"ts_ms": "..."}, None) is None
        assert not is_older(None, known)
        assert not is_older(known, None)
        assert not is_older(other, known)

    @given(st.integers(0), st.text(st.characters(blacklist_characters="|")), st.text())
    def test_what_is_written_is_read_again(self, time: int, order: str, log: str) -> None:
        position = Position(time, log, order)
        assert Position.parse(str(position)) == position


def _values(text: str) -> Iterator[tuple[Any, Any]]:
    """Key and value of each event in a file of the test data."""
    if text.startswith("/*"):
        text = text.partition("*/")[2]
    try:
        documents: list[tuple[Any, Any]] = [(None, json.loads(text))]
    except ValueError:
        lines = [line.rpartition("\t") for line in text.splitlines() if line.strip() and not line.startswith("#")]
        documents = [(_loaded(key) if key else None, _loaded(value)) for key, _, value in lines]
    for key, document in documents:
        if isinstance(document, list):
            yield from ((record.get("key"), record.get("value")) for record in document)
        elif isinstance(document, dict) and any(name.startswith("expected_") for name in document):
            yield from ((None, each) for each in document.values())
        else:
            yield key, document


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class TestRealEvents:
    def test_every_documented_event_does_what_its_op_says(self, data: Path) -> None:
        seen = 0
        for entry in json.loads((data / "debezium" / "index.json").read_text()):
            if not entry.get("file") or entry["op"] not in {*OP_EFFECTS, "m"}:
                continue
            value = json.loads((data / "debezium" / entry["file"]).read_text())
            payload = value.get("payload", value)
            row = payload.get("after") or payload.get("before") or {}
            key = next((name for name in (*KEYS, *row) if name in row), "id")
            parsed = EnvelopeReader(key).read(value, None, entry["file"])
            if entry["op"] == "m":
                assert parsed.skipped == "message"
            else:
                assert parsed.events[-1].effect is OP_EFFECTS[entry["op"]], entry["file"]
                assert parsed.events[-1].key == (row.get(key)), entry["file"]
            seen += 1
        assert seen > 30

    def test_every_file_is_read_or_refused_with_a_reason(self, data: Path) -> None:
        events = skipped = 0
        refused: list[tuple[str, str]] = []
        for path in sorted((data / "debezium").rglob("*.*")):
            if path.suffix not in (".json", ".txt") or path.stem in ("index", "LICENSE"):
                continue
            for key, value in _values(path.read_text()):
                row_schema(value)
                try:
                    parsed = EnvelopeReader("id").read(value, key, path.name)
                except SourceError as error:
                    refused.append((path.name, error.message))
                else:
                    events += len(parsed.events)
                    skipped += bool(parsed.skipped)
        assert events > 180
        assert skipped > 10
        # Configurations of connectors, MongoDB, and tables whose key has another name.
        assert len(refused) < 60
        assert all(message.startswith(name) for name, message in refused)

    def test_every_type_of_mysql_is_decoded(self, data: Path) -> None:
        folder = data / "debezium" / "apache_paimon"
        text = (folder / "kafka__debezium__table__schema__alltype__debezium-data-1.txt").read_text()
        ((_, value),) = _values(text)
        (event,) = EnvelopeReader("_id").read(value, None, "alltype").events
        expected = {
            "_id": 1, "pt": Decimal("1.1"), "_bigint_unsigned": Decimal(20000000000), "_numeric": Decimal("12345.11"),
            "_big_decimal": Decimal("2.2222222222222224e+27"), "_date": dt.date(2023, 3, 23),
            "_datetime6": dt.datetime(2023, 3, 23, 14, 30, 5, 123456), "_time": dt.time(10, 13, 23), "_year": 2023,
            "_timestamp": dt.datetime(2023, 3, 23, 22, 0, 10, 123456, dt.UTC), "_json": {"a": "b"},
            "_enum": "value1", "_set": "a,b", "_bit": bytes([0xC7, 7, 0, 0, 0, 0, 0, 0]),
        }  # fmt: skip
        assert {name: event.values[name] for name in expected} == expected


class TestCloudEvents:
    def event(self, op: str | None, data: Any, **attributes: Any) -> dict[str, Any]:
        told = {"iodebeziumtable": "t", "iodebeziumlsn": "10", "iodebeziumtsms": "9", "iodebeziumname": "shop"}
        return {
            "id": "name:shop;lsn:10;txId:565", "source": "/debezium/postgresql/shop", "specversion": "1.0",
            "type": "io.debezium.connector.postgresql.DataChangeEvent", "datacontenttype": "application/json",
            "data": data, **({"iodebeziumop": op} if op else {}), **told, **attributes,
        }  # fmt: skip

    def test_a_row_is_that_of_the_data_and_not_the_event(self) -> None:
        event = one(self.event("c", {"before": None, "after": ROW}))
        assert (event.effect, event.key, event.values) == (Effect.PUT, 1, ROW)
        assert event.position == position_of({"lsn": 10, "ts_ms": 9, "name": "shop"}, None)

    def test_the_case_is_read(self, data: Path) -> None:
        (line,) = (data / "cases" / "cloudevents.jsonl").read_text().splitlines()
        assert one(json.loads(line)).values == {"id": 1, "n": "chair"}

    def test_a_deletion_arrives(self) -> None:
        assert one(self.event("d", {"before": {"id": 4}, "after": None}))[:2] == (Effect.REMOVE, 4)
        assert one(self.event("d", {"before": None, "after": None}), {"id": 5})[:2] == (Effect.REMOVE, 5)

    def test_data_with_a_schema_is_decoded(self) -> None:
        fields = [{"field": "id", "type": "int32"}, {"field": "at", "type": "int32", "name": "io.debezium.time.Date"}]
        said = with_schema({"id": 1, "at": 1}, fields)
        del said["payload"]["op"]
        event = self.event("u", said)
        assert one(event).values == {"id": 1, "at": dt.date(1970, 1, 2)}
        assert row_schema(event)["fields"] == fields

    def test_an_envelope_in_the_data_may_be_whole(self) -> None:
        assert one(self.event(None, envelope("c", None, ROW, table="t")), table="t").values == ROW

    def test_events_of_other_tables_are_left_out(self) -> None:
        assert read(self.event("c", {"before": None, "after": ROW}), table="other").skipped == "of another table"

    def test_an_unwrapped_row_is_read(self) -> None:
        assert one(self.event("c", ROW)).values == ROW
        assert one(self.event("d", {"id": 1}))[:2] == (Effect.REMOVE, 1)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"data": None}, "whose data is not an object"),
            ({"data": "T2JqAQ=="}, "whose data is not an object"),
            ({"data": None, "data_base64": "T2JqAQ=="}, "whose data is not an object"),
            ({"type": "com.example.order.placed"}, "'com.example.order.placed' is not a change event"),
            ({"iodebeziumop": "q"}, "the op 'q' is unknown"),
        ],
    )
    def test_one_that_is_not_understood_is_refused_by_name(self, changed: dict[str, Any], message: str) -> None:
        with pytest.raises(SourceError, match=f"line 7.*{message}"):
            read(self.event("c", {"before": None, "after": ROW}) | changed)


def test_an_unwrapped_row_may_have_columns_of_those_names() -> None:
    row = {"id": 1, "before": "dawn", "after": "dusk"}
    assert one(row).values == row


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ({"before": None, "after": ROW, "source": {}, "id": 3}, "without `op`"),
        ({"before": None, "after": ROW}, "without `op`"),
        ({"database": "d", "table": "t", "type": "insert", "ts": 1, "data": ROW, "id": 5}, "Maxwell"),
        ({"data": [ROW], "database": "d", "table": "t", "type": "INSERT", "id": 5, "isDdl": False}, "Canal"),
        ({"change": [{"kind": "insert"}], "id": 1}, "wal2json"),
        ({"action": "I", "schema": "public", "table": "t", "columns": [], "id": 1}, "wal2json"),
        ({"data": ROW, "metadata": {"record-type": "data"}, "id": 1}, "AWS DMS"),
        ({"table": "t", "op_type": "I", "op_ts": "2024", "id": 1}, "GoldenGate"),
        ({"_id": {}, "operationType": "insert", "ns": {}, "id": 1}, "MongoDB"),
        ({"operationType": "delete", "documentKey": {"_id": 1}, "id": 1}, "MongoDB"),
        ({"kind": "insert", "table": "t", "columnnames": ["id"], "columnvalues": [1], "id": 1}, "wal2json"),
        ({"eventName": "INSERT", "dynamodb": {"NewImage": {}}, "id": 1}, "DynamoDB"),
        ({"type": "INSERT", "table": "t", "schema": "s", "record": ROW, "old_record": None, "id": 1}, "Supabase"),
        ({"type": "RECORD", "stream": "t", "record": ROW, "id": 1}, "Singer"),
        ({"_airbyte_raw_id": "x", "_airbyte_data": ROW, "id": 1}, "Airbyte"),
    ],
)
def test_a_form_of_another_tool_is_never_a_row(form: dict[str, Any], name: str) -> None:
    with pytest.raises(SourceError, match=f"line 7: .*{name}"):
        read(form, {"id": 1})


@pytest.mark.parametrize(
    "row",
    [
        {"id": 1, "change": ["a"]},
        {"id": 1, "change": []},
        {"id": 1, "before": None, "after": {"a": 1}, "__op": "u"},
        {"id": 1, "database": "d", "table": "t", "type": "x", "data": "y", "__deleted": "false"},
    ],
)
def test_a_row_that_looks_like_another_tools_event_is_a_row(row: dict[str, Any]) -> None:
    assert read(row, {"id": 1}) is not None


@pytest.mark.parametrize(
    "schema",
    [
        {"fields": 5},
        {"fields": [{"type": "bytes"}]},
        {"fields": [{"field": "id", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "x"}}]},
        {"fields": [{"field": "id", "name": "org.apache.kafka.connect.data.Decimal", "parameters": [1]}]},
    ],
)
def test_a_schema_that_is_none_is_named_with_its_place(schema: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="line 7: the schema of the event"):
        read({"schema": schema, "payload": {"id": 1, "__op": "c"}}, {"id": 1})
