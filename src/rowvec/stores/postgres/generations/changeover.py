"""Generations change places while others read them: waited for, given up on, told about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg

from rowvec.errors import StoreError, StoreUnavailable
from rowvec.stores.base import TableSpec
from rowvec.stores.postgres.generations.tables import Generations
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.sessions import Sessions
from rowvec.types import State

Connection = psycopg.Connection[Any]
SWAP_SECONDS, SWAP_PAUSE = 60.0, 0.5
_IN_THE_WAY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


class Changeover:
    """What `Generations` does within a transaction, each in one of its own."""

    def __init__(self, sessions: Sessions, generations: Generations, location: str) -> None:
        self._sessions = sessions
        self._generations = generations
        self._location = location

    def finish(self, names: Names, spec: TableSpec) -> None:
        """Make `names` the live generation.

        Raises:
            StoreError: it is read without a pause, or a view cannot show the new generation.
        """
        self._swap(lambda c: self._generations.finish(c, names, spec))

    def rollback(self, spec: TableSpec) -> None:
        """The live generation and the previous one change places; raises as `finish` does."""
        self._swap(lambda c: self._generations.rollback(c, spec))

    def drop(self, state: State, spec: TableSpec) -> None:
        def drop(connection: Connection) -> None:
            with connection.transaction():
                self._generations.drop(connection, state, spec)

        self._sessions.write(drop)

    def _swap(self, exchange: Callable[[Connection], None]) -> None:
        """Let generations change places, as soon as nobody reads the live one for a moment."""

        def work(connection: Connection) -> None:
            with connection.transaction():
                exchange(connection)

        last = time.monotonic() + SWAP_SECONDS
        while True:
            try:
                return self._sessions.write(work)
            except StoreUnavailable as error:
                if not isinstance(error.__cause__, _IN_THE_WAY):
                    raise
                if time.monotonic() > last:
                    raise StoreError(
                        f"{self._location} is read without a pause for {SWAP_SECONDS:.0f} s, so that the"
                        " generations could"
                        " not change places. The live one stays.",
                        hint="End the query that reads it for so long, then run it again; nothing is embedded again.",
                    ) from error
            time.sleep(SWAP_PAUSE)
