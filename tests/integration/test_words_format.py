"""What becomes of the words of a keyword index that was made in an older format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from rowvec.stores.base import Store
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing.contract.samples import SPEC, document, entry, failure, rows, write

Opened: TypeAlias = Callable[[], Store]
FORMATS = ("rowvec.stores.postgres.keyword_index.index.FORMAT", "rowvec.stores.libsql.generations.FORMAT")


@pytest.fixture(params=["postgres", "libsql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    if request.param == "libsql":
        return lambda: LibsqlStore(str(tmp_path / "v.db"), table="items")
    url = request.getfixturevalue("postgres_url")
    return lambda: PostgresStore(url, "items", pipeline="items")


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An older format is the one of today until this is undone."""
    for name in FORMATS:
        monkeypatch.setattr(name, 1)
    return monkeypatch


def found(store: Store, word: str) -> list[object]:
    return list(rows(store).keyword(word, 10).keys)


def test_rows_of_a_stream_keep_their_words_until_they_come_again(opened: Opened, older: pytest.MonkeyPatch) -> None:
    store = opened()
    store.prepare(SPEC)
    write(store, entry(1, "red lamp"), entry(2, "red chairs, red"), offsets={"stream": "5"})
    store.close()
    older.undo()
    store = opened()
    assert "older format" in next(line.detail for line in store.checks(SPEC) if line.what == "keywords")
    store.prepare(SPEC)
    assert found(store, "chair") == [2]
    assert found(store, "lamp") == [1]
    assert found(store, "red") == [2, 1] or found(store, "red") == [1, 2]
    assert not [line for line in store.checks(SPEC) if line.what == "keywords" and "older" in line.detail]
    # The row comes again: its text is the old one, and its words are made again.
    assert rows(store).lookup([1])[1].row_hash != document(1, "red lamp").row_hash
    rows(store).write(WriteBatch(updates=[document(1, "red lamp"), document(2, "red chairs, red")]))
    assert found(store, "lamp") == [1]
    assert found(store, "chair") == [2]
    rows(store).write(WriteBatch(deletes=[2]))
    assert found(store, "chair") == []
    store.close()


def test_a_failed_row_keeps_its_words(opened: Opened, older: pytest.MonkeyPatch) -> None:
    store = opened()
    store.prepare(SPEC)
    write(store, entry(1, "lamp"), entry(2, "chair"))
    write(store, failures=[failure(2)])
    store.close()
    older.undo()
    store = opened()
    store.prepare(SPEC)
    rows(store).write(WriteBatch(updates=[document(1, "lamp")]))
    assert found(store, "lamp") == [1]
    assert found(store, "chair") == [2]
    store.close()


def test_another_language_forgets_them(opened: Opened) -> None:
    store = opened()
    store.prepare(SPEC)
    write(store, entry(1, "lamp"))
    store.close()
    store = opened()
    spec = replace(SPEC, language="polish")
    store.prepare(spec)
    assert list(rows(store, spec).keyword("lamp", 5).keys) == []
    store.close()
