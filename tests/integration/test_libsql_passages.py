"""Passages in libSQL from the inside: damage, stops between statements, the view, the vector index, lost tables."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowvec.errors import StoreError
from rowvec.stores.auditor import Audited, Drift
from rowvec.stores.base import GenerationHandle, TableSpec, existing
from rowvec.stores.libsql import LibsqlStore, passages
from rowvec.stores.libsql.database import Statement
from rowvec.stores.libsql.generation import LibsqlGeneration
from rowvec.stores.libsql.local import LocalDatabase
from rowvec.stores.write_batch import WriteBatch
from rowvec.support.killpoints import Step
from rowvec.testing.contract.divided_samples import DIVIDING, ONE, OTHER, TWO, WHOLE, W, X, Y, Z, divided, kept, plain
from rowvec.testing.contract.samples import document
from rowvec.types import Column, ColumnType, Entry, Passage, StoredText, Vectors
from tests.support import digest

TEXTS, PASSAGES = "rowvec_kept_texts_items_1", "rowvec_passages_items_1"


def opened(path: Path, spec: TableSpec = DIVIDING) -> LibsqlStore:
    store = LibsqlStore(str(path), table="items")
    store.prepare(spec)
    return store


def rows(store: LibsqlStore, spec: TableSpec = DIVIDING) -> GenerationHandle:
    return existing(store, spec)


def write(store: LibsqlStore, *entries: Entry, spec: TableSpec = DIVIDING, **others: Any) -> int:
    return rows(store, spec).write(WriteBatch(list(entries), **others))


def by_hand(path: Path, *statements: str) -> list[tuple[Any, ...]]:
    with closing(LocalDatabase(str(path))) as database:
        return [database.query(sql) for sql in statements][-1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors.db"


@pytest.fixture
def store(path: Path) -> Iterator[LibsqlStore]:
    store = opened(path)
    write(store, ONE, TWO)
    yield store
    store.close()


@pytest.mark.parametrize("key", ["n", "Start", "end", "tokens", "passage_hash", "row", "rowvec_key"])
def test_a_key_may_have_the_name_of_a_column_of_the_passages(tmp_path: Path, key: str) -> None:
    held = 'select n, start, "end", tokens from ' + PASSAGES + ' order by "row", n'
    found = []
    for name in ("id", key):
        path, spec = tmp_path / f"{name}.db", replace(DIVIDING, key=name)
        with closing(opened(path, spec)) as store:
            write(store, ONE, TWO, spec=spec)
            found.append((by_hand(path, held), rows(store, spec).texts([1, 2])))
    assert found[0] == found[1]
    assert len(found[0][0]) == len(ONE.passages)


# An audit

DAMAGE: dict[str, tuple[str, dict[Drift, tuple[int, list[int]]]]] = {
    "gap": (f"delete from {PASSAGES} where n = 1", {Drift.PASSAGES: (1, [1])}),
    "first": (f"delete from {PASSAGES} where n = 0", {Drift.PASSAGES: (1, [1])}),
    "beyond": (f'update {PASSAGES} set "end" = 999 where n = 2', {Drift.PASSAGES: (1, [1])}),
    "empty": (f'update {PASSAGES} set "end" = start where n = 0', {Drift.PASSAGES: (1, [1])}),
    "order": (f"update {PASSAGES} set start = 1 where n = 2", {Drift.PASSAGES: (1, [1])}),
    "negative": (f"update {PASSAGES} set start = -1 where n = 0", {Drift.PASSAGES: (1, [1])}),
    "short": (f"update {PASSAGES} set embedding = x'00' where n = 1", {Drift.PASSAGES: (1, [1])}),
    "none": (f"update {PASSAGES} set embedding = null where n = 1", {Drift.PASSAGES: (1, [1])}),
    "nan": (f"update {PASSAGES} set embedding = x'{'0000c07f' * 4}' where n = 1", {Drift.PASSAGES: (1, [1])}),
    "zeros": (f"update {PASSAGES} set embedding = zeroblob(16) where n = 1", {Drift.PASSAGES: (1, [1])}),
    "last": (f"delete from {PASSAGES} where n = 2", {Drift.MEAN: (1, [1])}),
    "mean": ("update items set embedding = vector32('[0,0,1,0]') where id = 1", {Drift.MEAN: (1, [1])}),
    "text": (f"delete from {TEXTS} where id = 2", {Drift.NO_TEXT: (1, [2])}),
    "orphan": (f'update {PASSAGES} set "row" = 77', {Drift.LOST_PASSAGES: (3, [])}),
    "text without a row": (f"insert into {TEXTS} values (77, 'lost')", {Drift.LOST_PASSAGES: (1, [])}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_audit_finds_what_is_wrong_with_passages(store: LibsqlStore, path: Path, damage: str) -> None:
    live = rows(store)
    assert isinstance(live, Audited)
    assert live.auditor().faults(10) == []
    statement, expected = DAMAGE[damage]
    by_hand(path, statement)
    found = live.auditor().faults(10)
    assert {fault.drift: (fault.count, list(fault.keys)) for fault in found} == expected
    for fault in found:
        if fault.drift is Drift.LOST_PASSAGES:
            live.auditor().repair(fault)
    live.auditor().forget([key for fault in found for key in fault.keys])
    write(store, ONE._replace(expected=ONE.document.text_hash), updates=[TWO.document])
    assert live.auditor().faults(10) == []
    assert live.texts([1, 2]) == {1: kept(ONE), 2: kept(TWO)}


# Stops

CHANGED = divided(1, ("new ", W), ("text", Y), expected=ONE.document.text_hash)


def test_a_batch_that_ends_between_any_two_statements_leaves_the_passages_of_before(
    store: LibsqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = rows(store)
    assert isinstance(live, LibsqlGeneration)
    transact, stopped = live._database.transact, 0

    def until(number: int) -> Callable[..., list[int]]:
        def carry_out(statements: Sequence[Statement], **others: Any) -> list[int]:
            nonlocal stopped
            stopped = len(statements)
            return transact([*statements[:number], Statement("select nothing from nowhere")], **others)

        return carry_out

    batch = WriteBatch([CHANGED, plain(3, "another", Z)], updates=[document(2, "a lamp", "x")], deletes=[99])
    number = 0
    while number <= stopped:
        monkeypatch.setattr(live._database, "transact", until(number))
        with pytest.raises(StoreError):
            live.write(batch)
        assert live.texts([1, 2, 3], X) == {1: kept(ONE, X), 2: kept(TWO)}, number
        assert live.status().passages == 3
        number += 1
    assert stopped > 6
    monkeypatch.setattr(live._database, "transact", transact)
    assert live.write(batch) == 0
    assert live.texts([1]) == {1: kept(CHANGED)}


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from rowvec.support import killpoints
    from tests.integration.test_libsql_passages import CHANGED, ONE, TWO, opened, write
    store = opened(Path(sys.argv[1]))
    write(store, ONE, TWO)
    killpoints.observer = lambda step: step == sys.argv[2] and os.kill(os.getpid(), signal.SIGKILL)
    write(store, CHANGED, **({"deletes": [2]} if "delete" in sys.argv[2] else {}))
"""


@pytest.mark.parametrize(
    ("step", "left"),
    [
        (Step.WRITE_BEFORE_COMMIT, {1: kept(ONE), 2: kept(TWO)}),
        (Step.WRITE_AFTER_COMMIT, {1: kept(CHANGED), 2: kept(TWO)}),
        (Step.DELETE_BEFORE_COMMIT, {1: kept(ONE), 2: kept(TWO)}),
        (Step.DELETE_AFTER_COMMIT, {1: kept(CHANGED)}),
    ],
    ids=str,
)
def test_a_kill_leaves_the_passages_of_before_or_of_after(path: Path, step: Step, left: dict[int, object]) -> None:
    program = [sys.executable, "-c", textwrap.dedent(KILLED), str(path), step]
    ended = subprocess.run(program, cwd=Path(__file__).parents[2], check=False, timeout=60, env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL
    with closing(opened(path)) as store:
        live = rows(store)
        assert live.texts([1, 2]) == left
        assert isinstance(live, Audited)
        assert live.auditor().faults(10) == []


# The view


def shown(path: Path) -> list[tuple[Any, ...]]:
    return by_hand(path, 'select "key", n, text, start, "end", length(embedding) from items_passages order by 1, 2')


RED = [(1, 0, "red lamp. ", 0, 10, 16), (1, 1, "blue chair. ", 10, 22, 16), (1, 2, "green table.", 22, 34, 16)]


def test_the_view_shows_the_passages_of_the_live_generation(store: LibsqlStore, path: Path) -> None:
    assert shown(path) == RED
    store.activate(DIVIDING)
    other = opened(path, OTHER)
    write(other, divided(1, ("aé😀", X), ("b", Y)), spec=OTHER)
    assert shown(path) == RED
    other.activate(OTHER)
    assert shown(path) == [(1, 0, "aé😀", 0, 3, 16), (1, 1, "b", 3, 4, 16)]
    other.rollback(OTHER)
    assert shown(path) == RED
    whole = opened(path, WHOLE)
    write(whole, TWO, spec=WHOLE)
    whole.activate(WHOLE)
    assert by_hand(path, "select 1 from sqlite_master where type = 'view'") == []
    opened(path, WHOLE).rollback(WHOLE)
    assert shown(path) == RED
    without = replace(DIVIDING, keeps_texts=False)
    opened(path, without).close()
    assert [row[2] for row in shown(path)] == [None] * 3


def test_what_else_has_the_name_of_the_view_is_left_alone(path: Path) -> None:
    LocalDatabase(str(path)).create()
    by_hand(path, "create table items_passages (mine)", "insert into items_passages values (1)")
    store = opened(path)
    write(store, ONE)
    store.activate(DIVIDING)
    other = opened(path, OTHER)
    write(other, TWO, spec=OTHER)
    other.activate(OTHER)
    assert by_hand(path, "select mine from items_passages") == [(1,)]


# Tables that were lost, and columns of another type


def test_passages_of_before_are_not_shown_in_the_text_of_after(
    store: LibsqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = passages._kept
    longer = divided(1, ("A", W), ("nother text.", Z))._replace(expected=ONE.document.text_hash)

    def between(*arguments: Any) -> Any:
        assert write(store, longer) == 0
        return read(*arguments)

    monkeypatch.setattr(passages, "_kept", between)
    assert rows(store).texts([1]) == {1: StoredText("Another text.")}
    monkeypatch.setattr(passages, "_kept", read)
    assert rows(store).texts([1]) == {1: kept(longer)}


def test_a_lost_table_of_texts_is_made_again_and_filled_by_the_next_sync(store: LibsqlStore, path: Path) -> None:
    by_hand(path, f"drop table {TEXTS}")
    assert rows(store).texts([1, 2]) == {}
    again = opened(path)
    known = rows(again).lookup([1, 2])
    assert [known[key].text_hash for key in (1, 2)] == [ONE.document.text_hash, TWO.document.text_hash]
    assert ONE.document.row_hash != known[1].row_hash
    write(again, updates=[ONE.document, TWO.document])
    assert rows(again).texts([1, 2]) == {1: kept(ONE), 2: kept(TWO)}


def test_after_a_lost_table_of_passages_every_row_is_embedded_again(store: LibsqlStore, path: Path) -> None:
    by_hand(path, f"drop table {PASSAGES}")
    again = opened(path)
    known = rows(again).lookup([1, 2])
    assert {known[key].text_hash for key in (1, 2)} == {bytes(16)}
    write(again, ONE._replace(expected=bytes(16)))
    assert rows(again).texts([1]) == {1: kept(ONE)}


def test_passages_stay_when_keys_and_columns_get_another_type(store: LibsqlStore, path: Path) -> None:
    spec = replace(DIVIDING, key_type=ColumnType.TEXT, metadata=(Column("name", ColumnType.JSON),))
    again = opened(path, spec)
    assert rows(again, spec).texts(["1", "2"], X) == {"1": kept(ONE, X), "2": kept(TWO)}
    write(again, spec=spec, deletes=["1"])
    assert by_hand(path, f"select count(*) from {PASSAGES}") == [(0,)]
    assert by_hand(path, f"select count(*) from {TEXTS}") == [(1,)]


# The vector index

WIDE = replace(DIVIDING, dimension=32, fingerprint=replace(DIVIDING.fingerprint, dimension=32), metadata=())  # type: ignore[type-var]


def unit(vectors: Any) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def many(count: int, *, seed: int = 0) -> list[Entry]:
    """Every third row has passages, up to twelve, all about something else."""
    random = np.random.default_rng(seed)
    made = []
    for key in range(count):
        vectors = unit(random.standard_normal((1 if key % 3 else int(random.integers(2, 12)), 32)))
        parts = tuple(Passage(n, n + 1, digest(f"{key} {n}"), vector) for n, vector in enumerate(vectors))
        row = document(key, "x" * len(parts))._replace(metadata=(), text_hash=digest(str(key)))
        made.append(Entry(row, unit(vectors.mean(axis=0)), None, False, parts if len(parts) > 1 else ()))
    return made


# Codes of one bit, which cosine has, are coarse where vectors are this short.
@pytest.mark.parametrize(("metric", "least"), [("cosine", 150), ("l2", 190)])
def test_an_index_of_rows_and_passages_finds_what_a_scan_finds(path: Path, metric: str, least: int) -> None:
    store = LibsqlStore(str(path), table="items", metric=metric)
    live = store.prepare(WIDE)
    live.write(WriteBatch(many(300)))
    assert live.index.cost().vectors == len({v.tobytes() for e in many(300) for v in vectors_of(e)})
    live.index.build()
    live.write(
        WriteBatch(
            [each._replace(document=each.document._replace(key=300 + n)) for n, each in enumerate(many(60, seed=1))]
        )
    )
    live.write(WriteBatch(deletes=list(range(0, 300, 7))))
    assert live.auditor().faults(10) == []
    hits = 0
    for query in unit(np.random.default_rng(2).standard_normal((20, 32))):
        found, scan = live.nearest(query, 10), live.nearest(query, 10, exact=True)
        assert (found.exact, scan.exact, len(found.keys)) == (False, True, 10)
        assert list(found.scores) == sorted(found.scores, reverse=True)
        assert dict(zip(found.keys, found.scores, strict=True)) == pytest.approx(live.similarities(query, found.keys))
        hits += len(set(found.keys) & set(scan.keys))
    assert hits >= least
    by_hand(
        path, f"delete from rowvec_distinct_items_1 where vector_hash = (select vector_hash from {PASSAGES} limit 1)"
    )
    assert [fault.drift for fault in live.auditor().faults(10)] == [Drift.INDEX]
    live.auditor().repair(live.auditor().faults(10)[0])
    assert live.auditor().faults(10) == []
    live.index.drop()
    left = by_hand(path, "select name from sqlite_master where name like '%indexed%' or name like '%hashes%'")
    assert left == []


def vectors_of(entry: Entry) -> list[Any]:
    return [entry.vector, *(each.vector for each in entry.passages)]
