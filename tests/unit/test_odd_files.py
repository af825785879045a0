"""Files that other programs write: what cannot be read is refused by name, and what can is read as it is written."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowvec.documents.text import Documents, build_recipe
from rowvec.errors import ConfigError, SourceError
from rowvec.evaluation.files import read_queries
from rowvec.sources.events.files import EventFiles
from rowvec.sources.events.stream import EventSettings
from rowvec.sources.files.source import FilesSource
from rowvec.types import Column, ColumnType, Row


def source_of(path: Path, **options: Any) -> FilesSource:
    return FilesSource([str(path)], key="id", **options)


def rows_of(source: FilesSource) -> list[Row]:
    return [row for page in source.pages(10) for row in page]


def type_of(source: FilesSource, name: str) -> ColumnType:
    return next(column.type for column in source.columns if column.name == name)


def test_two_columns_of_one_name_in_parquet_are_refused(tmp_path: Path) -> None:
    """Of both only one was read, and nobody was told."""
    columns = [pa.array([1]), pa.array(["a"]), pa.array(["b"])]
    pq.write_table(pa.Table.from_arrays(columns, names=["id", "name", "name"]), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"a\.parquet has two columns named 'name'"):
        source_of(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "id,na\0me\n1,x\n"),
        ("a.jsonl", '{"id": 1, "na\\u0000me": "x"}\n'),
        ("b.jsonl", '{"id":1,"\\ud800":1}'),
    ],
)
def test_a_column_that_no_store_can_remember_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SourceError, match="has a NUL or half of a surrogate pair in its name"):
        source_of(path)


@pytest.mark.parametrize("text", ["1e400", "-1E+999", "1e-400", "0.5e-999", f"0.{0:0400}7", f"{1:0<400}.5"])
def test_a_number_beyond_the_floats_is_a_decimal_with_its_digits(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(f"id,v\n1,{text}\n2,5\n")
    (tmp_path / "a.jsonl").write_text(f'{{"id": 1, "v": {text}}}\n{{"id": 2, "v": 5}}\n{{"id": 3, "v": 0.5}}\n')
    for path in (tmp_path / "a.csv", tmp_path / "a.jsonl"):
        source = source_of(path)
        assert type_of(source, "v") is ColumnType.DECIMAL
        document = Documents(build_recipe(source.columns, "id", columns=["v"]), source.columns[1:])
        made = [document(row) for row in rows_of(source)]
        assert made[0].metadata == (Decimal(text),)
        assert Decimal(made[0].text.removeprefix("v: ")) == Decimal(text)


@pytest.mark.parametrize("text", ["12345678901234567890.123", "0.12345678901234567890123", "-9007199254740993.5"])
def test_a_number_of_more_digits_than_a_float_has_keeps_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"id": 1, "v": {text}, "o": {{"n": {text}}}}}\n{{"id": 2, "v": 0.5}}\n')
    source = source_of(tmp_path / "a.jsonl")
    assert type_of(source, "v") is ColumnType.DECIMAL
    document = Documents(build_recipe(source.columns, "id", columns=["v", "o"]), source.columns[1:2])
    made = [document(row) for row in rows_of(source)]
    assert made[0].text == f'v: {text}. o: {{"n":"{text}"}}'
    assert made[0].metadata == (Decimal(text),)


@pytest.mark.parametrize(
    "text",
    [
        "0.1",
        "0.30000000000000004",
        "0.10000000000000001",
        "1.000000000000000056e-01",
        "5.0000000000000000000",
        "0.1000000000000000055511151231257827021181583404541015625",
    ],
)
def test_a_float_that_is_written_long_stays_one(tmp_path: Path, text: str) -> None:
    """By `%.17g`, by `%.18e`, with all of its bits, or with zeros at its end."""
    (tmp_path / "a.jsonl").write_text(f'{{"id": 1, "v": {text}}}\n')
    assert rows_of(source_of(tmp_path / "a.jsonl"))[0].values["v"] == float(text)


def test_an_integer_of_thousands_of_digits_is_text_and_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"id": 1, "v": {"9" * 5000}}}\n{{"id": 2, "v": {"8" * 400}}}\n')
    assert [row.values["v"] for row in rows_of(source_of(tmp_path / "a.jsonl"))] == ["9" * 5000, int("8" * 400)]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("id,name\n1,ż\n".encode("utf-16"), "UTF-16"),
        ("id,name\n1,ż\n".encode("utf-16-le"), "UTF-16"),
        ("id,name\n1,ż\n".encode("utf-16-be"), "UTF-16"),
        ("id,name\n".encode("utf-32-be"), "UTF-"),
        (b"PK\3\4\x14\0\6\0xl/workbook.xml", "workbook of Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "workbook of Excel"),
        (gzip.compress(b"id,name\n"), "packed by gzip"),
        (b"PAR1\x15\0", "a Parquet file"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"<!DOCTYPE html>\n<html>", "a web page"),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_file_of_another_kind_is_told_by_its_first_bytes(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=rf"{name} is not text in UTF-8, but .*{what}") as caught:
        source_of(tmp_path / name)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["\ufeffid,name\n1,x\n", "id,name\n1,a\0b\n", "<b,id\nx,1\n", "PK,id\nx,1\n", "PAR1,id\nx,1\n"]
)
def test_text_that_only_begins_like_another_kind_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    assert [row.key for row in rows_of(source_of(tmp_path / "a.csv"))] == [1]


@pytest.mark.parametrize(
    ("name", "text", "delimiter", "said", "hint"),
    [
        ("a.csv", "sep=;\nid;name\n1;x\n", None, "'sep=;' is a note to Excel", "source.delimiter"),
        ("a.csv", "sep=;\nid;name\n1;x\n", ";", "'sep=' is a note to Excel", "Remove the line"),
        ("a.csv", "# export of 2024\nid,name\n1,x\n", None, "line 2: 2 fields", "'# export of 2024', is taken for"),
        ("a.jsonl", '{"id": 1},\n{"id": 2}\n', None, "Extra data", "one object on each line"),
        ("a.jsonl", '{"id": 1}{"id": 2}\n', None, "Extra data", "one object on each line"),
        ("a.jsonl", "{'id': 1}\n", None, "property name", "one object on each line"),
        ("a.jsonl", "\n", None, "has no row", "Run it again"),
    ],
)
def test_what_is_before_or_between_the_rows_is_told(
    tmp_path: Path, name: str, text: str, delimiter: str | None, said: str, hint: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=said) as caught:
        rows_of(source_of(tmp_path / name, delimiter=delimiter))
    assert hint in (caught.value.hint or "")


def test_a_time_zone_that_this_machine_lacks_is_named_with_its_column(tmp_path: Path) -> None:
    times = pa.array([1714557600], pa.timestamp("s", "Mars/Base"))
    pq.write_table(pa.table({"id": [1], "at": times}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"the column 'at' is in the time zone 'Mars/Base'"):
        rows_of(source_of(tmp_path / "a.parquet"))


@pytest.mark.parametrize("text", ["1e300", "0e400", "-0.0e-999", "1.5E-300"])
def test_a_number_that_a_float_holds_stays_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(f"id,v\n1,{text}\n2,5\n")
    (tmp_path / "a.jsonl").write_text(f'{{"id": 1, "v": {text}}}\n{{"id": 2, "v": 5}}\n')
    assert type_of(source_of(tmp_path / "a.csv"), "v") is ColumnType.NUMBER
    source = source_of(tmp_path / "a.jsonl")
    assert type_of(source, "v") is ColumnType.NUMBER
    assert rows_of(source)[0].values["v"] == float(text)


def test_an_exponent_without_bounds_fills_no_memory(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "v": 1e999999999}\n')
    assert rows_of(source_of(tmp_path / "a.jsonl"))[0].values["v"] == "1e999999999"


@pytest.mark.parametrize("depth", [201, 400, 950, 5000])
def test_a_line_that_is_nested_too_deep_is_named(tmp_path: Path, depth: int) -> None:
    """What can be read may be too deep to be kept, or to be written as text."""
    deep = '{"id": 2, "v": ' + '{"a":' * depth + "1" + "}" * depth + "}"
    (tmp_path / "a.jsonl").write_text(f'{{"id": 1}}\n{deep}\n')
    with pytest.raises(SourceError, match=r"line 2: no JSON that can be read: nested too deep"):
        rows_of(source_of(tmp_path / "a.jsonl"))


def test_a_value_that_is_nested_too_deep_costs_its_row_alone() -> None:
    value: Any = 1
    for _ in range(3000):
        value = [value]
    recipe = build_recipe([Column("v", ColumnType.JSON)], "id", columns=["v"])
    with pytest.raises(SourceError, match=r"Row 7: a value is nested too deep"):
        recipe.render(Row(7, {"id": 7, "v": [[value]]}))


@pytest.mark.parametrize(
    ("name", "text", "types"),
    [
        ("a.csv", "id,name\n1,x\n  ,y\n", {"id": ColumnType.INTEGER}),
        ("a.csv", "id,name\n00000000-0000-0000-0000-000000000001,x\n  ,y\n", {"id": ColumnType.UUID}),
        ("a.jsonl", '{"id": "a"}\n{"id": NaN}\n', {}),
        ("a.jsonl", '{"id": "a"}\n{"id": []}\n', {}),
        ("a.jsonl", '{"id": "a"}\n{"id": ""}\n', {}),
    ],
)
def test_a_key_that_says_nothing_is_null(tmp_path: Path, name: str, text: str, types: dict[str, ColumnType]) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=r"line [23]: the key 'id' is null"):
        rows_of(source_of(tmp_path / name, types=types))


def test_names_that_differ_in_case_or_form_only_are_columns_of_their_own(tmp_path: Path) -> None:
    names = ["Name", "name", "\u00e9", "e\u0301"]
    (tmp_path / "a.csv").write_text(f"id,{','.join(names)}\n1,a,b,c,d\n", encoding="utf-8")
    assert list(rows_of(source_of(tmp_path / "a.csv"))[0].values.values()) == [1, "a", "b", "c", "d"]
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": 1, **dict.fromkeys(names, 1)}) + "\n")
    assert len(source_of(tmp_path / "a.jsonl").columns) == 5


EPOCH = dt.datetime(1970, 1, 1)
FIRST, LAST = ((at - EPOCH) // dt.timedelta(microseconds=1) for at in (dt.datetime.min, dt.datetime.max))


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "-05:30"])
@pytest.mark.parametrize(("unit", "parts"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_a_moment_in_parquet_is_that_moment_at_every_edge(
    tmp_path: Path, unit: str, parts: int, zone: str | None
) -> None:
    """A part of a microsecond is left out towards the past: the last moment of 1969 became the first one of 1970."""
    ends = [-(2**63), 2**63 - 1] if unit == "ns" else [FIRST * parts // 10**6, LAST * parts // 10**6]
    moments = [-1, 0, 1, -999, -1000, -1001, 1999, -parts, -parts - 1, *ends, None]
    kind = pa.timestamp(unit, zone)
    nested = {
        "list": pa.array([[each, None] for each in moments[:-1]] + [None], pa.list_(kind)),
        "object": pa.array([{"at": each} for each in moments[:-1]] + [None], pa.struct([("at", kind)])),
    }
    pq.write_table(
        pa.table({"id": list(range(len(moments))), "at": pa.array(moments, kind), **nested}), tmp_path / "a.parquet"
    )
    for row, moment in zip(rows_of(source_of(tmp_path / "a.parquet")), moments, strict=True):
        at = row.values["at"]
        if moment is None:
            assert row.values == {**row.values, "at": None, "list": None, "object": None}
            continue
        assert row.values["list"] == [at, None]
        assert row.values["object"] == {"at": at}
        if isinstance(at, str) and zone not in (None, "UTC"):
            # It is in no year of Python's calendar there.
            assert moment in ends
            continue
        utc = at if zone is None else at.astimezone(dt.UTC).replace(tzinfo=None)
        assert utc == EPOCH + dt.timedelta(microseconds=moment * 10**6 // parts), moment


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_a_moment_beyond_every_calendar_is_the_number_that_it_is(tmp_path: Path, zone: str | None) -> None:
    """Arrow wrote the last one of all as one of the year -28164."""
    moments = [2**63 - 1, -(2**63), LAST + 1]
    columns = {"id": [1, 2, 3], "at": pa.array(moments, pa.timestamp("us", zone))}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    last, first, after = (row.values["at"] for row in rows_of(source_of(tmp_path / "a.parquet")))
    assert (last, first) == (f"{2**63 - 1} us since 1970", f"{-(2**63)} us since 1970")
    assert after.startswith("10000-01-01 00:00:00.000000")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('{"id": 2, "price": 1, "price": 2}', "price"),
        ('{"id": 2, "id": 3}', "id"),
        ('{"id": 2, "attrs": [{"a": 1, "b": 2, "a": 1}]}', "a"),
        ('{"id": 2, "id": 12345678901234567890123.5}', "id"),
    ],
)
def test_a_name_that_is_twice_in_an_object_of_json_lines_is_refused(tmp_path: Path, line: str, name: str) -> None:
    """The last value counted, and nobody was told."""
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"id": 1, "price": 5}}\n{line}\n')
    with pytest.raises(SourceError, match=rf"a\.jsonl, line 2: '{name}' is there twice in one object\."):
        rows_of(source_of(path))
    for start in ("", '{"id": 2}\t'):
        event = f'{{"op": "c", "after": {line}}}'.replace(", ", ",\t", 1) if not start else f"{start}{line}"
        path.write_text(f"{event}\n")
        with pytest.raises(SourceError, match=rf"a\.jsonl, line 1: '{name}' is there twice in one object\."):
            read_events(path)


def read_events(path: Path) -> None:
    events = EventFiles([str(path)], EventSettings("id"))
    list(events.batches({}, 10, follow=False, stop=threading.Event()))


def test_judgements_in_json_lines_name_each_field_once(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"id": "1", "query": "lamp", "query": "desk"}\n')
    with pytest.raises(ConfigError, match=r"queries\.jsonl, line 1: 'query' is there twice in one object\."):
        read_queries(path)


def test_a_day_beyond_every_calendar_is_the_number_that_it_is(tmp_path: Path) -> None:
    """Arrow wrote "<value out of range: 2147483647>", which became part of the text."""
    days = [2**31 - 1, -(2**31), 3_000_000]
    pq.write_table(pa.table({"id": [1, 2, 3], "at": pa.array(days, pa.date32())}), tmp_path / "a.parquet")
    last, first, later = (row.values["at"] for row in rows_of(source_of(tmp_path / "a.parquet")))
    assert (last, first) == (f"{days[0]} days since 1970", f"{days[1]} days since 1970")
    assert later.startswith("10183-")
