"""The centre of an index of bits: what is taken off a vector before the signs of its numbers are kept.

The vectors of a model lie to one side: many of their numbers have the same sign in nearly every row, and such a bit
says nothing. Around the mean of the rows about half of the signs are positive, so each bit tells more, and fewer
candidates hold the nearest rows. A short vector has few numbers, so each gets more than one bit: the vector is
repeated, and other amounts are taken off each copy, some below the mean and some above. The bits of a number then say
which of them it exceeds, and the number of bits in which two vectors differ is a coarse distance. What is taken off is
a constant in the expression of the index. So it is kept with the index, goes where a dump goes, and cannot differ
between the rows and a query.
"""

from __future__ import annotations

import functools
import math
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
STEPS = ((-0.7, 0.0, 0.7), (-0.5, 0.5), (0.0,))
"""In standard deviations from the mean. Of 200,000 vectors of 384 numbers, the nearest ten are found among this many
candidates: 96 % among 30 with three bits a number, 94 % with two, 84 % with one."""
MOST_BITS = 1536
"""Of a row, where a number has several."""
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


def measured(connection: Connection, names: Names, held: sql.Composable, length: int, left_out: int) -> str:
    """What `held_of` takes off a vector, as SQL: the mean of some rows, with its steps for a short one; "" where there
    are none, or it cannot be kept.

    Args:
        held: the condition of the rows that the index holds.
        length: of the first numbers that it holds, or of all.
        left_out: number of texts in the condition of the index.
    """
    statement = sql.SQL(
        "select avg(part), avg(-(part <#> part)), count(*)"
        " from (select subvector({embedding}::vector, 1, {length}) part from {table}"
        " tablesample system ({share}) repeatable (1) where {embedding} is not null and {held} limit {most}) sample"
    )
    for share in (_share(connection, names), ALL):
        mean, square, rows = single(
            connection.execute(
                statement.format(
                    length=sql.Literal(length),
                    share=sql.Literal(share),
                    held=held,
                    most=sql.Literal(SAMPLE),
                    **names.parts,
                )
            )
        )
        # Few rows of a part may be in the pages that were read.
        if rows >= SAMPLE / 20 or (rows and share == ALL):
            return _fitting(connection, np.asarray(mean.to_numpy(), np.float32), float(square), left_out)
    return ""


def _fitting(connection: Connection, mean: Vector, square: float, left_out: int) -> str:
    """As many steps as are of use and can be kept.

    Args:
        square: the mean of the squared length of the vectors.
    """
    spread = math.sqrt(max(0.0, square - float(mean @ mean)) / mean.size)
    for steps in STEPS:
        if len(steps) * mean.size <= MOST_BITS or len(steps) == 1:
            off = np.concatenate([mean + step * spread for step in steps])
            if text := _text(connection, off, left_out):
                return text
    return ""


def _share(connection: Connection, names: Names) -> float:
    """Of the pages that have that many rows, in per cent."""
    found = connection.execute(
        "select reltuples from pg_class where oid = to_regclass(%s)", [names.sql.as_string(connection)]
    ).fetchone()
    rows = float(found[0]) if found else 0.0
    return ALL if rows <= SAMPLE else max(0.01, 100.0 * SAMPLE / rows)


def _text(connection: Connection, off: Vector, left_out: int) -> str:
    fits = connection.info.server_version >= MOVES_OUT or off.size * NUMBER_BYTES + left_out * TEXT_BYTES <= LONGEST
    if not fits or not np.all(np.abs(off) < LARGEST):
        return ""
    # Half precision is enough for a centre, and half as long. A halfvec is what is kept; the column may be either.
    return "[" + ",".join(str(number) for number in off.astype(np.float16)) + "]"


def bits_for_each(text: str, length: int) -> int:
    """Bits that an index with that centre has for each number of a vector of that length."""
    return (text.count(",") + 1) // length if text else 1


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


def around(vector: Vector, text: str, length: int) -> Vector:
    """What the bits of a query are the signs of: its first `length` numbers, once for each bit of a number, relative to
    the centre. Without a centre, the vector as it is."""
    if not text:
        return vector
    found: Vector = np.tile(np.asarray(vector[:length], np.float32), bits_for_each(text, length)) - _numbers(text)
    return found
