"""What a generation answers where its table holds one of several parts of the rows; see `rowvec.stores.part`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from rowvec.errors import SearchError
from rowvec.filters import Filter
from rowvec.stores.base import REPEATED_KEYS, LastWord
from rowvec.stores.part import Carried, Created, WordCounts
from rowvec.stores.postgres.connect import one_snapshot, single
from rowvec.stores.postgres.keyword_index.index import KeywordIndex
from rowvec.stores.postgres.keyword_index.matching import Matched, best_of, completions, hits_of, matched, up_to_date
from rowvec.stores.postgres.keyword_index.reach import Reach
from rowvec.stores.postgres.keyword_index.scoring import Documents, Scores, scored_together
from rowvec.stores.postgres.rows import PostgresRows, as_array
from rowvec.types import Key, Passage, Ranked

Connection = psycopg.Connection[Any]


class PostgresPart(PostgresRows):
    """The methods that `stores.part.PartHandle` has beside those of a generation."""

    def matching(self, query: str, last: LastWord | None) -> PostgresMatching:
        words = self.words
        if words is None:
            raise SearchError("This pipeline has no keyword index.", hint='Set store.language, such as "english".')
        found = self._sessions.read(lambda c: matched(c, words, query, last))
        return PostgresMatching(self, words, query, last, found)

    def counted_texts(self, after: bytes | None, limit: int) -> list[tuple[bytes, list[Key], int]]:
        statement = self._sql(
            "select {text_hash}, (array_agg({key} order by {key}))[1:%s], count(*) from {table}"
            " where {embedding} is not null and {text_hash} > %s group by {text_hash} order by {text_hash} limit %s"
        )
        values = [REPEATED_KEYS, after or b"", limit]
        return self._sessions.read(lambda c: c.execute(statement, values).fetchall())

    def created(self, keys: Sequence[Key]) -> Created:
        statement = self._sql(
            "select clock_timestamp(), array(select created_at from {table} where {key} = any(%s::{type}[]))"
        )
        now, times = self._sessions.read(lambda c: single(c.execute(statement, [list(keys)])))
        return Created(now, times)

    def carried(self, keys: Sequence[Key]) -> dict[Key, Carried]:
        vectors = self._sql(
            "select {key}, {embedding} from {table} where {key} = any(%s::{type}[]) and {embedding} is not null"
        )
        passages = self.beside.format(
            'select key, start, "end", text_hash, embedding, tokens from {passages} where key = any(%s::{type}[])'
            " order by key, n"
        )

        def look(connection: Connection) -> dict[Key, Carried]:
            parts: dict[Key, list[Passage]] = {}
            if self.spec.has_passages:
                found = connection.execute(passages, [list(keys)], binary=True)
                for key, start, end, text_hash, vector, tokens in found:
                    parts.setdefault(key, []).append(Passage(start, end, text_hash, as_array(vector), tokens))
            rows = connection.execute(vectors, [list(keys)], binary=True)
            return {key: Carried(as_array(vector), tuple(parts.get(key, ()))) for key, vector in rows}

        return self._sessions.read(look)

    def compact(self) -> None:
        if self.words is not None:
            self._sessions.write(self.words.rebuild)


@dataclass(frozen=True, slots=True)
class PostgresMatching:
    """See stores.part.Matching and Narrows."""

    part: PostgresPart
    words: KeywordIndex
    query: str
    last: LastWord | None
    found: Matched
    whole: bool = True
    chosen: tuple[Documents, Scores] | None = None
    """The versions that are looked up, with their scores in all parts together; None where they are not chosen yet."""

    @property
    def counts(self) -> WordCounts:
        return self.found.counts

    def narrowed(
        self, others: Sequence[PostgresMatching], total: WordCounts, limit: int, *, filtered: bool
    ) -> list[PostgresMatching]:
        every = [self, *others]
        if completions(dict(total.holding)):
            # Their entries are not read yet.
            return every
        tables, most = [each.found.entries for each in every], Reach.of(total, filtered=filtered).first(limit)
        chosen, whole = scored_together(tables, self.found.weights, total, most)
        return [replace(each, chosen=its, whole=whole) for each, its in zip(every, chosen, strict=True)]

    def best(self, total: WordCounts, limit: int, where: Filter | None) -> Ranked:
        condition = None if where is None else self.part._condition(where)
        text, values = (None, ()) if condition is None else (condition.sql, condition.values)

        def look(connection: Connection) -> list[tuple[Key, float]]:
            expected = None if condition is None else self.part._expected(connection, condition)
            if self.chosen is not None:
                hits, edition = hits_of(connection, self.words, *self.chosen, limit, text, values, expected)
                if edition == self.found.edition:
                    return hits
            with one_snapshot(connection):
                found = up_to_date(connection, self.words, self.found, self.query, self.last)
                return best_of(connection, self.words, found, total, limit, text, values, expected)

        asks = limit > 0 and (self.chosen is None or len(self.chosen[0]) > 0)
        hits = self.part._sessions.read(look) if asks else []
        return Ranked([key for key, _ in hits], [score for _, score in hits], exact=True, complete=True)
