"""Whether a keyword index agrees with its table and with itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import psycopg
from psycopg import sql

from rowvec.stores.postgres.connect import one_snapshot, single
from rowvec.stores.postgres.keyword_index.index import KeywordIndex
from rowvec.stores.postgres.keyword_index.postings import ENTRY, LONGEST
from rowvec.types import Key

Connection = psycopg.Connection[Any]

ROWS = 2_000
"""Postings in hand at a time."""


class Amiss(NamedTuple):
    missing: list[Key]
    """Rows that the index does not know, or knows with other words than it counted when it took them in."""
    lost: list[Key]
    """Keys in the index that are no rows."""
    totals: str
    """What the index takes for its size and what that is; "" where the two are equal."""


def check(connection: Connection, index: KeywordIndex, rows: sql.Composable, known: sql.Composable) -> Amiss:
    """Compare in one snapshot, so that nothing that is being written looks wrong. Opens a
    transaction where there is none.

    Args:
        rows: a query for the keys that must be in the index, as `key`.
        known: a query for those that may be.
    """
    segments, _, documents = index.tables
    with one_snapshot(connection):
        unknown = (
            "select key from ({rows}) held where not exists (select from {documents} d where d.key = held.key)"
            " order by key"
        )
        lost = (
            "select d.key from {documents} d where not exists (select from ({known}) t where t.key = d.key)"
            " order by d.key"
        )
        parts = {"documents": documents, "rows": rows, "known": known}
        missing = [key for (key,) in connection.execute(sql.SQL(unknown).format(**parts))]
        without_row = [key for (key,) in connection.execute(sql.SQL(lost).format(**parts))]
        gone = set(without_row)
        missing += [key for key in _damaged(connection, index) if key not in gone]
        stated = "select coalesce(sum(documents), 0), coalesce(sum(words), 0) from {}"
        counted = "select count(*), coalesce(sum(length), 0) from {}"
        held = tuple(map(int, single(connection.execute(sql.SQL(counted).format(documents)))))
        said = tuple(map(int, single(connection.execute(sql.SQL(stated).format(segments)))))
    totals = "" if held == said else f"{said[0]:,} rows and {said[1]:,} words, instead of {held[0]:,} and {held[1]:,}"
    return Amiss(missing, without_row, totals)


def recount(connection: Connection, index: KeywordIndex) -> None:
    """Correct what the index takes for its size, by which searches weigh words and lengths."""
    segments, _, documents = index.tables
    connection.execute(
        sql.SQL(
            "insert into {segments} (written, documents, words)"
            " select 0, held.rows - said.rows, held.words - said.words"
            " from (select count(*) as rows, coalesce(sum(length), 0) as words from {documents}) as held,"
            " (select coalesce(sum(documents), 0) as rows, coalesce(sum(words), 0) as words from {segments}) as said"
            " where (held.rows, held.words) <> (said.rows, said.words)"
        ).format(segments=segments, documents=documents)
    )


def _damaged(connection: Connection, index: KeywordIndex) -> list[Key]:
    """Keys whose postings do not add up to the length that was counted when they were written."""
    _, postings, documents = index.tables
    # Packed by the server: as rows, a million documents took 500 MB here.
    counted = "select string_agg(int4send(document) || int4send(length), '' order by document) from {}"
    packed = single(connection.cursor(binary=True).execute(sql.SQL(counted).format(documents)))[0]
    if packed is None:
        return []
    numbers, lengths = np.frombuffer(packed, ">i4").reshape(-1, 2).T.astype(np.int64)
    found = np.zeros(len(numbers), np.int64)
    with connection.cursor("rowvec_audit", binary=True) as cursor:
        cursor.execute(sql.SQL("select entries from {}").format(postings))
        while packed := cursor.fetchmany(ROWS):
            entries = np.frombuffer(b"".join(part for (part,) in packed), ENTRY)
            place = np.minimum(np.searchsorted(numbers, entries["document"]), len(numbers) - 1)
            alive = numbers[place] == entries["document"]
            np.add.at(found, place[alive], entries["count"][alive])
    # Longer documents are counted no further, so that their postings may well hold more.
    wrong = numbers[(found != lengths) & (lengths < LONGEST)].tolist()
    statement = sql.SQL("select key from {} where document = any(%s)").format(documents)
    return [key for (key,) in connection.execute(statement, [wrong])]
