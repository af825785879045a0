"""BM25 inside PostgreSQL: an append-only inverted index in three tables beside the vector table.

    <table>__documents   key -> number of its current version, and that version's length in words
    <table>__segments    one row per write: versions written, change of live documents and words
    <table>__postings    (word, segment) -> packed entries: version, occurrences, length
    <table>__words       the words as they are written, where they are kept (see kept_words.py)

A write appends one segment and gives each text a new version number; a delete forgets the number. Entries of
a forgotten number are dead: they take space until `rebuild` drops them, and are never a hit. So no two writers
share a row to count in, and nothing looks for a key in the postings. Segments of similar size are merged as
they pile up, which keeps a word at some dozens of rows (the logarithmic method: Bentley and Saxe, "Decomposable
searching problems I", 1980).

What a hit scores is in scoring.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from psycopg import sql

from rowvec.errors import StoreError
from rowvec.stores.base import LastWord
from rowvec.stores.part import WordCounts
from rowvec.stores.postgres.arrays import key_array, number_array
from rowvec.stores.postgres.connect import one_snapshot
from rowvec.stores.postgres.keyword_index.kept_words import KeptWords
from rowvec.stores.postgres.keyword_index.postings import ENTRY, Batch, batches
from rowvec.stores.postgres.keyword_index.reach import Expected, Reach
from rowvec.stores.postgres.keyword_index.scoring import Documents, Scores, entries_in, highest, scored
from rowvec.stores.postgres.keyword_index.side_tables import TABLES, TOTALS, Connection, Params, SideTables, first_value
from rowvec.stores.postgres.locks import brief_lock
from rowvec.stores.postgres.session import Session
from rowvec.support.identifiers import shortened
from rowvec.support.stored import format_of, with_format
from rowvec.types import Key
from rowvec.words import FORMAT, analyzer, problem

BATCH = 10_000
"""Texts that become one segment at most. Of 1,000 the server needed four times as long for each."""
FAN_IN = 8
"""Segments of one size class before they are merged into one of the next."""
MERGED_IN_PASSING = 32_000
"""Versions that a merge inside a caller's write may touch: about a second of work. `rebuild` does the rest."""
DEAD_SHARE, DEAD_LEAST, MANY_SEGMENTS = 1 / 3, 1_000, 200
LOOKED_AT, LONGEST = 32, 2**31 - 1
"""Entries of a word in each segment that are looked at, to see whether one is alive; then all of them."""
COMPLETIONS = 50
"""Words that a last word may become."""


class Allowed(NamedTuple):
    """The rows that may be hits.

    Attributes:
        rows: something to select from; `values` are its positional ones.
        said: what decides its text, beside the table.
    """

    rows: sql.Composable
    values: Params = ()
    said: tuple[str, ...] = ()


class _Written(Exception):
    """A version was written between two statements."""


class KeywordIndex(SideTables):
    """The words of a vector table's texts. Call it in the transaction that writes the vectors, after them.

    Args:
        table: schema and name of the vector table.
        key: its key column.
        key_type: that column's SQL type, such as `bigint`.
        language: see `rowvec.words`; it decides stems and stop words.
        family: what the names of the side tables begin with; the vector table's name by default.
    """

    def __init__(
        self, table: tuple[str, str], key: str, key_type: str, language: str, *, family: str | None = None
    ) -> None:
        schema, name = table
        super().__init__(table, key, key_type, family or name)
        self.language = language
        self.kept_words = KeptWords(schema, family or name)

    def language_of(self, conn: Connection) -> str | None:
        """The language that the index was made with; None where there is none."""
        return self._made_with(conn)[0]

    def is_current(self, conn: Connection) -> bool:
        """It was made with this language, and as this rowvec makes it."""
        return self._made_with(conn) == (self.language, FORMAT)

    def _made_with(self, conn: Connection) -> tuple[str | None, int]:
        comment = "select obj_description(to_regclass(%s), 'pg_class')"
        said: str | None = first_value(conn.execute(comment, [self._name(conn, "postings")]))
        return (None, 0) if said is None else format_of(said)

    def create(self, conn: Connection) -> None:
        """Make the side tables where they are missing; the vector table must be there.

        Raises:
            StoreError: there is no such language, or the index was made with another one.
        """
        self._check_language()
        with conn.transaction():
            conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [self._name(conn, "table")])
            if not self.exists(conn):
                conn.execute(self.sql("create", comment=sql.Literal(with_format(self.language, FORMAT))))
        made_with = self.language_of(conn)
        if made_with != self.language:
            raise StoreError(
                f"The keyword index of {'.'.join(self.table)} was made with the language {made_with!r},"
                f" the pipeline says {self.language!r}.",
                hint="Drop the index, so that the next full sync fills it again, or set store.language back.",
            )

    def drop(self, conn: Connection) -> None:
        with conn.transaction():
            brief_lock(conn, [*self.tables, self.kept_words.table])
            conn.execute(self.sql("drop"))
            self.kept_words.drop(conn)

    def rename(self, conn: Connection, name: str) -> KeywordIndex:
        """Follow the vectors to another name in the same schema; returns the index of a table of that name."""
        for side in TABLES:
            rename = sql.SQL("alter table if exists {} rename to {}")
            conn.execute(rename.format(self._parts[side], sql.Identifier(shortened(name, f"__{side}"))))
        self.kept_words.rename(conn, name)
        return KeywordIndex((self.table[0], name), self.key, self.key_type, self.language)

    def upsert(self, conn: Connection, keys: Sequence[Key], texts: Sequence[str]) -> None:
        """Index new and changed texts; of a key given twice the last text counts."""
        for batch in batches(keys, texts, analyzer(self.language), BATCH):
            self._append(conn, batch)
            self._merge_in_passing(conn)

    def _append(self, conn: Connection, batch: Batch) -> None:
        given = {"keys": key_array(batch.keys), "lengths": number_array(batch.lengths)}
        placed = conn.execute(self.sql("place"), given).fetchall()
        numbers = {key: number for _, key, number in placed}
        postings = batch.postings([numbers[key] for key in batch.keys])
        conn.execute(self.sql("post"), {"segment": placed[0][0], **postings._asdict()})

    def delete(self, conn: Connection, keys: Sequence[Key]) -> None:
        """Forget keys; those that are not there are passed over."""
        if keys:
            conn.execute(self.sql("delete"), {"keys": list(keys)})

    def known(self, conn: Connection, keys: Sequence[Key]) -> set[Key]:
        """Those of `keys` that are indexed, in the format of today."""
        name = self._name(conn, "documents")
        return {key for (key,) in conn.execute(self.sql("known"), {"keys": list(keys), "documents": name})}

    def outdate(self, conn: Connection) -> None:
        """Call the index one of today's format. The words that it has stay until their rows are written again.

        So rows that cannot be read again, such as those of events, are found as before.
        """
        comment = sql.Literal(with_format(self.language, FORMAT))
        last = sql.Literal(str(first_value(conn.execute(self.sql("last")))))
        conn.execute(self.sql("outdate", comment=comment, last=last))

    def lost(self, conn: Connection) -> list[Key]:
        """Keys that are indexed and have no row any more."""
        statement = "select d.key from {documents} d where not exists (select from {table} t where t.{key} = d.key)"
        return [key for (key,) in conn.execute(sql.SQL(statement).format(**self._parts))]

    def search(
        self,
        conn: Connection,
        query: str,
        limit: int,
        where: sql.Composable | None = None,
        params: Params = (),
        last: LastWord | None = None,
        expected: Expected | None = None,
    ) -> list[tuple[Key, float]]:
        """The best keys with their BM25 scores: any of the query's words counts; equal scores in key order.

        There are min(limit, matching rows) of them. The first 200 distinct words of a query are used; one that stands
        n times in it counts 1 + ln n.

        Args:
            where: a condition on the vector table, which it knows as `t`; its positional values are `params`.
            last: one more word of the query; of the words that begin so, the most frequent `COMPLETIONS` count.
            expected: of the rows that meet the condition; None where nothing is known.
        """
        if limit < 1 or not (query.strip() or last):
            return []
        allowed = self.allowed(where, params, expected)

        def found(*, in_one: bool) -> list[tuple[Key, float]]:
            documents, scores, counts, edition = self._scores(conn, query, last)
            reach = Reach.of(counts, filtered=where is not None, expected=expected)
            return self.best(conn, documents, scores, reach, limit, allowed, None if in_one else edition)

        if last is None and isinstance(conn, Session) and conn.is_free:
            # A snapshot would take two round trips.
            with suppress(_Written):
                return found(in_one=False)
        with one_snapshot(conn):
            return found(in_one=True)

    def allowed(self, where: sql.Composable | None, params: Params, expected: Expected | None) -> Allowed:
        """The rows that may be hits; see `search`."""
        if where is None:
            return Allowed(self._parts["table"])
        parts = expected.parts if expected and expected.parts else [sql.SQL("true")]
        one = sql.SQL("select t.{key} from {table} t where {part} and {where}")
        every = [one.format(part=part, where=where, **self._parts) for part in parts]
        said = tuple(each.as_string(None) for each in (where, *parts))
        return Allowed(sql.SQL("({})").format(sql.SQL(" union all ").join(every)), list(params) * len(parts), said)

    def best(
        self,
        conn: Connection,
        documents: Documents,
        scores: Scores,
        reach: Reach,
        limit: int,
        allowed: Allowed,
        edition: int | None = None,
    ) -> list[tuple[Key, float]]:
        """The best of those versions that are alive and wanted; see `search`.

        Args:
            edition: that of the index when these were read; None in the snapshot that they were read in.

        Raises:
            _Written: there are others by now, so that one of these may be dead whose row is wanted all the same.
        """
        if limit < 1 or not len(documents):
            return []
        many: int | None = reach.first(limit)
        while many is not None:
            best = highest(scores, many)
            hits = self._hits(conn, documents[best], scores[best], limit, allowed, edition)
            if len(hits) == limit or len(best) == len(documents):
                return hits
            many = reach.next(limit, len(documents), len(best), len(hits))
        # Dead versions or the filter take too many: look at all that may be hits, at once.
        fitting = np.isin(documents, self._numbers(conn, "allowed", allowed.values, rows=allowed.rows))
        documents, scores = documents[fitting], scores[fitting]
        best = highest(scores, limit)
        return self._hits(conn, documents[best], scores[best], limit, allowed, edition)

    def holding(self, conn: Connection, words: Sequence[str]) -> dict[str, int]:
        """How many texts hold each word, in any of its forms; those that none holds are left out. Replaced versions
        count until they are dropped, but a word that only they hold is none."""
        terms = {word: list(analyzer(self.language).query(word)) for word in words}
        wanted = list({term for found in terms.values() for term in found})
        counts: dict[str, int] = {}
        # A few entries of each segment tell it for nearly every term.
        for looked_at in (LOOKED_AT, LONGEST) if wanted else ():
            rows = conn.execute(self.sql("holding"), {"words": wanted, "looked_at": looked_at}).fetchall()
            counts |= {term: count for term, count, alive in rows if alive}
            wanted = [term for term, _, alive in rows if not alive]
            if not wanted:
                break
        found = {word: max((counts.get(term, 0) for term in its), default=0) for word, its in terms.items()}
        return {word: count for word, count in found.items() if count}

    def rebuild(self, conn: Connection) -> None:
        """Merge all segments into one, without dead entries; searches and writes go on meanwhile.

        Takes a transaction of its own and some seconds per 100,000 documents. Does nothing while another
        process is at it.
        """
        with conn.transaction():
            old = self._alone(conn) and self._one(conn, "segments")
            if not old:
                return
            # Read after the list of segments: a version in one of those is here by now, or dead.
            live = self._numbers(conn, "live")
            new = self._one(conn, "add_up", {"segments": old, "rebuilt": True})
            self._copy_live(conn, old, new, live)
            conn.execute(self.sql("forget"), [old])

    def needs_rebuild(self, conn: Connection) -> bool:
        """A third of the entries is dead, or the segments are many. Cheap: ask after each sync."""
        written, documents, _, segments = self._state(conn)
        return written - documents > max(DEAD_SHARE * written, DEAD_LEAST) or segments > MANY_SEGMENTS

    def _scores(
        self, conn: Connection, query: str, last: LastWord | None = None
    ) -> tuple[Documents, Scores, WordCounts, int]:
        """Every version, dead or alive, that holds one of the query's words, what it was weighed by, and the edition of
        the index that it was read in."""
        weights = analyzer(self.language).query(query)
        rows: list[Any] = []
        if weights:
            rows += conn.cursor(binary=True).execute(self.known_sql("read"), {"words": list(weights)}).fetchall()
        if last is not None:
            weights[""] = 1.0
            rows += conn.cursor(binary=True).execute(self.sql("beginning"), self.begun(last)).fetchall()
        if not rows:
            return np.empty(0, np.intp), np.empty(0), WordCounts(), 0
        entries = {word: entries_in(row[1] for row in group) for word, group in groupby(rows, key=itemgetter(0))}
        edition, written, documents, words = TOTALS.unpack(rows[0][2])
        counts = WordCounts(written, documents, words, {word: len(found) for word, found in entries.items()})
        return *scored(entries, weights, counts), counts, edition

    def begun(self, last: LastWord) -> dict[str, Any]:
        """Between which words those are that begin so, and which others count as the same word."""
        others = {term for form in last.forms for term in analyzer(self.language).query(form)}
        behind = last.beginning + chr(sys.maxunicode)
        return {"first": last.beginning, "last": behind, "most": COMPLETIONS, "others": list(others)}

    def _hits(
        self, conn: Connection, documents: Documents, scores: Scores, limit: int, allowed: Allowed, edition: int | None
    ) -> list[tuple[Key, float]]:
        if edition is not None:
            hits, now = self.hits(conn, documents, scores, limit, allowed)
            if now != edition:
                raise _Written
            return hits
        values = [number_array(documents.tolist()), *allowed.values]
        return bestfirst_value(conn.execute(self._hits_sql(allowed), values).fetchall(), documents, scores, limit)

    def hits(
        self, conn: Connection, documents: Documents, scores: Scores, limit: int, allowed: Allowed
    ) -> tuple[list[tuple[Key, float]], int]:
        """The best of these versions that are alive and wanted, and the edition of the index now, in one statement."""
        values = [number_array(documents.tolist()), *allowed.values]
        rows = conn.execute(self._hits_sql(allowed, proved=True), values).fetchall()
        found = [(key, document) for _, key, document in rows if key is not None]
        return bestfirst_value(found, documents, scores, limit), rows[0][0]

    def _hits_sql(self, allowed: Allowed, *, proved: bool = False) -> bytes:
        """
        Args:
            proved: with the edition of the index before each hit.
        """

        def made() -> sql.Composed:
            hits = self.sql("hits", rows=allowed.rows)
            return self.sql("hits_and_edition", hits=hits) if proved else hits

        return self._known.text(("hits", proved, allowed.said), made)

    def _merge_in_passing(self, conn: Connection) -> None:
        size = {"fan_in": FAN_IN, "most": MERGED_IN_PASSING}
        if not self._one(conn, "due", size) or not self._alone(conn):
            return
        # Asked again under the lock: somebody else may have merged them meanwhile.
        while due := self._one(conn, "due", size):
            segment = self._one(conn, "add_up", {"segments": due, "rebuilt": False})
            conn.execute(self.sql("merge"), {"segments": due, "segment": segment})

    def _copy_live(self, conn: Connection, old: list[int], new: int, live: Documents) -> None:
        with conn.cursor(f"rowvec_{new}", binary=True) as cursor:
            cursor.execute(self.sql("gather"), [old])
            while rows := cursor.fetchmany(BATCH):
                words, packed = zip(*rows, strict=True)
                entries = np.frombuffer(b"".join(packed), ENTRY)
                place = np.minimum(np.searchsorted(live, entries["document"]), max(len(live) - 1, 0))
                alive = live[place] == entries["document"] if len(live) else np.zeros(len(entries), bool)
                ends = np.cumsum([len(part) // ENTRY.itemsize for part in packed])
                kept = np.split(entries[alive], np.cumsum(alive)[ends - 1][:-1])
                values = [(word, part.tobytes()) for word, part in zip(words, kept, strict=True) if len(part)]
                conn.execute(self.sql("store"), [new, [word for word, _ in values], [part for _, part in values]])

    def _alone(self, conn: Connection) -> bool:
        """Whether this transaction is the one that merges; to the end of it nobody else does."""
        lock = "select pg_try_advisory_xact_lock(hashtext('rowvec.keyword'), to_regclass(%s)::oid::integer)"
        return bool(first_value(conn.execute(lock, [self._name(conn, "postings")])))

    def _check_language(self) -> None:
        wrong = problem(self.language)
        if wrong:
            raise StoreError(f"The keyword index of {'.'.join(self.table)}: {wrong}", hint="Set store.language.")


def bestfirst_value(
    found: Sequence[tuple[Key, int]], documents: Documents, scores: Scores, limit: int
) -> list[tuple[Key, float]]:
    """The keys of versions with their scores.

    Args:
        found: keys in their order, each with its version; those of one score stay so.
        documents, scores: of these versions and of others, versions ascending.
    """
    own = scores[np.searchsorted(documents, [document for _, document in found])] if found else scores[:0]
    return [(found[place][0], float(own[place])) for place in np.argsort(-own, kind="stable")[:limit].tolist()]
