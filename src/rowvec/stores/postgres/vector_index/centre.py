"""The centre of an index of bits: what is taken off a vector before the signs of its numbers are kept.

The vectors of a model lie to one side: many of their numbers have the same sign in nearly every row, and such a bit
says nothing. Around the mean of the rows about half of the signs are positive, so each bit tells more, and fewer
candidates hold the nearest rows. The mean is a constant in the expression of the index. So it is kept with the index,
goes where a dump goes, and cannot differ between the rows and a query.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from rowvec.stores.postgres.connect import single
from rowvec.stores.postgres.names import Names
from rowvec.types import Vector

Connection = psycopg.Connection[Any]

SAMPLE = 20_000
"""Rows whose mean is taken."""
MOVES_OUT = 180_000
"""The version of PostgreSQL from which on what is long in its list of indexes is kept apart."""
LONGEST = 13_000
"""Bytes of an index's expression and condition before that: they have to fit into 8 kB when they are compressed, which
leaves about half of them."""
NUMBER_BYTES, TEXT_BYTES = 8, 150
"""Of a number of the centre there, and of the hash of a text that the index leaves out."""
ALL = 100.0
LARGEST = 60_000.0
"""What a half-precision number holds."""


def measured(connection: Connection, names: Names, held: sql.Composable, dimensions: int | None, left_out: int) -> str:
    """What `held_of` takes off a vector, as SQL: the mean of some rows; "" where there are none, or it cannot be kept.

    Args:
        held: the condition of the rows that the index holds.
        dimensions: of the first numbers that it holds; None for all.
        left_out: number of texts in the condition of the index.
    """
    statement = sql.SQL(
        "select avg({embedding}::vector), count(*) from (select {embedding} from {table} tablesample system ({share})"
        " repeatable (1) where {embedding} is not null and {held} limit {most}) sample"
    )
    for share in (_share(connection, names), ALL):
        mean, rows = single(
            connection.execute(
                statement.format(share=sql.Literal(share), held=held, most=sql.Literal(SAMPLE), **names.parts)
            )
        )
        # Few rows of a part may be in the pages that were read.
        if rows >= SAMPLE / 20 or (rows and share == ALL):
            return _text(connection, np.asarray(mean.to_numpy(), np.float32)[:dimensions], left_out)
    return ""


def _share(connection: Connection, names: Names) -> float:
    """Of the pages that have that many rows, in per cent."""
    found = connection.execute(
        "select reltuples from pg_class where oid = to_regclass(%s)", [names.sql.as_string(connection)]
    ).fetchone()
    rows = float(found[0]) if found else 0.0
    return ALL if rows <= SAMPLE else max(0.01, 100.0 * SAMPLE / rows)


def _text(connection: Connection, mean: Vector, left_out: int) -> str:
    fits = connection.info.server_version >= MOVES_OUT or mean.size * NUMBER_BYTES + left_out * TEXT_BYTES <= LONGEST
    if not fits or not np.all(np.abs(mean) < LARGEST):
        return ""
    # Half precision is enough for a centre, and half as long. A halfvec is what is kept; the column may be either.
    return "[" + ",".join(str(number) for number in mean.astype(np.float16)) + "]"


def sql_of(text: str, storage: str) -> str:
    """The end of an expression of a vector: what is taken off it."""
    if not text:
        return ""
    literal = f"'{text}'::halfvec"
    return f" - {literal}" if storage == "halfvec" else f" - ({literal})::vector"


@functools.lru_cache(maxsize=256)
def text_of(definition: str) -> str:
    """The centre in the definition of an index; "" where it has none."""
    found = re.search(r" - \(?'(\[[-+0-9.,e]+\])'::halfvec", definition.partition(" WHERE ")[0])
    return found[1] if found else ""


@functools.lru_cache(maxsize=256)
def _numbers(text: str) -> Vector:
    return np.asarray([float(number) for number in text[1:-1].split(",")], np.float32)


def around(vector: Vector, text: str) -> Vector:
    """A vector whose first numbers are relative to the centre, as many as the centre has."""
    if not text:
        return vector
    centre, found = _numbers(text), np.array(vector, np.float32)
    found[: centre.size] -= centre
    return found
