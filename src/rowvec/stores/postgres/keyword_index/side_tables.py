"""The side tables of a keyword index, and the statements of keyword.sql about them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, TypeAlias

import numpy as np
import psycopg
from psycopg import sql

from rowvec.stores.postgres.keyword_index.scoring import Documents
from rowvec.stores.postgres.statements import Statements
from rowvec.support.identifiers import shortened

Connection: TypeAlias = psycopg.Connection[Any]
Params: TypeAlias = Sequence[Any]

TOTALS = struct.Struct(">4q")
"""Edition, versions written and not yet dropped, live documents, their words; as `totals` packs them."""

TABLES = ("documents", "segments", "postings")


class SideTables:
    """The tables with the words of one vector table, and how they are asked.

    Args:
        table: schema and name of the vector table.
        key: its key column.
        key_type: that column's SQL type, such as `bigint`.
        family: what the names of the side tables begin with.
    """

    def __init__(self, table: tuple[str, str], key: str, key_type: str, family: str) -> None:
        self.table = table
        self.key = key
        self.key_type = key_type
        schema, name = table
        edition = sql.SQL(_queries()["edition"])
        self._parts: dict[str, sql.Composable] = {
            "table": sql.Identifier(schema, name),
            "key": sql.Identifier(key),
            "key_type": sql.SQL(key_type),
            **{side: sql.Identifier(schema, shortened(family, f"__{side}")) for side in TABLES},
            "edition": edition,
            "totals": sql.SQL(_queries()["totals"]).format(edition=edition),
        }
        self._known = Statements()

    @property
    def tables(self) -> list[sql.Composable]:
        """In the order in which a search goes through them."""
        return [self._parts[side] for side in ("segments", "postings", "documents")]

    def exists(self, conn: Connection) -> bool:
        return conn.execute("select to_regclass(%s)", [self._name(conn, "postings")]).fetchone() != (None,)

    def count(self, conn: Connection) -> int:
        """Live documents."""
        return self._state(conn)[1]

    def size(self, conn: Connection) -> int:
        """Bytes on disk of the three tables with their own indexes; 0 where they are not there."""
        names = [self._name(conn, side) for side in TABLES]
        query = "select coalesce(sum(pg_total_relation_size(to_regclass(name))), 0) from unnest(%s::text[]) as name"
        return int(first_value(conn.execute(query, [names])))

    def _state(self, conn: Connection) -> tuple[int, int, int, int]:
        """Versions written and not yet dropped, live documents, their words, segments."""
        written, documents, words, segments = conn.execute(self.sql("state")).fetchone() or (0, 0, 0, 0)
        return int(written), int(documents), int(words), int(segments)

    def _numbers(self, conn: Connection, query: str, params: Params = (), **parts: sql.Composable) -> Documents:
        packed = first_value(conn.cursor(binary=True).execute(self.sql(query, **parts), params))
        return np.frombuffer(packed or b"", ">i4").astype(np.intp)

    def _one(self, conn: Connection, query: str, params: Mapping[str, Any] | None = None) -> Any:
        return first_value(conn.execute(self.sql(query), params))

    def known_sql(self, query: str) -> bytes:
        """As `sql`, put together once: for a statement of every search."""
        return self._known.text(query, lambda: self.sql(query))

    def sql(self, query: str, **parts: sql.Composable) -> sql.Composed:
        return sql.SQL(_queries()[query]).format(**self._parts, **parts)

    def _name(self, conn: Connection, part: str) -> str:
        return self._parts[part].as_string(conn)


@cache
def _queries() -> dict[str, str]:
    """Statement by name, from keyword.sql."""
    text = resources.files(__package__).joinpath("keyword.sql").read_text("utf-8")
    named = (part.splitlines() for part in text.split("-- name: ")[1:])
    # Comments are for readers, not for the server.
    return {name: "\n".join(line for line in lines if not line.startswith("--")) for name, *lines in named}


def first_value(cursor: psycopg.Cursor[Any]) -> Any:
    row = cursor.fetchone()
    return row and row[0]
