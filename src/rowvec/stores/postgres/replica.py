"""Read replicas: which of several servers answers, and how far it is behind the primary."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from rowvec.errors import StoreUnavailable
from rowvec.stores.abilities import Lag
from rowvec.stores.postgres.connect import Session, connect, single

Connection = psycopg.Connection[Any]

STAYS_SECONDS = 60.0
"""So long another server than the first that is named is stayed with, once it has answered."""
_STANDBY = "select pg_is_in_recovery(), clock_timestamp()"
_REPLAYED = """select pg_last_wal_replay_lsn()::text,
    extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8"""
_WRITTEN = """select
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end::text"""
_SERVER = "select concat_ws(' ', inet_server_addr(), inet_server_port(), pg_postmaster_start_time())"


def server_of(connection: Connection) -> str:
    """Tells one server from another, whatever address leads to it."""
    return str(single(connection.execute(_SERVER))[0])


class Servers:
    """Opens sessions at the servers that a URL names. All that are in use are at one of them: servers are behind by
    different times, and an answer that is put together of two would be of two generations."""

    def __init__(self, url: str) -> None:
        self._url = url
        host = str(conninfo_to_dict(url).get("host") or "")
        self._first = host.split(",")[0] if "," in host else None
        """Of several hosts, the one to be preferred."""
        self._address: dict[str, Any] = {}
        self._until = math.inf
        self._changing = threading.Lock()
        self.current = ""
        self.moves = 0
        """How often another server was gone to."""

    def connect(self, purpose: str, moved: Callable[[], None]) -> Session:
        """
        Args:
            moved: called when it is another server than the one before.
        """
        session = self._connect(purpose)
        session.server = server_of(session)
        with self._changing:
            if session.server != self.current:
                self.moves += self.current != ""
                self.current = session.server
                info = session.info
                self._address = {"host": info.host, "port": info.port, "hostaddr": info.hostaddr or None}
                moved()
        return session

    def _connect(self, purpose: str) -> Session:
        if self._address and not self.is_due():
            try:
                return connect(make_conninfo(self._url, **self._address), purpose)
            except StoreUnavailable:
                pass
        session = connect(self._url, purpose)
        stays = self._first is None or session.info.host == self._first
        self._until = math.inf if stays else time.monotonic() + STAYS_SECONDS
        return session

    def is_due(self) -> bool:
        """It is time to ask the server again that is named first."""
        return time.monotonic() > self._until


def written(connection: Connection) -> str | None:
    """How far the primary has written; None where the server does not say, as those with a storage of their own."""
    try:
        found: str | None = single(connection.execute(_WRITTEN))[0]
    except psycopg.errors.FeatureNotSupported:
        return None
    return found


def lag(connection: Connection, primary: str | None) -> Lag:
    """How far a replica is behind.

    Args:
        primary: what `written` said a moment ago.
    """
    if not single(connection.execute(_STANDBY))[0]:
        return Lag(standby=False)
    try:
        replayed, seconds = single(connection.execute(_REPLAYED))
    except psycopg.errors.FeatureNotSupported:
        return Lag()
    if primary is None or replayed is None:
        return Lag(seconds=seconds)
    behind = sql.SQL("select greatest(0, pg_wal_lsn_diff({}, {}))::bigint").format(primary, replayed)
    count = int(single(connection.execute(behind))[0])
    # Where nothing is missing, the last transaction is old because there was none since.
    return Lag(seconds=(seconds or 0.0) if count else 0.0, bytes=count)
