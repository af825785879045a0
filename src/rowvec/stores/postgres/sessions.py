"""The connections of one store: one that writes and holds the lock, and a few that read."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg

from rowvec.errors import Locked, StoreError, StoreUnavailable
from rowvec.stores.postgres import migrations
from rowvec.stores.postgres.connect import connect, of_a_process_that_is_gone, single, translated

Connection = psycopg.Connection[Any]
T = TypeVar("T")
GONE_SECONDS = 10.0
"""How long the lock of a killed process is waited for."""


class Sessions:
    """Runs work on connections that are opened when first needed and opened anew when they broke.

    Args:
        scope: qualified name of the vector table, which is what the lock protects.
        readers: at most so many connections read at once; further readers wait.
        statement_seconds: readers' statements are cancelled after so long.
    """

    def __init__(
        self, url: str, scope: str, location: str, purpose: str, *, readers: int, statement_seconds: float | None
    ) -> None:
        self._url = url
        self._scope = scope
        self._location = location
        self._purpose = purpose
        self._statement_seconds = statement_seconds
        self._slots = threading.Semaphore(readers)
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue()
        self._writer: Connection | None = None
        self._locked = False
        self._part: str | None = None

    def read(self, work: Callable[[Connection], T]) -> T:
        with self._slots:
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                return self._read_on(self._open_reader(), work)
            try:
                return self._read_on(connection, work)
            except StoreError:
                if not connection.closed:
                    raise
            # It had broken while it lay idle, as all do when the server restarts: only a new one can tell.
            self.refresh()
            return self._read_on(self._open_reader(), work)

    def _read_on(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        try:
            with translated(self._location):
                return work(connection)
        except StoreError as error:
            if isinstance(error.__cause__, psycopg.errors.FeatureNotSupported):
                # A statement was prepared for vectors of another size, which another generation has.
                connection.close()
                raise
            with translated(self._location):
                migrations.explain(connection, error, self._location)
            raise
        finally:
            if connection.closed or connection.broken:
                connection.close()
            else:
                self._idle.put(connection)

    def write(self, work: Callable[[Connection], T]) -> T:
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

    def _writing(self) -> Connection:
        if self._writer is None or self._writer.closed:
            self._writer = self._open("sync")
            if self._locked:
                # The lock went with the broken connection; whoever took it meanwhile has it now.
                try:
                    self._acquire(self._writer)
                except BaseException:
                    self._writer.close()
                    raise
        return self._writer

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
        found = connection.execute(
            "select a.application_name, a.backend_start from pg_locks l join pg_stat_activity a using (pid)"
            " where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and a.datname = current_database()"
            " and (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended(%s, 0)",
            [self._scope],
        ).fetchone()
        if found is None or found[1] is None:
            return None if found is None else str(found[0])
        return f"{found[0]}, since {found[1]:%Y-%m-%d %H:%M:%S %Z}"

    def is_held(self, connection: Connection) -> bool:
        """The lock, by a process that is there: the server needs a moment to notice that one was killed."""
        holder = self.holder(connection)
        return holder is not None and not of_a_process_that_is_gone(holder)

    def refresh(self) -> None:
        """Open readers anew: those from before the extension was installed do not know its types."""
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def another(self) -> Connection:
        """A connection of the caller's own."""
        return self._open("watch")

    def pooled(self, connection: Connection) -> bool:
        """Whether another connection is answered by the same process of the server, as behind a pooler in transaction
        mode: a lock that is held for as long as a session lasts would hold nothing there."""
        with self.another() as other, translated(self._location):
            ours, theirs = (single(c.execute("select pg_backend_pid()"))[0] for c in (connection, other))
        return bool(ours == theirs)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self.refresh()

    def _open(self, use: str) -> Connection:
        """
        Raises:
            StoreError: a newer rowvec has changed the store.
        """
        connection = connect(self._url, f"{use} {self._purpose}")
        try:
            with translated(self._location):
                migrations.refuse_newer(connection, self._location)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_reader(self) -> Connection:
        connection = self._open("read")
        with translated(self._location):
            connection.execute("set default_transaction_read_only = on")
            if self._statement_seconds is not None:
                connection.execute(f"set statement_timeout = {int(1000 * self._statement_seconds)}")
        return connection

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
            holder = self.holder(connection)
            if (holder is None or of_a_process_that_is_gone(holder)) and time.monotonic() < last:
                # It let go meanwhile; or it was killed, and the server ends the statement that it was in before it
                # notices.
                time.sleep(0.05)
                continue
            raise Locked(
                f"Another sync of {self._scope} is at work" + (f": {holder}." if holder else "."),
                hint="Wait for it, or stop that process; rowvec frees the lock when it ends, however it ends.",
            )
