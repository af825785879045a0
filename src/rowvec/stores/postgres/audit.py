"""A vector table in PostgreSQL looked at from the inside: what `rowvec audit` needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from rowvec.errors import StoreError
from rowvec.stores.auditor import Drift, Fault, Seen
from rowvec.stores.base import TableSpec
from rowvec.stores.index import IndexStatus
from rowvec.stores.postgres import schema
from rowvec.stores.postgres.books import Bookkeeping
from rowvec.stores.postgres.connect import single, use_vectors, version_tuple
from rowvec.stores.postgres.generations.tables import keywords
from rowvec.stores.postgres.keyword_index.audit import Amiss, check, recount
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.passages import Beside
from rowvec.stores.postgres.passages_audit import NORM, passages_amiss
from rowvec.stores.postgres.schema import KEY_TYPES, SQL_TYPES
from rowvec.stores.postgres.sessions import Sessions
from rowvec.stores.postgres.vector_index.index import (
    AUTO_ROWS,
    INDEX_MARK,
    find,
    fitting,
    serves,
    spec_of,
)
from rowvec.stores.postgres.vector_index.indexes import Indexes
from rowvec.stores.postgres.writes import adapter
from rowvec.types import Column, ColumnType, Document, Key

Connection = psycopg.Connection[Any]

COMPARED = {"json": "jsonb"}
"""Types without an equality of their own, and what they are compared as."""


class PostgresAuditor:
    """See stores.audited.Auditor.

    Args:
        names: of the live generation.
    """

    def __init__(self, sessions: Sessions, indexes: Indexes, names: Names, spec: TableSpec) -> None:
        self._sessions = sessions
        self._books = Bookkeeping(names.scope, spec.pipeline)
        self._indexes = indexes
        self._names = names
        self._storage = indexes.table.storage
        self._spec = spec
        self._key = sql.Identifier(spec.key)
        self._key_type = sql.SQL(KEY_TYPES[spec.key_type])
        # A table of the user's own holds its columns, not copies of them.
        self._metadata = () if names.column else spec.metadata
        self._words = None if spec.language is None else keywords(names, spec)
        self._beside = Beside(names, spec)
        self._types: dict[str, str] | None = None

    # Rows

    def inspect(self, documents: Sequence[Document], *, vectors: bool = False) -> dict[Key, Seen]:
        keys = [document.key for document in documents]
        columns = [[document.metadata[place] for document in documents] for place in range(len(self._metadata))]
        given = [_values(column, values) for column, values in zip(self._metadata, columns, strict=True)]

        def look(connection: Connection) -> dict[Key, Seen]:
            statement = self._inspection(connection, vectors=vectors)
            rows = connection.execute(statement, [keys, *given], binary=True).fetchall()
            found = {row[0]: _seen(*row[1:]) for row in rows}
            for key, failure in self._books.past_failures(connection, keys).items():
                found[key] = found.get(key, Seen())._replace(failure=failure)
            return found

        return self._sessions.read(look)

    def _inspection(self, connection: Connection, *, vectors: bool) -> sql.Composed:
        if self._types is None:
            self._types = schema.table_columns(connection, self._names)
            lacking = [column.name for column in self._metadata if column.name not in self._types]
            if lacking:
                raise StoreError(
                    f"{self._names.scope} has no column for {', '.join(map(repr, lacking))} of store.metadata yet.",
                    hint="Run `rowvec sync` first.",
                )
        given = [sql.Identifier(f"given_{place}") for place in range(len(self._metadata))]
        # Cast to the column's own type first, as a write would: an adopted table may keep fewer digits.
        same = [
            sql.SQL("t.{column}::{compared} is not distinct from given.{given}::{own}::{compared}").format(
                column=sql.Identifier(column.name), given=name, own=sql.SQL(self._types[column.name]),
                compared=sql.SQL(COMPARED.get(self._types[column.name], self._types[column.name])),
            )
            for column, name in zip(self._metadata, given, strict=True)
        ]  # fmt: skip
        return sql.SQL(
            "select t.{key}, case when t.{embedding} is null then null else t.{text_hash} end, t.{row_hash},"
            " vector_dims(t.{embedding}), {norm}(t.{embedding}), {same}, {vector}"
            " from unnest({arrays}) as given ({names}) join {table} t on t.{key} = given.key where {known}"
        ).format(
            key=self._key,
            norm=sql.SQL(NORM[self._storage]),
            same=sql.SQL(" and ").join(same) if same else sql.SQL("true"),
            vector=sql.SQL("t.{embedding}" if vectors else "null").format(**self._names.parts),
            arrays=sql.SQL(", ").join(
                sql.SQL("%s::{}[]").format(kind)
                for kind in [self._key_type, *(sql.SQL(SQL_TYPES[column.type]) for column in self._metadata)]
            ),
            names=sql.SQL(", ").join([sql.Identifier("key"), *given]),
            **self._names.parts,
        )

    def forget(self, keys: Sequence[Key]) -> None:
        statement = sql.SQL("update {table} set {row_hash} = null where {key} = any(%s::{type}[])").format(
            key=self._key, type=self._key_type, **self._names.parts
        )

        def work(connection: Connection) -> None:
            with connection.transaction():
                connection.execute(statement, [list(keys)])
                if self._words is not None:
                    # Words that are there but wrong would be taken for known.
                    self._words.delete(connection, keys)
                self._beside.forget_texts(connection, keys)

        self._sessions.write(work)

    # The store by itself

    def faults(self, most: int) -> list[Fault]:
        found = self._sessions.read(lambda c: self._duplicates(c, most))
        if self._words is not None and self._sessions.read(self._words.exists):
            amiss = self._sessions.read(self._words_amiss)
            found += [
                Fault(drift, len(keys), keys[:most])
                for drift, keys in ((Drift.NO_WORDS, amiss.missing), (Drift.LOST_WORDS, amiss.lost))
                if keys
            ]
            found += [Fault(Drift.WORD_COUNTS, 1, detail=amiss.totals)] if amiss.totals else []
        found += self._sessions.read(lambda c: passages_amiss(c, self._beside, self._storage, most))
        return found + self._sessions.read(self._index_amiss)

    def repair(self, fault: Fault) -> None:
        words = self._words
        if fault.drift is Drift.INDEX:
            present = self._indexes.status()
            self._indexes.build(spec_of(present[0]) if present else None)
        elif words is not None and fault.drift is Drift.LOST_WORDS:
            self._sessions.write(lambda c: words.delete(c, self._words_amiss(c).lost))
        elif words is not None and fault.drift is Drift.WORD_COUNTS:
            self._sessions.write(lambda c: recount(c, words))
        elif fault.drift is Drift.LOST_PASSAGES:
            self._sessions.write(self._drop_lost)

    def _drop_lost(self, connection: Connection) -> None:
        with connection.transaction():
            self._beside.drop_lost(connection)

    def _duplicates(self, connection: Connection, most: int) -> list[Fault]:
        if schema.has_unique_key(connection, self._names, self._spec.key):
            return []
        statement = sql.SQL(
            "select {key}, count(*) over () from {table} where {known} group by {key} having count(*) > 1 limit %s"
        ).format(key=self._key, **self._names.parts)
        rows = connection.execute(statement, [most]).fetchall()
        unique = schema.made_unique(connection, self._names, self._spec.key)
        detail = f"no unique index: delete the copies, then {unique.rstrip(';')}"
        return [Fault(Drift.DUPLICATE, rows[0][1], [key for key, _ in rows], detail)] if rows else []

    def _words_amiss(self, connection: Connection) -> Amiss:
        assert self._words is not None
        query = sql.SQL("select {key} as key from {table} where {condition}")
        rows, known = (
            query.format(key=self._key, table=self._names.sql, condition=condition)
            for condition in (
                sql.SQL("{embedding} is not null").format(**self._names.parts),
                self._names.parts["known"],
            )
        )
        return check(connection, self._words, rows, known)

    def _index_amiss(self, connection: Connection) -> list[Fault]:
        sides = [self._indexes, *([self._indexes.passages] if self._indexes.passages else [])]
        return next((found for side in sides if (found := self._side_amiss(connection, side))), [])

    def _side_amiss(self, connection: Connection, side: Indexes) -> list[Fault]:
        table, wanted = side.table, side.wanted
        indexes = find(connection, table.names)
        valid = any(index.valid for index in indexes)
        broken = [
            index.name
            for index in indexes
            if not index.valid
            and (INDEX_MARK in index.name or not valid)
            and not self._is_being_built(connection, index)
        ]
        if broken:
            return [Fault(Drift.INDEX, len(broken), detail=f"invalid: {', '.join(broken)}")]
        version = version_tuple(use_vectors(connection) or "0")
        if wanted is None or fitting(wanted, table.storage, table.dimension, version) is None:
            return []
        # A sync at work builds it when it has read every row.
        serving = any(index.part is None and serves(index, table.metric) for index in indexes)
        if serving or self._sessions.table_lock.holder(connection) is not None:
            return []
        counted = sql.SQL("select count({embedding}) from {table}").format(**table.names.parts)
        rows = int(single(connection.execute(counted))[0])
        what = "vectors" if side is self._indexes else "vectors of passages"
        return [Fault(Drift.INDEX, 1, detail=f"none for {rows:,} {what}")] if rows >= AUTO_ROWS else []

    def _is_being_built(self, connection: Connection, index: IndexStatus) -> bool:
        name = sql.Identifier(self._names.schema, index.name).as_string(connection)
        building = "select 1 from pg_stat_progress_create_index where index_relid = to_regclass(%s)"
        return connection.execute(building, [name]).fetchone() is not None


def _seen(text_hash: bytes | None, row_hash: bytes | None, dimension: int | None, norm: float | None, same: bool,
          vector: Any) -> Seen:  # fmt: skip
    array = None if vector is None else np.asarray(vector.to_numpy(), dtype=np.float32)
    return Seen(text_hash, row_hash, dimension or 0, 0.0 if norm is None else norm, same, None, array)


def _values(column: Column, values: Sequence[Any]) -> list[Any]:
    """A column of metadata as one array; the driver takes values of one type only."""
    of_one_type: dict[ColumnType, Callable[[Any], Any]] = {
        ColumnType.NUMBER: float,
        ColumnType.DECIMAL: lambda value: value if isinstance(value, Decimal) else Decimal(str(value)),
    }
    change = of_one_type.get(column.type, adapter(column.type))
    return [None if value is None else change(value) for value in values]
