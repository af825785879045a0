"""The lock that keeps two syncs from one vector table."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from rowvec.errors import Locked
from rowvec.stores.postgres import leases
from rowvec.stores.postgres.connect import is_lent, of_a_process_that_is_gone
from rowvec.stores.postgres.leases import LEASE_SECONDS, Holder, Leases
from rowvec.stores.postgres.locks import end_orphans, holders

Connection = psycopg.Connection[Any]
GONE_SECONDS = 10.0
"""How long the lock of a killed process is waited for."""


class TableLock:
    """An advisory lock, which the server frees when its session ends; a lease where a pooler lends sessions to others.

    Args:
        scope: the qualified name of the table.

    Attributes:
        part: of the table: its lock is taken, and the table's together with the holders of other parts; None for the
            whole table.
    """

    def __init__(self, scope: str, leases: Leases) -> None:
        self._scope, self._leases = scope, leases
        self.part: str | None = None

    def acquire(self, connection: Connection) -> None:
        """
        Raises:
            Locked: another process has it, and lives.
        """
        last = time.monotonic() + GONE_SECONDS
        while (found := self._take(connection)) is not True:
            end_orphans(connection, holders(connection, self._scope, 0))
            holder = str(found) if found else self.holder(connection)
            gone = holder is not None and of_a_process_that_is_gone(holder)
            if (holder is None or gone) and time.monotonic() < last:
                # It let go meanwhile; or it was killed, and the server ends the statement that it was in before it
                # notices.
                time.sleep(0.05)
                continue
            if gone:
                raise Locked(
                    f"The lock of {self._scope} is still held for {holder}: that process has ended, and the server has"
                    " not noticed yet.",
                    hint="Try again in a minute, or let an administrator end its session with pg_terminate_backend.",
                )
            raise Locked(
                f"Another sync of {self._scope} is at work" + (f": {holder}." if holder else "."),
                hint="Wait for it, or stop that process; rowvec frees the lock when it ends, however it ends."
                if not isinstance(found, Holder)
                else f"Wait for it. If it is gone, its lock ends {LEASE_SECONDS:.0f} s after its last sign of life.",
            )

    def release(self, connection: Connection) -> None:
        """Nothing else takes advisory locks for the session."""
        if is_lent(connection):
            self._leases.give_back(connection, self._scope, self.part or "")
        else:
            connection.execute("select pg_advisory_unlock_all()")

    def holder(self, connection: Connection) -> str | None:
        """Who holds the lock and since when, as far as the role may know that."""
        found = [each for each in holders(connection, self._scope, 0) if not of_a_process_that_is_gone(each[1])]
        if not found:
            lease = leases.in_the_way(connection, self._scope) if leases.exist(connection) else None
            return None if lease is None else str(lease)
        _, name, _, since = found[0]
        return str(name) if since is None else f"{name}, since {since:%Y-%m-%d %H:%M:%S %Z}"

    def is_held(self, connection: Connection) -> bool:
        """The lock, by a process that is there: the server needs a moment to notice that one was killed."""
        return self.holder(connection) is not None

    def _take(self, connection: Connection) -> Holder | bool:
        """Try once; returns who holds a lease of it, where that is what stands in the way."""
        if is_lent(connection):
            return self._leases.take(connection, self._scope, self.part or "")
        if self.part is None:
            statement, names = "select pg_try_advisory_lock(hashtextextended(%s, 0))", [self._scope]
        else:
            # The part's own lock first: whoever has to wait for it does not keep others from the table.
            statement = (
                "select case when pg_try_advisory_lock(hashtextextended(%s, 2)) then"
                " pg_try_advisory_lock_shared(hashtextextended(%s, 0)) else false end"
            )
            names = [f"{self._scope} {self.part}", self._scope]
        if connection.execute(statement, names).fetchone() == (True,):
            with connection.transaction():
                there = leases.exist(connection)
                holder = leases.in_the_way(connection, self._scope, self.part or "", free=True) if there else None
            if holder is None:
                return True
        else:
            holder = None
        connection.execute("select pg_advisory_unlock_all()")
        return holder or False
