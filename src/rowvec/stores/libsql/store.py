"""The libSQL store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from rowvec.errors import ConfigError, StoreError
from rowvec.filters import Filter
from rowvec.stores.base import Ledger, TableSpec
from rowvec.stores.libsql import migrations, progress, runs, schema, search, write
from rowvec.stores.libsql.audit import LibsqlAuditor
from rowvec.stores.libsql.database import Database, Statement, Values
from rowvec.stores.libsql.generations import Generations
from rowvec.stores.libsql.index import IndexCost, VectorIndex
from rowvec.stores.libsql.lease import Lease
from rowvec.stores.libsql.local import LocalDatabase
from rowvec.stores.libsql.remote import RemoteDatabase, is_remote
from rowvec.stores.libsql.values import key_in, key_out, quoted, value_out
from rowvec.stores.migrations import OLDER_WORDS
from rowvec.support.killpoints import Step, reached
from rowvec.types import (
    Check,
    Failure,
    Generation,
    Key,
    PastFailure,
    Progress,
    Ranked,
    Report,
    Run,
    State,
    Stored,
    TextVector,
    Vector,
    WriteBatch,
)

_KEYS = 1000
"""Keys in one query."""


class LibsqlStore:
    """Vectors in a libSQL file, or in Turso or sqld over HTTP; see `rowvec.stores.base.Store`.

    Args:
        url: a path or `file:` URI; or `libsql://`, `https://` or `http://` and a host.
        table: the vector table.
        metric: cosine, l2 or ip.
        token: for a remote database; `?authToken=` in the URL does too.
    """

    def __init__(self, url: str, *, table: str, metric: str = "cosine", token: str | None = None) -> None:
        if metric not in search.METRICS:
            raise ConfigError(f"There is no metric {metric!r}.", hint=f"Use one of {', '.join(search.METRICS)}.")
        self._database: Database = RemoteDatabase(url, token) if is_remote(url) else LocalDatabase(url)
        self._generations = Generations(self._database, table, metric)
        self._lease = Lease(self._database, table)
        self._target = table
        self._prepared: TableSpec | None = None
        self.metric = metric
        self._aim(schema.Tables(table), schema.Tables(table))
        self.location = f"{self._database.location}, table {table}"

    @property
    def _spec(self) -> TableSpec:
        if self._prepared is None:
            raise StoreError(f"{self.location}: the store was not prepared.", hint="Call prepare() first.")
        return self._prepared

    @property
    def _key(self) -> str:
        return quoted(self._spec.key)

    def _aim(self, tables: schema.Tables, live: schema.Tables) -> None:
        self._tables = tables
        self._live = live
        self._index = VectorIndex(self._database, live, self.metric)

    def ledger(self) -> Ledger:
        return self._generations.ledger()

    def attach(self, spec: TableSpec) -> bool:
        schema.check_names(spec, self.location)
        tables = self._generations.existing(spec)
        self._prepared = spec
        self._look(tables)
        return tables is not None

    def _look(self, tables: schema.Tables | None) -> None:
        """Take the names of the live generation, which is also the one to fill unless `tables` says otherwise."""
        known = self._generations.read() if self._database.exists() else {}
        live = self._generations.tables(known.get("live"))
        self._aim(tables or live, live)

    def prepare(self, spec: TableSpec) -> None:
        """Writes only where something is missing: a database that may only be read can be searched."""
        if not self._database.exists():
            self._database.create()
        self._database.query("select vector_distance_cos(?, ?)", (_ONE, _ONE))
        migrations.upgrade(self._database)
        self._settle(lambda: self._generations.preparation(spec)[1])
        self._prepared = spec
        self._look(self._generations.preparation(spec)[0])

    def activate(self, spec: TableSpec) -> None:
        if self._tables.state == "next" and self._index.describe() is not None:
            # Before the swap: searches must not become slow by it.
            following = VectorIndex(self._database, self._tables, self.metric)
            if following.describe() is None:
                following.create(spec, None)
        self._settle(lambda: self._generations.completion(spec, self._tables))
        self._look(None)

    def live_version(self) -> str:
        return self._generations.live_version()

    def generations(self, spec: TableSpec) -> list[Generation]:
        return self._generations.listed(spec.key)

    def rollback(self, spec: TableSpec) -> None:
        self._lease.check()
        before = self.live_version()
        try:
            self._database.transact(self._generations.rollback())
        except StoreError:
            if self.live_version() == before:
                raise
        self.attach(spec)

    def drop_generation(self, state: State, spec: TableSpec) -> None:
        if state is State.LIVE:
            raise StoreError(f"{self.location}: the live generation is what searches see: it is not dropped.")
        self._lease.check()
        name = "next" if state is State.BUILDING else "previous"
        self._database.transact(self._generations.dropping(name, state))
        self.attach(spec)

    def _settle(self, needed: Callable[[], list[Statement]]) -> None:
        """Carry out what is needed. An error counts only if something is still needed after it: one that comes from
        trying again what had been done, its answer lost, does not."""
        statements = needed()
        if not statements:
            return
        self._database.create()
        try:
            self._database.transact(statements)
        except StoreError:
            if needed():
                raise

    def checks(self, spec: TableSpec) -> list[Check]:
        schema.check_names(spec, self.location)

        def check(what: str, look: Callable[[], Any]) -> Check:
            try:
                return Check(what, True, str(look()))
            except StoreError as error:
                return Check(what, False, error.message, error.hint)

        ask = self._database.query
        if not self._database.exists():
            return [Check("store", True, f"{self.location}: will be made by the first sync")]
        checks = [check("store", lambda: f"{self.location}: SQLite {ask('select sqlite_version()')[0][0]}")]
        if checks[0].ok:
            checks += [
                migrations.line(self._database),
                check("vector functions", lambda: ask("select vector_distance_cos(?, ?)", (_ONE, _ONE)) and "present"),
                check("table", lambda: self._fit(spec)),
                check("vector index", lambda: "possible" if self._index.possible() else "none on this engine"),
            ]
            if spec.language is not None:
                made, fix = f"FTS5, {schema.tokenizer(spec.language)}", None
                if self._generations.has_other_words(spec):
                    made, fix = OLDER_WORDS
                checks.append(Check("keywords", True, made, fix))
        return checks

    def apply(self, spec: TableSpec) -> list[str]:
        """Bring rowvec's own tables up to date; returns what was done."""
        return migrations.upgrade(self._database) if self._database.exists() else []

    def _fit(self, spec: TableSpec) -> str:
        tables, needed = self._generations.preparation(spec)
        if needed and tables.state == "next":
            return f"{self._target} is of another model; sync builds the new one beside it"
        return f"{self._target} will be made or brought up to date" if needed else f"{self._target} fits"

    def lock(self) -> AbstractContextManager[None]:
        return self._lease.hold()

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Stored]:
        sql = f"""select {self._key}, iif(embedding is null, null, text_hash), iif(embedding is null, null, row_hash)
                  from {self._tables.vectors} where {self._key} in"""
        known = {key: Stored(text, row) for key, text, row in self._by_keys(sql, keys)}
        sql = f'select "key", text_hash, attempts, next_try from {self._tables.failures} where "key" in'
        for key, text_hash, attempts, next_try in self._by_keys(sql, keys):
            past = PastFailure(text_hash, attempts, dt.datetime.fromisoformat(next_try))
            known[key] = known.get(key, Stored(None, None))._replace(failure=past)
        return known

    def _by_keys(self, sql: str, keys: Sequence[Key]) -> list[Values]:
        """The rows of a query that ends in `in`; the first column of each is made a key again."""
        rows = []
        for part in write.chunks(keys, _KEYS):
            rows += self._database.query(f"{sql} ({write.marks(len(part))})", write.keys_in(part))
        return [(key_out(key, self._spec.key_type), *rest) for key, *rest in rows]

    def vectors_of_texts(self, hashes: Sequence[bytes]) -> dict[bytes, TextVector]:
        found = {}
        for part in write.chunks(hashes, _KEYS):
            sql = f"""select text_hash, embedding, truncated from {self._tables.vectors}
                      where text_hash in ({write.marks(len(part))}) and embedding is not null"""
            for text, held, truncated in self._database.query(sql, tuple(part)):
                found[text] = TextVector(np.frombuffer(held, "<f4"), bool(truncated))
        return found

    def keys(self, after: Key | None, limit: int) -> list[Key]:
        start = "" if after is None else "where {} > ?"
        bound = () if after is None else (key_in(after),)
        sql = f"""select {self._key} as k from {self._tables.vectors} {start.format(self._key)}
                  union select "key" from {self._tables.failures} {start.format('"key"')} order by k limit ?"""
        return [key_out(key, self._spec.key_type) for (key,) in self._database.query(sql, (*bound, *bound, limit))]

    def count(self) -> int:
        sql = f"""select (select count(*) from {self._tables.vectors}) + (select count(*) from {self._tables.failures}
                  where "key" not in (select {self._key} from {self._tables.vectors}))"""
        return int(self._database.query(sql)[0][0])

    def write(self, batch: WriteBatch) -> int:
        self._lease.check()
        for entry in batch.entries:
            if len(entry.vector) != self._spec.dimension:
                raise StoreError(
                    f"{self.location}: a vector of {len(entry.vector)} dimensions, the table holds"
                    f" {self._spec.dimension}."
                )
        entries = write.entries(self._tables, self._spec, batch)
        statements = [*entries, *write.others(self._tables, self._spec, batch), *progress.saving(self._tables, batch)]
        if not statements:
            return 0
        deleting = bool(batch.deletes)
        before = Step.DELETE_BEFORE_COMMIT if deleting else Step.WRITE_BEFORE_COMMIT
        try:
            changed = self._database.transact([*statements, migrations.guard()], before_commit=lambda: reached(before))
        except StoreError as error:
            if not error.transient:
                migrations.refuse_newer(migrations.look(self._database), self.location)
            raise
        reached(Step.DELETE_AFTER_COMMIT if deleting else Step.WRITE_AFTER_COMMIT)
        return len(batch.entries) - sum(changed[: len(entries)])

    def offsets(self) -> dict[str, str]:
        return progress.offsets(self._database, self._tables)

    def positions(self, keys: Sequence[Key]) -> dict[Key, str]:
        return progress.positions(self._database, self._target, keys)

    def begin_run(self) -> int:
        return runs.begin(self._database, self._target, self._spec.pipeline, self._lease.token)

    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> None:
        reached(Step.BEFORE_RUN_RECORD)
        runs.save(self._database, run, report, outcome, error)
        reached(Step.AFTER_RUN_RECORD)

    def runs(self, limit: int = 10) -> list[Run]:
        return runs.latest(self._database, self._target, self._lease, limit)

    def failures(self, limit: int | None = None) -> list[Failure]:
        sql = f"""select "key", error, attempts, failed_at, next_try, text_hash from {self._tables.failures}
                  order by failed_at desc, "key" limit ?"""
        when = dt.datetime.fromisoformat
        return [
            Failure(key_out(key, self._spec.key_type), error, attempts, when(failed), when(next_try), text_hash)
            for key, error, attempts, failed, next_try, text_hash in self._database.query(sql, (limit or -1,))
        ]

    def status(self) -> Mapping[str, Any]:
        vectors, failures = self._live.vectors, self._live.failures
        sql = f"""select (select count(*) from {vectors} where embedding is not null),
                  (select count(*) from {failures}),
                  (select count(*) from {failures} where "key" in (select {self._key} from {vectors})),
                  (select count(*) from {vectors} where truncated),
                  (select page_count * page_size from pragma_page_count(), pragma_page_size()),
                  sqlite_version()"""
        names = ("rows", "failures", "stale", "truncated", "bytes", "sqlite")
        return {
            **dict(zip(names, self._database.query(sql)[0], strict=True)),
            "totals": runs.totals(self._database, self._target),
            "index": self._index.describe(),
        }

    def vector(self, key: Key) -> Vector | None:
        sql = f"select embedding from {self._live.vectors} where {self._key} = ?"
        found = self._database.query(sql, (key_in(key),))
        return np.frombuffer(found[0][0], "<f4") if found and found[0][0] is not None else None

    def vectors(self, after: Key | None, limit: int) -> list[tuple[Key, Vector]]:
        start, bound = ("", ()) if after is None else (f"and {self._key} > ?", (key_in(after),))
        sql = f"""select {self._key}, embedding from {self._live.vectors}
                  where embedding is not null {start} order by {self._key} limit ?"""
        found = self._database.query(sql, (*bound, limit))
        return [(key_out(key, self._spec.key_type), np.frombuffer(vector, "<f4")) for key, vector in found]

    def nearest(
        self, vector: Vector, limit: int, where: Filter | None = None, *, exact: bool = False, filled: bool = False
    ) -> Ranked:
        if filled:
            return search.scan(self._database, self._tables, self._spec, self.metric, vector, limit, where)
        if where is None and not exact:
            found = self._index.nearest(self._spec, vector, limit)
            if found is not None:
                return found
        return search.scan(self._database, self._live, self._spec, self.metric, vector, limit, where)

    def keyword(self, query: str, limit: int, where: Filter | None = None) -> Ranked:
        return search.keyword(self._database, self._live, self._spec, query, limit, where)

    def metadata(self, keys: Sequence[Key]) -> dict[Key, Mapping[str, Any]]:
        columns = self._spec.metadata
        names = ", ".join([self._key, *(quoted(column.name) for column in columns)])
        sql = f"select {names} from {self._live.vectors} where {self._key} in"
        return {
            key: {column.name: value_out(value, column) for value, column in zip(values, columns, strict=True)}
            for key, *values in self._by_keys(sql, keys)
        }

    def auditor(self, spec: TableSpec) -> LibsqlAuditor:
        return LibsqlAuditor(self._database, self._live, self._index, spec)

    def vector_index_cost(self) -> IndexCost:
        """What `create_vector_index` would take, to be shown before it is asked for."""
        return self._index.cost(self._spec)

    def create_vector_index(self, report: Progress | None = None) -> None:
        """Build a DiskANN index; goes on where it stopped when it is called again.

        Args:
            report: called with the vectors that are done.
        """
        self._index.create(self._spec, report)

    def drop_vector_index(self) -> None:
        self._index.drop()

    def close(self) -> None:
        self._database.close()


_ONE = write.vector_in(np.ones(1, np.float32))
