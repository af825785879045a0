"""The rows of one generation in PostgreSQL as searches read them; see stores.base.RowsHandle."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from rowvec.errors import SearchError, StoreError
from rowvec.filters import Facets, Filter, Order, Place, compares
from rowvec.stores.base import LastWord, TableSpec
from rowvec.stores.columns import stored_columns, stored_filter, stored_order
from rowvec.stores.facet_sql import Passing, count_facets, page
from rowvec.stores.filter_sql import POSTGRES, Postgres, Sql, compile_filter
from rowvec.stores.index import IndexSpec
from rowvec.stores.part import Spans
from rowvec.stores.postgres import facet_index, schema
from rowvec.stores.postgres.connect import one_snapshot
from rowvec.stores.postgres.facet_index import FacetIndex
from rowvec.stores.postgres.generations.tables import keywords
from rowvec.stores.postgres.keyword_index.reach import Expected
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.passages import Beside
from rowvec.stores.postgres.sessions import Sessions
from rowvec.stores.postgres.vector_index.blended import Blend
from rowvec.stores.postgres.vector_index.exhaustive import exact as exact_in_one_reading
from rowvec.stores.postgres.vector_index.index import INDEX_SECONDS
from rowvec.stores.postgres.vector_index.indexes import Indexes
from rowvec.stores.postgres.vector_index.nearest import (
    DISTANCE,
    EVERYTHING,
    Condition,
    VectorTable,
    expected_rows,
    nearest,
    similarities,
)
from rowvec.stores.postgres.vector_index.partial import parts_in
from rowvec.stores.typical import Typical
from rowvec.support.kept import KeptByIdentity
from rowvec.types import Column, ColumnType, Key, Progress, Ranked, StoredText, Vector, Vectors

Connection = psycopg.Connection[Any]


class PostgresRows:
    """
    Args:
        names: of its table, or of its columns in a table of the user's own.
        spec: its columns as the table calls them; `asked`, as the user does.
        metric, storage: see PostgresStore.
        wanted: the index that is built where there are rows enough; None for none.
        partial: the metadata column whose frequent values get an index each.
    """

    def __init__(
        self,
        sessions: Sessions,
        names: Names,
        spec: TableSpec,
        asked: TableSpec,
        *,
        metric: str,
        storage: str,
        wanted: IndexSpec | None,
        partial: str | None,
    ) -> None:
        self.names = names
        self.spec, self._asked = spec, asked
        self.words = None if spec.language is None else keywords(names, spec)
        self._key = sql.Identifier(spec.key)
        self.beside = Beside(names, spec)
        rows = VectorTable(names, self._key, metric, storage, spec.dimension)
        parts = VectorTable(self.beside.passages, sql.Identifier("key"), metric, storage, spec.dimension)
        self.index = Indexes(sessions, rows, wanted, partial, parts if spec.has_passages else None)
        self._blend = Blend(rows, parts) if spec.has_passages else None
        self._sessions = sessions
        self._has_passages = self._reads_texts = False
        self._counts: tuple[float, FacetIndex | None] | None = None
        self._typical = Typical(metric, lambda most: [vector for _, vector in self.sample(most)])
        self._conditions = KeptByIdentity(self._compiled)
        self._read = sessions.read

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
            serving = None if exact else index.usable(connection, condition)
            if self._blend is None or index.passages is None or not self._divided(connection):
                return nearest(connection, index.table, value, limit, condition, serving)
            both = (None, None) if exact else (index.usable(connection), index.passages.usable(connection))
            return self._blend.nearest(connection, both, value, limit, condition)

        return self._read(look)

    def compared(self, vectors: Vectors, limit: int, progress: Progress | None = None) -> list[Ranked]:
        values: Vectors = np.asarray(vectors, dtype=np.float32)
        tell: Progress = progress or (lambda phase, done, total: None)

        def look(connection: Connection) -> list[Ranked]:
            if self._blend is None or not self._divided(connection):
                return exact_in_one_reading(connection, self.index.table, values, limit, tell)
            return [self._blend.nearest(connection, (None, None), each, limit, None) for each in values]

        return self._read(look)

    def similarities(self, vector: Vector, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, float]:
        if not keys:
            return {}
        value: Vector = np.asarray(vector, dtype=np.float32)
        condition = self._condition(where)

        def look(connection: Connection) -> Ranked:
            if self._blend is None or not self._divided(connection):
                return similarities(connection, self.index.table, value, keys, condition)
            return self._blend.scores(connection, value, keys, condition)

        found = self._read(look)
        return dict(zip(found.keys, found.scores, strict=True))

    def typical(self, vector: Vector) -> float | None:
        return self._typical.similarity(vector)

    def _divided(self, connection: Connection) -> bool:
        """There are passages. Where there were some, a search that counts on them is right without any too."""
        self._has_passages = self._has_passages or self.beside.filled(connection)
        return self._has_passages

    def _condition(self, where: Filter | None) -> Condition:
        return EVERYTHING if where is None else self._conditions.of(where)

    def _compiled(self, where: Filter) -> Condition:
        stored = stored_filter(where, self._asked, self.spec)
        text, values = compile_filter(stored, self._dialect)
        columns = {each.column for each in compares(stored)}
        return Condition(sql.SQL(text), values, *parts_in(stored), columns)

    def keyword(self, query: str, limit: int, where: Filter | None = None, *, last: LastWord | None = None) -> Ranked:
        if self.words is None:
            raise SearchError("This pipeline has no keyword index.", hint='Set store.language, such as "english".')
        condition = None if where is None else self._condition(where)
        words = self.words

        def look(connection: Connection) -> list[tuple[Key, float]]:
            if condition is None:
                return words.search(connection, query, limit, last=last)
            expected = self._expected(connection, condition)
            return words.search(connection, query, limit, condition.sql, condition.values, last, expected)

        hits = self._read(look)
        return Ranked([key for key, _ in hits], [score for _, score in hits], exact=True, complete=True)

    def _expected(self, connection: Connection, where: Condition) -> Expected:
        passing, every = (expected_rows(connection, self.index.table, each) for each in (where, EVERYTHING))
        index, parts = self._facet_index(connection), list[sql.Composable]()
        if index is not None and where.columns <= index.columns:
            held, _ = self._passing(None)
            parts = [sql.SQL(held + part) for part in index.parts]
        return Expected(passing, min(1.0, passing / max(every, 1.0)), parts)

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
        text, values = page(self._dialect, self._table, key, self._passing(where), ordered, place, limit, offset)
        return [key for (key,) in self._read(lambda c: c.execute(text.encode(), values).fetchall())]

    def facets(
        self, columns: Sequence[Column], where: Filter | None = None, *, most: int = 10, spans: Spans | None = None
    ) -> Facets:
        stored, names = stored_columns(columns, self._asked, self.spec), [column.name for column in columns]
        kept = None if where is None else stored_filter(where, self._asked, self.spec)
        passing_rows, dialect = self._passing(where), self._dialect
        used = {column.name for column in stored} | ({each.column for each in compares(kept)} if kept else set())

        def look(connection: Connection) -> Facets:
            index = self._facet_index(connection)
            part = index.fits if index is not None and used <= index.columns else ""
            passing = Passing(self._table, passing_rows, dialect, part)

            def ask(text: str, values: list[Any]) -> list[tuple[Any, ...]]:
                return connection.execute(text.encode(), values).fetchall()

            with one_snapshot(connection):
                return count_facets(ask, passing, stored, names, most, spans)

        return self._read(look)

    def _facet_index(self, connection: Connection) -> FacetIndex | None:
        """Looked up every few seconds only."""
        now = time.monotonic()
        if self._counts is None or now - self._counts[0] > INDEX_SECONDS:
            self._counts = now, facet_index.find(connection, self.names, self.spec)
        return self._counts[1]

    @cached_property
    def _dialect(self) -> Postgres:
        """Columns of the user's own table are of types that rowvec would not choose."""
        if self.names.column is None or not {ColumnType.NUMBER, ColumnType.ARRAY} & {
            c.type for c in self.spec.metadata
        }:
            return POSTGRES
        return Postgres(self._read(lambda c: schema.table_columns(c, self.names)))

    @property
    def _table(self) -> str:
        """Quoted, for a statement that is text."""
        return self.names.sql.as_string(None).replace("%", "%%")

    def _passing(self, where: Filter | None) -> Sql:
        """The rows `t` that a search compares."""
        held = f"{POSTGRES.name(self.names.own('embedding'), 't')} is not null"
        if where is None:
            return held, []
        text, values = compile_filter(stored_filter(where, self._asked, self.spec), self._dialect)
        return f"{held} and {text}", values

    def metadata(self, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, Mapping[str, Any]]:
        condition = self._condition(where)
        names = [column.name for column in self._asked.metadata]
        statement = self.index.table.statements.text(("metadata", condition.text), lambda: self._of_rows(condition))
        rows = self._read(lambda c: c.execute(statement, [list(keys), *condition.values]).fetchall())
        return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}

    def _of_rows(self, condition: Condition) -> sql.Composed:
        # A column of the user's own table may be of the type `money`.
        stored = [
            sql.SQL("{}::numeric" if column.type is ColumnType.DECIMAL else "{}").format(sql.Identifier(column.name))
            for column in self.spec.metadata
        ]
        return sql.SQL("select {} from {} t where {} = any(%s) and {}").format(
            sql.SQL(", ").join([sql.Identifier(self.spec.key), *stored]), self.names.sql, self._key, condition.sql
        )

    def texts(
        self, keys: Sequence[Key], vector: Vector | None = None, where: Filter | None = None
    ) -> dict[Key, StoredText]:
        if not keys:
            return {}
        condition = self._condition(where)
        value = None if vector is None else np.asarray(vector, dtype=np.float32)

        def look(connection: Connection) -> dict[Key, StoredText]:
            self._reads_texts = self._reads_texts or self.beside.readable(connection)
            if not self._reads_texts:
                return {}
            # One statement alone needs no transaction, which takes two round trips.
            with one_snapshot(connection) if self.spec.has_passages else nullcontext():
                return self.beside.read(connection, keys, DISTANCE[self.index.table.metric], value, condition)

        try:
            return self._read(look)
        except StoreError as error:
            if not isinstance(error.__cause__, (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege)):
                raise
        # They are not kept any more, or not for this role.
        self._reads_texts = False
        return self._read(look)

    def sample(self, most: int) -> list[tuple[bytes, Vector]]:
        # By their hash, which the index has in order: no row is more likely than another.
        statement = self._sql(
            "select distinct on ({text_hash}) {text_hash}, {embedding} from {table} where {embedding} is not null"
            " order by {text_hash} limit %s"
        )
        rows = self._read(lambda c: c.execute(statement, [most], binary=True).fetchall())
        return [(text_hash, as_array(vector)) for text_hash, vector in rows]

    def _sql(self, statement: str) -> sql.Composed:
        kind = sql.SQL(schema.KEY_TYPES[self.spec.key_type])
        return sql.SQL(statement).format(key=self._key, type=kind, **self.names.parts)


def as_array(value: Any) -> Vector:
    """pgvector's Vector or HalfVector as float32."""
    return np.asarray(value.to_numpy(), dtype=np.float32)
