"""Locks behind a pooler in transaction mode: rows that their holder renews.

A lock of the session would hold nothing there, since the pooler gives the session to others between two transactions.
So the holder writes a row with a token of its own, and renews it from a connection beside. Every transaction that
writes holds that row to its end, and finds it gone where another has taken the lock over: what was paused for long
cannot write when it wakes up.

Both kinds of lock keep each other out. Whoever takes a lease takes the lock of the session too, for that transaction;
whoever takes the lock of the session looks for a lease afterwards.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from rowvec.errors import Locked, StoreError
from rowvec.support.processes import is_gone, place

if TYPE_CHECKING:
    from rowvec.stores.postgres.session import Session

Connection = psycopg.Connection[Any]

LEASE_SECONDS = 60.0
"""A lease that was not renewed for so long belongs to nobody. By the clock of the server, whatever the machines say."""
TABLE = """
create table if not exists rowvec.leases (
    scope text not null,
    part text not null,
    token uuid not null,
    place text not null,
    pid bigint not null,
    holder text not null,
    since timestamp with time zone not null default clock_timestamp(),
    beat timestamp with time zone not null default clock_timestamp(),
    primary key (scope, part)
);
"""
_ONE_BY_ONE = "select pg_advisory_xact_lock(hashtextextended('rowvec.leases', 0))"
_WHOLE = "select pg_try_advisory_xact_lock(hashtextextended(%(name)s, %(seed)s))"
_PART = """select case when pg_try_advisory_xact_lock(hashtextextended(%(name)s || ' ' || %(part)s, 2))
    then pg_try_advisory_xact_lock_shared(hashtextextended(%(name)s, %(seed)s)) else false end"""
_OF_INDEXES = "indexes of {}"
_IN_THE_WAY = f"""select part, token, place, pid, holder, since,
    abs(extract(epoch from clock_timestamp() - beat)) < {LEASE_SECONDS} as alive
    from rowvec.leases where scope = %(scope)s and (%(part)s = '' or part in ('', %(part)s)) order by since"""
_DEAD = "select token from rowvec.leases where scope = %s and part = %s and token = %s for update skip locked"


class Holder(NamedTuple):
    """Whoever holds a lease, in words, and since when."""

    name: str
    since: Any

    def __str__(self) -> str:
        return f"{self.name}, since {self.since:%Y-%m-%d %H:%M:%S %Z}"


def exist(connection: Connection) -> bool:
    return connection.execute("select to_regclass('rowvec.leases')").fetchone() != (None,)


def make_schema(connection: Connection) -> None:
    """Where it is not there: to be asked for one that is takes a right too."""
    if connection.execute("select from pg_namespace where nspname = 'rowvec'").rowcount == 0:
        connection.execute("create schema if not exists rowvec")


def in_the_way(
    connection: Connection, scope: str, part: str = "", *, free: bool = False, own: uuid.UUID | None = None
) -> Holder | None:
    """Who holds a lease that keeps others from the table, or from that part of it.

    Args:
        free: take away those that belong to nobody any more. Needs a transaction to be of use.
        own: a token whose leases belong to nobody.
    """
    found = connection.execute(_IN_THE_WAY, {"scope": scope, "part": part}).fetchall()
    for held, token, where, pid, holder, since, alive in found:
        if alive and token != own and not (where == place() and is_gone(pid)):
            return Holder(holder, since)
        if free:
            # A transaction of its holder that has not ended keeps it, however old it is.
            if connection.execute(_DEAD, [scope, held, token]).fetchone() is None:
                return Holder(f"{holder}, whose last transaction has not ended", since)
            connection.execute("delete from rowvec.leases where scope = %s and part = %s", [scope, held])
    return None


class Leases:
    """Those that this store holds, all with one token. One thread takes them and writes under them.

    Args:
        another: opens a connection on which they are renewed.
    """

    def __init__(self, another: Callable[[], Session], location: str) -> None:
        self._another = another
        self._location = location
        self._token = uuid.uuid4()
        self._held: list[tuple[str, str]] = []
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None

    def take(
        self, connection: Connection, scope: str, part: str = "", *, like: tuple[str, int] | None = None
    ) -> Holder | bool:
        """Take it if it is free.

        Args:
            like: name and seed of the lock of the session that it stands for; as a rule the scope and 0.

        Returns:
            Whether it was taken, or who holds it where that is known.
        """
        name, seed = like or (scope, 0)
        about = {"name": name, "part": part, "seed": seed}
        with connection.transaction():
            if not exist(connection):
                connection.execute("select pg_advisory_xact_lock(hashtextextended('rowvec.bookkeeping', 0))")
                make_schema(connection)
                connection.execute(TABLE)
            connection.execute(_ONE_BY_ONE)
            if connection.execute(_PART if part else _WHOLE, about).fetchone() != (True,):
                return False
            holder = in_the_way(connection, scope, part, free=True, own=self._token)
            if holder is not None:
                return holder
            connection.execute(
                "insert into rowvec.leases (scope, part, token, place, pid, holder) values (%s, %s, %s, %s, %s, %s)",
                [scope, part, self._token, place(), os.getpid(), f"process {os.getpid()} on {socket.gethostname()}"],
            )
        self._held.append((scope, part))
        self._begin_to_beat()
        return True

    def holds(self, scope: str, part: str = "") -> bool:
        return (scope, part) in self._held

    def give_back(self, connection: Connection, scope: str, part: str = "") -> None:
        """What cannot be given back now, since the database does not answer, runs out by itself."""
        if not self.holds(scope, part):
            return
        self._held.remove((scope, part))
        if not self._held:
            self._end_to_beat()
        with suppress(psycopg.Error, StoreError):
            connection.execute(
                "delete from rowvec.leases where scope = %s and part = %s and token = %s", [scope, part, self._token]
            )

    def hold(self, connection: Connection) -> None:
        """Keep every lease of ours until the transaction ends.

        Whoever would take one over waits for that; a beat does not.

        Raises:
            Locked: somebody has taken one over, since it was not renewed in time.
        """
        if not self._held:
            return
        found = connection.execute(
            "select scope, part from rowvec.leases where token = %s for key share", [self._token]
        ).fetchall()
        if not set(self._held) <= set(found):
            raise Locked(
                f"{self._location}: this process was silent for over {LEASE_SECONDS:.0f} s and lost its lock.",
                hint="Run it again: it goes on where this one stopped.",
            )

    @contextmanager
    def of_indexes(
        self, connection: Connection, name: str, seed: int, wait: Callable[[Holder | bool], None]
    ) -> Iterator[None]:
        """Hold that of the indexes of a table, once nobody else does; one that is held already stays held.

        Args:
            seed: of the lock of the session that it stands for.
            wait: called with whoever holds it, before it is tried again.
        """
        scope = _OF_INDEXES.format(name)
        if (scope, "") in self._held:
            yield
            return
        while (found := self.take(connection, scope, like=(name, seed))) is not True:
            wait(found)
        try:
            yield
        finally:
            self.give_back(connection, scope)

    def close(self) -> None:
        self._held.clear()
        self._end_to_beat()

    def _begin_to_beat(self) -> None:
        if self._beating is None:
            self._stop.clear()
            self._beating = threading.Thread(target=self._beat, name="rowvec-lease", daemon=True)
            self._beating.start()

    def _end_to_beat(self) -> None:
        if self._beating is not None:
            self._stop.set()
            self._beating.join()
            self._beating = None

    def _beat(self) -> None:
        while not self._stop.wait(LEASE_SECONDS / 4):
            # A database that does not answer now may do so at the next beat; the writer meets the error itself.
            with suppress(StoreError, psycopg.Error), self._another() as second:
                second.execute("update rowvec.leases set beat = clock_timestamp() where token = %s", [self._token])


def in_the_way_of_indexes(connection: Connection, name: str) -> Holder | None:
    """Who works on the indexes of a table under a lease."""
    return in_the_way(connection, _OF_INDEXES.format(name)) if exist(connection) else None
