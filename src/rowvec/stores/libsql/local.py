"""A libSQL database in a file, through the `libsql` package."""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from rowvec.errors import MissingExtraError, StoreError, StoreUnavailable
from rowvec.stores.libsql.database import Answer, Query, Statement, Values, translated
from rowvec.support.redaction import redact_mistyped

_BUSY_SECONDS = 0.05
_CACHE_KIB = 65_536
_CHECKPOINT_PAGES = 10_000
"""The write-ahead log goes into the file every 40 MB: at the usual 4 MB a bulk load is a fifth slower."""


class LocalDatabase:
    """A pool of connections to one file, as many as there are threads at work in it.

    No other SQLite library may have the file open in this process, Python's own sqlite3 neither: file locks are those
    of a process, and each library would take off those of the other.

    Args:
        path: of the file, or an SQLite URI such as `file:vectors.db?mode=ro`.
        patience: seconds to wait for another process that writes.
    """

    def __init__(self, path: str, *, patience: float = 30.0) -> None:
        self._uri = path.startswith("file:")
        self._name = path
        self._path = file_of(path)
        self._patience = patience
        self._idle: list[Any] = []
        self._guard = threading.Lock()
        self._closed = False
        self.location = _location(path)

    def exists(self) -> bool:
        return self._path.exists()

    def check_place(self) -> None:
        _library()
        if not self._path.absolute().parent.is_dir():
            raise StoreError(
                f"{self.location}: the folder {Path(self.location).absolute().parent} does not exist.",
                hint="Make it, or give the store another path.",
            )

    def create(self) -> None:
        self.check_place()
        # Readers go on while a batch is written; the mode stays with the file.
        self._patiently(lambda connection: connection.execute("pragma journal_mode = wal").fetchall())

    def query(self, sql: str, values: Values = ()) -> list[Values]:
        return self._reading(lambda connection: _rows(connection, sql, values))

    def in_one_snapshot(self, work: Callable[[Query], Answer]) -> Answer:
        def run(connection: Any) -> Answer:
            connection.execute("begin")
            answer = work(partial(_rows, connection))
            connection.execute("commit")
            return answer

        # A connection on which something fails is closed, and its transaction with it.
        return self._reading(run)

    def _reading(self, work: Callable[[Any], Answer]) -> Answer:
        if not self.exists():
            raise StoreError(f"{self.location}: there is no such file.", hint="Run `rowvec sync` to make it.")
        return self._patiently(work)

    def transact(
        self, statements: Sequence[Statement], *, before_commit: Callable[[], None] | None = None
    ) -> list[int]:
        def run(connection: Any) -> list[int]:
            connection.execute("begin immediate")
            try:
                changed = [max(connection.execute(sql, _bound(values)).rowcount, 0) for sql, values in statements]
                if before_commit:
                    before_commit()
                connection.execute("commit")
            except BaseException:
                # Where the engine has already rolled back there is nothing left to do.
                with suppress(ValueError):
                    connection.execute("rollback")
                raise
            return changed

        return self._patiently(run)

    def _patiently(self, work: Callable[[Any], Answer]) -> Answer:
        """Call `work` with a connection, again while another connection holds the write lock.

        The package keeps the interpreter lock while the engine waits, and a thread of this very process may be the one
        to be waited for: so the engine waits briefly, and the rest of the waiting is done here.
        """
        deadline = time.monotonic() + self._patience
        while True:
            try:
                with self._connection() as connection:
                    return work(connection)
            except ValueError as error:
                trouble = translated(str(error), self.location)
                if not isinstance(trouble, StoreUnavailable) or time.monotonic() > deadline:
                    raise trouble from None
            time.sleep(_BUSY_SECONDS)

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        with self._guard:
            if self._closed:
                raise StoreError(f"{self.location}: the store is closed.")
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._open()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._guard:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _open(self) -> Any:
        connection = _library().connect(
            self._name, timeout=_BUSY_SECONDS, isolation_level=None, _uri=self._uri, _check_same_thread=False
        )
        connection.execute(f"pragma cache_size = -{_CACHE_KIB}")
        connection.execute(f"pragma wal_autocheckpoint = {_CHECKPOINT_PAGES}").fetchall()
        return connection

    def close(self) -> None:
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def file_of(path: str) -> Path:
    """The file that a path, or an SQLite URI, names."""
    return Path(path.removeprefix("file:").partition("?")[0] if path.startswith("file:") else path)


def _location(path: str) -> str:
    """For messages. What is not a path may be a URL with a password, mistyped."""
    folder, name = os.path.split(path)
    if "?" in folder and Path(folder).is_dir():
        return os.path.join(folder, name.partition("?")[0])
    return redact_mistyped(path.removeprefix("file:")).partition("?")[0]


def _library() -> Any:
    """
    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module("libsql")
    except ImportError:
        raise MissingExtraError("A libSQL store", "libsql") from None


def _rows(connection: Any, sql: str, values: Values) -> list[Values]:
    rows: list[Values] | None = connection.execute(sql, _bound(values)).fetchall()
    return rows or []


def _bound(values: Values) -> Values:
    """The package turns integers of more than 32 bits into floats; those of more than 53 bits would lose digits.

    As text these arrive whole: a column of type INTEGER makes numbers of them again, in comparisons too.
    """
    # A list first: a generator takes half as long again, and this runs for each value of each row.
    return tuple([str(v) if type(v) is int and not -(2**53) <= v <= 2**53 else v for v in values])
