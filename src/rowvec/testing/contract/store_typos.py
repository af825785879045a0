"""What every store keeps for typos: the words of its rows as they are written, and how many rows hold a word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rowvec.filters import Compare, Op, bind
from rowvec.stores.base import LastWord, Store, TableSpec
from rowvec.stores.partitioned import PartitionedStore
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.contract.samples import SPEC, Opener, document, entry, rows, write
from rowvec.types import ColumnType, Fingerprint, State

KEPT = replace(SPEC, keeps_words=True)


def of_model(model: str) -> TableSpec:
    return replace(KEPT, fingerprint=Fingerprint("local", model, "r1", SPEC.dimension), recipe="abc")


def kept(store: Store, spec: TableSpec = KEPT) -> set[str]:
    parts = rows(store, spec).kept_words()
    assert parts is not None
    return set(" ".join(parts.values()).split())


def test_words_are_kept_as_they_are_written(opened: Opener) -> None:
    store = opened(KEPT)
    write(store, entry(1, "Die Bücher und SABO520067C, tn-2110"), entry(2, "Wi-Fi keyboards"), spec=KEPT)
    assert kept(store) == {"die", "bücher", "und", "keyboards", "wifi"}


def test_a_part_is_read_once_and_has_new_words_only(opened: Opener) -> None:
    store = opened(KEPT)
    write(store, entry(1, "yellow lamp"), spec=KEPT)
    first = rows(store, KEPT).kept_words() or {}
    write(store, entry(2, "green lamp"), spec=KEPT)
    assert list((rows(store, KEPT).kept_words(first.keys()) or {}).values()) == ["green"]
    write(store, entry(3, "a green lamp"), spec=KEPT)
    words = " ".join((rows(store, KEPT).kept_words() or {}).values()).split()
    assert sorted(set(words)) == ["green", "lamp", "yellow"]
    assert len(words) == 3 or isinstance(store, PartitionedStore), "each part has its own words"
    assert rows(store, KEPT).kept_words(range(1_000_000, 1_040_000)) == rows(store, KEPT).kept_words()


def test_without_the_setting_no_words_are_kept(opened: Opener) -> None:
    store = opened(SPEC)
    write(store, entry(1, "yellow lamp"))
    assert rows(store).kept_words() is None


@pytest.mark.parametrize("spec", [replace(KEPT, language=None), replace(SPEC, language=None)])
def test_without_a_keyword_index_no_words_are_kept(opened: Opener, spec: TableSpec) -> None:
    store = opened(spec)
    write(store, entry(1, "yellow lamp"), spec=spec)
    assert rows(store, spec).kept_words() is None
    assert rows(store, spec).holding(["yellow"]) == {}


def test_switched_on_later_every_row_passes_once_more_without_a_new_vector(opened: Opener) -> None:
    store = opened(SPEC)
    write(store, entry(1, "yellow lamp"), entry(2, "green chair"))
    store.prepare(KEPT)
    assert kept(store) == set()
    known = rows(store, KEPT).lookup([1, 2])
    assert known[1].text_hash == document(1, "yellow lamp").text_hash
    assert known[1].row_hash != document(1, "yellow lamp").row_hash
    updates = [document(1, "yellow lamp"), document(2, "green chair")]
    rows(store, KEPT).write(WriteBatch([], updates))
    assert kept(store) == {"yellow", "lamp", "green", "chair"}
    assert rows(store, KEPT).lookup([1])[1].row_hash == updates[0].row_hash


def test_switched_off_the_words_are_dropped(opened: Opener) -> None:
    store = opened(KEPT)
    write(store, entry(1, "yellow lamp"), spec=KEPT)
    store.prepare(SPEC)
    assert rows(store).kept_words() is None
    write(store, entry(2, "green chair"))
    store.prepare(KEPT)
    assert kept(store) == set()


def test_the_rows_that_hold_a_word_in_any_form_are_counted(opened: Opener) -> None:
    store = opened(KEPT)
    write(store, *[entry(key, f"lamp number {key}") for key in range(1, 4)], entry(4, "Küche, TN-2110"), spec=KEPT)
    asked = ["lamp", "lamps", "kuche", "kueche", "tn2110", "lamb", "the"]
    assert rows(store, KEPT).holding(asked) == {"lamp": 3, "lamps": 3, "kuche": 1, "tn2110": 1}
    assert rows(store, KEPT).holding([]) == {}


def test_a_word_that_no_row_holds_any_more_is_not_held(opened: Opener) -> None:
    store = opened(KEPT)
    first = [entry(key, "keybaord with cable") for key in range(1, 60)]
    write(store, *first, spec=KEPT)
    again = [entry(each.document.key, "keyboard with cable", expected=each.document.text_hash) for each in first]
    write(store, *again, spec=KEPT)
    assert rows(store, KEPT).holding(["keybaord", "keyboard"]).keys() == {"keyboard"}
    rows(store, KEPT).write(WriteBatch([], deletes=list(range(1, 60))))
    assert rows(store, KEPT).holding(["keybaord", "keyboard"]) == {}


def test_words_stay_with_their_generation(opened: Opener) -> None:
    made = [of_model("one"), of_model("two")]
    store = opened(made[0])
    with store.lock():
        store.prepare(made[0])
        write(store, entry(1, "yellow lamp"), spec=made[0])
        store.activate(made[0])
        store.prepare(made[1])
        write(store, entry(1, "yellow lamp"), entry(2, "green lamp"), spec=made[1])
        assert kept(store, made[0]) == {"yellow", "lamp"}
        store.activate(made[1])
        assert kept(store, made[1]) == {"yellow", "lamp", "green"}
        store.rollback(made[1])
        assert kept(store, made[0]) == {"yellow", "lamp"}
        store.drop_generation(State.PREVIOUS, made[0])
        assert kept(store, made[0]) == {"yellow", "lamp"}


def test_many_small_writes_leave_few_parts(opened: Opener) -> None:
    spec = of_model("one")
    store = opened(spec)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [f"word{one}{two}" for one in letters for two in "abc"]
    with store.lock():
        handle = store.prepare(spec)
        for key, word in enumerate(words):
            handle.write(WriteBatch([entry(key, word)]))
        store.activate(spec)
        assert kept(store, spec) == set(words)
        handle = store.prepare(spec)
        handle.write(WriteBatch([entry(1000, "another")]))
        assert kept(store, spec) == {*words, "another"}


def test_text_keys_and_odd_words(opened: Opener) -> None:
    spec = replace(KEPT, key_type=ColumnType.TEXT)
    store = opened(spec)
    odd = "Łódź été łódź 'quoted' \"double\" a;drop-table x" + "y" * 100 + " नमस्ते 日本語 Ñandú"
    write(store, entry("o'k", odd), spec=spec)
    found = kept(store, spec)
    assert {"łódź", "été", "quoted", "double", "drop", "table", "नमस्ते", "ñandú"} <= found
    assert not any(len(word) > 64 or "日" in word for word in found)
    assert rows(store, spec).holding(["lodz", "нет", "'", '"', "a b", "ñandu"]) == {"lodz": 1, "ñandu": 1}


TYPED = (
    entry(1, "wireless keyboard"),
    entry(2, "keyboards with keys"),
    entry(3, "key ring"),
    entry(4, "wireless mouse"),
    entry(5, "connection cable SABO-520067.C"),
)


@pytest.mark.parametrize(
    ("query", "last", "found"),
    [
        ("", LastWord("keyb"), {1, 2}),
        ("", LastWord("key"), {1, 2, 3}),
        ("wireless", LastWord("keyb"), {1, 2, 4}),
        ("", LastWord("connectio", ("connectio", "connection")), {5}),
        ("", LastWord("sabo5200"), {5}),
        ("", LastWord("zzz"), set()),
        ("mouse", LastWord("zzz"), {4}),
        ("", LastWord('k" OR "mous'), set()),
        ("", LastWord("'"), set()),
    ],
)
def test_the_last_word_may_be_the_beginning_of_one(opened: Opener, query: str, last: LastWord, found: set[int]) -> None:
    store = opened(SPEC)
    write(store, *TYPED)
    assert set(rows(store).keyword(query, 10, last=last).keys) == found


def test_a_row_that_holds_more_words_of_the_query_comes_first(opened: Opener) -> None:
    store = opened(SPEC)
    write(store, *TYPED)
    assert rows(store).keyword("wireless", 10, last=LastWord("keyb", ("keyb", "keyboard"))).keys[0] == 1


def test_a_beginning_is_filtered_too(opened: Opener) -> None:
    store = opened(SPEC)
    write(store, *TYPED)
    where = bind(Compare("name", Op.EQ, "key ring"), SPEC.metadata)
    assert rows(store).keyword("", 10, where, last=LastWord("key")).keys == [3]
