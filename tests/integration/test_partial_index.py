"""A vector index for each value that very many rows have: `store.partial_index`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any, Protocol
from uuid import UUID

import numpy as np
import psycopg
import pytest

from rowvec.filters import Filter, parse
from rowvec.stores.base import TableSpec
from rowvec.stores.index import IndexSpec, IndexStatus, Part
from rowvec.stores.postgres.generation import PostgresGeneration
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.postgres.vector_index import centre
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing import HashEmbedder
from rowvec.types import Column, ColumnType, Document, Entry
from tests.support import count_statistics

TENANTS = {"large": 400, "it's \\x41 {large} %s": 300, "small": 20}
"""The second one would be read wrongly by anything that pastes it into SQL, or takes it for a format or a hash."""
ODD = list(TENANTS)[1]
QUOTED = "'" + ODD.replace("'", "''") + "'"
ROWS = sum(TENANTS.values())
DIMENSION = 16


class Open(Protocol):
    def __call__(self, partial: str | None = "tenant", **settings: Any) -> PostgresStore: ...


@pytest.fixture
def opened(postgres_url: str) -> Iterator[Open]:
    with ExitStack() as stores:

        def opener(partial: str | None = "tenant", **settings: Any) -> PostgresStore:
            # To sort a few hundred rows is cheap: the planner would take no vector index at all.
            mark = "&" if "?" in postgres_url else "?"
            url = f"{postgres_url}{mark}options=-c%20enable_sort%3Doff"
            store = PostgresStore(url, "shop.things", pipeline="things", partial=partial, **settings)
            return stores.enter_context(closing(store))

        yield opener


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowvec.stores.postgres.vector_index.indexes.AUTO_ROWS", 100)
    for name in ("EXACT_ROWS", "MOST_EXACT_ROWS"):
        monkeypatch.setattr(f"rowvec.stores.postgres.vector_index.nearest.{name}", 50)


def spec_of(model: str = "hash", tenant: ColumnType = ColumnType.TEXT) -> TableSpec:
    embedder = HashEmbedder(DIMENSION, model=model)
    columns = (Column("tenant", tenant), Column("price", ColumnType.INTEGER))
    return TableSpec("things", "id", ColumnType.INTEGER, DIMENSION, columns, fingerprint=embedder.fingerprint)


def entries(values: dict[Any, int] | None = None, first: int = 0) -> list[Entry]:
    tenants = [tenant for tenant, count in (values or TENANTS).items() for _ in range(count)]
    vectors = np.random.default_rng(7).standard_normal((len(tenants), DIMENSION)).astype(np.float32)
    found = []
    for number, (tenant, vector) in enumerate(zip(tenants, vectors, strict=True), start=first):
        digest = number.to_bytes(16, "big")
        document = Document(number, f"row {number}", (tenant, number % 10), digest, digest)
        found.append(Entry(document, vector / np.linalg.norm(vector), None))
    return found


def filled(store: PostgresStore, spec: TableSpec | None = None, rows: list[Entry] | None = None) -> PostgresGeneration:
    spec = spec or spec_of()
    generation = store.prepare(spec)
    generation.write(WriteBatch(rows or entries()))
    store.activate(spec)
    return generation


def parts(generation: PostgresGeneration) -> dict[Any, IndexStatus]:
    return {each.part.value: each for each in generation.index.status() if each.part is not None}


def hits(generation: PostgresGeneration, where: Filter, limit: int = 10, *, exact: bool = False) -> list[Any]:
    query = np.ones(DIMENSION, np.float32)
    return list(generation.nearest(query, limit, where, exact=exact).keys)


def reads(store: PostgresStore, index: IndexStatus) -> int:
    def scans(connection: Any) -> int:
        counted = "select idx_scan from pg_stat_user_indexes where indexrelname = %s"
        return int(connection.execute(counted, [index.name]).fetchone()[0])

    store._read(count_statistics)
    return store._read(scans)


def test_each_large_value_gets_an_index_and_small_ones_do_not(opened: Open) -> None:
    generation = filled(opened())
    assert parts(generation).keys() == {"large", ODD}
    assert all(each.valid for each in generation.index.status())
    assert sum(each.part is None for each in generation.index.status()) == 1


@pytest.mark.parametrize("tenant", ["large", ODD])
def test_a_search_of_a_large_value_reads_its_index_and_finds_what_comparing_finds(opened: Open, tenant: str) -> None:
    store = opened()
    generation = filled(store)
    where = parse("tenant = 'large'" if tenant == "large" else f"tenant = {QUOTED}")
    before = reads(store, parts(generation)[tenant])
    found = hits(generation, where)
    assert reads(store, parts(generation)[tenant]) == before + 1
    assert found == hits(generation, where, exact=True)


@pytest.mark.parametrize("tenant", ["\\x414", "\\x4141", "a USING b WHERE c"])
def test_a_value_that_looks_like_a_hash_or_a_statement_is_a_value(opened: Open, tenant: str) -> None:
    store = opened()
    generation = filled(store, rows=entries({tenant: 150, "other": 80}))
    where, made = parse(f"tenant = '{tenant}'"), parts(generation)[tenant].name
    before = reads(store, parts(generation)[tenant])
    assert hits(generation, where) == hits(generation, where, exact=True)
    assert reads(store, parts(generation)[tenant]) == before + 1
    store.activate(spec_of())
    assert parts(generation)[tenant].name == made
    generation.index.tune(0.9, queries=20)
    assert {each.effort is None for each in generation.index.status()} == {False}


def test_a_table_may_be_called_as_partial_indexes_are(opened: Open, postgres_url: str) -> None:
    with closing(PostgresStore(postgres_url, "a_vectors_part_2_b", pipeline="things")) as store:
        generation = filled(store)
        assert [(each.valid, each.part) for each in generation.index.status()] == [(True, None)]


def test_a_further_condition_holds_too(opened: Open) -> None:
    store = opened()
    generation = filled(store)
    where = parse("price > 3 and (tenant = 'large' and price < 9)")
    before = reads(store, parts(generation)["large"])
    found = hits(generation, where)
    assert reads(store, parts(generation)["large"]) > before
    assert found == hits(generation, where, exact=True)


@pytest.mark.parametrize(
    "where",
    ["tenant != 'large'", "tenant = 'large' or price = 1", "not tenant = 'large'", "tenant in ('large', 'small')"],
)
def test_a_filter_that_others_pass_is_not_answered_from_the_index_of_one(opened: Open, where: str) -> None:
    store = opened()
    generation = filled(store)
    before = reads(store, parts(generation)["large"])
    assert hits(generation, parse(where)) == hits(generation, parse(where), exact=True)
    assert reads(store, parts(generation)["large"]) == before


@pytest.mark.parametrize(
    ("kind", "values", "where"),
    [
        (ColumnType.INTEGER, {7: 200, 8: 10}, "tenant = 7"),
        (ColumnType.UUID, {UUID(int=7): 200, UUID(int=8): 10}, f"tenant = '{UUID(int=7)}'"),
    ],
)
def test_numbers_and_uuids_divide_a_table_too(
    opened: Open, kind: ColumnType, values: dict[Any, int], where: str
) -> None:
    store = opened()
    generation = filled(store, spec_of(tenant=kind), entries(values))
    (index,) = parts(generation).values()
    before = reads(store, index)
    assert hits(generation, parse(where)) == hits(generation, parse(where), exact=True)
    assert reads(store, index) == before + 1


def test_new_rows_of_a_value_are_found_through_its_index(opened: Open) -> None:
    generation = filled(opened())
    query = np.full(DIMENSION, 0.25, np.float32)
    digest = b"n" * 16
    generation.write(WriteBatch([Entry(Document(9_000, "new", ("large", 1), digest, digest), query, None)]))
    assert hits(generation, parse("tenant = 'large'"))[0] == 9_000
    assert 9_000 not in hits(generation, parse("tenant = 'small'"))


def test_a_sync_without_the_setting_drops_them_and_leaves_the_index_of_all_rows(opened: Open) -> None:
    generation = filled(opened())
    whole = next(each.name for each in generation.index.status() if each.part is None)
    without = opened(partial=None)
    without.prepare(spec_of())
    without.activate(spec_of())
    assert [each.name for each in generation.index.status()] == [whole]


def test_a_value_that_lost_its_rows_loses_its_index(opened: Open) -> None:
    store = opened()
    generation = filled(store)
    generation.write(WriteBatch(deletes=list(range(30, 400))))
    store._write(count_statistics)
    store.activate(spec_of())
    assert parts(generation).keys() == {ODD}


def test_a_rebuilt_index_has_partial_ones_of_its_kind(opened: Open) -> None:
    generation = filled(opened())
    generation.index.build(IndexSpec(m=8, ef_construction=32))
    assert len(parts(generation)) == 2
    assert all("m='8'" in each.definition for each in generation.index.status())


def test_parts_of_an_index_of_bits_without_a_centre_have_none_and_stay(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as former:
        former.setattr(centre, "measured", lambda *_: "")
        filled(opened(None, index=IndexSpec(precision="bit")))
    store = opened(index=IndexSpec(precision="bit"))
    store.activate(spec_of())
    made = parts(filled(store))
    assert made.keys() == {"large", ODD}
    assert not any(centre.text_of(each.definition) for each in made.values())
    store.activate(spec_of())
    assert parts(store.prepare(spec_of())) == made


def test_a_check_names_the_values_that_have_one(opened: Open) -> None:
    store = opened()
    store.prepare(spec_of())
    (line,) = (each for each in store.checks(spec_of()) if each.what == "partial indexes")
    assert line.detail == "of tenant: none yet: a sync builds them from 10,000 rows on"
    generation = filled(store)
    (line,) = (each for each in store.checks(spec_of()) if each.what == "partial indexes")
    assert "tenant = 'large'" in line.detail and len(parts(generation)) == 2
    assert not [each for each in opened(partial=None).checks(spec_of()) if each.what == "partial indexes"]


def test_dropping_the_index_drops_all(opened: Open) -> None:
    generation = filled(opened())
    assert generation.index.drop() == 3
    assert generation.index.status() == []


def test_what_a_build_that_was_cut_off_has_left_is_replaced(opened: Open, postgres_url: str) -> None:
    store = opened()
    generation = filled(store)
    name = parts(generation)["large"].name
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'comment on index shop."{name}" is null')
    assert not next(each.valid for each in generation.index.status() if each.name == name)
    store.activate(spec_of())
    assert parts(generation).keys() == {"large", ODD}
    assert all(each.valid for each in generation.index.status())


def test_a_new_generation_has_them_too(opened: Open) -> None:
    store = opened()
    filled(store)
    building = store.prepare(spec_of("another"))
    building.write(WriteBatch(entries()))
    store.activate(spec_of("another"))
    live = store.generation(spec_of("another"))
    assert live is not None
    assert parts(live).keys() == {"large", ODD}
    assert hits(live, parse("tenant = 'large'")) == hits(live, parse("tenant = 'large'"), exact=True)


def test_texts_that_very_many_rows_share_are_found_in_a_part(opened: Open) -> None:
    store = opened()
    rows = entries()
    same = rows[0]
    copies = [
        Entry(Document(each.document.key, "same", each.document.metadata, b"s" * 16, b"s" * 16), same.vector, None)
        for each in rows[:150]
    ]
    generation = filled(store, rows=[*copies, *rows[150:]])
    assert Part("tenant", "large") in [each.part for each in generation.index.status()]
    found = generation.nearest(same.vector, 5, parse("tenant = 'large'"))
    assert list(found.keys) == [0, 1, 2, 3, 4]
    assert not found.exact
    assert not set(found.keys) & set(hits(generation, parse(f"tenant = {QUOTED}")))
