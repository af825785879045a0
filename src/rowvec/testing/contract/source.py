"""The contract of sources."""

from __future__ import annotations

import threading

import pytest

from rowvec.sources.base import ReadsAhead, Selection, Source
from rowvec.types import Key, Row


def read(source: Source, size: int = 1000, after: Key | None = None, until: Key | None = None) -> list[Row]:
    return [row for page in source.pages(size, after=after, until=until) for row in page]


class SourceContract:
    """Give a fixture `source`: a source of at least ten rows, in which nothing changes while a test runs."""

    @pytest.fixture
    def source(self) -> Source:
        raise NotImplementedError("The test class must have a fixture `source` of its own.")

    def test_every_row_comes_once_in_key_order(self, source: Source) -> None:
        keys = [row.key for row in read(source)]
        assert len(keys) >= 10, "the contract needs at least ten rows"
        assert len(set(keys)) == len(keys)
        # Text is ordered as the source likes, as long as it is the same order each time.
        assert keys == [row.key for row in read(source, 3)]
        if isinstance(keys[0], int):
            assert keys == sorted(keys, key=lambda key: (isinstance(key, str), key))

    def test_a_page_is_never_larger_than_asked_for_and_never_empty(self, source: Source) -> None:
        sizes = [len(page) for page in source.pages(3)]
        assert all(1 <= size <= 3 for size in sizes)

    def test_rows_that_are_read_ahead_are_the_same(self, source: Source) -> None:
        if not isinstance(source, ReadsAhead):
            pytest.skip("this source does not read ahead")
        rows = read(source)
        ahead = source.read_ahead(3, stop=threading.Event(), after=rows[0].key, until=rows[7].key, limit=5)
        if ahead is not None:
            assert [row for page in ahead for row in page] == rows[1:6]

    def test_the_count_is_that_of_a_full_read(self, source: Source) -> None:
        rows = read(source)
        assert source.count() == len(rows)
        assert source.count(Selection(keys=(rows[0].key, rows[-1].key))) == 2

    def test_reading_goes_on_behind_any_key(self, source: Source) -> None:
        keys = [row.key for row in read(source)]
        for at in (0, 4, len(keys) - 2):
            assert [row.key for row in read(source, 2, after=keys[at])] == keys[at + 1 :]
        assert read(source, after=keys[-1]) == []

    def test_reading_ends_at_any_key(self, source: Source) -> None:
        keys = [row.key for row in read(source)]
        assert [row.key for row in read(source, 2, until=keys[4])] == keys[:5]
        assert [row.key for row in read(source, 2, after=keys[2], until=keys[4])] == keys[3:5]

    def test_named_rows_are_read_alone(self, source: Source) -> None:
        keys = [row.key for row in read(source)]
        chosen = {keys[1], keys[5], keys[-1]}
        found = [row.key for page in source.pages(2, selection=Selection(keys=tuple(chosen))) for row in page]
        assert set(found) == chosen
        assert list(source.pages(2, selection=Selection())) == []

    def test_it_says_which_keys_it_holds(self, source: Source) -> None:
        keys = [row.key for row in read(source)]
        assert source.existing(keys) == set(keys)
        assert source.existing([]) == set()
        strange: Key = max((key for key in keys if isinstance(key, int)), default=0) + 1
        if isinstance(keys[0], str):
            strange = "no such key"
        if isinstance(keys[0], int | str):
            assert source.existing([keys[0], strange]) == {keys[0]}

    def test_rows_have_the_columns_that_were_declared(self, source: Source) -> None:
        names = {column.name for column in source.columns}
        assert source.key in names
        for row in read(source):
            assert set(row.values) <= names

    def test_reading_twice_gives_the_same(self, source: Source) -> None:
        assert read(source) == read(source)

    def test_some_columns_can_be_chosen(self, source: Source) -> None:
        others = [column.name for column in source.columns if column.name != source.key]
        whole = {row.key: row.values for row in read(source)}
        source.select(others[:1])
        for row in read(source):
            assert {name: row.values[name] for name in others[:1]} == {
                name: whole[row.key][name] for name in others[:1]
            }
