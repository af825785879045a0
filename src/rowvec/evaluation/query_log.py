"""The log of what people asked: a SQLite file that a server writes beside its answers, never in front of them.

A record is put into a bounded queue, and one thread writes what is there, many records in one transaction. Where the
thread is behind, or the disk is full, records are dropped and counted: a search never waits for the log. Several
processes may write one file. It holds no address, no key and no token of a caller.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rowvec.errors import ConfigError
from rowvec.types import Key

logger = logging.getLogger("rowvec.queries")

EventType = Literal["click", "conversion"]
VERSION = 1
WAITING = 2_000
"""Records that wait to be written, at most."""
LONGEST_FILTER = 2_000
"""Characters of a filter that are kept."""
PAUSE = 0.25
"""Seconds in which records are gathered for one transaction."""
FORGET_SECONDS = 3600.0
WARN_SECONDS = 60.0
_SCHEMA = """
create table queries (
    id text primary key, at real not null, pipeline text not null, mode text not null, query text not null,
    filter text, hits integer not null, keys text not null, ms real not null
) without rowid;
create index queries_at on queries (at);
create table events (
    query_id text not null references queries on delete cascade, key text not null, type text not null,
    position integer, at real not null, primary key (query_id, key, type)
) without rowid;
"""


@dataclass(frozen=True, slots=True)
class _Query:
    id: str
    at: float
    pipeline: str
    mode: str
    query: str
    filter: str | None
    keys: Sequence[Key]
    ms: float


@dataclass(frozen=True, slots=True)
class _Event:
    query_id: str
    key: str
    type: EventType
    position: int | None
    at: float


class QueryLog:
    """Writes the log. Safe to use from several threads.

    Args:
        keep: older queries are deleted, with their events.

    Raises:
        ConfigError: the file cannot be written, or is not such a log.
    """

    def __init__(self, path: Path, keep: dt.timedelta) -> None:
        self.written = 0
        self.dropped = 0
        """Records that were lost because the log could not be written in time."""
        self._path, self._keep = path, keep.total_seconds()
        self._waiting: queue.Queue[_Query | _Event | None] = queue.Queue(WAITING)
        self._unwritten: dict[str, _Query] = {}
        self._forgot = self._warned = float("-inf")
        _prepare(path)
        self._thread = threading.Thread(target=self._work, name="rowvec-queries", daemon=True)
        self._thread.start()

    def record(
        self,
        pipeline: str,
        mode: str,
        query: str,
        where: Mapping[str, Any] | str | None,
        keys: Sequence[Key],
        milliseconds: float,
    ) -> str | None:
        """Note a query that was answered.

        Args:
            where: the filter that the caller sent.
            keys: of the hits, the best first.

        Returns:
            An id that nobody can guess, for `event`; None where the record was dropped.
        """
        text = where if where is None or isinstance(where, str) else json.dumps(where, default=str)
        number = secrets.token_hex(16)
        record = _Query(number, time.time(), pipeline, mode, query, text and text[:LONGEST_FILTER], keys, milliseconds)
        self._unwritten[number] = record
        if self._put(record):
            return number
        self._unwritten.pop(number, None)
        return None

    def asked(self, query_id: str) -> tuple[str, Sequence[Key]] | None:
        """The pipeline and the hits of a query; None if the log does not have it. Not for the event loop's thread.

        Raises:
            ConfigError: the log cannot be read.
        """
        waiting = self._unwritten.get(query_id)
        if waiting is not None:
            return waiting.pipeline, waiting.keys
        try:
            with opened(self._path) as database:
                row = database.execute("select pipeline, keys from queries where id = ?", [query_id]).fetchone()
        except sqlite3.Error as error:
            raise ConfigError(f"The log of queries {self._path} cannot be read: {error}.") from None
        return None if row is None else (row[0], json.loads(row[1]))

    def event(self, query_id: str, key: Key, kind: EventType, position: int | None) -> bool:
        """Note what somebody did with a hit; the same again changes nothing. False where it was dropped."""
        return self._put(_Event(query_id, str(key), kind, position, time.time()))

    def _put(self, record: _Query | _Event) -> bool:
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def close(self) -> None:
        """Write what is waiting."""
        self._waiting.put(None)
        self._thread.join(timeout=10)

    def _work(self) -> None:
        ended = False
        while not ended:
            records = self._gathered()
            ended = None in records
            found = [record for record in records if record is not None]
            try:
                self._write(found)
                self.written += len(found)
            except Exception as error:
                # Whatever it is: without this thread, the log would lose all that comes.
                self.dropped += len(found)
                self._warn(error)
            for record in found:
                if isinstance(record, _Query):
                    self._unwritten.pop(record.id, None)

    def _gathered(self) -> list[_Query | _Event | None]:
        """At least one record, and what else comes within the pause."""
        records = [self._waiting.get()]
        until = time.monotonic() + PAUSE
        while records[-1] is not None and len(records) < WAITING:
            try:
                records.append(self._waiting.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                break
        return records

    def _write(self, records: Sequence[_Query | _Event]) -> None:
        with opened(self._path) as database, database:
            if time.monotonic() - self._forgot > FORGET_SECONDS:
                database.execute("delete from queries where at < ?", [time.time() - self._keep])
                self._forgot = time.monotonic()
            for record in records:
                (_insert_query if isinstance(record, _Query) else _insert_event)(database, record)

    def _warn(self, error: Exception) -> None:
        if time.monotonic() - self._warned > WARN_SECONDS:
            self._warned = time.monotonic()
            logger.warning("The log of queries %s cannot be written: %s", self._path, error)


def _insert_query(database: sqlite3.Connection, record: Any) -> None:
    keys = json.dumps([key if isinstance(key, int) else str(key) for key in record.keys])
    row = (record.id, record.at, record.pipeline, record.mode, record.query, record.filter, len(record.keys), keys)
    database.execute("insert into queries values (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, record.ms))


def _insert_event(database: sqlite3.Connection, record: Any) -> None:
    # Its query may have been too old to stay, or was lost.
    database.execute(
        "insert or ignore into events select ?1, ?2, ?3, ?4, ?5 where exists (select 1 from queries where id = ?1)",
        (record.query_id, record.key, record.type, record.position, record.at),
    )


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    # Not created where it is gone: the new file would be empty, and everybody could read it.
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", timeout=5.0, uri=True)
    try:
        database.execute("pragma foreign_keys = on")
        database.execute("pragma synchronous = normal")
        yield database
    finally:
        database.close()


def _prepare(path: Path) -> None:
    """Make the file where it is missing; nobody but its owner may read it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with opened(path) as database:
            version_of(database, path)
            database.execute("pragma journal_mode = wal")
            database.execute("begin immediate")
            if version_of(database, path) == 0:
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(f"pragma user_version = {VERSION}")
            database.commit()
    except (OSError, sqlite3.Error) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"The log of queries {path} cannot be written: {what}.", hint="See serve.queries.file."
        ) from None


def version_of(database: sqlite3.Connection, path: Path) -> int:
    """0 for an empty file.

    Raises:
        ConfigError: it is not a log of queries, or one of a newer rowvec.
    """
    version = int(database.execute("pragma user_version").fetchone()[0])
    tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
    if version > VERSION or (version == 0 and tables) or (version and "queries" not in tables):
        raise ConfigError(f"{path} is not a log of queries, or of a newer rowvec.", hint="See serve.queries.file.")
    return version
