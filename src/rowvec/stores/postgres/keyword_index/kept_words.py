"""The words of the rows as they are written, beside a keyword index, which has their stems.

    <table>__words    numbered parts, each some words with blanks between them

A write appends the words that no part has yet, so writers never touch the same row, and a reader who knows some parts
reads only the others. Words of rows that are gone stay: whoever suggests one asks the index whether a row holds it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import psycopg
from psycopg import sql

from rowvec.support.identifiers import shortened
from rowvec.words.written import NewWords

Connection = psycopg.Connection[Any]

MANY_PARTS = 64
"""Parts that are made one at the end of a sync."""


class KeptWords:
    """
    Args:
        family: what the name of the table begins with.
    """

    def __init__(self, schema: str, family: str) -> None:
        self._schema = schema
        self.table = sql.Identifier(schema, shortened(family, "__words"))
        self._new: NewWords | None = None

    def exists(self, connection: Connection) -> bool:
        name = self.table.as_string(connection)
        return connection.execute("select to_regclass(%s)", [name]).fetchone() != (None,)

    def create(self, connection: Connection) -> None:
        statement = "create table {} (part integer generated always as identity primary key, words text not null)"
        connection.execute(sql.SQL(statement).format(self.table))

    def drop(self, connection: Connection) -> None:
        connection.execute(sql.SQL("drop table if exists {}").format(self.table))

    def rename(self, connection: Connection, family: str) -> None:
        name = sql.Identifier(shortened(family, "__words"))
        connection.execute(sql.SQL("alter table if exists {} rename to {}").format(self.table, name))

    def parts(self, connection: Connection, known: Collection[int] = ()) -> dict[int, str]:
        """Those that are not among the known ones."""
        statement = sql.SQL("select part, words from {} where part <> all(%s::integer[])").format(self.table)
        return dict(connection.execute(statement, [list(known)]).fetchall())

    def add(self, connection: Connection, texts: Iterable[str]) -> list[str]:
        """Keep the words of these texts that are not kept yet; those are confirmed once the transaction has ended."""
        if self._new is None:
            self._new = NewWords(" ".join(self.parts(connection).values()).split())
        words = self._new.of(texts)
        if words:
            connection.execute(sql.SQL("insert into {} (words) values (%s)").format(self.table), [" ".join(words)])
        return words

    def confirm(self, words: Iterable[str]) -> None:
        if self._new is not None:
            self._new.confirm(words)

    def tidy(self, connection: Connection) -> None:
        """Make one part of many."""
        counted = connection.execute(sql.SQL("select count(*) from {}").format(self.table)).fetchone()
        if counted is None or counted[0] <= MANY_PARTS:
            return
        with connection.transaction():
            parts = self.parts(connection)
            words = " ".join(sorted({word for part in parts.values() for word in part.split()}))
            connection.execute(sql.SQL("insert into {} (words) values (%s)").format(self.table), [words])
            gone = sql.SQL("delete from {} where part = any(%s)").format(self.table)
            connection.execute(gone, [list(parts)])
