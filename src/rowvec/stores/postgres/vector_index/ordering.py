"""What an index holds of a vector, and how many of its rows are compared by the vectors themselves."""

from __future__ import annotations

import math

from rowvec.stores.index import IndexStatus
from rowvec.stores.postgres.session import Settings
from rowvec.stores.postgres.vector_index.centre import bits_for_each, sql_of

SETTING = {"hnsw": "hnsw.ef_search", "ivfflat": "ivfflat.probes"}
EFFORT = {"hnsw": 80, "ivfflat": 10}
"""ef_search and probes until the index is tuned."""
OVERSAMPLING = 10
"""Of an index of bits or of first numbers, until it is tuned."""
FILTERED_EFFORT, FILTERED_CANDIDATES = 3, 3
"""The rows that a filter drops crowd out better ones: with a filter, the index looks at more and returns more."""
LEAST_OVERSAMPLING = 0.25
"""With a filter, the nearest rows that pass lie further out, where fewer candidates for each are enough: of a million
rows, those of a filter that a tenth passes are found with a sixth of the oversampling, and of one that a fifth passes
with a third. So the root of the share is taken of it. The share is a guess of the planner, which this bounds."""
MAX_EF = 1000
MOST_CANDIDATES = 20_000
"""hnsw.max_scan_tuples: the number of rows that an iterative scan looks at."""


def held_of(vector: str, precision: str, dimensions: int | None, storage: str, dimension: int, centre: str = "") -> str:
    """The expression for what an index holds of a vector, in the words that let the planner use it.

    Args:
        dimensions: its first numbers alone; None for all.
        storage, dimension: of the column.
        centre: what bits are relative to (`rowvec.stores.postgres.vector_index.centre`); "" for zero.
    """
    length = dimensions or dimension
    if dimensions is not None:
        vector = f"subvector({vector}, 1, {dimensions})"
    if precision == "bit":
        times = bits_for_each(centre, length)
        copies = vector if times == 1 else f"({' || '.join([vector] * times)})"
        return f"(binary_quantize({copies}{sql_of(centre, storage)})::bit({times * length}))"
    if precision == storage and dimensions is None:
        return vector
    return f"({vector}::{precision}({length}))"


def asked_of(precision: str, dimensions: int | None, storage: str, dimension: int, centre: str = "") -> str:
    """The expression of a query that goes with `held_of`; its placeholder takes what `around` returns."""
    if centre:
        length = dimensions or dimension
        return held_of("%b", precision, None, storage, bits_for_each(centre, length) * length)
    return held_of("%b", precision, dimensions, storage, dimension)


def candidates(index: IndexStatus, limit: int, *, share: float | None = None) -> int:
    """How many rows the index gives, to be ordered by their vectors, for `limit` hits.

    Args:
        share: of all rows, that pass the filter of the search, as the planner expects; None without a filter.
    """
    least = 1 if share is None else FILTERED_CANDIDATES
    if not index.is_coarse:
        return limit * least
    few = 1.0 if share is None else min(1.0, max(LEAST_OVERSAMPLING, math.sqrt(share)))
    return max(limit, min(MOST_CANDIDATES, limit * max(least, math.ceil(few * (index.effort or OVERSAMPLING)))))


def effort_of(index: IndexStatus) -> int:
    """ef_search or probes, as tuned or as they are until then."""
    tuned = None if index.is_coarse else index.effort
    return tuned or EFFORT[index.kind]


def settings(index: IndexStatus, given: int, *, filtered: bool, iterates: bool) -> Settings:
    """The effort of one search.

    Args:
        given: candidates.
        iterates: see `scan`.
    """
    effort = effort_of(index) * (FILTERED_EFFORT if filtered else 1)
    return scan(index.kind, effort if index.kind == "ivfflat" else min(MAX_EF, max(effort, given)), iterates)


def scan(kind: str, effort: int, iterates: bool) -> Settings:
    """How an index of that kind is read.

    Args:
        iterates: the server's pgvector goes on reading where a filter leaves too few rows, as it does from 0.8 on.
            Before that, a search that comes back short compares every row.
    """
    found = {SETTING[kind]: str(effort)}
    # Out of order loses nothing, since what comes is sorted afterwards, and in strict order later finds are dropped.
    found |= {f"{kind}.iterative_scan": "relaxed_order"} if iterates else {}
    return found | ({"enable_seqscan": "off"} if kind == "hnsw" else {})
