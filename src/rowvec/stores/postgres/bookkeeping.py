"""Generations, failures and offsets: what is not about one vector, in schema `rowvec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from rowvec.errors import StoreError
from rowvec.stores.migrations import fingerprint_of
from rowvec.stores.postgres import migrations
from rowvec.stores.postgres.connect import single
from rowvec.types import ColumnType, Failure, Fingerprint, Key, PastFailure, State

Connection = psycopg.Connection[Any]
_VERSION = "to_char(changed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00:00')"
"""The same whatever the session's time zone is."""


class Known(NamedTuple):
    """What the books say of a generation."""

    fingerprint: Fingerprint
    recipe: str
    settings: str
    version: str
    """When it came into its state, to the microsecond."""
    undone: bool


class Bookkeeping:
    """The rows of one vector table (`scope`, its qualified name) in rowvec's own tables.

    Failures and offsets are those of the generation `filling`, another scope while one is built: what one model refuses
    another may take, and after a rollback events are read again from where that generation had come to. Positions are
    of the rows, whatever generation.
    """

    def __init__(self, scope: str, pipeline: str) -> None:
        self.scope = scope
        self.filling = scope
        self.pipeline = pipeline

    def live(self, connection: Connection) -> Known | None:
        """The generation that searches see; None before the first sync."""
        return self.known(connection).get(State.LIVE)

    def building(self, connection: Connection) -> Fingerprint | None:
        """Fingerprint of the generation that is being filled."""
        found = self.known(connection).get(State.BUILDING)
        return None if found is None else found.fingerprint

    def known(self, connection: Connection) -> dict[State, Known]:
        """Every generation there is.

        Raises:
            StoreError: a newer rowvec has changed the books, or nobody can read them.
        """
        there = "select to_regclass('rowvec.generations')::text, to_regclass('rowvec.meta')::text"
        books, meta = single(connection.execute(there))
        if books is None:
            return {}
        if meta is not None:
            migrations.guard(connection, self.scope)
        # As objects: an older rowvec made fewer columns.
        rows = connection.execute(
            f"select to_jsonb(g), {_VERSION} from rowvec.generations g where scope = %s", [self.scope]
        )
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
        self, connection: Connection, state: State, fingerprint: Fingerprint, recipe: str, settings: str
    ) -> None:
        """Make this the live generation or the one being built, or bring its settings up to date."""
        known = self.known(connection).get(state)
        if known is not None and known[:3] == (fingerprint, recipe, settings):
            return  # A commit that writes waits for the disk.
        connection.execute(
            "insert into rowvec.generations as g (scope, pipeline, fingerprint, recipe, settings, state)"
            " values (%s, %s, %s, %s, %s, %s) on conflict (scope, state) do update"
            " set recipe = excluded.recipe, fingerprint = excluded.fingerprint, pipeline = excluded.pipeline,"
            " settings = excluded.settings, changed_at ="
            " case when g.fingerprint = excluded.fingerprint then g.changed_at else clock_timestamp() end",
            [self.scope, self.pipeline, Jsonb(fingerprint.as_dict()), recipe, settings, state],
        )

    def move(self, connection: Connection, old: State, new: State, *, undone: bool = False) -> None:
        """The generation in one state is in another from now on; whatever was in that is forgotten."""
        self.forget(connection, new)
        connection.execute(
            "update rowvec.generations set state = %s, undone = %s, changed_at = clock_timestamp()"
            " where scope = %s and state = %s",
            [new, undone, self.scope, old],
        )

    def exchange(self, connection: Connection) -> None:
        """The live generation and the previous one change places; a rollback is what does that."""
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
        # Most tables have no failures: to ask that first is cheaper than to send every key of a page as text.
        if connection.execute("select from rowvec.failures where scope = %s limit 1", [self.filling]).rowcount == 0:
            return {}
        by_name = {str(key): key for key in keys}
        rows = connection.execute(
            "select key, text_hash, attempts, next_try from rowvec.failures where scope = %s and key = any(%s)",
            [self.filling, list(by_name)],
        ).fetchall()
        return {by_name[name]: PastFailure(text_hash, attempts, due) for name, text_hash, attempts, due in rows}

    def add_failures(self, connection: Connection, failures: Sequence[Failure]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into rowvec.failures (scope, key, error, attempts, failed_at, next_try, text_hash)"
                " values (%s, %s, %s, %s, %s, %s, %s) on conflict (scope, key) do update set error = excluded.error,"
                " attempts = excluded.attempts, failed_at = excluded.failed_at, next_try = excluded.next_try,"
                " text_hash = excluded.text_hash",
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
        if keys:
            connection.execute(
                "delete from rowvec.failures where scope = %s and key = any(%s)", [self.filling, [str(k) for k in keys]]
            )

    def failures(self, connection: Connection, limit: int | None, key_type: ColumnType) -> list[Failure]:
        rows = connection.execute(
            "select key, error, attempts, failed_at, next_try, text_hash from rowvec.failures"
            " where scope = %s order by failed_at desc, key limit %s",
            [self.filling, limit],
        ).fetchall()
        return [Failure(parse_key(row[0], key_type), *row[1:]) for row in rows]

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


_OF_A_GENERATION = ("rowvec.failures", "rowvec.offsets")
_SAVE_POSITIONS = (
    "insert into rowvec.positions (scope, key, position) select %s, * from unnest(%s::text[], %s::text[])"
    " on conflict (scope, key) do update set position = excluded.position"
)
_SAVE_OFFSETS = (
    "insert into rowvec.offsets (scope, stream, next) select %s, * from unnest(%s::text[], %s::text[])"
    " on conflict (scope, stream) do update set next = excluded.next, updated_at = now()"
)


def parse_key(text: str, key_type: ColumnType) -> Key:
    if key_type is ColumnType.INTEGER:
        return int(text)
    return UUID(text) if key_type is ColumnType.UUID else text
