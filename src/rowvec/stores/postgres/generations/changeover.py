"""Generations are swapped while others read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from rowvec.stores.base import TableSpec
from rowvec.stores.postgres.books import Fence
from rowvec.stores.postgres.generations.tables import Generations
from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.sessions import Sessions
from rowvec.types import State

Connection = psycopg.Connection[Any]


class Changeover:
    """What `Generations` does within a transaction, each in one of its own."""

    def __init__(self, sessions: Sessions, generations: Generations, location: str) -> None:
        self._sessions = sessions
        self._generations = generations
        self._location = location

    def finish(self, names: Names, spec: TableSpec, fence: Fence | None) -> None:
        """Make `names` the live generation.

        Raises:
            StoreError: it is read without a pause, or a view cannot show the new generation.
        """
        self._swap(lambda c: self._generations.finish(c, names, spec, fence))

    def rollback(self, spec: TableSpec) -> None:
        """Swap the live generation and the previous one; raises as `finish` does."""
        self._swap(lambda c: self._generations.rollback(c, spec))

    def drop(self, state: State, spec: TableSpec) -> None:
        def drop(connection: Connection) -> None:
            with connection.transaction():
                self._generations.drop(connection, state, spec)

        self._sessions.write(drop)

    def _swap(self, exchange: Callable[[Connection], None]) -> None:
        """Swap generations, as soon as nobody reads the live one for a moment."""

        def work(connection: Connection) -> None:
            with connection.transaction():
                exchange(connection)

        self._sessions.write(work)
