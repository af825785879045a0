"""Rows of Parquet, CSV and JSON Lines files."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowvec.errors import ConfigError, RowvecError, SearchError, SourceError
from rowvec.filters import And, Compare, Op
from rowvec.sources.base import Selection
from rowvec.sources.files.source import FilesSource
from rowvec.syncing.run import sync
from rowvec.types import Column, ColumnType, Row
from tests.support import simple_pipeline, vectors_match_rows

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = text.encode()
        path.write_bytes(gzip.compress(raw, mtime=0) if name.endswith(".gz") else raw)
        return path

    return write_file


def jsonl(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def source_of(*paths: Path | str, key: str = "id", **options: Any) -> FilesSource:
    return FilesSource([str(path) for path in paths], key=key, **options)


def read(source: FilesSource, size: int = 2, **bounds: Any) -> list[Row]:
    return [row for page in source.pages(size, **bounds) for row in page]


def keys(rows: Sequence[Row]) -> list[Any]:
    return [row.key for row in rows]


def types(source: FilesSource) -> dict[str, ColumnType]:
    return {column.name: column.type for column in source.columns}


class TestReading:
    def test_the_same_rows_come_from_every_format(self, write: Write, tmp_path: Path) -> None:
        rows = [{"id": 2, "name": "two", "price": 2.5}, {"id": 1, "name": "one", "price": None}]
        write("a.jsonl", jsonl(*rows))
        write("b.csv", "id,name,price\n2,two,2.5\n1,one,\n")
        write("c.tsv", "id\tname\tprice\n2\ttwo\t2.5\n1\tone\t\n")
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
        for name in ("a.jsonl", "b.csv", "c.tsv", "d.parquet"):
            source = source_of(tmp_path / name)
            assert keys(read(source)) == [1, 2]
            assert types(source) == {"id": "integer", "name": "text", "price": "number"}
            assert [str(row.values["price"]) for row in read(source)] == ["None", "2.5"]

    def test_pages_come_in_key_order_whatever_the_order_of_the_files(self, write: Write, tmp_path: Path) -> None:
        numbers = list(range(500))
        random.Random(1).shuffle(numbers)
        for part in range(5):
            write(f"part-{part}.jsonl.gz", jsonl(*({"id": n, "name": f"n{n}"} for n in numbers[part::5])))
        source = source_of(tmp_path / "part-*.jsonl.gz")
        pages = list(source.pages(64))
        assert [len(page) for page in pages] == [64] * 7 + [52]
        assert keys([row for page in pages for row in page]) == list(range(500))
        assert source.count() == 500

    def test_text_keys_are_ordered_by_code_point(self, write: Write) -> None:
        source = source_of(
            write("a.jsonl", jsonl(*({"id": key} for key in ["é", "b", "B", "a", "10", "9", "😀", "ﬀ"])))
        )
        assert keys(read(source)) == ["10", "9", "B", "a", "b", "é", "ﬀ", "😀"]

    def test_a_32_bit_float_has_the_digits_it_was_written_with(self, tmp_path: Path) -> None:
        columns = {"id": [1], "f": pa.array([19.99], pa.float32()), "l": pa.array([[0.1]], pa.list_(pa.float32()))}
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        assert read(source_of(tmp_path / "a.parquet"))[0].values == {"id": 1, "f": 19.99, "l": [0.1]}

    def test_a_day_of_int96_beyond_nanoseconds_is_the_day_that_was_written(self, tmp_path: Path) -> None:
        table = pa.table({"id": [1], "u": pa.array([dt.datetime(9999, 12, 31)], pa.timestamp("us"))})
        pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
        assert read(source_of(tmp_path / "a.parquet"))[0].values["u"] == dt.datetime(9999, 12, 31)

    def test_a_parquet_string_that_is_not_utf8_is_named_with_its_row(self, tmp_path: Path) -> None:
        bad = pa.Array.from_buffers(pa.string(), 1, pa.array([b"a\xf1o"]).buffers())
        pq.write_table(pa.table({"id": [1], "n": bad}), tmp_path / "a.parquet")
        with pytest.raises(SourceError, match=r"a\.parquet, row 1: the column 'n' is not UTF-8"):
            read(source_of(tmp_path / "a.parquet"))

    def test_a_carriage_return_alone_ends_a_line(self, write: Write) -> None:
        assert keys(read(source_of(write("a.csv", "id,name\r1,one\r2,two\r")))) == [1, 2]

    def test_suffixes_are_read_in_any_case(self, write: Write) -> None:
        assert keys(read(source_of(write("UPPER.TSV", "id\tn\n1\ta\n")))) == [1]

    def test_a_semicolon_in_the_only_name_hints_at_the_delimiter(self, write: Write) -> None:
        with pytest.raises(SourceError, match=r'source\.delimiter = ";"'):
            source_of(write("a.csv", "id;n\n1;a\n"))

    def test_a_json_array_is_told_from_json_lines(self, write: Write) -> None:
        with pytest.raises(SourceError, match="the file is one JSON array"):
            source_of(write("a.jsonl", '[{"id": 1},\n{"id": 2}]\n'))

    def test_integers_of_19_digits_stay_exact(self, write: Write) -> None:
        path = write("a.csv", "id,n,large\n1,1234567890123456789,12345678901234567890\n")
        assert types(source_of(path)) == {"id": "integer", "n": "integer", "large": "decimal"}

    def test_columns_and_types_are_remembered(self, write: Write) -> None:
        before = [Column("id", ColumnType.INTEGER), Column("n", ColumnType.NUMBER), Column("s", ColumnType.TEXT)]
        source = source_of(write("a.jsonl", jsonl({"s": "x", "new": 1, "n": 5, "id": 1})), remembered=before)
        assert list(types(source).items()) == [("id", "integer"), ("n", "number"), ("s", "text"), ("new", "integer")]

    def test_bounds_and_selections_are_kept(self, write: Write) -> None:
        source = source_of(write("a.jsonl", jsonl(*({"id": n} for n in range(10, 0, -1)))))
        chosen = Selection(keys=(1, 99), ranges=((4, 6), (9, 20)))
        assert keys(read(source, selection=chosen)) == [1, 4, 5, 6, 9, 10]
        assert source.count(chosen) == 6
        assert keys(read(source, after=3, until=5)) == [4, 5]
        assert keys(read(source, selection=chosen, after=4, until=9)) == [5, 6, 9]
        assert source.existing([1, 11, 7]) == {1, 7}

    def test_only_selected_columns_are_read(self, write: Write) -> None:
        source = source_of(write("a.csv", "id,name,price\n1,one,5\n"))
        source.select(["price"])
        assert read(source) == [Row(1, {"id": 1, "price": "5"})]
        with pytest.raises(ConfigError, match="no column 'pirce'"):
            source.select(["pirce"])

    def test_rows_that_do_not_pass_the_filter_are_not_there(self, write: Write) -> None:
        where = And((Compare("price", Op.GE, 5), Compare("name", Op.NE, "b")))
        source = source_of(write("a.csv", "id,name,price\n1,a,10\n2,b,10\n3,c,5\n4,d,\n5,e,4\n"), where=where)
        source.select(["name"])
        assert read(source) == [Row(1, {"id": 1, "name": "a"}), Row(3, {"id": 3, "name": "c"})]
        assert source.existing([1, 2]) == {1}
        with pytest.raises(SearchError, match="no metadata column 'cost'"):
            source_of(source.location, where=Compare("cost", Op.EQ, 1))

    def test_csv_keeps_quotes_line_breaks_and_blank_lines_apart(self, write: Write) -> None:
        text = '\ufeffid,name\n1,"a, ""b""\nc"\n\n2,\n'
        rows = read(source_of(write("a.csv", text)))
        assert [row.values["name"] for row in rows] == ['a, "b"\nc', None]

    def test_a_delimiter_and_a_format_can_be_named(self, write: Write) -> None:
        source = source_of(write("export.txt", "id;name\n1;one\n"), format="csv", delimiter=";")
        assert read(source) == [Row(1, {"id": 1, "name": "one"})]
        with pytest.raises(ConfigError, match="does not say what kind"):
            source_of(source.location)

    def test_a_sync_follows_the_files(self, write: Write) -> None:
        path = write("a.jsonl", jsonl({"id": 1, "name": "one"}, {"id": 2, "name": "two"}))
        pipeline = simple_pipeline(source_of(path))
        sync(pipeline)
        write("a.jsonl", jsonl({"id": 2, "name": "zwei"}, {"id": 3, "name": "three"}))
        os.utime(path, ns=(1, 1))
        report = sync(pipeline)
        assert (report.inserted, report.embedded, report.deleted) == (1, 1, 1)
        vectors_match_rows(pipeline, {2: "zwei", 3: "three"})

    def test_pages_of_one_reading_show_one_moment(self, write: Write) -> None:
        source = source_of(write("a.jsonl", jsonl({"id": 1, "name": "old"}, {"id": 2, "name": "old"})))
        first = next(iter(source.pages(1)))
        write("a.jsonl", jsonl({"id": 1, "name": "new"}, {"id": 2, "name": "newer"}))
        second = next(iter(source.pages(1, after=1)))
        assert [row.values["name"] for row in (*first, *second)] == ["old", "old"]
        assert read(source)[1].values["name"] == "newer"


class TestTypes:
    def test_csv_types_are_told_from_the_values_which_stay_as_written(self, write: Write) -> None:
        header = "id,count,code,price,sold,day,moment,note\n"
        lines = "a,1,007,1.50,true,2024-05-01,2024-05-01T10:00:00Z,\nb,-2,12,3,false,2024-05-02,2024-05-01 10:00,x\n"
        source = source_of(write("a.csv", header + lines))
        assert list(types(source).values()) == [
            "text", "integer", "text", "number", "boolean", "date", "timestamp", "text"
        ]  # fmt: skip
        assert read(source)[0].values["price"] == "1.50"

    def test_parquet_types_are_its_own(self, tmp_path: Path) -> None:
        row = {
            "id": UUID(int=5).bytes, "price": Decimal("12.50"), "day": dt.date(2024, 5, 1), "tags": ["a", "b"],
            "spec": {"w": 1}, "at": dt.datetime(2024, 5, 1, 12, 30, 0, 5), "ok": True, "raw": b"\0\1",
        }  # fmt: skip
        schema = pa.schema(
            [("id", pa.uuid()), ("price", pa.decimal128(10, 2)), ("day", pa.date32()), ("tags", pa.list_(pa.string())),
             ("spec", pa.struct([("w", pa.int32())])), ("at", pa.timestamp("ns")), ("ok", pa.bool_()),
             ("raw", pa.binary())]
        )  # fmt: skip
        pq.write_table(pa.Table.from_pylist([row], schema=schema), tmp_path / "a.parquet")
        source = source_of(tmp_path / "a.parquet")
        assert list(types(source).values()) == [
            "uuid", "decimal", "date", "array", "json", "timestamp", "boolean", "bytes"
        ]  # fmt: skip
        assert read(source) == [Row(UUID(int=5), {**row, "id": UUID(int=5)})]

    def test_a_parquet_column_of_nulls_is_of_any_type(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"id": [1], "price": pa.nulls(1), "name": ["a"]}), tmp_path / "1.parquet")
        pq.write_table(pa.table({"id": [2], "price": [1.5], "name": pa.nulls(1)}), tmp_path / "2.parquet")
        source = source_of(tmp_path / "*.parquet")
        assert types(source) == {"id": "integer", "price": "number", "name": "text"}
        assert [tuple(row.values.values()) for row in read(source)] == [(1, None, "a"), (2, 1.5, None)]

    def test_times_of_parquet_that_python_has_not_stay_text_and_alone(self, tmp_path: Path) -> None:
        moments = pa.array([568_971_820_800_000_000, 1_714_566_600_000_000], pa.timestamp("us"))
        days = pa.array([19_844, 10_000_000], pa.date32())
        finest = pa.array([[{"at": 1_714_566_600_123_456_789}]] * 2, pa.list_(pa.struct([("at", pa.timestamp("ns"))])))
        pq.write_table(pa.table({"id": [1, 2], "at": moments, "day": days, "log": finest}), tmp_path / "a.parquet")
        moment = dt.datetime(2024, 5, 1, 12, 30)
        log = [{"at": moment.replace(microsecond=123_456)}]
        assert [tuple(row.values.values())[1:] for row in read(source_of(tmp_path / "a.parquet"))] == [
            ("20000-01-01 00:00:00.000000", dt.date(2024, 5, 1), log), (moment, "29349-01-26", log)
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("kind", "wrap"),
        [
            (pa.list_, lambda time: [time, None]),
            (lambda time: pa.list_(time, 1), lambda time: [time]),
            (lambda time: pa.struct([("at", time), ("on", time)]), lambda time: {"at": time, "on": None}),
            (lambda time: pa.map_(pa.string(), time), lambda time: [("at", time)]),
            (lambda time: pa.map_(pa.string(), pa.list_(time)), lambda time: [("at", [time])]),
        ],
    )
    @pytest.mark.parametrize(
        ("unit", "number", "told"),
        [
            ("us", 568_971_820_800_000_000, "20000-01-01 00:00:00.000000"),
            ("ns", 1_714_566_600_123_456_789, dt.datetime(2024, 5, 1, 12, 30, 0, 123_456)),
        ],
    )
    def test_times_within_lists_and_maps_of_parquet_are_read_too(
        self, tmp_path: Path, kind: Callable[[Any], Any], wrap: Callable[[Any], Any], unit: str, number: int, told: Any
    ) -> None:
        values = pa.array([wrap(number), None], kind(pa.timestamp(unit)))
        pq.write_table(pa.table({"id": [1, 2], "log": values}), tmp_path / "a.parquet")
        found = [row.values["log"] for row in read(source_of(tmp_path / "a.parquet"))]
        assert found == [wrap(told), None]

    @pytest.mark.parametrize(
        ("name", "content"),
        [("a.csv", "id,name\na,1\na ,2\n a,3\n"), ("a.jsonl", '{"id": "a"}\n{"id": "a "}\n{"id": " a"}\n')],
    )
    def test_a_text_key_keeps_the_white_space_at_its_ends(self, write: Write, name: str, content: str) -> None:
        source = source_of(write(name, content))
        assert keys(read(source)) == [" a", "a", "a "]
        assert source.existing(["a ", "a  "]) == {"a "}

    def test_a_type_can_be_declared(self, write: Write) -> None:
        source = source_of(write("a.csv", "id,zip\n1,10115\n02,01067\n"), types={"id": ColumnType.TEXT})
        assert keys(read(source)) == ["02", "1"]
        assert source.key_type is ColumnType.TEXT

    def test_a_column_that_json_lines_have_late_is_read(self, write: Write) -> None:
        path = write("a.jsonl", jsonl(*({"id": n} for n in range(1500)), {"id": 1500, "late": "x"}))
        assert read(source_of(path), 5000)[-1].values == {"id": 1500, "late": "x"}
        assert len(read(source_of(path, columns=["id"]), 5000)) == 1501


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("a.jsonl", '{"id": 1}\n{"id": 2, "na', r"a\.jsonl, line 2: the file ends in the middle of a line"),
            ("a.jsonl", '{"id": 1}\n{"id": 2, na}\n', r"a\.jsonl, line 2: no valid JSON"),
            ("a.jsonl", '{"id": 1}\n[1, 2]\n', r"a\.jsonl, line 2: a list where an object"),
            ("a.jsonl", '{"id": 1}\n{"id": null}\n', r"a\.jsonl, line 2: the key 'id' is null"),
            ("a.jsonl", '{"id": 1}\n\n{"name": "x"}\n', r"a\.jsonl, line 3: the key 'id' is null"),
            ("a.jsonl", '{"id": 1}\n{"id": 2}\n{"id": 1}\n', r"key 1 is on more than one row: .*line 1 and .*line 3"),
            ("a.jsonl", '{"id": "a\\u0000"}\n', r"line 1: the key 'a\\x00' is not a valid text key"),
            ("a.jsonl", '{"id": "\\ud800"}\n', r"line 1: the key '\\ud800' is not a valid text key"),
            ("a.jsonl", '{"id": [1]}\n', "is of type array; a key is integer, text or uuid"),
            ("a.csv", "id,name\n1,one\n2\n", r"a\.csv, line 3: 1 fields, but the header has 2"),
            (
                "a.csv",
                'id,name\n1,"one\n2,two\n',
                r"a\.csv, line 2: a quotation mark opens in this row and is not clo",
            ),
            ("a.csv", "id,name\n1,one\n,two\n", r"a\.csv, line 3: the key 'id' is null"),
            ("a.csv", "1,one,1\n2,two,1\n", r"line 1: the header has two columns named '1'"),
            ("a.csv", "7,seven\n8,eight\n", r"a\.csv has no column 'id'"),
            ("a.csv", "", r"a\.csv is empty"),
            ("a.jsonl", "", r"a\.jsonl has no row"),
        ],
    )
    def test_what_is_wrong_is_said_with_file_and_line(self, write: Write, name: str, text: str, message: str) -> None:
        path = write(name, text)
        with pytest.raises(SourceError, match=message):
            read(source_of(path))

    def test_a_missing_header_is_suspected(self, write: Write) -> None:
        with pytest.raises(SourceError, match="The first line of a CSV file names the columns: is it missing"):
            source_of(write("a.csv", "7,seven\n8,eight\n"))

    def test_a_late_key_of_another_kind_makes_all_keys_text_as_they_are_written(self, write: Write) -> None:
        lines = "".join(f"{number},x\n" for number in range(1200))
        path = write("a.csv", f"id,name\n{lines}A-7,y\n007,z\n1_0,z\n")
        found = keys(read(source_of(path), 5000))
        assert len(found) == 1203
        assert {"0", "10", "7", "A-7", "007", "1_0"} <= set(found)

    def test_a_late_key_of_another_kind_is_named_where_keys_are_said_to_be_integers(self, write: Write) -> None:
        path = write("a.csv", "id,name\n1,x\n007,y\n")
        with pytest.raises(SourceError, match=r"line 3: the key '007' is not a valid integer"):
            read(source_of(path, types={"id": ColumnType.INTEGER}))

    def test_a_parquet_file_with_another_schema_is_named(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"id": [1], "name": ["a"]}), tmp_path / "1.parquet")
        pq.write_table(pa.table({"id": [2], "title": ["b"]}), tmp_path / "2.parquet")
        with pytest.raises(SourceError, match=r"2\.parquet has other columns than .*1\.parquet: only .* has 'name'"):
            source_of(tmp_path / "*.parquet")
        pq.write_table(pa.table({"id": [2], "name": [5]}), tmp_path / "2.parquet")
        assert types(source_of(tmp_path / "*.parquet"))["name"] == "text"

    def test_another_schema_that_comes_while_it_runs_is_named(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"id": [1], "name": ["a"]}), tmp_path / "1.parquet")
        source = source_of(tmp_path / "*.parquet")
        read(source)
        pq.write_table(pa.table({"id": [2]}), tmp_path / "2.parquet")
        with pytest.raises(SourceError, match=r"2\.parquet has other columns"):
            read(source)

    @pytest.mark.parametrize(
        ("name", "raw", "message"),
        [
            ("a.parquet", b"PAR1 and no more", "not a complete Parquet file"),
            ("a.parquet", b"", "not a complete Parquet file"),
            ("a.csv", b"id,name\n1,\xff\n", r"line 2: byte 3 is not UTF-8"),
            ("a.jsonl", b'{"id": 1, "name": "\xff"}\n', r"line 1: byte 20 is not UTF-8"),
            ("a.jsonl.gz", gzip.compress(b'{"id": 1}\n' * 100, mtime=0)[:-12], "ends after line .* before its end"),
            ("a.csv.gz", b"id,name\n1,one\n", "not a complete gzip file"),
        ],
    )
    def test_a_damaged_file_is_named(self, tmp_path: Path, name: str, raw: bytes, message: str) -> None:
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(SourceError, match=message) as caught:
            read(source_of(tmp_path / name))
        assert name in str(caught.value)

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [("*.csv", [1]), ("**.csv", [1, 2]), ("**/*.csv", [1, 2]), ("**", [1, 2]), ("deep/**", [2]), ("d[e]*/*", [])],
    )
    def test_a_star_stays_in_its_folder_two_go_below_and_a_bracket_is_a_bracket(
        self, tmp_path: Path, pattern: str, expected: list[int]
    ) -> None:
        base = tmp_path / "dir[1]"
        (base / "deep").mkdir(parents=True)
        (base / "a.csv").write_text("id\n1\n")
        (base / "deep" / "b.csv").write_text("id\n2\n")
        if not expected:
            with pytest.raises(SourceError, match="there is no file"):
                source_of(base / pattern)
            return
        assert keys(read(source_of(base / pattern))) == expected

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ("nothing/*.csv", "there is no file"),
            ("rows.cvs", "Did you mean 'rows.csv'"),
            (".", "is a folder"),
            ("ftp://host/a.csv", "'ftp' is not a storage that rowvec reads"),
        ],
    )
    def test_a_wrong_path_is_explained(self, write: Write, tmp_path: Path, pattern: str, message: str) -> None:
        write("rows.csv", "id\n1\n")
        with pytest.raises(RowvecError, match=message):
            FilesSource([pattern], key="id", base=tmp_path)


class TestRealData:
    def test_dataset_cards_and_the_nomenclature(self, data: Path) -> None:
        cards = source_of(data / "hf_datasets" / "cards.jsonl.gz", key="dataset_name")
        assert cards.count() == 7433
        codes = source_of(data / "cpv" / "cpv_aligned.tsv", key="code")
        assert codes.count() == 9454
        assert codes.key_type is ColumnType.TEXT


@pytest.mark.parametrize(("name", "text"), [("a.csv", "id,name,price\n1,a,50\n2,b,500\n"), ("a.jsonl", None)])
def test_a_condition_may_name_a_column_that_is_not_read(write: Write, name: str, text: str | None) -> None:
    path = write(name, text or jsonl({"id": 1, "name": "a", "price": 50}, {"id": 2, "name": "b", "price": 500}))
    source = source_of(path, columns=["name"], where=Compare("price", Op.LT, 100))
    assert [(row.key, dict(row.values)) for row in read(source)] == [(1, {"id": 1, "name": "a"})]


def test_large_integers_stay_exact_beside_fractions_of_another_file(write: Write, tmp_path: Path) -> None:
    write("a.csv", f"id,n\n1,{2**60 + 1}\n")
    write("b.csv", "id,n\n2,5.5\n")
    assert types(source_of(tmp_path / "*.csv"))["n"] is ColumnType.DECIMAL


def test_a_duration_of_parquet_is_one(tmp_path: Path) -> None:
    spans = [dt.timedelta(days=1, hours=2), None]
    pq.write_table(pa.table({"id": [1, 2], "takes": pa.array(spans, pa.duration("ns"))}), tmp_path / "a.parquet")
    source = FilesSource([str(tmp_path / "a.parquet")], key="id")
    assert source.columns[1].type is ColumnType.INTERVAL
    assert [row.values["takes"] for page in source.pages(5) for row in page] == spans
