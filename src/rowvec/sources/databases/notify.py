"""A trigger that tells who listens which rows of a PostgreSQL table change.

One function and four triggers for each statement, not for each row: the keys of a statement go out in one
notification, and a statement or transaction that changes many rows says only that. The function never fails, because
it runs within the transactions of others. After it PREPARE TRANSACTION does: PostgreSQL prepares nothing that notified.

What nobody reads stays in one queue of the server, which is full in the end when somebody listens and is stopped: then
every commit that notifies fails. So the function is silent while that queue is half full, and who listens here compares
all rows from time to time until it is emptier.
"""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from rowvec.errors import SourceError, SourceUnavailable
from rowvec.sources.databases.base import CONNECT_SECONDS, Relation
from rowvec.sources.databases.heard import MANY, Heard
from rowvec.sources.databases.postgres import PostgresDatabase
from rowvec.sources.databases.postgres_checks import queue_usage
from rowvec.support.identifiers import LONGEST, clipped
from rowvec.support.poolers import is_lent
from rowvec.support.postgres_settings import ENCODING, FORMS, SETTINGS
from rowvec.support.retry import KEEPALIVES

logger = logging.getLogger("rowvec.waits")

KEYS_IN_ONE = 100
"""Rows of one statement that are named; where there are more, only that there are many is told."""
KEYS_IN_TRANSACTION = 1000
PAYLOAD_BYTES = 7900
"""PostgreSQL takes less than 8000."""
LOCK_SECONDS = 60
LOCK_MILLISECONDS = 300
"""Whoever waits for the table makes its writers wait behind: given up after so long, tried again."""
SILENT_SECONDS = 2.0
FULL = 0.5
"""Share of the queue above which the trigger is silent."""
LOOK_SECONDS = 30.0
"""How often the queue and the triggers are looked at, and all rows are compared while they are silent."""
STOPPED_SECONDS = 10.0
"""A listener that did nothing for so long was stopped: the queue may have been full meanwhile."""
_OPERATIONS = ("insert", "update", "delete", "truncate")
_TABLES = {
    "insert": "referencing new table as new_rows ",
    "update": "referencing old table as old_rows new table as new_rows ",
    "delete": "referencing old table as old_rows ",
    "truncate": "",
}
_FUNCTION: LiteralString = """
create or replace function {function}() returns trigger language plpgsql set search_path = pg_catalog, pg_temp
{forms} as
$rowvec$
declare
    keys json;
    payload text := '{{"many": true}}';
    named integer := coalesce(nullif(current_setting('rowvec.named', true), ''), '0')::integer;
begin
    if pg_notification_queue_usage() > {full} then
        return null; -- somebody listens and does not read: when the queue is full, commits fail
    end if;
    if tg_op = 'INSERT' then
        select json_agg(changed.key) into keys from (
            select {new} as key from new_rows limit {most} + 1
        ) as changed;
    elsif tg_op = 'DELETE' then
        select json_agg(changed.key) into keys from (
            select {old} as key from old_rows limit {most} + 1
        ) as changed;
    elsif tg_op = 'UPDATE' then
        select json_agg(changed.key) into keys from (
            (select {old} as key from old_rows limit {most} + 1) union
            (select {new} as key from new_rows limit {most} + 1)
        ) as changed;
    end if;
    if keys is null and tg_op <> 'TRUNCATE' then
        return null; -- no row was changed
    end if;
    if json_array_length(keys) <= {most} and named < {transaction} and octet_length(keys::text) < {bytes} then
        payload := json_build_object('keys', keys)::text;
        perform set_config('rowvec.named', (named + json_array_length(keys))::text, true);
    end if;
    perform pg_notify({channel}, payload);
    return null;
exception when others then
    perform pg_notify({channel}, '{{"many": true}}');
    return null;
end
$rowvec$"""


_FORMS = sql.SQL(" ").join(
    sql.SQL("set {} = {}").format(sql.Identifier(name), sql.Literal(SETTINGS[name])) for name in FORMS
)
"""A key is written as it is read, whatever the session that changes the row is set to."""


class Notifier:
    """The trigger of one table, and the connection that hears it."""

    def __init__(self, database: PostgresDatabase, relation: Relation, key: str, *, as_text: bool = False) -> None:
        """
        Args:
            as_text: the key is of a type that is read as the text that the server writes for it.

        Raises:
            SourceError: it is not a table.
        """
        assert relation.table is not None
        self._database, self._key, self._as_text = database, key, as_text
        self.schema, kind = self._found(relation)
        self.table = relation.table
        if kind not in "rp":
            raise SourceError(
                f"{relation.name} is not a table ({_KINDS.get(kind, kind)}): it has no triggers to listen to.",
                hint="Run `rowvec sync` again and again, or let `rowvec beat` do so.",
            )
        digest = hashlib.blake2b(repr((self.schema, self.table, key)).encode(), digest_size=4).hexdigest()
        room = LONGEST - len(f"rowvec__{digest}_truncate")
        self.channel = f"rowvec_{clipped(self.table, room)}_{digest}"

    def _found(self, relation: Relation) -> tuple[str, str]:
        name = sql.Identifier(*(part for part in (relation.schema, relation.table) if part))
        with self.connected() as connection:
            row = connection.execute(
                "select n.nspname, c.relkind::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
                " where c.oid = %s::regclass",
                [name.as_string(connection)],
            ).fetchone()
        assert row is not None
        return row[0], row[1]

    # --- the trigger ---------------------------------------------------------------------------------------

    def install_sql(self) -> list[str]:
        """The statements that make it, or make it again."""
        function, table = sql.Identifier(self.schema, self.channel), sql.Identifier(self.schema, self.table)
        comment = (
            f"Tells `rowvec watch` which rows of {self.schema}.{self.table} change, by NOTIFY {self.channel}."
            " `rowvec watch --uninstall` removes it."
        )
        statements: list[sql.Composable] = [
            sql.SQL(_FUNCTION.strip()).format(
                function=function, new=self._key_in("new_rows"), old=self._key_in("old_rows"), forms=_FORMS,
                channel=sql.Literal(self.channel),
                most=sql.Literal(KEYS_IN_ONE), transaction=sql.Literal(KEYS_IN_TRANSACTION),
                bytes=sql.Literal(PAYLOAD_BYTES - len('{"keys" : }')), full=sql.Literal(FULL),
            ),
            sql.SQL("comment on function {}() is {}").format(function, sql.Literal(comment)),
        ]  # fmt: skip
        for operation in _OPERATIONS:
            statements += [
                self._drop(operation),
                sql.SQL("create trigger {} after {} on {} {}for each statement execute function {}()").format(
                    self._trigger(operation), sql.SQL(operation), table, sql.SQL(_TABLES[operation]), function
                ),
            ]
        return self._written(statements)

    def _key_in(self, rows: str) -> sql.Composed:
        read = sql.SQL("nullif(concat({}), '')" if self._as_text else "{}")
        return read.format(sql.Identifier(rows, self._key))

    def uninstall_sql(self) -> list[str]:
        function = sql.Identifier(self.schema, self.channel)
        drop = sql.SQL("drop function if exists {}()").format(function)
        return self._written([*(self._drop(operation) for operation in _OPERATIONS), drop])

    def carry_out(self, statements: Sequence[str]) -> None:
        """All of them in one transaction, as soon as nobody works on the table for a moment.

        Raises:
            SourceError: the user may not.
            SourceUnavailable: the table is in use.
        """
        with self.connected() as connection:
            began, told = time.monotonic(), False
            try:
                while not self._carried_out(connection, statements, last=time.monotonic() - began > LOCK_SECONDS):
                    if not told and time.monotonic() - began > SILENT_SECONDS:
                        told = True
                        logger.warning("%s.%s is used by %s.", self.schema, self.table, self._users(connection))
                    time.sleep(random.uniform(0.1, 0.6))
            except psycopg.errors.InsufficientPrivilege as error:
                raise SourceError(
                    f"{self._database.location} does not let this user change the triggers of"
                    f" {self.schema}.{self.table}:"
                    f" {error.diag.message_primary}",
                    hint=f"Let its owner run it, or: grant trigger on {self.schema}.{self.table} to …;"
                    f" grant create on schema {self.schema} to …",
                ) from error
            except psycopg.errors.LockNotAvailable as error:
                raise SourceUnavailable(
                    f"{self.schema}.{self.table} was in use for {LOCK_SECONDS} seconds; nothing was changed.",
                    hint="Run it again when no long transaction works on the table.",
                ) from error

    @staticmethod
    def _carried_out(connection: psycopg.Connection[Any], statements: Sequence[str], *, last: bool) -> bool:
        try:
            with connection.transaction():
                connection.execute(f"set local lock_timeout = {LOCK_MILLISECONDS}")
                for statement in statements:
                    connection.execute(statement.encode())
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if last:
                raise
            return False
        return True

    def _users(self, connection: psycopg.Connection[Any]) -> str:
        """Who works on the table now."""
        rows = connection.execute(
            "select distinct a.pid, a.application_name from pg_locks l join pg_stat_activity a using (pid)"
            " where l.relation = %s::regclass and l.granted and a.pid <> pg_backend_pid()",
            [sql.Identifier(self.schema, self.table).as_string(connection)],
        ).fetchall()
        return ", ".join(f"{name or 'a client'} (server process {pid})" for pid, name in rows) or "others"

    def prepares(self) -> bool:
        """Whether the server keeps prepared transactions, in which nothing can be notified."""
        with self.connected() as connection:
            found = connection.execute("show max_prepared_transactions").fetchone()
        return found != ("0",)

    def installed(self) -> bool:
        """All triggers are there, and switched on."""
        with self.connected() as connection:
            return self._installed(connection)

    def _installed(self, connection: psycopg.Connection[Any]) -> bool:
        names = [f"{self.channel}_{operation}" for operation in _OPERATIONS]
        found = connection.execute(
            "select count(*) from pg_trigger t join pg_class c on c.oid = t.tgrelid"
            " join pg_namespace n on n.oid = c.relnamespace where (n.nspname, c.relname) = (%s, %s)"
            " and t.tgname = any(%s) and t.tgenabled in ('O', 'A')",
            [self.schema, self.table, names],
        ).fetchone()
        return found == (len(names),)

    def _trigger(self, operation: str) -> sql.Identifier:
        return sql.Identifier(f"{self.channel}_{operation}")

    def _drop(self, operation: str) -> sql.Composed:
        return sql.SQL("drop trigger if exists {} on {}").format(
            self._trigger(operation), sql.Identifier(self.schema, self.table)
        )

    def _written(self, statements: Sequence[sql.Composable]) -> list[str]:
        with self.connected() as connection:
            return [statement.as_string(connection) for statement in statements]

    # --- listening -----------------------------------------------------------------------------------------

    @contextmanager
    def listening(self) -> Iterator[Heard]:
        """Everything that commits from now on until the block ends is heard, or the connection is known to be lost.

        Raises:
            SourceError: a pooler would let others hear it.
        """
        heard = Heard()
        done = threading.Event()
        with self.connected() as connection:
            if is_lent(connection, self._open):
                raise SourceError(
                    f"{self._database.location} is behind a pooler in transaction mode, where nothing can be listened"
                    " to.",
                    hint="Set source.url to the database itself, or to a pooler in session mode.",
                )
            connection.execute("set application_name to 'rowvec watch'")
            connection.execute(sql.SQL("listen {}").format(sql.Identifier(self.channel)))
            thread = threading.Thread(
                target=self._listen, args=(connection, heard, done), name="rowvec-listener", daemon=True
            )
            thread.start()
            try:
                yield heard
            finally:
                done.set()
                thread.join()

    def _listen(self, connection: psycopg.Connection[Any], heard: Heard, done: threading.Event) -> None:
        looked = time.monotonic()
        reasons: set[str] = set()
        try:
            while not done.is_set():
                began = time.monotonic()
                for notice in connection.notifies(timeout=0.2):
                    heard.add(notice.payload)
                    if done.is_set():
                        return
                if time.monotonic() - looked >= LOOK_SECONDS:
                    looked, before = time.monotonic(), reasons
                    reasons = self._silent(connection, before)
                    if before or reasons:
                        # Something may have been left untold since the last look.
                        heard.add(MANY)
                if time.monotonic() - began > STOPPED_SECONDS:
                    heard.add(MANY)
        except psycopg.Error as error:
            heard.lose(self._database.no_answer(str(error).strip().partition("\n")[0]))

    def _silent(self, connection: psycopg.Connection[Any], told: set[str]) -> set[str]:
        """Why the trigger does not tell of every change now; what was not told before is logged."""
        found = {}
        usage = queue_usage(connection)
        if usage > FULL:
            found["queue"] = (
                f"The NOTIFY queue of {self._database.location} is {usage:.0%} full, because somebody listens and does"
                " not read. Until that ends,"
            )
        if not self._installed(connection):
            found["trigger"] = (
                f"{self.schema}.{self.table} has lost its trigger, as when another table has taken its name. Until"
                " `rowvec watch --install` is run,"
            )
        for reason, said in found.items():
            if reason not in told:
                logger.warning("%s all rows are compared every %.0f s.", said, LOOK_SECONDS)
        return set(found)

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of its own: those of the source are read-only, and go back to their pool."""
        try:
            with closing(self._open()) as connection:
                yield connection
        except psycopg.Error as error:
            raise self._database.translate(error) from error

    def _open(self) -> psycopg.Connection[Any]:
        engine = self._database.engine
        options: dict[str, Any] = {**engine.dialect.create_connect_args(engine.url)[1], **KEEPALIVES}
        options |= {"connect_timeout": CONNECT_SECONDS, "autocommit": True, "prepare_threshold": None}
        options["client_encoding"] = ENCODING
        return psycopg.connect(**options)


_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
