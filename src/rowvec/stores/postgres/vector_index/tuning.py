"""How much effort an index needs to find what an exact search finds."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from rowvec.evaluation.recall import GOOD_RECALL, at_least, queries_needed, recall
from rowvec.stores.index import Effort, IndexStatus
from rowvec.stores.postgres.vector_index.blended import LEAST, Blend
from rowvec.stores.postgres.vector_index.exhaustive import exact
from rowvec.stores.postgres.vector_index.nearest import Serving, VectorTable, nearest
from rowvec.types import Key, Progress, Ranked, Vector, Vectors

Connection = psycopg.Connection[Any]
Query = tuple[Key | None, Vector]
"""A vector, and the row that it is of."""
Pair = tuple[int, int]
"""The efforts for the index of the rows and for that of their passages; 0 where that is not read."""
Pairs = Generator[Pair, bool, None]
"""Efforts to try. It is sent whether each was enough."""

EF_SEARCH = (10, 20, 30, 40, 60, 80, 100, 120, 160, 200, 300, 400, 600, 800, 1000)
OVERSAMPLINGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def measure(
    connection: Connection,
    table: VectorTable,
    index: Serving,
    *,
    target: float = GOOD_RECALL,
    queries: int | Vectors = 200,
    k: int = 10,
    progress: Progress | None = None,
    passages: tuple[VectorTable, Serving | None] | None = None,
) -> list[Effort]:
    """Recall@k of rising efforts against exact search, until other queries reach `target` too (see `at_least`).

    A number of queries are vectors of random texts, each looked for without its own row; more, where so few could not
    show that recall.

    Args:
        passages: their table and its index, where rows are searched by both.

    Returns:
        Those that were tried. The last is the smallest that is enough, or the one that finds most.
    """
    tell: Progress = progress or (lambda phase, done, total: None)
    tables = [table] if passages is None else [table, passages[0]]
    asked = max(queries, queries_needed(target)) if isinstance(queries, int) else queries
    sample = _asked(connection, tables, asked)
    if not sample:
        return []
    count = k + 1 if isinstance(queries, int) else k
    answers = exact(connection, table, np.stack([vector for _, vector in sample]), count, tell, *tables[1:])
    best = [_scores(key, answer, k) for (key, _), answer in zip(sample, answers, strict=True)]
    blend = None if passages is None else Blend(table, passages[0])
    other = None if passages is None else passages[1]

    def searching(pair: Pair) -> Callable[[Vector], Ranked]:
        rows, parts = _with(index, pair[0]), None if other is None else _with(other, pair[1])
        if blend is not None:
            return lambda vector: blend.nearest(connection, (rows, parts), vector, count, None)
        return lambda vector: nearest(connection, table, vector, count, None, rows)

    found: list[Effort] = []
    enough: list[Effort] = []
    ladders = [[0] if each is None else _efforts(each.status, 0 if blend is None else LEAST) for each in (index, other)]
    pairs = _pairs(*ladders)
    trying = next(pairs, None)
    while trying is not None:
        tell(f"effort {_said(trying)}", 0, len(sample))
        shares, milliseconds = _try(searching(trying), sample, best, k)
        found.append(Effort(trying[0], fmean(shares), milliseconds, trying[1] or None, at_least(shares)))
        # Where all is found, more effort shows no more.
        passed = found[-1].least >= target or min(shares) == 1.0
        enough += [found[-1]] if passed else []
        try:
            trying = pairs.send(passed)
        except StopIteration:
            break
    kept = min(enough, key=_cost) if enough else max(found, key=lambda each: each.recall)
    return [*(each for each in found if each is not kept), kept]


def _with(index: Serving, effort: int) -> Serving:
    return replace(index, status=replace(index.status, effort=effort))


def _said(pair: Pair) -> str:
    return str(pair[0]) if not pair[1] else f"{pair[0]} and {pair[1]}"


def _cost(effort: Effort) -> int:
    """What a search takes rises with it: both indexes do about the same work for the same effort."""
    return effort.effort + (effort.passages or 0)


def _efforts(index: IndexStatus, least: int) -> Sequence[int]:
    """
    Args:
        least: ef_search that a search takes in any case.
    """
    if index.is_coarse:
        return OVERSAMPLINGS
    return [effort for effort in EF_SEARCH if effort >= least] if index.kind == "hnsw" else PROBES


def _pairs(rows: Sequence[int], passages: Sequence[int]) -> Pairs:
    """Rising efforts, the same for both, until they are enough; then less for the one and more for the other.

    What is enough stays enough with more effort. So the pairs that are just enough are a staircase, which is walked
    from its middle to both sides, as far as a step may cost less than the best so far.
    """
    ladders = (rows, passages)
    last = max(len(rows), len(passages)) - 1
    for middle in range(last + 1):
        start = [min(middle, len(ladder) - 1) for ladder in ladders]
        if (yield rows[start[0]], passages[start[1]]):
            break
    else:
        return
    least = rows[start[0]] + passages[start[1]]
    for less in (0, 1):
        places = list(start)
        places[less] -= 1
        # Beyond the end of its ladder the other has been tried with less already.
        while middle < len(ladders[1 - less]) and places[less] >= 0 and places[1 - less] < len(ladders[1 - less]):
            pair = rows[places[0]], passages[places[1]]
            # Where it costs as much, what is found stays.
            if sum(pair) >= least:
                places[less] -= 1
            elif (yield pair):
                least = sum(pair)
                places[less] -= 1
            else:
                places[1 - less] += 1


def _asked(connection: Connection, tables: Sequence[VectorTable], queries: int | Vectors) -> list[Query]:
    """Those given, or vectors of rows; where there are passages, of some of these too."""
    if not isinstance(queries, int):
        return [(None, vector) for vector in queries]
    counts = [queries // len(tables)] * len(tables)
    counts[0] += queries % len(tables)
    return [each for table, count in zip(tables, counts, strict=True) for each in _sample(connection, table, count)]


def _sample(connection: Connection, table: VectorTable, count: int) -> list[Query]:
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
    search: Callable[[Vector], Ranked], sample: Sequence[Query], best: Sequence[Sequence[float]], k: int
) -> tuple[list[float], float]:
    """Recall of each query, and the median time of a search in milliseconds."""
    shares: list[float] = []
    times: list[float] = []
    for (key, vector), wanted in zip(sample, best, strict=True):
        began = time.perf_counter()
        answer = search(vector)
        times.append(1000 * (time.perf_counter() - began))
        shares.append(recall(_scores(key, answer, k), wanted))
    return shares, median(times)


def _scores(key: Key | None, answer: Ranked, k: int) -> list[float]:
    """Of the k best rows, the query's own row left out, if it is one."""
    return [score for one, score in zip(answer.keys, answer.scores, strict=True) if one != key][:k]
