"""Where change events stand is kept by every store in the transaction of the rows that they changed."""

from __future__ import annotations

from uuid import UUID

import pytest

from rowvec.errors import StoreError
from rowvec.stores.base import Store, TableSpec
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.contract.samples import DIMENSION, NAME, SPEC, Opener, entry, rows, write
from rowvec.types import ColumnType

UUID_SPEC = TableSpec("items", "id", ColumnType.UUID, DIMENSION, (NAME,))


def test_a_new_table_has_neither_offsets_nor_positions(store: Store) -> None:
    assert rows(store).offsets() == {}
    assert rows(store).positions([1, 2]) == {}


def test_offsets_and_positions_are_read_back_by_another_process(opened: Opener) -> None:
    write(opened(SPEC), entry(1, "lamp"), positions={1: "0/16B3748"}, offsets={"items-0": "17", "items-1": "4"})
    other = opened(SPEC)
    assert rows(other).offsets() == {"items-0": "17", "items-1": "4"}
    assert rows(other).positions([1, 2]) == {1: "0/16B3748"}


def test_a_later_one_takes_the_place_of_an_earlier_one(store: Store) -> None:
    write(store, positions={1: "1", 2: "1"}, offsets={"items-0": "1", "items-1": "1"})
    write(store, positions={1: "2"}, offsets={"items-0": "2"})
    assert rows(store).positions([1, 2]) == {1: "2", 2: "1"}
    assert rows(store).offsets() == {"items-0": "2", "items-1": "1"}


def test_a_deleted_row_keeps_its_position(store: Store) -> None:
    write(store, entry(1, "lamp"), positions={1: "1"})
    rows(store).write(WriteBatch(deletes=[1], positions={1: "2"}))
    assert rows(store).positions([1]) == {1: "2"}


def test_positions_of_many_keys_and_of_large_ones(store: Store) -> None:
    kept = dict.fromkeys([2**53 + 1, *range(2500)], "1")
    write(store, positions=kept)
    assert rows(store).positions([*kept, -1]) == kept


def test_positions_of_uuid_keys(opened: Opener) -> None:
    key = UUID("9d0e4f52-8a7c-4e61-b1c5-2f6a7c3d9e10")
    store = opened(UUID_SPEC)
    write(store, positions={key: "1"}, spec=UUID_SPEC)
    assert rows(store, UUID_SPEC).positions([key]) == {key: "1"}


def test_a_batch_that_is_refused_moves_nothing(store: Store) -> None:
    bad = entry(1, "lamp")._replace(vector=entry(1, "lamp").vector[:-1])
    with pytest.raises(StoreError):
        rows(store).write(WriteBatch([bad], positions={1: "1"}, offsets={"items-0": "1"}))
    assert rows(store).offsets() == {}
    assert rows(store).positions([1]) == {}
