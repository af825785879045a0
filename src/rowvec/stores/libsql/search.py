"""Nearest vectors and keywords as SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from rowvec.errors import SearchError
from rowvec.filters import Filter, bind
from rowvec.stores.base import TableSpec
from rowvec.stores.filter_sql import SQLITE, compile_filter
from rowvec.stores.libsql.database import Database, Values
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.values import key_in, quoted
from rowvec.stores.libsql.write import marks, vector_in
from rowvec.support.keys import key_of
from rowvec.types import Key, Ranked, Vector

METRICS = ("cosine", "l2", "ip")


def scan(
    database: Database, tables: Tables, spec: TableSpec, metric: str, vector: Vector, limit: int, where: Filter | None
) -> Ranked:
    """Compare every row that passes the filter."""
    distance, values = _distance(metric, vector)
    extra, more = _condition(where, spec)
    rows = database.query(
        f"""select t.{quoted(spec.key)}, {distance} as distance from {tables.vectors} as t
            where t.embedding is not null{extra} order by distance, 1 limit ?""",
        (*values, *more, limit),
    )
    return ranked(rows, spec, metric, vector, exact=True)


def similarities(
    database: Database, tables: Tables, spec: TableSpec, metric: str, vector: Vector, keys: Sequence[Key]
) -> dict[Key, float]:
    """Of those of the keys that have a vector."""
    distance, values = _distance(metric, vector)
    key = f"t.{quoted(spec.key)}"
    rows = database.query(
        f"""select {key}, {distance} from {tables.vectors} as t
            where t.embedding is not null and {key} in ({marks(len(keys))})""",
        (*values, *map(key_in, keys)),
    )
    found = ranked(rows, spec, metric, vector, exact=True)
    return dict(zip(found.keys, found.scores, strict=True))


def _condition(where: Filter | None, spec: TableSpec) -> tuple[str, Values]:
    """SQL that is empty or begins with `and`, and the values for its parameters."""
    if where is None:
        return "", ()
    text, values = compile_filter(bind(where, spec.metadata), SQLITE, "t")
    return f" and {text}", tuple(values)


def _distance(metric: str, vector: Vector) -> tuple[str, Values]:
    """An SQL expression that is smallest for the nearest row, and its parameters.

    libSQL has no inner product. It is the row's norm, which is its distance to the origin, times the cosine; the norm
    of the query, the same for all rows, is multiplied in afterwards.
    """
    query = vector_in(vector)
    if metric == "ip":
        origin = bytes(len(query))
        norm = "vector_distance_l2(t.embedding, ?)"
        return f"{norm} * (vector_distance_cos(t.embedding, ?) - 1.0)", (origin, query)
    return f"vector_distance_{'l2' if metric == 'l2' else 'cos'}(t.embedding, ?)", (query,)


def ranked(rows: list[Values], spec: TableSpec, metric: str, vector: Vector, *, exact: bool) -> Ranked:
    distances = np.array([distance for _, distance in rows], np.float64)
    scores = {"cosine": 1.0 - distances, "l2": -distances, "ip": -distances * np.linalg.norm(vector)}[metric]
    keys = [key_of(key, spec.key_type) for key, _ in rows]
    return Ranked(keys, scores.tolist(), exact=exact, complete=True)


def keyword(
    database: Database, tables: Tables, spec: TableSpec, query: str, limit: int, where: Filter | None
) -> Ranked:
    """Rows that hold any of the words, by FTS5's BM25 (k1 = 1.2, b = 0.75), which is negative there: less is better."""
    if spec.language is None:
        raise SearchError(
            "This pipeline has no keyword index.", hint="Set the store's language, then `rowvec sync --full`."
        )
    extra, more = _condition(where, spec)
    # Each word in quotes is a plain string to FTS5: nothing that a user types is an operator.
    words = " OR ".join(f'"{word}"' for word in dict.fromkeys(re.findall(r"\w+", query)))
    if not words:
        return Ranked([], [], exact=True, complete=True)
    key = f"t.{quoted(spec.key)}"
    rows = database.query(
        f"""select {key}, bm25({tables.keywords}) as score
            from {tables.keywords} join {tables.vectors} as t on t.rowid = {tables.keywords}.rowid
            where {tables.keywords} match ?{extra} order by score, 1 limit ?""",
        (words, *more, limit),
    )
    keys = [key_of(found, spec.key_type) for found, _ in rows]
    return Ranked(keys, [-score for _, score in rows], exact=True, complete=True)
