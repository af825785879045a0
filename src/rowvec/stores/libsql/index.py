"""libSQL's own vector index (DiskANN), made only when it is asked for.

It cannot hold two equal vectors: one search result stands for both, and deleting either row takes both out (libsql
issue 2197). Equal vectors are normal, since equal texts are. So the index is over a table beside the vectors, which
has each distinct vector once, found by `vector_hash`; triggers keep the two in step, whoever writes.
"""

from __future__ import annotations

import math
import re
import time

from rowvec.errors import StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.index import DEFAULT, Effort, IndexCost, IndexSpec, IndexStatus
from rowvec.stores.libsql import search
from rowvec.stores.libsql.database import Database, Statement
from rowvec.stores.libsql.schema import Tables
from rowvec.stores.libsql.values import quoted
from rowvec.stores.libsql.write import marks, vector_in
from rowvec.types import Progress, Ranked, Vector

KIND = "diskann"
_PARTS = ("hashes", "distinct", "indexed_insert", "indexed_delete", "indexed_update")
"""Beside the index itself: what belongs to it; see `Tables.named`."""
INDEX_SECONDS = 5.0
"""A new or dropped index is noticed within so long."""
_BATCH = 200
_OVERFETCH = 2
"""The index gives a few more candidates than asked for; the exact distance then orders them."""


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
    names = [tables.index, *(f"rowvec_{what}_{tables.target}_{tables.number}" for what in _PARTS)]
    sql = f"select count(*) from sqlite_master where name in ({marks(len(names))})"
    return KIND if database.query(sql, tuple(names))[0][0] == len(names) else None


def removal(tables: Tables) -> list[Statement]:
    names = ("indexed_insert", "indexed_delete", "indexed_update")
    return [
        *(Statement(f"drop trigger if exists {tables.named(name)}") for name in names),
        Statement(f"drop index if exists {quoted(tables.index)}"),
        Statement(f"drop table if exists {tables.named('distinct')}"),
        Statement(f"drop index if exists {tables.named('hashes')}"),
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
        sql = f"select count(distinct vector_hash) from {self._tables.vectors} where embedding is not null"
        vectors = int(self._database.query(sql)[0][0])
        return _cost(vectors, self._spec.dimension, self._metric)

    def build(self, spec: IndexSpec = DEFAULT, progress: Progress | None = None) -> IndexStatus:
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
        vectors, side = self._tables.vectors, self._tables.named("distinct")
        total = int(self._database.query(f"select count(distinct vector_hash) from {vectors}")[0][0])
        step = Statement(
            f"""insert or ignore into {side} (vector_hash, embedding)
                select vector_hash, embedding from {vectors}
                where embedding is not null and vector_hash not in (select vector_hash from {side})
                group by vector_hash limit ?""",
            (_BATCH,),
        )
        done = int(self._database.query(f"select count(vector_hash) from {side} not indexed")[0][0])
        while added := self._database.transact([step])[0]:
            done += added
            if progress:
                progress("filling the index", done, total)

    def _creation(self) -> list[str]:
        vectors, side = self._tables.vectors, self._tables.named("distinct")
        # One bit a component keeps 0.999 of the ten nearest at a quarter of the size of a byte each; l2 cannot have it.
        codes = "float1bit" if self._metric == "cosine" else "float8"
        options = f"'metric={self._metric}', 'compress_neighbors={codes}'"
        add = f"""insert into {side} (vector_hash, embedding)
                  {_NEW.format(side)};"""
        drop = f"""delete from {side} where vector_hash = old.vector_hash
                   and not exists (select 1 from {vectors} where vector_hash = old.vector_hash);"""
        trigger = f"create trigger if not exists {{}} after {{}} on {vectors} begin {{}} end"
        return [
            f"create index if not exists {self._tables.named('hashes')} on {vectors} (vector_hash)",
            f"""create table if not exists {side}
                (vector_hash integer primary key, embedding f32_blob({self._spec.dimension}) not null)""",
            f"""create index if not exists {quoted(self._tables.index)} on {side} (
                libsql_vector_idx(embedding, {options}))""",
            trigger.format(self._tables.named("indexed_insert"), "insert", add),
            trigger.format(self._tables.named("indexed_delete"), "delete", drop),
            trigger.format(self._tables.named("indexed_update"), "update of vector_hash, embedding", drop + add),
        ]

    def drop(self) -> int:
        there = len(self.status())
        self._record(None)
        self._database.transact(removal(self._tables))
        return there

    def tune(self, target: float, queries: int = 200, k: int = 10, progress: Progress | None = None) -> list[Effort]:
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
        key, side = quoted(self._spec.key), self._tables.named("distinct")
        function = "vector_distance_l2" if self._metric == "l2" else "vector_distance_cos"
        query = vector_in(vector)
        try:
            rows = self._database.query(
                # Of the vector once, and not of each of the rows that share it.
                f"""select t.{key}, {function}(d.embedding, ?) as distance
                    from vector_top_k(?, ?, ?) as top
                    join {side} as d on d.rowid = top.id
                    join {self._tables.vectors} as t on t.vector_hash = d.vector_hash
                    where t.embedding is not null order by distance, 1 limit ?""",
                (query, self._tables.index, query, limit * _OVERFETCH, limit),
            )
        except StoreError as error:
            if error.transient or self._look() is not None:
                raise
            # Another process has dropped the index meanwhile.
            return None
        return search.ranked(rows, self._spec, self._metric, vector, exact=False) if len(rows) == limit else None


def _cost(vectors: int, dimension: int, metric: str) -> IndexCost:
    """Each vector is stored with the codes of about three times the square root of the dimension of its neighbours,
    and making an entry costs time in step with its size. Good to a factor of two on another machine or with other data.
    """
    code = dimension / 8 if metric == "cosine" else dimension
    entry = 1.05 * (8 * dimension + 3 * dimension**0.5 * (code + 24))
    seconds = vectors * entry * (2.5e-7 if metric == "cosine" else 5e-7)
    return IndexCost("DiskANN", vectors, seconds, round(vectors * entry))
