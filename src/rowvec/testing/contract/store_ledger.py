"""What every store promises of its tables and its rows, run over each backend in conftest.py."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from rowvec.errors import StoreError
from rowvec.filters import Compare, Op, bind
from rowvec.stores.base import Store, TableSpec
from rowvec.stores.partitioned import PartitionedStore
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing import HashEmbedder
from rowvec.testing.contract.samples import (
    DIMENSION,
    EMBEDDER,
    SPEC,
    Opener,
    document,
    entry,
    failure,
    hashed,
    rows,
    vector_of,
    write,
)
from rowvec.types import Column, ColumnType, Document, Entry, Fingerprint, Stored

# Preparing


def test_a_store_that_was_never_prepared_has_an_empty_ledger(unprepared: Opener) -> None:
    assert unprepared(SPEC).ledger().exists is False


def test_looking_at_the_ledger_creates_nothing(unprepared: Opener) -> None:
    store = unprepared(SPEC)
    store.ledger()
    assert store.ledger().exists is False


def test_preparing_twice_keeps_the_rows(opened: Opener) -> None:
    write(opened(SPEC), entry(1, "lamp"))
    again = opened(SPEC)
    assert rows(again).count() == 1
    assert again.ledger().filled


def test_the_ledger_returns_the_fingerprint_and_recipe_it_was_prepared_with(opened: Opener) -> None:
    spec = replace(SPEC, fingerprint=Fingerprint("local", "mini", "r1", DIMENSION, max_tokens=256), recipe="abc")
    ledger = opened(spec).ledger()
    assert (ledger.fingerprint, ledger.recipe) == (spec.fingerprint, "abc")
    changed = replace(spec, recipe="def")
    store = opened(changed)
    assert store.ledger().recipe == "abc", "the rows are still those of the old recipe"
    store.activate(changed)
    assert opened(changed).ledger().recipe == "def"


def test_another_dimension_is_refused_with_both_numbers(opened: Opener) -> None:
    opened(SPEC)
    with pytest.raises(StoreError, match=r"16.*384|384.*16"):
        opened(replace(SPEC, dimension=384))


def test_a_key_type_that_cannot_hold_the_keys_is_refused(opened: Opener) -> None:
    spec = replace(SPEC, key_type=ColumnType.TEXT)
    write(opened(spec), entry("A12", "lamp"), spec=spec)
    with pytest.raises(StoreError, match="key"):
        opened(SPEC)


def test_names_that_need_quotes_are_only_names(opened: Opener) -> None:
    odd = Column('so "called"; drop table x --', ColumnType.TEXT)
    spec = replace(SPEC, key="order", metadata=(odd, Column("select", ColumnType.INTEGER)))
    store = opened(spec)
    write(store, entry(1, "lamp", "a", 2), spec=spec)
    assert rows(store, spec).metadata([1]) == {1: {odd.name: "a", "select": 2}}
    where = bind(Compare(odd.name, Op.EQ, "a"), [odd])
    assert rows(store, spec).nearest(vector_of("lamp"), 1, where).keys == [1]


def test_every_check_of_a_prepared_store_is_right(store: Store) -> None:
    assert [check for check in store.checks(SPEC) if not check.ok] == []


# Generations


def of_model(model: str, dimension: int = DIMENSION) -> TableSpec:
    return replace(SPEC, dimension=dimension, fingerprint=Fingerprint("local", model, "r1", dimension), recipe="abc")


def entry_of(embedder: HashEmbedder, key: int, text: str) -> Entry:
    return Entry(document(key, text), embedder.embed_query(text), None)


def test_another_model_fills_a_generation_beside_the_live_one_and_then_takes_its_place(opened: Opener) -> None:
    old, new = of_model("old"), of_model("new", 24)
    larger = HashEmbedder(24, model="new")
    write(opened(old), entry(1, "lamp"), entry(2, "chair"), spec=old)
    store = opened(new)
    assert (rows(store, new).count(), rows(store, new).keys(None, 10), rows(store, new).lookup([1])) == (0, [], {})
    assert rows(store, new).vectors_of_texts([hashed("lamp")]) == {}
    write(store, entry_of(larger, 1, "lamp"), spec=new)
    assert rows(store, old).nearest(vector_of("chair"), 1).keys == [2], "searches go on with the old one"
    assert rows(store, old).keyword("chair", 5).keys == [2]
    assert store.ledger().fingerprint == old.fingerprint
    write(store, entry_of(larger, 3, "table"), spec=new)
    store.activate(new)
    assert store.ledger().fingerprint == new.fingerprint
    assert rows(store, new).keys(None, 10) == [1, 3]
    assert rows(store, new).nearest(larger.embed_query("table"), 5).keys[0] == 3
    assert rows(store, new).keyword("chair lamp", 5).keys == [1]
    assert write(store, Entry(document(1, "red lamp"), larger.embed_query("red lamp"), hashed("lamp")), spec=new) == 0


def test_a_generation_that_was_begun_is_taken_up_again(opened: Opener) -> None:
    old, new, third = of_model("old"), of_model("new"), of_model("third")
    write(opened(old), entry(1, "lamp"), spec=old)
    write(opened(new), entry(2, "chair"), spec=new)
    assert rows(opened(new), new).keys(None, 10) == [2]
    assert rows(opened(third), third).keys(None, 10) == [], "one of yet another model takes its place"
    assert rows(opened(old), old).keys(None, 10) == [1]


def test_three_models_one_after_another(opened: Opener) -> None:
    for number, model in enumerate(["one", "two", "three", "four"]):
        spec = of_model(model)
        store = opened(spec)
        write(store, entry_of(EMBEDDER, number, f"item {model}"), spec=spec)
        store.activate(spec)
        assert rows(opened(spec), spec).keys(None, 10) == [number]
        assert rows(store, spec).keyword("item", 5).keys == [number]
    rows(store, spec).write(WriteBatch(deletes=[3]))
    assert rows(store, spec).keyword("item", 5).keys == []


def test_a_model_change_over_an_empty_table_needs_no_second_one(opened: Opener) -> None:
    opened(of_model("old"))
    spec = of_model("new", 24)
    store = opened(spec)
    assert store.ledger().fingerprint == of_model("new", 24).fingerprint


def test_to_look_changes_nothing(unprepared: Opener, opened: Opener) -> None:
    old, new = of_model("old"), of_model("new")
    assert unprepared(old).generation(old) is None
    write(opened(old), entry(1, "lamp"), spec=old)
    assert rows(unprepared(old), old).nearest(vector_of("lamp"), 1).keys == [1]
    assert unprepared(new).generation(new) is None
    assert opened(old).ledger().filled


# Writing


def test_what_was_written_is_found_by_its_key(store: Store) -> None:
    lamp = entry(1, "lamp")
    assert write(store, lamp) == 0
    assert rows(store).lookup([1, 2]) == {1: Stored(lamp.document.text_hash, lamp.document.row_hash)}


def test_nothing_in_nothing_out(store: Store) -> None:
    assert rows(store).write(WriteBatch()) == 0
    assert rows(store).lookup([]) == {}
    assert rows(store).vectors_of_texts([]) == {}
    assert rows(store).metadata([]) == {}
    assert rows(store).keys(None, 10) == []
    assert rows(store).nearest(vector_of("x"), 5).keys == []


def test_a_changed_row_replaces_its_vector_hashes_and_metadata(store: Store) -> None:
    old, new = entry(1, "lamp"), entry(1, "red lamp", expected=hashed("lamp"))
    write(store, old)
    assert write(store, new) == 0
    assert rows(store).lookup([1]) == {1: Stored(new.document.text_hash, new.document.row_hash)}
    assert np.array_equal(rows(store).vector(1), new.vector)  # type: ignore[arg-type]
    assert rows(store).metadata([1]) == {1: {"name": "red lamp"}}
    assert rows(store).count() == 1


def test_metadata_alone_changes_without_touching_the_vector(store: Store) -> None:
    write(store, entry(1, "lamp", "old name"))
    changed = document(1, "lamp", "new name")
    rows(store).write(WriteBatch(updates=[changed]))
    assert rows(store).metadata([1]) == {1: {"name": "new name"}}
    assert rows(store).lookup([1])[1].row_hash == changed.row_hash
    assert np.array_equal(rows(store).vector(1), vector_of("lamp"))  # type: ignore[arg-type]


def test_a_deleted_row_is_gone_everywhere(store: Store) -> None:
    write(store, entry(1, "lamp"), entry(2, "chair"))
    rows(store).write(WriteBatch(deletes=[1, 99]))
    assert rows(store).keys(None, 10) == [2]
    assert rows(store).lookup([1]) == {}
    assert rows(store).vector(1) is None
    assert rows(store).nearest(vector_of("lamp"), 5).keys == [2]
    assert rows(store).keyword("lamp", 5).keys == []
    assert rows(store).vectors_of_texts([hashed("lamp")]) == {}


def test_a_deleted_row_can_come_back(store: Store) -> None:
    write(store, entry(1, "lamp"))
    rows(store).write(WriteBatch(deletes=[1]))
    assert write(store, entry(1, "chair")) == 0
    assert rows(store).keyword("chair", 5).keys == [1]
    assert rows(store).keyword("lamp", 5).keys == []


def test_vectors_come_back_bit_for_bit(store: Store) -> None:
    vector = np.random.default_rng(1).standard_normal(DIMENSION).astype(np.float32)
    vector[:4] = [np.float32(1e-38), np.float32(-0.0), np.float32(3.4e38), np.nextafter(np.float32(1), np.float32(2))]
    rows(store).write(WriteBatch([Entry(document(1, "odd"), vector, None)]))
    stored = rows(store).vector(1)
    assert stored is not None
    assert stored.tobytes() == vector.tobytes()
    assert rows(store).vectors_of_texts([hashed("odd")])[hashed("odd")].vector.tobytes() == vector.tobytes()


def test_vectors_are_found_by_the_text_they_were_made_of(store: Store) -> None:
    write(store, entry(1, "lamp", truncated=True), entry(2, "lamp", truncated=True), entry(3, "chair"))
    found = rows(store).vectors_of_texts([hashed("lamp"), hashed("table")])
    assert list(found) == [hashed("lamp")]
    assert np.array_equal(found[hashed("lamp")].vector, vector_of("lamp"))
    assert found[hashed("lamp")].truncated


def test_a_vector_of_another_dimension_is_refused_and_nothing_is_written(store: Store) -> None:
    short = Entry(document(2, "chair"), vector_of("chair")[:-1], None)
    with pytest.raises(StoreError):
        write(store, entry(1, "lamp"), short)
    assert rows(store).count() == 0


def test_a_batch_is_written_whole_or_not_at_all(store: Store) -> None:
    if isinstance(store, PartitionedStore):
        pytest.skip("a batch is one transaction in each part")
    write(store, entry(1, "lamp"))
    misfit = Entry(Document(3, "x", ("one", "too many"), hashed("x"), hashed("x")), vector_of("x"), None)
    with pytest.raises(StoreError):
        write(store, entry(2, "chair"), misfit, deletes=[1], failures=[failure(9)])
    assert rows(store).keys(None, 10) == [1]


def test_a_large_batch_is_one_write(store: Store) -> None:
    entries = [entry(key, f"item {key}") for key in range(1, 1001)]
    assert write(store, *entries) == 0
    assert rows(store).count() == 1000
    assert len(rows(store).lookup(range(1, 1101))) == 1000
    rows(store).write(WriteBatch(deletes=list(range(1, 1000))))
    assert rows(store).keys(None, 10) == [1000]


# Compare and set


def test_an_entry_whose_row_changed_meanwhile_is_left_out_and_counted(store: Store) -> None:
    write(store, entry(1, "lamp"), entry(2, "chair"))
    stale, fresh = entry(1, "old lamp", expected=hashed("ancient")), entry(2, "red chair", expected=hashed("chair"))
    assert write(store, stale, fresh) == 1
    assert np.array_equal(rows(store).vector(1), vector_of("lamp"))  # type: ignore[arg-type]
    assert np.array_equal(rows(store).vector(2), vector_of("red chair"))  # type: ignore[arg-type]
    assert rows(store).keyword("old", 5).keys == []


def test_an_entry_for_a_row_that_somebody_else_inserted_is_left_out(store: Store) -> None:
    write(store, entry(1, "lamp"))
    assert write(store, entry(1, "chair", expected=None)) == 1
    assert rows(store).metadata([1]) == {1: {"name": "lamp"}}


def test_an_entry_for_a_row_that_somebody_else_deleted_is_left_out(store: Store) -> None:
    assert write(store, entry(1, "red lamp", expected=hashed("lamp"))) == 1
    assert rows(store).lookup([1]) == {}


def test_a_batch_whose_answer_was_lost_can_be_sent_again(store: Store) -> None:
    write(store, entry(1, "lamp"), entry(3, "table"))
    batch = WriteBatch([entry(1, "red lamp", expected=hashed("lamp")), entry(2, "chair")], deletes=[3])
    assert rows(store).write(batch) == 0
    assert rows(store).write(batch) == 0
    assert rows(store).keys(None, 10) == [1, 2]
    assert rows(store).keyword("chair", 5).keys == [2]
    assert np.array_equal(rows(store).vector(1), vector_of("red lamp"))  # type: ignore[arg-type]


def test_a_row_says_when_it_was_written_and_whether_it_was_cut(store: Store) -> None:
    write(store, entry(1, "lamp"), entry(2, "chair", truncated=True))
    first = rows(store).written([1, 2, 3])
    assert {key: found.truncated for key, found in first.items()} == {1: False, 2: True}
    write(store, entry(1, "red lamp", expected=hashed("lamp")))
    second = rows(store).written([1, 2])
    assert second[2] == first[2]
    if first[1].at is not None and second[1].at is not None:  # A table of the user's own has no column for it.
        assert dt.timedelta() < second[1].at - first[1].at < dt.timedelta(minutes=5)
