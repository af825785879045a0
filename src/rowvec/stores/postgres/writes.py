"""Writing a batch: COPY into a staging table, then set-based statements."""

from __future__ import annotations

import datetime as dt
import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from rowvec.errors import DataRefused, StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.postgres.connect import is_lent
from rowvec.stores.postgres.names import LEDGER_COLUMNS, Names
from rowvec.stores.postgres.schema import KEY_TYPES, SQL_TYPES
from rowvec.support.decimals import dumps
from rowvec.support.intervals import interval_of
from rowvec.types import ColumnType, Document, Entry, Key, Vector

Connection = psycopg.Connection[Any]


class Writer:
    """The statements that bring rows of one vector table up to date, all inside the caller's transaction."""

    def __init__(self, names: Names, spec: TableSpec, storage: str) -> None:
        self.names = names
        self.spec = spec
        self.storage = storage
        self.key = sql.Identifier(spec.key)
        self.metadata = [sql.Identifier(column.name) for column in spec.metadata]
        # A name for each shape: whoever watches a table syncs it a thousand times on one connection.
        shape = repr((names, storage, spec.key, spec.key_type, spec.dimension, spec.metadata))
        self.stage = sql.Identifier("pg_temp", f"rowvec_stage_{hashlib.sha256(shape.encode()).hexdigest()[:16]}")
        adapters = [adapter(column.type) for column in spec.metadata]
        self._adapted = [(place, adapt) for place, adapt in enumerate(adapters) if adapt is not _same]

    def write_entries(self, connection: Connection, entries: Sequence[Entry]) -> list[Entry]:
        """Insert or update rows with their vectors; return the entries that were written.

        A row whose hash is neither the expected one nor already the new one belongs to a newer write: it
        stays. The second case makes a repeated write, after a lost acknowledgement, count as done.
        """
        self._copy(connection, ((e.document, e.vector, e.truncated, e.expected) for e in entries))
        own = [sql.Identifier(name) for name in LEDGER_COLUMNS] + self.metadata
        columns = sql.SQL(", ").join([self.key, *own])
        inserted = connection.execute(
            sql.SQL(
                "insert into {table} ({columns}) select {columns} from {stage} where rowvec_expected is null"
                " on conflict do nothing returning {key}"
            ).format(table=self.names.sql, columns=columns, stage=self.stage, key=self.key)
        ).fetchall()
        if len(inserted) == len(entries):
            # To look for them in the table too would make a first sync slower the larger the table has become.
            return list(entries)
        new = [key for (key,) in inserted]
        updated = connection.execute(
            sql.SQL(
                "update {table} t set {assign}, updated_at = now() from {stage} s where t.{key} = s.{key}"
                " and (t.text_hash is not distinct from s.rowvec_expected or t.text_hash = s.text_hash"
                " or t.embedding is null) and t.{key} <> all(%s::{type}[]) returning t.{key}"
            ).format(
                table=self.names.sql, assign=_assign(own), stage=self.stage, key=self.key,
                type=sql.SQL(KEY_TYPES[self.spec.key_type]),
            ),
            [new],
        ).fetchall()  # fmt: skip
        written = {*new, *(key for (key,) in updated)}
        return [entry for entry in entries if entry.document.key in written]

    def write_metadata(self, connection: Connection, documents: Sequence[Document]) -> list[Key]:
        """Update metadata alone, where the row still holds the vector of this text; return the keys of those rows."""
        self._copy(connection, ((document, None, False, None) for document in documents))
        updated = connection.execute(
            sql.SQL(
                "update {table} t set {assign}, updated_at = now() from {stage} s"
                " where t.{key} = s.{key} and t.text_hash = s.text_hash returning t.{key}"
            ).format(
                table=self.names.sql,
                assign=_assign([sql.Identifier("row_hash"), *self.metadata]),
                stage=self.stage,
                key=self.key,
            )
        )
        return [key for (key,) in updated]

    def delete(self, connection: Connection, keys: Sequence[Key]) -> None:
        connection.execute(sql.SQL("delete from {} where {} = any(%s)").format(self.names.sql, self.key), [list(keys)])

    def _copy(self, connection: Connection, rows: Iterable[tuple[Document, Any, bool, bytes | None]]) -> None:
        # Others get the session of a pooler afterwards.
        connection.execute(self._stage_sql("drop" if is_lent(connection) else "delete rows"))
        pack, columns = packer(self.storage), len(self.spec.metadata)
        types = [
            KEY_TYPES[self.spec.key_type], "bytea", "bytea", "bytea", "bool", "bytea",
            *(_COPY_TYPES.get(column.type, SQL_TYPES[column.type]) for column in self.spec.metadata),
        ]  # fmt: skip
        with (
            connection.cursor() as cursor,
            cursor.copy(sql.SQL("copy {} from stdin (format binary)").format(self.stage)) as copy,
        ):
            copy.set_types(types)
            for document, vector, truncated, expected in rows:
                metadata = [*document.metadata]
                if len(metadata) != columns:
                    raise StoreError(f"Row {document.key!r} has {len(metadata)} metadata values, not {columns}.")
                for place, adapt in self._adapted:
                    metadata[place] = adapt(metadata[place])
                try:
                    copy.write_row(
                        (document.key, None if vector is None else pack(vector), document.text_hash,
                         document.row_hash, truncated, expected, *metadata)
                    )  # fmt: skip
                except (ValueError, TypeError, ArithmeticError, struct.error) as error:
                    raise DataRefused(
                        f"Row {document.key!r} holds a value that PostgreSQL does not take: {error}"
                    ) from error

    def _stage_sql(self, on_commit: str) -> sql.Composed:
        # Made from the table itself, so that text keys keep its collation; the casts serve adopted tables.
        columns = [
            sql.SQL("{}::{}").format(self.key, sql.SQL(KEY_TYPES[self.spec.key_type])),
            sql.SQL(
                "{embedding} as embedding, {text_hash} as text_hash, {row_hash} as row_hash, {truncated} as truncated,"
                " {text_hash} as rowvec_expected"
            ).format(**self.names.parts),
            *(
                sql.SQL("{0}::{1} as {0}").format(sql.Identifier(c.name), sql.SQL(SQL_TYPES[c.type]))
                for c in self.spec.metadata
            ),
        ]
        return sql.SQL(
            f"create temp table if not exists {{stage}} on commit {on_commit} as select {{columns}} from {{table}}"
            " with no data; truncate {stage}"
        ).format(columns=sql.SQL(", ").join(columns), table=self.names.sql, stage=self.stage)


_COPY_TYPES = {
    ColumnType.NUMBER: "float8",
    ColumnType.TIMESTAMP: "timestamptz",
    ColumnType.TIME: "time",
    ColumnType.BOOLEAN: "bool",
}


def _assign(columns: Sequence[sql.Identifier]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{0} = s.{0}").format(column) for column in columns)


def packer(storage: str) -> Callable[[Vector], bytes]:
    """What makes of a vector the bytes that pgvector reads in binary: the type `bytea` has COPY send them as they are.

    pgvector's own way to write an array takes several times as long.
    """
    if storage == "halfvec":
        return lambda vector: _HEAD.pack(len(vector), 0) + _halved(vector).tobytes()
    return lambda vector: _HEAD.pack(len(vector), 0) + vector.astype(">f4").tobytes()


def _halved(vector: Vector) -> np.ndarray[Any, Any]:
    """
    Raises:
        DataRefused: half precision cannot hold it.
    """
    with np.errstate(over="ignore", under="ignore"):
        half = vector.astype(">f2")
    # The one is infinite where a number is too large, the other zero where all are too small.
    largest = np.abs(half).max(initial=0)
    if not 0 < largest < np.inf:
        found = np.abs(vector).max(initial=0)
        raise DataRefused(
            f"The largest number of its vector is {found:.6g}, and halfvec holds numbers from 6e-8 to 65,504.",
            hint='Set store.storage = "vector", or take a model or service that gives vectors of length 1.',
        )
    return half


_HEAD = struct.Struct(">HH")
"""Dimensions, and two bytes that are not used yet."""


def _same(value: Any) -> Any:
    return value


def adapter(kind: ColumnType) -> Callable[[Any], Any]:
    """What makes a metadata value one that the driver takes for that type; None may be among the values."""
    if kind in (ColumnType.JSON, ColumnType.ARRAY):
        return lambda value: None if value is None else Jsonb(value, dumps)
    if kind is ColumnType.INTERVAL:
        return lambda value: None if value is None else interval_of(value)
    if kind is ColumnType.TIMESTAMP:
        return _aware
    return _same


def _aware(value: dt.datetime | None) -> dt.datetime | None:
    """A time without an offset is taken as UTC."""
    return value.replace(tzinfo=dt.UTC) if value is not None and value.tzinfo is None else value
