"""Vector tables damaged by hand, behind rowvec's back, in every way that an audit must find."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

import numpy as np
import psycopg
from psycopg import sql

from rowvec.stores.auditor import Drift
from rowvec.stores.base import TableSpec
from rowvec.stores.postgres.generations.tables import keywords
from rowvec.stores.postgres.keyword_index.postings import ENTRY
from rowvec.stores.postgres.names import Names
from rowvec.types import Failure, Key, Vector

DIMENSION = 8


def unit(dice: Random) -> Vector:
    vector = np.array([dice.gauss(0, 1) for _ in range(DIMENSION)])
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class Spoiler(Protocol):
    """Hands on one vector table. Keys are those of rows, or `ghost`, which is none."""

    def remove(self, key: Key) -> None: ...
    def empty(self, key: Key) -> None: ...
    def set_hash(self, key: Key, column: str, value: bytes) -> None: ...
    def set_vector(self, key: Key, numbers: Vector) -> None: ...
    def resize(self, key: Key, dice: Random) -> None: ...
    def swap(self, one: Key, other: Key) -> None: ...
    def set_metadata(self, key: Key) -> None: ...
    def add_orphan(self, like: Key, ghost: Key) -> None: ...
    def cut_words(self, key: Key, dice: Random) -> None: ...
    def add_words(self, ghost: Key) -> None: ...


@dataclass
class PostgresHands:
    """
    Args:
        metadata: a column to alter; None where rowvec keeps no copies of them.
    """

    connection: psycopg.Connection[Any]
    names: Names
    spec: TableSpec
    metadata: str | None = "price"

    def _run(self, statement: str, *values: Any, **parts: sql.Composable) -> psycopg.Cursor[Any]:
        words = keywords(self.names, self.spec)
        segments, postings, documents = words.tables
        composed = sql.SQL(statement).format(
            key=sql.Identifier(self.spec.key), segments=segments, postings=postings, documents=documents,
            **self.names.parts, **parts,
        )  # fmt: skip
        return self.connection.execute(composed, values)

    def remove(self, key: Key) -> None:
        if self.names.column:
            nothing = "{embedding} = null, {text_hash} = null, {row_hash} = null"
            self._run(f"update {{table}} set {nothing} where {{key}} = %s", key)
            self._run("delete from {documents} where key = %s", key)
        else:
            self._run("delete from {table} where {key} = %s", key)
            self._run("delete from {documents} where key = %s", key)

    def empty(self, key: Key) -> None:
        self._run("update {table} set {embedding} = null where {key} = %s", key)

    def set_hash(self, key: Key, column: str, value: bytes) -> None:
        name = sql.Identifier(self.names.own(column))
        self._run("update {table} set {name} = %s where {key} = %s", value, key, name=name)

    def set_vector(self, key: Key, numbers: Vector) -> None:
        # pgvector refuses NaN and infinity in any form: a vector of zeros is as bad as it can get.
        numbers = numbers if np.isfinite(numbers).all() else np.zeros_like(numbers)
        self._run("update {table} set {embedding} = %s::vector where {key} = %s", str(list(map(float, numbers))), key)

    def resize(self, key: Key, dice: Random) -> None:
        self._run("alter table {table} alter column {embedding} type vector")
        self.set_vector(key, unit(dice)[: dice.randrange(1, DIMENSION)])

    def swap(self, one: Key, other: Key) -> None:
        self._run(
            "update {table} a set {embedding} = b.{embedding} from {table} b"
            " where (a.{key} = %s and b.{key} = %s) or (a.{key} = %s and b.{key} = %s)",
            one, other, other, one,
        )  # fmt: skip

    def set_metadata(self, key: Key) -> None:
        if self.metadata is None:
            self.set_hash(key, "row_hash", b"altered")
        else:
            column = sql.Identifier(self.metadata)
            self._run("update {table} set {column} = {column} + 1 where {key} = %s", key, column=column)

    def add_orphan(self, like: Key, ghost: Key) -> None:
        if self.names.column:
            self._run(
                "update {table} a set {embedding} = b.{embedding}, {text_hash} = b.{text_hash},"
                " {row_hash} = b.{row_hash} from {table} b where b.{key} = %s and a.{key} = %s",
                like, ghost,
            )  # fmt: skip
        else:
            self._run(
                "insert into {table} ({key}, {embedding}, {text_hash}, {row_hash})"
                " select %s, {embedding}, {text_hash}, {row_hash} from {table} where {key} = %s",
                ghost, like,
            )  # fmt: skip

    def cut_words(self, key: Key, dice: Random) -> None:
        if dice.random() < 0.5:
            self._run("delete from {documents} where key = %s", key)
            return
        row = self._run("select document from {documents} where key = %s", key).fetchone()
        assert row is not None
        for word, segment, packed in self._run("select word, segment, entries from {postings} order by random()"):
            entries = np.frombuffer(packed, ENTRY)
            kept = entries[entries["document"] != row[0]]
            if len(kept) < len(entries):
                values = (kept.tobytes(), word, segment)
                self._run("update {postings} set entries = %s where word = %s and segment = %s", *values)
                return
        raise AssertionError(f"row {key} has no words")

    def add_words(self, ghost: Key) -> None:
        self._run("insert into {documents} (key, length) values (%s, 3)", ghost)


@dataclass
class LibsqlHands:
    connection: Any
    table: str
    words: str

    def _run(self, statement: str, *values: Any) -> None:
        self.connection.execute(statement, values)
        self.connection.commit()

    def _set(self, key: Key, column: str, value: Any) -> None:
        self._run(f"update {self.table} set {column} = ? where id = ?", value, key)

    def remove(self, key: Key) -> None:
        self._run(f"delete from {self.table} where id = ?", key)

    def empty(self, key: Key) -> None:
        self._set(key, "embedding", None)

    def set_hash(self, key: Key, column: str, value: bytes) -> None:
        self._set(key, column, value)

    def set_vector(self, key: Key, numbers: Vector) -> None:
        self._set(key, "embedding", np.array(numbers, "<f4").tobytes())

    def resize(self, key: Key, dice: Random) -> None:
        whole = unit(dice).tobytes()
        self._set(key, "embedding", dice.choice([whole[:-1], whole[:12], whole * 2, b"", "no vector"]))

    def swap(self, one: Key, other: Key) -> None:
        select = f"select embedding from {self.table} where id = ?"
        (first,), (second,) = (self.connection.execute(select, (key,)).fetchone() for key in (one, other))
        self._set(one, "embedding", second)
        self._set(other, "embedding", first)

    def set_metadata(self, key: Key) -> None:
        self._run(f"update {self.table} set price = price + 1 where id = ?", key)

    def add_orphan(self, like: Key, ghost: Key) -> None:
        names = "text_hash, row_hash, truncated, vector_hash, created_at, updated_at, embedding"
        self._run(f"insert into {self.table} (id, {names}) select ?, {names} from {self.table} where id = ?",
                  ghost, like)  # fmt: skip

    def cut_words(self, key: Key, dice: Random) -> None:
        self._run(f"delete from {self.words} where rowid = ?", key)

    def add_words(self, ghost: Key) -> None:
        self._run(f"insert into {self.words} (rowid, text) values (?, 'words of nothing')", ghost)


@dataclass
class Damage:
    """
    Attributes:
        ghosts: keys without a row that is to be embedded.
        done: what was damaged, by the kind that an audit must call it.
    """

    hands: Spoiler
    dice: Random
    keys: Iterator[Key]
    ghosts: Iterator[Key]
    done: dict[Drift, set[Key]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def _row(self, drift: Drift) -> Key:
        """A row of which nothing is damaged yet, noted."""
        return self._noted(drift, next(self.keys))

    def _ghost(self, drift: Drift) -> Key:
        return self._noted(drift, next(self.ghosts))

    def _noted(self, drift: Drift, key: Key) -> Key:
        self.done.setdefault(drift, set()).add(key)
        return key

    def orphan(self) -> None:
        self.hands.add_orphan(next(self.keys), self._ghost(Drift.ORPHANED))

    def missing(self) -> None:
        self.dice.choice([self.hands.remove, self.hands.empty])(self._row(Drift.MISSING))

    def stale(self) -> None:
        self.hands.set_hash(self._row(Drift.STALE), "text_hash", self.dice.randbytes(16))

    def metadata(self) -> None:
        self.hands.set_metadata(self._row(Drift.METADATA))

    def row_hash(self) -> None:
        self.hands.set_hash(self._row(Drift.METADATA), "row_hash", self.dice.randbytes(16))

    def dimension(self) -> None:
        self.hands.resize(self._row(Drift.DIMENSION), self.dice)

    def not_finite(self) -> None:
        vector = unit(self.dice)
        vector[3] = self.dice.choice([np.nan, np.inf])
        self.hands.set_vector(self._row(Drift.NOT_FINITE), self.dice.choice([vector, 0 * unit(self.dice)]))

    def not_normalised(self) -> None:
        vector = unit(self.dice) * self.dice.choice([1e-3, 0.5, 3.0])
        self.hands.set_vector(self._row(Drift.NOT_NORMALISED), vector)

    def swapped(self) -> None:
        self.hands.swap(self._row(Drift.WRONG_VECTOR), self._row(Drift.WRONG_VECTOR))

    def another_vector(self) -> None:
        self.hands.set_vector(self._row(Drift.WRONG_VECTOR), unit(self.dice))

    def words_cut(self) -> None:
        self.hands.cut_words(self._row(Drift.NO_WORDS), self.dice)

    def words_of_nothing(self) -> None:
        self.hands.add_words(self._ghost(Drift.LOST_WORDS))

    def failure_of_nothing(self) -> None:
        now = dt.datetime.now(dt.UTC)
        self.failures.append(Failure(self._ghost(Drift.LOST_FAILURE), "refused", 1, now, now, b"text"))


KINDS = (
    # Orphans are copies of sound rows, so they come first.
    Damage.orphan, Damage.missing, Damage.stale, Damage.metadata, Damage.row_hash, Damage.dimension, Damage.not_finite,
    Damage.not_normalised, Damage.swapped, Damage.another_vector, Damage.words_cut, Damage.words_of_nothing,
    Damage.failure_of_nothing,
)  # fmt: skip


def inflict(hands: Spoiler, number: int, keys: Sequence[Key], ghosts: Sequence[Key], dice: Random) -> Damage:
    """Damage this many rows, each in one way, each kind as often as another."""
    damage = Damage(hands, dice, iter(dice.sample(keys, len(keys))), iter(ghosts))
    for turn in sorted(turn % len(KINDS) for turn in range(number)):
        KINDS[turn](damage)
    return damage
