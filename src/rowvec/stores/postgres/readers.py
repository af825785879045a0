"""The few connections of a store that read.

What reads leaves nothing behind on its connection: a pooler in transaction mode lends it to other clients, the
user's own application among them, as soon as the transaction has ended.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import psycopg

from rowvec.errors import ReadersBusy, StoreError, StoreUnavailable
from rowvec.stores.postgres import migrations, rights
from rowvec.stores.postgres.connect import knows_vectors
from rowvec.stores.postgres.driver_errors import translated
from rowvec.stores.postgres.locks import PASSING
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.replica import Servers
from rowvec.stores.postgres.session import Session
from rowvec.stores.pulse import Pulse, Silent

Connection = psycopg.Connection[Any]
T = TypeVar("T")
READ_TRIES = 3
SLOT_SECONDS = 60.0
"""How long a reader waits for others to be done."""
LOOK_SECONDS = 0.25
_NOT_PREPARED = (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement)


class Opened(Protocol):
    def __call__(self, use: str, seconds: float | None = None, *, from_first: bool = False) -> Session:
        """See `Sessions._open`."""
        ...


class Readers:
    """Connections that read: opened when first needed, and again when they broke.

    Args:
        opened: opens a session.
        most: up to this many read at once; further readers wait.
        statement_seconds: statements are cancelled after this long.
        pulse: tells whether the server answers.
        servers: all that read are at one of these.
    """

    def __init__(
        self,
        opened: Opened,
        names: Names,
        location: str,
        *,
        most: int,
        statement_seconds: float | None,
        pulse: Pulse,
        servers: Servers | None,
    ) -> None:
        self._opened = opened
        self._names = names
        self._location = location
        self._most = most
        self._statement_seconds = statement_seconds
        self._pulse = pulse
        self._servers = servers
        self._slots = threading.Semaphore(most)
        self._idle: queue.LifoQueue[Session] = queue.LifoQueue()
        self._prepares = True

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
                    f"{self._location}: all {self._most} connections for reading were busy for {seconds:g} s.",
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

    def refresh(self) -> None:
        """Open readers again: those from before the extension was installed do not know its types."""
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _open_reader(self, *, from_first: bool = False) -> Session:
        with self._pulse.opening():
            session = self._opened("read", self._pulse.seconds, from_first=from_first)
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
