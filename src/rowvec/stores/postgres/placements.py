"""How the rows of a table are spread over several, for those that are; see `rowvec.stores.partitioned`."""

from __future__ import annotations

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

TABLE = """
create table if not exists rowvec.placements (
    scope text primary key,
    placement text not null
);
grant select on rowvec.placements to public;
"""
ANNOUNCE = "update rowvec.generations set changed_at = clock_timestamp() where scope = %s and state = 'live'"


def read(connection: Connection, scope: str) -> str:
    """ "" where nothing is kept."""
    if connection.execute("select to_regclass('rowvec.placements')").fetchone() == (None,):
        return ""
    found = connection.execute("select placement from rowvec.placements where scope = %s", [scope]).fetchone()
    return "" if found is None else str(found[0])


def keep(connection: Connection, scope: str, placement: str, *, announce: bool) -> None:
    with connection.transaction():
        connection.execute(
            "insert into rowvec.placements (scope, placement) values (%s, %s)"
            " on conflict (scope) do update set placement = excluded.placement",
            [scope, placement],
        )
        if announce:
            connection.execute(ANNOUNCE, [scope])
