"""The rows of one generation in libSQL: hashes, vectors, failures, searches."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np

from rowvec.errors import StoreError
from rowvec.filters import Facets, Filter, Order, Place
from rowvec.stores.base import REPEATED_KEYS, LastWord, TableSpec
from rowvec.stores.columns import stored_columns, stored_filter, stored_order
from rowvec.stores.facet_sql import Passing, asks_twice, count_facets, page
from rowvec.stores.filter_sql import SQLITE
from rowvec.stores.guarding import Refusal, Standing
from rowvec.stores.ledger import GenerationStatus, Repeated, Written
from rowvec.stores.libsql import books, guarding, migrations, passages, search, words, write
from rowvec.stores.libsql.audit import LibsqlAuditor
from rowvec.stores.libsql.database import Database, Query, Statement, Values
from rowvec.stores.libsql.index import DiskannIndex
from rowvec.stores.libsql.lease import Lease
from rowvec.stores.libsql.part import LibsqlPart
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.values import key_in, quoted, value_out
from rowvec.stores.libsql.write import Filled
from rowvec.stores.part import Spans
from rowvec.stores.typical import Typical
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.keys import key_of
from rowvec.support.killpoints import Step, reached
from rowvec.types import (
    Column,
    ColumnType,
    Failure,
    Key,
    PastFailure,
    Ranked,
    Stored,
    StoredText,
    TextVector,
    UnfitValue,
    Vector,
)

_KEYS = 1000
"""Keys in one query."""


class LibsqlGeneration(LibsqlPart):
    """See stores.base.GenerationHandle.

    Args:
        tables: what belongs to it.
        spec: its columns as the table calls them; `asked`, as the user does.
        lease: without which nothing is written.
        location: for messages.
    """

    def __init__(
        self,
        database: Database,
        tables: Tables,
        spec: TableSpec,
        asked: TableSpec,
        metric: str,
        lease: Lease,
        location: str,
    ) -> None:
        self._database = database
        self._metric = metric
        self._lease = lease
        self._location = location
        self.tables = tables
        self.spec, self._asked = spec, asked
        self.index = DiskannIndex(database, tables, spec, metric)
        self._key = quoted(spec.key)
        self._words = words.KeptWords(database, tables, spec)
        self._typical = Typical(metric, lambda most: [vector for _, vector in self.sample(most)])

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        # As many columns as Stored has fields, so that a row becomes one without a step of Python for each field.
        sql = f"""select {self._key}, iif(embedding is null, null, text_hash),
                  iif(embedding is null, null, row_hash), null from {self.tables.vectors} where {self._key} in"""
        known: dict[Key, Stored] = {row[0]: tuple.__new__(Stored, row[1:]) for row in self._by_keys(sql, keys)}
        if not self._database.query(f"select 1 from {self.tables.failures} limit 1"):
            return known  # Most tables have none: to ask that first is cheaper than to look for every key.
        sql = f'select "key", text_hash, attempts, next_try from {self.tables.failures} where "key" in'
        for key, text_hash, attempts, next_try in self._by_keys(sql, keys):
            past = PastFailure(text_hash, attempts, dt.datetime.fromisoformat(next_try))
            known[key] = known.get(key, Stored(None, None))._replace(failure=past)
        return known

    def _by_keys(self, sql: str, keys: Sequence[Key], values: Values = ()) -> list[Values]:
        """The rows of a query that ends in `in`, after its own values; the first column of each is made a key again."""
        # One parameter, however many keys: to bind a thousand of them takes longer than to find their rows.
        sought = json.dumps(write.keys_in(keys))
        rows = self._database.query(f"{sql} (select value from json_each(?))", (*values, sought))
        # Integers and texts come as they are.
        if self.spec.key_type is not ColumnType.UUID:
            return rows
        return [(UUID(key), *rest) for key, *rest in rows]

    def vectors_of_texts(self, hashes: Sequence[bytes]) -> dict[bytes, TextVector]:
        found = {}
        for part in write.chunks(hashes, _KEYS):
            sql = f"""select text_hash, embedding, truncated from {self.tables.vectors}
                      where text_hash in ({write.marks(len(part))}) and embedding is not null"""
            values = tuple(part)
            if self.spec.has_passages:
                sql += f""" and rowid not in (select "row" from {self.tables.passages})
                    union all select text_hash, embedding, 0 from {self.tables.passages}
                    where text_hash in ({write.marks(len(part))})"""
                values += values
            for text, held, truncated in self._database.query(sql, values):
                found[text] = TextVector(np.frombuffer(held, "<f4"), bool(truncated))
        return found

    def keys(self, after: Key | None, limit: int) -> list[Key]:
        start = "" if after is None else "where {} > ?"
        bound = () if after is None else (key_in(after),)
        sql = f"""select {self._key} as k from {self.tables.vectors} {start.format(self._key)}
                  union select "key" from {self.tables.failures} {start.format('"key"')} order by k limit ?"""
        return [key_of(key, self.spec.key_type) for (key,) in self._database.query(sql, (*bound, *bound, limit))]

    def count(self) -> int:
        return int(self._database.query(f"select {self._counted}")[0][0])

    @property
    def _counted(self) -> str:
        return f"""(select count(*) from {self.tables.vectors}) + (select count(*) from {self.tables.failures}
                   where "key" not in (select {self._key} from {self.tables.vectors}))"""

    def standing(self) -> Standing:
        sql = f"""select n, since, said, exists (select 1 from rowvec_deletions where target = ? and rows = 0)
                  from (select {self._counted} as n) left join rowvec_refusals on target = ?"""
        rows, since, said, filling = self._database.query(sql, (self.tables.owner, self.tables.owner))[0]
        return Standing(rows, None if said is None else guarding.found_refusal(since, said), bool(filling))

    def refusal(self) -> Refusal | None:
        return guarding.refusal(self._database, self.tables)

    def write(self, batch: WriteBatch) -> int:
        self._lease.check()
        parts = [entry.vector for entry in batch.entries]
        parts += [passage.vector for entry in batch.entries for passage in entry.passages]
        for length in set(map(len, parts)):
            if length != self.spec.dimension:
                raise StoreError(
                    f"{self._location}: a vector of {length} dimensions, the table holds {self.spec.dimension}."
                )
        first = guarding.statements(self._database, self.tables, self.spec, batch)
        entries, after = write.entries(self.tables, self.spec, batch)
        filled = self._filled(batch)
        statements = [
            *first,
            *entries,
            *after,
            *write.others(self.tables, self.spec, batch, filled),
            *passages.statements(self.tables, self.spec, batch, filled),
            *self._words.statements(batch),
            *books.saving_progress(self.tables, batch),
        ]
        if not statements:
            return 0
        deleting = bool(batch.deletes)
        before = Step.DELETE_BEFORE_COMMIT if deleting else Step.WRITE_BEFORE_COMMIT
        try:
            guard = migrations.guard(self.tables, self._lease.token)
            changed = self._database.transact([*statements, guard], before_commit=lambda: reached(before))
        except StoreError as error:
            if not error.transient:
                migrations.explain(self._database, self._location, self.tables, self._lease.token)
                if batch.guard is not None:
                    guarding.explain(self._database, self.tables, error, self._location)
            raise
        reached(Step.DELETE_AFTER_COMMIT if deleting else Step.WRITE_AFTER_COMMIT)
        self._words.confirm()
        return len(batch.entries) - sum(changed[len(first) : len(first) + len(entries)])

    def _filled(self, batch: WriteBatch) -> Filled:
        """For a few rows, to ask costs more than to delete what is not there."""
        if len(batch) <= write.KEYS:
            return Filled()
        passages = f"exists (select 1 from {self.tables.passages})" if self.spec.has_passages else "0"
        sql = f"""select exists (select 1 from {self.tables.failures}),
                  exists (select 1 from rowvec_unfit where target = ?), {passages}"""
        return Filled(*map(bool, self._database.query(sql, (self.tables.owner,))[0]))

    def offsets(self) -> dict[str, str]:
        return books.offsets(self._database, self.tables)

    def positions(self, keys: Sequence[Key]) -> dict[Key, str]:
        return books.positions(self._database, self.tables.target, keys)

    def failures(self, limit: int | None = None) -> list[Failure]:
        sql = f"""select "key", error, attempts, failed_at, next_try, text_hash from {self.tables.failures}
                  order by failed_at desc, "key" limit ?"""
        when = dt.datetime.fromisoformat
        return [
            Failure(key_of(key, self.spec.key_type), error, attempts, when(failed), when(next_try), text_hash)
            for key, error, attempts, failed, next_try, text_hash in self._database.query(sql, (limit or -1,))
        ]

    def unfit(self, keys: Sequence[Key] | None = None, limit: int | None = None) -> list[UnfitValue]:
        rows: list[Values] = []
        sql = 'select "key", "column", reason from rowvec_unfit where target = ?'
        if not migrations.has_unfit(self._database):
            return []  # A store that no sync of this version has filled yet.
        if keys is None:
            rows = self._database.query(f'{sql} order by "column", "key" limit ?', (self.tables.owner, limit or -1))
        for part in write.chunks(keys or (), _KEYS):
            values = (self.tables.owner, *map(str, part))
            rows += self._database.query(f'{sql} and "key" in ({write.marks(len(part))})', values)
        return [UnfitValue(key_of(key, self.spec.key_type), column, reason) for key, column, reason in rows][:limit]

    def status(self) -> GenerationStatus:
        vectors, failures = self.tables.vectors, self.tables.failures
        sql = f"""select (select count(*) from {vectors} where embedding is not null),
                  (select count(*) from {failures}),
                  (select count(*) from {failures} where "key" in (select {self._key} from {vectors})),
                  (select count(*) from {vectors} where truncated),
                  (select page_count * page_size from pragma_page_count(), pragma_page_size()),
                  sqlite_version()"""
        rows, failed, stale, truncated, size, version = self._database.query(sql)[0]
        found = self.index.status()
        unfit = 0
        if migrations.has_unfit(self._database):
            count = "select count(*) from rowvec_unfit where target = ?"
            unfit = self._database.query(count, (self.tables.owner,))[0][0]
        parts = divided = 0
        if self.spec.has_passages:
            sql = f'select count(*), count(distinct "row") from {self.tables.passages}'
            parts, divided = self._database.query(sql)[0]
        index = found[0] if found else None
        return GenerationStatus(rows, failed, stale, truncated, size, parts, divided, unfit, index, f"SQLite {version}")

    def truncated(self, limit: int) -> list[Key]:
        sql = f"select {self._key} from {self.tables.vectors} where truncated order by {self._key} limit ?"
        return [key_of(key, self.spec.key_type) for (key,) in self._database.query(sql, (limit,))]

    def repeated(self, limit: int) -> list[Repeated]:
        table = self.tables.vectors
        sql = f"""select text_hash, count(*) from {table} where embedding is not null
                  group by text_hash having count(*) > 1 order by 2 desc, min({self._key}) limit ?"""
        some = f"select {self._key} from {table} where text_hash = ? order by {self._key} limit ?"
        return [
            Repeated(
                rows,
                tuple(
                    key_of(key, self.spec.key_type) for (key,) in self._database.query(some, (text_hash, REPEATED_KEYS))
                ),
            )
            for text_hash, rows in self._database.query(sql, (limit,))
        ]

    def vector(self, key: Key, where: Filter | None = None) -> Vector | None:
        extra, more = self._condition(where)
        sql = f"select embedding from {self.tables.vectors} as t where {self._key} = ?{extra}"
        found = self._database.query(sql, (key_in(key), *more))
        return np.frombuffer(found[0][0], "<f4") if found and found[0][0] is not None else None

    def vectors(self, after: Key | None, limit: int, where: Filter | None = None) -> list[tuple[Key, Vector]]:
        extra, more = self._condition(where)
        start, bound = ("", ()) if after is None else (f"and {self._key} > ?", (key_in(after),))
        sql = f"""select {self._key}, embedding from {self.tables.vectors} as t
                  where embedding is not null{extra} {start} order by {self._key} limit ?"""
        found = self._database.query(sql, (*more, *bound, limit))
        return [(key_of(key, self.spec.key_type), np.frombuffer(vector, "<f4")) for key, vector in found]

    def nearest(self, vector: Vector, limit: int, where: Filter | None = None, *, exact: bool = False) -> Ranked:
        if where is None and not exact:
            found = self.index.nearest(vector, limit)
            if found is not None:
                return found
        return search.scan(self._database, self.tables, self.spec, self._metric, vector, limit, self._filter(where))

    def similarities(self, vector: Vector, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, float]:
        if not keys:
            return {}
        condition = self._filter(where)
        return search.similarities(self._database, self.tables, self.spec, self._metric, vector, keys, condition)

    def typical(self, vector: Vector) -> float | None:
        return self._typical.similarity(vector)

    def keyword(self, query: str, limit: int, where: Filter | None = None, *, last: LastWord | None = None) -> Ranked:
        return search.keyword(self._database, self.tables, self.spec, query, limit, self._filter(where), last)

    def holding(self, words: Sequence[str]) -> dict[str, int]:
        return search.holding(self._database, self.tables, self.spec, words)

    def kept_words(self, known: Collection[int] = ()) -> dict[int, str] | None:
        return self._words.parts(known)

    def _filter(self, where: Filter | None) -> Filter | None:
        return None if where is None else stored_filter(where, self._asked, self.spec)

    def _condition(self, where: Filter | None) -> tuple[str, Values]:
        return search.condition(self._filter(where))

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
        place = None if after is None else (after, key_in(after.key))
        condition, table = search.passing(self._filter(where)), self.tables.vectors
        sql, values = page(SQLITE, table, f"t.{self._key}", condition, ordered, place, limit, offset)
        return [key_of(key, self.spec.key_type) for (key,) in self._database.query(sql, tuple(values))]

    def facets(
        self, columns: Sequence[Column], where: Filter | None = None, *, most: int = 10, spans: Spans | None = None
    ) -> Facets:
        passing = Passing(self.tables.vectors, search.passing(self._filter(where)), SQLITE)
        stored = stored_columns(columns, self._asked, self.spec)
        names = [column.name for column in columns]

        def count(query: Query) -> Facets:
            return count_facets(lambda sql, values: query(sql, tuple(values)), passing, stored, names, most, spans)

        twice = spans is None and asks_twice(stored)
        return self._database.in_one_snapshot(count) if twice else count(self._database.query)

    def metadata(self, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, Mapping[str, Any]]:
        extra, more = self._condition(where)
        columns = self.spec.metadata
        names = ", ".join([self._key, *(quoted(column.name) for column in columns)])
        sql = f"select {names} from {self.tables.vectors} as t where true{extra} and {self._key} in"
        asked = [column.name for column in self._asked.metadata]
        return {
            key: {name: value_out(value, column) for name, value, column in zip(asked, values, columns, strict=True)}
            for key, *values in self._by_keys(sql, keys, more)
        }

    def written(self, keys: Sequence[Key]) -> dict[Key, Written]:
        sql = f"select {self._key}, updated_at, truncated from {self.tables.vectors} where {self._key} in"
        return {
            key: Written(dt.datetime.fromisoformat(at), bool(truncated))
            for key, at, truncated in self._by_keys(sql, keys)
        }

    def texts(
        self, keys: Sequence[Key], vector: Vector | None = None, where: Filter | None = None
    ) -> dict[Key, StoredText]:
        condition = self._condition(where)
        return passages.texts(self._database, self.tables, self.spec, self._metric, keys, vector, condition)

    def tidied(self) -> list[Statement]:
        """The statements that make few what many writes have left behind."""
        return self._words.tidied()

    def auditor(self) -> LibsqlAuditor:
        return LibsqlAuditor(self._database, self.tables, self.index, self.spec)
