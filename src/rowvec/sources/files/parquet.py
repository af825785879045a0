"""Parquet files as rows. Values become Python's own: what Python cannot say stays text, never another value."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rowvec.documents.values import shortest
from rowvec.errors import MissingExtraError, SourceError
from rowvec.sources.files.base import Format, Types, repeated
from rowvec.sources.storage import File
from rowvec.types import ColumnType

BATCH_ROWS = 2000
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_MOST_SECONDS = 9 * 10**11
"""Of moments that Arrow can write as text, up to the year 30,489; it writes others as moments that they are not."""


class Parquet(Format):
    line = "row"

    def heading(self, file: File) -> Types:
        with _opened(file) as parquet:
            fields = list(parquet.schema_arrow)
        twice = repeated([field.name for field in fields])
        if twice is not None:
            raise SourceError(
                f"{file.name} has two columns named {twice!r}.",
                hint="Write it again with another name for one of them.",
            )
        return {field.name: _arrow_type(field.type) for field in fields}

    def rows(self, file: File, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        import pyarrow as pa

        with _opened(file) as parquet:
            there = [name for name in names if name in parquet.schema_arrow.names]
            zoned = _zoned(parquet, pa)
            start = 1
            try:
                for batch in _batches(parquet, there):
                    yield from enumerate(_rows_of(batch, pa, file.name, start, zoned), start)
                    start += batch.num_rows
            except pa.ArrowNotImplementedError as error:
                raise SourceError(
                    f"{file.name}, after row {start - 1}: {_first_line(error)}",
                    hint="pyarrow does not read this. Write the file in another form, or name the other columns in"
                    " source.columns.",
                ) from error
            except (pa.ArrowException, OSError) as error:
                raise SourceError(
                    f"{file.name}, after row {start - 1}: {_first_line(error)}",
                    hint="The file is damaged: write it again.",
                ) from error
            if there and start - 1 != parquet.metadata.num_rows:
                # Without a word of pyarrow. The rows that are missing would count as deleted.
                raise SourceError(
                    f"{file.name} has {parquet.metadata.num_rows:,} rows, and {start - 1:,} of them can be read.",
                    hint="Write it again, with larger pages or by another program.",
                )


@contextmanager
def _opened(file: File) -> Iterator[Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("Parquet", "files") from None
    with file.open() as stream:
        try:
            # INT96 holds days that nanoseconds in 64 bits do not: 9999-12-31 would come out as 1816-03-29.
            opened = pq.ParquetFile(stream, coerce_int96_timestamp_unit="us")
        except pa.ArrowException as error:
            raise SourceError(
                f"{file.name} is not a complete Parquet file: {_first_line(error)}", hint="Write it again."
            ) from error
        yield opened


def _batches(parquet: Any, columns: Sequence[str]) -> Iterator[Any]:
    """Each row group by itself: a category within a list has another dictionary in each of them, and pyarrow does not
    bring two into one batch."""
    for group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns)


def _zoned(parquet: Any, pa: Any) -> dict[str, Any]:
    """By name, the types of the columns whose times have lost their zone: INT96 keeps none, and Arrow, which notes it
    beside the columns, does not put it back."""
    schema, noted = parquet.schema, (parquet.metadata.metadata or {}).get(b"ARROW:schema")
    if noted is None or all(schema.column(at).physical_type != "INT96" for at in range(len(schema))):
        return {}
    try:
        written = pa.ipc.read_schema(pa.py_buffer(b64decode(noted)))
    except (pa.ArrowException, ValueError):
        return {}
    found = {}
    for field in parquet.schema_arrow:
        # What wrote the file again may have kept the note of other columns: -1 for one that is not in it.
        at = written.get_field_index(field.name)
        kind = _with_zone(field.type, written.field(at).type, pa) if at >= 0 else field.type
        if kind != field.type:
            found[field.name] = kind
    return found


def _with_zone(read: Any, written: Any, pa: Any) -> Any:
    """The type `read`, its times in the zones of the type `written`."""
    types = pa.types
    if types.is_timestamp(read) and types.is_timestamp(written) and read.tz is None:
        return pa.timestamp(read.unit, written.tz)
    if types.is_struct(read) and types.is_struct(written) and read.names == written.names:
        pairs = zip(read, written, strict=True)
        return pa.struct([pa.field(one.name, _with_zone(one.type, other.type, pa)) for one, other in pairs])
    for is_kind, kind in ((types.is_list, pa.list_), (types.is_large_list, pa.large_list)):
        if is_kind(read) and is_kind(written):
            return kind(pa.field(read.value_field.name, _with_zone(read.value_type, written.value_type, pa)))
    return read


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _rows_of(batch: Any, pa: Any, name: str, start: int, zoned: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """
    Args:
        start: the number of the first row, for messages.
        zoned: see `_zoned`.
    """
    names = batch.schema.names
    arrays = [
        array.cast(zoned[field]) if field in zoned else array for field, array in zip(names, batch.columns, strict=True)
    ]
    columns = [_values_of(array, pa, name, start, field) for field, array in zip(names, arrays, strict=True)]
    for values in zip(*columns, strict=True) if columns else ():
        yield dict(zip(names, values, strict=True))


def _values_of(column: Any, pa: Any, name: str, start: int, field: str) -> list[Any]:
    kind = _in_microseconds(column.type, pa)
    if kind != column.type:
        column = _to_microseconds(column, kind, pa)
    try:
        values: list[Any] = column.to_pylist()
    except LookupError as error:
        zone = getattr(column.type, "tz", None) or error.args[0]
        raise SourceError(
            f"{name}: the column {field!r} is in the time zone {zone!r}, which this machine does not know.",
            hint="Install the table of time zones (pip install tzdata), or write the times in UTC.",
        ) from error
    except (ValueError, OverflowError):
        values = []
        for row, scalar in enumerate(column):
            try:
                values.append(_value_of(scalar, pa))
            except UnicodeDecodeError as error:
                raise SourceError(
                    f"{name}, row {start + row}: the column {field!r} is not UTF-8.",
                    hint="Write its strings as UTF-8, or its bytes as binary.",
                ) from error
    shorten = _shortener(column.type, pa)
    return values if shorten is None else list(map(shorten, values))


def _value_of(scalar: Any, pa: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        raise
    except (ValueError, OverflowError):
        if isinstance(scalar, pa.StructScalar):
            return {name: _value_of(member, pa) for name, member in scalar.items()}
        if isinstance(scalar, pa.MapScalar):
            return [tuple(_value_of(pair, pa).values()) for pair in scalar.values]
        if isinstance(scalar, pa.ListScalar):
            return [_value_of(member, pa) for member in scalar.values]
        if (kind := _in_microseconds(scalar.type, pa)) != scalar.type:
            return _value_of(_to_microseconds(pa.array([scalar]), kind, pa)[0], pa)
        if pa.types.is_timestamp(scalar.type):
            if abs(scalar.value) // _UNITS[scalar.type.unit] > _MOST_SECONDS:
                return f"{scalar.value} {scalar.type.unit} since 1970"
            if scalar.type.tz not in (None, "UTC"):
                # The last hours of the year 9999 are in the year 10000 east of Greenwich.
                return _value_of(scalar.cast(pa.timestamp(scalar.type.unit, "UTC")), pa)
        if pa.types.is_date32(scalar.type) and abs(scalar.value) > _MOST_SECONDS // 86_400:
            # Arrow's own text is "<value out of range: 2147483647>".
            return f"{scalar.value} days since 1970"
        # A time that Arrow has and Python has not, such as the year 20000, stays text.
        try:
            return scalar.cast(pa.string()).as_py()
        except pa.ArrowException:
            return str(scalar.value)


def _to_microseconds(array: Any, kind: Any, pa: Any) -> Any:
    """An array as one of the type `kind`, which `_in_microseconds` gives.

    What is behind a microsecond is left out towards the past: cut off towards 0, as Arrow's cast does it, the last
    moment of 1969 became the first one of 1970.
    """
    if array.type == kind:
        return array
    if array.offset:
        # A mask takes no slice.
        array = pa.concat_arrays([array, array[:0]])
    missing = array.is_null()
    if pa.types.is_timestamp(kind):
        moments = array.view(pa.int64()).fill_null(0).to_numpy() // 1000
        return pa.array(moments, pa.int64(), mask=missing.to_numpy(zero_copy_only=False)).cast(kind)
    if pa.types.is_struct(kind):
        members = [_to_microseconds(array.field(at), field.type, pa) for at, field in enumerate(kind)]
        return pa.StructArray.from_arrays(members, fields=list(kind), mask=missing)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        made = pa.ListArray if pa.types.is_list(kind) else pa.LargeListArray
        values = _to_microseconds(array.values, kind.value_type, pa)
        return made.from_arrays(array.offsets, values, type=kind, mask=missing)
    return array.cast(kind, safe=False)


def _shortener(kind: Any, pa: Any) -> Callable[[Any], Any] | None:
    """Gives floats of 32 and 16 bits the digits they were written with, within lists and structs too; None where there
    are none: Arrow makes 19.989999771118164 of a 32-bit 19.99."""
    import numpy as np

    types = pa.types
    if types.is_float32(kind) or types.is_float16(kind):
        size = np.float32 if types.is_float32(kind) else np.float16
        return lambda value: value if value is None else shortest(size(value))
    if types.is_dictionary(kind):
        return _shortener(kind.value_type, pa)
    if types.is_map(kind):
        return _shortener_of_pairs(kind, pa)
    if types.is_struct(kind):
        found = {field.name: shorten for field in kind if (shorten := _shortener(field.type, pa))}
        if not found:
            return None
        return lambda value: (
            value and {name: found[name](member) if name in found else member for name, member in value.items()}
        )
    inner = _shortener(kind.value_type, pa) if types.is_nested(kind) and hasattr(kind, "value_type") else None
    return None if inner is None else lambda value: value and [inner(member) for member in value]


def _shortener_of_pairs(kind: Any, pa: Any) -> Callable[[Any], Any] | None:
    key, item = (_shortener(each, pa) or _same for each in (kind.key_type, kind.item_type))
    if key is item:
        return None
    return lambda pairs: pairs and [(key(name), item(value)) for name, value in pairs]


def _same(value: Any) -> Any:
    return value


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
        (types.is_uint64, ColumnType.DECIMAL),
        (types.is_integer, ColumnType.INTEGER),
        (types.is_floating, ColumnType.NUMBER),
        (types.is_decimal, ColumnType.DECIMAL),
        (types.is_date, ColumnType.DATE),
        (types.is_time, ColumnType.TIME),
        (types.is_timestamp, ColumnType.TIMESTAMP),
        (types.is_duration, ColumnType.INTERVAL),
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
