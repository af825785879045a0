"""A table split over several parts gives the answers of one table, and its rows move while they are searched."""

from __future__ import annotations

import datetime as dt
import os
import random
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from rowvec.errors import Interrupted, Locked, StoreError, StoreUnavailable
from rowvec.filters import Facets, Filter, Place, bind, facet_columns, parse, parse_order
from rowvec.filters.facets import RangeFacet
from rowvec.pipeline import Options, Pipeline
from rowvec.searcher import Searcher
from rowvec.stores.base import GenerationHandle, LastWord, TableSpec, existing
from rowvec.stores.libsql import LibsqlStore
from rowvec.stores.part import Created, Narrows, PartStore, WordCounts
from rowvec.stores.partitioned import PartitionedStore
from rowvec.stores.partitioned.generation import PartitionedGeneration
from rowvec.stores.placement import part_of
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.runs import Report
from rowvec.stores.write_batch import WriteBatch
from rowvec.support import killpoints
from rowvec.support.killpoints import Step
from rowvec.support.parts import table_of
from rowvec.syncing.preview import preview
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from rowvec.testing.part import MemoryPart
from rowvec.types import Column, ColumnType, Document, Entry, Key, Passage, State
from tests.support import digest, in_child, rows_of, simple_pipeline, vectors_match_rows

Make: TypeAlias = Callable[..., PartitionedStore]
COLUMNS = (
    Column("words", ColumnType.INTEGER),
    Column("first", ColumnType.TEXT),
    Column("share", ColumnType.NUMBER),
    Column("day", ColumnType.DATE),
)
EMBEDDER = HashEmbedder(32)
SPEC = TableSpec("papers", "id", ColumnType.INTEGER, 32, COLUMNS, fingerprint=EMBEDDER.fingerprint, keeps_words=True)
QUERIES = ("electronic computer circuits", "ionosphere", "measurement of noise in transistors", "the wave guide", "xyz")
LAST = LastWord("tr", ("transmitting", "travelled"))
PARTS = 4


def libsql_part(folder: Path, table: str) -> Callable[[int], LibsqlStore]:
    return lambda number: LibsqlStore(str(folder / "vectors.db"), table=table_of(table, number), alone=False)


def postgres_part(url: str, table: str) -> Callable[[int], PostgresStore]:
    return lambda number: PostgresStore(url, table_of(table, number), pipeline="things", readers=6, alone=False)


@pytest.fixture(params=["postgres", "libsql"])
def make(request: pytest.FixtureRequest, quick_folder: Path) -> Iterator[Make]:
    """Opens the table `things` in that number of parts, or another table."""
    made: list[PartitionedStore] = []
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""

    def opened(parts: int, table: str = "things") -> PartitionedStore:
        part = postgres_part(url, table) if url else libsql_part(quick_folder, table)
        made.append(PartitionedStore(part, parts, apart=bool(url)))
        return made[-1]

    yield opened
    for store in made:
        store.close()


def papers(data: Path, count: int) -> list[str]:
    text = (data / "vaswani" / "doc-text.trec").read_text(encoding="utf-8")
    return [" ".join(found.split()) for found in re.findall(r"</DOCNO>(.*?)</DOC>", text, re.DOTALL)][:count]


def written(number: int, text: str) -> Entry:
    words = text.split()
    day = dt.date(1960, 1, 1) + dt.timedelta(days=37 * number % 4000)
    metadata = (len(words), words[0] if number % 9 else None, round(len(set(words)) / len(words), 3), day)
    return Entry(
        Document(number, text, metadata, digest(text), digest(repr(metadata))), EMBEDDER.embed_query(text), None
    )


def filled(store: PartitionedStore, entries: list[Entry]) -> PartitionedGeneration:
    with store.lock():
        handle = store.prepare(SPEC)
        for start in range(0, len(entries), 500):
            handle.write(WriteBatch(entries[start : start + 500]))
        store.activate(SPEC)
    found = store.generation(SPEC)
    assert found is not None
    return found


def filter_of(text: str) -> Filter:
    return bind(parse(text), COLUMNS)


FILTERS = (None, "words > 40", "first = 'a' or first = 'the'", "day < '1965-06-01' and share > 0.6", "words > 10000")


def test_every_answer_of_four_parts_is_that_of_one_table(make: Make, data: Path) -> None:
    entries = [written(number, text) for number, text in enumerate(papers(data, 1_500))]
    one, parts = filled(make(1, "whole"), entries), filled(make(PARTS), entries)
    assert all(len(part.keys(None, 9_999)) > 300 for part in parts.reach.parts.values())
    for where in (None if text is None else filter_of(text) for text in FILTERS):
        for query in QUERIES:
            vector = EMBEDDER.embed_query(query)
            for ask in (
                lambda rows, v=vector, w=where: rows.nearest(v, 50, w, exact=True),
                lambda rows, q=query, w=where: rows.keyword(q, 50, w),
                lambda rows, q=query, w=where: rows.keyword(q, 50, w, last=LAST),
            ):
                expected, found = ask(one), ask(parts)
                assert list(found.keys) == list(expected.keys)
                assert list(found.scores) == pytest.approx(list(expected.scores), rel=1e-12)
            assert parts.typical(vector) == pytest.approx(one.typical(vector), rel=1e-9)
        same_facets(one.facets(facets(), where, most=7), parts.facets(facets(), where, most=7))
        for text in (None, "day desc", "first asc", "share desc"):
            order = None if text is None else parse_order(text, COLUMNS)
            expected = one.browse(20, where, order=order, offset=15)
            assert parts.browse(20, where, order=order, offset=15) == expected
            if len(expected) == 20:
                value = None if order is None else one.metadata(expected)[expected[9]][order.column.name]
                place = Place(value, expected[9])
                assert parts.browse(5, where, order=order, after=place) == one.browse(
                    5, where, order=order, after=place
                )
    some = [3, 700, 1_499, 99_999]
    assert parts.metadata(some) == one.metadata(some)
    assert parts.texts(some) == one.texts(some)
    assert parts.lookup(some) == one.lookup(some)
    assert parts.similarities(entries[5].vector, some) == pytest.approx(one.similarities(entries[5].vector, some))
    assert [key for key, _ in parts.vectors(700, 40)] == [key for key, _ in one.vectors(700, 40)]
    assert parts.keys(11, 500) == one.keys(11, 500)
    assert parts.count() == one.count()
    assert parts.repeated(5) == one.repeated(5)
    assert parts.holding(["circuits", "transistor", "nothing"]) == one.holding(["circuits", "transistor", "nothing"])


def facets() -> list[Column]:
    return facet_columns([column.name for column in COLUMNS], COLUMNS, 7)


def same_facets(expected: Facets, found: Facets) -> None:
    assert found.rows == expected.rows
    for name, facet in expected.columns.items():
        other = found.columns[name]
        if isinstance(facet, RangeFacet) and isinstance(other, RangeFacet) and facet.mean is not None:
            assert other.mean == pytest.approx(facet.mean)
            other = replace(other, mean=facet.mean)
        assert other == facet


def test_searches_of_every_mode_find_the_same_hits_in_parts(make: Make, data: Path) -> None:
    entries = [written(number, text) for number, text in enumerate(papers(data, 600))]
    stores = make(1, "whole"), make(PARTS)
    for store in stores:
        filled(store, entries)
    one, parts = (Searcher(store, EMBEDDER, SPEC) for store in stores)
    for query in QUERIES[:4]:
        for mode in ("semantic", "keyword", "hybrid"):
            for where in (None, filter_of("words > 30")):
                expected = one.search(query, mode=mode, limit=20, where=where, exact=True)
                found = parts.search(query, mode=mode, limit=20, where=where, exact=True)
                assert [hit.key for hit in found.hits] == [hit.key for hit in expected.hits]
    similar = [[hit.key for hit in each.similar(17, limit=20).hits] for each in (one, parts)]
    assert similar[0] == similar[1]
    typo = [each.search("ionospere", mode="keyword", typos=True) for each in (one, parts)]
    assert typo[0].hits and [hit.key for hit in typo[0].hits] == [hit.key for hit in typo[1].hits]


def test_a_row_that_is_written_between_the_counts_and_the_hits_is_found(make: Make, data: Path) -> None:
    entries = [written(number, text) for number, text in enumerate(papers(data, 300))]
    store = make(2)
    parts = filled(store, entries).reach.parts
    # No text holds the other word yet.
    before = {number: part.matching("ionosphere zebrafish", None) for number, part in parts.items()}
    total = WordCounts.total(each.counts for each in before.values())
    narrowed = list(before.values())
    if isinstance(narrowed[0], Narrows):
        narrowed = list(narrowed[0].narrowed(narrowed[1:], total, 20, filtered=False))
    held: list[Any] = [key for each in before.values() for key in each.best(total, 300, None).keys]
    assert len(held) > 5
    with store.lock():
        handle = store.prepare(SPEC)
        batch = WriteBatch()
        for key in held:
            changed = written(key, f"{entries[key].document.text} measured again by zebrafish")
            batch.entries.append(changed._replace(expected=entries[key].document.text_hash))
        handle.write(batch)
    for matching in (before.values(), narrowed):
        found = [key for each in matching for key in each.best(total, 300, None).keys]
        assert sorted(found) == sorted(held)


# Moving

ROWS = {number: f"row {number}" for number in range(200)}


def source(rows: dict[int, str]) -> MemorySource:
    return MemorySource({key: {"name": name, "price": key} for key, name in rows.items()})


def in_part(store: PartitionedStore, pipeline: Pipeline) -> dict[int, set[Any]]:
    found = store.generation(pipeline.spec)
    assert found is not None
    return {number: set(part.keys(None, 10_000)) for number, part in found.reach.parts.items()}


def check_places(store: PartitionedStore, pipeline: Pipeline, parts: int, rows: dict[int, str]) -> None:
    """Each row is in its part and in no other one."""
    held = in_part(store, pipeline)
    assert {number: keys for number, keys in held.items() if keys} == {
        number: keys for number in range(parts) if (keys := {key for key in rows if part_of(key, parts) == number})
    }
    vectors_match_rows(pipeline, rows)


def test_a_fifth_part_takes_a_fifth_of_the_rows_without_embedding_one(make: Make) -> None:
    rows = source(ROWS)
    sync(simple_pipeline(rows, make(4)))
    five = make(5)
    pipeline = simple_pipeline(rows, five)
    expected = sum(part_of(key, 5) == 4 for key in ROWS)
    assert 25 < expected < 55
    assert f"{expected} rows move to part 5" in preview(pipeline).generation
    told: list[str] = []
    report = sync(pipeline, tell=told.append)
    assert (report.texts, report.reused, report.written) == (0, 0, 0)
    assert f"Moved to other parts of the store: {expected} rows" in " ".join(told)
    check_places(five, pipeline, 5, ROWS)
    assert preview(pipeline).generation == ""
    assert sync(pipeline).written == 0
    assert [(run.outcome, run.report["moved"]) for run in five.runs()] == [
        ("done", 0), ("done", 0), ("done", expected), ("done", 0),
    ]  # fmt: skip


def test_a_move_that_is_stopped_is_on_record_and_the_next_sync_carries_it_on(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowvec.stores.partitioned.moving.KEYS", 20)
    rows = source(ROWS)
    sync(simple_pipeline(rows, make(2)))
    store = make(3)
    pipeline = simple_pipeline(rows, store)

    def ask_to_stop(report: Report) -> None:
        store.ask_to_stop(store.runs(1)[0].id)

    with pytest.raises(Interrupted, match="next sync goes on"):
        sync(pipeline, progress=ask_to_stop)
    assert store.runs(1)[0].outcome == "interrupted"
    moved = store.runs(1)[0].report["moved"]
    assert 0 < moved == len(in_part(store, pipeline)[2])
    assert store.must_move()
    sync(pipeline)
    assert store.runs(2)[1].report["moved"] > 0
    check_places(store, pipeline, 3, ROWS)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (5, 2), (4, 1)])
def test_parts_are_added_to_a_table_and_taken_away(make: Make, before: int, after: int) -> None:
    rows = source(ROWS)
    sync(simple_pipeline(rows, make(before)))
    store = make(after)
    pipeline = simple_pipeline(rows, store)
    assert sync(pipeline).written == 0
    check_places(store, pipeline, after, ROWS)


def test_everything_of_a_row_goes_along(make: Make) -> None:
    columns = (*COLUMNS, Column("at", ColumnType.TIMESTAMP), Column("tags", ColumnType.JSON))
    spec = replace(SPEC, fingerprint=replace(EMBEDDER.fingerprint, passages="some"), metadata=columns)
    entries = []
    for number in range(60):
        document, vector, *_ = written(number, f"paper {number} of the passage collection")
        first = Passage(0, 5, digest(f"a{number}"), vector, 3)
        second = Passage(3, 9, digest(f"b{number}"), vector[::-1].copy(), 5)
        at = dt.datetime(2020, 1, 1, 12, number, tzinfo=dt.UTC)
        document = document._replace(metadata=(*document.metadata, at, {"n": [number, "é"]}))
        entries.append(Entry(document, vector, None, number % 2 == 0, (first, second)))
    store = make(2)
    with store.lock():
        handle = store.prepare(spec)
        handle.write(WriteBatch(entries, positions={entry.document.key: "7" for entry in entries}))
        store.activate(spec)
    keys = [entry.document.key for entry in entries]

    def all_of(rows: GenerationHandle) -> list[Any]:
        vector = entries[0].vector
        truncated = {key: each.truncated for key, each in rows.written(keys).items()}
        found = rows.nearest(vector, 60)
        return [
            rows.lookup(keys), rows.metadata(keys), rows.texts(keys, vector), truncated, rows.positions(keys),
            list(found.keys), list(found.scores), list(rows.keyword("passage 7", 60).keys), rows.status().passages,
        ]  # fmt: skip

    def tokens(store: PartitionedStore) -> dict[Any, list[int]]:
        parts = existing(store, spec).reach.parts.values()
        return {
            key: [each.tokens for each in row.passages] for part in parts for key, row in part.carried(keys).items()
        }

    before = all_of(existing(store, spec))
    assert tokens(store) == {key: [3, 5] for key in keys}
    other = make(5)
    with other.lock():
        assert other.move(spec) > 20
    assert all_of(existing(other, spec)) == before
    assert tokens(other) == {key: [3, 5] for key in keys}


def test_searches_find_every_row_while_a_part_is_added(make: Make) -> None:
    rows = source(ROWS)
    sync(simple_pipeline(rows, make(4)))
    old, new = make(4), make(5)
    embedder, stop = HashEmbedder(), threading.Event()
    problems: list[str] = []
    searched = [0] * 4

    def search(number: int) -> None:
        spec, rng = simple_pipeline(rows).spec, random.Random(number)
        searcher = Searcher(old, embedder, spec)
        while not stop.is_set():
            key = rng.choice(sorted(ROWS))
            try:
                for mode in ("semantic", "keyword"):
                    found = [hit.key for hit in searcher.search(f"row {key}", mode=mode, limit=200, exact=True).hits]
                    if len(found) != len(set(found)) or len(found) != 200:
                        problems.append(f"{mode}: {len(found)} hits, {len(set(found))} rows")
                    if found[0] != key:
                        problems.append(f"{mode}: {found[0]} instead of {key}")
                searched[number] += 1
            except Exception as error:
                problems.append(repr(error))

    clients = [threading.Thread(target=search, args=(number,)) for number in range(4)]
    for client in clients:
        client.start()
    try:
        sync(simple_pipeline(rows, new))
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert not problems, problems[:3]
    assert min(searched) > 0


def killed_at(number: int) -> Callable[[Step], None]:
    seen = [0]

    def observe(step: Step) -> None:
        seen[0] += step in (Step.WRITE_BEFORE_COMMIT, Step.DELETE_BEFORE_COMMIT, Step.WRITE_AFTER_COMMIT)
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return observe


@pytest.mark.parametrize("at", [2, 5, 9])
def test_a_killed_move_is_carried_to_its_end_by_the_next_sync(
    make: Make, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowvec.stores.partitioned.moving.ROWS", 40)
    rows = source(ROWS)
    first = make(4)
    sync(simple_pipeline(rows, first))
    first.close()

    def dying() -> None:
        killpoints.observer = killed_at(at)
        sync(simple_pipeline(rows, make(5)))

    assert in_child(dying) == -signal.SIGKILL
    again = make(5)
    pipeline = simple_pipeline(rows, again)
    # Half moved, it is searched as it should be.
    found = Searcher(again, HashEmbedder(), pipeline.spec).search("row 7", mode="semantic", limit=200, exact=True)
    assert sorted(hit.key for hit in found.hits) == sorted(ROWS)
    report = sync(pipeline)
    assert (report.texts, report.failed) == (0, 0)
    check_places(again, pipeline, 5, ROWS)


def test_bm25_weighs_words_as_one_table_does_after_a_move(make: Make, data: Path) -> None:
    entries = [written(number, text) for number, text in enumerate(papers(data, 500))]
    filled(make(2), entries)
    one, store = filled(make(1, "whole"), entries), make(3)
    with store.lock():
        assert store.move(SPEC)
    parts = existing(store, SPEC)
    for query in QUERIES:
        expected, found = one.keyword(query, 100), parts.keyword(query, 100)
        assert list(found.keys) == list(expected.keys)
        assert list(found.scores) == pytest.approx(list(expected.scores), rel=1e-12)


def check_guard(pipeline: Pipeline, rows: MemorySource) -> None:
    """Two deletions, which are more than half only together."""
    for key in sorted(ROWS)[:75]:
        del rows.rows[key]
    sync(pipeline)
    for key in sorted(ROWS)[75:130]:
        del rows.rows[key]
    with pytest.raises(StoreError, match="More than half"):
        sync(pipeline)


def test_the_deletion_guard_counts_moved_rows(make: Make) -> None:
    rows = source(ROWS)
    sync(simple_pipeline(rows, make(1)))
    pipeline = simple_pipeline(rows, make(4))
    sync(pipeline)
    check_guard(pipeline, rows)
    assert rows_of(pipeline).count() == 125
    sync(pipeline, Options(allow_delete=True))
    assert rows_of(pipeline).count() == 70


def test_the_deletion_guard_compares_times_of_one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the clocks of other servers say, which are an hour ahead, is not later than what the first one says."""
    rows, store = source(ROWS), PartitionedStore(lambda number: MemoryStore(), 3)
    pipeline = simple_pipeline(rows, store)
    sync(pipeline)
    of_part = MemoryPart.created
    first = existing(store, pipeline.spec).reach.parts[0]

    def created(part: MemoryPart, keys: Sequence[Key]) -> Created:
        now, times = of_part(part, keys)
        ahead = dt.timedelta(hours=0 if part._made is first._made else 1)
        return Created(now + ahead, [time + ahead for time in times])

    monkeypatch.setattr(MemoryPart, "created", created)
    check_guard(pipeline, rows)


# Generations


def test_a_swap_that_ended_between_two_parts_mixes_no_models(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, store = source(ROWS), make(3)
    old = simple_pipeline(rows, store)
    sync(old)
    new = simple_pipeline(rows, store, HashEmbedder(old.spec.dimension, model="other"))
    first = store.first

    def broken(spec: TableSpec) -> None:
        raise StoreUnavailable("the first part is gone")

    monkeypatch.setattr(first, "activate", broken)
    with pytest.raises(StoreUnavailable):
        sync(new)
    monkeypatch.undo()
    # Two parts have the new model live, the first one has not: searches go on with the old one, in all parts.
    searcher = Searcher(store, old.embedder, old.spec)
    found = searcher.search("row 7", mode="semantic", limit=200, exact=True).hits
    assert found[0].key == 7 and len(found) == 200
    sync(new)
    searcher = Searcher(store, new.embedder, new.spec)
    assert searcher.search("row 9", mode="semantic", limit=200, exact=True).hits[0].key == 9
    vectors_match_rows(new, ROWS)
    with store.lock():
        store.rollback(new.spec)
    vectors_match_rows(old, ROWS)
    assert {each.state: each.rows for each in store.generations(old.spec)} == {State.LIVE: 200, State.PREVIOUS: 200}


def test_generations_that_are_not_live_do_not_go_along(make: Make) -> None:
    rows, store = source(ROWS), make(2)
    old = simple_pipeline(rows, store)
    sync(old)
    sync(simple_pipeline(rows, store, HashEmbedder(24, model="other")))
    wider = make(3)
    new = simple_pipeline(rows, wider, HashEmbedder(24, model="other"))
    sync(new)
    assert [each.state for each in wider.generations(new.spec)] == [State.LIVE]
    with pytest.raises(StoreError, match="no previous generation"):
        wider.rollback(new.spec)


# What is missing, or another


def test_a_part_that_cannot_be_reached_is_named_and_nothing_is_written(quick_folder: Path) -> None:
    tables = [MemoryStore() for _ in range(3)]
    rows = source(ROWS)
    sync(simple_pipeline(rows, PartitionedStore(lambda number: MemoryStore(share=tables[number]), 3)))

    class Away(MemoryStore):
        def lock(self) -> Any:
            raise StoreUnavailable("no answer from host-2")

        def generation(self, spec: TableSpec) -> Any:
            raise StoreUnavailable("no answer from host-2")

    class Refusing(MemoryStore):
        def prepare(self, spec: TableSpec) -> Any:
            raise StoreError("host-2 lacks pgvector", hint="Install it.")

    def part(number: int) -> PartStore:
        return Away(share=tables[1]) if number == 1 else MemoryStore(share=tables[number])

    store = PartitionedStore(part, 3)
    pipeline = simple_pipeline(source({**ROWS, 999: "new"}), store)
    with pytest.raises(StoreUnavailable, match=r"Part 2 of 3 does not answer: no answer from host-2"):
        Searcher(store, pipeline.embedder, pipeline.spec).search("row 7")
    with pytest.raises(StoreUnavailable, match=r"Part 2 of 3 does not answer: no answer from host-2"):
        sync(pipeline)
    refusing = PartitionedStore(lambda number: Refusing(share=tables[1]) if number == 1 else part(number), 3)
    with pytest.raises(StoreError, match=r"^Part 2 of 3: host-2 lacks pgvector") as caught:
        sync(replace(pipeline, store=refusing))
    assert caught.value.hint == "Install it."
    assert sum(len(each.tables.generations[State.LIVE].records) for each in tables) == len(ROWS)


def test_servers_in_another_order_are_refused() -> None:
    tables = [MemoryStore() for _ in range(3)]
    sync(simple_pipeline(source(ROWS), PartitionedStore(lambda number: MemoryStore(share=tables[number]), 3)))
    order = [0, 2, 1]
    mixed = PartitionedStore(lambda number: MemoryStore(share=tables[order[number]]), 3)
    pipeline = simple_pipeline(source(ROWS), mixed)
    with pytest.raises(StoreError, match="part 2 of 3 should be there, and part 3 is"):
        Searcher(mixed, pipeline.embedder, pipeline.spec).search("row 7")
    with pytest.raises(StoreError, match="part 2 of 3 should be there"):
        sync(pipeline)


def test_a_part_that_was_emptied_is_noticed() -> None:
    tables = [MemoryStore() for _ in range(3)]
    sync(simple_pipeline(source(ROWS), PartitionedStore(lambda number: MemoryStore(share=tables[number]), 3)))
    tables[2] = MemoryStore()
    store = PartitionedStore(lambda number: MemoryStore(share=tables[number]), 3)
    pipeline = simple_pipeline(source(ROWS), store)
    with pytest.raises(StoreError, match="part 3 of 3 should be there, and none is"):
        rows_of(pipeline)


def test_a_split_table_is_not_taken_for_a_whole_one(postgres_url: str, quick_folder: Path) -> None:
    for part, whole in (
        (postgres_part(postgres_url, "things"), PostgresStore(postgres_url, "things", pipeline="things")),
        (libsql_part(quick_folder, "things"), LibsqlStore(str(quick_folder / "vectors.db"), table="things")),
    ):
        split = PartitionedStore(part, 3)
        sync(simple_pipeline(source(ROWS), split))
        with pytest.raises(StoreError, match="holds part 1 of 3") as caught:
            sync(simple_pipeline(source(ROWS), whole))
        assert "store.partitions" in (caught.value.hint or "")
        split.close()
        whole.close()


def test_who_searches_a_table_as_a_whole_one_notices_that_it_is_split(postgres_url: str, quick_folder: Path) -> None:
    file = str(quick_folder / "vectors.db")
    for part, whole in (
        (postgres_part(postgres_url, "things"), PostgresStore(postgres_url, "things", pipeline="things")),
        (libsql_part(quick_folder, "things"), LibsqlStore(file, table="things")),
    ):
        rows = source(ROWS)
        pipeline = simple_pipeline(rows, whole)
        sync(pipeline)
        searcher = Searcher(whole, pipeline.embedder, pipeline.spec)
        assert len(searcher.search("row 7", limit=200, exact=True).hits) == len(ROWS)
        split = PartitionedStore(part, 3)
        sync(simple_pipeline(rows, split))
        with pytest.raises(StoreError, match="holds part 1 of 3"):
            searcher.search("row 7", limit=200, exact=True)
        split.close()
        whole.close()


def test_rows_whose_texts_are_not_kept_stay_where_they_are(make: Make) -> None:
    rows, store = source(ROWS), make(2)
    pipeline = simple_pipeline(rows, store)
    pipeline = replace(pipeline, spec=replace(pipeline.spec, keeps_texts=False))
    sync(pipeline)
    with pytest.raises(StoreError, match="texts are not kept"):
        sync(replace(pipeline, store=make(3)))
    check_places(store, pipeline, 2, ROWS)


def test_one_sync_at_a_time_holds_every_part(make: Make) -> None:
    one, other = make(3), make(3)
    sync(simple_pipeline(source(ROWS), one))
    with one.lock(), pytest.raises(Locked), other.lock():
        pass
    with other.lock():
        pass


def test_workers_of_a_fleet_share_all_parts_and_move_no_rows(postgres_url: str) -> None:
    rows = source(ROWS)
    one, other = (PartitionedStore(postgres_part(postgres_url, "things"), 2) for _ in range(2))
    three = PartitionedStore(postgres_part(postgres_url, "things"), 3)
    pipeline = simple_pipeline(rows, one)
    sync(pipeline)
    with one.lock("first range"), other.lock("second range"):
        assert other.prepare(pipeline.spec).count() == len(ROWS)
        with pytest.raises(Locked), three.lock():
            pass
    with three.lock("first range"), pytest.raises(StoreError, match=r"in 2 parts, and store\.partitions says 3"):
        three.prepare(pipeline.spec)
    check_places(one, pipeline, 2, ROWS)
    for store in (one, other, three):
        store.close()


def test_a_row_is_in_the_same_part_on_every_machine() -> None:
    assert [part_of(key, 10) for key in (0, 1, 42, -7, "42", "straße", "a" * 1_000)] == EXPECTED
    for parts in (1, 2, 5, 30):
        for key in range(2_000):
            before, after = part_of(key, parts), part_of(key, parts + 1)
            assert after in (before, parts), "a row moves to the new part only"


EXPECTED = [0, 4, 5, 8, 5, 4, 8]
