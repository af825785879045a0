"""What an index holds of a vector, and how many of its rows are compared by the vectors themselves."""

from __future__ import annotations

from rowvec.stores.index import IndexStatus

EFFORT = {"hnsw": 80, "ivfflat": 10}
"""ef_search and probes until the index is tuned."""
OVERSAMPLING = 10
"""Of an index of bits or of first numbers, until it is tuned."""
FILTERED_EFFORT, FILTERED_CANDIDATES = 3, 3
"""The rows that a filter drops crowd out better ones: with a filter, the index looks at more and returns more."""
MAX_EF = 1000
MOST_CANDIDATES = 20_000
"""hnsw.max_scan_tuples: an iterative scan looks at up to this many rows."""


def held_of(vector: str, precision: str, dimensions: int | None, storage: str, dimension: int) -> str:
    """The expression for what an index holds of a vector, in the words that let the planner use it.

    Args:
        dimensions: its first numbers alone; None for all.
        storage, dimension: of the column.
    """
    if dimensions is not None:
        vector = f"subvector({vector}, 1, {dimensions})"
    if precision == "bit":
        return f"(binary_quantize({vector})::bit({dimensions or dimension}))"
    if precision == storage and dimensions is None:
        return vector
    return f"({vector}::{precision}({dimensions or dimension}))"


def candidates(index: IndexStatus, limit: int, *, filtered: bool = False) -> int:
    """How many rows the index gives, to be ordered by their vectors, for `limit` hits."""
    share = FILTERED_CANDIDATES if filtered else 1
    if not index.is_coarse:
        return limit * share
    return max(limit, min(MOST_CANDIDATES, limit * max(share, index.effort or OVERSAMPLING)))


def effort_of(index: IndexStatus) -> int:
    """ef_search or probes, as tuned or as they are until then."""
    tuned = None if index.is_coarse else index.effort
    return tuned or EFFORT[index.kind]


def settings(index: IndexStatus, given: int, *, filtered: bool) -> str:
    """Statements that set the effort of one search for the transaction.

    Args:
        given: candidates.
    """
    # Out of order is no loss, since what comes is sorted afterwards, and in strict order later finds are dropped.
    effort = effort_of(index) * (FILTERED_EFFORT if filtered else 1)
    if index.kind == "ivfflat":
        return f"set local ivfflat.probes = {effort}; set local ivfflat.iterative_scan = relaxed_order"
    scan = f"set local hnsw.ef_search = {min(MAX_EF, max(effort, given))}"
    return f"{scan}; set local hnsw.iterative_scan = relaxed_order; set local enable_seqscan = off"
