"""Vectors in PostgreSQL with pgvector."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from psycopg import sql

from rowvec.errors import StoreError
from rowvec.stores.abilities import Lag
from rowvec.stores.base import Store, TableSpec
from rowvec.stores.index import DEFAULT, IndexSpec
from rowvec.stores.ledger import Ledger
from rowvec.stores.migrations import latest
from rowvec.stores.placement import refuse_alone
from rowvec.stores.postgres import checks, counting, facet_index, limits, migrations, placements, runs, schema
from rowvec.stores.postgres import replica as replicas
from rowvec.stores.postgres.books import Bookkeeping, Fence
from rowvec.stores.postgres.connect import describe, knows_vectors, single
from rowvec.stores.postgres.generation import PostgresGeneration
from rowvec.stores.postgres.generations import followers
from rowvec.stores.postgres.generations.changeover import Changeover
from rowvec.stores.postgres.generations.columns import InPlaceGenerations
from rowvec.stores.postgres.generations.tables import Generations, keywords
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.passages import Beside
from rowvec.stores.postgres.sessions import Sessions
from rowvec.stores.runs import Evaluated, Report, Run, Totals
from rowvec.support.killpoints import Step, reached
from rowvec.types import Check, Fingerprint, Generation, State

Connection = psycopg.Connection[Any]


class PostgresStore:
    """The table `schema.table` of one database; see stores.base.Store for the contract.

    Args:
        url: a libpq URL or key=value string.
        metric: "cosine", "l2" or "ip".
        storage: "vector" (4 bytes a number) or "halfvec" (2 bytes).
        column: of the vectors, where `table` is one of the user's own (see stores.postgres.generations.columns).
        create_extension: install pgvector in the database when it is available and missing.
        partial: a metadata column; each of its values that AUTO_ROWS rows have gets an index of its own as well.
        index: built after the first sync that leaves AUTO_ROWS rows or more; None for never.
        readers: number of threads that can search at once.
        statement_seconds: a search that takes longer is cancelled.
        silent_seconds: a server that says nothing for this long, not even to a new connection, is given up by whoever
            reads.
        alone: False for one of several parts (see stores.partitioned).
        replica: others write it, maybe elsewhere; the URL may name several servers, of which one is asked at a time.
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
        partial: str | None = None,
        readers: int = 2,
        statement_seconds: float | None = None,
        silent_seconds: float = 10.0,
        alone: bool = True,
        replica: bool = False,
    ) -> None:
        self._url = url
        self._live = Names.parse(table, column)
        self.metric = metric
        self._storage = storage
        self._wanted = index
        self._partial = partial
        self._create_extension = create_extension
        self._alone = alone
        self._books = Bookkeeping(self._live.scope, pipeline)
        self.location = f"{self._live.scope} in {describe(url)}"
        generations = InPlaceGenerations if column else Generations
        self._generations = generations(self._live, self._books, storage, self.location)
        self._sessions = Sessions(
            url, self._live, self.location, pipeline,
            readers=readers, statement_seconds=statement_seconds, silent_seconds=silent_seconds, replica=replica,
        )  # fmt: skip
        self._changeover = Changeover(self._sessions, self._generations, self.location)
        self._prepared: dict[Fingerprint | None, Fence] = {}
        self._read = self._sessions.read
        self._write = self._sessions.write

    def close(self) -> None:
        self._sessions.close()

    def identity(self) -> str:
        return self._read(migrations.identity)

    def now(self) -> dt.datetime:
        """The time by the clock of the server."""
        found: dt.datetime = self._read(lambda c: single(c.execute("select clock_timestamp()"))[0])
        return found

    # Generations

    def ledger(self) -> Ledger:
        def look(connection: Connection) -> Ledger:
            if not self._generations.usable(connection, self._live):
                return Ledger(exists=False)
            looked = sql.SQL("select exists (select from {table} where {known})").format(**self._live.parts)
            filled = single(connection.execute(looked))[0]
            if self._alone:
                refuse_alone(placements.read(connection, self._live.scope), self.location)
            live = self._books.live(connection)
            return Ledger(True, filled, *live[:4]) if live else Ledger(True, filled)

        moves = self._sessions.moves
        found = self._read(look)
        return dataclasses.replace(found, version=_at(found.version, moves))

    def generation(self, spec: TableSpec) -> PostgresGeneration | None:
        stored = self._stored(spec)
        found = self._read(lambda c: self._generations.aimed(c, spec.fingerprint))
        return None if found is None else self._handle(*found, stored, asked=spec)

    def _stored(self, spec: TableSpec) -> TableSpec:
        return schema.stored(spec, self._live)

    def _handle(self, names: Names, fence: Fence, stored: TableSpec, *, asked: TableSpec) -> PostgresGeneration:
        columns = zip(asked.metadata, stored.metadata, strict=True)
        partial = next((own.name for column, own in columns if column.name == self._partial), None)
        return PostgresGeneration(
            self._sessions, names, stored, asked, fence,
            scope=self._live.scope, location=self.location,
            metric=self.metric, storage=self._storage, wanted=self._wanted, partial=partial,
        )  # fmt: skip

    def prepare(self, spec: TableSpec) -> PostgresGeneration:
        asked, spec = spec, self._stored(spec)

        def make(connection: Connection) -> tuple[Names, Fence, bool]:
            new = not knows_vectors(connection)
            version = schema.ensure_extension(connection, self.location, create=self._create_extension)
            schema.check_storage(version, self._storage, self.location)
            if not self._sessions.upgraded:
                migrations.upgrade(connection, self.location, create=True)
            added = self._generations.make_way(connection, spec)
            with connection.transaction():
                target, fence = self._generations.open(connection, spec)
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
        # A table of the user's own gets no further indexes.
        if names.column is None and self._write(lambda c: counting.is_large(c, names)):
            self._write(lambda c: facet_index.ensure(c, names, spec))
            self._write(lambda c: counting.ensure(c, names))
        self._changeover.finish(names, spec, fence)
        self._prepared.clear()

    def live_version(self) -> str:
        version = self._read(self._books.version, settings=False)
        return _at(version, self._sessions.moves)

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
        if pooler == "statement":
            said = "a pooler in statement mode: searches work, a sync does not."
            fix = "Set store.url to the database itself, or to a pooler in transaction mode."
            return [*first, Check("pooler", False, said, fix)]
        if pooler == "transaction":
            first.append(Check("pooler", True, "a pooler in transaction mode: a sync holds its lock as a lease"))

        def look(connection: Connection) -> list[Check]:
            lines = first + limits.checks(connection)
            version = schema.ensure_extension(connection, self.location, create=self._create_extension)
            schema.check_storage(version, self._storage, self.location)
            words = None if spec.language is None else keywords(self._live, spec)
            lines += [checks.extension(version), *checks.kept(connection, words, spec)]
            lines += checks.partial_indexes(connection, self._live, self._partial)
            return [*lines, self._generations.check(connection, spec)]

        return self._write(look)

    def has_other_words(self, spec: TableSpec) -> bool:
        words = None if spec.language is None else keywords(self._live, self._stored(spec))
        return words is not None and self._read(lambda c: checks.has_other_format(c, words))

    def apply(self, spec: TableSpec) -> list[str]:
        """Bring the books up to date, and make the columns that a table of the user's own lacks.

        Returns:
            What was done.

        Raises:
            StoreError: the role does not own the table, or a newer rowvec has changed the books.
        """

        def alter(connection: Connection) -> list[str]:
            schema.ensure_extension(connection, self.location, create=self._create_extension)
            done = migrations.upgrade(connection, self.location, create=False) or []
            return done + self._generations.apply(connection, self._stored(spec))

        return self._write(alter)

    def lock(self, part: str | None = None) -> AbstractContextManager[None]:
        return self._sessions.lock(part)

    def holder(self) -> str | None:
        return self._read(self._sessions.table_lock.holder)

    def placement(self) -> str:
        return self._read(lambda c: placements.read(c, self._live.scope), settings=False)

    def keep_placement(self, placement: str, *, announce: bool = False) -> None:
        self._write(lambda c: placements.keep(c, self._live.scope, placement, announce=announce))

    # Replicas

    def lag(self, primary: Store) -> Lag:
        """How far this store, at a replica, is behind the same store at its primary.

        Raises:
            StoreError: they are not one store, or one of them does not answer.
        """
        assert isinstance(primary, PostgresStore)
        written = primary._read(replicas.written)
        if self.identity() != primary.identity():
            raise StoreError(
                f"{self.location} is not a replica of {primary.location}: it is another store.",
                hint="Correct store.search_url.",
            )
        return self._read(lambda c: replicas.lag(c, written))

    # Runs

    def begin_run(self, pipeline: str) -> int:
        return self._write(lambda c: runs.begin_run(c, self._live.scope, pipeline))

    def run_mark(self, run: int) -> str | None:
        return self._read(lambda c: runs.run_mark(c, self._live.scope, run))

    def save_run(self, run: int, report: Report, outcome: str, error: str | None = None) -> bool:
        reached(Step.BEFORE_RUN_RECORD)
        asked = self._write(lambda c: runs.save_run(c, run, report, outcome, error))
        reached(Step.AFTER_RUN_RECORD)
        return asked

    def ask_to_stop(self, run: int) -> None:
        self._write(lambda c: runs.ask_to_stop(c, run))

    def runs(self, limit: int = 10) -> list[Run]:
        scope, is_held = self._live.scope, self._sessions.table_lock.is_held
        return self._read(lambda c: runs.latest_runs(c, scope, limit, locked=is_held(c)))

    def spend(self, cost: float) -> None:
        self._write(lambda c: runs.spend(c, self._live.scope, cost))

    def totals(self) -> Totals:
        return self._read(lambda c: runs.totals(c, self._live.scope))

    def save_evaluation(self, record: Mapping[str, Any]) -> None:
        self._write(lambda c: runs.save_evaluation(c, self._live.scope, record))

    def evaluations(self, limit: int = 20) -> list[Evaluated]:
        return self._read(lambda c: runs.evaluations(c, self._live.scope, limit))


def _at(version: str, moves: int) -> str:
    """Of a generation at the server that is read now: at another one it may be of another time."""
    return f"{version}~{moves}" if moves else version
