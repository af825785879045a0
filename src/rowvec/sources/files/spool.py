"""Rows of files in key order, on disk: files are in no order, and need not fit into memory."""

from __future__ import annotations

import json
import pickle
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from rowvec.errors import SourceError
from rowvec.sources.base import Selection
from rowvec.support.keys import key_of
from rowvec.types import ColumnType, Key

KEYS_AT_ONCE = 5000


class Place(NamedTuple):
    """Where a row stands: the number of its file, and the line in it."""

    file: int
    line: int


class Spool:
    """A database in a file that has no name: it is gone with the process, however that ends."""

    def __init__(self, key_type: ColumnType) -> None:
        self._key_type = key_type
        self._guard = threading.Lock()
        # An empty path is SQLite's own word for such a file: https://www.sqlite.org/inmemorydb.html, "Temporary".
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.execute("pragma journal_mode = off")
        kind = "integer" if key_type is ColumnType.INTEGER else "text"
        self._database.execute(
            f"create table rows (key {kind} not null, file integer, line integer, cursor, data blob)"
        )

    def fill(self, rows: Iterable[tuple[Key, Place, int | str | None, tuple[Any, ...]]]) -> None:
        """Take in every row with the value of its cursor, in any order; call it once."""
        packed = (
            (self._plain(key), place.file, place.line, cursor, pickle.dumps(values, pickle.HIGHEST_PROTOCOL))
            for key, place, cursor, values in rows
        )
        with self._guard:
            self._database.execute("begin")
            self._database.executemany("insert into rows values (?, ?, ?, ?, ?)", packed)
            # Made when all are there, it is sorted once; made before, every row would look for its page.
            self._database.execute("create index by_key on rows (key)")
            self._database.execute("commit")

    def duplicate(self) -> tuple[Key, Place, Place] | None:
        """A key that stands on more than one row, with the first two places."""
        with self._guard:
            found = self._database.execute("select key from rows group by key having count(*) > 1 limit 1").fetchone()
            if found is None:
                return None
            places = self._database.execute(
                "select file, line from rows where key = ? order by file, line limit 2", found
            ).fetchall()
        return self._key(found[0]), Place(*places[0]), Place(*places[1])

    def page(
        self, size: int, selection: Selection | None, after: Key | None, until: Key | None
    ) -> list[tuple[Key, tuple[Any, ...]]]:
        conditions, values = self._selected(selection)
        if after is not None:
            conditions.append("key > ?")
            values.append(self._plain(after))
        if until is not None:
            conditions.append("key <= ?")
            values.append(self._plain(until))
        where = " and ".join(conditions) or "true"
        with self._guard:
            rows = self._database.execute(
                f"select key, data from rows where {where} order by key limit ?", [*values, size]
            ).fetchall()
        return [(self._key(key), pickle.loads(data)) for key, data in rows]  # noqa: S301 (written above)

    def count(self, selection: Selection | None) -> int:
        conditions, values = self._selected(selection)
        where = " and ".join(conditions) or "true"
        with self._guard:
            return int(self._database.execute(f"select count(*) from rows where {where}", values).fetchone()[0])

    def existing(self, keys: Sequence[Key]) -> set[Key]:
        found: set[Key] = set()
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = json.dumps([self._plain(key) for key in keys[start : start + KEYS_AT_ONCE]])
            with self._guard:
                rows = self._database.execute(
                    "select key from rows where key in (select value from json_each(?))", [some]
                ).fetchall()
            found.update(self._key(key) for (key,) in rows)
        return found

    def newest(self, below: int | str | None) -> int | str | None:
        """The highest cursor there is, or the highest below another."""
        sql = "select max(cursor) from rows where ?1 is null or cursor < ?1"
        with self._guard:
            found: int | str | None = self._database.execute(sql, (below,)).fetchone()[0]
        return found

    def changed(self, since: int | str, limit: int) -> list[Key]:
        """Keys of up to `limit` rows whose cursor is not below `since`, or that have none."""
        sql = "select key from rows where cursor >= ? or cursor is null order by key limit ?"
        with self._guard:
            return [self._key(key) for (key,) in self._database.execute(sql, (since, limit)).fetchall()]

    def beyond(self, mark: int | str, until: int | str, limit: int) -> int:
        """Rows whose cursor is above `mark` and not above `until`; counted up to `limit`."""
        sql = "select count(*) from (select 1 from rows where cursor > ? and cursor <= ? limit ?)"
        with self._guard:
            return int(self._database.execute(sql, (mark, until, limit)).fetchone()[0])

    def close(self) -> None:
        with self._guard:
            self._database.close()

    def _selected(self, selection: Selection | None) -> tuple[list[str], list[Any]]:
        if selection is None:
            return [], []
        chosen = ["key in (select value from json_each(?))"]
        values: list[Any] = [json.dumps([self._plain(key) for key in selection.keys])]
        for low, high in selection.ranges:
            chosen.append("key between ? and ?")
            values += [self._plain(low), self._plain(high)]
        return [f"({' or '.join(chosen)})"], values

    def _plain(self, key: Key) -> int | str:
        return str(key) if isinstance(key, UUID) else key

    def _key(self, key: Any) -> Key:
        return key_of(key, self._key_type)


def duplicate_error(key: Key, first: str, second: str) -> SourceError:
    return SourceError(
        f"The key {key!r} is on more than one row: {first} and {second}.",
        hint="Name a column that is unique, or leave one of the rows out.",
    )
