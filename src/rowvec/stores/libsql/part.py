"""What a generation answers where its table holds one of several parts of the rows; see `rowvec.stores.part`."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rowvec.filters import Filter
from rowvec.stores.base import REPEATED_KEYS, LastWord, TableSpec
from rowvec.stores.libsql import clock, migrations, schema
from rowvec.stores.libsql.database import Database, Values
from rowvec.stores.libsql.lease import Lease
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.search import condition, phrases
from rowvec.stores.libsql.values import quoted
from rowvec.stores.libsql.write import chunks, keys_in, marks
from rowvec.stores.part import Carried, Created, WordCounts
from rowvec.support.keys import key_of
from rowvec.types import Key, Passage, Ranked, Vector

_KEYS = 1000
K1, B = 1.2, 0.75
"""Those of FTS5."""
LEAST_IDF = 1e-6
"""What FTS5 takes for words that most rows hold."""


class LibsqlPart:
    """The methods that `stores.part.PartHandle` has beside those of a generation."""

    _database: Database
    _lease: Lease
    tables: Tables
    spec: TableSpec

    def _filter(self, where: Filter | None) -> Filter | None:
        raise NotImplementedError

    def matching(self, query: str, last: LastWord | None) -> LibsqlMatching:
        asked = phrases(self.spec, query, last)
        words = self.tables.keywords
        each = [f"select ?, (select count(*) from {words} where {words} match ?)"] * len(asked)
        counted = [*each, f"select block, null from {quoted(self.tables.plain('keywords') + '_data')} where id = 1"]
        values = tuple(value for phrase in asked for value in (phrase, phrase))
        *holding, (averages, _) = self._database.query(" union all ".join(counted), values)
        # The number of rows, then that of the words in each column, of which there is one.
        documents, tokens, *_ = [*_varints(averages or b""), 0, 0]
        return LibsqlMatching(self, asked, WordCounts(documents, documents, tokens, dict(holding)))

    def sample(self, most: int) -> list[tuple[bytes, Vector]]:
        # By their hash, which the index has in order: no row is more likely than another.
        sql = f"""select text_hash, embedding from {self.tables.vectors}
                  where embedding is not null group by text_hash order by text_hash limit ?"""
        return [(text, np.frombuffer(vector, "<f4")) for text, vector in self._database.query(sql, (most,))]

    def counted_texts(self, after: bytes | None, limit: int) -> list[tuple[bytes, list[Key], int]]:
        key, table = quoted(self.spec.key), self.tables.vectors
        sql = f"""select text_hash, count(*) from {table} where embedding is not null and text_hash > ?
                  group by text_hash order by text_hash limit ?"""
        some = f"select {key} from {table} where text_hash = ? order by {key} limit {REPEATED_KEYS}"
        found = []
        for text_hash, count in self._database.query(sql, (after or b"", limit)):
            keys = [key_of(each, self.spec.key_type) for (each,) in self._database.query(some, (text_hash,))]
            found.append((text_hash, keys, count))
        return found

    def created(self, keys: Sequence[Key]) -> Created:
        rows = self._of_keys(f"select created_at from {self.tables.vectors} as t where", keys)
        now = dt.datetime.fromisoformat(clock.read(self._database))
        return Created(now, [dt.datetime.fromisoformat(at) for (at,) in rows])

    def carried(self, keys: Sequence[Key]) -> dict[Key, Carried]:
        key, vectors = f"t.{quoted(self.spec.key)}", self.tables.vectors
        parts: dict[Key, list[Passage]] = {}
        if self.spec.has_passages:
            sql = f"""select {key}, p.start, p."end", p.text_hash, p.embedding, p.tokens, p.n from {vectors} as t
                      join {self.tables.passages} as p on p."row" = t.rowid where"""
            found = sorted(self._of_keys(sql, keys), key=lambda row: row[6])
            for name, start, end, text_hash, held, tokens, _ in found:
                passage = Passage(start, end, text_hash, np.frombuffer(held, "<f4"), tokens)
                parts.setdefault(key_of(name, self.spec.key_type), []).append(passage)
        rows = self._of_keys(f"select {key}, embedding from {vectors} as t where embedding is not null and", keys)
        named = ((key_of(name, self.spec.key_type), np.frombuffer(held, "<f4")) for name, held in rows)
        return {name: Carried(vector, tuple(parts.get(name, ()))) for name, vector in named}

    def compact(self) -> None:
        """FTS5 goes on counting the words of rows that are gone."""
        if self.spec.language is not None:
            guard = migrations.guard(self.tables, self._lease.token)
            self._database.transact([guard, *schema.recounted_keywords(self.tables)])

    def _of_keys(self, sql: str, keys: Sequence[Key]) -> list[Values]:
        key, rows = f"t.{quoted(self.spec.key)}", list[Values]()
        for part in chunks(keys, _KEYS):
            rows += self._database.query(f"{sql} {key} in ({marks(len(part))})", keys_in(part))
        return rows


@dataclass(frozen=True, slots=True)
class LibsqlMatching:
    """See stores.part.Matching.

    FTS5 scores by the counts of its own table. How often a row holds a word follows from that score, and the score by
    other counts from how often.
    """

    part: LibsqlPart
    phrases: dict[str, float]
    """With the weight of each."""
    counts: WordCounts

    def best(self, total: WordCounts, limit: int, where: Filter | None) -> Ranked:
        part, own = self.part, self.counts
        spec, tables = part.spec, part.tables
        asked = [phrase for phrase in self.phrases if own.holding.get(phrase)]
        if not asked or limit < 1:
            return Ranked([], [], exact=True, complete=True)
        values: list[object] = []
        for phrase in asked:
            # In the order of the statement.
            values += [self.phrases[phrase] * _idf(total, phrase), *_lengths(total)]
            values += [*_lengths(own), _idf(own, phrase) * (K1 + 1), phrase]
        extra, more = condition(part._filter(where))
        key, words = f"t.{quoted(spec.key)}", tables.keywords
        lengths = quoted(tables.plain("keywords") + "_docsize")
        # How often: x K / (1 - x), where x is the score without what is the same for all rows.
        one = f"""select id, ? * n * {K1 + 1} / (n + ? + ? * length) as score from (
                select id, length, round(x * (? + ? * length) / (1.0 - x)) as n from (
                    select {words}.rowid as id, -bm25({words}) / ? as x,
                        (select {_varint("sz")} from {lengths} where id = {words}.rowid) as length
                    from {words} where {words} match ?))"""
        rows = part._database.query(
            f"""with found as materialized ({" union all ".join([one] * len(asked))})
                select {key}, sum(found.score) as score from found join {tables.vectors} as t on t.rowid = found.id
                where true{extra} group by found.id order by score desc, 1 limit ?""",
            (*values, *more, limit),
        )
        keys = [key_of(found, spec.key_type) for found, _ in rows]
        return Ranked(keys, [score for _, score in rows], exact=True, complete=True)


def _idf(counts: WordCounts, phrase: str) -> float:
    held = counts.holding[phrase]
    found = math.log((counts.documents - held + 0.5) / (held + 0.5)) if counts.documents >= held else 0.0
    return found if found > 0 else LEAST_IDF


def _lengths(counts: WordCounts) -> tuple[float, float]:
    """What a text without words adds below the line of BM25, and what each of its words does."""
    mean = counts.words / max(counts.documents, 1)
    return K1 * (1 - B), K1 * B / mean if mean else 0.0


def _varints(block: bytes) -> list[int]:
    """Numbers as SQLite packs them: seven bits in a byte, the highest first."""
    found, number = [], 0
    for byte in block:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            found.append(number)
            number = 0
    return found


def _varint(column: str) -> str:
    """The first of them as SQL, of up to three bytes: there is no function that gives the number of a byte."""
    digits = "'0123456789ABCDEF'"

    def byte(at: int) -> str:
        high, low = (f"(instr({digits}, substr(hex({column}), {2 * at + each}, 1)) - 1)" for each in (1, 2))
        return f"({high} * 16 + {low})"

    first, second, third = (byte(at) for at in range(3))
    return f"""case when {first} < 128 then {first}
        when {second} < 128 then ({first} - 128) * 128 + {second}
        else (({first} - 128) * 128 + {second} - 128) * 128 + {third} end"""
