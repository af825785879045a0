"""Rows and entries for the store contract."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from rowvec.stores.base import GenerationHandle, Store, TableSpec, existing
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing import HashEmbedder
from rowvec.types import Column, ColumnType, Document, Entry, Failure, Key, Vector

Opener: TypeAlias = Callable[..., Store]
"""Opens a store on the tables of a test: `opener(spec)`, `opener(spec, "l2")`."""

DIMENSION = 16
EMBEDDER = HashEmbedder(DIMENSION)
NAME = Column("name", ColumnType.TEXT)
SPEC = TableSpec("items", "id", ColumnType.INTEGER, DIMENSION, (NAME,))
WHEN = dt.datetime(2026, 3, 1, 12, 30, 15, 250_000, dt.UTC)


def vector_of(text: str) -> Vector:
    return EMBEDDER.embed_query(text)


def hashed(*values: Any) -> bytes:
    return hashlib.blake2b(repr(values).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def document(key: Key, text: str, *metadata: Any) -> Document:
    metadata = metadata or (text,)
    return Document(key, text, metadata, hashed(text), hashed(text, metadata))


def entry(key: Key, text: str, *metadata: Any, expected: bytes | None = None, truncated: bool = False) -> Entry:
    return Entry(document(key, text, *metadata), vector_of(text), expected, truncated)


def failure(key: Key, text: str = "bad text", *, attempts: int = 1, error: str = "refused") -> Failure:
    return Failure(key, error, attempts, WHEN, WHEN + dt.timedelta(minutes=attempts), hashed(text))


def rows(store: Store, spec: TableSpec = SPEC) -> GenerationHandle:
    return existing(store, spec)


def write(store: Store, *entries: Entry, spec: TableSpec = SPEC, **others: Any) -> int:
    return rows(store, spec).write(WriteBatch(list(entries), **others))


def similarity(metric: str, one: Vector, two: Vector) -> float:
    """As exactly as a float64 has it."""
    one, two = one.astype(np.float64), two.astype(np.float64)
    if metric == "l2":
        return -float(np.linalg.norm(one - two))
    return float(one @ two / (np.linalg.norm(one) * np.linalg.norm(two) if metric == "cosine" else 1.0))
