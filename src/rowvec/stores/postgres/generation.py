"""The rows of one generation in PostgreSQL: hashes, vectors, failures, searches."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from rowvec.errors import SearchError
from rowvec.filters import Facets, Filter, Order, Place, compares
from rowvec.stores.base import REPEATED_KEYS, GenerationStatus, LastWord, TableSpec
from rowvec.stores.columns import stored_columns, stored_filter, stored_order
from rowvec.stores.facet_sql import Passing, count_facets, page
from rowvec.stores.filter_sql import POSTGRES, Sql, compile_filter
from rowvec.stores.index import IndexSpec
from rowvec.stores.postgres import books, facet_index, guarding, schema
from rowvec.stores.postgres.audit import PostgresAuditor
from rowvec.stores.postgres.books import Bookkeeping, Fence
from rowvec.stores.postgres.connect import one_snapshot, single
from rowvec.stores.postgres.facet_index import FacetIndex
from rowvec.stores.postgres.generations.columns import InPlaceWriter
from rowvec.stores.postgres.generations.tables import keywords
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.passages import Beside
from rowvec.stores.postgres.sessions import Sessions
from rowvec.stores.postgres.vector_index.blended import Blend
from rowvec.stores.postgres.vector_index.indexes import INDEX_SECONDS, Indexes
from rowvec.stores.postgres.vector_index.nearest import (
    DISTANCE,
    EVERYTHING,
    Condition,
    VectorTable,
    nearest,
    similarities,
)
from rowvec.stores.postgres.writes import Writer
from rowvec.stores.typical import Typical
from rowvec.support.killpoints import Step, reached
from rowvec.types import (
    Column,
    ColumnType,
    Document,
    Entry,
    Failure,
    Key,
    Ranked,
    Refusal,
    Repeated,
    Standing,
    Stored,
    StoredText,
    TextVector,
    UnfitValue,
    Vector,
    WriteBatch,
    Written,
)

Connection = psycopg.Connection[Any]

ROWS_AT_ONCE = 10_000
"""The words of each write are one segment of the keyword index: fewer and larger ones are written faster."""


class PostgresGeneration:
    """See stores.base.GenerationHandle.

    Args:
        location: for messages.
        names: of its table, or of its columns in a table of the user's own.
        spec: its columns as the table calls them; `asked`, as the user does.
        metric, storage: see PostgresStore.
        fence: without which nothing is written.
        wanted: the index that is built where there are rows enough; None for none.
    """

    rows_at_once = ROWS_AT_ONCE

    def __init__(
        self,
        sessions: Sessions,
        names: Names,
        spec: TableSpec,
        asked: TableSpec,
        fence: Fence,
        *,
        scope: str,
        location: str,
        metric: str,
        storage: str,
        wanted: IndexSpec | None,
    ) -> None:
        self.names = names
        self.spec, self._asked = spec, asked
        self.words = None if spec.language is None else keywords(names, spec)
        self._key = sql.Identifier(spec.key)
        self.beside = Beside(names, spec)
        rows = VectorTable(names, self._key, metric, storage, spec.dimension)
        parts = VectorTable(self.beside.passages, sql.Identifier("key"), metric, storage, spec.dimension)
        self.index = Indexes(sessions, rows, wanted, parts if spec.has_passages else None)
        self._blend = Blend(rows, parts) if spec.has_passages else None
        self._books = Bookkeeping(scope, spec.pipeline, filling=names.scope)
        self._writer = (InPlaceWriter if names.column else Writer)(names, spec, storage)
        self._fence = fence
        self._sessions = sessions
        self._location = location
        self._has_passages = False
        self._counts: tuple[float, FacetIndex | None] | None = None
        self._typical = Typical(metric, self._sample)
        self._read = sessions.read
        self._write = sessions.write

    def auditor(self) -> PostgresAuditor:
        return PostgresAuditor(self._sessions, self.index, self.names, self.spec)

    # The ledger

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        # As many columns as Stored has fields, so that a row becomes one without a step of Python for each field.
        statement = sql.SQL(
            "select {key}, case when {embedding} is null then null else {text_hash} end, {row_hash}, null"
            " from {table} where {key} = any(%s::{type}[]) and {known}"
        ).format(key=self._key, type=sql.SQL(schema.KEY_TYPES[self.spec.key_type]), **self.names.parts)
        # Written as the server reads it, since a list is adapted key by key; in texts there is something to escape.
        sought = list(keys) if self.spec.key_type is ColumnType.TEXT else f"{{{','.join(map(str, keys))}}}"

        def look(connection: Connection) -> dict[Key, Stored]:
            rows = connection.execute(statement, [sought], binary=True).fetchall()
            found: dict[Key, Stored] = {row[0]: tuple.__new__(Stored, row[1:]) for row in rows}
            for key, failure in self._books.past_failures(connection, keys).items():
                known = found.get(key) or Stored(None, None)
                found[key] = known._replace(failure=failure)
            return found

        return self._read(look)

    def vectors_of_texts(self, hashes: Sequence[bytes]) -> dict[bytes, TextVector]:
        statement = self.beside.of_texts()
        rows = self._read(lambda c: c.execute(statement, {"hashes": list(hashes)}, binary=True).fetchall())
        return {text_hash: TextVector(as_array(vector), truncated) for text_hash, vector, truncated in rows}

    def keys(self, after: Key | None, limit: int) -> list[Key]:
        bound = sql.SQL("where key > %s") if after is not None else sql.SQL("")
        statement = sql.SQL("select key from ({all}) known {bound} order by key limit %s").format(
            all=self._known(), bound=bound
        )
        values = [self.names.scope, limit] if after is None else [self.names.scope, after, limit]
        return [key for (key,) in self._read(lambda c: c.execute(statement, values).fetchall())]

    def count(self) -> int:
        statement = sql.SQL("select count(*) from ({}) known").format(self._known())
        return int(self._read(lambda c: single(c.execute(statement, [self.names.scope])))[0])

    def standing(self) -> Standing:
        return self._read(lambda c: guarding.standing(c, self._known(), self.names.scope))

    def refusal(self) -> Refusal | None:
        return self._read(lambda c: guarding.refusal(c, self.names.scope))

    def _known(self) -> sql.Composed:
        """Every key of the table, and those that are known as failures only."""
        return sql.SQL(
            "select {key} as key from {table} where {known} union all"
            " select f.key::{type} from rowvec.failures f where scope = %s"
            " and not exists (select from {table} where {key} = f.key::{type} and {known})"
        ).format(key=self._key, type=sql.SQL(schema.KEY_TYPES[self.spec.key_type]), **self.names.parts)

    def write(self, batch: WriteBatch) -> int:
        writer = self._writer

        def work(connection: Connection) -> int:
            new_words: list[str] = []
            with connection.transaction():
                self._fence.hold(connection, self._location)
                if batch.guard is not None:
                    guarding.settle(connection, self.names, self._key, batch.guard, batch.deletes, self._location)
                written = writer.write_entries(connection, batch.entries) if batch.entries else []
                updated = writer.write_metadata(connection, batch.updates) if batch.updates else []
                if batch.deletes:
                    writer.delete(connection, batch.deletes)
                    self.beside.delete(connection, batch.deletes)
                self.beside.write(connection, written, self.index.table.storage)
                self.beside.complete(connection, batch.updates)
                well = [entry.document.key for entry in written] + updated + batch.deletes + batch.recovered
                self._books.clear_failures(connection, well)
                if self.words is not None:
                    texts = [entry.document for entry in written] + self._without_words(connection, batch.updates)
                    self.words.upsert(connection, [each.key for each in texts], [each.text for each in texts])
                    self.words.delete(connection, batch.deletes)
                    if self.spec.keeps_words:
                        seen = [*(entry.document for entry in written), *batch.updates]
                        new_words = self.words.kept_words.add(connection, [each.text for each in seen])
                if not self.names.column:
                    # A table of the user's own holds its columns, not copies of them.
                    self._books.write_unfit(connection, self._written(batch, written, updated), batch.deletes)
                if batch.failures:
                    self._books.add_failures(connection, batch.failures)
                self._books.save_progress(connection, batch.positions, batch.offsets)
                reached(Step.DELETE_BEFORE_COMMIT if batch.deletes else Step.WRITE_BEFORE_COMMIT)
            reached(Step.DELETE_AFTER_COMMIT if batch.deletes else Step.WRITE_AFTER_COMMIT)
            if self.words is not None:
                self.words.kept_words.confirm(new_words)
            return len(batch.entries) - len(written)

        return self._write(work)

    @staticmethod
    def _written(batch: WriteBatch, entries: Sequence[Entry], updated: Sequence[Key]) -> list[Document]:
        kept = set(updated)
        return [entry.document for entry in entries] + [each for each in batch.updates if each.key in kept]

    def _without_words(self, connection: Connection, documents: Sequence[Document]) -> list[Document]:
        """Those that a keyword index made later than their vectors has not seen."""
        if self.words is None or not documents:
            return []
        known = self.words.known(connection, [document.key for document in documents])
        return [document for document in documents if document.key not in known]

    def offsets(self) -> dict[str, str]:
        return self._read(self._books.offsets)

    def positions(self, keys: Sequence[Key]) -> dict[Key, str]:
        return self._read(lambda c: self._books.positions(c, keys))

    def failures(self, limit: int | None = None) -> list[Failure]:
        return self._read(lambda c: self._books.failures(c, limit, self.spec.key_type))

    def unfit(self, keys: Sequence[Key] | None = None, limit: int | None = None) -> list[UnfitValue]:
        return self._read(lambda c: self._books.unfit(c, keys, limit, self.spec.key_type))

    def status(self) -> GenerationStatus:
        def look(connection: Connection) -> GenerationStatus:
            found = books.of_table(connection, self.index.table)
            passages, divided, size = self.beside.sizes(connection)
            words = self.words.size(connection) if self.words is not None else 0
            return replace(found, passages=passages, divided=divided, bytes=found.bytes + size + words)

        return self._read(look)

    def truncated(self, limit: int) -> list[Key]:
        statement = sql.SQL("select {key} from {table} where {truncated} order by {key} limit %s").format(
            key=self._key, **self.names.parts
        )
        return [key for (key,) in self._read(lambda c: c.execute(statement, [limit]).fetchall())]

    def repeated(self, limit: int) -> list[Repeated]:
        statement = sql.SQL(
            "select count(*), (array_agg({key} order by {key}))[1:%s] from {table} where {embedding} is not null"
            " group by {text_hash} having count(*) > 1 order by count(*) desc, min({key}::text) limit %s"
        ).format(key=self._key, **self.names.parts)
        found = self._read(lambda c: c.execute(statement, [REPEATED_KEYS, limit]).fetchall())
        return [Repeated(rows, tuple(keys)) for rows, keys in found]

    # Search

    def vector(self, key: Key, where: Filter | None = None) -> Vector | None:
        condition = self._condition(where)
        statement = sql.SQL("select {embedding} from {table} t where {key} = %s and {where}").format(
            key=self._key, where=condition.sql, **self.names.parts
        )
        row = self._read(lambda c: c.execute(statement, [key, *condition.values], binary=True).fetchone())
        return None if row is None or row[0] is None else as_array(row[0])

    def vectors(self, after: Key | None, limit: int, where: Filter | None = None) -> list[tuple[Key, Vector]]:
        condition = self._condition(where)
        bound = sql.SQL("and {key} > %s" if after is not None else "").format(key=self._key)
        statement = sql.SQL(
            "select {key}, {embedding} from {table} t where {embedding} is not null and {where} {bound}"
            " order by {key} limit %s"
        ).format(key=self._key, where=condition.sql, bound=bound, **self.names.parts)
        values = [*condition.values, limit] if after is None else [*condition.values, after, limit]
        rows = self._read(lambda c: c.execute(statement, values, binary=True).fetchall())
        return [(key, as_array(vector)) for key, vector in rows]

    def nearest(self, vector: Vector, limit: int, where: Filter | None = None, *, exact: bool = False) -> Ranked:
        value: Vector = np.asarray(vector, dtype=np.float32)
        condition = None if where is None else self._condition(where)
        index = self.index

        def look(connection: Connection) -> Ranked:
            serving = None if exact else index.usable(connection)
            if self._blend is None or index.passages is None or not self._divided(connection):
                return nearest(connection, index.table, value, limit, condition, serving)
            parts = None if exact else index.passages.usable(connection)
            return self._blend.nearest(connection, (serving, parts), value, limit, condition)

        return self._read(look)

    def similarities(self, vector: Vector, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, float]:
        if where is not None:
            keys = list(self.metadata(keys, where))
        if not keys:
            return {}
        value: Vector = np.asarray(vector, dtype=np.float32)

        def look(connection: Connection) -> Ranked:
            if self._blend is None or not self._divided(connection):
                return similarities(connection, self.index.table, value, keys)
            return self._blend.scores(connection, value, keys)

        found = self._read(look)
        return dict(zip(found.keys, found.scores, strict=True))

    def typical(self, vector: Vector) -> float | None:
        return self._typical.similarity(vector)

    def _sample(self, most: int) -> list[Vector]:
        # By their hash, which the index has in order: no row is more likely than another.
        statement = sql.SQL(
            "select distinct on ({text_hash}) {embedding} from {table} where {embedding} is not null"
            " order by {text_hash} limit %s"
        ).format(**self.names.parts)
        rows = self._read(lambda c: c.execute(statement, [most], binary=True).fetchall())
        return [as_array(vector) for (vector,) in rows]

    def _divided(self, connection: Connection) -> bool:
        """There are passages. Where there were some, a search that counts on them is right without any too."""
        self._has_passages = self._has_passages or self.beside.filled(connection)
        return self._has_passages

    def _condition(self, where: Filter | None) -> Condition:
        if where is None:
            return EVERYTHING
        text, values = compile_filter(stored_filter(where, self._asked, self.spec), POSTGRES)
        return Condition(sql.SQL(text), values)

    def keyword(self, query: str, limit: int, where: Filter | None = None, *, last: LastWord | None = None) -> Ranked:
        if self.words is None:
            raise SearchError("This pipeline has no keyword index.", hint='Set store.language, such as "english".')
        condition = None if where is None else self._condition(where)
        words = self.words

        def look(connection: Connection) -> list[tuple[Key, float]]:
            if condition is None:
                return words.search(connection, query, limit, last=last)
            return words.search(connection, query, limit, condition.sql, condition.values, last)

        hits = self._read(look)
        return Ranked([key for key, _ in hits], [score for _, score in hits], exact=True, complete=True)

    def holding(self, words: Sequence[str]) -> dict[str, int]:
        index = self.words
        return {} if index is None else self._read(lambda c: index.holding(c, words))

    def kept_words(self, known: Collection[int] = ()) -> dict[int, str] | None:
        index = self.words

        def look(connection: Connection) -> dict[int, str] | None:
            if index is None or not index.kept_words.exists(connection):
                return None
            return index.kept_words.parts(connection, known)

        return self._read(look)

    def browse(
        self,
        limit: int,
        where: Filter | None = None,
        *,
        order: Order | None = None,
        offset: int = 0,
        after: Place | None = None,
    ) -> list[Key]:
        ordered = None if order is None else stored_order(order, self._asked, self.spec)
        place = None if after is None else (after, after.key)
        key = POSTGRES.name(self.spec.key, "t")
        text, values = page(POSTGRES, self._table, key, self._passing(where), ordered, place, limit, offset)
        return [key for (key,) in self._read(lambda c: c.execute(text.encode(), values).fetchall())]

    def facets(self, columns: Sequence[Column], where: Filter | None = None, *, most: int = 10) -> Facets:
        stored, names = stored_columns(columns, self._asked, self.spec), [column.name for column in columns]
        kept = None if where is None else stored_filter(where, self._asked, self.spec)
        used = {column.name for column in stored} | ({each.column for each in compares(kept)} if kept else set())

        def look(connection: Connection) -> Facets:
            index = self._facet_index(connection)
            part = index.fits if index is not None and used <= index.columns else ""
            passing = Passing(self._table, self._passing(where), POSTGRES, part)

            def ask(text: str, values: list[Any]) -> list[tuple[Any, ...]]:
                return connection.execute(text.encode(), values).fetchall()

            with one_snapshot(connection):
                return count_facets(ask, passing, stored, names, most)

        return self._read(look)

    def _facet_index(self, connection: Connection) -> FacetIndex | None:
        """Looked up every few seconds only."""
        now = time.monotonic()
        if self._counts is None or now - self._counts[0] > INDEX_SECONDS:
            self._counts = now, facet_index.find(connection, self.names, self.spec)
        return self._counts[1]

    @property
    def _table(self) -> str:
        """Quoted, for a statement that is text."""
        return self.names.sql.as_string(None).replace("%", "%%")

    def _passing(self, where: Filter | None) -> Sql:
        """The rows `t` that a search compares."""
        held = f"{POSTGRES.name(self.names.own('embedding'), 't')} is not null"
        if where is None:
            return held, []
        text, values = compile_filter(stored_filter(where, self._asked, self.spec), POSTGRES)
        return f"{held} and {text}", values

    def metadata(self, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, Mapping[str, Any]]:
        condition = self._condition(where)
        names = [column.name for column in self._asked.metadata]
        # A column of the user's own table may be of the type `money`.
        stored = [
            sql.SQL("{}::numeric" if column.type is ColumnType.DECIMAL else "{}").format(sql.Identifier(column.name))
            for column in self.spec.metadata
        ]
        statement = sql.SQL("select {} from {} t where {} = any(%s) and {}").format(
            sql.SQL(", ").join([sql.Identifier(self.spec.key), *stored]), self.names.sql, self._key, condition.sql
        )
        rows = self._read(lambda c: c.execute(statement, [list(keys), *condition.values]).fetchall())
        return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}

    def written(self, keys: Sequence[Key]) -> dict[Key, Written]:
        moment = "updated_at" if self.names.column is None else "null::timestamp with time zone"
        statement = sql.SQL(
            "select {key}, {moment}, {truncated} from {table} where {key} = any(%s) and {embedding} is not null"
        ).format(key=self._key, moment=sql.SQL(moment), **self.names.parts)
        rows = self._read(lambda c: c.execute(statement, [list(keys)]).fetchall())
        return {key: Written(at, truncated) for key, at, truncated in rows}

    def texts(
        self, keys: Sequence[Key], vector: Vector | None = None, where: Filter | None = None
    ) -> dict[Key, StoredText]:
        if not keys:
            return {}
        condition = self._condition(where)
        value = None if vector is None else np.asarray(vector, dtype=np.float32)

        def look(connection: Connection) -> dict[Key, StoredText]:
            with one_snapshot(connection):
                if not self.beside.readable(connection):
                    return {}
                return self.beside.read(connection, keys, DISTANCE[self.index.table.metric], value, condition)

        return self._read(look)


def as_array(value: Any) -> Vector:
    """pgvector's Vector or HalfVector as float32."""
    return np.asarray(value.to_numpy(), dtype=np.float32)
