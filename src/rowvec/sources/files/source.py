"""Rows of Parquet, CSV and JSON Lines files, on this machine or in S3."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rowvec.documents.conversion import CONVERSION_ERRORS, converter, key_converter
from rowvec.errors import ConfigError, SourceError, SourceUnavailable
from rowvec.filters import Filter, compares
from rowvec.sources.base import CursorValue, Selection, names_of
from rowvec.sources.files.base import Format, Types
from rowvec.sources.files.formats import Csv, format_of
from rowvec.sources.files.reading import check_same, reading, rows_of
from rowvec.sources.files.spool import Place, Spool, duplicate_error
from rowvec.sources.row_filter import RowFilter
from rowvec.sources.storage import File, find
from rowvec.sources.told_types import Tally, arranged, widened
from rowvec.support.suggestions import check_column, suggestion
from rowvec.types import Column, ColumnType, Key, Row

HEADS = 20
"""Up to this many files that declare their types are looked at first; the others are checked as they are read."""
KEY_TYPES = (ColumnType.INTEGER, ColumnType.TEXT, ColumnType.UUID)
CURSOR_TYPES = (ColumnType.INTEGER, ColumnType.DATE, ColumnType.TIMESTAMP)
DATE_LENGTH = len("2026-08-01")
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
        remembered: Sequence[Column] = (),
    ) -> None:
        """
        Args:
            paths: local paths and s3:// URLs, `*` and `**` allowed; see `rowvec.sources.storage`.
            format: "parquet", "csv" or "jsonl", where the file names do not tell.
            where: only rows that pass; columns of the files, values by rowvec.filters.
            columns: those to read; all of them when None.
            types: column -> type, where the values of CSV and JSON Lines give another one.
            delimiter: of CSV; a comma, or a tab in files named .tsv.
            base: the folder that relative paths start from; the current one when None.
            remembered: the columns as they were at the last sync: their order stays, and their types only widen.

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
        self._declared = columns is not None
        filtered = {each.column.split(".")[0] for each in compares(where)} if where is not None else set()
        wanted = None if columns is None else {*columns, key, *([cursor] if cursor else []), *filtered}
        self._wanted, self._looked_at = wanted, files
        self.columns: Sequence[Column] = self._look(files, remembered, wanted)
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
        self.select(names if columns is None else columns)

    def retyped(self) -> bool:
        """See `Retyped`. Nothing is read where no file has changed."""
        files = find(self._paths, self._base)
        if files == self._looked_at:
            return False
        if self._look(files, self.columns, self._wanted) != self.columns:
            return True
        self._looked_at = files
        return False

    def select(self, columns: Sequence[str]) -> None:
        self._names = names_of(self.columns, self.key, columns)
        self._drop_spool()

    def count(self, selection: Selection | None = None) -> int:
        return self._rows(fresh=True).count(selection)

    def pages(
        self, size: int, *, selection: Selection | None = None, after: Key | None = None, until: Key | None = None
    ) -> Iterator[list[Row]]:
        """See `Source.pages`. Without `after` the files are looked at again."""
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

    def newest(self, below: CursorValue | None = None) -> CursorValue | None:
        found = self._rows(fresh=below is None).newest(None if below is None else _sortable(below))
        if not isinstance(found, str):
            return found
        return dt.date.fromisoformat(found) if len(found) == DATE_LENGTH else dt.datetime.fromisoformat(found)

    def changed(self, since: CursorValue, limit: int) -> list[Key]:
        return self._rows(fresh=False).changed(_sortable(since), limit + 1)

    def beyond(self, mark: CursorValue, until: CursorValue, limit: int) -> int:
        return self._rows(fresh=False).beyond(_sortable(mark), _sortable(until), limit)

    def close(self) -> None:
        self._drop_spool()

    # --- what there is -------------------------------------------------------------------------------------

    def _format(self, file: File) -> Format:
        return format_of(file.name, self._format_name, self._delimiter)

    def _look(self, files: list[File], remembered: Sequence[Column], wanted: set[str] | None) -> list[Column]:
        """
        Args:
            wanted: those that are read, where the user names them.
        """
        types: Types = {}
        told: dict[bool, Tally] = {}
        declaring = 0
        for file in files:
            form = self._format(file)
            declaring += form.numbers_in_text is None
            if form.numbers_in_text is None and declaring > HEADS:
                continue
            with reading(file):
                heading = form.heading(file)
            if types and form.same_columns:
                check_same(file, heading, files[0], types)
            if form.numbers_in_text is not None:
                tally = told.setdefault(form.numbers_in_text, Tally(numbers=form.numbers_in_text))
                self._tell(tally, file, form, heading, wanted)
            for name, kind in heading.items():
                types[name] = widened(types.get(name), kind)
        for tally in told.values():
            for name, kind in tally.types.items():
                types[name] = widened(types.get(name), kind)
        same = self._format(files[0]).same_columns
        for name in self._types:
            if name not in types and same:
                check_column(name, list(types), "source.types")
        types.update(self._types)
        if not types and not remembered:
            raise SourceError(
                f"{self.location} has no row, and only rows tell the columns of JSON Lines.",
                hint="Run it again when there is one.",
            )
        found = arranged(types, remembered, declared=self._types.keys(), keep_absent=not same)
        return [self._as_key(column) if column.name == self.key else column for column in found]

    def _tell(self, tally: Tally, file: File, form: Format, heading: Types, wanted: set[str] | None) -> None:
        """Count the rows of a file that declares no types, all of them: one late value can be unlike the first."""
        # A cell of each row that is looked at costs time; a type that is given need not be told.
        names = set(heading if wanted is None else wanted) - self._types.keys() if heading or wanted else None
        tally.add((row for _, row in rows_of(file, form, tuple(heading))), names)

    def _as_key(self, column: Column) -> Column:
        kind = column.type
        if kind in KEY_TYPES or self.key in self._types:
            return column
        if kind in (ColumnType.JSON, ColumnType.ARRAY, ColumnType.BYTES, ColumnType.TIME):
            raise SourceError(
                f"source.key: {self.key!r} of {self.location} is of type {kind}; a key is integer, text or uuid.",
                hint=f'Say what it is if it is one of them: types = {{ {self.key} = "text" }}',
            )
        # What is neither an integer nor a uuid everywhere is kept as it is written.
        return replace(column, type=ColumnType.TEXT)

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

    def _check_types(self, file: File, found: Types) -> None:
        """Of a file that declares its types, and was written or first looked at after the columns were settled."""
        for column in self.columns:
            kind = found.get(column.name)
            if column.name not in self._types and widened(kind, column.type) is not column.type:
                raise SourceError(
                    f"{file.name}: the column {column.name!r} is {kind}, but {column.type} in the other files.",
                    hint=f'Run it again, or say what it is: types = {{ {column.name} = "text" }}',
                )

    def _check_columns(self, first: File, names: list[str]) -> None:
        for setting, name in (("key", self.key), ("cursor", self.cursor)):
            if name is None or name in names:
                continue
            hint = suggestion(name, names)
            form = self._format(first)
            if isinstance(form, Csv):
                hint += " The first line of a CSV file names the columns: is it missing?"
                hint = form.other_delimiter(first, names) or hint
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
        declared = {column.name for column in self.columns}
        if form.same_columns:
            with reading(file):
                heading = form.heading(file)
            check_same(file, heading, first, declared)
            self._check_types(file, heading)
        others = self._filtered.union([self.cursor] if self.cursor is not None else []).difference(names)
        wanted = [*names, *others]
        for line, row in rows_of(file, form, wanted):
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

    def _checked_key(self, value: Any, location: str) -> Key:
        try:
            key: Key | None = None if value is None else self._convert_key(value)
        except CONVERSION_ERRORS as error:
            raise SourceError(
                f"{location}: the key {value!r} is not a valid {self.key_type} key.",
                hint="Correct the row."
                if self.key_type is ColumnType.TEXT
                else f'Correct the row, or read all keys as text: types = {{ {self.key} = "text" }}',
            ) from error
        # Of a blank text no integer is made, and of NaN or an empty list no text.
        if key is None or key == "":
            raise SourceError(
                f"{location}: the key {self.key!r} is null.", hint="Correct the row, or name another column as the key."
            )
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
