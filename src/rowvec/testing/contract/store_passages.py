"""What every store promises of passages, of the texts that it keeps, and of the scores that they give a row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rowvec.filters import Compare, Op, bind
from rowvec.stores.auditor import Audited
from rowvec.stores.base import TEXT_KEPT, Store
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.contract.divided_samples import (
    DIVIDING,
    ONE,
    OTHER,
    TWO,
    WHOLE,
    W,
    X,
    Y,
    Z,
    divided,
    kept,
    plain,
    score,
    toward,
)
from rowvec.testing.contract.samples import NAME, Opener, document, failure, hashed, rows, write
from rowvec.types import ColumnType, Entry, State, StoredText


@pytest.fixture
def dividing(opened: Opener) -> Store:
    return opened(DIVIDING)


# Written, read, replaced, deleted


def test_passages_are_read_as_they_were_written(dividing: Store) -> None:
    assert write(dividing, ONE, TWO, spec=DIVIDING) == 0
    live = rows(dividing, DIVIDING)
    assert live.texts([1, 2, 99]) == {1: kept(ONE), 2: kept(TWO)}
    assert live.texts([]) == {}
    query = toward(Y, X, 0.6)
    assert live.texts([2, 1], query) == {1: kept(ONE, query), 2: kept(TWO)}


def test_the_vector_of_a_row_with_passages_is_its_own(dividing: Store) -> None:
    write(dividing, ONE, TWO, spec=DIVIDING)
    live = rows(dividing, DIVIDING)
    vector = live.vector(1)
    assert vector is not None
    assert vector.tobytes() == ONE.vector.tobytes()
    assert [key for key, _ in live.vectors(None, 10)] == [1, 2]
    assert live.keys(None, 10) == [1, 2]
    assert live.count() == 2


def test_all_passages_are_replaced_with_their_row(dividing: Store) -> None:
    write(dividing, ONE, spec=DIVIDING)
    shorter = divided(1, ("another text, ", W), ("of two passages", Y), expected=ONE.document.text_hash)
    assert write(dividing, shorter, spec=DIVIDING) == 0
    live = rows(dividing, DIVIDING)
    assert live.texts([1], Z) == {1: kept(shorter, Z)}
    assert live.similarities(Z, [1]) == pytest.approx({1: score(shorter, Z)}, abs=1e-5)
    assert live.vectors_of_texts([hashed("red lamp. "), hashed("another text, ")]).keys() == {hashed("another text, ")}
    longer = divided(1, *((f"part {n} ", toward(X, Y, n / 40)) for n in range(40)), expected=shorter.document.text_hash)
    assert write(dividing, longer, spec=DIVIDING) == 0
    assert live.texts([1]) == {1: kept(longer)}


def test_a_row_that_has_become_one_passage_has_none(dividing: Store) -> None:
    write(dividing, ONE, spec=DIVIDING)
    short = plain(1, "short now", W, expected=ONE.document.text_hash)
    write(dividing, short, spec=DIVIDING)
    live = rows(dividing, DIVIDING)
    assert live.texts([1]) == {1: kept(short)}
    assert live.similarities(W, [1]) == pytest.approx({1: 1.0}, abs=1e-5)
    assert live.vectors_of_texts([hashed("red lamp. ")]) == {}
    assert (live.status().passages, live.status().divided) == (0, 0)


def test_passages_and_texts_go_with_their_row(dividing: Store) -> None:
    write(dividing, ONE, TWO, spec=DIVIDING)
    write(dividing, spec=DIVIDING, deletes=[1, 2])
    live = rows(dividing, DIVIDING)
    assert live.texts([1, 2], X) == {}
    assert live.vectors_of_texts([hashed("red lamp. ")]) == {}
    assert live.status().passages == 0
    assert live.nearest(X, 5).keys == []
    again = plain(1, "back again", W)
    assert write(dividing, again, spec=DIVIDING) == 0
    assert live.texts([1]) == {1: kept(again)}, "not what the row had before"


def test_an_entry_that_comes_too_late_leaves_the_passages_that_are_there(dividing: Store) -> None:
    write(dividing, ONE, TWO, spec=DIVIDING)
    late = divided(1, ("late ", W), ("text", W), expected=hashed("what nobody wrote"))
    fresh = divided(2, ("new ", Y), ("passages", Z), expected=TWO.document.text_hash)
    absent = divided(3, ("of a deleted ", W), ("row", W), expected=hashed("deleted"))
    assert write(dividing, late, fresh, absent, spec=DIVIDING) == 2
    live = rows(dividing, DIVIDING)
    assert live.texts([1, 2, 3]) == {1: kept(ONE), 2: kept(fresh)}
    assert live.vectors_of_texts([hashed("late "), hashed("row")]) == {}


def test_a_batch_that_is_sent_again_changes_nothing(dividing: Store) -> None:
    batch = WriteBatch([ONE, TWO])
    assert rows(dividing, DIVIDING).write(batch) == 0
    assert rows(dividing, DIVIDING).write(batch) == 0
    assert rows(dividing, DIVIDING).texts([1, 2]) == {1: kept(ONE), 2: kept(TWO)}
    assert rows(dividing, DIVIDING).status().passages == 3


def test_a_failure_leaves_the_passages_and_an_update_too(dividing: Store) -> None:
    write(dividing, ONE, spec=DIVIDING)
    write(dividing, spec=DIVIDING, failures=[failure(1)], updates=[document(1, ONE.document.text, "another name")])
    live = rows(dividing, DIVIDING)
    assert live.texts([1], X) == {1: kept(ONE, X)}
    assert live.metadata([1]) == {1: {"name": "another name"}}
    assert live.similarities(X, [1]) == pytest.approx({1: score(ONE, X)}, abs=1e-5)


def test_keys_of_text_have_passages_too(opened: Opener) -> None:
    spec = replace(DIVIDING, key_type=ColumnType.TEXT)
    store = opened(spec)
    one, two = divided("A'1", ("red ", X), ("lamp", Y)), plain("b", "chair", Z)
    write(store, one, two, spec=spec)
    assert rows(store, spec).texts(["A'1", "b", "c"], X) == {"A'1": kept(one, X), "b": kept(two)}
    write(store, spec=spec, deletes=["A'1"])
    assert rows(store, spec).texts(["A'1", "b"]) == {"b": kept(two)}


def test_many_passages_in_one_batch(dividing: Store) -> None:
    many = [divided(key, *((f"{key}.{n} ", toward(X, Y, n / 30)) for n in range(30))) for key in range(1, 61)]
    assert write(dividing, *many, spec=DIVIDING) == 0
    live = rows(dividing, DIVIDING)
    assert live.texts(range(1, 61)) == {entry.document.key: kept(entry) for entry in many}
    assert len(live.vectors_of_texts([each.text_hash for entry in many for each in entry.passages])) == 1800
    assert (live.status().rows, live.status().passages, live.status().divided) == (60, 1800, 60)


# Vectors that are used again


def test_passages_are_found_by_their_text_as_rows_are(dividing: Store) -> None:
    write(dividing, ONE, TWO, spec=DIVIDING)
    asked = [hashed("blue chair. "), TWO.document.text_hash, hashed("nowhere")]
    found = rows(dividing, DIVIDING).vectors_of_texts(asked)
    assert found.keys() == {hashed("blue chair. "), TWO.document.text_hash}
    assert found[hashed("blue chair. ")].vector.tobytes() == Y.tobytes()
    assert found[TWO.document.text_hash].vector.tobytes() == TWO.vector.tobytes()


def test_the_mean_of_passages_is_the_vector_of_no_text(dividing: Store) -> None:
    write(dividing, ONE, spec=DIVIDING)
    assert rows(dividing, DIVIDING).vectors_of_texts([ONE.document.text_hash]) == {}


# Scores


MIXED = [
    divided(1, ("a", X), ("b", toward(X, Y, 0.2))),
    plain(2, "c", toward(X, Z, 0.75)),
    divided(3, *((f"d{n}", toward(X, W, 0.99 - n / 100)) for n in range(12))),
    divided(4, ("e", 3 * Y), ("f", 2 * Z), ("g", toward(X, Y, 0.4))),
    plain(5, "h", 2 * toward(X, Y, 0.3)),
    plain(6, "i", W),
]


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_the_score_of_a_row_is_half_its_best_passage_and_half_its_own(opened: Opener, metric: str) -> None:
    store = opened(DIVIDING, metric)
    write(store, *MIXED, spec=DIVIDING)
    live = rows(store, DIVIDING)
    for query in (X, 2 * toward(Y, X, 0.7), toward(W, Z, 0.5)):
        expected = {entry.document.key: score(entry, query, metric) for entry in MIXED}
        best = sorted(expected, key=lambda key: -expected[key])
        for limit in (1, 3, 6, 50):
            found = live.nearest(query, limit, exact=True)
            assert list(found.keys) == best[:limit]
            assert found.scores == pytest.approx([expected[key] for key in best[:limit]], abs=1e-4)
            assert (found.exact, found.complete) == (True, True)
        assert live.similarities(query, [4, 5, 99]) == pytest.approx({4: expected[4], 5: expected[5]}, abs=1e-4)


@pytest.mark.parametrize("exact", [True, False])
def test_the_limit_counts_rows(dividing: Store, exact: bool) -> None:
    crowd = [divided(key, *((f"{key}.{n}", toward(X, Y, 0.5 + n / 50)) for n in range(25))) for key in range(1, 5)]
    others = [plain(key, f"alone {key}", toward(X, Z, key / 25)) for key in range(5, 11)]
    write(dividing, *crowd, *others, spec=DIVIDING)
    for limit in range(1, 13):
        found = rows(dividing, DIVIDING).nearest(X, limit, exact=exact)
        assert len(found.keys) == len(set(found.keys)) == min(limit, 10)
        assert set(found.keys[:4]) <= {1, 2, 3, 4}


@pytest.mark.parametrize("exact", [True, False])
def test_a_filter_is_of_rows(dividing: Store, exact: bool) -> None:
    named = [
        Entry(each.document._replace(metadata=("kept" if n % 2 else "left",)), *each[1:])
        for n, each in enumerate(MIXED)
    ]
    write(dividing, *named, spec=DIVIDING)
    expected = {each.document.key: score(each, X) for each in named if each.document.metadata == ("kept",)}
    where = bind(Compare("name", Op.EQ, "kept"), [NAME])
    for limit in (1, 2, 3, 10):
        found = rows(dividing, DIVIDING).nearest(X, limit, where, exact=exact)
        assert list(found.keys) == sorted(expected, key=lambda key: -expected[key])[:limit]
        assert found.complete
    near = rows(dividing, DIVIDING).similarities(X, [each.document.key for each in named], where)
    assert near == pytest.approx(expected, abs=1e-4)


# Texts


def test_the_beginning_of_a_long_text_is_kept_and_all_that_passages_cover(dividing: Store) -> None:
    long = plain(1, "x" * (TEXT_KEPT + 1000), X)
    parts = divided(2, ("y" * TEXT_KEPT, X), ("z" * 1000, Y))
    write(dividing, long, parts, spec=DIVIDING)
    found = rows(dividing, DIVIDING).texts([1, 2])
    assert long.document.text.startswith(found[1].text)
    assert len(found[1].text) >= TEXT_KEPT
    assert found[2] == kept(parts)


def test_offsets_count_characters_of_any_kind(dividing: Store) -> None:
    odd = divided(1, ("a\0b 😀 ", X), ("żółć\r\n\t ", Y), ("e\u0301 \U0001f1eb\U0001f1f7 \ud800", Z))
    odd = odd._replace(document=odd.document._replace(metadata=("odd",)))
    write(dividing, odd, plain(2, "", W), spec=DIVIDING)
    found = rows(dividing, DIVIDING).texts([1, 2])
    text = found[1].text
    assert len(text) == len(odd.document.text)
    assert text[6:14] == "żółć\r\n\t "
    assert [(each.start, each.end) for each in found[1].passages] == [(p.start, p.end) for p in odd.passages]
    assert found[2] == StoredText("")


def test_a_store_without_passages_keeps_texts(opened: Opener) -> None:
    store = opened(WHOLE)
    write(store, TWO, spec=WHOLE)
    assert rows(store, WHOLE).texts([2], X) == {2: kept(TWO)}
    changed = plain(2, "a chair", Y, expected=TWO.document.text_hash)
    write(store, changed, spec=WHOLE)
    assert rows(store, WHOLE).texts([2]) == {2: kept(changed)}
    write(store, plain(2, "too late", Z, expected=TWO.document.text_hash), spec=WHOLE)
    assert rows(store, WHOLE).texts([2]) == {2: kept(changed)}


def test_a_store_that_keeps_no_texts_has_none(opened: Opener) -> None:
    spec = replace(DIVIDING, keeps_texts=False)
    store = opened(spec)
    write(store, ONE, TWO, spec=spec)
    write(store, spec=spec, updates=[document(2, "a lamp", "b")])
    live = rows(store, spec)
    assert live.texts([1, 2], X) == {}
    assert live.similarities(X, [1, 2]) == pytest.approx({1: score(ONE, X), 2: score(TWO, X)}, abs=1e-5)
    assert live.status().passages == 3


def test_texts_that_are_no_longer_kept_are_not_shown_for_other_texts(opened: Opener) -> None:
    write(opened(DIVIDING), ONE, TWO, spec=DIVIDING)
    without = replace(DIVIDING, keeps_texts=False)
    store = opened(without)
    write(store, plain(2, "another text", Y, expected=TWO.document.text_hash), spec=without)
    assert 2 not in rows(store, without).texts([2])
    again = opened(DIVIDING)
    found = rows(again, DIVIDING).texts([1, 2])
    assert 2 not in found
    assert found.get(1, kept(ONE)) == kept(ONE)


def test_texts_that_are_missing_are_kept_with_updates(opened: Opener) -> None:
    without = replace(DIVIDING, keeps_texts=False)
    write(opened(without), ONE, TWO, spec=without)
    store = opened(DIVIDING)
    live = rows(store, DIVIDING)
    assert live.texts([1, 2]) == {}
    known = live.lookup([1, 2])
    for entry in (ONE, TWO):
        stored = known[entry.document.key]
        assert stored.text_hash == entry.document.text_hash, "nothing is embedded for that"
        assert stored.row_hash != entry.document.row_hash, "the next sync writes the row"
    write(store, spec=DIVIDING, updates=[ONE.document, TWO.document, document(2, "what the row has not", "x")])
    assert live.texts([1, 2], X) == {1: kept(ONE, X), 2: kept(TWO)}
    assert live.lookup([1])[1].row_hash == ONE.document.row_hash


# Generations


def test_the_passages_of_a_generation_that_is_built_are_seen_when_it_is_live(opened: Opener) -> None:
    first = opened(DIVIDING)
    write(first, ONE, TWO, spec=DIVIDING)
    first.activate(DIVIDING)
    store = opened(OTHER)
    parts = divided(1, ("red lamp. blue ", W), ("chair. green table.", Z))
    assert rows(store, OTHER).texts([1, 2]) == {}
    assert rows(store, OTHER).vectors_of_texts([hashed("blue chair. "), TWO.document.text_hash]) == {}
    write(store, parts, plain(2, "a lamp", Y), spec=OTHER)
    old, new = rows(opened(DIVIDING), DIVIDING), rows(store, OTHER)
    assert old.texts([1], X) == {1: kept(ONE, X)}
    assert old.similarities(W, [1]) == pytest.approx({1: score(ONE, W)}, abs=1e-5)
    assert old.vectors_of_texts([hashed("red lamp. blue ")]) == {}
    assert (old.status().passages, new.status().passages) == (3, 2)
    store.activate(OTHER)
    live = rows(opened(OTHER), OTHER)
    assert live.texts([1], X) == {1: kept(parts, X)}
    assert live.similarities(W, [1]) == pytest.approx({1: score(parts, W)}, abs=1e-5)
    assert live.vectors_of_texts([hashed("red lamp. ")]) == {}


def test_a_rollback_brings_the_passages_back(opened: Opener) -> None:
    first = opened(WHOLE)
    write(first, plain(1, ONE.document.text, W), spec=WHOLE)
    first.activate(WHOLE)
    second = opened(DIVIDING)
    write(second, ONE, spec=DIVIDING)
    second.activate(DIVIDING)
    third = opened(WHOLE)
    write(third, plain(1, ONE.document.text, Y), spec=WHOLE)
    third.activate(WHOLE)
    assert rows(third, WHOLE).texts([1]) == {1: StoredText(ONE.document.text)}
    assert rows(third, WHOLE).similarities(Y, [1]) == pytest.approx({1: 1.0}, abs=1e-5)
    third.rollback(WHOLE)
    live = rows(opened(DIVIDING), DIVIDING)
    assert live.texts([1], Z) == {1: kept(ONE, Z)}
    assert live.nearest(Z, 5).scores == pytest.approx([score(ONE, Z)], abs=1e-5)
    late = divided(1, ("after ", W), ("the rollback", Z), expected=ONE.document.text_hash)
    assert write(opened(DIVIDING), late, spec=DIVIDING) == 0
    assert live.texts([1]) == {1: kept(late)}


def test_a_generation_that_is_dropped_takes_its_passages_along(opened: Opener) -> None:
    first = opened(DIVIDING)
    write(first, ONE, spec=DIVIDING)
    first.activate(DIVIDING)
    store = opened(OTHER)
    write(store, divided(1, ("x ", W), ("y", Z)), divided(2, ("v ", W), ("w", Z)), spec=OTHER)
    store.drop_generation(State.BUILDING, OTHER)
    assert rows(opened(DIVIDING), DIVIDING).texts([1]) == {1: kept(ONE)}
    again = rows(opened(OTHER), OTHER)
    assert again.texts([1, 2]) == {}
    assert again.vectors_of_texts([hashed("x "), hashed("w")]) == {}
    assert again.status().passages == 0


# Audit and status


def test_passages_are_counted(dividing: Store) -> None:
    write(dividing, *MIXED, spec=DIVIDING)
    status = rows(dividing, DIVIDING).status()
    assert (status.rows, status.passages, status.divided) == (6, 17, 3)


def test_an_audit_finds_nothing_wrong_with_passages(dividing: Store) -> None:
    live = rows(dividing, DIVIDING)
    assert isinstance(live, Audited)
    write(dividing, *MIXED, spec=DIVIDING)
    assert live.auditor().faults(10) == []
    shorter = divided(3, ("d", X), ("e", Y), expected=MIXED[2].document.text_hash)
    alone = plain(1, "alone", X, expected=MIXED[0].document.text_hash)
    write(dividing, shorter, alone, spec=DIVIDING, deletes=[4, 6])
    assert live.auditor().faults(10) == []
