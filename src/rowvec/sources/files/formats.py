"""Parquet, CSV and JSON Lines as rows, each with the line it came from.

CSV and JSON Lines say little about types, so a column's type is told from the first rows of a file; the values stay
as they are written, which keeps the text of a row independent of that guess. An empty CSV field is null.
"""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, BinaryIO

from rowvec.errors import ConfigError, MissingExtraError, SourceError
from rowvec.sources.json_values import parse_json, text_type
from rowvec.sources.storage import File
from rowvec.types import ColumnType

SAMPLE_ROWS = 1000
PARQUET_ROWS = 2000
FIELD_BYTES = 2**30

Types = dict[str, ColumnType | None]
"""Column -> type, None where no value was seen."""


class Format(ABC):
    """How one kind of file is read."""

    same_columns = True
    """Every file has the columns of the first one, and no row has others."""
    line = "line"

    @abstractmethod
    def types(self, file: File) -> Types:
        """The columns of a file in its own order.

        Raises:
            SourceError: it cannot be read as this format.
        """

    def heading(self, file: File) -> Types:
        """The columns that every row of the file has, with the types that the file itself declares."""
        return self.types(file)

    @abstractmethod
    def rows(self, file: File, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Line (from 1; of a Parquet file, row) and values of each row; at least those of `names` that it has."""


class Csv(Format):
    def __init__(self, delimiter: str | None = None) -> None:
        self._delimiter = delimiter

    def types(self, file: File) -> Types:
        header = list(self.heading(file))
        sample = [values for _, values in islice(self.rows(file, header), SAMPLE_ROWS)]
        return {name: text_type([row[name] for row in sample], numbers=True) for name in header}

    def heading(self, file: File) -> Types:
        with file.open_text() as stream:
            for _, fields in self._records(file, stream):
                return dict.fromkeys(self._checked(file, fields))
        raise SourceError(f"{file.name} is empty.", hint="Its first line names the columns.")

    def rows(self, file: File, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        with file.open_text() as stream:
            records = self._records(file, stream)
            header = self._checked(file, next(records, (1, []))[1])
            for line, fields in records:
                if len(fields) != len(header):
                    raise SourceError(
                        f"{file.name}, line {line}: {len(fields)} fields, but the header has {len(header)}.",
                        hint="A field with the delimiter or a line break in it goes in double quotes.",
                    )
                yield line, {name: value or None for name, value in zip(header, fields, strict=True)}

    def _records(self, file: File, stream: BinaryIO) -> Iterator[tuple[int, list[str]]]:
        delimiter = self._delimiter or ("\t" if ".tsv" in file.name else ",")
        # A limit of the whole process: no field of a row to embed is too long for the reader.
        csv.field_size_limit(FIELD_BYTES)
        reader = csv.reader(_decoded(file, stream), delimiter=delimiter, strict=True)
        line = 1
        try:
            for fields in reader:
                if fields:
                    yield line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise SourceError(
                f"{file.name}, line {line}: {error}.",
                hint="A quotation mark inside a quoted field is doubled, and the last quoted field needs its end.",
            ) from error

    @staticmethod
    def _checked(file: File, header: list[str]) -> list[str]:
        header = [name.strip() for name in header]
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice or "" in header:
            what = f"has two columns named {twice[0]!r}" if twice and twice[0] else "has a column without a name"
            raise SourceError(
                f"{file.name}, line 1: the header {what}.",
                hint="Is the first line a row already? A CSV file begins with a line that names its columns.",
            )
        return header


class JsonLines(Format):
    same_columns = False

    def heading(self, file: File) -> Types:
        return {}

    def types(self, file: File) -> Types:
        sample: dict[str, list[Any]] = {}
        for _, row in islice(self.rows(file, ()), SAMPLE_ROWS):
            for name, value in row.items():
                sample.setdefault(name, []).append(value)
        return {name: text_type(values, numbers=False) for name, values in sample.items()}

    def rows(self, file: File, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        with file.open_text() as stream:
            line = 0
            for line, raw in enumerate(_lines(file, stream), 1):
                if raw.isspace():
                    continue
                row = parse_json(raw, f"{file.name}, line {line}")
                if not isinstance(row, dict):
                    raise SourceError(
                        f"{file.name}, line {line}: {_kind(row)} where an object with the row's columns should be.",
                        hint='JSON Lines has one object on each line: {"id": 1, "name": "…"}',
                    )
                yield line, row


class Parquet(Format):
    line = "row"

    def types(self, file: File) -> Types:
        with _parquet(file) as parquet:
            return {field.name: _arrow_type(field.type) for field in parquet.schema_arrow}

    def rows(self, file: File, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        import pyarrow as pa

        with _parquet(file) as parquet:
            there = [name for name in names if name in parquet.schema_arrow.names]
            start = 1
            try:
                for batch in parquet.iter_batches(PARQUET_ROWS, columns=there):
                    yield from enumerate(_rows_of(batch, pa), start)
                    start += batch.num_rows
            except pa.ArrowException as error:
                raise SourceError(
                    f"{file.name}, after row {start - 1}: {error}", hint="The file is damaged: write it again."
                ) from error


def format_of(name: str, declared: str | None, delimiter: str | None = None) -> Format:
    """
    Raises:
        ConfigError: the name does not tell, or there is no such format.
    """
    suffix = name.removesuffix(".gz").rpartition(".")[2].lower()
    kind = declared or {"pq": "parquet", "tsv": "csv", "ndjson": "jsonl"}.get(suffix, suffix)
    if kind == "csv":
        return Csv(delimiter)
    if kind == "jsonl":
        return JsonLines()
    if kind == "parquet":
        return Parquet()
    raise ConfigError(
        f"{name}: the name does not say what kind of file it is." if declared is None else f"source.format: {kind!r}.",
        hint="source.format is one of parquet, csv and jsonl.",
    )


def _lines(file: File, stream: BinaryIO) -> Iterator[bytes]:
    line = 0
    try:
        for raw in stream:
            line += 1
            yield raw.removeprefix(b"\xef\xbb\xbf") if line == 1 else raw
    except EOFError as error:
        raise SourceError(
            f"{file.name}: the compressed file ends after line {line} before its end.", hint="Copy or write it again."
        ) from error


def _decoded(file: File, stream: BinaryIO) -> Iterator[str]:
    for line, raw in enumerate(_lines(file, stream), 1):
        try:
            yield raw.decode()
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{file.name}, line {line}: byte {error.start + 1} is not UTF-8.", hint="Write the file as UTF-8."
            ) from error


def _kind(value: Any) -> str:
    return {list: "a list", str: "a string", type(None): "null"}.get(type(value), "a number")


@contextmanager
def _parquet(file: File) -> Iterator[Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("Parquet", "files") from None
    with file.open() as stream:
        try:
            opened = pq.ParquetFile(stream)
        except pa.ArrowException as error:
            raise SourceError(f"{file.name} is not a complete Parquet file: {error}", hint="Write it again.") from error
        yield opened


def _rows_of(batch: Any, pa: Any) -> list[dict[str, Any]]:
    for index, field in enumerate(batch.schema):
        kind = _in_microseconds(field.type, pa)
        if kind != field.type:
            batch = batch.set_column(index, pa.field(field.name, kind), batch.column(index).cast(kind, safe=False))
    try:
        found: list[dict[str, Any]] = batch.to_pylist()
    except (ValueError, OverflowError):
        columns = [[_value_of(scalar, pa) for scalar in column] for column in batch.columns]
        found = [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]
    return found


def _value_of(scalar: Any, pa: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        if isinstance(scalar, pa.StructScalar):
            return {name: _value_of(member, pa) for name, member in scalar.items()}
        if isinstance(scalar, pa.MapScalar):
            return [tuple(_value_of(pair, pa).values()) for pair in scalar.values]
        if isinstance(scalar, pa.ListScalar):
            return [_value_of(member, pa) for member in scalar.values]
        if (kind := _in_microseconds(scalar.type, pa)) != scalar.type:
            return _value_of(scalar.cast(kind, safe=False), pa)
        # A time that Arrow has and Python has not, such as the year 20000, stays text.
        return scalar.cast(pa.string()).as_py()


def _in_microseconds(kind: Any, pa: Any) -> Any:
    """Nanoseconds have no place in Python's own times."""
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind):
        inner = pa.field(kind.value_field.name, _in_microseconds(kind.value_type, pa))
        return pa.list_(inner) if types.is_list(kind) else pa.large_list(inner)
    if types.is_struct(kind):
        return pa.struct([pa.field(field.name, _in_microseconds(field.type, pa)) for field in kind])
    if getattr(kind, "unit", None) != "ns":
        return kind
    if types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.time64("us") if types.is_time64(kind) else pa.duration("us")


def _arrow_type(kind: Any) -> ColumnType | None:
    from pyarrow import types

    if types.is_null(kind):
        return None
    if types.is_dictionary(kind):
        return _arrow_type(kind.value_type)
    for is_kind, column_type in (
        (types.is_boolean, ColumnType.BOOLEAN),
        (types.is_integer, ColumnType.INTEGER),
        (types.is_floating, ColumnType.NUMBER),
        (types.is_decimal, ColumnType.DECIMAL),
        (types.is_date, ColumnType.DATE),
        (types.is_time, ColumnType.TIME),
        (types.is_timestamp, ColumnType.TIMESTAMP),
        (types.is_struct, ColumnType.JSON),
        (types.is_map, ColumnType.JSON),
        (types.is_nested, ColumnType.ARRAY),
        (types.is_binary, ColumnType.BYTES),
        (types.is_large_binary, ColumnType.BYTES),
        (types.is_fixed_size_binary, ColumnType.BYTES),
    ):
        if is_kind(kind):
            return column_type
    return ColumnType.UUID if str(kind) == "extension<arrow.uuid>" else ColumnType.TEXT
