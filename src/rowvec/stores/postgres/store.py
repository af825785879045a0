"""Vectors in PostgreSQL with pgvector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from rowvec.errors import SearchError, StoreError
from rowvec.filters import Filter, bind
from rowvec.stores.base import Ledger, TableSpec
from rowvec.stores.filter_sql import POSTGRES, compile_filter
from rowvec.stores.migrations import latest
from rowvec.stores.postgres import checks, figures, limits, migrations, runs, schema
from rowvec.stores.postgres.audit import PostgresAuditor
from rowvec.stores.postgres.bookkeeping import Bookkeeping
from rowvec.stores.postgres.connect import (
    describe,
    knows_vectors,
    single,
)
from rowvec.stores.postgres.generations import followers
from rowvec.stores.postgres.generations.changeover import Changeover
from rowvec.stores.postgres.generations.columns import InPlaceGenerations, InPlaceWriter
from rowvec.stores.postgres.generations.tables import Generations, keywords
from rowvec.stores.postgres.keyword_index.index import KeywordIndex
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.sessions import POOLER, Sessions
from rowvec.stores.postgres.vector_index.index import IndexSpec
from rowvec.stores.postgres.vector_index.indexes import Indexes
from rowvec.stores.postgres.vector_index.nearest import Condition, VectorTable, nearest
from rowvec.stores.postgres.writes import Writer
from rowvec.support.killpoints import Step, reached
from rowvec.types import (
    Check,
    ColumnType,
    Document,
    Failure,
    Generation,
    Key,
    Ranked,
    Report,
    Run,
    State,
    Stored,
    TextVector,
    Vector,
    WriteBatch,
)

Connection = psycopg.Connection[Any]
DEFAULT_INDEX = IndexSpec()


class PostgresStore:
    """The table `schema.table` of one database; see stores.base.Store for the contract.

    Args:
        url: a libpq URL or key=value string.
        metric: "cosine", "l2" or "ip".
        storage: "vector" (4 bytes a number) or "halfvec" (2 bytes).
        column: of the vectors, where `table` is one of the user's own (see stores.postgres.inplace).
        create_extension: install pgvector in the database when it is available and missing.
        index: built after the first sync that leaves AUTO_ROWS rows or more; None for never.
        readers: so many threads can search at once.
        statement_seconds: a search that takes longer is cancelled.
    """

    divides_work = True
    layout = latest(migrations.MIGRATIONS)

    def __init__(
        self,
        url: str,
        table: str,
        *,
        pipeline: str,
        metric: str = "cosine",
        storage: str = "vector",
        column: str | None = None,
        create_extension: bool = True,
        index: IndexSpec | None = DEFAULT_INDEX,
        readers: int = 2,
        statement_seconds: float | None = None,
    ) -> None:
        self._url = url
        self._live = Names.parse(table, column)
        self._target = self._live
        self._metric = metric
        self._storage = storage
        self._create_extension = create_extension
        self._books = Bookkeeping(self._live.scope, pipeline)
        self._spec: TableSpec | None = None
        generations = InPlaceGenerations if column else Generations
        self._generations = generations(self._live, self._books, storage, f"{self._live.scope} in {describe(url)}")
        self._writer: Writer | None = None
        self._words: KeywordIndex | None = None
        self.location = f"{self._live.scope} in {describe(url)}"
        self._sessions = Sessions(
            url, self._live.scope, self.location, pipeline, readers=readers, statement_seconds=statement_seconds
        )
        self.indexes = Indexes(self._sessions, self._vector_table, index)
        self._changeover = Changeover(self._sessions, self._generations, self.location)
        self._read = self._sessions.read
        self._write = self._sessions.write

    def close(self) -> None:
        self._sessions.close()

    # The table

    @property
    def spec(self) -> TableSpec:
        if self._spec is None:
            raise StoreError(f"{self.location} was not prepared.")
        return self._spec

    @property
    def _key(self) -> sql.Identifier:
        return sql.Identifier(self.spec.key)

    def ledger(self) -> Ledger:
        def look(connection: Connection) -> Ledger:
            if not self._generations.usable(connection, self._live):
                return Ledger(exists=False)
            looked = sql.SQL("select exists (select from {table} where {known})").format(**self._live.parts)
            filled = single(connection.execute(looked))[0]
            live = self._books.live(connection)
            return Ledger(True, filled, *live[:4]) if live else Ledger(True, filled)

        return self._read(look)

    def attach(self, spec: TableSpec) -> bool:
        schema.check_names(spec, self._live)
        found = self._read(lambda c: self._generations.existing(c, spec.fingerprint))
        self._aim(spec, found or self._live)
        return found is not None

    def _aim(self, spec: TableSpec, target: Names) -> None:
        self._spec = spec
        self._target = target
        self._books.filling = target.scope
        self.indexes.forget()
        self._writer = (InPlaceWriter if target.column else Writer)(target, spec, self._storage)
        self._words = None if spec.language is None else keywords(target, spec)

    def prepare(self, spec: TableSpec) -> None:
        schema.check_names(spec, self._live)

        def make(connection: Connection) -> bool:
            new = not knows_vectors(connection)
            schema.ensure_extension(connection, self.location, create=self._create_extension)
            migrations.upgrade(connection, self.location, create=True)
            added = self._generations.make_way(connection, spec)
            with connection.transaction():
                target = self._generations.open(connection, spec)
            schema.index_adopted(connection, target, spec, added)
            self._aim(spec, target)
            return new

        if self._write(make):
            self._sessions.refresh()

    def activate(self, spec: TableSpec) -> None:
        words = self._words
        if words is not None and self._write(words.needs_rebuild):
            self._write(words.rebuild)
        if self._target != self._live:
            self._write(lambda c: followers.copy_indexes(c, self._live, self._target))
        self.indexes.ensure(self._vector_table(self._target), like=self._live)
        self.indexes.analyse(self._target)
        self._changeover.finish(self._target, spec)
        self._aim(spec, self._live)

    def live_version(self) -> str:
        return self._read(self._books.version, settings=False)

    def generations(self, spec: TableSpec) -> list[Generation]:
        return self._read(lambda c: self._generations.listed(c, spec))

    def rollback(self, spec: TableSpec) -> None:
        self._changeover.rollback(spec)
        self._aim(spec, self._live)

    def drop_generation(self, state: State, spec: TableSpec) -> None:
        self._changeover.drop(state, spec)
        self._aim(spec, self._live)

    def checks(self, spec: TableSpec) -> list[Check]:
        schema.check_names(spec, self._live)
        first = [Check("store", True, f"connected to {describe(self._url)}")]
        pooler = self._sessions.pooler()
        if pooler is not None:
            return [*first, Check("pooler", False, f"{pooler}: searches work, a sync does not.", POOLER)]

        def look(connection: Connection) -> list[Check]:
            lines = first + limits.checks(connection)
            version = schema.ensure_extension(connection, self.location, create=self._create_extension)
            words = None if spec.language is None else keywords(self._live, spec)
            lines += [checks.extension(version), *checks.kept(connection, words)]
            return [*lines, self._generations.check(connection, spec)]

        return self._write(look)

    def apply(self, spec: TableSpec) -> list[str]:
        """Bring the books up to date, and make the columns that a table of the user's own lacks.

        Returns:
            What was done.

        Raises:
            StoreError: the role does not own the table, or a newer rowvec has changed the books.
        """

        def alter(connection: Connection) -> list[str]:
            schema.ensure_extension(connection, self.location, create=self._create_extension)
            done = migrations.upgrade(connection, self.location, create=False)
            return done + self._generations.apply(connection, spec)

        return self._write(alter)

    def lock(self, part: str | None = None) -> AbstractContextManager[None]:
        return self._sessions.lock(part)

    def auditor(self, spec: TableSpec) -> PostgresAuditor:
        return PostgresAuditor(self._sessions, self.indexes, self._live, spec, self._storage)

    # The ledger

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        # As many columns as Stored has fields, so that a row becomes one without a step of Python for each field.
        statement = sql.SQL(
            "select {key}, case when {embedding} is null then null else {text_hash} end, {row_hash}, null"
            " from {table} where {key} = any(%s::{type}[]) and {known}"
        ).format(key=self._key, type=sql.SQL(schema.KEY_TYPES[self.spec.key_type]), **self._target.parts)
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
        statement = sql.SQL(
            "select distinct on ({text_hash}) {text_hash}, {embedding}, {truncated} from {table}"
            " where {text_hash} = any(%s) and {embedding} is not null"
        ).format(**self._target.parts)
        rows = self._read(lambda c: c.execute(statement, [list(hashes)], binary=True).fetchall())
        return {text_hash: TextVector(as_array(vector), truncated) for text_hash, vector, truncated in rows}

    def keys(self, after: Key | None, limit: int) -> list[Key]:
        bound = sql.SQL("where key > %s") if after is not None else sql.SQL("")
        statement = sql.SQL("select key from ({all}) known {bound} order by key limit %s").format(
            all=self._known(), bound=bound
        )
        values = [self._target.scope, limit] if after is None else [self._target.scope, after, limit]
        return [key for (key,) in self._read(lambda c: c.execute(statement, values).fetchall())]

    def count(self) -> int:
        statement = sql.SQL("select count(*) from ({}) known").format(self._known())
        return int(self._read(lambda c: single(c.execute(statement, [self._target.scope])))[0])

    def _known(self) -> sql.Composed:
        """Every key of the table, and those that are known as failures only."""
        return sql.SQL(
            "select {key} as key from {table} where {known} union all"
            " select f.key::{type} from rowvec.failures f where scope = %s"
            " and not exists (select from {table} where {key} = f.key::{type} and {known})"
        ).format(key=self._key, type=sql.SQL(schema.KEY_TYPES[self.spec.key_type]), **self._target.parts)

    def write(self, batch: WriteBatch) -> int:
        writer = self._writer
        assert writer is not None

        def work(connection: Connection) -> int:
            with connection.transaction():
                migrations.guard(connection, self.location)
                written = writer.write_entries(connection, batch.entries) if batch.entries else []
                updated = writer.write_metadata(connection, batch.updates) if batch.updates else []
                if batch.deletes:
                    writer.delete(connection, batch.deletes)
                well = [entry.document.key for entry in written] + updated + batch.deletes + batch.recovered
                self._books.clear_failures(connection, well)
                if self._words is not None:
                    texts = [entry.document for entry in written] + self._without_words(connection, batch.updates)
                    self._words.upsert(connection, [each.key for each in texts], [each.text for each in texts])
                    self._words.delete(connection, batch.deletes)
                if batch.failures:
                    self._books.add_failures(connection, batch.failures)
                self._books.save_progress(connection, batch.positions, batch.offsets)
                reached(Step.DELETE_BEFORE_COMMIT if batch.deletes else Step.WRITE_BEFORE_COMMIT)
            reached(Step.DELETE_AFTER_COMMIT if batch.deletes else Step.WRITE_AFTER_COMMIT)
            return len(batch.entries) - len(written)

        return self._write(work)

    def _without_words(self, connection: Connection, documents: Sequence[Document]) -> list[Document]:
        """Those that a keyword index made later than their vectors has not seen."""
        if self._words is None or not documents:
            return []
        known = self._words.known(connection, [document.key for document in documents])
        return [document for document in documents if document.key not in known]

    def offsets(self) -> dict[str, str]:
        return self._read(self._books.offsets)

    def positions(self, keys: Sequence[Key]) -> dict[Key, str]:
        return self._read(lambda c: self._books.positions(c, keys))

    # Runs and failures

    def begin_run(self) -> int:
        return self._write(lambda c: runs.begin(c, self._books.scope, self._books.pipeline))

    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> None:
        reached(Step.BEFORE_RUN_RECORD)
        self._write(lambda c: runs.save(c, run, report, outcome, error))
        reached(Step.AFTER_RUN_RECORD)

    def runs(self, limit: int = 10) -> list[Run]:
        scope, is_held = self._books.scope, self._sessions.is_held
        return self._read(lambda c: runs.latest(c, scope, limit, locked=is_held(c)))

    def failures(self, limit: int | None = None) -> list[Failure]:
        return self._read(lambda c: self._books.failures(c, limit, self.spec.key_type))

    def status(self) -> Mapping[str, Any]:
        return self._read(lambda c: figures.of_table(c, self._live, self.spec.key))

    # Search

    def vector(self, key: Key) -> Vector | None:
        statement = sql.SQL("select {embedding} from {table} where {key} = %s").format(
            key=self._key, **self._live.parts
        )
        row = self._read(lambda c: c.execute(statement, [key], binary=True).fetchone())
        return None if row is None or row[0] is None else as_array(row[0])

    def vectors(self, after: Key | None, limit: int) -> list[tuple[Key, Vector]]:
        bound = sql.SQL("and {key} > %s" if after is not None else "").format(key=self._key)
        statement = sql.SQL(
            "select {key}, {embedding} from {table} where {embedding} is not null {bound} order by {key} limit %s"
        ).format(key=self._key, bound=bound, **self._live.parts)
        values = [limit] if after is None else [after, limit]
        rows = self._read(lambda c: c.execute(statement, values, binary=True).fetchall())
        return [(key, as_array(vector)) for key, vector in rows]

    def nearest(
        self, vector: Vector, limit: int, where: Filter | None = None, *, exact: bool = False, filled: bool = False
    ) -> Ranked:
        value: Vector = np.asarray(vector, dtype=np.float32)
        condition = None if where is None else self._condition(where)

        def look(connection: Connection) -> Ranked:
            index = None if exact or filled else self.indexes.usable(connection)
            table = self._vector_table(self._target if filled else self._live)
            return nearest(connection, table, value, limit, condition, index)

        return self._read(look)

    def _vector_table(self, names: Names | None = None) -> VectorTable:
        return VectorTable(names or self._live, self._key, self._metric, self._storage, self.spec.dimension)

    def _condition(self, where: Filter) -> Condition:
        text, values = compile_filter(bind(where, self.spec.metadata), POSTGRES)
        return Condition(sql.SQL(text), values)

    def keyword(self, query: str, limit: int, where: Filter | None = None) -> Ranked:
        if self.spec.language is None:
            raise SearchError("This pipeline has no keyword index.", hint='Set store.language, such as "english".')
        condition = None if where is None else self._condition(where)
        words = keywords(self._live, self.spec)

        def look(connection: Connection) -> list[tuple[Key, float]]:
            if condition is None:
                return words.search(connection, query, limit)
            return words.search(connection, query, limit, condition.sql, condition.values)

        hits = self._read(look)
        return Ranked([key for key, _ in hits], [score for _, score in hits], exact=True, complete=True)

    def metadata(self, keys: Sequence[Key]) -> dict[Key, Mapping[str, Any]]:
        names = [column.name for column in self.spec.metadata]
        statement = sql.SQL("select {} from {} where {} = any(%s)").format(
            sql.SQL(", ").join(map(sql.Identifier, [self.spec.key, *names])), self._live.sql, self._key
        )
        rows = self._read(lambda c: c.execute(statement, [list(keys)]).fetchall())
        return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}


def as_array(value: Any) -> Vector:
    """pgvector's Vector or HalfVector as float32."""
    return np.asarray(value.to_numpy(), dtype=np.float32)
