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
from rowvec.stores.postgres.connect import connect, single
from rowvec.stores.postgres.session import Session
from rowvec.stores.pulse import Address, Silent

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

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url
        self._seconds = seconds
        self._hosts = str(conninfo_to_dict(url).get("host") or "").split(",")
        """In the order of preference."""
        self._address: Address = {}
        self._left: Address | None = None
        """Where a server said nothing more."""
        self._until = math.inf
        self._changing = threading.Lock()
        self.current = ""
        self.moves = 0
        """How often another server was gone to."""

    @property
    def several(self) -> bool:
        return len(self._hosts) > 1

    def connect(self, purpose: str, moved: Callable[[], None], *, from_first: bool = False) -> Session:
        """
        Args:
            moved: called when it is another server than the one before.
            from_first: at the first server that answers, and not at the current one.
        """
        session = self._connect(purpose, from_first=from_first)
        session.server = server_of(session)
        with self._changing:
            if session.server != self.current:
                self.moves += self.current != ""
                self.current = session.server
                self._address = session.address
                moved()
            if session.address == self._left:
                self._left = None
        return session

    def _connect(self, purpose: str, *, from_first: bool) -> Session:
        if self._address and not from_first:
            try:
                return connect(make_conninfo(self._url, **self._address), purpose, self._seconds)
            except StoreUnavailable:
                pass
        session = connect(self._url if from_first else self._in_order(), purpose, self._seconds)
        stays = not self.several or session.info.host == self._hosts[0]
        self._until = math.inf if stays else time.monotonic() + STAYS_SECONDS
        return session

    def _in_order(self) -> str:
        """The URL, with the server last that said nothing more."""
        if self._left is None or not self.several:
            return self._url
        named = conninfo_to_dict(self._url)
        ports = str(named.get("port") or "").split(",")
        places = list(zip(self._hosts, ports * len(self._hosts) if len(ports) == 1 else ports, strict=False))
        left = self._left["host"], str(self._left["port"])
        places.sort(key=lambda place: (place[0], place[1] or "5432") == left)
        return make_conninfo(self._url, host=",".join(h for h, _ in places), port=",".join(p for _, p in places))

    def is_due(self) -> bool:
        """It is time to ask the server again that is named first; whoever is told so does it for all."""
        with self._changing:
            due = time.monotonic() > self._until
            if due:
                self._until = time.monotonic() + STAYS_SECONDS
            return due

    def leave(self, session: Session) -> bool:
        """The server of a session says nothing more: the next ones are opened elsewhere. False where that cannot be."""
        if not self.several:
            return False
        with self._changing:
            self._left = session.address
            if self._address == self._left:
                self._address = {}
        return True

    def check(self, session: Session) -> None:
        """
        Raises:
            Silent: others have found out that the server of this session says nothing more.
        """
        if self._left is not None and session.address == self._left:
            raise Silent("it says nothing")


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
