"""Where a driver connects to, in words: what an address leaves out stands in its parameters, or in the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

POSTGRES, MYSQL = 5432, 3306
_VARIABLES = {"user": "PGUSER", "host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE"}

_UNUSABLE = re.compile(
    r"(?:connection is bad: )?(?:invalid (?:connection option|URI query parameter|integer value|port number|\S+ value:)"
    r"|could not match [0-9]+ |definition of service |service file |bad value for )"
)


def is_unusable(line: str) -> bool:
    """libpq says of a connection string that it cannot be used, whatever server it names."""
    return _UNUSABLE.match(line) is not None


def postgres_address(parts: Mapping[str, Any]) -> str:
    """User, host, port and database; the service where that says them.

    Args:
        parts: libpq's parameters of a connection.
    """
    service = parts.get("service") or os.environ.get("PGSERVICE")
    if service and not (parts.get("host") or parts.get("hostaddr")):
        # It comes before the environment. The file that has it may be anywhere on the machine.
        return f"service {service}" + (f", database {parts['dbname']}" if parts.get("dbname") else "")
    told = {name: parts.get(name) or os.environ.get(variable) for name, variable in _VARIABLES.items()}
    hosts = str(told["host"] or parts.get("hostaddr") or "localhost").split(",")
    ports = str(told["port"] or "").split(",")
    # One port is for every host.
    ports = [port or str(POSTGRES) for port in (ports * len(hosts) if len(ports) == 1 else ports)]
    if len(set(ports)) == 1:
        place = f"{','.join(map(_bracketed, hosts))}:{ports[0]}"
    elif len(ports) == len(hosts):
        place = ",".join(f"{_bracketed(host)}:{port}" for host, port in zip(hosts, ports, strict=True))
    else:
        place = f"{','.join(hosts)}:{','.join(ports)}"
    return f"{told['user'] or 'default user'}@{place}/{told['dbname'] or ''}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def mysql_address(parts: Mapping[str, Any]) -> str:
    """User, host and port or the socket, and database.

    Args:
        parts: PyMySQL's parameters of a connection.
    """
    place = parts.get("unix_socket") or f"{parts.get('host') or 'localhost'}:{parts.get('port') or MYSQL}"
    return f"{parts.get('user') or 'default user'}@{place}/{parts.get('database') or ''}"
