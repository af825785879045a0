"""Texts that very many rows share: they are left out of an HNSW index, and each is compared once beside it.

pgvector keeps ten rows of one vector in one node of the graph. The nodes of a vector that hundreds of rows share are
each other's nearest, so that their links lead to nothing else, and what lies behind them is not found any more, however
much effort is spent (pgvector issue 837). So the index is a partial one: its condition names those texts by their hash,
and this list, part of its definition, is all that is kept. A search compares the query with the one vector of each of
those texts, and takes rows of them where they are near enough.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from rowvec.stores.postgres.names import Names
from rowvec.stores.postgres.vector_index.centre import MOVES_OUT
from rowvec.types import Key, Vector, Vectors

Connection = psycopg.Connection[Any]

COPIES = 4
"""Times as many rows of one text as a node has links, from which on it is left out. A node holds ten of them. Of 10,000
rows, half of them copies of 100 texts each 50 times, or of 50 texts each 100 times, recall is 1.00 and 0.99; of 10
texts each 500 times it is 0.92."""
MOST = 1_000
"""Texts that are left out at most, those with the most rows first."""
MOST_IN_ROW = 40
"""The same before PostgreSQL 18, which keeps a condition of an index in one row of a catalogue, of 8 kB at most."""


def least_copies(m: int) -> int:
    return COPIES * m


def most_of(connection: Connection) -> int:
    return MOST if connection.info.server_version >= MOVES_OUT else MOST_IN_ROW


def find(connection: Connection, names: Names, m: int) -> list[bytes]:
    """The hashes of the texts that the index of a table should leave out."""
    statement = sql.SQL(
        "select {text_hash} from {table} where {embedding} is not null and {text_hash} is not null"
        " group by {text_hash} having count(*) > %s order by count(*) desc, 1 limit %s"
    ).format(**names.parts)
    return sorted(bytes(found) for (found,) in connection.execute(statement, [least_copies(m), most_of(connection)]))


def arrived(connection: Connection, names: Names, definition: str, m: int) -> bool:
    """Whether the table has such texts which the index does not leave out.

    The statistics of the last ANALYZE name them, as estimates; those few are counted.
    """
    found = connection.execute(
        "select s.most_common_vals::text::bytea[], s.most_common_freqs, c.reltuples from pg_stats s"
        " join pg_class c on c.oid = to_regclass(%s)"
        " where (s.schemaname, s.tablename, s.attname) = (%s, %s, %s)",
        [names.sql.as_string(connection), names.schema, names.table, names.own("text_hash")],
    ).fetchone()
    if found is None or found[0] is None:
        return False
    left_out = set(hashes_of(definition))
    if len(left_out) >= most_of(connection):
        return False
    common, shares, rows = found
    suspects = [
        bytes(text)
        for text, share in zip(common, shares, strict=True)
        if share * rows > 2 * least_copies(m) and bytes(text) not in left_out
    ]
    statement = sql.SQL(
        "select 1 from {table} where {text_hash} = any(%s) and {embedding} is not null"
        " group by {text_hash} having count(*) > %s limit 1"
    ).format(**names.parts)
    counted = connection.execute(statement, [suspects, least_copies(m)]) if suspects else None
    return counted is not None and counted.fetchone() is not None


def condition(names: Names, hashes: Sequence[bytes]) -> list[sql.Composable]:
    """The condition of an index that leaves these texts out; none where there are none."""
    if not hashes:
        return []
    listed = sql.SQL(", ").join(sql.SQL("{}::bytea").format(sql.Literal(f"\\x{each.hex()}")) for each in hashes)
    # A vector that was not made by rowvec has no hash.
    text = "({text_hash} is null or {text_hash} <> all (array[{listed}]))"
    return [sql.SQL(text).format(listed=listed, **names.parts)]


def condition_of(definition: str) -> str:
    """The condition of an index, as PostgreSQL writes it; "" where it has none."""
    return definition.partition(" WHERE ")[2]


def is_ours(definition: str, names: Names) -> bool:
    """The index holds every row but those with texts that it names. A user may have made one with another condition."""
    found = condition_of(definition)
    column = re.escape(names.own("text_hash"))
    return not found or re.match(rf'\(\("?{column}"? IS NULL\) OR \("?{column}"? <> ALL \(ARRAY\[', found) is not None


def hashes_of(definition: str) -> list[bytes]:
    return [bytes.fromhex(each) for each in re.findall(r"'\\x([0-9a-f]+)'::bytea", condition_of(definition))]


@dataclass(frozen=True, slots=True)
class Repeated:
    """What an index leaves out.

    Attributes:
        definition: of the index.
        vectors: one for each of `hashes`, shape (texts, dimension).
    """

    definition: str
    hashes: tuple[bytes, ...] = ()
    vectors: Vectors | None = None

    @property
    def condition(self) -> sql.Composable:
        """True of the rows that the index holds, in the words that let the planner use it."""
        found = condition_of(self.definition)
        return sql.SQL(found.replace("%", "%%")) if found else sql.SQL("true")

    def near(self, vector: Vector, metric: str, worst: float) -> list[tuple[bytes, float]]:
        """The texts that are not further than `worst`, with their distances as pgvector counts them."""
        if self.vectors is None:
            return []
        distances = _distances(self.vectors, vector, metric)
        return [(self.hashes[place], float(distances[place])) for place in np.flatnonzero(distances <= worst).tolist()]


def load(connection: Connection, names: Names, definition: str) -> Repeated:
    """What the index of this definition leaves out, with one vector of each text that still has a row."""
    hashes = hashes_of(definition)
    if not hashes:
        return Repeated(definition)
    statement = sql.SQL(
        "select h, v from unnest(%s::bytea[]) h, lateral"
        " (select {embedding} as v from {table} where {text_hash} = h and {embedding} is not null limit 1) one"
    ).format(**names.parts)
    rows = connection.execute(statement, [hashes], binary=True).fetchall()
    if not rows:
        return Repeated(definition)
    vectors = np.stack([np.asarray(vector.to_numpy(), np.float32) for _, vector in rows])
    return Repeated(definition, tuple(bytes(found) for found, _ in rows), vectors)


def rows_of(
    connection: Connection,
    names: Names,
    key: sql.Identifier,
    near: Sequence[tuple[bytes, float]],
    limit: int,
    where: sql.Composable,
    values: Sequence[Any],
) -> list[tuple[Key, float]]:
    """Up to `limit` rows of each of those texts, with the distance of the text."""
    statement = sql.SQL(
        "select r.key, h.distance from unnest(%s::bytea[], %s::float8[]) h (text, distance), lateral"
        " (select t.{key} as key from {table} t where t.{text_hash} = h.text and t.{embedding} is not null and {where}"
        " order by 1 limit %s) r"
    ).format(key=key, where=where, **names.parts)
    texts, distances = [text for text, _ in near], [distance for _, distance in near]
    return connection.execute(statement, [texts, distances, *values, limit], binary=True).fetchall()


def _distances(vectors: Vectors, vector: Vector, metric: str) -> Any:
    many, one = vectors.astype(np.float64), vector.astype(np.float64)
    if metric == "l2":
        return np.linalg.norm(many - one, axis=1)
    products = many @ one
    if metric == "ip":
        return -products
    norms = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    return 1 - np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
