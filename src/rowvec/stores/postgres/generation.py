"""The rows of one generation in PostgreSQL: what its ledger says, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.base import REPEATED_KEYS, TableSpec
from rowvec.stores.guarding import Refusal, Standing
from rowvec.stores.index import IndexSpec
from rowvec.stores.ledger import GenerationStatus, Repeated, Written
from rowvec.stores.postgres import books, guarding, schema
from rowvec.stores.postgres.arrays import key_array
from rowvec.stores.postgres.audit import PostgresAuditor
from rowvec.stores.postgres.books import Bookkeeping, Fence
from rowvec.stores.postgres.connect import single
from rowvec.stores.postgres.generations.columns import InPlaceWriter
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.part import PostgresPart
from rowvec.stores.postgres.rows import as_array
from rowvec.stores.postgres.sessions import Sessions
from rowvec.stores.postgres.writes import Writer
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.killpoints import Step, reached
from rowvec.types import Document, Entry, Failure, Key, Stored, TextVector, UnfitValue

Connection = psycopg.Connection[Any]

ROWS_AT_ONCE = 10_000
"""The words of each write are one segment of the keyword index: fewer and larger ones are written faster."""


class PostgresGeneration(PostgresPart):
    """See stores.base.GenerationHandle.

    Args:
        names, spec, asked, metric, storage, wanted, partial: see PostgresRows.
        location: for messages.
        fence: without which nothing is written.
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
        partial: str | None,
    ) -> None:
        super().__init__(sessions, names, spec, asked, metric=metric, storage=storage, wanted=wanted, partial=partial)
        self._books = Bookkeeping(scope, spec.pipeline, filling=names.scope)
        self._writer = (InPlaceWriter if names.column else Writer)(names, spec, storage)
        self._fence = fence
        self._location = location
        self._write = sessions.write

    def auditor(self) -> PostgresAuditor:
        return PostgresAuditor(self._sessions, self.index, self.names, self.spec)

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        # As many columns as Stored has fields, so that a row becomes one without a step of Python for each field.
        statement = sql.SQL(
            "select {key}, case when {embedding} is null then null else {text_hash} end, {row_hash}, null"
            " from {table} where {key} = any(%s::{type}[]) and {known}"
        ).format(key=self._key, type=sql.SQL(schema.KEY_TYPES[self.spec.key_type]), **self.names.parts)
        sought = key_array(keys)

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

    def written(self, keys: Sequence[Key]) -> dict[Key, Written]:
        moment = "updated_at" if self.names.column is None else "null::timestamp with time zone"
        statement = sql.SQL(
            "select {key}, {moment}, {truncated} from {table} where {key} = any(%s) and {embedding} is not null"
        ).format(key=self._key, moment=sql.SQL(moment), **self.names.parts)
        rows = self._read(lambda c: c.execute(statement, [list(keys)]).fetchall())
        return {key: Written(at, truncated) for key, at, truncated in rows}
