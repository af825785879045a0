# ruff: noqa: E501  A table reads best with its cells side by side.
"""As `values`, for files: a cell of CSV, a value of JSON, a value of Arrow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from uuid import UUID

import pyarrow as pa

from tests.differential.values import STRINGS, Told


class Source(str):
    """JSON as it stands in the file. An empty one is a member that the object does not have."""

    __slots__ = ()


CSV: Mapping[str, Sequence[Told]] = {
    "text": [
        (text, text.replace("\0", "").strip()) for text in (*STRINGS, "a\0b", 'a"b', '"', '""', ",", "\r", "\n\n", "'")
    ],
    "integer": [("12", "12"), ("-5", "-5"), ("", ""), ("9223372036854775807", "9223372036854775807")],
    "float": [("1.5", "1.5"), ("1.50", "1.50"), ("1e3", "1e3"), ("", "")],
    "boolean": [("true", "yes"), ("False", "no"), ("", "")],
    "far": [("1e400", "1e400"), ("-1e-400", "-1e-400"), ("2", "2")],
    "ids": [("1234567890123456789", "1234567890123456789"), ("1234567890123456788", "1234567890123456788")],
    "date": [("2024-05-01", "2024-05-01"), ("", "")],
    "moment": [
        ("2024-05-01T12:00:00Z", "2024-05-01T12:00:00Z"),
        ("2024-05-01 12:00", "2024-05-01 12:00"),
        ("2024-05-01", "2024-05-01"),
        ("2024-05-01T12:00:00.123456789+0530", "2024-05-01T12:00:00.123456789+0530"),
        ("2024-02-30", "2024-02-30"),
        ("", ""),
    ],
    "number": [
        ("1", "1"),
        ("1.50", "1.50"),
        ("-0", "-0"),
        ("0.0", "0.0"),
        ("1E5", "1E5"),
        ("9007199254740993", "9007199254740993"),
    ],
    "odd number": [
        ("+5", "+5"),
        (" 12", "12"),
        (".5", ".5"),
        ("5.", "5."),
        ("1,234", "1,234"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("١٢", "١٢"),
    ],
    "long number": [("1" * 5000, "1" * 5000), ("0." + "1" * 400, "0." + "1" * 400), ("1e99999", "1e99999"), ("5", "5")],
    "code": [("007", "007"), ("00", "00"), ("1", "1"), ("", "")],
    "uuid": [("6F1C2F0E-8A55-4A53-9D0C-0D1F4A3B2C1D", "6F1C2F0E-8A55-4A53-9D0C-0D1F4A3B2C1D"), ("", "")],
    "nothing": [("", "")],
}
JSONL: Mapping[str, Sequence[Told]] = {
    "text": [(text, text.strip()) for text in STRINGS],
    "integer": [(12, "12"), (2**63 - 1, "9223372036854775807"), (-(2**63), "-9223372036854775808"), (None, "")],
    "float": [(1.5, "1.5"), (59.0, "59.0"), (0.1, "0.1"), (1e300, "1e+300"), (None, "")],
    "boolean": [(True, "yes"), (False, "no"), (None, "")],
    "list": [
        (["red", "", None, "green"], "red, green"),
        (["a\0b", "\0"], "ab"),
        ([], ""),
        ([[1], {"a": 2}], '[[1],{"a":2}]'),
        (None, ""),
    ],
    "object": [({"b": 1, "a": "é"}, '{"a":"é","b":1}'), ({}, ""), (None, "")],
    "mixed": [("a", "a"), (1, "1"), (1.5, "1.5"), (True, "yes"), (["x"], "x"), (None, "")],
    "half": [
        ("a\ud800b", "a\ufffdb"),
        ("a\0b", "ab"),
        (Source(r'"\ud83d\ude00"'), "😀"),
        (Source(r'"\ude00\ud83d"'), "\ufffd\ufffd"),
    ],
    "optional": [(Source(), ""), ("x", "x"), (None, "")],
    "long": [
        (10**30, str(10**30)),
        (-(10**400), "-1" + "0" * 400),
        (Source("9" * 5000), "9" * 5000),
        (5, "5"),
        (2**63, str(2**63)),
    ],
    "fraction": [
        (Source("12345678901234567890.123"), "12345678901234567890.123"),
        (Source("0.1"), "0.1"),
        (Source("1e400"), "1" + "0" * 400),
        (Source("5"), "5"),
        (Source("0.30000000000000004"), "0.30000000000000004"),
        (Source("1E2"), "100.0"),
        (Source("-0.0"), "-0.0"),
    ],
    "no number": [
        (Source("NaN"), ""),
        (Source("Infinity"), "infinity"),
        (Source("-Infinity"), "-infinity"),
        (1.5, "1.5"),
        (None, ""),
    ],
    "deep": [
        (Source("[" * 150 + "]" * 150), "[" * 150 + "]" * 150),
        ({"a": [{"b": {"c": [None]}}]}, '{"a":[{"b":{"c":[null]}}]}'),
        (None, ""),
    ],
    "odd keys": [
        ({"": 1, " ": 2}, '{"":1," ":2}'),
        ({"10": 1, "2": 2}, '{"10":1,"2":2}'),
        ({"a\0": "b\0"}, '{"a":"b"}'),
        ({"é": [], "z": None}, '{"z":null,"é":[]}'),
    ],
    "numbers": [
        ([1, 2.5, True, None], "1, 2.5, yes"),
        ([0.1, 1e300], "0.1, 1e+300"),
        ([10**30], str(10**30)),
        ([" x ", ""], "x"),
    ],
    "moment": [("2024-05-01T12:00:00Z", "2024-05-01T12:00:00Z"), ("2024-05-01", "2024-05-01"), (None, "")],
    "truth": [(True, "yes"), ("true", None), (0, None), ("x", "x")],
}
_WARSAW = dt.timezone(dt.timedelta(hours=2))
PARQUET: Mapping[str, tuple[pa.DataType, Sequence[Told]]] = {
    "text": (pa.string(), JSONL["text"]),
    "integer": (pa.int64(), JSONL["integer"]),
    "float": (pa.float64(), JSONL["float"]),
    "boolean": (pa.bool_(), JSONL["boolean"]),
    "single": (pa.float32(), [(19.99, "19.99"), (0.1, "0.1"), (float("inf"), "infinity"), (float("nan"), ""), (None, "")]),
    "half": (pa.float16(), [(1.5, "1.5"), (65504.0, "65500.0"), (None, "")]),
    "unsigned": (pa.uint64(), [(2**64 - 1, "18446744073709551615"), (0, "0"), (None, "")]),
    "decimal": (pa.decimal128(20, 2), [(Decimal("1250.00"), "1250.00"), (Decimal("-0.50"), "-0.50"), (None, "")]),
    "wide decimal": (pa.decimal256(60, 1), [(Decimal("9" * 59 + ".5"), "9" * 59 + ".5"), (Decimal(0), "0.0")]),
    "category": (pa.dictionary(pa.int32(), pa.string()), [("red", "red"), (" ", ""), (None, "")]),
    "large text": (pa.large_string(), [("żółć", "żółć"), ("", ""), (None, "")]),
    "date": (pa.date32(), [(dt.date(2024, 2, 29), "2024-02-29"), (dt.date(1, 1, 1), "0001-01-01"), (None, "")]),
    "time": (pa.time64("us"), [(dt.time(12, 30), "12:30:00"), (None, "")]),
    "timestamp": (pa.timestamp("ns"), [(dt.datetime(2024, 3, 31, 2, 30), "2024-03-31 02:30:00"), (None, "")]),
    "zoned": (
        pa.timestamp("ms", "Europe/Warsaw"),
        [(dt.datetime(2024, 6, 1, 12, tzinfo=_WARSAW), "2024-06-01 12:00:00+02:00"), (None, "")],
    ),
    "duration": (pa.duration("us"), [(dt.timedelta(days=1, hours=2), "1 day 02:00:00"), (None, "")]),
    "list": (pa.list_(pa.string()), [(["red", "", None, "green"], "red, green"), ([], ""), (None, "")]),
    "fixed list": (pa.list_(pa.float32(), 2), [([19.99, 0.5], "19.99, 0.5"), (None, "")]),
    "struct": (pa.struct([("b", pa.int32()), ("a", pa.string())]), [({"b": 1, "a": "é"}, '{"a":"é","b":1}'), (None, "")]),
    "bytes": (pa.binary(), [(b"hi", "hi"), (b"\xff\x00", ""), (None, "")]),
    "nothing": (pa.null(), [(None, "")]),
    "tiny": (pa.int8(), [(-128, "-128"), (None, "")]),
    "small unsigned": (pa.uint32(), [(2**32 - 1, "4294967295"), (None, "")]),
    "small decimal": (pa.decimal32(7, 3), [(Decimal("19.990"), "19.990"), (None, "")]),
    "decimal64": (pa.decimal64(18, 0), [(Decimal("9" * 18), "9" * 18), (None, "")]),
    "category of numbers": (pa.dictionary(pa.int8(), pa.int64()), [(2**62, str(2**62)), (None, "")]),
    "view": (pa.string_view(), [("żółć", "żółć"), ("a\0b", "ab"), (None, "")]),
    "large bytes": (pa.large_binary(), [(b"hi", "hi"), (b"\xff", ""), (None, "")]),
    "fixed bytes": (pa.binary(2), [(b"hi", "hi"), (b"\xff\xff", ""), (None, "")]),
    "uuid": (pa.uuid(), [(UUID("6f1c2f0e-8a55-4a53-9d0c-0d1f4a3b2c1d").bytes, "6f1c2f0e-8a55-4a53-9d0c-0d1f4a3b2c1d"), (None, "")]),
    "json": (pa.json_(), [('{"b": 1}', None), (None, "")]),
    "date64": (pa.date64(), [(dt.date(9999, 12, 31), "9999-12-31"), (None, "")]),
    "time32": (pa.time32("ms"), [(dt.time(12, 30, 0, 500000), "12:30:00.500000"), (None, "")]),
    "time64": (pa.time64("ns"), [(dt.time(12, 30, 0, 1), "12:30:00.000001"), (None, "")]),
    "seconds": (pa.timestamp("s"), [(dt.datetime(2024, 3, 31, 2, 30), "2024-03-31 02:30:00"), (2**40, None), (None, "")]),
    "far": (pa.timestamp("us"), [(dt.datetime(1, 1, 1), "0001-01-01 00:00:00"), (2**62, None), (-(2**62), None), (None, "")]),
    "utc": (pa.timestamp("us", "UTC"), [(dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC), "2024-06-01 12:00:00+00:00"), (2**62, None), (None, "")]),
    "offset": (pa.timestamp("ns", "+05:30"), [(dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC), "2024-06-01 17:30:00+05:30"), (None, "")]),
    "short duration": (pa.duration("ns"), [(dt.timedelta(microseconds=1), "00:00:00.000001"), (1, None), (None, "")]),
    "long duration": (pa.duration("s"), [(dt.timedelta(days=-1), None), (2**50, None), (None, "")]),
    "large list": (pa.large_list(pa.int32()), [([1, None, 3], "1, 3"), ([], ""), (None, "")]),
    "list of lists": (pa.list_(pa.list_(pa.float32())), [([[19.99], []], "[[19.99],[]]"), (None, "")]),
    "list of structs": (pa.list_(pa.struct([("a", pa.float16())])), [([{"a": 1.5}, None], '[{"a":1.5},null]'), (None, "")]),
    "list of decimals": (pa.list_(pa.decimal128(9, 2)), [([Decimal("1.50")], "1.50"), (None, "")]),
    "list of times": (pa.list_(pa.timestamp("ns", "UTC")), [([dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)], "2024-06-01 12:00:00+00:00"), (None, "")]),
    "map": (pa.map_(pa.string(), pa.int32()), [([("b", 1), ("a", None)], None), ([], ""), (None, "")]),
    "nested": (
        pa.struct([("z", pa.struct([("at", pa.timestamp("ns"))])), ("d", pa.decimal128(5, 2)), ("l", pa.list_(pa.date32()))]),
        [({"z": {"at": dt.datetime(2024, 1, 2)}, "d": Decimal("1.50"), "l": [dt.date(2024, 1, 2)]}, None), (None, "")],
    ),
    "list of bytes": (pa.list_(pa.binary()), [([b"hi", b"\xff"], "hi"), (None, "")]),
    "list of categories": (pa.list_(pa.dictionary(pa.int32(), pa.string())), [(["red", ""], "red"), (None, "")]),
}  # fmt: skip
