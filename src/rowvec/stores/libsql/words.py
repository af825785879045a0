"""The words of the rows as they are written, in numbered parts; FTS5 has their stems.

A write appends the words that no part has yet. To send a transaction twice appends some twice, which changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from rowvec.stores.base import TableSpec
from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.schema import Tables, keeps_words
from rowvec.stores.write_batch import WriteBatch
from rowvec.words.written import NewWords

MANY_PARTS = 64
"""Parts that are made one when a sync is activated."""


def kept(database: Database, tables: Tables) -> bool:
    return bool(database.query("select 1 from sqlite_master where name = ?", (tables.plain("kept_words"),)))


class KeptWords:
    """Those of one generation."""

    def __init__(self, database: Database, tables: Tables, spec: TableSpec) -> None:
        self._database = database
        self._tables = tables
        self._wanted = keeps_words(spec)
        self._new: NewWords | None = None
        self._sent: list[str] = []

    def parts(self, known: Collection[int] = ()) -> dict[int, str] | None:
        """Those that are not among the known ones; None where words are not kept."""
        if not kept(self._database, self._tables):
            return None
        # As one value: SQLite limits how many a statement has.
        sql = f"select part, words from {self._tables.kept_words} where part not in (select value from json_each(?))"
        return dict(self._database.query(sql, (json.dumps(list(known)),)))

    def statements(self, batch: WriteBatch) -> list[Statement]:
        """What keeps the words of a batch that are not kept yet; to be confirmed once it is carried out."""
        if not self._wanted:
            return []
        texts = [entry.document.text for entry in batch.entries] + [each.text for each in batch.updates]
        if self._new is None and texts:
            self._new = NewWords(" ".join((self.parts() or {}).values()).split())
        self._sent = self._new.of(texts) if self._new is not None else []
        sql = f"insert into {self._tables.kept_words} (words) values (?)"
        return [Statement(sql, (" ".join(self._sent),))] if self._sent else []

    def confirm(self) -> None:
        if self._new is not None:
            self._new.confirm(self._sent)

    def tidied(self) -> list[Statement]:
        """What makes one part of many; nothing where they are few."""
        table = self._tables.kept_words
        if not self._wanted or self._database.query(f"select count(*) from {table}")[0][0] <= MANY_PARTS:
            return []
        parts = self.parts() or {}
        last = max(parts)
        words = " ".join(sorted({word for part in parts.values() for word in part.split()}))
        # In this order the number of the new part is one that no reader knows, and no other part has.
        return [
            Statement(f"insert into {table} (words) values (?)", (words,)),
            Statement(f"delete from {table} where part <= ?", (last,)),
        ]
