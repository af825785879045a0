"""What every store promises of keys, failures and unfit metadata, and of what it says of its rows."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import replace
from uuid import UUID

from rowvec.stores.base import Store, TableSpec
from rowvec.stores.ledger import Repeated
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.contract.samples import SPEC, WHEN, Opener, document, entry, failure, hashed, rows, vector_of, write
from rowvec.types import ColumnType, Entry, Key, PastFailure, Stored, Unfit, UnfitValue

# Keys


def test_integer_keys_are_paged_in_numeric_order(store: Store) -> None:
    keys = [-(2**63), -5, 0, 1, 2, 10, 2**31, 2**53 + 1, 2**63 - 1]
    write(store, *(entry(key, f"item {key}") for key in keys if key != 10), failures=[failure(10)])
    assert paged(store, 2) == keys
    assert set(rows(store).lookup(keys)) == set(keys)


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
    spec = replace(SPEC, key_type=ColumnType.TEXT)
    store = opened(spec)
    write(store, *(entry(key, f"item {key}") for key in TRICKY[1:]), failures=[failure("")], spec=spec)
    assert sorted(paged(store, 3, spec)) == sorted(TRICKY)
    assert set(rows(store, spec).lookup(TRICKY)) == set(TRICKY)
    rows(store, spec).write(WriteBatch(deletes=["a'b", "A"]))
    assert sorted(paged(store, 4, spec)) == sorted(set(TRICKY) - {"a'b", "A"})


def test_uuid_keys_come_back_as_uuids_in_order(opened: Opener) -> None:
    spec = replace(SPEC, key_type=ColumnType.UUID)
    store = opened(spec)
    keys = [UUID(int=number << 96) for number in range(1, 8)]
    write(store, *(entry(key, f"item {key}") for key in reversed(keys)), spec=spec)
    assert paged(store, 3, spec) == keys
    assert rows(store, spec).nearest(vector_of(f"item {keys[2]}"), 1).keys == [keys[2]]
    assert rows(store, spec).keyword(str(keys[3])[:8], 1).keys == [keys[3]]


def paged(store: Store, size: int, spec: TableSpec = SPEC) -> list[Key]:
    found: list[Key] = []
    while page := rows(store, spec).keys(found[-1] if found else None, size):
        assert len(page) <= size
        found += page
    return found


# Failures


def test_a_failure_is_kept_with_its_error_and_next_try(store: Store) -> None:
    bad = failure(7, attempts=3, error="the model refused it: 'é' \"quoted\"")
    rows(store).write(WriteBatch(failures=[bad]))
    assert rows(store).failures() == [bad]
    assert rows(store).lookup([7]) == {7: Stored(None, None, PastFailure(bad.text_hash, 3, bad.next_try))}
    assert rows(store).keys(None, 10) == [7]
    assert rows(store).count() == 1
    assert rows(store).vector(7) is None


def test_success_clears_a_failure(store: Store) -> None:
    rows(store).write(WriteBatch(failures=[failure(1, "lamp"), failure(2)]))
    write(store, entry(1, "lamp"))
    assert [found.key for found in rows(store).failures()] == [2]
    assert rows(store).lookup([1])[1].failure is None


def test_a_row_that_is_well_again_loses_its_failure_and_keeps_its_vector(store: Store) -> None:
    write(store, entry(1, "lamp"), failures=[failure(1, "red lamp")])
    rows(store).write(WriteBatch(recovered=[1]))
    assert rows(store).failures() == []
    assert rows(store).lookup([1])[1].text_hash == hashed("lamp")


def test_a_row_that_is_well_but_for_its_metadata_loses_its_failure_with_them(store: Store) -> None:
    write(store, entry(1, "lamp"), entry(2, "desk"), failures=[failure(1, "red lamp"), failure(2, "red desk")])
    changed = document(1, "lamp", "b"), document(2, "another desk", "b")
    rows(store).write(WriteBatch(updates=list(changed)))
    assert [found.key for found in rows(store).failures()] == [2], "the text of the other is that of no vector"


def test_deleting_a_row_forgets_its_failure(store: Store) -> None:
    rows(store).write(WriteBatch(failures=[failure(1)]))
    rows(store).write(WriteBatch(deletes=[1]))
    assert rows(store).failures() == []
    assert rows(store).count() == 0


def test_a_changed_row_that_fails_keeps_its_old_vector_and_counts_as_stale(store: Store) -> None:
    write(store, entry(1, "lamp"))
    rows(store).write(WriteBatch(failures=[failure(1, "red lamp")]))
    stored = rows(store).lookup([1])[1]
    assert stored.text_hash == hashed("lamp")
    assert stored.failure is not None
    assert stored.failure.text_hash == hashed("red lamp")
    assert rows(store).nearest(vector_of("lamp"), 1).keys == [1]
    assert rows(store).count() == 1
    assert (rows(store).status().rows, rows(store).status().failures, rows(store).status().stale) == (1, 1, 1)


def test_a_second_failure_replaces_the_first(store: Store) -> None:
    rows(store).write(WriteBatch(failures=[failure(1, attempts=1)]))
    rows(store).write(WriteBatch(failures=[failure(1, attempts=2)]))
    assert [found.attempts for found in rows(store).failures()] == [2]


def test_the_latest_failures_come_first_and_can_be_limited(store: Store) -> None:
    days = [replace(failure(key), failed_at=WHEN + dt.timedelta(days=key)) for key in (1, 3, 2)]
    rows(store).write(WriteBatch(failures=days))
    assert [found.key for found in rows(store).failures(2)] == [3, 2]


# Unfit metadata


def test_unfit_metadata_is_listed_with_its_row_and_leaves_the_list_with_it(store: Store) -> None:
    def unfit(key: Key, *reasons: str) -> Entry:
        made = entry(key, f"text {key}", None)
        return made._replace(document=made.document._replace(unfit=tuple(Unfit("name", why) for why in reasons)))

    write(store, unfit(1, "too long"), unfit(2, "too wide"), unfit(3, "too odd"), entry(4, "lamp"))
    assert rows(store).unfit() == [
        UnfitValue(1, "name", "too long"),
        UnfitValue(2, "name", "too wide"),
        UnfitValue(3, "name", "too odd"),
    ]
    assert rows(store).status().unfit == 3
    assert rows(store).unfit([2, 4]) == [UnfitValue(2, "name", "too wide")]
    assert rows(store).unfit(limit=1) == [UnfitValue(1, "name", "too long")]
    fixed = document(1, "text 1", "short")
    write(store, updates=[fixed], deletes=[2])
    assert [each.key for each in rows(store).unfit()] == [3]
    other = unfit(3, "odder")
    write(store, other._replace(expected=hashed("another text")))
    assert [each.reason for each in rows(store).unfit()] == ["odder"], "the text hash is the same"


def test_the_list_of_unfit_metadata_is_that_of_the_row_which_was_written(store: Store) -> None:
    made = entry(1, "new", None, expected=hashed("old"))
    write(store, entry(1, "newer"))
    late = made._replace(document=made.document._replace(unfit=(Unfit("name", "too long"),)))
    assert write(store, late) == 1
    assert rows(store).unfit() == []


def test_the_failure_of_a_row_with_a_key_of_many_bytes_is_listed(opened: Opener) -> None:
    key = "".join(chr(ord("a") + (number * number) % 26) + str(number) for number in range(2000))
    store = opened(replace(SPEC, key_type=ColumnType.TEXT))
    spec = replace(SPEC, key_type=ColumnType.TEXT)
    for attempts in (1, 2):
        write(store, spec=spec, failures=[failure(key, attempts=attempts)])
    (found,) = rows(store, spec).failures()
    assert (found.key, found.attempts) == (key, 2)
    write(store, spec=spec, recovered=[key])
    assert rows(store, spec).failures() == []


# Status and concurrency


def test_status_counts_rows_failures_and_truncated_texts(store: Store) -> None:
    write(store, entry(1, "lamp", truncated=True), entry(2, "chair"), failures=[failure(3), failure(4)])
    status = rows(store).status()
    assert (status.rows, status.failures, status.stale, status.truncated) == (2, 2, 0, 1)
    assert status.bytes > 0


def test_rows_whose_text_was_cut_are_named(store: Store) -> None:
    write(store, *(entry(key, f"item {key}", truncated=key % 2 == 1) for key in range(1, 8)))
    assert rows(store).truncated(3) == [1, 3, 5]
    assert rows(store).truncated(100) == [1, 3, 5, 7]


def test_rows_of_one_text_are_named_together(store: Store) -> None:
    write(store, *(entry(key, "lamp") for key in range(1, 8)), *(entry(key, "chair") for key in (20, 21)))
    write(store, entry(30, "table"))
    assert rows(store).repeated(10) == [Repeated(7, (1, 2, 3, 4, 5)), Repeated(2, (20, 21))]
    assert rows(store).repeated(1) == [Repeated(7, (1, 2, 3, 4, 5))]


def test_rows_can_be_looked_up_from_another_thread_while_one_writes(store: Store) -> None:
    wrong: list[object] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                found = rows(store).lookup([1, 2])
                rows(store).keys(None, 10)
                rows(store).vectors_of_texts([hashed("lamp")])
            except Exception as error:
                wrong.append(error)
                return
            if len(found) == 1:
                wrong.append(found)

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(20):
        write(store, entry(1, "lamp"), entry(2, "lamp"))
        rows(store).write(WriteBatch(deletes=[1, 2]))
    done.set()
    reader.join()
    assert wrong == []


def test_a_store_is_known_by_its_identity_wherever_it_is_opened(unprepared: Opener, opened: Opener) -> None:
    assert unprepared(SPEC).identity() == ""
    first = opened(SPEC).identity()
    assert len(first) == 36
    again = opened(SPEC)
    again.prepare(SPEC)
    assert again.identity() == unprepared(SPEC).identity() == first
