"""The vector indexes of one generation, for syncs, searches and `rowvec index`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from rowvec.errors import StoreError
from rowvec.stores.index import DEFAULT, Effort, IndexSpec, IndexStatus, Part
from rowvec.stores.postgres import rights, schema
from rowvec.stores.postgres.connect import single, use_vectors, version_tuple
from rowvec.stores.postgres.locks import alone
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.sessions import Sessions
from rowvec.stores.postgres.vector_index import centre, index, partial, repeated, tuning
from rowvec.stores.postgres.vector_index.index import AUTO_ROWS, INDEX_SECONDS
from rowvec.stores.postgres.vector_index.nearest import Condition, Serving, VectorTable
from rowvec.types import Progress, Vectors

Connection = psycopg.Connection[Any]
COUNTS_ARE_SENT = 150_000
"""The version of PostgreSQL from which on a session can be told to report its changes at once."""


class Indexes:
    """Builds, drops and tunes the indexes of `table`; see stores.index.VectorIndex.

    Args:
        wanted: the index that `ensure` builds; None for none.
        partial: a column. Each of its values that very many rows have gets an index of its own too.
        passages: the table of passages beside it, which has an index of the same kind; None for none.
    """

    resumes = False

    def __init__(
        self,
        sessions: Sessions,
        table: VectorTable,
        wanted: IndexSpec | None,
        partial: str | None = None,
        passages: VectorTable | None = None,
    ) -> None:
        self._sessions = sessions
        self.table = table
        self.wanted = wanted
        self._partial = partial
        self.passages = None if passages is None else Indexes(sessions, passages, wanted)
        self._usable: Serving | None = None
        self._parts: Mapping[Part, Serving] = {}
        self._seen = -math.inf

    def status(self) -> list[IndexStatus]:
        """Those of the rows, then those of the passages."""
        found = self._sessions.read(lambda c: index.find(c, self.table.names))
        return found + (self.passages.status() if self.passages else [])

    def cost(self) -> None:
        """Servers differ too much to tell."""

    def usable(self, connection: Connection, where: Condition | None = None) -> Serving | None:
        """The index that searches use, looked up every few seconds only: that of a part, where the filter names one."""
        now = time.monotonic()
        if now - self._seen > INDEX_SECONDS:
            there = index.find(connection, self.table.names)
            self._usable = self._look(connection, there)
            self._parts = self._serving_parts(there)
            self._seen = now
        parts = where.parts if where is not None else ()
        return next((self._parts[part] for part in parts if part in self._parts), self._usable)

    def _serving_parts(self, there: Sequence[IndexStatus]) -> Mapping[Part, Serving]:
        """The partial indexes that leave out the same texts as the one of all rows, whose vectors are known."""
        whole = self._usable
        if whole is None:
            return {}
        left_out = repeated.hashes_of(whole.status.definition)
        return {
            each.part: Serving(each, replace(whole.repeated, definition=each.definition))
            for each in there
            if each.part is not None and each.valid and index.serves(each, self.table.metric)
            and repeated.hashes_of(each.definition) == left_out
        }  # fmt: skip

    def _look(self, connection: Connection, there: Sequence[IndexStatus]) -> Serving | None:
        names, known = self.table.names, self._usable
        found = index.usable(there, names, self.table.metric)
        if found is None:
            return None
        same = known is not None and known.repeated.definition == found.definition
        # A text that had no row when it was looked for may have one now.
        same = same and len(known.repeated.hashes) == len(repeated.hashes_of(found.definition)) if known else False
        return Serving(found, known.repeated if known and same else repeated.load(connection, names, found.definition))

    def ensure(self, *, like: Names, like_passages: Names | None = None) -> None:
        """Build the index that `like` has, or else the wanted one if enough rows make it worth its upkeep.

        Then the partial ones that are due; those that are not are dropped.

        Args:
            like_passages: the table of passages beside `like`.
        """

        table = self.table

        def work(connection: Connection) -> list[IndexStatus]:
            there = index.find(connection, table.names)
            if self._serves(connection, there):
                return there
            others = there if like == table.names else index.find(connection, like)
            pattern = next((index.spec_of(found) for found in others if found.valid and found.part is None), None)
            asked = pattern or self.wanted
            succeeds = pattern is not None and like != table.names
            if asked is None or not (succeeds or (self.wanted and has_vectors(connection, table, AUTO_ROWS))):
                return there
            version = version_tuple(use_vectors(connection) or "0")
            chosen = index.fitting(asked, table.storage, table.dimension, version)
            if chosen is None:
                return there
            if not rights.is_owned(connection, table.names):
                _tell_of_owner(table.names)
                return there
            with alone(connection, table.names.scope):
                if not self._serves(connection, index.find(connection, table.names)):
                    self._build(connection, table, chosen, None)
            return index.find(connection, table.names)

        there = self._sessions.write(work)
        due = bool(self._spare(there)) or self._partial is not None or bool(self._parts_in(there))
        if due and self._may_change():
            if self._spare(there):
                there = self._sessions.write(self._drop_spare)
            self._sessions.write(self._ensure_parts)
        if self.passages is not None and like_passages is not None:
            self.passages.ensure(like=like_passages)

    def _may_change(self) -> bool:
        """A role with rights to some columns of a table does not own it."""
        names = self.table.names
        return names.column is None or self._sessions.read(lambda c: rights.is_owned(c, names))

    def _spare(self, there: Sequence[IndexStatus]) -> list[IndexStatus]:
        """Former indexes of all rows, left by a process that died before it dropped them."""
        numbered = [each for each in there if each.name.rpartition(index.INDEX_MARK)[2].isdecimal()]
        ours = [each for each in numbered if each.valid and each.part is None]
        kept = index.usable(ours, self.table.names, self.table.metric)
        return [each for each in ours if each is not kept] if kept else []

    def _drop_spare(self, connection: Connection) -> list[IndexStatus]:
        names = self.table.names
        with alone(connection, names.scope):
            # Asked again under the lock: whoever built the new one may only have waited.
            index.retire(connection, names, self._spare(index.find(connection, names)), _unheard)
            return index.find(connection, names)

    def _ensure_parts(self, connection: Connection, progress: Progress | None = None) -> None:
        """Partial indexes are as the one of all rows is, which has to be there."""
        table, column = self.table, self._partial

        def look() -> tuple[IndexStatus | None, list[IndexStatus]]:
            found = index.find(connection, table.names)
            return index.usable(found, table.names, table.metric), self._parts_in(found)

        if column is None and not look()[1]:
            return
        with alone(connection, table.names.scope):
            whole, there = look()
            due: list[Part] = []
            if column is not None and whole is not None:
                known = [each.part for each in there if each.part is not None]
                due = partial.large(connection, table.names, column, AUTO_ROWS, known)
            index.drop_these(connection, table.names, [each for each in there if each.part not in due])
            if whole is None:
                return
            good: dict[Part | None, IndexStatus] = {}
            for each in there:
                if each.part in due and each.valid and _is_like(each, whole):
                    good.setdefault(each.part, each)
            spec = replace(index.spec_of(whole), lists=None)
            former = [each for each in there if each.part in good and each is not good[each.part]]
            try:
                for part in due:
                    if part not in good:
                        self._build(connection, table, spec, progress, part, whole, former)
            except BaseException:
                # The connection may be gone; the next sync drops what stays.
                with suppress(StoreError, psycopg.Error):
                    index.drop_these(connection, table.names, former)
                raise
            index.retire(connection, table.names, former, progress or _unheard)

    def _parts_in(self, there: Sequence[IndexStatus]) -> list[IndexStatus]:
        return [each for each in there if partial.is_named(each.name) and index.is_ours(self.table.names, each)]

    def _serves(self, connection: Connection, there: Sequence[IndexStatus]) -> bool:
        found = index.usable(there, self.table.names, self.table.metric)
        return found is not None and not index.leaves_out_too_little(connection, self.table.names, found)

    def analyse(self) -> None:
        """Have the planner know a table that changed by a tenth: filtered searches go by its estimates."""
        names = self.table.names

        def work(connection: Connection) -> None:
            if connection.info.server_version >= COUNTS_ARE_SENT:
                # What this session has changed would otherwise be counted up to a second later.
                connection.execute("select pg_stat_force_next_flush()")
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
        self._sessions.write(lambda c: self._ensure_parts(c, progress))
        if self.passages is not None and self.passages.is_filled():
            self.passages.build(chosen, progress)
        return built

    def is_filled(self) -> bool:
        """The table has vectors. An IVFFlat index that is made of none would serve none that come later."""
        return self._sessions.read(lambda c: has_vectors(c, self.table, 1))

    def drop(self) -> int:
        dropped = self._sessions.write(lambda c: index.drop(c, self.table.names))
        return dropped + (self.passages.drop() if self.passages else 0)

    def tune(
        self, target: float, queries: int | Vectors = 200, k: int = 10, progress: Progress | None = None
    ) -> list[Effort]:
        table = self.table

        def work(connection: Connection) -> list[Effort]:
            found = self._look(connection, index.find(connection, table.names))
            if found is None:
                raise StoreError(f"{table.names.scope} has no vector index.", hint="Run `rowvec index build` first.")
            beside = self.passages.beside(connection) if self.passages else None
            efforts = tuning.measure(
                connection, table, found, target=target, queries=queries, k=k, progress=progress, passages=beside
            )
            if efforts:
                kept = efforts[-1]
                index.save_tuning(connection, table.names, found.status, kept.effort, kept.recall)
                if beside and beside[1] and kept.passages:
                    index.save_tuning(connection, beside[0].names, beside[1].status, kept.passages, kept.recall)
            return efforts

        return self._sessions.write(work)

    def beside(self, connection: Connection) -> tuple[VectorTable, Serving | None] | None:
        """The table and what serves it, if there is anything in it that searches look at."""
        if not has_vectors(connection, self.table, 1):
            return None
        return self.table, self._look(connection, index.find(connection, self.table.names))

    def _build(
        self,
        connection: Connection,
        table: VectorTable,
        spec: IndexSpec,
        progress: Progress | None,
        part: Part | None = None,
        whole: IndexStatus | None = None,
        later: list[IndexStatus] | None = None,
    ) -> IndexStatus:
        """
        Args:
            whole: the index of all rows, which that of a part is like.
            later: see `index.build`.
        """
        return index.build(
            connection, table.names, spec, metric=table.metric, storage=table.storage, dimension=table.dimension,
            progress=progress, watcher=self._sessions.another, part=part,
            left_out=repeated.hashes_of(whole.definition) if whole else None,
            centred=whole is None or bool(centre.text_of(whole.definition)), later=later,
        )  # fmt: skip


def _tell_of_owner(names: Names) -> None:
    index.logger.warning(
        "%s has no vector index, and only the owner of the table may make one. Searches compare every row until then."
        ' Let the owner run `rowvec index build`, or write index = "none" into the store\'s table of rowvec.toml.',
        names.scope,
    )


def _unheard(phase: str, done: int, total: int | None) -> None:
    """Progress that nobody asked for."""


def _is_like(part: IndexStatus, whole: IndexStatus) -> bool:
    """It holds its rows as the index of all rows does, with a centre of its own, and leaves out the same texts."""
    specs = [replace(index.spec_of(each), lists=None) for each in (part, whole)]
    texts = [repeated.hashes_of(each.definition) for each in (part, whole)]
    centred = [bool(centre.text_of(each.definition)) for each in (part, whole)]
    same = specs[0] == specs[1] and texts[0] == texts[1] and centred[0] == centred[1]
    return same and part.operators == whole.operators


def has_vectors(connection: Connection, table: VectorTable, least: int) -> bool:
    """The table has at least that number of vectors. No further ones are counted: a count reads the whole table."""
    some = sql.SQL("select count(*) from (select from {table} where {embedding} is not null limit %s) known")
    return bool(single(connection.execute(some.format(**table.names.parts), [least]))[0] >= least)
