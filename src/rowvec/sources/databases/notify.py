"""A trigger that tells who listens which rows of a PostgreSQL table change.

One function and four triggers for each statement, not for each row: the keys of a statement go out in one
notification, and a statement or transaction that changes many rows says only that. The function never fails, because
it runs within the transactions of others.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from rowvec.errors import SourceError, SourceUnavailable
from rowvec.sources.databases.base import CONNECT_SECONDS, Relation
from rowvec.sources.databases.postgres import PostgresDatabase
from rowvec.support.retry import KEEPALIVES

KEYS_IN_ONE = 100
"""Rows of one statement that are named; where there are more, only that there are many is told."""
KEYS_IN_TRANSACTION = 1000
PAYLOAD_BYTES = 7900
"""PostgreSQL takes less than 8000."""
KEYS_WAITING = 10_000
"""So many keys that nobody asked for yet are kept; more of them count as many."""
LOCK_SECONDS = 5
_LONGEST_NAME = 63
_OPERATIONS = ("insert", "update", "delete", "truncate")
_TABLES = {
    "insert": "referencing new table as new_rows ",
    "update": "referencing old table as old_rows new table as new_rows ",
    "delete": "referencing old table as old_rows ",
    "truncate": "",
}
_FUNCTION: LiteralString = """
create or replace function {function}() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as
$rowvec$
declare
    keys json;
    payload text := '{{"many": true}}';
    named integer := coalesce(nullif(current_setting('rowvec.named', true), ''), '0')::integer;
begin
    if tg_op = 'INSERT' then
        select json_agg(changed.key) into keys from (
            select new_rows.{key} as key from new_rows limit {most} + 1
        ) as changed;
    elsif tg_op = 'DELETE' then
        select json_agg(changed.key) into keys from (
            select old_rows.{key} as key from old_rows limit {most} + 1
        ) as changed;
    elsif tg_op = 'UPDATE' then
        select json_agg(changed.key) into keys from (
            (select old_rows.{key} as key from old_rows limit {most} + 1) union
            (select new_rows.{key} as key from new_rows limit {most} + 1)
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


@dataclass(slots=True)
class Changed:
    """What was heard: rows by key, or that there are too many to name."""

    keys: set[Any] = field(default_factory=set)
    many: bool = False

    def add(self, payload: str) -> None:
        try:
            said = json.loads(payload)
            self.keys.update(said.get("keys", ()))
            self.many |= bool(said.get("many"))
        except (ValueError, AttributeError, TypeError):
            # Somebody else speaks on this channel: what is meant has to be found out by looking.
            self.many = True
        if len(self.keys) > KEYS_WAITING:
            self.keys.clear()
            self.many = True

    def __bool__(self) -> bool:
        return self.many or bool(self.keys)


class Heard:
    """What one connection has heard, gathered by a thread so that the server never waits for us to listen."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._changed = Changed()
        self._lost: SourceUnavailable | None = None

    def add(self, payload: str) -> None:
        with self._news:
            self._changed.add(payload)
            self._news.notify()

    def lose(self, error: SourceUnavailable) -> None:
        with self._news:
            self._lost = error
            self._news.notify()

    def take(self, seconds: float) -> Changed:
        """What was heard since the last time; waits for it so long, and may then be empty.

        Raises:
            SourceUnavailable: the connection is lost, and with it what was said since.
        """
        with self._news:
            self._news.wait_for(lambda: self._changed or self._lost, seconds)
            if self._lost is not None:
                raise self._lost
            changed, self._changed = self._changed, Changed()
            return changed


class Notifier:
    """The trigger of one table, and the connection that hears it."""

    def __init__(self, database: PostgresDatabase, relation: Relation, key: str) -> None:
        """
        Raises:
            SourceError: it is no table.
        """
        assert relation.table is not None
        self._database, self._key = database, key
        self.schema, kind = self._found(relation)
        self.table = relation.table
        if kind not in "rp":
            raise SourceError(
                f"{relation.name} is no table of its own ({_KINDS.get(kind, kind)}): it has no triggers to listen to.",
                hint="Run `rowvec sync` again and again, or let `rowvec beat` do so.",
            )
        digest = hashlib.blake2b(repr((self.schema, self.table, key)).encode(), digest_size=4).hexdigest()
        room = _LONGEST_NAME - len(f"rowvec__{digest}_truncate")
        clipped = self.table.encode()[:room].decode(errors="ignore")
        self.channel = f"rowvec_{clipped}_{digest}"

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
        """The statements that make it, or make it anew."""
        function, table = sql.Identifier(self.schema, self.channel), sql.Identifier(self.schema, self.table)
        comment = (
            f"Tells `rowvec watch` which rows of {self.schema}.{self.table} change, by NOTIFY {self.channel}."
            " `rowvec watch --uninstall` removes it."
        )
        statements: list[sql.Composable] = [
            sql.SQL(_FUNCTION.strip()).format(
                function=function, key=sql.Identifier(self._key), channel=sql.Literal(self.channel),
                most=sql.Literal(KEYS_IN_ONE), transaction=sql.Literal(KEYS_IN_TRANSACTION),
                bytes=sql.Literal(PAYLOAD_BYTES - len('{"keys" : }')),
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

    def uninstall_sql(self) -> list[str]:
        function = sql.Identifier(self.schema, self.channel)
        drop = sql.SQL("drop function if exists {}()").format(function)
        return self._written([*(self._drop(operation) for operation in _OPERATIONS), drop])

    def carry_out(self, statements: Sequence[str]) -> None:
        """All of them in one transaction.

        Raises:
            SourceError: the user may not.
            SourceUnavailable: the table is in use.
        """
        with self.connected() as connection:
            try:
                with connection.transaction():
                    # Behind a long transaction this would wait, and every writer of the table behind it.
                    connection.execute(f"set local lock_timeout = '{LOCK_SECONDS}s'")
                    for statement in statements:
                        connection.execute(statement.encode())
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

    def installed(self) -> bool:
        """All triggers are there, and switched on."""
        names = [f"{self.channel}_{operation}" for operation in _OPERATIONS]
        with self.connected() as connection:
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
        """Everything that commits from now on until the block ends is heard, or the connection is known to be lost."""
        heard = Heard()
        done = threading.Event()
        with self.connected() as connection:
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
        try:
            while not done.is_set():
                for notice in connection.notifies(timeout=0.2):
                    heard.add(notice.payload)
                    if done.is_set():
                        return
        except psycopg.Error as error:
            heard.lose(self._database.no_answer(str(error).strip().partition("\n")[0]))

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of its own: those of the source are read-only, and go back to their pool."""
        engine = self._database.engine
        options: dict[str, Any] = {**engine.dialect.create_connect_args(engine.url)[1], **KEEPALIVES}
        options |= {"connect_timeout": CONNECT_SECONDS, "application_name": "rowvec watch", "autocommit": True}
        try:
            with closing(psycopg.connect(**options)) as connection:
                yield connection
        except psycopg.Error as error:
            raise self._database.translate(error) from error


_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
