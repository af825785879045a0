"""The lock of a pipeline: a row that its holder renews, since a database far away cannot see a process die.

A lease that has not been renewed for LEASE_SECONDS belongs to nobody. One whose process is gone from this very machine
is free at once: a machine is known by its boot, since many have the same name.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rowvec.errors import Locked, StoreError
from rowvec.stores.libsql import clock, migrations
from rowvec.stores.libsql.database import Database, Statement
from rowvec.support.processes import is_gone, place

LEASE_SECONDS = 60.0
_CLOCK = "(julianday('now') * 86400.0)"
"""Seconds by the clock of the database, so that the machines of two holders need not agree. A beat far ahead of
it is as dead as one far behind: the clock was put back."""


class Lease:
    """Holds at most one lock at a time, that of `target`."""

    def __init__(self, database: Database, target: str) -> None:
        self._database = database
        self._target = target
        self.token: str | None = None
        self._lost = False

    def check(self) -> None:
        """
        Raises:
            Locked: the lock was held once and somebody else has it now.
        """
        if self._lost:
            raise Locked(
                f"{self._database.location}: this sync was silent for over {LEASE_SECONDS:.0f} s and lost its lock.",
                hint="Run `rowvec sync` again: it goes on where this one stopped.",
            )

    def live(self) -> str | None:
        """The token of whoever holds the lock now."""
        found = self._database.query(
            f"select token, place, pid from rowvec_locks where target = ? and abs(beat - {_CLOCK}) < ?",
            (self._target, LEASE_SECONDS),
        )
        return found[0][0] if found and not _dead(*found[0][1:]) else None

    def holder(self) -> str | None:
        """Who holds the lock now, and since when, in words."""
        if self._database.exists() and self._database.query(_THERE):
            token = self.live()
            for holder, since in self._database.query(
                "select holder, since from rowvec_locks where token = ?", (token,)
            ):
                return f"{holder}, since {since[:19]} UTC"
        return None

    @contextmanager
    def hold(self) -> Iterator[None]:
        token = self._acquire()
        self.token, self._lost = token, False
        stop = threading.Event()
        beating = threading.Thread(target=self._beat, args=(token, stop), name="rowvec-lease", daemon=True)
        beating.start()
        try:
            yield
        finally:
            stop.set()
            beating.join()
            self.token = None
            release = Statement("delete from rowvec_locks where target = ? and token = ?", (self._target, token))
            # An error here would hide the one that ends the sync; unreleased, the lease runs out by itself.
            with suppress(StoreError):
                self._database.transact([release])

    def _acquire(self) -> str:
        token = uuid.uuid4().hex
        self._database.create()
        migrations.upgrade(self._database)
        free = self._dead_token()
        acquire = Statement(
            f"""insert into rowvec_locks (target, token, place, pid, holder, since, beat)
                values (?, ?, ?, ?, ?, {clock.NOW}, {_CLOCK})
                on conflict (target) do update set token = excluded.token, place = excluded.place, pid = excluded.pid,
                    holder = excluded.holder, since = excluded.since, beat = excluded.beat
                where abs(rowvec_locks.beat - {_CLOCK}) >= ? or rowvec_locks.token in (excluded.token, ?)""",
            (self._target, token, _PLACE, os.getpid(), _holder(), LEASE_SECONDS, free),
        )
        *_, taken = self._database.transact([migrations.guard(), acquire])
        if not taken:
            raise self._locked()
        return token

    def _dead_token(self) -> str | None:
        if not self._database.query(_THERE):
            return None
        found = self._database.query("select token, place, pid from rowvec_locks where target = ?", (self._target,))
        return found[0][0] if found and _dead(*found[0][1:]) else None

    def _locked(self) -> Locked:
        found = self._database.query("select holder, since from rowvec_locks where target = ?", (self._target,))
        holder, since = found[0] if found else ("somebody who has just finished", clock.read(self._database))
        return Locked(
            f"{self._database.location}, table {self._target}: another sync is at work: {holder}, since"
            f" {since[:19]} UTC.",
            hint=f"Wait for it. If it is gone, its lock ends {LEASE_SECONDS:.0f} s after its last sign of life.",
        )

    def _beat(self, token: str, stop: threading.Event) -> None:
        renew = Statement(
            f"update rowvec_locks set beat = {_CLOCK} where target = ? and token = ?", (self._target, token)
        )
        while not stop.wait(LEASE_SECONDS / 4):
            # A database that does not answer now may do so at the next beat; the writer meets the error itself.
            with suppress(StoreError):
                self._lost = self._database.transact([renew]) == [0]


_PLACE = place()
_THERE = "select 1 from sqlite_master where name = 'rowvec_locks'"


def _holder() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _dead(place: str, pid: int) -> bool:
    return place == _PLACE and is_gone(pid)
