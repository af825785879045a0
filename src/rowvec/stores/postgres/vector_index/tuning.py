"""How much effort an index needs to find what an exact search finds."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from rowvec.evaluation.recall import GOOD_RECALL, recall
from rowvec.stores.index import Effort, IndexStatus
from rowvec.stores.postgres.vector_index.nearest import Serving, VectorTable, nearest
from rowvec.types import Key, Progress, Ranked, Vector

Connection = psycopg.Connection[Any]

EF_SEARCH = (10, 20, 30, 40, 60, 80, 100, 120, 160, 200, 300, 400, 600, 800, 1000)
OVERSAMPLINGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def measure(
    connection: Connection,
    table: VectorTable,
    index: Serving,
    *,
    target: float = GOOD_RECALL,
    queries: int = 200,
    k: int = 10,
    progress: Progress | None = None,
) -> list[Effort]:
    """Recall@k of rising efforts against exact search, until `target` is passed by more than chance explains.

    The queries are vectors of random texts, each looked for without its own row. Another sample would give
    another recall: the last effort is above the target by the standard error of a share of `queries * k` finds.
    """
    tell: Progress = progress or (lambda phase, done, total: None)
    sample = _sample(connection, table, queries)
    exact: list[list[float]] = []
    for key, vector in sample:
        tell("exact searches", len(exact), len(sample))
        exact.append(_scores(key, nearest(connection, table, vector, k + 1, None, None), k))
    found: list[Effort] = []
    for effort in _efforts(index.status):
        tell(f"effort {effort}", 0, len(sample))
        found.append(
            _try(connection, table, replace(index, status=replace(index.status, effort=effort)), sample, exact, k)
        )
        share = found[-1].recall
        if share - math.sqrt(share * (1 - share) / (queries * k)) >= target:
            break
    return found


def _efforts(index: IndexStatus) -> Sequence[int]:
    if index.is_coarse:
        return OVERSAMPLINGS
    return EF_SEARCH if index.kind == "hnsw" else PROBES


def _sample(connection: Connection, table: VectorTable, count: int) -> list[tuple[Key, Vector]]:
    """One row each of texts that differ: of rows chosen by chance, most could be copies of a few."""
    texts = sql.SQL(
        "with chosen as (select {text_hash} as text from {table} where {embedding} is not null"
        " and {text_hash} is not null group by 1 order by random() limit %s)"
        " select one.* from chosen, lateral (select t.{key}, t.{embedding} from {table} t"
        " where t.{text_hash} = chosen.text and t.{embedding} is not null limit 1) one"
    )
    # Vectors that were not made by rowvec have no hash.
    rows = sql.SQL("select {key}, {embedding} from {table} where {embedding} is not null order by random() limit %s")
    for statement in (texts, rows):
        made = statement.format(key=table.key, **table.names.parts)
        if found := connection.execute(made, [count], binary=True).fetchall():
            return [(key, vector.to_numpy()) for key, vector in found]
    return []


def _try(
    connection: Connection,
    table: VectorTable,
    index: Serving,
    sample: Sequence[tuple[Key, Vector]],
    exact: Sequence[Sequence[float]],
    k: int,
) -> Effort:
    found, times = 0.0, []
    for (key, vector), best in zip(sample, exact, strict=True):
        began = time.perf_counter()
        answer = nearest(connection, table, vector, k + 1, None, index)
        times.append(1000 * (time.perf_counter() - began))
        found += recall(_scores(key, answer, k), best)
    return Effort(index.status.effort or 0, found / max(1, len(sample)), median(times) if times else 0.0)


def _scores(key: Key, answer: Ranked, k: int) -> list[float]:
    """Of the k best rows, the query's own row left out."""
    return [score for one, score in zip(answer.keys, answer.scores, strict=True) if one != key][:k]
