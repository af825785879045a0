# ruff: noqa: E501  A table reads best with its cells side by side.
"""Values that databases and files hold, each with the text that docs/text.md promises for it.

The text is written down here, and not worked out by rowvec or a driver: that is what makes the comparison independent.
None stands for a value whose text the docs leave open; it must still be read, and read alike each time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

Told = tuple[Any, str | None]
"""As it is written in SQL, a cell or JSON, and as it is in the text."""

STRINGS: Sequence[str] = (
    "plain", " edges ", "", " ", "\t\n", "a b", "a\u00a0b", "null", "NULL", "NaN", "nan", "None", "true", "FALSE", "yes",
    "t", "0", "00123", "1_0", "-0", "1e5", "0x10", "1,5", "1.50", "19.99", "9223372036854775808", "1234567890123456789",
    "it's", 'say "so"', "\\", "\\n", "%s", "%(x)s", ":x", "?", "{x}", "{{ x }}", "}}{{", "a: b. c: d", "a|b", "a;b", "a,b",
    '"quoted, twice"', "=1+1", "@x", "#", "--", "/* x */", "'; drop table thing; --", "<script>", "&amp;", "${HOME}", "~",
    "日本語", "ไทย", "żółć", "ЁЖик", "e\u0301", "\u00e9", "ﬁ", "ß", "ẞ", "İı", "😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "𝔘𝔫𝔦", "\u202eabc", "a\u200bb",
    "a\u00adb", "\ufeffbom", "a\u2028b", "a\u0085b", "line\nbreak", "win\r\ndows", "mac\rline", "tab\there", "\x01\x02x",
    "x\x7f", "2024-01-02", "2024-02-30", "2024-01-02T03:04:05Z", "infinity", "-infinity", "12:30:00+05:30", "[1,5)",
    '{"a": 1}', "[1, 2]", "6F1C2F0E-8A55-4A53-9D0C-0D1F4A3B2C1D", "http://a.b/c?d=e&f", "C:\\dir\\file", "a" * 3000, "ж" * 900,
    "😀" * 500, "word " * 400, "0044-03-15 BC", "١٢٣", "½", "\u3000wide\u3000", "a\x0bb", "a\x0cb", "ends.", "ends..", "?!",
)  # fmt: skip


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _texts(quote: Any = quoted) -> list[Told]:
    return [(quote(text), text.strip()) for text in STRINGS]


POSTGRES: Mapping[str, Sequence[Told]] = {
    "text": _texts(),
    "varchar(5000)": _texts(),
    "char(8)": [("'ab'", "ab"), ("'ż'", "ż"), ("''", "")],
    '"char"': [("'x'", "x")],
    "name": [("'some_name'", "some_name")],
    "smallint": [("-32768", "-32768"), ("0", "0"), ("32767", "32767")],
    "integer": [("-2147483648", "-2147483648"), ("7", "7")],
    "bigint": [("9223372036854775807", "9223372036854775807"), ("-9223372036854775808", "-9223372036854775808")],
    "oid": [("4294967295", "4294967295")],
    "numeric": [
        ("0", "0"), ("1250.00", "1250.00"), ("-0.50", "-0.50"), ("'NaN'", ""), ("1e-20", "0.00000000000000000001"),
        ("123456789012345678901234567890.123456789", "123456789012345678901234567890.123456789"), ("'Infinity'", "infinity"),
    ],
    "numeric(12,2)": [("19.9", "19.90"), ("0", "0.00")],
    "real": [("19.99", "19.99"), ("0.1", "0.1"), ("'NaN'", ""), ("'-Infinity'", "-infinity"), ("1e20", "1e+20")],
    "double precision": [
        ("0.1", "0.1"), ("59", "59.0"), ("1e300", "1e+300"), ("5e-324", "5e-324"), ("'Infinity'", "infinity"), ("'NaN'", ""),
        ("0.30000000000000004", "0.30000000000000004"),
    ],
    "money": [("'1234.50'", "1234.50"), ("'-0.05'", "-0.05")],
    "boolean": [("true", "yes"), ("false", "no")],
    "date": [
        ("'2024-02-29'", "2024-02-29"), ("'infinity'", "infinity"), ("'-infinity'", "-infinity"), ("'0044-03-15 BC'", "0044-03-15 BC"),
        ("'10000-01-01'", "10000-01-01"), ("'0001-01-01'", "0001-01-01"), ("'9999-12-31'", "9999-12-31"),
    ],
    "time": [("'12:30'", "12:30:00"), ("'24:00'", None), ("'00:00:00.000001'", "00:00:00.000001")],
    "timetz": [("'12:30+05:30'", "12:30:00+05:30"), ("'12:30-11'", "12:30:00-11:00"), ("'12:30+00'", "12:30:00+00:00")],
    "timestamp": [
        ("'2024-03-31 02:30'", "2024-03-31 02:30:00"), ("'infinity'", "infinity"), ("'0044-03-15 12:00 BC'", "0044-03-15 12:00:00 BC"),
        ("'1900-01-01'", "1900-01-01 00:00:00"), ("'2024-01-01 00:00:00.5'", "2024-01-01 00:00:00.500000"),
    ],
    "timestamptz": [
        ("'2024-03-31 02:30+02'", "2024-03-31 00:30:00+00:00"), ("'-infinity'", "-infinity"), ("'9999-12-31 23:59:59-05'", None),
        ("'0001-01-01 00:00+14'", None), ("'2024-06-01 12:00 Europe/Warsaw'", "2024-06-01 10:00:00+00:00"),
    ],
    "interval": [
        ("'1 day 02:03:04'", "1 day 02:03:04"), ("'-30 minutes'", "-00:30:00"), ("'1 mon'", "1 mon"), ("'1 year 2 mons -3 days'", "1 year 2 mons -3 days"),
        ("'P1Y2M3DT4H5M6.7S'", "1 year 2 mons 3 days 04:05:06.7"), ("'178000000 years'", "178000000 years"),
    ],
    "uuid": [("'6F1C2F0E-8A55-4A53-9D0C-0D1F4A3B2C1D'", "6f1c2f0e-8a55-4a53-9d0c-0d1f4a3b2c1d")],
    "json": [("'{\"b\": 1, \"a\": \"é\"}'", '{"a":"é","b":1}'), ("'null'", ""), ("'[]'", ""), ("'{}'", ""), ("'\"x\"'", "x")],
    "jsonb": [
        ("'[1, \"a\", null]'", "1, a"), ("'{\"a\": [1.0, 1e400]}'", None), ("'12345678901234567890'", "12345678901234567890"),
        ("'[[1], {\"a\": 2}]'", '[[1],{"a":2}]'), ("'true'", "yes"),
    ],
    "integer[]": [("'{1,NULL,3}'", "1, 3"), ("'{}'", ""), ("'{{1,2},{3,4}}'", None)],
    "text[]": [("'{a,\"\",b}'", "a, b"), ("'{\"x, y\",\"\\\"q\\\"\"}'", 'x, y, "q"'), ("array[null]::text[]", "")],
    "timestamptz[]": [("array['2024-01-01 00:00+00','infinity']::timestamptz[]", None)],
    "bytea": [("'\\x6869'::bytea", "hi"), ("'\\xff00'::bytea", ""), ("''::bytea", "")],
    "inet": [("'10.0.0.1'", "10.0.0.1"), ("'10.0.0.1/24'", "10.0.0.1/24"), ("'::1'", "::1")],
    "cidr": [("'10.0.0.0/8'", "10.0.0.0/8")],
    "macaddr": [("'08:00:2b:01:02:03'", "08:00:2b:01:02:03")],
    "bit(8)": [("b'11001000'", "11001000")],
    "varbit": [("b'101'", "101")],
    "int4range": [("'[1,5)'", "[1,5)"), ("'empty'", "empty"), ("'(,)'", "(,)")],
    "int4range[]": [("array['[1,5)', '(,)']::int4range[]", "[1,5), (,)")],
    "nummultirange": [("'{[1.50,2),(3,)}'", "{[1.50,2),(3,)}"), ("'{}'", "{}")],
    "daterange": [("'[2024-01-01,infinity]'", "[2024-01-01,infinity]"), ("'[2024-01-01,2024-01-31]'", "[2024-01-01,2024-02-01)")],
    "tstzrange": [("'[2024-01-01 00:00+00,)'", '["2024-01-01 00:00:00+00",)')],
    "point": [("'(1,2)'", "(1,2)")],
    "xml": [("'<a>b</a>'", "<a>b</a>")],
    "tsvector": [("'cat:1'", "'cat':1")],
    "pg_lsn": [("'16/B374D848'", "16/B374D848")],
}  # fmt: skip

MARIADB: Mapping[str, Sequence[Told]] = {
    "longtext": _texts(lambda text: quoted(text.replace("\\", "\\\\"))),
    "varchar(3000)": _texts(lambda text: quoted(text.replace("\\", "\\\\"))),
    "char(8)": [("'ab'", "ab"), ("''", "")],
    "tinyint": [("-128", "-128"), ("127", "127")],
    "tinyint(1)": [("0", "no"), ("1", "yes")],
    "int unsigned": [("4294967295", "4294967295")],
    "bigint unsigned": [("18446744073709551615", "18446744073709551615"), ("0", "0")],
    "bigint": [("-9223372036854775808", "-9223372036854775808")],
    "int(6) zerofill": [("42", None)],
    "decimal(65,30)": [("1.5", "1.500000000000000000000000000000")],
    "decimal(10,2)": [("19.9", "19.90"), ("-0.5", "-0.50")],
    "float": [("19.99", "19.99"), ("0.1", "0.1"), ("1e20", "1e+20"), ("16777216", None)],
    "double": [("0.1", "0.1"), ("59", "59.0"), ("1e300", "1e+300")],
    "date": [("'2024-02-29'", "2024-02-29"), ("'0000-00-00'", None), ("'2024-00-10'", None), ("'9999-12-31'", "9999-12-31")],
    "datetime": [("'2024-03-31 02:30:00'", "2024-03-31 02:30:00"), ("'0000-00-00 00:00:00'", None)],
    "datetime(6)": [("'2024-01-01 00:00:00.5'", "2024-01-01 00:00:00.500000")],
    "time": [("'12:30:00'", None), ("'26:30:00'", None), ("'-00:30:00'", None), ("'838:59:59'", None)],
    "year": [("2024", "2024"), ("0", None)],
    "bit(8)": [("b'11001000'", None)],
    "bit(1)": [("b'1'", "yes"), ("b'0'", "no")],
    "enum('a','it''s','ż')": [("'it''s'", "it's"), ("'ż'", "ż")],
    "set('a','b')": [("'a,b'", None), ("''", "")],
    "json": [("'{\"b\": 1}'", '{"b": 1}')],
    "blob": [("'hi'", "hi"), ("x'ff00'", "")],
    "binary(4)": [("'hi'", None)],
    "uuid": [("'6F1C2F0E-8A55-4A53-9D0C-0D1F4A3B2C1D'", "6f1c2f0e-8a55-4a53-9d0c-0d1f4a3b2c1d")],
    "inet6": [("'::1'", "::1")],
}  # fmt: skip

_ANY: Sequence[Told] = [
    ("1", None), ("1.5", None), ("'x'", None), ("x'6869'", None), ("x'ff'", None), ("''", ""), ("9e999", None),
    ("9223372036854775807", None), ("'9223372036854775808'", None),
]  # fmt: skip
SQLITE: Mapping[str, Sequence[Told]] = {
    "text": _texts(),
    "varchar(10)": _texts(),
    "": [*_texts(), *_ANY],
    "integer": [("9223372036854775807", "9223372036854775807"), ("'abc'", "abc"), *_ANY],
    "real": [("19.99", "19.99"), ("59", "59.0"), ("9e999", "infinity"), ("'n/a'", "n/a")],
    "boolean": [("1", "yes"), ("0", "no"), ("'true'", "yes"), ("'f'", "no"), ("2", "2"), ("'maybe'", "maybe")],
    "decimal(10,2)": [("19.9", None), ("'1250.00'", None), ("'abc'", "abc")],
    "date": [("'2024-02-29'", "2024-02-29"), ("'2024-02-30'", "2024-02-30"), ("1700000000", None), ("'soon'", "soon")],
    "datetime": [("'2024-03-31 02:30:00'", None), ("'infinity'", "infinity"), ("1700000000000", None), ("''", "")],
    "time": [("'12:30'", None), ("'25:00'", "25:00")],
    "uuid": [("'6f1c2f0e-8a55-4a53-9d0c-0d1f4a3b2c1d'", "6f1c2f0e-8a55-4a53-9d0c-0d1f4a3b2c1d"), ("'x'", "x")],
    "json": [("'{\"b\": 1}'", '{"b": 1}'), ("'{'", "{")],
    "blob": [("x'6869'", "hi"), ("x'ff'", ""), ("'text'", "text"), ("5", None)],
    "floating point": [("1.5", None), ("'x'", "x")],
}  # fmt: skip

CSV: Mapping[str, Sequence[Told]] = {
    "text": [(text, text.strip()) for text in STRINGS],
    "integer": [("12", "12"), ("-5", "-5"), ("", ""), ("9223372036854775807", "9223372036854775807")],
    "float": [("1.5", "1.5"), ("1.50", "1.50"), ("1e3", "1e3"), ("", "")],
    "boolean": [("true", "yes"), ("False", "no"), ("", "")],
    "far": [("1e400", "1e400"), ("-1e-400", "-1e-400"), ("2", "2")],
    "ids": [("1234567890123456789", "1234567890123456789"), ("1234567890123456788", "1234567890123456788")],
    "date": [("2024-05-01", "2024-05-01"), ("", "")],
}
JSONL: Mapping[str, Sequence[Told]] = {
    "text": [(text, text.strip()) for text in STRINGS],
    "integer": [(12, "12"), (2**63 - 1, "9223372036854775807"), (-(2**63), "-9223372036854775808"), (None, "")],
    "float": [(1.5, "1.5"), (59.0, "59.0"), (0.1, "0.1"), (1e300, "1e+300"), (None, "")],
    "boolean": [(True, "yes"), (False, "no"), (None, "")],
    "list": [(["red", "", None, "green"], "red, green"), ([], ""), ([[1], {"a": 2}], '[[1],{"a":2}]'), (None, "")],
    "object": [({"b": 1, "a": "é"}, '{"a":"é","b":1}'), ({}, ""), (None, "")],
    "mixed": [("a", "a"), (1, "1"), (1.5, "1.5"), (True, "yes"), (["x"], "x"), (None, "")],
    "half": [("a\ud800b", "a\ufffdb"), ("a\0b", "ab")],
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
}  # fmt: skip
