"""A session of PostgreSQL, our own or one that a pooler lends to others too."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from rowvec.stores.pulse import Address
from rowvec.support.postgres_settings import SETTINGS, set_statements

if TYPE_CHECKING:
    from rowvec.stores.postgres.leases import Leases

LIMITS = {
    "statement_timeout": 0,
    "lock_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "idle_session_timeout": 140_000,
    "transaction_timeout": 170_000,
}
"""Settings that would end what takes long, and the version of PostgreSQL that brought them."""


Settings: TypeAlias = Mapping[str, str]
"""Values of the server's settings by name, for one transaction."""


class Cursor(psycopg.Cursor[Any]):
    """Takes names with a percent sign in them: where values go with a statement, psycopg reads it as a placeholder.

    And has each statement do what a session that a pooler lends to others cannot remember.
    """

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        if params is not None and isinstance(query, sql.Composed):
            query = _doubled(query)
        session = self.connection
        if not isinstance(session, Session):
            return super().execute(query, params, **options)
        if session.single_statements:
            return self._with_settings(session, query, params)
        if session.guard is None or session.info.transaction_status is not TransactionStatus.IDLE:
            return super().execute(query, params, **options)
        with session.transaction():
            return super().execute(query, params, **options)

    def _with_settings(self, session: Session, query: Any, params: Any) -> Self:
        """Sent in one message, statements are one transaction to the server, and one statement to a pooler."""
        written = psycopg.ClientCursor(session).mogrify(query, params)
        super().execute(session.prefix() + written.encode(), binary=False)
        while self.nextset():
            pass
        return self

    def execute_outside(self, query: Any) -> None:
        """For a statement that no transaction may hold."""
        super().execute(query)


def rendered(statement: sql.Composed) -> bytes:
    """Its text, for a statement that is executed with values again and again."""
    return _doubled(statement).as_bytes(None)


def _doubled(part: sql.Composable) -> sql.Composable:
    if isinstance(part, sql.Composed):
        return sql.Composed([_doubled(inner) for inner in part])
    if isinstance(part, sql.Identifier):
        return sql.Identifier(*(name.replace("%", "%%") for name in part._obj))
    return part


class Session(psycopg.Connection[Any]):
    """An autocommit connection. Behind a pooler its settings may be those of other clients in the next moment.

    Attributes:
        name: shown in pg_stat_activity.
        pid: of the server's process that answered first.
        behind_pooler: whoever accepted the connection is not who answers it.
        path: the search path on which the extension's types are found; None where that is the one there is.
        iterates: see the function of that name; None where it was not asked yet.
        ready: the path to its extension is set.
        guard: how every transaction begins; None where the session keeps its settings and its locks itself.
        leases: its locks, where it cannot keep them.
        single_statements: the pooler takes no transactions.
        more: settings for the next of those statements, each ended by a semicolon.
        statement_seconds: after which each of them is cancelled.
        address: where it leads to, of all that its URL may name.
        server: which one of several it is, where that was asked.
        watch: called with the session, and with the moment by `time.monotonic` since which the server has said nothing,
            about ten times a second while a statement waits for its answer. What it raises ends the wait and the
            connection.
    """

    name = ""
    pid = 0
    behind_pooler = False
    path: str | None = None
    iterates: bool | None = None
    ready: bool = False
    guard: Callable[[Session], None] | None = None
    leases: Leases | None = None
    single_statements: bool = False
    more: str = ""
    statement_seconds: float | None = None
    address: Address
    server = ""
    watch: Callable[[Session, float], None] | None = None
    _opening: tuple[Any, bytes] = (None, b"")

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        return super().wait(gen if self.watch is None else self._watched(gen, self.watch), *args, **options)

    def _watched(
        self, work: Generator[Any, Any, Any], watch: Callable[[Session, float], None]
    ) -> Generator[Any, Any, Any]:
        """What the driver waits for, as it is; with a look at how long the server has said nothing."""
        since = time.monotonic()
        try:
            wanted = next(work)
            while True:
                ready = yield wanted
                if ready:
                    since = time.monotonic()
                else:
                    self._look(watch, since)
                wanted = work.send(ready)
        except StopIteration as done:
            return done.value

    def _look(self, watch: Callable[[Session, float], None], since: float) -> None:
        try:
            watch(self, since)
        except BaseException:
            # Nothing is sent to a server that says nothing, not even a goodbye that waits for an answer.
            self.pgconn.finish()
            raise

    @property
    def is_free(self) -> bool:
        """Our own, and in no transaction."""
        own = not (self.behind_pooler or self.single_statements or self.guard)
        return own and self.info.transaction_status is TransactionStatus.IDLE

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        if self.single_statements:
            yield psycopg.Transaction(self)
            return
        begins = self.info.transaction_status is TransactionStatus.IDLE
        with super().transaction(savepoint_name, force_rollback) as begun:
            if begins and self.guard is not None:
                self.guard(self)
            yield begun

    def prefix(self) -> bytes:
        """Settings for the statement that follows in the same message."""
        settings = self.settings(local=True, statement_seconds=self.statement_seconds)
        return settings + b"; " + self.more.encode()

    def opening(self, statement_seconds: float | None) -> bytes:
        """Statements that begin a transaction which reads one state of the tables, under rowvec's settings."""
        chosen = (self.path, statement_seconds)
        if self._opening[0] != chosen:
            settings = self.settings(local=True, statement_seconds=statement_seconds)
            self._opening = (chosen, b"begin isolation level repeatable read, read only; " + settings)
        return self._opening[1]

    def settings(self, *, local: bool, statement_seconds: float | None = None) -> bytes:
        """Statements that set whatever rowvec relies on, for the transaction (`local`) or for the session.

        Args:
            statement_seconds: a statement that takes longer is cancelled; None for no limit.
        """
        limits = [name for name, since in LIMITS.items() if self.info.server_version >= since]
        chosen = {**SETTINGS, **dict.fromkeys(limits, "0")}
        if not local:
            # Writers count on seeing what others have committed since, statement by statement.
            chosen |= {"default_transaction_isolation": "read committed", "default_transaction_deferrable": "off"}
        if statement_seconds is not None:
            chosen["statement_timeout"] = str(int(1000 * statement_seconds))
        said = [set_statements(chosen, local=local)]
        # A list of names that the server has quoted.
        said += [] if self.path is None else [f"set {scope_of(local)} search_path to {self.path}"]
        return "; ".join(said).encode() + b"; " + self.named(local=local)

    def named(self, *, local: bool) -> bytes:
        """The statement that gives it its name."""
        name = sql.Literal(self.name).as_bytes(None)
        return f"set {scope_of(local)} application_name to ".encode() + name


def scope_of(local: bool) -> str:
    return "local" if local else "session"


def set_local(settings: Settings) -> bytes:
    """Statements that set something for the transaction."""
    return set_statements(settings, local=True).encode()
