"""How much effort an index needs to find what an exact search finds."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.postgres.vector_index.index import IndexInfo
from rowvec.stores.postgres.vector_index.nearest import VectorTable, nearest
from rowvec.types import Key, Progress, Ranked, Vector

Connection = psycopg.Connection[Any]

EF_SEARCH = (10, 20, 30, 40, 60, 80, 100, 120, 160, 200, 300, 400, 600, 800, 1000)
PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
TIE = 1e-6
"""Distances that differ by less count as equal: which of two equal rows is found does not matter."""


@dataclass(frozen=True, slots=True)
class Effort:
    """One setting of an index and what it gives."""

    effort: int
    """hnsw.ef_search or ivfflat.probes."""
    recall: float
    milliseconds: float
    """Median of one search."""


def measure(
    connection: Connection,
    table: VectorTable,
    index: IndexInfo,
    *,
    target: float = 0.98,
    queries: int = 200,
    k: int = 10,
    progress: Progress | None = None,
) -> list[Effort]:
    """Recall@k of rising efforts against exact search, until `target` is passed by more than chance explains.

    The queries are vectors of random rows, each looked for without its own row. Another sample would give
    another recall: the last effort is above the target by the standard error of a share of `queries * k` finds.
    """
    tell: Progress = progress or (lambda phase, done, total: None)
    sample = _sample(connection, table, queries)
    worst: list[float] = []
    for key, vector in sample:
        tell("exact searches", len(worst), len(sample))
        worst.append(_kth_distance(connection, table, key, vector, k))
    found: list[Effort] = []
    for effort in EF_SEARCH if index.kind == "hnsw" else PROBES:
        tell(f"effort {effort}", 0, len(sample))
        found.append(_try(connection, table, replace(index, effort=effort), sample, worst, k))
        recall = found[-1].recall
        if recall - math.sqrt(recall * (1 - recall) / (queries * k)) >= target:
            break
    return found


def _sample(connection: Connection, table: VectorTable, count: int) -> list[tuple[Key, Vector]]:
    statement = sql.SQL(
        "select {key}, {embedding} from {table} where {embedding} is not null order by random() limit %s"
    ).format(key=table.key, **table.names.parts)
    rows = connection.execute(statement, [count], binary=True).fetchall()
    return [(key, vector.to_numpy()) for key, vector in rows]


def _try(
    connection: Connection,
    table: VectorTable,
    index: IndexInfo,
    sample: Sequence[tuple[Key, Vector]],
    worst: Sequence[float],
    k: int,
) -> Effort:
    hits, times = 0.0, []
    for (key, vector), limit in zip(sample, worst, strict=True):
        began = time.perf_counter()
        answer = nearest(connection, table, vector, k + 1, None, index)
        times.append(1000 * (time.perf_counter() - began))
        distances = _distances(table, key, answer, k)
        hits += sum(distance <= limit + TIE for distance in distances) / max(1, len(distances))
    return Effort(index.effort or 0, hits / max(1, len(sample)), median(times) if times else 0.0)


def _kth_distance(connection: Connection, table: VectorTable, key: Key, vector: Vector, k: int) -> float:
    """Distance of the k-th nearest row, the query's own row left out, by exact search."""
    return max(_distances(table, key, nearest(connection, table, vector, k + 1, None, None), k), default=0.0)


def _distances(table: VectorTable, key: Key, answer: Ranked, k: int) -> list[float]:
    scores = [score for one, score in zip(answer.keys, answer.scores, strict=True) if one != key]
    return [1 - score if table.metric == "cosine" else -score for score in scores[:k]]
