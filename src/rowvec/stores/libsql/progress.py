"""How far change events were carried out: an offset for each stream and generation, a position for each key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.write import ROWS, chunks, marks
from rowvec.types import Key, WriteBatch

_KEYS = 1000
"""Keys in one query."""


def saving(tables: Tables, batch: WriteBatch) -> list[Statement]:
    """The statements that keep what a batch says of it; none where it says nothing."""
    # Keys are text here, whatever they are elsewhere: nothing orders or counts them.
    positions = {str(key): position for key, position in batch.positions.items()}
    return [
        *_upserts("rowvec_positions", "key", "position", tables.target, positions),
        *_upserts("rowvec_offsets", "stream", "next", tables.owner, batch.offsets),
    ]


def _upserts(table: str, name: str, value: str, target: str, pairs: Mapping[str, str]) -> list[Statement]:
    return [
        Statement(
            f"""insert into {table} (target, "{name}", "{value}") values {", ".join(["(?, ?, ?)"] * len(part))}
                on conflict (target, "{name}") do update set "{value}" = excluded."{value}\"""",
            tuple(item for pair in part for item in (target, *pair)),
        )
        for part in chunks(list(pairs.items()), ROWS)
    ]


def offsets(database: Database, tables: Tables) -> dict[str, str]:
    return dict(database.query("select stream, next from rowvec_offsets where target = ?", (tables.owner,)))


def inheriting(old: Tables, new: Tables) -> Statement:
    """What was filled from the table goes on with the events where the generation before it was."""
    sql = """insert into rowvec_offsets (target, stream, next) select ?, stream, next from rowvec_offsets
             where target = ? on conflict (target, stream) do nothing"""
    return Statement(sql, (new.owner, old.owner))


def positions(database: Database, target: str, keys: Sequence[Key]) -> dict[Key, str]:
    found: list[Any] = []
    for part in chunks(list(map(str, keys)), _KEYS):
        sql = f'select "key", position from rowvec_positions where target = ? and "key" in ({marks(len(part))})'
        found += database.query(sql, (target, *part))
    known = dict(found)
    return {key: known[str(key)] for key in keys if str(key) in known}
