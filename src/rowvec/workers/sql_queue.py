"""Kombu's queue in a SQL database, without the transactions that it leaves open, and with workers that can be counted.

Kombu reads the queue and its length in transactions that it ends with the next message only. While one is open, every
CREATE INDEX CONCURRENTLY of the same server waits, and vacuum removes nothing. Here each call ends its own.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, sqlalchemy

LISTENS = "hashtextextended('rowvec worker of ' || %s, 0)"
"""The advisory lock that each worker of a queue shares while it listens: its death frees it, however it dies."""


class Channel(sqlalchemy.Channel):
    _listening: Any = None

    def _new_queue(self, queue: str, **options: Any) -> None:
        self._ended(super()._new_queue, queue, **options)

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]  # Two names in Kombu.
        self._ended(super()._put, queue, payload, **kwargs)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        return self._ended(super()._get, queue)

    def _size(self, queue: str) -> int:
        return int(self._ended(super()._size, queue))

    def _purge(self, queue: str) -> int:
        return int(self._ended(super()._purge, queue))

    def _ended(self, call: Any, *values: Any, **options: Any) -> Any:
        try:
            return call(*values, **options)
        finally:
            self.session.close()

    def basic_consume(self, queue: str, *values: Any, **options: Any) -> Any:
        engine, _ = self._open()
        if self._listening is None and engine.dialect.name == "postgresql":
            self._listening = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._listening.exec_driver_sql(f"select pg_advisory_lock_shared({LISTENS})", (queue,))
        return super().basic_consume(queue, *values, **options)

    def close(self) -> None:
        if self._listening is not None:
            # Not back into the pool, where it would keep the lock.
            self._listening.invalidate()
            self._listening.close()
            self._listening = None
        super().close()

    def listeners(self, queue: str) -> int | None:
        """Workers that take tasks from `queue`; None if the database cannot say."""
        engine, _ = self._open()
        if engine.dialect.name != "postgresql":
            return None
        with engine.connect() as connection:
            found = connection.exec_driver_sql(
                "select count(distinct pid) from pg_locks where locktype = 'advisory' and objsubid = 1 and granted"
                " and database = (select oid from pg_database where datname = current_database())"
                f" and (classid::bigint << 32) | objid::bigint = {LISTENS}",
                (queue,),
            )
            return int(found.scalar_one())


class Transport(sqlalchemy.Transport):
    Channel = Channel


def install() -> None:
    """Let `sqla+…` addresses mean this transport, in this process."""
    TRANSPORT_ALIASES["sqla"] = f"{__name__}:Transport"
