"""What every store promises, run over each backend in conftest.py."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from rowvec.errors import Locked, SearchError, StoreError
from rowvec.filters import And, Compare, Filter, Not, Op, Or
from rowvec.stores.base import Store, TableSpec
from rowvec.testing import HashEmbedder
from rowvec.testing.ranking import matches
from rowvec.types import (
    Column,
    ColumnType,
    Document,
    Entry,
    Failure,
    Fingerprint,
    Key,
    PastFailure,
    Report,
    Stored,
    Vector,
    WriteBatch,
)

DIMENSION = 16
EMBEDDER = HashEmbedder(DIMENSION)
NAME = Column("name", ColumnType.TEXT)
SPEC = TableSpec("items", "id", ColumnType.INTEGER, DIMENSION, (NAME,))
WHEN = dt.datetime(2026, 3, 1, 12, 30, 15, 250_000, dt.UTC)

Opener = Callable[..., Store]


def vector_of(text: str) -> Vector:
    return EMBEDDER.embed_query(text)


def hashed(*values: Any) -> bytes:
    return hashlib.blake2b(repr(values).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def document(key: Key, text: str, *metadata: Any) -> Document:
    metadata = metadata or (text,)
    return Document(key, text, metadata, hashed(text), hashed(text, metadata))


def entry(key: Key, text: str, *metadata: Any, expected: bytes | None = None, truncated: bool = False) -> Entry:
    return Entry(document(key, text, *metadata), vector_of(text), expected, truncated)


def failure(key: Key, text: str = "bad text", *, attempts: int = 1, error: str = "refused") -> Failure:
    return Failure(key, error, attempts, WHEN, WHEN + dt.timedelta(minutes=attempts), hashed(text))


def write(store: Store, *entries: Entry, **others: Any) -> int:
    return store.write(WriteBatch(list(entries), **others))


@pytest.fixture
def store(opened: Opener) -> Store:
    return opened(SPEC)


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
    assert again.count() == 1
    assert again.ledger().rows == 1


def test_the_ledger_returns_the_fingerprint_and_recipe_it_was_prepared_with(opened: Opener) -> None:
    spec = replace(SPEC, fingerprint=Fingerprint("local", "mini", "r1", DIMENSION, max_tokens=256), recipe="abc")
    ledger = opened(spec).ledger()
    assert (ledger.fingerprint, ledger.recipe) == (spec.fingerprint, "abc")
    changed = replace(spec, recipe="def")
    store = opened(changed)
    assert store.ledger().recipe == "abc", "the rows are still those of the old recipe"
    store.complete(changed)
    assert opened(changed).ledger().recipe == "def"


def test_another_dimension_is_refused_with_both_numbers(opened: Opener) -> None:
    opened(SPEC)
    with pytest.raises(StoreError, match=r"16.*384|384.*16"):
        opened(replace(SPEC, dimension=384))


def test_another_key_type_is_refused(opened: Opener) -> None:
    opened(SPEC)
    with pytest.raises(StoreError, match="key"):
        opened(replace(SPEC, key_type=ColumnType.TEXT))


def test_another_type_of_a_metadata_column_is_refused(opened: Opener) -> None:
    opened(SPEC)
    with pytest.raises(StoreError, match=r"name|metadata"):
        opened(replace(SPEC, metadata=(Column("name", ColumnType.INTEGER),)))


def test_names_that_need_quotes_are_only_names(opened: Opener) -> None:
    odd = Column('so "called"; drop table x --', ColumnType.TEXT)
    store = opened(replace(SPEC, key="order", metadata=(odd, Column("select", ColumnType.INTEGER))))
    write(store, entry(1, "lamp", "a", 2))
    assert store.metadata([1]) == {1: {odd.name: "a", "select": 2}}
    assert store.nearest(vector_of("lamp"), 1, Compare(odd.name, Op.EQ, "a")).keys == [1]


def test_every_check_of_a_prepared_store_is_right(store: Store) -> None:
    assert [check for check in store.checks(SPEC) if not check.ok] == []


# Writing


def test_what_was_written_is_found_by_its_key(store: Store) -> None:
    lamp = entry(1, "lamp")
    assert write(store, lamp) == 0
    assert store.lookup([1, 2]) == {1: Stored(lamp.document.text_hash, lamp.document.row_hash)}


def test_nothing_in_nothing_out(store: Store) -> None:
    assert store.write(WriteBatch()) == 0
    assert store.lookup([]) == {}
    assert store.vectors_of_texts([]) == {}
    assert store.metadata([]) == {}
    assert store.keys(None, 10) == []
    assert store.nearest(vector_of("x"), 5).keys == []


def test_a_changed_row_replaces_its_vector_hashes_and_metadata(store: Store) -> None:
    old, new = entry(1, "lamp"), entry(1, "red lamp", expected=hashed("lamp"))
    write(store, old)
    assert write(store, new) == 0
    assert store.lookup([1]) == {1: Stored(new.document.text_hash, new.document.row_hash)}
    assert np.array_equal(store.vector(1), new.vector)  # type: ignore[arg-type]
    assert store.metadata([1]) == {1: {"name": "red lamp"}}
    assert store.count() == 1


def test_metadata_alone_changes_without_touching_the_vector(store: Store) -> None:
    write(store, entry(1, "lamp", "old name"))
    changed = document(1, "lamp", "new name")
    store.write(WriteBatch(updates=[changed]))
    assert store.metadata([1]) == {1: {"name": "new name"}}
    assert store.lookup([1])[1].row_hash == changed.row_hash
    assert np.array_equal(store.vector(1), vector_of("lamp"))  # type: ignore[arg-type]


def test_a_deleted_row_is_gone_everywhere(store: Store) -> None:
    write(store, entry(1, "lamp"), entry(2, "chair"))
    store.write(WriteBatch(deletes=[1, 99]))
    assert store.keys(None, 10) == [2]
    assert store.lookup([1]) == {}
    assert store.vector(1) is None
    assert store.nearest(vector_of("lamp"), 5).keys == [2]
    assert store.keyword("lamp", 5).keys == []
    assert store.vectors_of_texts([hashed("lamp")]) == {}


def test_a_deleted_row_can_come_back(store: Store) -> None:
    write(store, entry(1, "lamp"))
    store.write(WriteBatch(deletes=[1]))
    assert write(store, entry(1, "chair")) == 0
    assert store.keyword("chair", 5).keys == [1]
    assert store.keyword("lamp", 5).keys == []


def test_vectors_come_back_bit_for_bit(store: Store) -> None:
    vector = np.random.default_rng(1).standard_normal(DIMENSION).astype(np.float32)
    vector[:4] = [np.float32(1e-38), np.float32(-0.0), np.float32(3.4e38), np.nextafter(np.float32(1), np.float32(2))]
    store.write(WriteBatch([Entry(document(1, "odd"), vector, None)]))
    assert store.vector(1).tobytes() == vector.tobytes()  # type: ignore[union-attr]
    assert store.vectors_of_texts([hashed("odd")])[hashed("odd")].tobytes() == vector.tobytes()


def test_vectors_are_found_by_the_text_they_were_made_of(store: Store) -> None:
    write(store, entry(1, "lamp"), entry(2, "lamp"), entry(3, "chair"))
    found = store.vectors_of_texts([hashed("lamp"), hashed("table")])
    assert list(found) == [hashed("lamp")]
    assert np.array_equal(found[hashed("lamp")], vector_of("lamp"))


def test_a_vector_of_another_dimension_is_refused_and_nothing_is_written(store: Store) -> None:
    short = Entry(document(2, "chair"), vector_of("chair")[:-1], None)
    with pytest.raises(StoreError):
        write(store, entry(1, "lamp"), short)
    assert store.count() == 0


def test_a_batch_is_written_whole_or_not_at_all(store: Store) -> None:
    write(store, entry(1, "lamp"))
    misfit = Entry(Document(3, "x", ("one", "too many"), hashed("x"), hashed("x")), vector_of("x"), None)
    with pytest.raises(StoreError):
        write(store, entry(2, "chair"), misfit, deletes=[1], failures=[failure(9)])
    assert store.keys(None, 10) == [1]


def test_a_large_batch_is_one_write(store: Store) -> None:
    entries = [entry(key, f"item {key}") for key in range(1, 1001)]
    assert write(store, *entries) == 0
    assert store.count() == 1000
    assert len(store.lookup(range(1, 1101))) == 1000
    store.write(WriteBatch(deletes=list(range(1, 1000))))
    assert store.keys(None, 10) == [1000]


# Compare and set


def test_an_entry_whose_row_changed_meanwhile_is_left_out_and_counted(store: Store) -> None:
    write(store, entry(1, "lamp"), entry(2, "chair"))
    stale, fresh = entry(1, "old lamp", expected=hashed("ancient")), entry(2, "red chair", expected=hashed("chair"))
    assert write(store, stale, fresh) == 1
    assert np.array_equal(store.vector(1), vector_of("lamp"))  # type: ignore[arg-type]
    assert np.array_equal(store.vector(2), vector_of("red chair"))  # type: ignore[arg-type]
    assert store.keyword("old", 5).keys == []


def test_an_entry_for_a_row_that_somebody_else_inserted_is_left_out(store: Store) -> None:
    write(store, entry(1, "lamp"))
    assert write(store, entry(1, "chair", expected=None)) == 1
    assert store.metadata([1]) == {1: {"name": "lamp"}}


def test_an_entry_for_a_row_that_somebody_else_deleted_is_left_out(store: Store) -> None:
    assert write(store, entry(1, "red lamp", expected=hashed("lamp"))) == 1
    assert store.lookup([1]) == {}


def test_a_batch_whose_answer_was_lost_can_be_sent_again(store: Store) -> None:
    write(store, entry(1, "lamp"), entry(3, "table"))
    batch = WriteBatch([entry(1, "red lamp", expected=hashed("lamp")), entry(2, "chair")], deletes=[3])
    assert store.write(batch) == 0
    assert store.write(batch) == 0
    assert store.keys(None, 10) == [1, 2]
    assert store.keyword("chair", 5).keys == [2]
    assert np.array_equal(store.vector(1), vector_of("red lamp"))  # type: ignore[arg-type]


# Failures


def test_a_failure_is_kept_with_its_error_and_next_try(store: Store) -> None:
    bad = failure(7, attempts=3, error="the model refused it: 'é' \"quoted\"")
    store.write(WriteBatch(failures=[bad]))
    assert store.failures() == [bad]
    assert store.lookup([7]) == {7: Stored(None, None, PastFailure(bad.text_hash, 3, bad.next_try))}
    assert store.keys(None, 10) == [7]
    assert store.count() == 1
    assert store.vector(7) is None


def test_success_clears_a_failure(store: Store) -> None:
    store.write(WriteBatch(failures=[failure(1, "lamp"), failure(2)]))
    write(store, entry(1, "lamp"))
    assert [found.key for found in store.failures()] == [2]
    assert store.lookup([1])[1].failure is None


def test_deleting_a_row_forgets_its_failure(store: Store) -> None:
    store.write(WriteBatch(failures=[failure(1)]))
    store.write(WriteBatch(deletes=[1]))
    assert store.failures() == []
    assert store.count() == 0


def test_a_changed_row_that_fails_keeps_its_old_vector_and_counts_as_stale(store: Store) -> None:
    write(store, entry(1, "lamp"))
    store.write(WriteBatch(failures=[failure(1, "red lamp")]))
    stored = store.lookup([1])[1]
    assert stored.text_hash == hashed("lamp")
    assert stored.failure is not None
    assert stored.failure.text_hash == hashed("red lamp")
    assert store.nearest(vector_of("lamp"), 1).keys == [1]
    assert store.count() == 1
    assert (store.status()["rows"], store.status()["failures"], store.status()["stale"]) == (1, 1, 1)


def test_a_second_failure_replaces_the_first(store: Store) -> None:
    store.write(WriteBatch(failures=[failure(1, attempts=1)]))
    store.write(WriteBatch(failures=[failure(1, attempts=2)]))
    assert [found.attempts for found in store.failures()] == [2]


def test_the_latest_failures_come_first_and_can_be_limited(store: Store) -> None:
    days = [replace(failure(key), failed_at=WHEN + dt.timedelta(days=key)) for key in (1, 3, 2)]
    store.write(WriteBatch(failures=days))
    assert [found.key for found in store.failures(2)] == [3, 2]


# Keys


def test_integer_keys_are_paged_in_numeric_order(store: Store) -> None:
    keys = [-(2**63), -5, 0, 1, 2, 10, 2**31, 2**53 + 1, 2**63 - 1]
    write(store, *(entry(key, f"item {key}") for key in keys if key != 10), failures=[failure(10)])
    assert paged(store, 2) == keys
    assert set(store.lookup(keys)) == set(keys)


TRICKY = [
    "",
    " ",
    "0",
    "00",
    "A",
    "a",
    "a'b",
    'a"b',
    "a%b_c",
    "a\\b",
    "a\nb",
    "null",
    "é",
    "e\u0301",
    "ключ",
    "😀",
    "x" * 500,
]


def test_text_keys_come_back_as_they_are_each_once(opened: Opener) -> None:
    store = opened(replace(SPEC, key_type=ColumnType.TEXT))
    write(store, *(entry(key, f"item {key}") for key in TRICKY[1:]), failures=[failure("")])
    assert sorted(paged(store, 3)) == sorted(TRICKY)
    assert set(store.lookup(TRICKY)) == set(TRICKY)
    store.write(WriteBatch(deletes=["a'b", "A"]))
    assert sorted(paged(store, 4)) == sorted(set(TRICKY) - {"a'b", "A"})


def test_uuid_keys_come_back_as_uuids_in_order(opened: Opener) -> None:
    store = opened(replace(SPEC, key_type=ColumnType.UUID))
    keys = [UUID(int=number << 96) for number in range(1, 8)]
    write(store, *(entry(key, f"item {key}") for key in reversed(keys)))
    assert paged(store, 3) == keys
    assert store.nearest(vector_of(f"item {keys[2]}"), 1).keys == [keys[2]]
    assert store.keyword(str(keys[3])[:8], 1).keys == [keys[3]]


def paged(store: Store, size: int) -> list[Key]:
    found: list[Key] = []
    while page := store.keys(found[-1] if found else None, size):
        assert len(page) <= size
        found += page
    return found


# Metadata

ALL_TYPES = (
    Column("stock", ColumnType.INTEGER),
    Column("price", ColumnType.NUMBER),
    Column("cost", ColumnType.DECIMAL),
    Column("active", ColumnType.BOOLEAN),
    Column("label", ColumnType.TEXT),
    Column("day", ColumnType.DATE),
    Column("opens", ColumnType.TIME),
    Column("seen", ColumnType.TIMESTAMP),
    Column("ref", ColumnType.UUID),
    Column("extra", ColumnType.JSON),
    Column("tags", ColumnType.ARRAY),
    Column("blob", ColumnType.BYTES),
)
VALUES = (
    2**40 + 1,
    2.5,
    Decimal("12.50"),
    True,
    "naïve 'quoted' 😀",
    dt.date(2026, 2, 28),
    dt.time(9, 30),
    WHEN,
    UUID(int=77),
    {"size": [1, 2], "ß": None},
    ["red", "blå"],
    b"\x00\xff",
)


def test_metadata_of_every_type_comes_back_as_it_was(opened: Opener) -> None:
    store = opened(replace(SPEC, metadata=ALL_TYPES))
    write(store, entry(1, "lamp", *VALUES), entry(2, "chair", *[None] * len(VALUES)))
    names = [column.name for column in ALL_TYPES]
    assert store.metadata([1, 2, 3]) == {
        1: dict(zip(names, VALUES, strict=True)),
        2: dict.fromkeys(names),
    }


FILTERED = {
    1: (5, 9.5, Decimal("0.10"), True, "red lamp", dt.date(2026, 1, 1), ["red", "sale"]),
    2: (0, 20.0, Decimal("10.00"), False, "blue lamp", dt.date(2026, 2, 1), ["blue"]),
    3: (7, 100.25, Decimal("9.90"), True, "Red chair", dt.date(2025, 12, 31), []),
    4: (None, None, None, None, None, None, None),
    5: (2**40, -1.0, Decimal("-3"), False, "100%_off", dt.date(2026, 1, 1), ["sale", "red", "%"]),
}
FILTER_COLUMNS = tuple(
    column for column in ALL_TYPES if column.name in ("stock", "price", "cost", "active", "label", "day", "tags")
)
RED, CHEAP = Compare("label", Op.CONTAINS, "red"), Compare("price", Op.LT, 20)
FILTERS: list[Filter] = [
    Compare("stock", Op.EQ, 0),
    Compare("stock", Op.EQ, 2**40),
    Compare("stock", Op.NE, 5),
    CHEAP,
    Compare("price", Op.LE, 20.0),
    Compare("price", Op.GT, Decimal("9.5")),
    Compare("price", Op.GE, 9.5),
    Compare("cost", Op.GT, 9),
    Compare("cost", Op.BETWEEN, (Decimal("0.1"), 10)),
    Compare("cost", Op.EQ, Decimal("10")),
    Compare("cost", Op.IN, (Decimal("9.9"), -3)),
    Compare("active", Op.EQ, True),
    Compare("active", Op.NE, True),
    Compare("label", Op.EQ, "red lamp"),
    Compare("label", Op.EQ, "' or 1=1 --"),
    Compare("label", Op.IN, ("red lamp", "100%_off", "nothing")),
    Compare("label", Op.IS_NULL),
    RED,
    Compare("label", Op.CONTAINS, "%_"),
    Compare("day", Op.BETWEEN, (dt.date(2026, 1, 1), dt.date(2026, 1, 31))),
    Compare("day", Op.GE, dt.date(2026, 1, 1)),
    Compare("tags", Op.CONTAINS, "sale"),
    Compare("tags", Op.CONTAINS, "%"),
    Not(Compare("tags", Op.CONTAINS, "sale")),
    Not(CHEAP),
    Not(Not(CHEAP)),
    Not(Compare("price", Op.IS_NULL)),
    And((RED, CHEAP)),
    Or((RED, Compare("stock", Op.EQ, 0))),
    And((Or((RED, Compare("active", Op.EQ, False))), Not(Compare("stock", Op.IN, (0, 5))))),
    Not(And((RED, CHEAP))),
    Not(Or((RED, CHEAP))),
    Compare("stock", Op.EQ, None),
]


@pytest.mark.parametrize("where", FILTERS, ids=str)
def test_a_filter_passes_the_rows_that_sql_would(opened: Opener, where: Filter) -> None:
    store = opened(replace(SPEC, metadata=FILTER_COLUMNS))
    write(store, *(entry(key, f"thing {key}", *values) for key, values in FILTERED.items()))
    names = [column.name for column in FILTER_COLUMNS]
    expected = {key for key, values in FILTERED.items() if matches(where, dict(zip(names, values, strict=True)))}
    ranked = store.nearest(vector_of("query"), 10, where)
    assert set(ranked.keys) == expected
    assert ranked.complete
    assert set(store.keyword("thing", 10, where).keys) == expected


def test_a_filter_on_an_unknown_column_names_it(store: Store) -> None:
    write(store, entry(1, "lamp"))
    with pytest.raises(SearchError, match="nmae"):
        store.nearest(vector_of("x"), 1, Compare("nmae", Op.EQ, "x"))


# Searching


def similarity(metric: str, one: Vector, two: Vector) -> float:
    one, two = one.astype(np.float64), two.astype(np.float64)
    if metric == "l2":
        return -float(np.linalg.norm(one - two))
    return float(one @ two / (np.linalg.norm(one) * np.linalg.norm(two) if metric == "cosine" else 1.0))


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_the_nearest_rows_come_in_the_order_of_the_metric(opened: Opener, metric: str) -> None:
    store = opened(SPEC, metric)
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((50, DIMENSION)) * rng.uniform(0.2, 5.0, (50, 1))).astype(np.float32)
    store.write(WriteBatch([Entry(document(key, f"item {key}"), vectors[key], None) for key in range(50)]))
    query = rng.standard_normal(DIMENSION).astype(np.float32)
    scores = {key: similarity(metric, vectors[key], query) for key in range(50)}
    best = sorted(scores, key=lambda key: -scores[key])[:10]
    ranked = store.nearest(query, 10, exact=True)
    assert list(ranked.keys) == best
    assert ranked.scores == pytest.approx([scores[key] for key in best], abs=1e-4)
    assert (ranked.exact, ranked.complete) == (True, True)


def test_a_search_gives_every_row_where_there_are_fewer_than_asked_for(store: Store) -> None:
    write(store, entry(1, "lamp"), entry(2, "chair"))
    ranked = store.nearest(vector_of("lamp"), 100)
    assert (len(ranked.keys), ranked.complete) == (2, True)


def test_deleting_one_of_two_rows_with_equal_vectors_leaves_the_other_to_be_found(store: Store) -> None:
    write(store, *(entry(key, "same text") for key in (1, 2, 3)), entry(4, "another"))
    assert sorted(store.nearest(vector_of("same text"), 3).keys) == [1, 2, 3]
    store.write(WriteBatch(deletes=[2]))
    assert sorted(store.nearest(vector_of("same text"), 2).keys) == [1, 3]
    write(store, entry(1, "changed", expected=hashed("same text")))
    assert store.nearest(vector_of("same text"), 1).keys == [3]


def test_keyword_search_finds_rows_by_their_words_the_rarest_counting_most(store: Store) -> None:
    texts = ["red lamp", "green lamp", "blue lamp", "red red chair", "SABO520067C brake pad", "006R90321 toner"]
    write(store, *(entry(key, text) for key, text in enumerate(texts)))
    assert store.keyword("chair", 5).keys == [3]
    assert store.keyword("SABO520067C", 5).keys == [4]
    assert store.keyword("sabo520067c", 5).keys == [4]
    assert store.keyword("006R90321", 5).keys == [5]
    both = store.keyword("blue lamp", 5)
    assert both.keys[0] == 2
    assert set(both.keys) == {0, 1, 2}
    assert list(both.scores) == sorted(both.scores, reverse=True)


@pytest.mark.parametrize(
    "query", ["", "   ", "nowhere", '"', "AND OR NOT", "lamp*", "name:lamp", "(", "'; drop table x"]
)
def test_a_keyword_query_is_words_and_never_syntax(store: Store, query: str) -> None:
    write(store, entry(1, "plain chair"))
    assert store.keyword(query, 5).keys == []


def test_keywords_follow_the_text_when_it_changes(store: Store) -> None:
    write(store, entry(1, "lamp"))
    write(store, entry(1, "chair", expected=hashed("lamp")))
    assert store.keyword("lamp", 5).keys == []
    assert store.keyword("chair", 5).keys == [1]


def test_metadata_changes_leave_the_keywords(store: Store) -> None:
    write(store, entry(1, "lamp", "a"))
    store.write(WriteBatch(updates=[document(1, "lamp", "b")]))
    assert store.keyword("lamp", 5).keys == [1]


def test_words_of_any_language_are_found(opened: Opener) -> None:
    store = opened(replace(SPEC, language="simple"))
    write(store, entry(1, "Тормозные колодки"), entry(2, "Zażółć gęślą jaźń"), entry(3, "plain"))
    assert store.keyword("колодки", 5).keys == [1]
    assert store.keyword("GĘŚLĄ", 5).keys == [2]


def test_without_a_language_there_is_no_keyword_search(opened: Opener) -> None:
    store = opened(replace(SPEC, language=None))
    write(store, entry(1, "lamp"))
    with pytest.raises(SearchError):
        store.keyword("lamp", 5)


def test_a_search_for_nothing_at_all_finds_nothing(store: Store) -> None:
    assert store.keyword("lamp", 5).keys == []
    assert store.nearest(vector_of("lamp"), 5).complete


# Lock and runs


def test_a_second_holder_of_the_lock_is_told_who_and_since_when(opened: Opener) -> None:
    one, two = opened(SPEC), opened(SPEC)
    with one.lock():
        with pytest.raises(Locked, match=r"since \d{4}-\d\d-\d\d"), two.lock():
            pytest.fail("both hold the lock")
        write(one, entry(1, "lamp"))
    with two.lock():
        assert two.count() == 1


def test_the_lock_is_released_when_the_sync_fails(store: Store) -> None:
    with pytest.raises(ValueError, match="oops"), store.lock():
        raise ValueError("oops")
    with store.lock():
        pass


def test_a_run_is_recorded_from_beginning_to_end(store: Store) -> None:
    with store.lock():
        run = store.begin_run()
        assert [(found.id, found.outcome, found.ended_at) for found in store.runs()] == [(run, "running", None)]
        store.save_run(run, Report(read=5), "running")
        assert store.runs()[0].report["read"] == 5
        store.save_run(run, Report(read=9, cost=0.25, last_key=9), "done")
    (found,) = store.runs()
    assert (found.outcome, found.pipeline, found.error) == ("done", "items", None)
    assert (found.report["read"], found.report["cost"], found.report["last_key"]) == (9, 0.25, 9)
    assert found.ended_at is not None
    assert found.started_at <= found.ended_at


def test_a_failed_run_keeps_its_error(store: Store) -> None:
    with store.lock():
        store.save_run(store.begin_run(), Report(), "failed", "the key is wrong")
    assert (store.runs()[0].outcome, store.runs()[0].error) == ("failed", "the key is wrong")


def test_the_latest_run_comes_first(store: Store) -> None:
    with store.lock():
        ids = [store.begin_run() for _ in range(3)]
        for run in ids:
            store.save_run(run, Report(), "done")
    assert [run.id for run in store.runs(2)] == ids[:0:-1]


def test_a_run_whose_process_is_gone_is_lost(opened: Opener) -> None:
    dying = opened(SPEC)
    with dying.lock():
        dying.begin_run()
    dying.close()
    assert opened(SPEC).runs()[0].outcome == "lost"


# Status and concurrency


def test_status_counts_rows_failures_and_truncated_texts(store: Store) -> None:
    write(store, entry(1, "lamp", truncated=True), entry(2, "chair"), failures=[failure(3), failure(4)])
    status = store.status()
    assert (status["rows"], status["failures"], status["stale"], status["truncated"]) == (2, 2, 0, 1)
    assert status["bytes"] > 0


def test_rows_can_be_looked_up_from_another_thread_while_one_writes(store: Store) -> None:
    wrong: list[object] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                found = store.lookup([1, 2])
                store.keys(None, 10)
                store.vectors_of_texts([hashed("lamp")])
            except Exception as error:
                wrong.append(error)
                return
            if len(found) == 1:
                wrong.append(found)

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(20):
        write(store, entry(1, "lamp"), entry(2, "lamp"))
        store.write(WriteBatch(deletes=[1, 2]))
    done.set()
    reader.join()
    assert wrong == []
