"""Generations, runs and failures: what is not about one vector, in schema `rowvec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from rowvec.stores.postgres.connect import single
from rowvec.types import ColumnType, Failure, Fingerprint, Key, PastFailure, Report, Run

Connection = psycopg.Connection[Any]


class Bookkeeping:
    """The rows of one vector table (`scope`, its qualified name) in rowvec's own tables."""

    def __init__(self, scope: str, pipeline: str) -> None:
        self.scope = scope
        self.pipeline = pipeline

    def live(self, connection: Connection) -> tuple[Fingerprint, str] | None:
        """Fingerprint and recipe of the generation that searches see; None before the first sync."""
        return self._generation(connection, "live")

    def building(self, connection: Connection) -> Fingerprint | None:
        """Fingerprint of the generation that is being filled."""
        found = self._generation(connection, "building")
        return None if found is None else found[0]

    def _generation(self, connection: Connection, state: str) -> tuple[Fingerprint, str] | None:
        if connection.execute("select to_regclass('rowvec.generations')").fetchone() == (None,):
            return None
        found = connection.execute(
            "select fingerprint, recipe from rowvec.generations where scope = %s and state = %s", [self.scope, state]
        ).fetchone()
        return None if found is None else (Fingerprint(**found[0]), found[1])

    def set_generation(self, connection: Connection, state: str, fingerprint: Fingerprint, recipe: str) -> None:
        """Make this the live generation or the one being built, or bring its recipe up to date."""
        if self._generation(connection, state) == (fingerprint, recipe):
            return  # A commit that writes waits for the disk.
        connection.execute(
            "insert into rowvec.generations (scope, pipeline, fingerprint, recipe, state)"
            " values (%s, %s, %s, %s, %s) on conflict (scope, state) do update"
            " set recipe = excluded.recipe, fingerprint = excluded.fingerprint, pipeline = excluded.pipeline",
            [self.scope, self.pipeline, Jsonb(fingerprint.as_dict()), recipe, state],
        )

    def promote(self, connection: Connection) -> None:
        """The generation being built is live now, and the one that was live is the previous one."""
        for old, new in (("previous", None), ("live", "previous"), ("building", "live")):
            if new is None:
                connection.execute("delete from rowvec.generations where scope = %s and state = %s", [self.scope, old])
            else:
                connection.execute(
                    "update rowvec.generations set state = %s, changed_at = now() where scope = %s and state = %s",
                    [new, self.scope, old],
                )

    def begin_run(self, connection: Connection) -> int:
        # Whoever calls holds the lock, so a run that still says "running" has lost its process.
        connection.execute(
            "update rowvec.runs set outcome = 'lost' where scope = %s and outcome = 'running'", [self.scope]
        )
        with connection.transaction():
            # The commits that follow bring it to the disk too.
            connection.execute("set local synchronous_commit = off")
            insert = "insert into rowvec.runs (scope, pipeline) values (%s, %s) returning id"
            return int(single(connection.execute(insert, [self.scope, self.pipeline]))[0])

    def save_run(self, connection: Connection, run: int, report: Report, outcome: str, error: str | None) -> None:
        connection.execute(
            "update rowvec.runs set report = %s, outcome = %s, error = %s,"
            " ended_at = case when %s = 'running' then null else now() end where id = %s",
            [Jsonb(report.as_dict()), outcome, error, outcome, run],
        )

    def runs(self, connection: Connection, limit: int, *, locked: bool) -> list[Run]:
        rows = connection.execute(
            "select id, pipeline, started_at, ended_at, outcome, report, error from rowvec.runs"
            " where scope = %s order by id desc limit %s",
            [self.scope, limit],
        ).fetchall()
        return [
            Run(
                number,
                pipeline,
                started,
                ended,
                "lost" if outcome == "running" and not locked else outcome,
                report,
                error,
            )
            for number, pipeline, started, ended, outcome, report, error in rows
        ]

    def totals(self, connection: Connection) -> dict[str, Any]:
        """Runs, texts, tokens and cost over the life of the table."""
        row = single(
            connection.execute(
                "select count(*), coalesce(sum((report->>'texts')::bigint), 0),"
                " coalesce(sum((report->>'tokens')::bigint), 0), coalesce(sum((report->>'cost')::float8), 0)"
                " from rowvec.runs where scope = %s",
                [self.scope],
            )
        )
        return {"runs": row[0], "texts": int(row[1]), "tokens": int(row[2]), "cost": float(row[3])}

    def past_failures(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, PastFailure]:
        # Most tables have no failures: to ask that first is cheaper than to send every key of a page as text.
        if connection.execute("select from rowvec.failures where scope = %s limit 1", [self.scope]).rowcount == 0:
            return {}
        by_name = {str(key): key for key in keys}
        rows = connection.execute(
            "select key, text_hash, attempts, next_try from rowvec.failures where scope = %s and key = any(%s)",
            [self.scope, list(by_name)],
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
                        self.scope,
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
                "delete from rowvec.failures where scope = %s and key = any(%s)", [self.scope, [str(k) for k in keys]]
            )

    def failures(self, connection: Connection, limit: int | None, key_type: ColumnType) -> list[Failure]:
        rows = connection.execute(
            "select key, error, attempts, failed_at, next_try, text_hash from rowvec.failures"
            " where scope = %s order by failed_at desc, key limit %s",
            [self.scope, limit],
        ).fetchall()
        return [Failure(parse_key(row[0], key_type), *row[1:]) for row in rows]

    def save_progress(self, connection: Connection, positions: Mapping[Key, str], offsets: Mapping[str, str]) -> None:
        """Keep how far change events were carried out, in the caller's transaction."""
        for statement, values in ((_SAVE_POSITIONS, positions), (_SAVE_OFFSETS, offsets)):
            if values:
                names = [str(name) for name in values]
                connection.execute(statement, [self.scope, names, list(values.values())])

    def offsets(self, connection: Connection) -> dict[str, str]:
        rows = connection.execute("select stream, next from rowvec.offsets where scope = %s", [self.scope])
        return dict(rows.fetchall())

    def positions(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, str]:
        by_name = {str(key): key for key in keys}
        rows = connection.execute(
            "select key, position from rowvec.positions where scope = %s and key = any(%s)",
            [self.scope, list(by_name)],
        )
        return {by_name[name]: position for name, position in rows.fetchall()}


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
