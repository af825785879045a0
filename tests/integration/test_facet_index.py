"""Facets beside writes: when the indexes for them are made, that each table has one set of them, and one snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rowvec.filters import bind, parse
from rowvec.filters.facets import Edges, RangeFacet, edges
from rowvec.stores import facet_sql
from rowvec.stores.base import Store
from rowvec.stores.libsql import facet_index as libsql_facets
from rowvec.stores.libsql.local import LocalDatabase
from rowvec.stores.libsql.store import LibsqlStore
from rowvec.stores.postgres import counting, facet_index
from rowvec.stores.postgres.store import PostgresStore
from rowvec.testing.contract.samples import SPEC, entry, rows, write
from rowvec.types import Column, ColumnType
from tests.contract.test_store_generations import NEW, OLD, new_entry

LONG = "a text that is for reading and not for counting " * 5
COUNTED = replace(SPEC, metadata=(Column("stock", ColumnType.INTEGER),))
READ = replace(SPEC, metadata=(Column("note", ColumnType.TEXT),))

Opener = Callable[[], PostgresStore]


@pytest.fixture
def opened(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    monkeypatch.setattr(counting, "AUTO_ROWS", 1)
    stores = []

    def opener() -> PostgresStore:
        stores.append(PostgresStore(postgres_url, "shop.item_embeddings", pipeline=SPEC.pipeline))
        return stores[-1]

    yield opener
    for store in stores:
        store.close()


def indexes(url: str, table: str = "item_embeddings") -> list[tuple[str, bool]]:
    """The indexes for facets, however they are called, and whether each can be used."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "select c.relname::text, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid"
            " where i.indrelid = to_regclass(%s) and c.relname like '%%rowvec_facets%%' order by 1",
            [f"shop.{table}"],
        ).fetchall()


def test_long_texts_alone_get_no_index_and_are_counted(opened: Opener, postgres_url: str) -> None:
    store = opened()
    store.prepare(READ)
    write(store, *(entry(key, "lamp", LONG) for key in (1, 2)), spec=READ)
    store.activate(READ)
    assert indexes(postgres_url) == []
    assert rows(store, READ).facets(READ.metadata).rows == 2


def test_a_build_that_was_cut_off_is_made_again(opened: Opener, postgres_url: str) -> None:
    store = opened()
    store.prepare(SPEC)
    write(store, entry(1, "lamp"))
    store.activate(SPEC)
    made = indexes(postgres_url)
    assert [name.endswith(facet_index.REST) for name, _ in made] == [False, True]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'drop index shop."{made[0][0]}"'.encode())

    store.activate(SPEC)
    again = indexes(postgres_url)
    assert [(name.endswith(facet_index.REST), valid) for name, valid in again] == [(False, True), (True, True)]
    assert made[1] not in again
    store.activate(SPEC)
    assert indexes(postgres_url) == again


def test_a_new_generation_has_its_own_index_and_no_copy_of_the_former_one(opened: Opener, postgres_url: str) -> None:
    store = opened()
    store.prepare(OLD)
    write(store, entry(1, "lamp"), spec=OLD)
    store.activate(OLD)
    store.prepare(NEW)
    write(store, new_entry(1, "lamp"), spec=NEW)
    store.activate(NEW)
    assert len(indexes(postgres_url)) == 2
    assert all(name.startswith(facet_index.MARK) for name, _ in indexes(postgres_url))


def test_words_are_looked_for_with_a_filter_through_it(opened: Opener, postgres_url: str) -> None:
    spec = replace(SPEC, metadata=(Column("of 100 %s {x}", ColumnType.TEXT), Column("stock", ColumnType.INTEGER)))
    store = opened()
    store.prepare(spec)
    words = [("lamp" if key % 3 else "red lamp") for key in range(400)]
    # Two rows have texts that no entry of the index can hold: another index lists them.
    names = ["long " * 400 if key in (30, 31) else f"no {key % 2}" for key in range(400)]
    write(store, *(entry(key, text, names[key], key) for key, text in enumerate(words)), spec=spec)
    live = rows(store, spec)
    conditions = [
        "\"of 100 %s {x}\" like 'long%'",
        "\"of 100 %s {x}\" = 'no 1' and stock < 50",
        "stock in (30, 33, 7)",
        "stock < 390",
    ]

    def found(limit: int) -> list[list[Any]]:
        asked = [bind(parse(condition), spec.metadata) for condition in conditions]
        return [[*zip(*live.keyword("red lamp", limit, where)[:2], strict=True)] for where in asked]

    limits = (1, 50, 400)
    before = [found(limit) for limit in limits]
    assert [len(each) for each in before[-1]] == [2, 24, 3, 390]
    store.activate(spec)
    assert len(indexes(postgres_url)) == 2
    live = rows(store, spec)
    assert [found(limit) for limit in limits] == before


def test_libsql_counts_long_texts_without_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libsql_facets, "ROWS", 1)
    path = str(tmp_path / "vectors.db")
    store = LibsqlStore(path, table="items")
    store.prepare(READ)
    write(store, *(entry(key, "lamp", LONG) for key in (1, 2)), spec=READ)
    store.activate(READ)
    assert rows(store, READ).facets(READ.metadata).rows == 2
    store.close()
    database = LocalDatabase(path)
    assert database.query("select name from sqlite_master where type = 'index' and name like '%facets%'") == []
    database.close()


def test_bins_count_the_rows_that_the_least_and_the_greatest_are_of(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    libsql = LibsqlStore(str(tmp_path / "vectors.db"), table="items")
    made: list[Store] = [opened(), libsql]
    for store in made:
        store.prepare(COUNTED)
        write(store, *(entry(key, "lamp", key) for key in range(10)), spec=COUNTED)

        def written_meanwhile(*asked: Any, among: Store = store) -> Edges:
            write(among, *(entry(key, "lamp", 5) for key in range(10, 20)), spec=COUNTED)
            return edges(*asked)

        with monkeypatch.context() as patched:
            patched.setattr(facet_sql, "edges", written_meanwhile)
            found = rows(store, COUNTED).facets(COUNTED.metadata)
        stock = found.columns["stock"]
        assert isinstance(stock, RangeFacet)
        assert (found.rows, sum(each.count for each in stock.bins)) == (10, 10)
        assert rows(store, COUNTED).facets(COUNTED.metadata).rows == 20
    libsql.close()
