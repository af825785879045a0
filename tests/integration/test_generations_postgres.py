"""What SQL users of the vector table see of a change of generations: one name, and everything that hangs on it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, get_args

import psycopg
import pytest

from rowvec.errors import StoreError
from rowvec.generations.lifecycle import roll_back
from rowvec.pipeline import Options, Pipeline
from rowvec.searcher import Mode, Searcher
from rowvec.stores.index import IndexSpec
from rowvec.stores.ledger import Ledger
from rowvec.stores.postgres import sessions
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource
from rowvec.types import Fingerprint, State
from rowvec.workers import fleet
from rowvec.workers.ranges import sync_range
from tests.acceptance.shop import wait_until
from tests.models import Known, Models
from tests.support import rows_of, simple_pipeline, vectors_match_rows

SAME = HashEmbedder(8, model="same size")
ROWS = {n: f"row {n}" for n in range(30)}


@pytest.fixture
def old(postgres_url: str, models: Models) -> Iterator[Pipeline]:
    """Thirty rows in the table `shop.things`, synced with the old model."""
    store = PostgresStore(postgres_url, "shop.things", pipeline="things")
    pipeline = models.of(models.old, simple_pipeline(rows=ROWS, store=store))
    sync(pipeline)
    yield pipeline
    store.close()


@pytest.fixture
def ask(postgres_url: str) -> Iterator[Callable[..., list[Any]]]:
    """A user of the database."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:

        def run(statement: str, *values: Any) -> list[Any]:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

        yield run


Ask = Callable[..., list[Any]]


def dimensions(ask: Ask, table: str = "shop.things") -> int:
    return int(ask(f"select vector_dims(embedding) from {table} limit 1")[0][0])


def indexes(ask: Ask, table: str = "shop.things") -> list[str]:
    found = ask("select indexname from pg_indexes where schemaname || '.' || tablename = %s order by 1", table)
    return [name for (name,) in found]


def test_the_table_keeps_its_name_and_its_indexes_theirs(old: Pipeline, ask: Ask, models: Models) -> None:
    before = indexes(ask)
    assert "things_pkey" in before
    for model, size in ((models.new, 24), (SAME, 8), (models.old, 8)):
        sync(models.of(model, old))
        assert dimensions(ask) == size
        assert indexes(ask) == before
        assert indexes(ask, "shop.things__previous") == [
            name.replace("things", "things__previous", 1) for name in before
        ]
    left = "select relname from pg_class where relkind = 'r' and relname ~ 'between|next'"
    assert ask(left) == []
    roll_back(models.of(models.old, old, former=Known(SAME)))
    assert indexes(ask) == before


@pytest.mark.parametrize("kind", ["hnsw", "ivfflat"])
def test_the_new_generation_has_an_index_like_that_of_the_live_one(
    old: Pipeline, ask: Ask, kind: Any, models: Models
) -> None:
    assert isinstance(old.store, PostgresStore)
    rows_of(old).index.build(IndexSpec(kind, "vector", m=8, ef_construction=32, lists=3))
    ask("create index things_by_price on shop.things (price, id)")
    new = models.of(models.new, old)
    sync(new)
    (found,) = rows_of(new).index.status()
    assert (found.kind, found.precision, found.valid) == (kind, "vector", True)
    assert "m='8', ef_construction='32'" in found.definition or "lists='3'" in found.definition
    assert "things_by_price" in indexes(ask)
    assert found.name in indexes(ask)
    assert "next" not in " ".join(indexes(ask))


def test_views_show_the_live_generation_whichever_that_is(old: Pipeline, ask: Ask, models: Models) -> None:
    ask(
        "create view shop.priced with (security_barrier) as"
        " select id, price, text_hash from shop.things where price > 0"
    )
    ask("create view nested as select count(*) as n from shop.priced")
    new = models.of(models.new, old)
    old.source.rows[99] = {"id": 99, "name": "only in the new one", "price": 5}
    models.old.refused = {"only in the new one"}
    try:
        sync(new)
    finally:
        models.old.refused = set()
    assert ask("select price from shop.priced where id = 99") == [(5,)]
    assert ask("select n from nested") == [(31,)]
    assert ask("select reloptions from pg_class where relname = 'priced'") == [(["security_barrier=true"],)]
    roll_back(new)
    assert ask("select n from nested") == [(30,)]
    new.store.drop_generation(State.PREVIOUS, new.spec)


def test_a_view_of_vectors_of_another_size_is_told_and_nothing_changes(old: Pipeline, ask: Ask, models: Models) -> None:
    ask("create view shop.vectors as select id, embedding from shop.things")
    with pytest.raises(StoreError, match=r"The view shop\.vectors cannot show the new generation"):
        sync(models.of(models.new, old))
    assert dimensions(ask) == dimensions(ask, "shop.vectors") == 8
    embedded = len(models.new.texts)
    ask("drop view shop.vectors")
    sync(models.of(models.new, old))
    assert dimensions(ask) == 24
    assert len(models.new.texts) == embedded
    ask("create view shop.vectors as select id, embedding from shop.things")
    sync(models.of(HashEmbedder(24, model="other"), old))
    assert ask("select pg_get_viewdef('shop.vectors'::regclass) like '%%previous%%'") == [(False,)]


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("create materialized view counted as select count(*) from shop.things", "the materialized view counted"),
        (
            "create table orders (thing bigint references shop.things (id))",
            "the foreign key orders_thing_fkey of orders",
        ),
        ("alter table shop.things enable row level security", "row-level security"),
        ("create publication everything for table shop.things", "the publication everything"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_would_stay_behind_is_told_before_anything_is_embedded(
    old: Pipeline, ask: Ask, statement: str, named: str, models: Models
) -> None:
    ask(statement)
    embedder = HashEmbedder(24, model="new")
    with pytest.raises(StoreError, match=named):
        sync(models.of(embedder, old))
    assert embedder.texts == []
    assert dimensions(ask) == 8
    sync(old)


def test_grants_go_over_to_the_new_generation_and_back(old: Pipeline, ask: Ask, models: Models) -> None:
    ask("drop role if exists rowvec_reader")
    ask("create role rowvec_reader")
    ask("grant usage on schema shop to rowvec_reader")
    ask("grant select on shop.things to rowvec_reader")
    ask("grant update (price) on shop.things to rowvec_reader with grant option")
    new = models.of(models.new, old)
    try:
        for step in (lambda: sync(new), lambda: roll_back(new)):
            step()
            assert ask("select has_table_privilege('rowvec_reader', 'shop.things', 'select')") == [(True,)]
            assert ask(
                "select has_column_privilege('rowvec_reader', 'shop.things', 'price', 'update with grant option'),"
                " has_column_privilege('rowvec_reader', 'shop.things', 'embedding', 'update')"
            ) == [(True, False)]
    finally:
        ask("drop owned by rowvec_reader")
        ask("drop role rowvec_reader")


def test_a_swap_waits_for_a_reader_and_lets_others_read_meanwhile(
    old: Pipeline, ask: Ask, postgres_url: str, models: Models
) -> None:
    new = models.of(models.new, old)
    with psycopg.connect(postgres_url) as reader:
        reader.execute("select count(*) from shop.things").fetchone()
        syncing = threading.Thread(target=sync, args=(new,))
        syncing.start()
        while not ask("select 1 from pg_locks where not granted and mode = 'AccessExclusiveLock'"):
            assert syncing.is_alive()
        assert dimensions(ask) == 8, "answered as soon as the swap gives way"
        assert syncing.is_alive()
        reader.rollback()
        syncing.join(30)
    assert dimensions(ask) == 24


def test_a_reader_who_never_ends_holds_the_swap_up_with_a_reason(
    old: Pipeline, ask: Ask, postgres_url: str, monkeypatch: pytest.MonkeyPatch, models: Models
) -> None:
    monkeypatch.setattr(sessions, "PATIENCE", 0.5)
    new = models.of(models.new, old)
    with psycopg.connect(postgres_url) as reader:
        reader.execute("select count(*) from shop.things").fetchone()
        with pytest.raises(StoreError, match="in use without a pause"):
            sync(new)
    assert dimensions(ask) == 8
    embedded = len(models.new.texts)
    sync(new)
    assert dimensions(ask) == 24
    assert len(models.new.texts) == embedded


def test_searches_during_swaps_never_fail_and_never_mix(old: Pipeline, postgres_url: str, models: Models) -> None:
    """Keyword and hybrid searches go through several tables: the swap comes in their order."""
    new = models.of(models.new, old)
    sync(new)
    store = PostgresStore(postgres_url, "shop.things", pipeline="things", readers=3)
    searcher = Searcher.of(replace(new, store=store))
    done = threading.Event()
    problems: list[Any] = []
    modes: tuple[Mode, ...] = get_args(Mode)
    searches = dict.fromkeys(modes, 0)

    def search(mode: Mode) -> None:
        while not done.is_set():
            try:
                hits = searcher.search("row 7", mode=mode, limit=3, explain=True).hits
                meaning = (hits[0].parts or {}).get("semantic")
                if hits[0].key != 7 or not (mode == "keyword" or abs((meaning or 0) - 1) < 1e-3):
                    problems.append((mode, hits))
            except Exception as error:
                problems.append(error)
            searches[mode] += 1

    threads = [threading.Thread(target=search, args=(mode,)) for mode in modes]
    for thread in threads:
        thread.start()
    for _ in range(12):
        roll_back(new)
        before = dict(searches)
        # A search that meets one swap after another gives up in the end.
        wait_until(lambda: all(searches[mode] > before[mode] + 1 for mode in modes), "searches go on")  # noqa: B023
    done.set()
    for thread in threads:
        thread.join(30)
    store.close()
    assert problems == []


def test_what_was_prepared_for_vectors_of_one_size_reads_those_of_another(
    old: Pipeline, postgres_url: str, models: Models
) -> None:
    """A statement of which the driver has the server keep the plan, which it does for what is asked often."""
    with closing(PostgresStore(postgres_url, "shop.things", pipeline="things")) as store:
        searcher = Searcher.of(models.of(models.new, old, store=store))
        for key in ROWS:
            searcher.similar(key, limit=1)
        sync(models.of(models.new, old))
        assert len(searcher.similar(7, limit=3).hits) == 3


def test_an_in_place_store_changes_columns_and_back(postgres_url: str, ask: Ask, models: Models) -> None:
    ask("create extension if not exists vector")
    ask("create table docs (id bigint primary key, name text, price bigint)")
    for number, name in ROWS.items():
        ask("insert into docs values (%s, %s, 1)", number, name)
    ask("create role rowvec_reader_2")
    store = PostgresStore(postgres_url, "docs", pipeline="things", column="embedding")
    base = simple_pipeline(rows=ROWS, store=store)
    document = base.to_document
    base = replace(base, to_document=lambda row: document(row)._replace(metadata=()))
    old = models.of(models.old, base)
    try:
        store.apply(old.spec)
        sync(old)
        ask("grant select (embedding) on docs to rowvec_reader_2")
        ask("create view shown as select id, embedding_text_hash as hash from docs where embedding is not null")
        rows_of(old).index.build(IndexSpec(m=8))
        new = models.of(SAME, base, former=old.former)
        store.apply(new.spec)
        sync(new)
        vectors_match_rows(new, ROWS)
        assert [each.state for each in store.generations(new.spec)] == [State.LIVE, State.PREVIOUS]
        assert ask("select count(*) from shown") == [(30,)]
        assert "previous" not in ask("select pg_get_viewdef('shown'::regclass)")[0][0]
        assert ask("select has_column_privilege('rowvec_reader_2', 'docs', 'embedding', 'select')") == [(True,)]
        (found,) = rows_of(new).index.status()
        assert found.name == "docs__embedding_vectors_1"
        roll_back(replace(new, former=old.former))
        vectors_match_rows_of_live = rows_of(old).vector(3)
        assert vectors_match_rows_of_live is not None
        assert abs(vectors_match_rows_of_live - models.old.embed_query("row 3")).max() < 1e-6
        store.drop_generation(State.PREVIOUS, new.spec)
        names = ask(
            "select attname from pg_attribute where attrelid = 'docs'::regclass and attname like '%%previous%%'"
        )
        assert names == []
    finally:
        ask("drop owned by rowvec_reader_2")
        ask("drop role rowvec_reader_2")
        store.close()


class Divided(MemorySource):
    def boundaries(self, size: int) -> Iterator[Any]:
        yield from sorted(self.rows)[size - 1 :: size]


def test_a_fleet_changes_the_model_and_keeps_the_live_generation_in_step(
    old: Pipeline, ask: Ask, monkeypatch: pytest.MonkeyPatch, models: Models
) -> None:
    """Its queue is a list, and its worker this process, which carries out a range as soon as it is sent."""
    source = Divided({key: {"name": name, "price": 1} for key, name in ROWS.items()})
    rows: Any = source.rows
    rows[3]["name"] = "row three"
    del rows[20]
    new = replace(models.of(models.new, old), source=source)
    done: list[dict[str, Any]] = []

    def send(task: Any, pipeline: str, after: str | None, until: str | None, **settings: Any) -> str:
        sent = json.loads(json.dumps(settings))
        made = Fingerprint(**sent["ledger"].pop("fingerprint"))
        options = Options(force=sent.pop("force"), allow_delete=sent.pop("allow_delete"))
        ledger = Ledger(**sent.pop("ledger"), fingerprint=made)
        done.append(sync_range(new, after, until, ledger=ledger, options=options, **sent).as_dict())
        assert dimensions(ask) == 8, "no range puts the generation live"
        return str(len(done) - 1)

    monkeypatch.setattr(fleet, "send", send)
    monkeypatch.setattr(fleet, "state_of", lambda number: {"status": "SUCCESS", "result": done[int(number)]})
    said: list[str] = []
    report = fleet.sync(new, range_rows=15, tell=said.append)
    assert len(done) == 2
    assert said[-1] == "The new generation is live. `rowvec rollback` returns to the former one."
    assert (report.inserted, report.reasons["live generation: embedded"]) == (29, 1)
    assert report.reasons["live generation: deleted"] == 1
    (run,) = new.store.runs(1)
    assert (run.outcome, run.report["inserted"]) == ("done", 29)
    assert dimensions(ask) == 24
    vectors_match_rows(new, {key: row["name"] for key, row in rows.items()})
    assert ask("select count(*) from shop.things__previous where id = 20") == [(0,)]
    (kept,) = ask("select embedding::text from shop.things__previous where id = 3")[0]
    assert json.loads(kept) == pytest.approx(models.old.embed_query("row three").tolist(), abs=1e-6)
