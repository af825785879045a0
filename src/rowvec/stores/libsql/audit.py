"""A libSQL vector table looked at from the inside: what `rowvec audit` needs to know of it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rowvec.stores.auditor import Drift, Fault, Seen
from rowvec.stores.base import TableSpec
from rowvec.stores.libsql import passage_audit, schema, write
from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.index import DiskannIndex
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.values import quoted, row_in
from rowvec.support.figures import count
from rowvec.support.keys import key_of
from rowvec.types import Document, Key, PastFailure

_KEYS = 500
"""Rows in one query."""


class LibsqlAuditor:
    """See stores.audited.Auditor.

    Args:
        tables: of the live generation.
        index: that of the same.
    """

    def __init__(self, database: Database, tables: Tables, index: DiskannIndex, spec: TableSpec) -> None:
        self._database = database
        self._tables = tables
        self._index = index
        self._spec = spec
        self._key = quoted(spec.key)

    # Rows

    def inspect(self, documents: Sequence[Document], *, vectors: bool = False) -> dict[Key, Seen]:
        found: dict[Key, Seen] = {}
        for part in write.chunks(documents, _KEYS):
            by_key = {document.key: document for document in part}
            for key, *row in self._rows(list(by_key), vectors=vectors):
                found[key] = self._seen(row, by_key[key])
            for key, failure in self._failures(list(by_key)):
                found[key] = found.get(key, Seen())._replace(failure=failure)
        return found

    def _rows(self, keys: Sequence[Key], *, vectors: bool) -> list[list[Any]]:
        size = 4 * self._spec.dimension
        metadata = "".join(f", {quoted(column.name)}" for column in self._spec.metadata)
        # The distance to the origin is the norm. It is null for NaN; infinity does not travel over HTTP.
        sql = f"""select {self._key}, {"embedding" if vectors else "null"}, embedding is not null,
                iif(typeof(embedding) = 'blob', length(embedding), 0),
                iif(typeof(embedding) = 'blob' and length(embedding) = {size},
                    nullif(min(vector_distance_l2(embedding, ?), 1e300), 1e300), null),
                text_hash, row_hash{metadata}
            from {self._tables.vectors} where {self._key} in ({write.marks(len(keys))})"""
        rows = self._database.query(sql, (bytes(size), *write.keys_in(keys)))
        return [[key_of(key, self._spec.key_type), *rest] for key, *rest in rows]

    def _seen(self, row: Sequence[Any], document: Document) -> Seen:
        embedding, present, length, norm, text_hash, row_hash, *metadata = row
        if not present:
            return Seen(None, row_hash)
        fits = length == 4 * self._spec.dimension
        return Seen(
            text_hash,
            row_hash,
            0 if length % 4 else length // 4,
            math.nan if fits and norm is None else norm or 0.0,
            tuple(metadata) == row_in(document.metadata, self._spec.metadata, document.key),
            vector=np.frombuffer(embedding, "<f4") if embedding is not None and fits else None,
        )

    def _failures(self, keys: Sequence[Key]) -> list[tuple[Key, PastFailure]]:
        sql = f"""select "key", text_hash, attempts, next_try from {self._tables.failures}
                  where "key" in ({write.marks(len(keys))})"""
        return [
            (key_of(key, self._spec.key_type), PastFailure(text, attempts, dt.datetime.fromisoformat(due)))
            for key, text, attempts, due in self._database.query(sql, write.keys_in(keys))
        ]

    def forget(self, keys: Sequence[Key]) -> None:
        for part in write.chunks(keys, _KEYS):
            update = f"update {self._tables.vectors} set row_hash = zeroblob(16) where {self._key} in"
            self._database.transact([Statement(f"{update} ({write.marks(len(part))})", write.keys_in(part))])

    # The store by itself

    def faults(self, most: int) -> list[Fault]:
        found = []
        if self._spec.language is not None and schema.columns_of(self._database, self._known_words):
            found = [*self._words_amiss(most)]
        found += passage_audit.faults(self._database, self._tables, self._spec, most)
        return [*found, *self._index_amiss()]

    def repair(self, fault: Fault) -> None:
        if fault.drift is Drift.INDEX:
            self._index.drop()
            self._index.build()
        elif fault.drift is Drift.LOST_WORDS:
            keywords = self._tables.keywords
            self._database.transact([Statement(f"delete from {keywords} where rowid in (select id {self._lost})")])
        elif fault.drift is Drift.LOST_PASSAGES:
            self._database.transact(passage_audit.without_row(self._database, self._tables))

    @property
    def _known_words(self) -> str:
        """The table in which FTS5 keeps the length of each text, so one row for each that it holds; not quoted."""
        return f"{self._tables.plain('keywords')}_docsize"

    @property
    def _lost(self) -> str:
        vectors = self._tables.vectors
        return f"""from {quoted(self._known_words)} as d
            where not exists (select 1 from {vectors} as t where t.rowid = d.id)"""

    def _words_amiss(self, most: int) -> list[Fault]:
        without = f"""from {self._tables.vectors} as t where embedding is not null
            and not exists (select 1 from {quoted(self._known_words)} as d where d.id = t.rowid)"""
        found = []
        for drift, key, condition in ((Drift.NO_WORDS, self._key, without), (Drift.LOST_WORDS, "id", self._lost)):
            rows = self._database.query(f"select {key}, count(*) over () {condition} limit ?", (most,))
            if rows:
                keys = [row[0] if key == "id" else key_of(row[0], self._spec.key_type) for row in rows]
                found.append(Fault(drift, rows[0][1], keys))
        return found

    def _index_amiss(self) -> list[Fault]:
        if not self._index.status():
            return []
        side, sources = self._tables.named("distinct"), self._index.sources
        wanted = [self._tables.index, self._tables.plain("distinct"), *self._index.triggers]
        held = f"select name from sqlite_master where name in ({write.marks(len(wanted))})"
        missing = set(wanted) - {name for (name,) in self._database.query(held, tuple(wanted))}
        if missing:
            return [Fault(Drift.INDEX, len(missing), detail=f"incomplete: {', '.join(sorted(missing))} not there")]
        absent = " + ".join(
            f"""(select count(*) from {table} as t left join {side} as d on d.vector_hash = t.vector_hash
                where t.embedding is not null and d.embedding is not t.embedding)"""
            for table in sources
        )
        without = " and ".join(
            f"""not exists
                (select 1 from {table} as t where t.vector_hash = d.vector_hash and t.embedding is not null)"""
            for table in sources
        )
        sql = f"""select {absent},
            (select count(vector_hash) from {side} as d not indexed where {without}),
            (select count(vector_hash) from {side} not indexed),
            (select count(*) from {quoted(self._tables.index + "_shadow")})"""
        lacking, lost, distinct, indexed = self._database.query(sql)[0]
        if not lacking and not lost and distinct == indexed:
            return []
        entries = count(lost, "entry", "entries")
        detail = f"{count(lacking, 'row')} not in it, {entries} without a row, {indexed:,} of {distinct:,} indexed"
        return [Fault(Drift.INDEX, 1, detail=detail)]
