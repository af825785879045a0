"""Locks: asked for briefly, waited for with a word about whom, told apart from those of processes that are gone."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from rowvec.errors import Interrupted, StoreError, StoreUnavailable
from rowvec.stores.postgres import leases
from rowvec.stores.postgres.connect import of_a_process_that_is_gone
from rowvec.stores.postgres.leases import Holder
from rowvec.stores.postgres.session import Session
from rowvec.support.interrupts import asked_to_stop, stop_event

Connection = psycopg.Connection[Any]
logger = logging.getLogger("rowvec.waits")

LOCK_MILLISECONDS = 300
"""Whoever waits for a whole table makes everybody who comes later wait behind: given up after so long, tried again."""
SILENT_SECONDS = 2.0
LOOK_SECONDS = 0.25
PASSING = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)
"""What the server says of a transaction that may well pass when it is tried again."""

_BLOCKERS = """select a.pid, a.application_name, a.state, a.xact_start from unnest(pg_blocking_pids(%s)) as b (pid)
    join pg_stat_activity a using (pid) order by a.xact_start"""
_HOLDERS = """select l.pid, a.application_name, a.state, a.backend_start from pg_locks l
    join pg_stat_activity a using (pid) where l.locktype = 'advisory' and l.granted and l.objsubid = 1
    and a.datname = current_database() and (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended(%s, %s)"""


def brief_lock(connection: Connection, tables: Sequence[sql.Composable]) -> None:
    """Keep everybody off these tables until the transaction ends, in this order; those that are not there are left out.

    `Sessions.write` tries again what gives up here.

    Raises:
        psycopg.errors.LockNotAvailable: somebody has used one of them for long.
    """
    connection.execute(f"set local lock_timeout = {LOCK_MILLISECONDS}")
    there = [table for table in tables if _exists(connection, table)]
    if there:
        connection.execute(sql.SQL("lock table {} in access exclusive mode").format(sql.SQL(", ").join(there)))


def _exists(connection: Connection, table: sql.Composable) -> bool:
    return connection.execute("select to_regclass(%s)", [table.as_string(connection)]).fetchone() != (None,)


@contextmanager
def alone(connection: Connection, name: str) -> Iterator[None]:
    """What works on the indexes of one table, or analyses it, comes one after the other.

    An index that is being built is invalid, as one is that a killed build left behind. And the server waits with a
    build for the end of every statement that waits for the build: it calls that a deadlock.
    """
    # A statement that waits would keep its snapshot, for the end of which the other build waits.
    began, told = time.monotonic(), False

    def wait(lease: Holder | bool) -> None:
        nonlocal told
        held = holders(connection, name, 2)
        end_orphans(connection, held)
        said = [*map(shown, held), *([str(lease)] if isinstance(lease, Holder) else [])]
        if said and not told and time.monotonic() - began > SILENT_SECONDS:
            logger.warning("Waiting for other work on the indexes of %s: %s.", name, "; ".join(said))
            told = True
        if asked_to_stop(wait=LOOK_SECONDS):
            raise Interrupted(f"Stopped while waiting for other work on the indexes of {name}.")

    if isinstance(connection, Session) and connection.leases is not None:
        with connection.leases.of_indexes(connection, name, 2, wait):
            yield
        return
    take = "select pg_try_advisory_lock(hashtextextended(%s, 2))"
    give_back = "select pg_advisory_unlock(hashtextextended(%s, 2))"
    while True:
        lease: Holder | bool = False
        if connection.execute(take, [name]).fetchone() == (True,):
            lease = leases.in_the_way_of_indexes(connection, name) or False
            if not lease:
                break
            connection.execute(give_back, [name])
        wait(lease)
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute(give_back, [name])


Party = tuple[int, str, str | None, Any]
"""Pid of the server's process, application name, state and since when; the last two are null to other roles."""


def holders(connection: Connection, name: str, seed: int) -> list[Party]:
    """Who holds an advisory lock of that name."""
    return connection.execute(_HOLDERS, [name, seed]).fetchall()


def shown(party: Party) -> str:
    pid, name, state, since = party
    said = [f"{name or 'a client'} (server process {pid})", *([state] if state else [])]
    return ", ".join(said) + (f", since {since:%Y-%m-%d %H:%M:%S %Z}" if since else "")


def end_orphans(connection: Connection, found: Sequence[Party]) -> None:
    """End sessions whose process on this machine has ended: the server looks for it after their statement only."""
    for pid, name, *_ in found:
        if of_a_process_that_is_gone(name):
            try:
                connection.execute("select pg_terminate_backend(%s)", [pid])
            except psycopg.errors.InsufficientPrivilege:
                continue


class Waits:
    """Says for whom a connection waits, and gives the wait up when the process was asked to stop.

    One thread looks, from a connection that is opened when something has taken two seconds.
    """

    def __init__(self, location: str, another: Callable[[], Session]) -> None:
        self._location = location
        self._another = another
        self._watched: _Watched | None = None
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @contextmanager
    def during(self, connection: Callable[[], Session | None]) -> Iterator[None]:
        """
        Args:
            connection: the one that works inside; it may be another one after a while.

        Raises:
            Interrupted: the process was asked to stop, and the server waited for somebody or built an index.
        """
        watched = self._watched = _Watched(connection, stop_event())
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._look, name="rowvec-waits", daemon=True)
            self._thread.start()
        try:
            yield
        except StoreUnavailable as error:
            if watched.given_up:
                raise Interrupted(f"Stopped while {self._location} waited or built an index.") from error
            raise
        finally:
            self._watched = None

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            watched = self._watched
            if watched is None or time.monotonic() - watched.began < SILENT_SECONDS:
                continue
            # The work goes on without: there may be no connection left for who only looks.
            with suppress(StoreError, psycopg.Error), self._another() as second:
                while self._watched is watched and not self._closed.wait(LOOK_SECONDS):
                    self._tell(second, watched)

    def _tell(self, second: Session, watched: _Watched) -> None:
        worker = watched.connection()
        if worker is None:
            return
        blockers = second.execute(_BLOCKERS, [worker.pid]).fetchall()
        if blockers and {pid for pid, *_ in blockers} - watched.told:
            watched.told |= {pid for pid, *_ in blockers}
            logger.warning("%s waits for %s.", self._location, "; ".join(map(shown, blockers)))
        if watched.stop is not None and watched.stop.is_set():
            building = "select 1 from pg_stat_progress_create_index where pid = %s"
            if blockers or second.execute(building, [worker.pid]).fetchone():
                watched.given_up = True
                second.execute("select pg_cancel_backend(%s)", [worker.pid])


@dataclass(slots=True)
class _Watched:
    connection: Callable[[], Session | None]
    stop: threading.Event | None
    began: float = field(default_factory=time.monotonic)
    told: set[int] = field(default_factory=set)
    given_up: bool = False
