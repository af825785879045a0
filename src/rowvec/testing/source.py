"""Rows in a dictionary."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from rowvec.sources.base import CursorValue, Selection
from rowvec.types import Column, ColumnType, Key, Row

_TYPES: dict[type, ColumnType] = {
    bool: ColumnType.BOOLEAN,
    int: ColumnType.INTEGER,
    float: ColumnType.NUMBER,
    str: ColumnType.TEXT,
    UUID: ColumnType.UUID,
    dt.datetime: ColumnType.TIMESTAMP,
    dt.date: ColumnType.DATE,
    list: ColumnType.ARRAY,
    dict: ColumnType.JSON,
    bytes: ColumnType.BYTES,
}


class MemorySource:
    """Rows that a test may change at any time through `rows`; the key is one of the columns.

    Column types are those of the first value that is not None, TEXT where there is none. `cursor` names a column
    that grows with each change, `rows_read` counts the rows that were handed out.
    """

    identity = "memory"

    def __init__(self, rows: Mapping[Any, Mapping[str, Any]], *, key: str = "id", cursor: str | None = None) -> None:
        self.cursor = cursor
        self.rows_read = 0
        self.rows: dict[Key, dict[str, Any]] = {name: {key: name, **values} for name, values in rows.items()}
        self.key = key
        self.key_type = _TYPES[type(next(iter(self.rows), 0))]
        names = dict.fromkeys(name for values in self.rows.values() for name in values) or {key: None}
        self.columns: Sequence[Column] = [Column(name, self._type(name)) for name in names]

    def _type(self, name: str) -> ColumnType:
        values = (row[name] for row in self.rows.values() if row.get(name) is not None)
        return _TYPES.get(type(next(values, "")), ColumnType.TEXT)

    def _selected(self, selection: Selection | None) -> list[Key]:
        keys: list[Any] = sorted(self.rows)
        if selection is None:
            return keys
        ranges: Sequence[tuple[Any, Any]] = selection.ranges
        return [key for key in keys if key in selection.keys or any(low <= key <= high for low, high in ranges)]

    def select(self, columns: Sequence[str]) -> None:
        """Rows are whole all the same."""

    def count(self, selection: Selection | None = None) -> int:
        return len(self._selected(selection))

    def pages(
        self, size: int, *, selection: Selection | None = None, after: Key | None = None, until: Key | None = None
    ) -> Iterator[list[Row]]:
        last: Any = after
        while True:
            # Looked at again for each page, as a database is: rows come and go while a sync reads.
            keys: list[Any] = [key for key in self._selected(selection) if until is None or key <= until]  # type: ignore[operator]
            page = [Row(key, dict(self.rows[key])) for key in keys if last is None or key > last][:size]
            if not page:
                return
            self.rows_read += len(page)
            yield page
            last = page[-1].key

    def newest(self, below: CursorValue | None = None) -> CursorValue | None:
        values: list[Any] = [row[self.cursor] for row in self.rows.values() if row[self.cursor] is not None]  # type: ignore[index]
        high: Any = below
        return max((value for value in values if high is None or value < high), default=None)

    def changed(self, since: CursorValue, limit: int) -> list[Key]:
        cursors: dict[Key, Any] = {key: row[self.cursor] for key, row in self.rows.items()}  # type: ignore[index]
        return [key for key, value in cursors.items() if value is None or value >= since][: limit + 1]

    def beyond(self, mark: CursorValue, until: CursorValue, limit: int) -> int:
        values: list[Any] = [row[self.cursor] for row in self.rows.values() if row[self.cursor] is not None]  # type: ignore[index]
        low: Any = mark
        return min(limit, sum(1 for value in values if low < value <= until))

    def existing(self, keys: Sequence[Key]) -> set[Key]:
        return {key for key in keys if key in self.rows}

    def close(self) -> None:
        pass
