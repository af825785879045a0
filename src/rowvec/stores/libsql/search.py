"""Nearest vectors and keywords as SQL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rowvec.errors import SearchError
from rowvec.filters import Filter
from rowvec.stores.base import LastWord, TableSpec
from rowvec.stores.filter_sql import SQLITE, Sql, compile_filter
from rowvec.stores.libsql.database import Database, Values
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.values import key_in, quoted
from rowvec.stores.libsql.write import chunks, marks, vector_in
from rowvec.support.keys import key_of
from rowvec.types import Key, Ranked, Vector
from rowvec.words import PLAIN, analyzer

METRICS = ("cosine", "l2", "ip")
_WORDS = 100
"""That are counted in one statement."""


def scan(
    database: Database, tables: Tables, spec: TableSpec, metric: str, vector: Vector, limit: int, where: Filter | None
) -> Ranked:
    """Compare every row that passes the filter."""
    value, values = blended(tables, spec, metric, vector)
    extra, more = condition(where)
    rows = database.query(
        f"""select t.{quoted(spec.key)}, {value} as distance from {tables.vectors} as t
            where t.embedding is not null{extra} order by distance, 1 limit ?""",
        (*values, *more, limit),
    )
    return ranked(rows, spec, metric, vector, exact=True)


def similarities(
    database: Database,
    tables: Tables,
    spec: TableSpec,
    metric: str,
    vector: Vector,
    keys: Sequence[Key],
    where: Filter | None,
) -> dict[Key, float]:
    """Of those of the keys that have a vector and pass the filter."""
    value, values = blended(tables, spec, metric, vector)
    extra, more = condition(where)
    key = f"t.{quoted(spec.key)}"
    rows = database.query(
        f"""select {key}, {value} from {tables.vectors} as t
            where t.embedding is not null{extra} and {key} in ({marks(len(keys))})""",
        (*values, *more, *map(key_in, keys)),
    )
    found = ranked(rows, spec, metric, vector, exact=True)
    return dict(zip(found.keys, found.scores, strict=True))


def condition(where: Filter | None) -> tuple[str, Values]:
    """SQL that is empty or begins with `and`, and the values for its parameters."""
    if where is None:
        return "", ()
    text, values = compile_filter(where, SQLITE, "t")
    return f" and {text}", tuple(values)


def passing(where: Filter | None) -> Sql:
    """The rows `t` that a search compares."""
    extra, values = condition(where)
    return f"t.embedding is not null{extra}", list(values)


def blended(tables: Tables, spec: TableSpec, metric: str, vector: Vector) -> tuple[str, Values]:
    """The distance of a row `t`: half its own and half that of its nearest passage, where it has passages. A score is
    a falling line over the distance in every metric, so that half of each is half of each score."""
    own, values = distance(metric, vector)
    if not spec.has_passages:
        return own, values
    each, more = distance(metric, vector, "p")
    nearest = f'select min({each}) from {tables.passages} as p where p."row" = t.rowid'
    return f"ifnull((({nearest}) + {own}) / 2.0, {own})", (*more, *values, *values)


def distance(metric: str, vector: Vector, table: str = "t") -> tuple[str, Values]:
    """An SQL expression that is smallest for the nearest row of a table, and its parameters.

    libSQL has no inner product. It is the row's norm, which is its distance to the origin, times the cosine; the norm
    of the query, the same for all rows, is multiplied in afterwards.
    """
    query = vector_in(vector)
    if metric == "ip":
        origin = bytes(len(query))
        norm = f"vector_distance_l2({table}.embedding, ?)"
        return f"{norm} * (vector_distance_cos({table}.embedding, ?) - 1.0)", (origin, query)
    return f"vector_distance_{'l2' if metric == 'l2' else 'cos'}({table}.embedding, ?)", (query,)


def ranked(rows: list[Values], spec: TableSpec, metric: str, vector: Vector, *, exact: bool) -> Ranked:
    keys = [key_of(key, spec.key_type) for key, _ in rows]
    return Ranked(keys, scores([each for _, each in rows], metric, vector), exact=exact, complete=True)


def scores(values: Sequence[float], metric: str, vector: Vector) -> list[float]:
    """Of what `distance` gave."""
    distances = np.array(values, np.float64)
    found = {"cosine": 1.0 - distances, "l2": -distances, "ip": -distances * np.linalg.norm(vector)}[metric]
    return [float(each) for each in found]


def keyword(
    database: Database,
    tables: Tables,
    spec: TableSpec,
    query: str,
    limit: int,
    where: Filter | None,
    last: LastWord | None = None,
) -> Ranked:
    """Rows that hold any of the words, by FTS5's BM25 (k1 = 1.2, b = 0.75), which is negative there: less is better.

    FTS5 cannot weigh words, so those of one weight are one query, whose scores are multiplied by it and added up.
    """
    by_weight: dict[float, list[str]] = {}
    for phrase, weight in phrases(spec, query, last).items():
        by_weight.setdefault(weight, []).append(phrase)
    extra, more = condition(where)
    if not by_weight:
        return Ranked([], [], exact=True, complete=True)
    key, words = f"t.{quoted(spec.key)}", tables.keywords
    one = f"select {words}.rowid as id, ? * bm25({words}) as score from {words} where {words} match ?"
    # Materialized, because FTS5 has no score where rows are grouped.
    rows = database.query(
        f"""with found as materialized ({" union all ".join([one] * len(by_weight))})
            select {key}, sum(found.score) as score from found join {tables.vectors} as t on t.rowid = found.id
            where true{extra} group by found.id order by score, 1 limit ?""",
        (*(v for weight, terms in by_weight.items() for v in (weight, " OR ".join(terms))), *more, limit),
    )
    keys = [key_of(found, spec.key_type) for found, _ in rows]
    return Ranked(keys, [-score for _, score in rows], exact=True, complete=True)


def phrases(spec: TableSpec, query: str, last: LastWord | None) -> dict[str, float]:
    """What FTS5 is asked for, with the weight of each.

    Raises:
        SearchError: there is no keyword index.
    """
    if spec.language is None:
        raise SearchError(
            "This pipeline has no keyword index.", hint="Set the store's language, then `rowvec sync --full`."
        )
    # In quotes a word is a plain string to FTS5: nothing that a user types is an operator.
    found = {f'"{term}"': weight for term, weight in analyzer(spec.language).query(query).items()}
    for phrase in [] if last is None else _begun(last, spec.language):
        found[phrase] = found.get(phrase, 0.0) + 1.0
    return found


def _begun(last: LastWord, language: str) -> list[str]:
    """Words that begin so, and stems that do not, of which a form of the word is made."""
    others = {term for form in last.forms for term in analyzer(language).query(form)}
    beginning = last.beginning.replace('"', '""')
    return [f'"{beginning}"*', *(f'"{term}"' for term in others if not term.startswith(last.beginning))]


def holding(database: Database, tables: Tables, spec: TableSpec, words: Sequence[str]) -> dict[str, int]:
    """How many rows hold each word; those that none holds are left out."""
    asked = {word: " OR ".join(f'"{term}"' for term in analyzer(spec.language or PLAIN).query(word)) for word in words}
    known = {word: terms for word, terms in asked.items() if terms}
    if spec.language is None or not known:
        return {}
    found: dict[str, int] = {}
    for part in chunks(list(known), _WORDS):
        each = f"select ?, (select count(*) from {tables.keywords} where {tables.keywords} match ?)"
        values = tuple(value for word in part for value in (word, known[word]))
        found |= dict(database.query(" union all ".join([each] * len(part)), values))
    return {word: count for word, count in found.items() if count}
