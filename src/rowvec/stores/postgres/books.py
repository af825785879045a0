"""What is not about one vector, in schema `rowvec`: generations, failures, offsets, and sums of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb

from rowvec.errors import GenerationChanged, StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.ledger import GenerationStatus
from rowvec.stores.migrations import fingerprint_of
from rowvec.stores.postgres import counting, migrations
from rowvec.stores.postgres.connect import single, use_vectors
from rowvec.stores.postgres.locks import LOCK_MILLISECONDS
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.vector_index import index
from rowvec.stores.postgres.vector_index.nearest import VectorTable
from rowvec.support.keys import key_of
from rowvec.types import ColumnType, Document, Failure, Fingerprint, Key, PastFailure, State, UnfitValue

Connection = psycopg.Connection[Any]
_VERSION = "to_char(changed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00:00')"
"""The same whatever the session's time zone is."""
FEW = 100
"""Rows for which to ask whether one of them has failed before takes longer than to forget that they have."""

_KNOWN = f"""
select to_jsonb(g), {_VERSION}, m.version, m.program
from (select) one left join (select version, program from rowvec.meta order by version desc limit 1) m on true
left join rowvec.generations g on g.scope = %s
"""
"""As objects: an older rowvec made fewer columns."""
_HOLD = f"""with aimed as (
    select {_VERSION} as version from rowvec.generations where scope = %s and state = %s for share
), meta as (select version, program from rowvec.meta order by version desc limit 1)
select (select version from meta), (select program from meta), (select version from aimed)"""


class Known(NamedTuple):
    """What the books say of a generation."""

    fingerprint: Fingerprint
    recipe: str
    settings: str
    version: str
    """When it came into its state, to the microsecond."""
    undone: bool


class Fence(NamedTuple):
    """The generation that a write is meant for. Other vectors have its names as soon as the books say otherwise."""

    scope: str
    state: State
    version: str | None
    """None where the books do not list it."""

    def hold(self, connection: Connection, location: str) -> None:
        """Until the transaction ends it keeps its place, and no step changes the books.

        Raises:
            GenerationChanged: it has lost its place, or is gone.
            StoreError: a newer rowvec has changed the store.
        """
        number, program, version = single(connection.execute(_HOLD, [self.scope, self.state]))
        migrations.refuse_newer_than_known(number, program, location)
        if version != self.version:
            raise GenerationChanged.at(location)


class Bookkeeping:
    """The rows of one vector table (`scope`, its qualified name) in rowvec's own tables.

    Failures and offsets are those of the generation `filling`, another scope while one is built: what one model refuses
    another may take, and after a rollback events are read again from where that generation had come to. Positions are
    of the rows, whatever generation.
    """

    def __init__(self, scope: str, pipeline: str, filling: str | None = None) -> None:
        self.scope = scope
        self.filling = filling or scope
        self.pipeline = pipeline
        self._there = False
        """The tables have been seen: one question less each time that they are read."""

    def live(self, connection: Connection) -> Known | None:
        """The generation that searches see; None before the first sync."""
        return self.known(connection).get(State.LIVE)

    def fence(self, known: Mapping[State, Known], state: State) -> Fence:
        """What a write into the generation in that state has to prove, by what the books said."""
        return Fence(self.scope, state, known[state].version if state in known else None)

    def says(self, connection: Connection, spec: TableSpec, fence: Fence | None) -> bool:
        """Whether the live generation is that of `fence` and has all of the spec on record."""
        known = self.live(connection)
        if known is None or (fence is not None and fence.version != known.version):
            return False
        return known[:3] == (spec.fingerprint, spec.recipe, spec.settings)

    def keep_others_out(self, connection: Connection) -> None:
        """Whoever writes vectors holds what the books say of their generation: this waits for them, and they for it.

        Before any lock of a table, since they lock in this order too.
        """
        connection.execute(f"set local lock_timeout = {LOCK_MILLISECONDS}")
        connection.execute("select from rowvec.generations where scope = %s for update", [self.scope])

    def known(self, connection: Connection) -> dict[State, Known]:
        """Every generation there is.

        Raises:
            StoreError: a newer rowvec has changed the books, or nobody can read them.
        """
        if not self._there:
            there = "select to_regclass('rowvec.generations')::text, to_regclass('rowvec.meta')::text"
            books, meta = single(connection.execute(there))
            if books is None:
                return {}
            if meta is None:
                rows = connection.execute(
                    f"select to_jsonb(g), {_VERSION} from rowvec.generations g where scope = %s", [self.scope]
                )
                return self._by_state(rows.fetchall())
            self._there = True
        try:
            found = connection.execute(_KNOWN, [self.scope]).fetchall()
        except psycopg.errors.UndefinedTable:
            self._there = False
            if connection.info.transaction_status is not TransactionStatus.IDLE:
                raise
            return self.known(connection)
        migrations.refuse_newer_than_known(found[0][2], found[0][3], self.scope)
        return self._by_state([(row, changed) for row, changed, *_ in found if row is not None])

    def _by_state(self, rows: Sequence[tuple[Mapping[str, Any], str]]) -> dict[State, Known]:
        return {
            State(row["state"]): self._known(row, changed) for row, changed in rows if row.get("state") in set(State)
        }

    def _known(self, row: Mapping[str, Any], changed: str) -> Known:
        try:
            fingerprint = fingerprint_of(row.get("fingerprint"))
        except ValueError as error:
            raise StoreError(
                f"{self.scope}: the store does not say which model made its vectors: {error}.",
                hint="Restore the schema rowvec from a copy, or name another table in store.table.",
            ) from None
        return Known(fingerprint, row.get("recipe", ""), row.get("settings", ""), changed, row.get("undone", False))

    def version(self, connection: Connection) -> str:
        """Of the live generation; "" where there are no books. The statement that every search adds."""
        try:
            found = connection.execute(
                f"select {_VERSION} from rowvec.generations where scope = %s and state = 'live'", [self.scope]
            ).fetchone()
        except psycopg.errors.UndefinedTable:
            return ""
        return "" if found is None else str(found[0])

    def set_generation(
        self,
        connection: Connection,
        known: Known | None,
        state: State,
        fingerprint: Fingerprint,
        recipe: str,
        settings: str,
    ) -> bool:
        """Make this the live generation or the one being built, or bring its settings up to date.

        Args:
            known: what the books say of that state.

        Returns:
            Whether they said otherwise.
        """
        if known is not None and known[:3] == (fingerprint, recipe, settings):
            return False  # A commit that writes waits for the disk.
        same = known is not None and known.fingerprint == fingerprint
        connection.execute(
            "insert into rowvec.generations as g (scope, pipeline, fingerprint, recipe, settings, state)"
            " values (%s, %s, %s, %s, %s, %s) on conflict (scope, state) do update"
            " set recipe = excluded.recipe, fingerprint = excluded.fingerprint, pipeline = excluded.pipeline,"
            " settings = excluded.settings, changed_at ="
            " case when %s then g.changed_at else clock_timestamp() end",
            [self.scope, self.pipeline, Jsonb(fingerprint.as_dict()), recipe, settings, state, same],
        )
        return True

    def move(self, connection: Connection, old: State, new: State, *, undone: bool = False) -> None:
        """The generation in one state is in another from now on; whatever was in that is forgotten."""
        self.forget(connection, new)
        connection.execute(
            "update rowvec.generations set state = %s, undone = %s, changed_at = clock_timestamp()"
            " where scope = %s and state = %s",
            [new, undone, self.scope, old],
        )

    def exchange(self, connection: Connection) -> None:
        """Swap the live generation and the previous one; a rollback is what does that."""
        previous = connection.execute(
            "delete from rowvec.generations where scope = %s and state = 'previous'"
            " returning pipeline, fingerprint, recipe, settings",
            [self.scope],
        ).fetchone()
        assert previous is not None
        self.move(connection, State.LIVE, State.PREVIOUS, undone=True)
        pipeline, fingerprint, recipe, settings = previous
        connection.execute(
            "insert into rowvec.generations (scope, pipeline, fingerprint, recipe, settings, state)"
            " values (%s, %s, %s, %s, %s, 'live')",
            [self.scope, pipeline, Jsonb(fingerprint), recipe, settings],
        )

    def forget(self, connection: Connection, state: State) -> None:
        connection.execute("delete from rowvec.generations where scope = %s and state = %s", [self.scope, state])

    def move_progress(self, connection: Connection, old: str, new: str) -> None:
        """Failures and offsets follow their generation; those of a generation that was there are forgotten."""
        self.forget_progress(connection, new)
        for table in _OF_A_GENERATION:
            connection.execute(f"update {table} set scope = %s where scope = %s", [new, old])

    def forget_progress(self, connection: Connection, scope: str) -> None:
        for table in _OF_A_GENERATION:
            connection.execute(f"delete from {table} where scope = %s", [scope])

    def inherit_offsets(self, connection: Connection, old: str, new: str) -> None:
        """What was filled from the table goes on with the events where the generation before it was."""
        connection.execute(
            "insert into rowvec.offsets (scope, stream, next) select %s, stream, next from rowvec.offsets"
            " where scope = %s on conflict (scope, stream) do nothing",
            [new, old],
        )

    def past_failures(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, PastFailure]:
        if not self._has_failures(connection):
            return {}
        by_name = {str(key): key for key in keys}
        rows = connection.execute(
            "select key, text_hash, attempts, next_try from rowvec.failures where scope = %s and key = any(%s)",
            [self.filling, list(by_name)],
        ).fetchall()
        return {by_name[name]: PastFailure(text_hash, attempts, due) for name, text_hash, attempts, due in rows}

    def _has_failures(self, connection: Connection) -> bool:
        """Most tables have none: to ask that first is cheaper than to send every key of a page as text."""
        return connection.execute("select from rowvec.failures where scope = %s limit 1", [self.filling]).rowcount > 0

    def add_failures(self, connection: Connection, failures: Sequence[Failure]) -> None:
        # Not by `on conflict`: a unique index takes no long keys, which are among the rows that fail.
        self.clear_failures(connection, [failure.key for failure in failures])
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into rowvec.failures (scope, key, error, attempts, failed_at, next_try, text_hash)"
                " values (%s, %s, %s, %s, %s, %s, %s)",
                [
                    (
                        self.filling,
                        str(f.key),
                        f.error.replace("\0", ""),
                        f.attempts,
                        f.failed_at,
                        f.next_try,
                        f.text_hash,
                    )
                    for f in failures
                ],
            )

    def clear_failures(self, connection: Connection, keys: Sequence[Key]) -> None:
        if not keys or (len(keys) > FEW and not self._has_failures(connection)):
            return
        connection.execute(
            "delete from rowvec.failures where scope = %s and key = any(%s)", [self.filling, [str(k) for k in keys]]
        )

    def write_unfit(self, connection: Connection, documents: Sequence[Document], gone: Sequence[Key]) -> None:
        """Bring the list of unfit metadata in step with rows that were written and keys that were deleted."""
        listed = [(str(each.key), *unfit) for each in documents for unfit in each.unfit]
        if connection.execute("select from rowvec.unfit where scope = %s limit 1", [self.filling]).rowcount:
            keys = [*(str(document.key) for document in documents), *map(str, gone)]
            connection.execute("delete from rowvec.unfit where scope = %s and key = any(%s)", [self.filling, keys])
        if listed:
            connection.execute(
                'insert into rowvec.unfit (scope, key, "column", reason)'
                " select %s, * from unnest(%s::text[], %s::text[], %s::text[])",
                [self.filling, *map(list, zip(*listed, strict=True))],
            )

    def unfit(
        self, connection: Connection, keys: Sequence[Key] | None, limit: int | None, key_type: ColumnType
    ) -> list[UnfitValue]:
        if not has_table(connection, "unfit"):
            return []  # A store that no sync of this version has filled yet.
        rows = connection.execute(
            'select key, "column", reason from rowvec.unfit where scope = %s and (%s or key = any(%s))'
            ' order by "column", key limit %s',
            [self.filling, keys is None, [str(key) for key in keys or ()], limit],
        )
        return [UnfitValue(key_of(key, key_type), column, reason) for key, column, reason in rows.fetchall()]

    def failures(self, connection: Connection, limit: int | None, key_type: ColumnType) -> list[Failure]:
        rows = connection.execute(
            "select key, error, attempts, failed_at, next_try, text_hash from rowvec.failures"
            " where scope = %s order by failed_at desc, key limit %s",
            [self.filling, limit],
        ).fetchall()
        return [Failure(key_of(row[0], key_type), *row[1:]) for row in rows]

    def save_progress(self, connection: Connection, positions: Mapping[Key, str], offsets: Mapping[str, str]) -> None:
        """Keep how far change events were carried out, in the caller's transaction."""
        saved = ((_SAVE_POSITIONS, self.scope, positions), (_SAVE_OFFSETS, self.filling, offsets))
        for statement, scope, values in saved:
            if values:
                connection.execute(statement, [scope, [str(name) for name in values], list(values.values())])

    def offsets(self, connection: Connection) -> dict[str, str]:
        rows = connection.execute("select stream, next from rowvec.offsets where scope = %s", [self.filling])
        return dict(rows.fetchall())

    def positions(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, str]:
        by_name = {str(key): key for key in keys}
        rows = connection.execute(
            "select key, position from rowvec.positions where scope = %s and key = any(%s)",
            [self.scope, list(by_name)],
        )
        return {by_name[name]: position for name, position in rows.fetchall()}


_OF_A_GENERATION = ("rowvec.failures", "rowvec.offsets", "rowvec.unfit", "rowvec.deletions", "rowvec.refusals")
_SAVE_POSITIONS = (
    "insert into rowvec.positions (scope, key, position) select %s, * from unnest(%s::text[], %s::text[])"
    " on conflict (scope, key) do update set position = excluded.position"
)
_SAVE_OFFSETS = (
    "insert into rowvec.offsets (scope, stream, next) select %s, * from unnest(%s::text[], %s::text[])"
    " on conflict (scope, stream) do update set next = excluded.next, updated_at = now()"
)


def has_table(connection: Connection, name: str) -> bool:
    """A store that no sync of this version has seen may lack what a later step makes."""
    return connection.execute("select to_regclass(%s)", [f"rowvec.{name}"]).fetchone() != (None,)


# Sums

_HAS_VECTOR = "exists (select from {table} where {key}::text = f.key and {embedding} is not null)"


def of_table(connection: Connection, table: VectorTable) -> GenerationStatus:
    """What `rowvec status` shows of a generation."""
    names = table.names
    rows, truncated = counting.vectors(connection, names)
    sized = connection.execute("select pg_total_relation_size(%s::regclass)", [names.sql.as_string(connection)])
    (size,) = single(sized)
    failed, stale = count_failures(connection, names, table.key)
    count = "select count(*) from rowvec.unfit where scope = %s"
    unfit = int(single(connection.execute(count, [names.scope]))[0]) if has_table(connection, "unfit") else 0
    version = use_vectors(connection)
    return GenerationStatus(
        rows=rows, failures=failed, stale=stale, truncated=truncated, bytes=size, unfit=unfit,
        index=index.usable(index.find(connection, names), names, table.metric),
        engine=f"pgvector {version}",
    )  # fmt: skip


def count_failures(connection: Connection, names: Names, key: sql.Identifier) -> tuple[int, int]:
    """Rows of a generation that failed, and how many of them have a vector, of a text that they had before."""
    counted = f"select count(*), count(*) filter (where {_HAS_VECTOR}) from rowvec.failures f where scope = %s"
    found: tuple[int, int] = single(connection.execute(sql.SQL(counted).format(key=key, **names.parts), [names.scope]))
    return found


def count_lost(connection: Connection, live: Names, building: Names, key: sql.Identifier) -> int:
    """Rows with a current vector in the live generation that failed in the one that is being built."""
    query = f"""select count(*) from rowvec.failures f where scope = %s and {_HAS_VECTOR}
        and not exists (select from rowvec.failures also where also.scope = %s and also.key = f.key)"""
    (count,) = single(connection.execute(sql.SQL(query).format(key=key, **live.parts), [building.scope, live.scope]))
    return int(count)
