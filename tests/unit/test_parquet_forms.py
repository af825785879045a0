"""Parquet files in forms that pyarrow itself reads otherwise, or not at all."""

from __future__ import annotations

import datetime as dt
from base64 import b64encode
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowvec.errors import SourceError
from rowvec.sources.files.source import FilesSource
from rowvec.types import Row


def rows_of(path: Path) -> list[Row]:
    return [row for page in FilesSource([str(path)], key="id").pages(10) for row in page]


def test_a_time_of_int96_keeps_the_zone_that_arrow_notes(tmp_path: Path) -> None:
    moment = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)
    zoned = pa.timestamp("ms", "Europe/Warsaw")
    table = pa.table(
        {
            "id": [1, 2],
            "utc": pa.array([moment, None], pa.timestamp("us", "UTC")),
            "local": pa.array([moment, None], zoned),
            "none": pa.array([dt.datetime(2024, 6, 1, 12), None], pa.timestamp("us")),
            "list": pa.array([[moment, None], []], pa.list_(zoned)),
            "inside": pa.array([{"at": moment, "n": 1}, None], pa.struct([("at", zoned), ("n", pa.int8())])),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    (row, empty) = rows_of(tmp_path / "a.parquet")
    shown = {name: value.isoformat() for name, value in row.values.items() if isinstance(value, dt.datetime)}
    assert shown == {
        "utc": "2024-06-01T12:00:00+00:00",
        "local": "2024-06-01T14:00:00+02:00",
        "none": "2024-06-01T12:00:00",
    }
    assert [value and value.isoformat() for value in row.values["list"]] == [shown["local"], None]
    assert row.values["inside"]["at"].isoformat() == shown["local"]
    assert list(empty.values.values()) == [2, None, None, None, [], None]


def test_a_note_of_arrow_about_other_columns_is_left_alone(tmp_path: Path) -> None:
    moments = pa.array([dt.datetime(2024, 6, 1, 12)], pa.timestamp("us"))
    other = pa.schema(
        [("id", pa.int64()), ("gone", pa.timestamp("us", "UTC")), ("gone", pa.int8()), ("new", pa.string())]
    )
    table = pa.table({"id": [1], "new": moments, "gone": moments})
    path = tmp_path / "a.parquet"
    with pq.ParquetWriter(path, table.schema, use_deprecated_int96_timestamps=True, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"ARROW:schema": b64encode(other.serialize().to_pybytes()).decode()})
    (row,) = rows_of(path)
    assert row.values == {"id": 1, "new": dt.datetime(2024, 6, 1, 12), "gone": dt.datetime(2024, 6, 1, 12)}


def test_rows_that_pyarrow_passes_over_stop_the_read(tmp_path: Path) -> None:
    """pyarrow 26 gives no row of such a file, and no error."""
    words = pa.array([["red"]], pa.list_(pa.string()))
    pq.write_table(pa.table({"id": [1], "words": words}), tmp_path / "a.parquet", data_page_size=1)
    with pytest.raises(SourceError, match=r"a\.parquet has 1 rows, and 0 of them can be read"):
        rows_of(tmp_path / "a.parquet")


def test_categories_within_a_list_are_read_from_several_row_groups(tmp_path: Path) -> None:
    words = pa.array(
        [["red"], ["green", None], None, ["blue", "red"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))
    )
    table = pa.table({"id": [1, 2, 3, 4], "words": words})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    read = rows_of(tmp_path / "a.parquet")
    assert [row.values["words"] for row in read] == [["red"], ["green", None], None, ["blue", "red"]]
