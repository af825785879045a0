"""Files that other programs write: what cannot be read is refused by name, and what can is read as it is written."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowvec.documents.text import Documents, build_recipe
from rowvec.errors import SourceError
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
