"""Where a driver connects to, in words: what an address leaves out stands in its parameters, or in the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

POSTGRES, MYSQL = 5432, 3306
_VARIABLES = {"user": "PGUSER", "host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE"}

_UNUSABLE = re.compile(
    r"(?:connection is bad: )?invalid (?:connection option|URI query parameter|integer value|port number|\S+ value:)"
)


def is_unusable(line: str) -> bool:
    """libpq says of a connection string that it cannot be used, whatever server it names."""
    return _UNUSABLE.match(line) is not None


def postgres_address(parts: Mapping[str, Any]) -> str:
    """User, host, port and database.

    Args:
        parts: libpq's parameters of a connection.
    """
    told = {name: parts.get(name) or os.environ.get(variable) for name, variable in _VARIABLES.items()}
    host = told["host"] or parts.get("hostaddr") or "localhost"
    port = str(told["port"] or "").strip(",") or POSTGRES
    return f"{told['user'] or 'default user'}@{host}:{port}/{told['dbname'] or ''}"


def mysql_address(parts: Mapping[str, Any]) -> str:
    """User, host and port or the socket, and database.

    Args:
        parts: PyMySQL's parameters of a connection.
    """
    place = parts.get("unix_socket") or f"{parts.get('host') or 'localhost'}:{parts.get('port') or MYSQL}"
    return f"{parts.get('user') or 'default user'}@{place}/{parts.get('database') or ''}"
