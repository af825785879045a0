"""libSQL's vector index, and the defect of it that equal vectors meet."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rowvec.errors import StoreError
from rowvec.stores.base import GenerationHandle, TableSpec, existing
from rowvec.stores.index import IndexStatus
from rowvec.stores.libsql import LibsqlStore, migrations
from rowvec.stores.libsql.database import Statement
from rowvec.stores.libsql.local import LocalDatabase
from rowvec.stores.libsql.write import vector_in
from rowvec.stores.write_batch import WriteBatch
from rowvec.types import ColumnType, Document, Entry, Fingerprint, State, Stored, Vectors
from tests.support import digest

DIMENSION = 64
SPEC = TableSpec("items", "id", ColumnType.INTEGER, DIMENSION)


def rows(store: LibsqlStore, spec: TableSpec = SPEC) -> GenerationHandle:
    return existing(store, spec)


def directions(count: int, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def filled(path: Path, vectors: Vectors, metric: str = "cosine") -> LibsqlStore:
    store = LibsqlStore(str(path), table="items", metric=metric)
    store.prepare(SPEC)
    add(store, 0, vectors)
    return store


def add(store: LibsqlStore, first: int, vectors: Vectors) -> None:
    documents = [
        Document(first + n, f"item {first + n}", (), digest(str(first + n)), digest("")) for n in range(len(vectors))
    ]
    rows(store).write(
        WriteBatch([Entry(document, vector, None) for document, vector in zip(documents, vectors, strict=True)])
    )


def test_the_engine_still_has_the_defect_that_the_index_works_round(tmp_path: Path) -> None:
    """When this fails libSQL has fixed it, and the table of distinct vectors can go. Its index is made by chance: now
    and then it finds what it usually does not."""
    assert not all(_finds_the_second_of_two(tmp_path / f"bare-{turn}.db") for turn in range(5))


def _finds_the_second_of_two(path: Path) -> bool:
    database = LocalDatabase(str(path))
    database.create()
    database.query("create table t (id integer primary key, v f32_blob(768))")
    database.query("create index i on t (libsql_vector_idx(v))")
    vectors = np.random.default_rng(0).standard_normal((20, 768))
    for key, vector in enumerate(vectors):
        database.query("insert into t values (?, ?)", (key, vector_in(vector)))
    twice = vector_in(vectors[3])
    database.query("insert into t values (99, ?)", (twice,))
    database.query("delete from t where id = 3")
    found = {key for (key,) in database.query("select id from vector_top_k('i', ?, 21)", (twice,))}
    database.close()
    return 99 in found


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_the_index_finds_what_the_scan_finds(tmp_path: Path, metric: str) -> None:
    store = filled(tmp_path / "vectors.db", directions(400), metric)
    rows(store).index.build()
    hits = 0
    for query in directions(400)[:20] + 0.1 * directions(20, seed=1):
        exact, indexed = rows(store).nearest(query, 10, exact=True), rows(store).nearest(query, 10)
        assert (exact.exact, indexed.exact, indexed.complete) == (True, False, True)
        assert indexed.keys[0] == exact.keys[0]
        hits += len(set(exact.keys) & set(indexed.keys))
    assert hits >= 0.9 * 200


def test_the_index_follows_every_write(tmp_path: Path) -> None:
    vectors = directions(60)
    store = filled(tmp_path / "vectors.db", vectors[:50])
    rows(store).index.build()
    add(store, 50, vectors[50:])
    assert rows(store).nearest(vectors[55], 1).keys == [55]
    changed = Document(7, "changed", (), digest("changed"), digest(""))
    rows(store).write(WriteBatch([Entry(changed, -vectors[7], digest("7"))], deletes=[55]))
    assert rows(store).nearest(-vectors[7], 1).keys == [7]
    assert 55 not in rows(store).nearest(vectors[55], 10).keys
    assert 7 not in rows(store).nearest(vectors[7], 3).keys


def test_rows_with_equal_vectors_are_all_found_and_outlive_each_other(tmp_path: Path) -> None:
    vectors = directions(40)
    vectors[10] = vectors[11] = vectors[12]
    store = filled(tmp_path / "vectors.db", vectors)
    rows(store).index.build()
    assert sorted(rows(store).nearest(vectors[10], 3).keys) == [10, 11, 12]
    rows(store).write(WriteBatch(deletes=[11]))
    found = rows(store).nearest(vectors[10], 2)
    assert (sorted(found.keys), found.exact) == ([10, 12], False)
    rows(store).write(WriteBatch(deletes=[10, 12]))
    assert not {10, 11, 12} & set(rows(store).nearest(vectors[10], 10).keys)


def test_rows_deleted_by_hand_leave_the_index(tmp_path: Path) -> None:
    store = filled(tmp_path / "vectors.db", directions(40))
    rows(store).index.build()
    by_hand = LocalDatabase(str(tmp_path / "vectors.db"))
    by_hand.query("delete from items where id < 35")
    by_hand.close()
    assert sorted(rows(store).nearest(directions(40)[0], 5).keys) == [35, 36, 37, 38, 39]
    assert (
        rows(store).nearest(directions(40)[0], 10).keys == rows(store).nearest(directions(40)[0], 10, exact=True).keys
    )


def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path: Path) -> None:
    store = filled(tmp_path / "vectors.db", directions(500))
    done: list[int] = []

    def interrupt(phase: str, so_far: int, total: int | None) -> None:
        done.append(so_far)
        assert total == 500
        if len(done) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rows(store).index.build(progress=interrupt)
    assert rows(store).status().index is None
    assert rows(store).nearest(directions(500)[0], 1).exact
    rows(store).index.build(progress=interrupt)
    assert done == [200, 400, 500]
    assert rows(store).status().index == IndexStatus("diskann")


def test_the_cost_is_foretold_and_a_dropped_index_leaves_nothing(tmp_path: Path) -> None:
    vectors = directions(300)
    vectors[100:] = vectors[0]
    store = filled(tmp_path / "vectors.db", vectors)
    cost = rows(store).index.cost()
    assert cost.vectors == 100
    rows(store).index.build()
    database = LocalDatabase(str(tmp_path / "vectors.db"))
    (taken,) = database.query(
        "select sum(pgsize) from dbstat where name like 'rowvecrowvec_distinct%' or name like '%diskann%'"
    )[0]
    assert taken / 2 < cost.bytes < taken * 2
    rows(store).index.drop()
    left = "select name from sqlite_master where name like '%diskann%' or name like 'rowvec_distinct%'"
    assert database.query(left) == []
    database.close()
    assert rows(store).nearest(vectors[1], 1).exact
    assert rows(store).write(WriteBatch(deletes=[1])) == 0


def test_there_is_no_index_for_the_inner_product(tmp_path: Path) -> None:
    store = filled(tmp_path / "vectors.db", directions(5), "ip")
    with pytest.raises(StoreError, match="inner product"):
        rows(store).index.build()
    assert rows(store).nearest(directions(5)[2], 1).keys == [2]


def test_a_table_of_any_name_can_have_an_index_and_shares_it_with_no_other(tmp_path: Path) -> None:
    for name in ("my-items", "my items", "my_items", 'it"s', "größe", "select"):
        store = LibsqlStore(str(tmp_path / "vectors.db"), table=name)
        store.prepare(SPEC)
        add(store, 0, directions(5, seed=len(name)))
        rows(store).index.build()
        found = rows(store).nearest(directions(5, seed=len(name))[3], 2)
        assert (found.keys[0], found.exact) == (3, False)
        assert rows(store).auditor().faults(9) == []
        rows(store).index.drop()
        rows(store).index.build()
        store.close()


MODELS = [replace(SPEC, fingerprint=Fingerprint("openai", model, "1", DIMENSION)) for model in "abc"]


def write(store: LibsqlStore, spec: TableSpec, vectors: Vectors, before: str | None, now: str) -> None:
    """Thirty rows of ten texts, so that vectors are shared."""
    batch = [
        Entry(
            Document(n, f"{now} {n % 10}", (), digest(f"{now} {n % 10}"), digest("")),
            vectors[n % 10],
            None if before is None else digest(f"{before} {n % 10}"),
        )
        for n in range(30)
    ]
    assert rows(store, spec).write(WriteBatch(batch)) == 0


def by_hand(path: Path, *statements: str) -> None:
    database = LocalDatabase(str(path))
    database.transact([Statement(statement) for statement in statements])
    database.close()


def lose_books(path: Path) -> None:
    own = {table for table, _ in migrations.declared()} | {"rowvec_meta", "rowvec_identity", "rowvec_unfit"}
    by_hand(path, *(f"drop table {name}" for name in own | {"rowvec_deletions", "rowvec_refusals"}))


def test_an_index_of_a_second_generation_goes_on_where_the_books_were_lost(tmp_path: Path) -> None:
    path, vectors = tmp_path / "vectors.db", directions(60)
    with closing(LibsqlStore(str(path), table="items")) as store:
        store.prepare(MODELS[0])
        write(store, MODELS[0], vectors, None, "a")
        rows(store, MODELS[0]).index.build()
        store.prepare(MODELS[1])
        write(store, MODELS[1], vectors[10:], None, "b")
        store.activate(MODELS[1])
    lose_books(path)
    with closing(LibsqlStore(str(path), table="items")) as store:
        store.prepare(MODELS[1])
        assert set(rows(store, MODELS[1]).lookup(range(30)).values()) == {
            Stored(digest(f"b {n}"), bytes(16)) for n in range(10)
        }, "hashes are there, and metadata and words are written again"
        assert rows(store, MODELS[1]).index.status() == [IndexStatus("diskann")]
        write(store, MODELS[1], vectors[15:], "b", "c")
        found = rows(store, MODELS[1]).nearest(vectors[16], 3)
        assert (found.exact, set(found.keys)) == (False, {1, 11, 21})
        # The table of the former generation is still there, and no book lists it.
        store.prepare(MODELS[2])
        write(store, MODELS[2], vectors[30:], None, "d")
        store.activate(MODELS[2])
        assert {each.state: each.rows for each in store.generations(MODELS[2])} == {State.LIVE: 30, State.PREVIOUS: 30}
        assert set(rows(store, MODELS[2]).nearest(vectors[31], 3).keys) == {1, 11, 21}


@pytest.mark.parametrize("piece", ["trigger rowvec_indexed_insert_items_1", "table rowvec_distinct_items_1"])
def test_an_index_that_lost_a_piece_with_the_books_is_given_up(tmp_path: Path, piece: str) -> None:
    path, vectors = tmp_path / "vectors.db", directions(30)
    with closing(filled(path, vectors)) as store:
        rows(store).index.build()
    lose_books(path)
    by_hand(path, f"drop {piece}")
    with closing(LibsqlStore(str(path), table="items")) as store:
        store.prepare(SPEC)
        assert rows(store).index.status() == []
        add(store, 30, directions(1, seed=7))
        assert rows(store).nearest(directions(1, seed=7)[0], 1).keys == [30]
        rows(store).index.build()
        found = rows(store).nearest(directions(1, seed=7)[0], 1)
        assert (found.exact, found.keys) == (False, [30])


def test_triggers_of_an_index_that_an_older_version_made_are_made_again(tmp_path: Path) -> None:
    path, vectors = tmp_path / "vectors.db", directions(60)
    with closing(LibsqlStore(str(path), table="items")) as store:
        store.prepare(MODELS[0])
        write(store, MODELS[0], vectors, None, "a")
        rows(store, MODELS[0]).index.build()
    database = LocalDatabase(str(path))
    triggers: dict[str, str] = dict(
        database.query("select name, sql from sqlite_master where name glob 'rowvec_indexed_*'")
    )
    newer = ' and not exists (select 1 from "rowvec_distinct_items_1" where vector_hash = new.vector_hash)'
    older = {
        name: sql.replace(newer, "").replace("insert into", "insert or ignore into") for name, sql in triggers.items()
    }
    assert sum(older[name] != triggers[name] for name in triggers) == 2
    made = [sql for name in triggers for sql in (f"drop trigger {name}", older[name])]
    database.transact([Statement(sql) for sql in [*made, "delete from rowvec_meta where version > 6"]])
    database.close()
    with closing(LibsqlStore(str(path), table="items")) as store:
        store.prepare(MODELS[0])
        write(store, MODELS[0], vectors[5:], "a", "b")
    database = LocalDatabase(str(path))
    assert dict(database.query("select name, sql from sqlite_master where name glob 'rowvec_indexed_*'")) == triggers
    database.close()
