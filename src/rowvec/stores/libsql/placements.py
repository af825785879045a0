"""How the rows of a table are spread over several, for those that are; see `rowvec.stores.partitioned`."""

from __future__ import annotations

from rowvec.stores.libsql.clock import NOW
from rowvec.stores.libsql.database import Database, Statement

TABLE = "create table if not exists rowvec_placements (target text primary key, placement text not null)"
_THERE = "select 1 from sqlite_master where name = 'rowvec_placements'"


def read(database: Database, target: str) -> str:
    """ "" where nothing is kept."""
    if not database.exists() or not database.query(_THERE):
        return ""
    found = database.query("select placement from rowvec_placements where target = ?", (target,))
    return str(found[0][0]) if found else ""


def keeping(target: str, placement: str, *, announce: bool) -> list[Statement]:
    made = [
        Statement("insert or replace into rowvec_placements (target, placement) values (?, ?)", (target, placement)),
    ]
    if announce:
        touch = f"update rowvec_generations set since = {NOW} where target = ? and state = 'live'"
        made.append(Statement(touch, (target,)))
    return made
