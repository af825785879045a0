"""libSQL's own vector index (DiskANN), made only when it is asked for.

It cannot hold two equal vectors: one search result stands for both, and deleting either row takes both out (libsql
issue 2197). Equal vectors are normal, since equal texts are. So the index is over a table beside the vectors, which
has each distinct vector once, found by `vector_hash`; triggers keep the two in step, whoever writes.

Vectors of passages are in the same table and the same index. A row that neither itself nor with a passage is among the
nearest vectors has no better score than the last of these, so a few more candidates give the order of the blended
scores.
"""

from __future__ import annotations

import math
import re
import time

from rowvec.errors import StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.index import Effort, IndexCost, IndexSpec, IndexStatus
from rowvec.stores.libsql import search
from rowvec.stores.libsql.database import Database, Statement, Values
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.values import quoted
from rowvec.stores.libsql.write import marks
from rowvec.types import Progress, Ranked, Vector, Vectors

KIND = "diskann"
_PARTS = ("hashes", "distinct", "indexed_insert", "indexed_delete", "indexed_update")
"""Beside the index itself: what belongs to it; see `Tables.named`."""
INDEX_SECONDS = 5.0
"""A new or dropped index is noticed within so long."""
_BATCH = 200
_OVERFETCH = 2
"""The index gives a few more candidates than asked for; the exact distance then orders them."""
_WIDENING = (4, 16, 64)
"""The same where rows have passages: more each time, until nothing beyond can have a better score."""
_PREFIXES = ("", "passage_")
"""Of what is named after the table of vectors, and of that of passages."""


_FORMER = "select new.vector_hash, new.embedding where new.embedding is not null"
_NEW = _FORMER + " and not exists (select 1 from {} where vector_hash = new.vector_hash)"
"""Not `or ignore`: inside a trigger SQLite follows the conflict rule of the outer statement."""


def renewed_triggers(database: Database) -> list[Statement]:
    """The statements that make triggers of `insert or ignore` again, whether or not the books know their index."""
    found = database.query(
        "select name, sql from sqlite_master where type = 'trigger' and name glob 'rowvec_indexed_*'"
    )
    statements = []
    for name, sql in found:
        inserts = re.search(r"insert or ignore into (.+?) \(vector_hash", sql)
        if inserts and _FORMER in sql:
            new = sql.replace("insert or ignore", "insert").replace(_FORMER, _NEW.format(inserts[1]))
            statements += [Statement(f"drop trigger {quoted(name)}"), Statement(new)]
    return statements


def standing(database: Database, tables: Tables) -> str | None:
    """The kind of the index that is there, whatever the books say; None where a piece of it is missing."""
    pieces = [tables.index, *map(tables.plain, _PARTS)]
    of_passages = [tables.plain(f"{_PREFIXES[1]}{part}") for part in _PARTS if part != "distinct"]
    asked = [*pieces, *of_passages, tables.plain("passages")]
    found = database.query(f"select name from sqlite_master where name in ({marks(len(asked))})", tuple(asked))
    there = {name for (name,) in found}
    if tables.plain("passages") in there:
        pieces += of_passages
    return KIND if there.issuperset(pieces) else None


def removal(tables: Tables) -> list[Statement]:
    """The triggers first: without their index they would fail every write."""
    events = ("insert", "delete", "update")
    triggers = [tables.named(f"{prefix}indexed_{event}") for prefix in _PREFIXES for event in events]
    return [
        *(Statement(f"drop trigger if exists {name}") for name in triggers),
        Statement(f"drop index if exists {quoted(tables.index)}"),
        Statement(f"drop table if exists {tables.named('distinct')}"),
        *(Statement(f"drop index if exists {tables.named(f'{prefix}hashes')}") for prefix in _PREFIXES),
    ]


def possible(database: Database) -> bool:
    return bool(database.query("select 1 from pragma_function_list where name = 'libsql_vector_idx'"))


class DiskannIndex:
    """See stores.index.VectorIndex. Nothing can be chosen of this one, and `build` goes on where it was stopped."""

    resumes = True

    def __init__(self, database: Database, tables: Tables, spec: TableSpec, metric: str) -> None:
        self._database = database
        self._tables = tables
        self._spec = spec
        self._metric = metric
        self._known: str | None = None
        self._seen = -math.inf

    def status(self) -> list[IndexStatus]:
        kind = self._look()
        return [] if kind is None else [IndexStatus(kind)]

    def _look(self) -> str | None:
        """The kind of index; None where every search is an exact scan."""
        sql = "select vector_index from rowvec_generations where target = ? and state = ?"
        found = self._database.query(sql, (self._tables.target, self._tables.state))
        self._known, self._seen = (found[0][0] if found else None), time.monotonic()
        return self._known

    def cost(self) -> IndexCost:
        vectors = self._distinct()
        return _cost(vectors, self._spec.dimension, self._metric)

    @property
    def sources(self) -> list[str]:
        """The tables whose vectors are in the index."""
        return [self._tables.vectors, *([self._tables.passages] if self._spec.has_passages else [])]

    def _distinct(self) -> int:
        each = (f"select vector_hash from {table} where embedding is not null" for table in self.sources)
        sql = f"select count(distinct vector_hash) from ({' union all '.join(each)})"
        return int(self._database.query(sql)[0][0])

    def build(self, spec: IndexSpec | None = None, progress: Progress | None = None) -> IndexStatus:
        if self._metric == "ip":
            raise StoreError(
                f"{self._database.location}: libSQL has no vector index for the inner product.",
                hint="Use the metric cosine or l2, or go on without an index: the exact scan works.",
            )
        if not possible(self._database):
            raise StoreError(
                f"{self._database.location}: this engine has no vector index.", hint="The exact scan works."
            )
        self._database.transact([Statement(sql) for sql in self._creation()])
        self._fill(progress)
        self._record(KIND)
        return IndexStatus(KIND)

    def _fill(self, progress: Progress | None) -> None:
        side, total = self._tables.named("distinct"), self._distinct()
        done = int(self._database.query(f"select count(vector_hash) from {side} not indexed")[0][0])
        for table in self.sources:
            step = Statement(
                f"""insert or ignore into {side} (vector_hash, embedding)
                    select vector_hash, embedding from {table}
                    where embedding is not null and vector_hash not in (select vector_hash from {side})
                    group by vector_hash limit ?""",
                (_BATCH,),
            )
            while added := self._database.transact([step])[0]:
                done += added
                if progress:
                    progress("filling the index", done, total)

    def _creation(self) -> list[str]:
        side = self._tables.named("distinct")
        # One bit a component keeps 0.999 of the ten nearest at a quarter of the size of a byte each; l2 cannot have it.
        codes = "float1bit" if self._metric == "cosine" else "float8"
        options = f"'metric={self._metric}', 'compress_neighbors={codes}'"
        add = f"""insert into {side} (vector_hash, embedding)
                  {_NEW.format(side)};"""
        others = " union all ".join(f"select vector_hash from {table}" for table in self.sources)
        drop = f"""delete from {side} where vector_hash = old.vector_hash and not exists (
                   select 1 from ({others}) as o where o.vector_hash = old.vector_hash);"""
        indexes, triggers = [], []
        for table, prefix in zip(self.sources, _PREFIXES, strict=False):
            trigger = f"create trigger if not exists {{}} after {{}} on {table} begin {{}} end"
            hashes = self._tables.named(f"{prefix}hashes")
            indexes.append(f"create index if not exists {hashes} on {table} (vector_hash)")
            for event, what in (("insert", add), ("delete", drop), ("update", drop + add)):
                of = " of vector_hash, embedding" if event == "update" else ""
                triggers.append(trigger.format(self._tables.named(f"{prefix}indexed_{event}"), event + of, what))
        return [
            *indexes,
            f"""create table if not exists {side}
                (vector_hash integer primary key, embedding f32_blob({self._spec.dimension}) not null)""",
            f"""create index if not exists {quoted(self._tables.index)} on {side} (
                libsql_vector_idx(embedding, {options}))""",
            *triggers,
        ]

    @property
    def triggers(self) -> list[str]:
        """Their names, not quoted."""
        events = ("insert", "delete", "update")
        return [
            self._tables.plain(f"{prefix}indexed_{event}")
            for _, prefix in zip(self.sources, _PREFIXES, strict=False)
            for event in events
        ]

    def drop(self) -> int:
        there = len(self.status())
        self._record(None)
        self._database.transact(removal(self._tables))
        return there

    def tune(
        self, target: float, queries: int | Vectors = 200, k: int = 10, progress: Progress | None = None
    ) -> list[Effort]:
        raise StoreError(
            f"{self._database.location}: libSQL's index has no effort to tune.", hint="--exact compares every row."
        )

    def _record(self, index: str | None) -> None:
        update = "update rowvec_generations set vector_index = ? where target = ? and state = ?"
        self._database.transact([Statement(update, (index, self._tables.target, self._tables.state))])
        self._known, self._seen = index, time.monotonic()

    def nearest(self, vector: Vector, limit: int) -> Ranked | None:
        """The index's answer, ordered by exact distance; None where there is no index or it gives too few rows."""
        known = self._known if time.monotonic() - self._seen < INDEX_SECONDS else self._look()
        if known is None:
            return None
        try:
            rows = self._blended(vector, limit) if self._spec.has_passages else self._candidates(vector, limit)
        except StoreError as error:
            if error.transient or self._look() is not None:
                raise
            # Another process has dropped the index meanwhile.
            return None
        return search.ranked(rows, self._spec, self._metric, vector, exact=False) if len(rows) == limit else None

    def _candidates(self, vector: Vector, limit: int) -> list[Values]:
        key, side = quoted(self._spec.key), self._tables.named("distinct")
        # Of the vector once, and not of each of the rows that share it.
        value, (query,) = search.distance(self._metric, vector, "d")
        return self._database.query(
            f"""select t.{key}, {value} as distance
                from vector_top_k(?, ?, ?) as top
                join {side} as d on d.rowid = top.id
                join {self._tables.vectors} as t on t.vector_hash = d.vector_hash
                where t.embedding is not null order by distance, 1 limit ?""",
            (query, self._tables.index, query, limit * _OVERFETCH, limit),
        )

    def _blended(self, vector: Vector, limit: int) -> list[Values]:
        rows: list[Values] = []
        for overfetch in _WIDENING:
            rows, reach, seen = self._within(vector, limit, limit * overfetch)
            if seen < limit * overfetch or (len(rows) == limit and rows[-1][1] <= reach):
                break
        return rows

    def _within(self, vector: Vector, limit: int, width: int) -> tuple[list[Values], float, int]:
        """The best rows that have one of the nearest vectors; how far these reach, and how many they are."""
        tables, side = self._tables, self._tables.named("distinct")
        value, values = search.blended(tables, self._spec, self._metric, vector)
        each, (query,) = search.distance(self._metric, vector, "d")
        rows = self._database.query(
            f"""with top as materialized (
                    select d.vector_hash, {each} as distance
                    from vector_top_k(?, ?, ?) as found join {side} as d on d.rowid = found.id),
                candidates as (
                    select t.rowid as id from top join {tables.vectors} as t on t.vector_hash = top.vector_hash
                    union select p."row" from top join {tables.passages} as p on p.vector_hash = top.vector_hash)
                select t.{quoted(self._spec.key)}, {value} as distance,
                    (select max(distance) from top), (select count(*) from top)
                from candidates join {tables.vectors} as t on t.rowid = candidates.id
                where t.embedding is not null order by distance, 1 limit ?""",
            (query, tables.index, query, width, *values, limit),
        )
        if not rows:
            return [], 0.0, 0
        return [row[:2] for row in rows], rows[0][2], rows[0][3]


def _cost(vectors: int, dimension: int, metric: str) -> IndexCost:
    """Each vector is stored with the codes of about three times the square root of the dimension of its neighbours,
    and making an entry costs time in step with its size. Good to a factor of two on another machine or with other data.
    """
    code = dimension / 8 if metric == "cosine" else dimension
    entry = 1.05 * (8 * dimension + 3 * dimension**0.5 * (code + 24))
    seconds = vectors * entry * (2.5e-7 if metric == "cosine" else 5e-7)
    return IndexCost("DiskANN", vectors, seconds, round(vectors * entry))
