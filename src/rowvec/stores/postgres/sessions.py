"""The connections of one store: one that writes and holds the lock, and a few that read.

What reads goes to `Readers`. What writes needs a session of its own, or a lease: it is opened and proved here.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Literal, TypeVar

import psycopg
from psycopg.abc import AdaptContext

from rowvec.errors import Interrupted, StoreError, StoreUnavailable
from rowvec.stores.postgres import migrations, rights
from rowvec.stores.postgres.connect import answers, connect, is_lent, knows_vectors
from rowvec.stores.postgres.driver_errors import translated
from rowvec.stores.postgres.leases import Leases
from rowvec.stores.postgres.locks import PASSING, Waits
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.readers import Connection, Readers
from rowvec.stores.postgres.replica import Servers
from rowvec.stores.postgres.session import Session
from rowvec.stores.postgres.table_lock import TableLock
from rowvec.stores.pulse import Pulse
from rowvec.support import poolers
from rowvec.support.interrupts import asked_to_stop
from rowvec.support.retry import SERVER_KEEPALIVES

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds for which a change is tried again that others are in the way of."""


class Sessions:
    """Runs work on connections that are opened when first needed and opened again when they broke.

    Args:
        names: of the vector table, which is what the lock protects.
        readers: up to this many connections read at once; further readers wait.
        replica: all that read are at one of the servers that the URL names.
        statement_seconds: readers' statements are cancelled after this long.
        silent_seconds: readers give up a server that says nothing for this long, not even to a new connection.
    """

    def __init__(
        self,
        url: str,
        names: Names,
        location: str,
        purpose: str,
        *,
        readers: int,
        statement_seconds: float | None,
        silent_seconds: float,
        replica: bool = False,
    ) -> None:
        self._url = url
        self._names = names
        self._scope = names.scope
        self._location = location
        self._purpose = purpose
        self._writer: Session | None = None
        self._waits = Waits(location, self.another)
        self._leases = Leases(self.another, location)
        self._lends = False
        self._servers = Servers(url, silent_seconds) if replica else None
        self._readers = Readers(
            self._open,
            names,
            location,
            most=readers,
            statement_seconds=statement_seconds,
            pulse=Pulse(functools.partial(answers, url), silent_seconds),
            servers=self._servers,
        )
        self.table_lock = TableLock(self._scope, self._leases)
        self._locked = False
        self.upgraded = False
        """The lock is held, and the books were brought up to date under it. Every write proves their version again."""
        self._types: AdaptContext | None = None
        """Those of the connection before; all are to one database."""

    def read(self, work: Callable[[Connection], T], *, settings: bool = True) -> T:
        """See `Readers.read`."""
        return self._readers.read(work, settings=settings)

    def refresh(self) -> None:
        """See `Readers.refresh`."""
        self._readers.refresh()

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do it on the connection that holds the lock.

        It is done again where the server ended it for the sake of others: `work` must leave nothing half done, as a
        transaction does.

        Raises:
            Interrupted: the process was asked to stop while others were in the way.
        """
        last = time.monotonic() + PATIENCE
        with self._waits.during(self._watched):
            while True:
                try:
                    return self._write(work)
                except StoreError as error:
                    if not isinstance(error.__cause__, PASSING):
                        raise
                    if time.monotonic() > last:
                        raise self._in_use(error) from error
                if asked_to_stop(wait=random.uniform(0.1, 0.6)):
                    raise Interrupted(f"Stopped while others used {self._location}.")

    def _watched(self) -> Session | None:
        """Behind a pooler the process that works for us is another one each time: nobody can look at what it does."""
        return None if self._writer is None or is_lent(self._writer) else self._writer

    def _in_use(self, error: StoreError) -> StoreError:
        if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            return error
        return StoreError(
            f"{self._location} has been in use without a pause for {PATIENCE:.0f} s, so that it could not be changed."
            " Everything is as it was.",
            hint="End the query that uses it for so long, then run it again; nothing is embedded again.",
        )

    def _write(self, work: Callable[[Connection], T]) -> T:
        try:
            with translated(self._location):
                return work(self._writing())
        except StoreUnavailable:
            if self._writer is not None and self._writer.broken:
                self._writer.close()
            raise
        except StoreError as error:
            if self._writer is not None and not self._writer.closed:
                with translated(self._location):
                    migrations.explain(self._writer, error, self._location)
                    rights.explain(self._writer, error, self._names, self._location, writes=True)
            raise

    def _writing(self) -> Session:
        if self._writer is not None and not self._writer.closed:
            if self._own_behind_pooler(self._writer) and poolers.server_pid(self._writer) != self._writer.pid:
                self._writer.close()
                self._lends = True
                raise StoreUnavailable(
                    f"{self._location} is behind a pooler that gave the session of this sync to others.",
                    hint="Run it again: it goes on where this one stopped.",
                )
            return self._writer
        former, self._writer = self._writer, self._open("sync")
        if self._writer.single_statements:
            self._writer.close()
            raise StoreError(
                f"{self._location} is behind a pooler in statement mode, which takes no transactions: searches work"
                " there, a sync does not.",
                hint="Set store.url to the database itself, or to a pooler in transaction mode.",
            )
        if self._is_lent(self._writer):
            self._lends = True
            self._writer.guard = self._begin
            self._writer.leases = self._leases
            if self._locked and not self._leases.holds(self._scope, self.table_lock.part or ""):
                # What was taken for a session of our own was given to others, and the lock went with it.
                self._take_again(self._writer)
            return self._writer
        try:
            if self._writer.behind_pooler:
                self._writer.execute(self._writer.settings(local=False))
            _keep_alive(self._writer)
            if self._locked:
                # The lock went with the broken connection; whoever took it meanwhile has it now.
                self._end(former)
                self.table_lock.acquire(self._writer)
        except BaseException:
            self._writer.close()
            raise
        return self._writer

    def _take_again(self, writer: Session) -> None:
        try:
            self.table_lock.acquire(writer)
        except BaseException:
            writer.close()
            raise

    def _end(self, former: Session | None) -> None:
        """End the session of a connection that broke: the server may not have noticed, and keep the lock for it."""
        assert self._writer is not None
        if former is not None and not former.behind_pooler:
            own = (
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where pid = %s and application_name = %s"
            )
            with suppress(psycopg.Error):
                self._writer.execute(own, [former.pid, former.name])

    @staticmethod
    def _own_behind_pooler(session: Session) -> bool:
        """A session of our own, as far as could be told when it was opened."""
        return session.behind_pooler and not is_lent(session)

    def _begin(self, session: Session) -> None:
        """How each transaction begins on a session that is ours until its end."""
        session.execute(session.settings(local=True))
        self._leases.hold(session)

    @contextmanager
    def lock(self, part: str | None = None) -> Iterator[None]:
        """An advisory lock that the server frees when the process ends, however it ends; a lease where a pooler lends
        the session to others.

        Args:
            part: of the table: its lock is held, and the table's together with the holders of other parts.
        """
        self.table_lock.part = part
        self.write(self.table_lock.acquire)
        self._locked = True
        try:
            done = self.write(lambda c: migrations.upgrade(c, self._location, create=False))
            self.upgraded = done is not None
            yield
        finally:
            self._locked = self.upgraded = False
            if self._writer is None or self._writer.closed:
                self._leases.close()
            else:
                try:
                    self.table_lock.release(self._writer)
                except psycopg.Error:
                    # The connection broke, and the lock went with it: not what the caller has to hear of.
                    self._writer.close()

    @property
    def moves(self) -> int:
        """How often readers went to another server."""
        return 0 if self._servers is None else self._servers.moves

    def another(self) -> Session:
        """A connection of the caller's own, on which nothing is set."""
        return self._open("watch")

    def _is_lent(self, session: Session) -> bool:
        with translated(self._location):
            return session.behind_pooler and (self._lends or poolers.is_lent(session, self.another))

    def pooler(self) -> Literal["transaction", "statement"] | None:
        """The mode of a pooler between us and the server, where that is one without sessions."""
        with self.another() as session:
            if session.single_statements:
                return "statement"
            return "transaction" if self._is_lent(session) else None

    def close(self) -> None:
        self._waits.close()
        self._leases.close()
        if self._writer is not None:
            if self._own_behind_pooler(self._writer) and not self._writer.closed:
                with suppress(psycopg.Error):
                    # Somebody else gets the session now.
                    self._writer.execute("discard all")
            self._writer.close()
        self.refresh()

    def _open(self, use: str, seconds: float | None = None, *, from_first: bool = False) -> Session:
        """
        Args:
            seconds: after which a server that says nothing is given up.
            from_first: at the first server that answers, and not where others are.

        Raises:
            StoreError: a newer rowvec has changed the store.
        """
        purpose = f"{use} {self._purpose}"
        if self._servers is None:
            session = connect(self._url, purpose, seconds, like=self._types)
            self._types = session.adapters if knows_vectors(session) else None
        else:
            session = self._servers.connect(purpose, self.refresh, from_first=from_first)
        try:
            with translated(self._location):
                migrations.refuse_newer(session, self._location)
        except StoreError as error:
            with closing(session), translated(self._location):
                if not session.closed:
                    rights.explain(session, error, self._names, self._location, writes=False)
            raise
        except BaseException:
            session.close()
            raise
        return session


def _keep_alive(session: Session) -> None:
    """Have the server notice that we are gone. Each of these settings is one that some servers lack, or refuse."""
    statements = [f"set {name} to {value}".encode() for name, value in SERVER_KEEPALIVES.items()]
    try:
        session.execute(b"; ".join(statements))
    except psycopg.Error:
        for statement in statements:
            with suppress(psycopg.Error):
                session.execute(statement)
