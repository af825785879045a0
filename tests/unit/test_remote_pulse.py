"""A libSQL server that says something is not taken for one that says nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rowvec.stores.libsql.database import Statement
from rowvec.stores.libsql.remote import RemoteDatabase
from rowvec.stores.pulse import Silent

ROWS = '{"type": "execute", "result": {"rows": [[{"type": "integer", "value": "1"}]]}}'
BATCH = (
    '{"type": "batch", "result": {"step_errors": [null, null, null],'
    ' "step_results": [null, {"affected_row_count": 1}, null]}}'
)
PARTS = 30


@contextmanager
def busy(answer: str, pause: float) -> Iterator[str]:
    """A server that answers one connection, a part of its answer at a time, and says nothing to any other."""
    body = f'{{"baton": null, "results": [{{"type": "ok", "response": {answer}}}]}}'.encode().ljust(PARTS * 10)
    size = len(body) // PARTS + 1
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode())
                for at in range(0, len(body), size):
                    time.sleep(pause)
                    connection.sendall(body[at : at + size])
                # Closed by the client: what is not read yet would reset the connection.
                while connection.recv(65_536):
                    pass

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_server_that_is_in_the_middle_of_its_answer_is_waited_for() -> None:
    with busy(ROWS, pause=0.05) as url:
        database = RemoteDatabase(url, tries=1, silent_seconds=1.0)
        assert database.query("select 1") == [(1,)]
        database.close()


def test_a_server_that_takes_a_write_is_read_from_at_once() -> None:
    with busy(BATCH, pause=0) as url:
        database = RemoteDatabase(url, tries=1)
        database._pulse._fall_silent()
        with pytest.raises(Silent):
            database._pulse.check()
        assert database.transact([Statement("delete from t")]) == [1]
        database._pulse.check()
        database.close()
