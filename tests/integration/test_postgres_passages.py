"""Passages and texts in PostgreSQL: the view for SQL users, indexes, filters, and what an audit finds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest

from rowvec.evaluation.recall import recall
from rowvec.filters import bind, parse
from rowvec.stores.auditor import Drift
from rowvec.stores.base import TableSpec
from rowvec.stores.index import IndexSpec
from rowvec.stores.postgres.generation import PostgresGeneration
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index import exhaustive
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.contract.divided_samples import DIVIDING, ONE, OTHER, TWO, WHOLE, W, X, Z, divided, kept, plain
from rowvec.types import Column, ColumnType, Document, Entry, Fingerprint, Passage, State, Vectors
from tests.support import digest

VIEW = 'select key, n, text, start, "end" from things_passages order by key, n'
SLOT = Column("slot", ColumnType.INTEGER)


def opened(url: str, **options: Any) -> PostgresStore:
    return PostgresStore(url, "things", pipeline="things", **{"index": None, **options})


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    store = opened(postgres_url)
    yield store
    store.close()


def query(url: str, *statements: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            found = connection.execute(statement.encode())
        return found.fetchall() if found.description else []


def fill(store: PostgresStore, spec: TableSpec, *entries: Entry) -> PostgresGeneration:
    live = store.prepare(spec)
    assert live.write(WriteBatch(list(entries))) == 0
    store.activate(spec)
    return live


# The view


def test_the_view_shows_the_passages_of_the_live_generation(store: PostgresStore, postgres_url: str) -> None:
    fill(store, DIVIDING, ONE, TWO)
    first = [(1, 0, "red lamp. ", 0, 10), (1, 1, "blue chair. ", 10, 22), (1, 2, "green table.", 22, 34)]
    assert query(postgres_url, VIEW) == first
    query(postgres_url, "drop role if exists view_reader", "create role view_reader")
    try:
        query(postgres_url, "grant select on things_passages to view_reader")
        parts = divided(1, ("red lamp. blue ", W), ("chair. green table.", Z))
        store.prepare(OTHER).write(WriteBatch([parts]))
        assert query(postgres_url, VIEW) == first
        store.activate(OTHER)
        second = [(1, 0, "red lamp. blue ", 0, 15), (1, 1, "chair. green table.", 15, 34)]
        assert query(postgres_url, VIEW) == second
        store.rollback(OTHER)
        assert query(postgres_url, VIEW) == first
        fill(store, replace(WHOLE, fingerprint=replace(WHOLE.fingerprint or _never(), model="two")), TWO)
        assert query(postgres_url, VIEW) == [], "a generation without passages"
        wide = _wide(8)
        halves = tuple(Passage(n, n + 1, digest(f"{n}"), np.eye(8, dtype=np.float32)[n]) for n in (0, 1))
        mean = np.eye(8, dtype=np.float32)[:2].mean(axis=0)
        fill(store, wide, Entry(Document(5, "ab", ("x",), digest("ab"), digest("x")), mean, None, passages=halves))
        assert query(postgres_url, VIEW) == [(5, 0, "a", 0, 1), (5, 1, "b", 1, 2)]
        assert query(postgres_url, "set role view_reader", "select count(*) from things_passages") == [(2,)]
    finally:
        query(postgres_url, "drop owned by view_reader", "drop role view_reader")


def _never() -> Fingerprint:
    raise AssertionError


def _wide(dimension: int) -> TableSpec:
    made = Fingerprint("local", "wide", "r1", dimension, passages="window")
    return replace(DIVIDING, dimension=dimension, fingerprint=made)


def test_a_relation_of_the_users_keeps_its_name(store: PostgresStore, postgres_url: str) -> None:
    query(postgres_url, "create table things_passages (mine integer)", "insert into things_passages values (7)")
    live = fill(store, DIVIDING, ONE)
    fill(store, OTHER, ONE)
    store.drop_generation(State.PREVIOUS, OTHER)
    assert query(postgres_url, "select * from things_passages") == [(7,)]
    assert live.texts([1]) == {1: kept(ONE)}


def test_the_tables_of_a_generation_go_with_it(store: PostgresStore, postgres_url: str) -> None:
    fill(store, DIVIDING, ONE)
    fill(store, OTHER, ONE)
    tables = "select relname from pg_class where relname like 'things%' and relkind in ('r', 'v', 'i')"
    assert {("things__previous__passages",), ("things__previous__texts",)} <= set(query(postgres_url, tables))
    store.drop_generation(State.PREVIOUS, OTHER)
    assert [name for (name,) in query(postgres_url, tables) if "previous" in name] == []


def test_passages_follow_keys_of_another_type(store: PostgresStore, postgres_url: str) -> None:
    fill(store, DIVIDING, ONE, TWO)
    worded = replace(DIVIDING, key_type=ColumnType.TEXT)
    live = store.prepare(worded)
    assert live.texts(["1", "2"]) == {"1": kept(ONE), "2": kept(TWO)}
    assert len(query(postgres_url, VIEW)) == 3


def test_a_role_that_may_not_read_the_texts_still_searches(store: PostgresStore, postgres_url: str) -> None:
    fill(store, WHOLE, TWO)
    query(postgres_url, "drop role if exists text_reader", "create role text_reader")
    try:
        query(postgres_url, "grant select on things to text_reader", "grant usage on schema rowvec to text_reader",
              "grant select on all tables in schema rowvec to text_reader")  # fmt: skip
        reader = opened(f"{postgres_url}{'&' if '?' in postgres_url else '?'}options=-c%20role%3Dtext_reader")
        try:
            found = reader.generation(WHOLE)
            assert found is not None
            assert found.nearest(X, 3).keys == [2]
            assert found.texts([2]) == {}
            query(postgres_url, "grant select on things__texts to text_reader")
            assert found.texts([2]) == {2: kept(TWO)}
            query(postgres_url, "revoke select on things__texts from text_reader")
            assert found.texts([2]) == {}
        finally:
            reader.close()
    finally:
        query(postgres_url, "drop owned by text_reader", "drop role text_reader")


@pytest.mark.parametrize("spec", [DIVIDING, WHOLE])
def test_texts_that_are_not_kept_any_more_are_missed_by_no_search(store: PostgresStore, spec: TableSpec) -> None:
    live = fill(store, spec, TWO)
    assert live.texts([2]) == {2: kept(TWO)}
    store.prepare(replace(spec, keeps_texts=False))
    assert live.texts([2]) == {}
    fill(store, spec, TWO)
    assert live.texts([2]) == {2: kept(TWO)}


# A table of the user's own


def test_passages_stand_beside_a_table_of_the_users(postgres_url: str) -> None:
    query(postgres_url, "create table things (id bigint primary key, name text)",
          "insert into things values (1, 'one'), (2, 'two')")  # fmt: skip
    store = opened(postgres_url, column="vec")
    try:
        spec = replace(DIVIDING, metadata=())
        store.apply(spec)
        bare = [each._replace(document=each.document._replace(metadata=())) for each in (ONE, TWO)]
        live = fill(store, spec, *bare)
        assert live.texts([1, 2]) == {1: kept(ONE), 2: kept(TWO)}
        assert len(query(postgres_url, "select * from things__vec_passages")) == 3
        live.index.build(IndexSpec("hnsw"))
        assert live.index.tune(0.9, np.stack([X]))[-1].recall == 1.0
        query(postgres_url, "delete from things where id = 1")
        assert live.texts([1]) == {}
        assert live.nearest(X, 5).keys == [2]
        assert {fault.drift: list(fault.keys) for fault in live.auditor().faults(5)}[Drift.LOST_PASSAGES] == [1]
        store.activate(spec)
        assert query(postgres_url, "select * from things__vec_passages") == []
    finally:
        store.close()


# Indexes and filters


def _crowd(spec: TableSpec, rows: int) -> list[Entry]:
    dice = np.random.default_rng(7)
    made = []
    for key in range(rows):
        several = 0 if key % 3 == 0 else 2 + key % 4
        subject = dice.normal(size=spec.dimension)
        around = [subject + 0.7 * dice.normal(size=spec.dimension) for _ in range(several)]
        vectors = [(each / np.linalg.norm(each)).astype(np.float32) for each in around]
        own = np.mean(vectors, axis=0) if vectors else subject
        passages = tuple(Passage(n, n + 1, digest(f"{key}.{n}"), each) for n, each in enumerate(vectors))
        document = Document(key, "x" * 8, (key,), digest(str(key)), digest(str(key)))
        made.append(Entry(document, (own / np.linalg.norm(own)).astype(np.float32), None, passages=passages))
    return made


def _said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are executed from now on."""
    said: list[str] = []
    execute = psycopg.Connection.execute

    def listened(self: Any, statement: Any, *more: Any, **others: Any) -> Any:
        text = statement.decode() if isinstance(statement, bytes) else statement
        said.append(text if isinstance(text, str) else text.as_string(self))
        return execute(self, statement, *more, **others)

    monkeypatch.setattr(psycopg.Connection, "execute", listened)
    return said


@pytest.mark.parametrize("kind", ["hnsw", "ivfflat"])
def test_an_index_finds_what_comparing_every_passage_finds(
    store: PostgresStore, postgres_url: str, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(_wide(16), metadata=(SLOT,))
    live = fill(store, spec, *_crowd(spec, 1500))
    query(postgres_url, "analyze things")
    live.index.build(IndexSpec(kind=kind))
    assert len(live.index.status()) == 2
    assert all(each.valid for each in live.index.status())
    live.index.tune(0.99, queries=50)
    assert all(each.recall is not None for each in live.index.status())
    monkeypatch.setattr("rowvec.stores.postgres.vector_index.nearest.EXACT_ROWS", 20)
    reader = store.generation(spec)
    assert reader is not None
    dice = np.random.default_rng(3)
    for share in (None, 700, 100, 10, 0):
        where = None if share is None else bind(parse(f"slot < {share}"), [SLOT])
        matching = 1500 if share is None else share
        hits = []
        for limit in (1, 10, 10, 10, 200):
            asked = dice.normal(size=16).astype(np.float32)
            exact = live.nearest(asked, limit, where, exact=True)
            found = reader.nearest(asked, limit, where)
            assert exact.exact
            assert len(set(found.keys)) == len(exact.keys) == min(limit, matching)
            assert dict(reader.similarities(asked, found.keys)) == pytest.approx(
                dict(zip(found.keys, found.scores, strict=True)), abs=1e-5
            )
            hits.append(recall(found.scores, exact.scores) if exact.keys else 1.0)
        assert float(np.mean(hits)) >= 0.95, (kind, share, hits)
        assert found.exact == (share in (10, 0)), "few rows are compared one by one"
    said = _said(monkeypatch)
    asks = []
    for asked in dice.normal(size=(20, 16)).astype(np.float32):
        said.clear()
        reader.nearest(asked, 10)
        asks.append(len(said))
        assert said[0].startswith("with own as materialized")
    assert set(asks) == {1}, "one statement reads both lists and compares the rows"
    said.clear()
    live.nearest(asked, 10, bind(parse("slot < 10"), [SLOT]), exact=True)
    assert not any("group by" in each for each in said), "of few rows, not all passages are read"
    assert live.index.drop() == 2
    assert live.index.status() == []


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("storage", ["vector", "halfvec"])
def test_exact_answers_of_many_queries_are_those_of_each(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, metric: str, storage: str
) -> None:
    monkeypatch.setattr(exhaustive, "PAGE_BYTES", 1)  # A page of 100 rows.
    with closing(opened(postgres_url, metric=metric, storage=storage)) as store:
        spec = replace(_wide(16), metadata=(SLOT,))
        live = fill(store, spec, *_crowd(spec, 450))
        asked = 3 * np.random.default_rng(5).normal(size=(7, 16)).astype(np.float32)
        rows, passages = live.index.table, live.index.passages
        assert passages is not None
        found = live.index._sessions.write(
            lambda c: exhaustive.exact(c, rows, asked, 12, lambda *_: None, passages.table)
        )
        for vector, ranked in zip(asked, found, strict=True):
            alone = live.nearest(vector, 12, exact=True)
            assert ranked.scores == pytest.approx(alone.scores)
            assert list(ranked.keys) == list(alone.keys)


@pytest.mark.parametrize("kind", ["hnsw", "ivfflat"])
def test_the_recall_that_tuning_tells_is_that_of_both_lists_together(
    store: PostgresStore, postgres_url: str, kind: Any
) -> None:
    spec = replace(_wide(16), metadata=(SLOT,))
    live = fill(store, spec, *_crowd(spec, 1500))
    live.index.build(IndexSpec(kind, m=4, ef_construction=8, lists=40))
    asked = np.random.default_rng(3).normal(size=(60, 16)).astype(np.float32)
    tuned = live.index.tune(0.9, asked)
    assert 0.9 <= tuned[-1].recall < 1.0
    rows, passages = live.index.status()
    assert (rows.effort, passages.effort) == (tuned[-1].effort, tuned[-1].passages)
    assert rows.recall == passages.recall == pytest.approx(tuned[-1].recall)
    assert tuned[-1].recall == pytest.approx(_recall(store, spec, asked))
    assert len(live.index.tune(0.9, queries=20)) > 1, "vectors of rows and of passages are looked for"


def test_each_list_is_read_with_its_own_effort(store: PostgresStore, postgres_url: str) -> None:
    spec = replace(_wide(16), metadata=(SLOT,))
    live = fill(store, spec, *_crowd(spec, 1500))
    live.index.build(IndexSpec("ivfflat", lists=40))
    asked = np.random.default_rng(3).normal(size=(40, 16)).astype(np.float32)
    live.index.tune(0.9, asked)
    shares = {}
    for rows, passages in ((40, 40), (40, 1), (1, 40), (1, 1)):
        for scope, effort in (("things", rows), ("things__passages", passages)):
            query(postgres_url, f"update rowvec.tunings set effort = {effort} where scope like '%{scope}'")
        shares[rows, passages] = _recall(store, spec, asked)
    assert shares[40, 40] == 1.0
    # A row is compared though the other list missed it: by the ends of the lists these would be 0.965 and 0.4.
    assert 1.0 >= shares[40, 1] > 0.985
    assert 1.0 > shares[1, 40] > 0.7 > shares[1, 1]


def _recall(store: PostgresStore, spec: TableSpec, asked: Vectors) -> float:
    """Of searches of whoever opens the store now."""
    reader = store.generation(spec)
    assert reader is not None
    return float(
        np.mean([recall(reader.nearest(q, 10).scores, reader.nearest(q, 10, exact=True).scores) for q in asked])
    )


def test_a_generation_without_passages_asks_what_it_always_asked(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = fill(store, WHOLE, TWO)
    said = _said(monkeypatch)
    live.nearest(X, 3)
    live.write(WriteBatch([plain(3, "third", Z)]))
    assert said
    assert [each for each in said if "passages" in each] == []


# Audit


@pytest.mark.parametrize(
    ("damage", "drift", "keys"),
    [
        ("delete from things__passages where key = 1 and n = 1", Drift.PASSAGES, [1]),
        ("delete from things__passages where key = 1 and n = 2", Drift.MEAN, [1]),
        ("delete from things__passages where key = 1 and n > 0", Drift.MEAN, [1]),
        ('update things__passages set start = 30, "end" = 31 where n = 0', Drift.PASSAGES, [1]),
        ('update things__passages set "end" = 99 where n = 2', Drift.PASSAGES, [1]),
        ("update things set embedding = '[0,0,1,0]' where id = 1", Drift.MEAN, [1]),
        ("update things__passages set embedding = '[0,0,0,0]' where n = 1", Drift.PASSAGES, [1]),
        ("update things__passages set text_hash = '\\x00' where n = 1", Drift.PASSAGES, [1]),
        ("update things__texts set text = 'short' where key = 1", Drift.PASSAGES, [1]),
        ("delete from things__texts where key = 2", Drift.NO_TEXT, [2]),
        ("delete from things where id = 1", Drift.LOST_PASSAGES, [1]),
    ],
)
def test_an_audit_finds_what_is_broken(
    store: PostgresStore, postgres_url: str, damage: str, drift: Drift, keys: list[int]
) -> None:
    live = fill(store, replace(DIVIDING, language=None), ONE, TWO)
    assert live.auditor().faults(5) == []
    query(postgres_url, damage)
    found = {fault.drift: list(fault.keys) for fault in live.auditor().faults(5)}
    assert found == {drift: keys}
    if drift is Drift.LOST_PASSAGES:
        for fault in live.auditor().faults(5):
            live.auditor().repair(fault)
        assert live.auditor().faults(5) == []
    if drift is Drift.NO_TEXT:
        live.auditor().forget([2])
        live.write(WriteBatch(updates=[TWO.document]))
        assert live.texts([2]) == {2: kept(TWO)}
        assert live.auditor().faults(5) == []
