"""The connections of one store: one that writes and holds the lock, and a few that read.

What reads leaves nothing behind on its connection: a pooler in transaction mode lends it to other clients, the
user's own application among them, as soon as the transaction has ended. What writes needs a session of its own.
"""

from __future__ import annotations

import functools
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Literal, TypeVar

import psycopg
from psycopg.abc import AdaptContext

from rowvec.errors import Interrupted, ReadersBusy, StoreError, StoreUnavailable
from rowvec.stores.postgres import migrations, rights
from rowvec.stores.postgres.connect import answers, connect, is_lent, knows_vectors
from rowvec.stores.postgres.driver_errors import translated
from rowvec.stores.postgres.leases import Leases
from rowvec.stores.postgres.locks import PASSING, Waits
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.replica import Servers
from rowvec.stores.postgres.session import Session
from rowvec.stores.postgres.table_lock import TableLock
from rowvec.stores.pulse import Pulse, Silent
from rowvec.support import poolers
from rowvec.support.interrupts import asked_to_stop
from rowvec.support.retry import SERVER_KEEPALIVES

Connection = psycopg.Connection[Any]
T = TypeVar("T")
PATIENCE = 60.0
"""Seconds for which a change is tried again that others are in the way of."""
READ_TRIES = 3
SLOT_SECONDS = 60.0
"""How long a reader waits for others to be done."""
LOOK_SECONDS = 0.25
_NOT_PREPARED = (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement)


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
        self._statement_seconds = statement_seconds
        self._readers = readers
        self._slots = threading.Semaphore(readers)
        self._idle: queue.LifoQueue[Session] = queue.LifoQueue()
        self._prepares = True
        self._writer: Session | None = None
        self._waits = Waits(location, self.another)
        self._leases = Leases(self.another, location)
        self._lends = False
        self._servers = Servers(url, silent_seconds) if replica else None
        self._pulse = Pulse(functools.partial(answers, url), silent_seconds)
        self.table_lock = TableLock(self._scope, self._leases)
        self._locked = False
        self.upgraded = False
        """The lock is held, and the books were brought up to date under it. Every write proves their version again."""
        self._types: AdaptContext | None = None
        """Those of the connection before; all are to one database."""

    def read(self, work: Callable[[Connection], T], *, settings: bool = True) -> T:
        """Do it on a connection that reads under rowvec's settings and cannot write.

        A connection of our own has them for as long as it lasts. One that a pooler lends to others too has them for one
        transaction, which `work` runs in.

        Args:
            settings: False for a single statement that no setting of the session could change; it goes without a
                transaction.
        """
        for _ in range(READ_TRIES - 1):
            try:
                return self._read(work, settings)
            except StoreUnavailable as error:
                if not isinstance(error.__cause__, PASSING):
                    raise
        return self._read(work, settings)

    def _read(self, work: Callable[[Connection], T], settings: bool) -> T:
        self._take_slot()
        try:
            with translated(self._location):
                if self._servers is None or not self._servers.several:
                    self._pulse.admit()
            session, from_first = self._idle_reader()
            if session is None:
                return self._read_on(self._open_reader(from_first=from_first), work, settings)
            try:
                return self._read_on(session, work, settings)
            except StoreError as error:
                if not session.closed or (isinstance(error.__cause__, Silent) and not self._leave(session)):
                    raise
            # It had broken while it lay idle, as all do when the server restarts: only a new one can tell.
            self.refresh()
            return self._read_on(self._open_reader(), work, settings)
        finally:
            self._slots.release()

    def _take_slot(self) -> None:
        """
        Raises:
            ReadersBusy: all connections were busy all the time. StoreUnavailable: the server says nothing.
        """
        seconds = min(SLOT_SECONDS, self._statement_seconds or SLOT_SECONDS)
        last = time.monotonic() + seconds
        while not self._slots.acquire(timeout=LOOK_SECONDS):
            with translated(self._location):
                self._pulse.check()
            # Those who are before us may wait for a server that says nothing: it will be known soon.
            if time.monotonic() > last and not self._pulse.in_doubt:
                raise ReadersBusy(
                    f"{self._location}: all {self._readers} connections for reading were busy for {seconds:g} s.",
                    hint="Try again when fewer searches run at once.",
                )

    def _idle_reader(self) -> tuple[Session | None, bool]:
        """One that is not in use, and whether it is time to ask the server that is named first."""
        if self._servers is not None and self._servers.is_due():
            self.refresh()
            return None, True
        with suppress(queue.Empty):
            return self._idle.get_nowait(), False
        return None, False

    def _read_on(self, session: Session, work: Callable[[Connection], T], settings: bool) -> T:
        try:
            with translated(self._location):
                if not settings or not session.behind_pooler or session.single_statements:
                    answer = work(session)
                else:
                    session.execute(session.opening(self._statement_seconds))
                    answer = work(session)
                    session.commit()
                self._pulse.heard()
                return answer
        except StoreError as error:
            if isinstance(error.__cause__, Silent):
                raise
            if isinstance(error.__cause__, (psycopg.errors.FeatureNotSupported, *_NOT_PREPARED)):
                # A statement was prepared for vectors of another size, which another generation has, or a pooler
                # that looks like the server did not keep it.
                self._prepares = self._prepares and not isinstance(error.__cause__, _NOT_PREPARED)
                session.close()
                raise
            with translated(self._location):
                session.rollback()
                migrations.explain(session, error, self._location)
                rights.explain(session, error, self._names, self._location, writes=False)
            raise
        finally:
            with suppress(psycopg.Error):
                session.rollback()
            elsewhere = self._servers is not None and session.server != self._servers.current
            if session.closed or session.broken or elsewhere or not knows_vectors(session):
                # One from before the extension was made is of no use after it.
                session.close()
            else:
                self._idle.put(session)

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

    def refresh(self) -> None:
        """Open readers again: those from before the extension was installed do not know its types."""
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

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

    def _open_reader(self, *, from_first: bool = False) -> Session:
        with self._pulse.opening():
            session = self._open("read", self._pulse.seconds, from_first=from_first)
        if not self._prepares:
            session.prepare_threshold = None
        session.statement_seconds = self._statement_seconds
        if not session.behind_pooler:
            limited = b""
            if self._statement_seconds is not None:
                limited = session.settings(local=False, statement_seconds=self._statement_seconds) + b"; "
            with translated(self._location):
                session.execute(limited + b"set default_transaction_read_only = on")
        session.watch = self._watch
        return session

    def _watch(self, session: Session, since: float) -> None:
        if self._servers is not None:
            self._servers.check(session)
        self._pulse.watch(session.address, since, session.statement_seconds)

    def _leave(self, session: Session) -> bool:
        """Go to another server than that of a session, which says nothing more; False where there is none."""
        if self._servers is None or not self._servers.leave(session):
            return False
        self._pulse.forget()
        return True


def _keep_alive(session: Session) -> None:
    """Have the server notice that we are gone. Each of these settings is one that some servers lack, or refuse."""
    statements = [f"set {name} to {value}".encode() for name, value in SERVER_KEEPALIVES.items()]
    try:
        session.execute(b"; ".join(statements))
    except psycopg.Error:
        for statement in statements:
            with suppress(psycopg.Error):
                session.execute(statement)
