"""Rows of Parquet, CSV and JSON Lines files, on this machine or in S3."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rowvec.documents.values import CONVERSION_ERRORS, converter, key_converter
from rowvec.errors import ConfigError, SourceError, SourceUnavailable
from rowvec.filters import Filter
from rowvec.sources.base import CursorValue, Selection, names_of
from rowvec.sources.files.formats import Csv, Format, Types, format_of
from rowvec.sources.files.spool import Place, Spool, duplicate_error
from rowvec.sources.json_values import merged
from rowvec.sources.row_filter import RowFilter
from rowvec.sources.storage import File, find
from rowvec.support.suggestions import check_column, suggestion
from rowvec.types import Column, ColumnType, Key, Row

HEADS = 20
"""Of so many files the first rows are looked at before any is read; the others are checked as they are read."""
KEY_TYPES = (ColumnType.INTEGER, ColumnType.TEXT, ColumnType.UUID)
CURSOR_TYPES = (ColumnType.INTEGER, ColumnType.DATE, ColumnType.TIMESTAMP)
DATE_LENGTH = len("2026-08-01")
_NUMBERS = {ColumnType.INTEGER, ColumnType.NUMBER}
_READINGS = 3


class FilesSource:
    """A `Source` over files that are in no order.

    The first page reads every file once into a temporary file sorted by key, which the pages then come from, so that
    memory stays bounded and all pages of a sync show one moment. The next read from the beginning looks whether a
    file has changed, come or gone, and reads again if so.

    Attributes:
        columns: every column there is, `select` narrows what is read.
        cursor: the column that grows with each change.
        identity: see `Incremental`.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        key: str,
        format: str | None = None,
        where: Filter | None = None,
        columns: Sequence[str] | None = None,
        types: Mapping[str, ColumnType] | None = None,
        cursor: str | None = None,
        delimiter: str | None = None,
        base: Path | None = None,
    ) -> None:
        """
        Args:
            paths: local paths and s3:// URLs, `*` and `**` allowed; see `rowvec.sources.storage`.
            format: "parquet", "csv" or "jsonl", where the file names do not tell.
            where: only rows that pass; columns of the files, values by rowvec.filters.
            columns: those to read; all of them when None. Columns of JSON Lines that the first rows lack are named
                in `types`.
            types: column -> type, where the first rows of CSV and JSON Lines give another one.
            delimiter: of CSV; a comma, or a tab in files named .tsv.
            base: the folder that relative paths start from; the current one when None.

        Raises:
            ConfigError: an unknown column or format.
            SourceError: no such file, files of different columns, a damaged file, a key of another type.
            SourceUnavailable: the storage did not answer.
        """
        self._paths, self._base = list(paths), base or Path.cwd()
        self._format_name, self._delimiter = format, delimiter
        self.key, self.cursor = key, cursor
        self._types = dict(types or {})
        files = find(self._paths, self._base)
        self.location = files[0].name if len(files) == 1 else f"{len(files)} files such as {files[0].name}"
        self.columns: Sequence[Column] = self._look(files)
        names = [column.name for column in self.columns]
        self._check_columns(files[0], names)
        self.key_type = next(column.type for column in self.columns if column.name == key)
        self._convert_key = key_converter(self.key_type)
        self._cursor_type = self._type_of_cursor()
        self.identity = repr((self._paths, where, columns, self._types))
        self._passes = RowFilter(where, self.columns) if where is not None else None
        self._filtered = self._passes.columns if self._passes is not None else frozenset()
        self._spool: Spool | None = None
        self._spooled: list[File] = []
        self._declared = columns is not None
        self.select(names if columns is None else columns)

    def select(self, columns: Sequence[str]) -> None:
        self._names = names_of(self.columns, self.key, columns)
        self._drop_spool()

    def count(self, selection: Selection | None = None) -> int:
        return self._rows(fresh=True).count(selection)

    def pages(
        self, size: int, *, selection: Selection | None = None, after: Key | None = None, until: Key | None = None
    ) -> Iterator[list[Row]]:
        """See `Source.pages`. Without `after` the files are looked at anew."""
        spool = self._rows(fresh=after is None)
        names = self._names
        while True:
            found = spool.page(size, selection, after, until)
            if found:
                yield [Row(key, dict(zip(names, values, strict=True))) for key, values in found]
            if len(found) < size:
                return
            after = found[-1][0]

    def existing(self, keys: Sequence[Key]) -> set[Key]:
        return self._rows(fresh=False).existing(keys)

    def newest(self) -> CursorValue | None:
        found = self._rows(fresh=True).newest()
        if not isinstance(found, str):
            return found
        return dt.date.fromisoformat(found) if len(found) == DATE_LENGTH else dt.datetime.fromisoformat(found)

    def changed(self, since: CursorValue, limit: int) -> list[Key]:
        return self._rows(fresh=False).changed(_sortable(since), limit + 1)

    def close(self) -> None:
        self._drop_spool()

    # --- what there is -------------------------------------------------------------------------------------

    def _format(self, file: File) -> Format:
        return format_of(file.name, self._format_name, self._delimiter)

    def _look(self, files: list[File]) -> list[Column]:
        types: Types = {}
        for number, file in enumerate(files[:HEADS]):
            form = self._format(file)
            if number and form.same_columns:
                self._check_same(file, form.heading(file), files[0], types)
            for name, kind in form.types(file).items():
                types[name] = merged(types.get(name), kind)
        for name, kind in self._types.items():
            if name not in types and self._format(files[0]).same_columns:
                check_column(name, list(types), "source.types")
            types[name] = kind
        if self.key in types and self.key not in self._types and types[self.key] not in KEY_TYPES:
            types[self.key] = self._key_type(types[self.key])
        return [Column(name, kind or ColumnType.TEXT) for name, kind in types.items()]

    def _key_type(self, kind: ColumnType | None) -> ColumnType:
        if kind in (None, ColumnType.DATE, ColumnType.TIMESTAMP):
            # Text that looks like a date is text.
            return ColumnType.TEXT
        raise SourceError(
            f"source.key: {self.key!r} of {self.location} is of type {kind}; a key is integer, text or uuid.",
            hint=f'Say what it is if it is one of them: types = {{ {self.key} = "text" }}',
        )

    def _type_of_cursor(self) -> ColumnType | None:
        kind = next((column.type for column in self.columns if column.name == self.cursor), None)
        if kind is not None and kind not in CURSOR_TYPES:
            raise SourceError(
                f"source.cursor: {self.cursor!r} of {self.location} is of type {kind}; a cursor is a"
                " timestamp, a date or"
                " an integer.",
                hint=f'Name another column, or say what it is: types = {{ {self.cursor} = "timestamp" }}',
            )
        return kind

    def _check_same(self, file: File, found: Types, first: File, expected: Types) -> None:
        other = sorted(set(found) ^ set(expected))
        if other:
            has = file.name if other[0] in found else first.name
            raise SourceError(
                f"{file.name} has other columns than {first.name}: only {has} has {other[0]!r}.",
                hint="Rows of one pipeline have the same columns: leave one of the files out, or write it again.",
            )
        for name, kind in found.items():
            told = {kind, expected[name]} - {None}
            if name not in self._types and len(told) == 2 and told != _NUMBERS:
                raise SourceError(
                    f"{file.name}: the column {name!r} is {kind}, but {expected[name]} in {first.name}.",
                    hint="Rows of one pipeline have the same columns: leave one of the files out, or write it again.",
                )

    def _check_columns(self, first: File, names: list[str]) -> None:
        for setting, name in (("key", self.key), ("cursor", self.cursor)):
            if name is None or name in names:
                continue
            hint = suggestion(name, names)
            if isinstance(self._format(first), Csv):
                hint += " The first line of a CSV file names the columns: is it missing?"
            raise SourceError(f"source.{setting}: {first.name} has no column {name!r}.", hint=hint)
        if self.key in self._types and self._types[self.key] not in KEY_TYPES:
            raise ConfigError(
                f"source.types: the key {self.key!r} is {self._types[self.key]}.", hint="integer, text or uuid."
            )

    # --- the sorted copy -----------------------------------------------------------------------------------

    def _rows(self, *, fresh: bool) -> Spool:
        if self._spool is not None and not fresh:
            return self._spool
        files = find(self._paths, self._base)
        if self._spool is not None and files == self._spooled:
            return self._spool
        self._drop_spool()
        for _ in range(_READINGS):
            spool = Spool(self.key_type)
            try:
                self._fill(spool, files)
            except BaseException:
                spool.close()
                raise
            again = find(self._paths, self._base)
            if again == files:
                self._spool, self._spooled = spool, files
                return spool
            # A file was written while it was read: what was read may be half of each.
            spool.close()
            files = again
        raise SourceUnavailable(
            f"{self.location}: the files change while they are read.",
            hint="Write them under another name and rename them when they are whole.",
        )

    def _fill(self, spool: Spool, files: list[File]) -> None:
        spool.fill(
            (key, Place(number, line), mark, values)
            for number, file in enumerate(files)
            for line, key, mark, values in self._read(file, files[0])
        )
        twice = spool.duplicate()
        if twice is not None:
            key, *places = twice
            first, second = (f"{files[p.file].name}, {self._format(files[p.file]).line} {p.line}" for p in places)
            raise duplicate_error(key, first, second)

    def _read(self, file: File, first: File) -> Iterator[tuple[int, Key, int | str | None, tuple[Any, ...]]]:
        form, names = self._format(file), self._names
        declared = {column.name: column.type for column in self.columns}
        if form.same_columns:
            self._check_same(file, form.heading(file), first, dict(declared))
        others = self._filtered.union([self.cursor] if self.cursor is not None else []).difference(names)
        wanted = [*names, *others]
        for line, row in form.rows(file, wanted):
            if not (form.same_columns or self._declared or row.keys() <= declared.keys()):
                self._refuse_stranger(f"{file.name}, line {line}", next(name for name in row if name not in declared))
            location = f"{file.name}, {form.line} {line}"
            if self._passes is not None and not self._passes(row, location):
                continue
            key = self._checked_key(row.get(self.key), location)
            yield (
                line,
                key,
                self._mark(row, location),
                tuple(key if name == self.key else row.get(name) for name in names),
            )

    def _refuse_stranger(self, location: str, name: str) -> NoReturn:
        raise SourceError(
            f"{location}: the column {name!r} is in none of the first rows.",
            hint=f'Declare it, types = {{ {name} = "text" }}, or list the columns to read in source.columns.',
        )

    def _checked_key(self, value: Any, location: str) -> Key:
        if value is None or value == "":
            raise SourceError(
                f"{location}: the key {self.key!r} is null.", hint="Correct the row, or name another column as the key."
            )
        try:
            key: Key = self._convert_key(value)
        except CONVERSION_ERRORS as error:
            raise SourceError(
                f"{location}: the key {value!r} is not a valid {self.key_type} key.",
                hint="Correct the row."
                if self.key_type is ColumnType.TEXT
                else f'Correct the row, or read all keys as text: types = {{ {self.key} = "text" }}',
            ) from error
        return key

    def _mark(self, row: Mapping[str, Any], location: str) -> int | str | None:
        """The value of the row's cursor, as it sorts."""
        value = None if self.cursor is None else row.get(self.cursor)
        if value is None or self._cursor_type is None:
            return None
        try:
            mark = converter(self._cursor_type)(value)
        except CONVERSION_ERRORS as error:
            raise SourceError(
                f"{location}: the cursor {value!r} of {self.cursor!r} is not a valid {self._cursor_type}.",
                hint="Correct the row, or name another cursor.",
            ) from error
        return None if mark is None else _sortable(mark)

    def _drop_spool(self) -> None:
        spool = getattr(self, "_spool", None)
        self._spool, self._spooled = None, []
        if spool is not None:
            spool.close()


def _sortable(mark: CursorValue) -> int | str:
    """Times of one length, those without an offset taken as UTC, so that they sort as text."""
    if isinstance(mark, dt.datetime):
        moment = mark if mark.tzinfo else mark.replace(tzinfo=dt.UTC)
        return moment.astimezone(dt.UTC).isoformat(timespec="microseconds")
    return mark.isoformat() if isinstance(mark, dt.date) else int(mark)
