"""The libSQL store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from rowvec.errors import ConfigError, StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.ledger import Ledger
from rowvec.stores.libsql import books, clock, facet_index, migrations, placements, schema, search, write
from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.generation import LibsqlGeneration
from rowvec.stores.libsql.generations import Generations
from rowvec.stores.libsql.index import possible
from rowvec.stores.libsql.lease import Lease
from rowvec.stores.libsql.local import LocalDatabase
from rowvec.stores.libsql.remote import RemoteDatabase, is_remote
from rowvec.stores.migrations import NO_KEPT_WORDS, OLDER_WORDS
from rowvec.stores.placement import refuse_alone
from rowvec.stores.runs import Evaluated, Report, Run, Totals
from rowvec.support.clocks import here
from rowvec.support.killpoints import Step, reached
from rowvec.types import Check, Fingerprint, Generation, State


class LibsqlStore:
    """Vectors in a libSQL file, or in Turso or sqld over HTTP; see `rowvec.stores.base.Store`.

    Args:
        url: a path or `file:` URI; or `libsql://`, `https://` or `http://` and a host.
        table: the vector table.
        metric: cosine, l2 or ip.
        token: for a remote database; `?authToken=` in the URL does too.
        alone: False for one of several parts (see stores.partitioned).
        silent_seconds: a remote database that says nothing for this long, not even over a new connection, is given up
            by whoever reads.
    """

    def __init__(
        self,
        url: str,
        *,
        table: str,
        metric: str = "cosine",
        token: str | None = None,
        alone: bool = True,
        silent_seconds: float = 10.0,
    ) -> None:
        if metric not in search.METRICS:
            raise ConfigError(f"There is no metric {metric!r}.", hint=f"Use one of {', '.join(search.METRICS)}.")
        self._database: Database = (
            RemoteDatabase(url, token, silent_seconds=silent_seconds) if is_remote(url) else LocalDatabase(url)
        )
        self._generations = Generations(self._database, table, metric)
        self._lease = Lease(self._database, table)
        self._target = table
        self._alone = alone
        self._prepared: dict[Fingerprint | None, schema.Tables] = {}
        self.metric = metric
        self.location = f"{self._database.location}, table {table}"

    def identity(self) -> str:
        return migrations.identity(self._database)

    def ledger(self) -> Ledger:
        if self._alone:
            refuse_alone(self.placement(), self.location)
        return self._generations.ledger()

    def generation(self, spec: TableSpec) -> LibsqlGeneration | None:
        stored = self._stored(spec)
        tables = self._generations.existing(stored)
        return None if tables is None else self._handle(tables, stored, asked=spec)

    def _stored(self, spec: TableSpec) -> TableSpec:
        return schema.stored(spec, self.location)

    def _handle(self, tables: schema.Tables, stored: TableSpec, *, asked: TableSpec) -> LibsqlGeneration:
        return LibsqlGeneration(self._database, tables, stored, asked, self.metric, self._lease, self.location)

    def prepare(self, spec: TableSpec) -> LibsqlGeneration:
        """Writes only where something is missing: a database that may only be read can be searched."""
        asked, spec = spec, self._stored(spec)
        if not self._database.exists():
            self._database.create()
        self._database.query("select vector_distance_cos(?, ?)", (_ONE, _ONE))
        migrations.upgrade(self._database)
        tables, wanted = self._generations.preparation(spec)
        if wanted:
            # Twice: a generation that was found under another name gets its columns then.
            for _ in range(2):
                self._settle(lambda: self._generations.preparation(spec)[1])
            tables = self._generations.preparation(spec)[0]
        self._prepared[spec.fingerprint] = tables
        return self._handle(tables, spec, asked=asked)

    def activate(self, spec: TableSpec) -> None:
        asked, spec = spec, self._stored(spec)
        done = self._handle(self._generations.filled(spec), spec, asked=asked)
        live = self._handle(self._generations.live(), spec, asked=asked)
        if done.tables != live.tables and live.index.status() and not done.index.status():
            # Before the swap: searches must not become slow by it.
            done.index.build()
        self._settle(done.tidied, done.tables)
        self._settle(lambda: facet_index.wanted(self._database, done.tables, spec))
        self._settle(lambda: self._generations.completion(spec), self._prepared.get(spec.fingerprint, done.tables))
        self._prepared.clear()

    def live_version(self) -> str:
        return self._generations.live_version()

    def generations(self, spec: TableSpec) -> list[Generation]:
        return self._generations.listed(spec.key)

    def rollback(self, spec: TableSpec) -> None:
        self._lease.check()
        before = self.live_version()
        try:
            self._transact(self._generations.rollback())
        except StoreError:
            if self.live_version() == before:
                raise

    def drop_generation(self, state: State, spec: TableSpec) -> None:
        self._lease.check()
        self._transact(self._generations.dropping(state))

    def _transact(self, statements: list[Statement], aim: schema.Tables | None = None) -> None:
        """Where the lock is still ours, and the generation still in its place."""
        try:
            self._database.transact([migrations.guard(aim, self._lease.token), *statements])
        except StoreError as error:
            if not error.transient:
                migrations.explain(self._database, self.location, aim, self._lease.token)
            raise

    def _settle(self, needed: Callable[[], list[Statement]], aim: schema.Tables | None = None) -> None:
        """Carry out what is needed. An error counts only if something is still needed after it: one that comes from
        trying again what had been done, its answer lost, does not."""
        statements = needed()
        if not statements:
            return
        self._database.create()
        try:
            self._transact(statements, aim)
        except StoreError:
            if needed():
                raise

    def checks(self, spec: TableSpec) -> list[Check]:
        spec = self._stored(spec)

        def check(what: str, look: Callable[[], Any]) -> Check:
            try:
                return Check(what, True, str(look()))
            except StoreError as error:
                return Check(what, False, error.message, error.hint)

        ask = self._database.query
        if not self._database.exists():
            self._database.check_place()
            return [Check("store", True, f"{self.location}: will be made by the first sync")]
        checks = [check("store", lambda: f"{self.location}: SQLite {ask('select sqlite_version()')[0][0]}")]
        if checks[0].ok:
            checks += [
                migrations.line(self._database),
                check("vector functions", lambda: ask("select vector_distance_cos(?, ?)", (_ONE, _ONE)) and "present"),
                check("table", lambda: self._fit(spec)),
                check("vector index", lambda: "possible" if possible(self._database) else "none on this engine"),
            ]
            if spec.language is not None:
                made, fix = f"FTS5, language {spec.language}", None
                if self.has_other_words(spec):
                    made, fix = OLDER_WORDS
                checks.append(Check("keywords", True, made, fix))
                if self._generations.lacks_words(spec):
                    checks.append(Check("words for typos", True, *NO_KEPT_WORDS))
        return checks

    def has_other_words(self, spec: TableSpec) -> bool:
        return spec.language is not None and self._database.exists() and self._generations.has_other_words(spec)

    def apply(self, spec: TableSpec) -> list[str]:
        """Bring rowvec's own tables up to date; returns what was done."""
        return migrations.upgrade(self._database) if self._database.exists() else []

    def _fit(self, spec: TableSpec) -> str:
        tables, needed = self._generations.preparation(spec)
        if needed and tables.state == schema.WORDS[State.BUILDING]:
            return f"{self._target} is of another model; sync builds the new one beside it"
        return f"{self._target} will be made or brought up to date" if needed else f"{self._target} fits"

    def lock(self) -> AbstractContextManager[None]:
        return self._lease.hold()

    def now(self) -> dt.datetime:
        """The time by the clock of the database's host."""
        if not self._database.exists():
            return here()
        return dt.datetime.fromisoformat(clock.read(self._database))

    def holder(self) -> str | None:
        return self._lease.holder()

    def begin_run(self, pipeline: str) -> int:
        return books.begin_run(self._database, self._target, pipeline, self._lease.token)

    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> bool:
        reached(Step.BEFORE_RUN_RECORD)
        asked = books.save_run(self._database, run, report, outcome, error)
        reached(Step.AFTER_RUN_RECORD)
        return asked

    def ask_to_stop(self, run: int) -> None:
        books.ask_to_stop(self._database, run)

    def runs(self, limit: int = 10) -> list[Run]:
        return books.latest_runs(self._database, self._target, self._lease, limit)

    def spend(self, cost: float) -> None:
        books.spend(self._database, self._target, cost)

    def totals(self) -> Totals:
        return books.totals(self._database, self._target)

    def save_evaluation(self, record: Mapping[str, Any]) -> None:
        books.save_evaluation(self._database, self._target, record)

    def evaluations(self, limit: int = 20) -> list[Evaluated]:
        return books.evaluations(self._database, self._target, limit)

    def placement(self) -> str:
        return placements.read(self._database, self._target)

    def keep_placement(self, placement: str, *, announce: bool = False) -> None:
        self._lease.check()
        self._transact(placements.keeping(self._target, placement, announce=announce))

    def close(self) -> None:
        self._database.close()


_ONE = write.vector_in(np.ones(1, np.float32))
