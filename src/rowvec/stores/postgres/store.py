"""Vectors in PostgreSQL with pgvector."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.base import Ledger, TableSpec, Totals
from rowvec.stores.index import DEFAULT, IndexSpec
from rowvec.stores.migrations import latest
from rowvec.stores.postgres import books, checks, facet_index, limits, migrations, schema
from rowvec.stores.postgres.books import Bookkeeping, Fence
from rowvec.stores.postgres.connect import (
    describe,
    knows_vectors,
    single,
)
from rowvec.stores.postgres.generation import PostgresGeneration
from rowvec.stores.postgres.generations import followers
from rowvec.stores.postgres.generations.changeover import Changeover
from rowvec.stores.postgres.generations.columns import InPlaceGenerations
from rowvec.stores.postgres.generations.tables import Generations, keywords
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.passages import Beside
from rowvec.stores.postgres.sessions import POOLER, Sessions
from rowvec.support.killpoints import Step, reached
from rowvec.types import Check, Evaluated, Fingerprint, Generation, Report, Run, State

Connection = psycopg.Connection[Any]


class PostgresStore:
    """The table `schema.table` of one database; see stores.base.Store for the contract.

    Args:
        url: a libpq URL or key=value string.
        metric: "cosine", "l2" or "ip".
        storage: "vector" (4 bytes a number) or "halfvec" (2 bytes).
        column: of the vectors, where `table` is one of the user's own (see stores.postgres.generations.columns).
        create_extension: install pgvector in the database when it is available and missing.
        index: built after the first sync that leaves AUTO_ROWS rows or more; None for never.
        readers: up to this many threads can search at once.
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
        index: IndexSpec | None = DEFAULT,
        readers: int = 2,
        statement_seconds: float | None = None,
    ) -> None:
        self._url = url
        self._live = Names.parse(table, column)
        self._metric = metric
        self._storage = storage
        self._wanted = index
        self._create_extension = create_extension
        self._books = Bookkeeping(self._live.scope, pipeline)
        self.location = f"{self._live.scope} in {describe(url)}"
        generations = InPlaceGenerations if column else Generations
        self._generations = generations(self._live, self._books, storage, self.location)
        self._sessions = Sessions(
            url, self._live.scope, self.location, pipeline, readers=readers, statement_seconds=statement_seconds
        )
        self._changeover = Changeover(self._sessions, self._generations, self.location)
        self._prepared: dict[Fingerprint | None, Fence] = {}
        self._read = self._sessions.read
        self._write = self._sessions.write

    def close(self) -> None:
        self._sessions.close()

    def identity(self) -> str:
        return self._read(migrations.identity)

    # Generations

    def ledger(self) -> Ledger:
        def look(connection: Connection) -> Ledger:
            if not self._generations.usable(connection, self._live):
                return Ledger(exists=False)
            looked = sql.SQL("select exists (select from {table} where {known})").format(**self._live.parts)
            filled = single(connection.execute(looked))[0]
            live = self._books.live(connection)
            return Ledger(True, filled, *live[:4]) if live else Ledger(True, filled)

        return self._read(look)

    def generation(self, spec: TableSpec) -> PostgresGeneration | None:
        stored = self._stored(spec)
        found = self._read(lambda c: self._generations.aimed(c, spec.fingerprint))
        return None if found is None else self._handle(*found, stored, asked=spec)

    def _stored(self, spec: TableSpec) -> TableSpec:
        return schema.stored(spec, self._live)

    def _handle(self, names: Names, fence: Fence, stored: TableSpec, *, asked: TableSpec) -> PostgresGeneration:
        return PostgresGeneration(
            self._sessions, names, stored, asked, fence,
            scope=self._live.scope, location=self.location,
            metric=self._metric, storage=self._storage, wanted=self._wanted,
        )  # fmt: skip

    def prepare(self, spec: TableSpec) -> PostgresGeneration:
        asked, spec = spec, self._stored(spec)

        def make(connection: Connection) -> tuple[Names, Fence, bool]:
            new = not knows_vectors(connection)
            schema.ensure_extension(connection, self.location, create=self._create_extension)
            migrations.upgrade(connection, self.location, create=True)
            added = self._generations.make_way(connection, spec)
            with connection.transaction():
                target = self._generations.open(connection, spec)
                fence = self._generations.fence(connection, target)
            schema.index_adopted(connection, target, spec, added)
            return target, fence, new

        target, fence, new = self._write(make)
        self._prepared[spec.fingerprint] = fence
        if new:
            self._sessions.refresh()
        return self._handle(target, fence, spec, asked=asked)

    def activate(self, spec: TableSpec) -> None:
        asked, spec = spec, self._stored(spec)
        names, fence = self._read(lambda c: self._generations.filled(c, spec.fingerprint))
        fence = self._prepared.get(spec.fingerprint, fence)
        done = self._handle(names, fence, spec, asked=asked)
        words = done.words
        if words is not None and self._write(words.needs_rebuild):
            self._write(words.rebuild)
        if words is not None and spec.keeps_words:
            self._write(words.kept_words.tidy)
        if names != self._live:
            self._write(lambda c: followers.copy_indexes(c, self._live, names))
        # First: by the statistics it is known which texts an index should leave out.
        done.index.analyse()
        done.index.ensure(like=self._live, like_passages=Beside(self._live, spec).passages)
        self._write(lambda c: facet_index.ensure(c, names, spec))
        self._changeover.finish(names, spec, fence)
        self._prepared.clear()

    def live_version(self) -> str:
        return self._read(self._books.version, settings=False)

    def generations(self, spec: TableSpec) -> list[Generation]:
        return self._read(lambda c: self._generations.listed(c, self._stored(spec)))

    def rollback(self, spec: TableSpec) -> None:
        self._changeover.rollback(self._stored(spec))

    def drop_generation(self, state: State, spec: TableSpec) -> None:
        self._changeover.drop(state, self._stored(spec))

    def checks(self, spec: TableSpec) -> list[Check]:
        spec = self._stored(spec)
        first = [Check("store", True, f"connected to {describe(self._url)}")]
        pooler = self._sessions.pooler()
        if pooler is not None:
            return [*first, Check("pooler", False, f"{pooler}: searches work, a sync does not.", POOLER)]

        def look(connection: Connection) -> list[Check]:
            lines = first + limits.checks(connection)
            version = schema.ensure_extension(connection, self.location, create=self._create_extension)
            words = None if spec.language is None else keywords(self._live, spec)
            lines += [checks.extension(version), *checks.kept(connection, words, spec)]
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
            return done + self._generations.apply(connection, self._stored(spec))

        return self._write(alter)

    def lock(self, part: str | None = None) -> AbstractContextManager[None]:
        return self._sessions.lock(part)

    def holder(self) -> str | None:
        return self._read(self._sessions.holder)

    # Runs

    def begin_run(self, pipeline: str) -> int:
        return self._write(lambda c: books.begin_run(c, self._live.scope, pipeline))

    def run_mark(self, run: int) -> str | None:
        return self._read(lambda c: books.run_mark(c, self._live.scope, run))

    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> bool:
        reached(Step.BEFORE_RUN_RECORD)
        asked = self._write(lambda c: books.save_run(c, run, report, outcome, error))
        reached(Step.AFTER_RUN_RECORD)
        return asked

    def ask_to_stop(self, run: int) -> None:
        self._write(lambda c: books.ask_to_stop(c, run))

    def runs(self, limit: int = 10) -> list[Run]:
        scope, is_held = self._live.scope, self._sessions.is_held
        return self._read(lambda c: books.latest_runs(c, scope, limit, locked=is_held(c)))

    def spend(self, cost: float) -> None:
        self._write(lambda c: books.spend(c, self._live.scope, cost))

    def totals(self) -> Totals:
        return self._read(lambda c: books.totals(c, self._live.scope))

    def save_evaluation(self, record: Mapping[str, Any]) -> None:
        self._write(lambda c: books.save_evaluation(c, self._live.scope, record))

    def evaluations(self, limit: int = 20) -> list[Evaluated]:
        return self._read(lambda c: books.evaluations(c, self._live.scope, limit))
