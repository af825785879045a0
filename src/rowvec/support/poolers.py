"""Whether a pooler stands between us and a PostgreSQL server, and what it does with sessions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]
LOOKS = 8
"""Where others keep the pool busy, half of them show nothing."""
STATEMENT_MODE = "statement pooling"
"""What PgBouncer says in that mode of a transaction."""


def server_pid(connection: Connection) -> int:
    row = connection.execute("select pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def is_lent(connection: Connection, another: Callable[[], Connection]) -> bool:
    """Whether a pooler lends the session to others between two transactions: what is kept for as long as a session
    lasts, such as a lock or LISTEN, would be somebody else's there."""
    if server_pid(connection) == connection.info.backend_pid:
        # A pooler hands out keys for cancelling of its own, whatever its mode is.
        return False
    with closing(another()) as other:
        pid = server_pid(connection)
        for _ in range(LOOKS):
            # A pooler gives out first what came back last. While the other one keeps it, ours must still be there.
            with other.transaction():
                if server_pid(other) == pid or server_pid(connection) != pid:
                    return True
    return False
