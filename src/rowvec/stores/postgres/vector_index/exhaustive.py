"""The nearest rows of many queries, by one reading of the table: to tune an index takes some hundred exact searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from rowvec.stores.postgres.vector_index.blended import Blend
from rowvec.stores.postgres.vector_index.nearest import VectorTable, similarities
from rowvec.types import Key, Progress, Ranked, Vectors

Connection = psycopg.Connection[Any]

PAGE_BYTES = 16 * 2**20
MANY_PASSAGES = 64
"""A page has room for rows with up to this number."""
SPARE = 10
"""Rows beyond those asked for: the server may put others first whose distances are nearly equal."""
FORMATS = {"vector": ">f4", "halfvec": ">f2"}
_PASSAGES = "(select string_agg({send}(p.embedding), ''::bytea) from {passages} p where p.key = t.{key})"


def exact(
    connection: Connection,
    table: VectorTable,
    queries: Vectors,
    count: int,
    progress: Progress,
    passages: VectorTable | None = None,
) -> list[Ranked]:
    """Up to `count` rows for each query, nearest first, with the scores that the server computes.

    Args:
        queries: shape (queries, dimension).
        passages: beside the table; a row that has some is as near as `blended` says.
    """
    # A column of the user's own may hold vectors of other lengths, which cannot be compared.
    statement = sql.SQL(
        f"select t.{{key}}, {{send}}(t.{{embedding}}), {_PASSAGES if passages else 'null::bytea'} from {{table}} t"
        " where t.{embedding} is not null and vector_dims(t.{embedding}) = {size}"
    ).format(
        key=table.key, send=sql.Identifier(f"{table.storage}_send"), size=sql.Literal(table.dimension),
        passages=passages.names.sql if passages else None, **table.names.parts,
    )  # fmt: skip
    form = np.dtype([("head", ">u4"), ("vector", FORMATS[table.storage], table.dimension)])
    page = max(100, PAGE_BYTES // (4 * table.dimension) // (MANY_PASSAGES if passages else 1))
    best, done = _Best(len(queries), count + SPARE), 0
    with connection.transaction(), connection.cursor("rowvec_exact", binary=True) as cursor:
        cursor.execute(statement)
        while rows := cursor.fetchmany(page):
            own, parts = (_scores(_unpacked(form, packed), queries, table.metric) for packed in _columns(rows))
            best.add(
                [row[0] for row in rows], _blended(own, parts, [len(row[2] or b"") // form.itemsize for row in rows])
            )
            done += len(rows)
            progress("exact searches", done, None)
    blend = Blend(table, passages) if passages else None
    found = []
    for vector, keys in zip(queries, best.keys(), strict=True):
        scored = blend.scores(connection, vector, keys) if blend else similarities(connection, table, vector, keys)
        found.append(_first(scored, count))
    return found


class _Best:
    """Of each query the keys with the highest scores so far."""

    def __init__(self, queries: int, most: int) -> None:
        self._most = most
        self._keys: npt.NDArray[Any] = np.empty((0, queries), object)
        self._scores = np.empty((0, queries), np.float32)

    def add(self, keys: Sequence[Key], scores: npt.NDArray[np.float32]) -> None:
        """Args: scores: shape (keys, queries)."""
        named = np.empty(len(keys), object)
        named[:] = keys
        scores, kept = np.concatenate([self._scores, scores]), len(self._scores)
        places = np.argpartition(-scores, min(self._most, len(scores) - 1), axis=0)[: self._most]
        new = named[np.maximum(places - kept, 0)]
        if kept:
            old = np.take_along_axis(self._keys, np.minimum(places, kept - 1), axis=0)
            new = np.where(places < kept, old, new)
        self._keys, self._scores = new, np.take_along_axis(scores, places, axis=0)

    def keys(self) -> list[list[Key]]:
        return [column.tolist() for column in self._keys.T]


def _columns(rows: Sequence[tuple[Any, ...]]) -> tuple[bytes, bytes]:
    """The vectors of the rows, and those of their passages, each as the server sends them."""
    return b"".join([row[1] for row in rows]), b"".join([row[2] for row in rows if row[2]])


def _unpacked(form: np.dtype[Any], packed: bytes) -> Vectors:
    return np.frombuffer(packed, form)["vector"].astype(np.float32)


def _scores(vectors: Vectors, queries: Vectors, metric: str) -> npt.NDArray[np.float32]:
    """The server's score times a number for each query, greater is nearer; shape (vectors, queries)."""
    found = vectors @ queries.T
    if metric == "cosine":
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        found = found / np.where(lengths > 0, lengths, 1)
    elif metric == "l2":
        squares = np.square(vectors).sum(axis=1, keepdims=True) + np.square(queries).sum(axis=1)
        found = -np.sqrt(np.maximum(squares - 2 * found, 0))
    return np.asarray(found, np.float32)


def _blended(
    own: npt.NDArray[np.float32], parts: npt.NDArray[np.float32], counts: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Half the own score and half that of the best passage, or the own one alone.

    Args:
        own: shape (rows, queries).
        parts: those of the passages, row after row, shape (passages, queries).
        counts: the number of passages of each row.
    """
    there = np.flatnonzero(counts)
    if len(there):
        starts = np.cumsum([0, *counts])[there]
        own[there] = (own[there] + np.maximum.reduceat(parts, starts, axis=0)) / 2
    return own


def _first(found: Ranked, count: int) -> Ranked:
    ordered = sorted(zip(found.scores, found.keys, strict=True), key=lambda hit: (-hit[0], hit[1]))[:count]
    return Ranked([key for _, key in ordered], [score for score, _ in ordered], exact=True, complete=True)
