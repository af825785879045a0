"""What a change of model does to the rest of a libSQL database: to tables and views that people have made there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rowvec.errors import StoreError
from rowvec.stores.base import TableSpec
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.libsql.local import LocalDatabase
from rowvec.testing.contract.samples import entry, rows, write
from tests.contract.test_store_generations import NEW, OLD, new_entry

Opener = Callable[[TableSpec], LibsqlStore]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[LocalDatabase]:
    database = LocalDatabase(str(tmp_path / "vectors.db"))
    database.create()
    yield database
    database.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    stores = []

    def opener(spec: TableSpec) -> LibsqlStore:
        stores.append(LibsqlStore(str(tmp_path / "vectors.db"), table="items"))
        stores[-1].prepare(spec)
        return stores[-1]

    yield opener
    for store in stores:
        store.close()


def live(opened: Opener) -> None:
    store = opened(OLD)
    write(store, entry(1, "lamp"), spec=OLD)
    store.activate(OLD)


@pytest.mark.parametrize("name", ["items_next", "items_previous"])
@pytest.mark.parametrize("kind", ["table", "view"])
def test_what_has_the_name_of_a_generation_and_is_none_is_kept_and_named(
    opened: Opener, database: LocalDatabase, name: str, kind: str
) -> None:
    live(opened)
    database.query(f"create {kind} {name} as select 'mine' as note")
    with pytest.raises(StoreError, match=rf"the name {name} has to be free") as caught:
        opened(NEW)
    assert caught.value.hint
    assert database.query(f"select note from {name}") == [("mine",)]
    database.query(f"drop {kind} {name}")
    store = opened(NEW)
    write(store, new_entry(1, "lamp"), spec=NEW)
    store.activate(NEW)


def test_views_show_the_live_generation_after_every_change_of_places(opened: Opener, database: LocalDatabase) -> None:
    live(opened)
    database.query("create view names as select id, name from items")
    database.query("create view first as select name from names where id = 1")
    database.query("create trigger renaming instead of update on first begin select new.name; end")
    store = opened(NEW)
    write(store, new_entry(1, "desk"), spec=NEW)
    store.activate(NEW)
    assert database.query("select name from first") == [("desk",)]
    store.rollback(OLD)
    assert database.query("select name from first") == [("lamp",)]
    store = opened(NEW)
    write(store, new_entry(2, "chair"), spec=NEW)
    store.activate(NEW)
    assert database.query("select id, name from names order by id") == [(1, "desk"), (2, "chair")]
    assert database.query("select tbl_name from sqlite_master where name = 'renaming'") == [("first",)]


def test_a_view_that_is_broken_holds_no_generation_up(opened: Opener, database: LocalDatabase) -> None:
    live(opened)
    database.query("create view broken as select a from nowhere")
    store = opened(NEW)
    write(store, new_entry(1, "desk"), spec=NEW)
    store.activate(NEW)
    assert rows(store, NEW).metadata([1]) == {1: {"name": "desk"}}
    assert database.query("select sql from sqlite_master where name = 'broken'") == [
        ("CREATE VIEW broken as select a from nowhere",)
    ]
