"""The connections of one store: one that writes and holds the lock, and a few that read.

What reads leaves nothing behind on its connection: a pooler in transaction mode lends it to other clients, the
user's own application among them, as soon as the transaction has ended. What writes needs a session of its own.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg

from rowvec.errors import Interrupted, Locked, StoreError, StoreUnavailable
from rowvec.stores.postgres import migrations
from rowvec.stores.postgres.connect import Session, connect, knows_vectors, of_a_process_that_is_gone, translated
from rowvec.stores.postgres.locks import PASSING, Waits, end_orphans, holders
from rowvec.support.interrupts import asked_to_stop
from rowvec.support.poolers import is_lent, server_pid

Connection = psycopg.Connection[Any]
T = TypeVar("T")
GONE_SECONDS = 10.0
"""How long the lock of a killed process is waited for."""
PATIENCE = 60.0
"""Seconds for which a change is tried again that others are in the way of."""
READ_TRIES = 3
SLOT_SECONDS = 60.0
"""How long a reader waits for others to be done."""
POOLER = "Set store.url to the database itself, or to a pooler in session mode (on Supabase: port 5432, not 6543)."
_NOT_PREPARED = (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement)


class Sessions:
    """Runs work on connections that are opened when first needed and opened again when they broke.

    Args:
        scope: qualified name of the vector table, which is what the lock protects.
        readers: up to this many connections read at once; further readers wait.
        statement_seconds: readers' statements are cancelled after this long.
    """

    def __init__(
        self, url: str, scope: str, location: str, purpose: str, *, readers: int, statement_seconds: float | None
    ) -> None:
        self._url = url
        self._scope = scope
        self._location = location
        self._purpose = purpose
        self._statement_seconds = statement_seconds
        self._readers = readers
        self._slots = threading.Semaphore(readers)
        self._idle: queue.LifoQueue[Session] = queue.LifoQueue()
        self._prepares = True
        self._writer: Session | None = None
        self._waits = Waits(location, self.another)
        self._locked = False
        self._part: str | None = None

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
        seconds = min(SLOT_SECONDS, self._statement_seconds or SLOT_SECONDS)
        if not self._slots.acquire(timeout=seconds):
            raise StoreUnavailable(
                f"{self._location}: all {self._readers} connections for reading were busy for {seconds:g} s.",
                hint="Try again when fewer searches run at once.",
            )
        try:
            try:
                session = self._idle.get_nowait()
            except queue.Empty:
                return self._read_on(self._open_reader(), work, settings)
            try:
                return self._read_on(session, work, settings)
            except StoreError:
                if not session.closed:
                    raise
            # It had broken while it lay idle, as all do when the server restarts: only a new one can tell.
            self.refresh()
            return self._read_on(self._open_reader(), work, settings)
        finally:
            self._slots.release()

    def _read_on(self, session: Session, work: Callable[[Connection], T], settings: bool) -> T:
        try:
            with translated(self._location):
                if not settings or not session.behind_pooler:
                    return work(session)
                session.execute(session.opening(self._statement_seconds))
                answer = work(session)
                session.commit()
                return answer
        except StoreError as error:
            if isinstance(error.__cause__, (psycopg.errors.FeatureNotSupported, *_NOT_PREPARED)):
                # A statement was prepared for vectors of another size, which another generation has, or a pooler
                # that looks like the server did not keep it.
                self._prepares = self._prepares and not isinstance(error.__cause__, _NOT_PREPARED)
                session.close()
                raise
            with translated(self._location):
                session.rollback()
                migrations.explain(session, error, self._location)
            raise
        finally:
            with suppress(psycopg.Error):
                session.rollback()
            if session.closed or session.broken or not knows_vectors(session):
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
        with self._waits.during(lambda: self._writer):
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
            raise

    def _writing(self) -> Session:
        if self._writer is not None and not self._writer.closed:
            if self._writer.behind_pooler and server_pid(self._writer) != self._writer.pid:
                self._writer.close()
                raise self._shared()
            return self._writer
        self._writer = self._open("sync")
        try:
            if self._is_lent(self._writer):
                raise self._shared()
            self._writer.execute(self._writer.settings(local=False))
            with suppress(psycopg.Error):
                # So that a long statement ends when we do, on another machine too. Not every system can do it.
                self._writer.execute("set client_connection_check_interval to '5s'")
            if self._locked:
                # The lock went with the broken connection; whoever took it meanwhile has it now.
                self._acquire(self._writer)
        except BaseException:
            self._writer.close()
            raise
        return self._writer

    def _shared(self) -> StoreError:
        return StoreError(
            f"{self._location} is behind a pooler in transaction mode, where the lock of a sync would hold nothing.",
            hint=POOLER,
        )

    @contextmanager
    def lock(self, part: str | None = None) -> Iterator[None]:
        """An advisory lock that the server frees when the process ends, however it ends.

        Args:
            part: of the table: its lock is held, and the table's together with the holders of other parts.
        """
        self._part = part
        self.write(self._acquire)
        self._locked = True
        try:
            self.write(lambda c: migrations.upgrade(c, self._location, create=False))
            yield
        finally:
            self._locked = False
            if self._writer is not None and not self._writer.closed:
                try:
                    self._release(self._writer)
                except psycopg.Error:
                    # The connection broke, and the lock went with it: not what the caller has to hear of.
                    self._writer.close()

    def holder(self, connection: Connection) -> str | None:
        """Who holds the lock and since when, as far as the role may know that."""
        found = [each for each in holders(connection, self._scope, 0) if not of_a_process_that_is_gone(each[1])]
        if not found:
            return None
        _, name, _, since = found[0]
        return str(name) if since is None else f"{name}, since {since:%Y-%m-%d %H:%M:%S %Z}"

    def is_held(self, connection: Connection) -> bool:
        """The lock, by a process that is there: the server needs a moment to notice that one was killed."""
        return self.holder(connection) is not None

    def refresh(self) -> None:
        """Open readers again: those from before the extension was installed do not know its types."""
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def another(self) -> Session:
        """A connection of the caller's own, on which nothing is set."""
        return self._open("watch")

    def _is_lent(self, session: Session) -> bool:
        with translated(self._location):
            return session.behind_pooler and is_lent(session, self.another)

    def pooler(self) -> str | None:
        """What stands between us and the server, where that is one that a sync cannot work behind."""
        with self.another() as session:
            if self._is_lent(session):
                return "a pooler in transaction mode"
        return None

    def close(self) -> None:
        self._waits.close()
        if self._writer is not None:
            if self._writer.behind_pooler and not self._writer.closed:
                with suppress(psycopg.Error):
                    # Somebody else gets the session now.
                    self._writer.execute("discard all")
            self._writer.close()
        self.refresh()

    def _open(self, use: str) -> Session:
        """
        Raises:
            StoreError: a newer rowvec has changed the store.
        """
        session = connect(self._url, f"{use} {self._purpose}")
        try:
            with translated(self._location):
                migrations.refuse_newer(session, self._location)
        except BaseException:
            session.close()
            raise
        return session

    def _open_reader(self) -> Session:
        session = self._open("read")
        if not self._prepares:
            session.prepare_threshold = None
        if not session.behind_pooler:
            with translated(self._location):
                session.execute(session.settings(local=False, statement_seconds=self._statement_seconds))
                session.execute("set default_transaction_read_only = on")
        return session

    def _release(self, connection: Connection) -> None:
        """Nothing else takes advisory locks for the session."""
        connection.execute("select pg_advisory_unlock_all()")

    def _acquire(self, connection: Connection) -> None:
        if self._part is None:
            statement, names = "select pg_try_advisory_lock(hashtextextended(%s, 0))", [self._scope]
        else:
            # The part's own lock first: whoever has to wait for it does not keep others from the table.
            statement = (
                "select case when pg_try_advisory_lock(hashtextextended(%s, 2)) then"
                " pg_try_advisory_lock_shared(hashtextextended(%s, 0)) else false end"
            )
            names = [f"{self._scope} {self._part}", self._scope]
        last = time.monotonic() + GONE_SECONDS
        while connection.execute(statement, names).fetchone() != (True,):
            connection.execute("select pg_advisory_unlock_all()")
            end_orphans(connection, holders(connection, self._scope, 0))
            holder = self.holder(connection)
            if (holder is None or of_a_process_that_is_gone(holder)) and time.monotonic() < last:
                # It let go meanwhile; or it was killed, and the server ends the statement that it was in before it
                # notices.
                time.sleep(0.05)
                continue
            if holder is not None and of_a_process_that_is_gone(holder):
                raise Locked(
                    f"The lock of {self._scope} is still held for {holder}: that process has ended, and the server has"
                    " not noticed yet.",
                    hint="Try again in a minute, or let an administrator end its session with pg_terminate_backend.",
                )
            raise Locked(
                f"Another sync of {self._scope} is at work" + (f": {holder}." if holder else "."),
                hint="Wait for it, or stop that process; rowvec frees the lock when it ends, however it ends.",
            )
