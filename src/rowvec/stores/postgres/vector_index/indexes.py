"""The vector indexes of one generation, for syncs, searches and `rowvec index`."""

from __future__ import annotations

import math
import time
from typing import Any

import psycopg
from psycopg import sql

from rowvec.errors import StoreError
from rowvec.stores.index import DEFAULT, Effort, IndexSpec, IndexStatus
from rowvec.stores.postgres import schema
from rowvec.stores.postgres.connect import single
from rowvec.stores.postgres.locks import alone
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.sessions import Sessions
from rowvec.stores.postgres.vector_index import index, repeated, tuning
from rowvec.stores.postgres.vector_index.index import AUTO_ROWS
from rowvec.stores.postgres.vector_index.nearest import Serving, VectorTable
from rowvec.types import Progress

Connection = psycopg.Connection[Any]
INDEX_SECONDS = 5.0
"""A new or dropped index is noticed within so long."""


class Indexes:
    """Builds, drops and tunes the indexes of `table`; see stores.index.VectorIndex.

    Args:
        wanted: the index that `ensure` builds; None for none.
        passages: the table of passages beside it, which has an index of the same kind; None for none.
    """

    resumes = False

    def __init__(
        self, sessions: Sessions, table: VectorTable, wanted: IndexSpec | None, passages: VectorTable | None = None
    ) -> None:
        self._sessions = sessions
        self.table = table
        self.wanted = wanted
        self.passages = None if passages is None else Indexes(sessions, passages, wanted)
        self._usable: Serving | None = None
        self._seen = -math.inf

    def status(self) -> list[IndexStatus]:
        """Those of the rows, then those of the passages."""
        found = self._sessions.read(lambda c: index.find(c, self.table.names))
        return found + (self.passages.status() if self.passages else [])

    def cost(self) -> None:
        """Servers differ too much to tell."""

    def usable(self, connection: Connection) -> Serving | None:
        """The index that searches use, looked up every few seconds only."""
        now = time.monotonic()
        if now - self._seen > INDEX_SECONDS:
            self._usable = self._look(connection)
            self._seen = now
        return self._usable

    def _look(self, connection: Connection) -> Serving | None:
        names, known = self.table.names, self._usable
        found = index.usable(index.find(connection, names), names, self.table.metric)
        if found is None:
            return None
        same = known is not None and known.repeated.definition == found.definition
        # A text that had no row when it was looked for may have one now.
        same = same and len(known.repeated.hashes) == len(repeated.hashes_of(found.definition)) if known else False
        return Serving(found, known.repeated if known and same else repeated.load(connection, names, found.definition))

    def ensure(self, *, like: Names, like_passages: Names | None = None) -> None:
        """Build the index that `like` has, or else the wanted one if enough rows make it worth its upkeep.

        Args:
            like_passages: the table of passages beside `like`.
        """

        table = self.table

        def work(connection: Connection) -> None:
            if self._serves(connection, table):
                return
            pattern = next((index.spec_of(found) for found in index.find(connection, like) if found.valid), None)
            asked = pattern or self.wanted
            chosen = asked and index.fitting(asked, table.storage, table.dimension)
            if chosen is None:
                return
            succeeds = pattern is not None and like != table.names
            if succeeds or (self.wanted is not None and _rows(connection, table) >= AUTO_ROWS):
                with alone(connection, table.names.scope):
                    if not self._serves(connection, table):
                        self._build(connection, table, chosen, None)

        self._sessions.write(work)
        if self.passages is not None and like_passages is not None:
            self.passages.ensure(like=like_passages)

    @staticmethod
    def _serves(connection: Connection, table: VectorTable) -> bool:
        found = index.usable(index.find(connection, table.names), table.names, table.metric)
        return found is not None and not index.leaves_out_too_little(connection, table.names, found)

    def analyse(self) -> None:
        """Have the planner know a table that changed by a tenth: filtered searches go by its estimates."""
        names = self.table.names

        def work(connection: Connection) -> None:
            if schema.statistics_are_old(connection, names):
                # A build waits for the end of every statement that waits for it, as this one would.
                with alone(connection, names.scope):
                    connection.execute(sql.SQL("analyze {}").format(names.sql))

        self._sessions.write(work)
        if self.passages is not None:
            self.passages.analyse()

    def build(self, spec: IndexSpec | None = None, progress: Progress | None = None) -> IndexStatus:
        chosen = spec or self.wanted or DEFAULT
        built = self._sessions.write(lambda c: self._build(c, self.table, chosen, progress))
        if self.passages is not None and self.passages.is_filled():
            self.passages.build(chosen, progress)
        return built

    def is_filled(self) -> bool:
        """The table has vectors. An IVFFlat index that is made of none would serve none that come later."""
        return self._sessions.read(lambda c: _rows(c, self.table)) > 0

    def drop(self) -> int:
        dropped = self._sessions.write(lambda c: index.drop(c, self.table.names))
        return dropped + (self.passages.drop() if self.passages else 0)

    def tune(self, target: float, queries: int = 200, k: int = 10, progress: Progress | None = None) -> list[Effort]:
        table = self.table

        def work(connection: Connection) -> list[Effort]:
            found = self._look(connection)
            if found is None:
                raise StoreError(f"{table.names.scope} has no vector index.", hint="Run `rowvec index build` first.")
            efforts = tuning.measure(connection, table, found, target=target, queries=queries, k=k, progress=progress)
            if efforts:
                best = efforts[-1] if efforts[-1].recall >= target else max(efforts, key=lambda e: e.recall)
                index.save_tuning(connection, table.names, found.status, best.effort, best.recall)
            return efforts

        efforts = self._sessions.write(work)
        if self.passages is not None and self.passages.status():
            # Each list is looked through as far as it has to be; what is told is that of the rows.
            self.passages.tune(target, queries, k, progress)
        return efforts

    def _build(
        self, connection: Connection, table: VectorTable, spec: IndexSpec, progress: Progress | None
    ) -> IndexStatus:
        return index.build(
            connection, table.names, spec, metric=table.metric, storage=table.storage, dimension=table.dimension,
            progress=progress, watcher=self._sessions.another,
        )  # fmt: skip


def _rows(connection: Connection, table: VectorTable) -> int:
    # Not all rows: a large table of a user's own may have few vectors yet.
    statement = sql.SQL("select count({embedding}) from {table}").format(**table.names.parts)
    return int(single(connection.execute(statement))[0])
