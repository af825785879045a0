"""A query in the keyword index of one of several tables, whose words are weighed as those of all tables together."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import psycopg
from psycopg import sql

from rowvec.stores.base import LastWord
from rowvec.stores.part import WordCounts
from rowvec.stores.postgres.connect import one_snapshot
from rowvec.stores.postgres.keyword_index.index import COMPLETIONS, KeywordIndex
from rowvec.stores.postgres.keyword_index.reach import Expected, Reach
from rowvec.stores.postgres.keyword_index.scoring import Documents, Entries, Scores, entries_in, scored
from rowvec.stores.postgres.keyword_index.side_tables import TOTALS, Params
from rowvec.types import Key
from rowvec.words import analyzer

Connection = psycopg.Connection[Any]
BEGUN, OTHER = "begun ", "other "
"""What the counts call words that the last one of a query may become. A stem holds no blank."""
LAST = ""
"""The last word of a query, as all that it may become."""


@dataclass(frozen=True, slots=True)
class Matched:
    """What the index of one table holds of a query."""

    entries: dict[str, Entries]
    weights: dict[str, float]
    counts: WordCounts
    edition: int
    """Of the index, when this was read."""


def matched(connection: Connection, index: KeywordIndex, query: str, last: LastWord | None) -> Matched:
    weights = analyzer(index.language).query(query)
    # One statement alone needs no transaction, which takes two round trips.
    with one_snapshot(connection) if last is not None else nullcontext():
        asked = connection.cursor(binary=True).execute(index.known_sql("matching"), {"words": list(weights)})
        rows = asked.fetchall()
        held = [row for row in rows if row[0] is not None]
        entries = {word: entries_in(row[1] for row in group) for word, group in groupby(held, key=itemgetter(0))}
        holding = {word: len(each) for word, each in entries.items()}
        if last is not None:
            asked_of = index.begun(last)
            for word, count, begun in connection.execute(index.sql("completions"), asked_of):
                marks = [*([BEGUN] if begun else []), *([OTHER] if word in asked_of["others"] else [])]
                holding |= {f"{mark}{word}": count for mark in marks}
    edition, written, documents, words = TOTALS.unpack(rows[0][2])
    return Matched(entries, weights, WordCounts(written, documents, words, holding), edition)


def hits_of(
    connection: Connection,
    index: KeywordIndex,
    documents: Documents,
    scores: Scores,
    limit: int,
    where: sql.Composable | None,
    params: Params,
    expected: Expected | None,
) -> tuple[list[tuple[Key, float]], int]:
    """The best of these versions that are alive and wanted, and the edition of the index now."""
    return index.hits(connection, documents, scores, limit, index.allowed(where, params, expected))


def up_to_date(
    connection: Connection, index: KeywordIndex, found: Matched, query: str, last: LastWord | None
) -> Matched:
    """What the index holds in the caller's snapshot: a row that was written since has another version."""
    now = connection.execute(index.known_sql("now")).fetchone()
    return found if now == (found.edition,) else matched(connection, index, query, last)


def best_of(
    connection: Connection,
    index: KeywordIndex,
    found: Matched,
    total: WordCounts,
    limit: int,
    where: sql.Composable | None,
    params: Params,
    expected: Expected | None,
) -> list[tuple[Key, float]]:
    """
    Args:
        total: the counts of all tables.
        expected: of the rows of this one that meet the condition.
    """
    entries, weights = dict(found.entries), dict(found.weights)
    # A word that no table held when all were counted may be in this one by now.
    holding = {**found.counts.holding, **total.holding}
    chosen = completions(holding)
    if not entries and not chosen:
        return []
    with one_snapshot(connection):
        if chosen:
            last = connection.cursor(binary=True).execute(index.sql("entries"), [list(chosen)])
            entries[LAST] = entries_in(packed for (packed,) in last)
            weights[LAST] = 1.0
            holding[LAST] = sum(chosen.values())
        counts = WordCounts(total.written, total.documents, total.words, holding)
        reach = Reach.of(found.counts, filtered=where is not None, expected=expected)
        allowed = index.allowed(where, params, expected)
        return index.best(connection, *scored(entries, weights, counts), reach, limit, allowed)


def completions(holding: dict[str, int]) -> dict[str, int]:
    """The words that the last one counts as, each with the number of its entries: the most frequent that begin so, and
    the others."""
    begun = sorted(_marked(holding, BEGUN), key=lambda each: (-each[1], each[0]))
    return dict([*begun[:COMPLETIONS], *_marked(holding, OTHER)])


def _marked(holding: dict[str, int], mark: str) -> list[tuple[str, int]]:
    return [(word.removeprefix(mark), count) for word, count in holding.items() if word.startswith(mark)]
