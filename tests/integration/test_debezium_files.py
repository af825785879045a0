"""Following change events in files: what the store holds is what the events say, however often and late they come."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rowvec.embedders.pricing import Budget
from rowvec.errors import (
    ConfigError,
    DeletionGuard,
    EmbedderUnavailable,
    GenerationHeld,
    Locked,
    SourceError,
    SourceUnavailable,
    StoreError,
)
from rowvec.filters import Compare, Op
from rowvec.generations.lifecycle import roll_back
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Source
from rowvec.sources.events.files import EventFiles
from rowvec.sources.events.stream import EventSettings
from rowvec.sources.storage import File, find
from rowvec.stores.base import Store
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.runs import Report
from rowvec.stores.write_batch import WriteBatch
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource, MemoryStore
from rowvec.types import ColumnType, Embedded, State
from tests.integration.debezium_rig import Change, envelope, lines, partitions, put, registry, removed, row
from tests.models import Models
from tests.support import rows_of, simple_pipeline, vectors_match_rows

UNAVAILABLE = "__debezium_unavailable_value"


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    store: Store = MemoryStore()
    if request.param == "postgres":
        store = PostgresStore(request.getfixturevalue("postgres_url"), "things_embeddings", pipeline="things")
    yield store
    store.close()


def follow(path: Path, store: Store | None = None, *, rows: Source | None = None, **settings: Any) -> Pipeline:
    events = EventFiles([str(path)], EventSettings("id", **settings), rows=rows)
    return simple_pipeline(events, store or MemoryStore(), HashEmbedder(billed=True))


def carry_out(pipeline: Pipeline, **options: Any) -> Report:
    assert isinstance(pipeline.source, EventFiles)
    return sync(pipeline, **options)


def embedder_of(pipeline: Pipeline) -> HashEmbedder:
    assert isinstance(pipeline.embedder, HashEmbedder)
    return pipeline.embedder


def test_after_a_rollback_events_go_to_the_live_generation_until_the_new_one_is_accepted(
    store: Store, tmp_path: Path, models: Models
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(lines([put(1, "one", 1, "c"), put(2, "two", 2, "c")]))
    carry_out(models.of(models.old, follow(path, store)))
    new, said = models.of(models.new, follow(path, store)), list[str]()
    carry_out(new, from_start=True, tell=said.append)
    assert said[0].startswith("The model changes from old (8 dimensions)")
    assert said[1].startswith("The new generation is live.")
    roll_back(new)

    said.clear()
    path.write_text(path.read_text() + lines([put(2, "second", 3)]))
    carry_out(new, tell=said.append)
    assert len(said) == 1
    assert "which was rolled back on" in said[0]
    vectors_match_rows(models.of(models.old, new), {1: "one", 2: "second"})

    carry_out(new, from_start=True, accept=True, tell=said.append)
    assert said[-1].startswith("The new generation is live.")
    vectors_match_rows(new, {1: "one", 2: "second"})


def test_a_rollback_misses_no_event_that_came_while_the_other_generation_was_live(
    store: Store, tmp_path: Path, models: Models
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(lines([put(1, "one", 1, "c"), put(2, "two", 2, "c"), put(3, "three", 3, "c")]))
    carry_out(models.of(models.old, follow(path, store)))
    new = models.of(models.new, follow(path, store))
    carry_out(new, from_start=True)
    path.write_text(path.read_text() + lines([put(2, "deux", 4), put(2, "second", 5), removed(3, 6)]))
    carry_out(new)
    roll_back(new)
    before = len(models.old.texts)
    carry_out(new)
    vectors_match_rows(models.of(models.old, new), {1: "one", 2: "second"})
    assert models.old.texts[before:] == ["second"], "the newest text of each row is embedded, and no other"


def test_a_new_generation_is_held_where_the_events_no_longer_tell_of_every_row(
    store: Store, tmp_path: Path, models: Models
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(lines([put(1, "one", 1, "c"), put(2, "two", 2, "c"), put(3, "three", 3, "c"), put(4, "", 4, "c")]))
    carry_out(models.of(models.old, follow(path, store)))
    path.write_text(lines([removed(1, 5), put(3, "drei", 6)]))
    new = models.of(models.new, follow(path, store))
    with pytest.raises(GenerationHeld, match=r"cover 1 row, but the live generation has current vectors for 3"):
        carry_out(new, from_start=True)
    assert {each.state: each.rows for each in store.generations(new.spec)} == {State.LIVE: 3, State.BUILDING: 1}
    path.write_text(lines([removed(1, 5), put(2, "two", 5), put(3, "drei", 6), put(4, "", 7)]))
    carry_out(new, from_start=True)
    vectors_match_rows(new, {2: "two", 3: "drei"})


class Billed(HashEmbedder):
    """The service bills one answer that is of no use."""

    exact_tokens = True

    def __init__(self) -> None:
        super().__init__(billed=True)
        self.budget = Budget()

    def embed(self, texts: Sequence[str]) -> Embedded:
        with self.budget.hold(3.0) as hold:
            hold.pay(3.0, 3)
        if self.budget.spent == 3.0:
            raise EmbedderUnavailable("That was no answer.")
        return super().embed(texts)._replace(tokens=3, cost=3.0)

    def token_error(self, texts: Sequence[str]) -> float:
        return 0.0

    def expected_seconds(self, texts: int, tokens: int) -> float:
        return 0.0


def test_what_a_useless_answer_cost_is_on_record(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(lines([put(1, "one", 1, "c")]))
    pipeline = replace(follow(path), embedder=Billed())
    assert (carry_out(pipeline).cost, pipeline.store.runs(1)[0].report["tokens"]) == (6.0, 6)


def test_who_begins_anew_leaves_alone_what_another_sync_is_filling(
    store: Store, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(lines([put(1, "one", 1, "c"), put(2, "two", 2, "c")]))
    carry_out(follow(path, store))
    filling = replace(follow(path, store), embedder=HashEmbedder(model="second"))
    filling = replace(filling, spec=replace(filling.spec, fingerprint=filling.embedder.fingerprint))
    store.prepare(filling.spec)
    if isinstance(store, MemoryStore):
        other: Store = MemoryStore(share=store)
    else:
        other = PostgresStore(request.getfixturevalue("postgres_url"), "things_embeddings", pipeline="things")
    third = replace(follow(path, other), embedder=HashEmbedder(model="third"))
    third = replace(third, spec=replace(third.spec, fingerprint=third.embedder.fingerprint))
    with store.lock(), pytest.raises(Locked):
        carry_out(third, from_start=True)
    (building,) = [each for each in store.generations(filling.spec) if each.state is State.BUILDING]
    assert building.fingerprint == filling.embedder.fingerprint
    other.close()


class TestReplay:
    def test_creates_updates_and_deletes_arrive(self, store: Store, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        path.write_text(lines([put(1, "one", 1, "c"), put(2, "two", 2, "r"), put(3, "three", 3), removed(2, 4)]))
        pipeline = follow(path, store)
        report = carry_out(pipeline)
        assert (report.read, report.inserted, report.deleted) == (4, 2, 0)
        vectors_match_rows(pipeline, {1: "one", 3: "three"})
        with path.open("a") as file:
            file.write(
                lines([removed(1, 5), put(3, "drei", 6), Change("u", 3, None, row(3, "drei") | {"price": 9}, 7)])
            )
        report = carry_out(pipeline, batch_events=2)
        assert (report.read, report.deleted, report.embedded, report.updated) == (3, 1, 1, 1)
        vectors_match_rows(pipeline, {3: "drei"})
        assert rows_of(pipeline).metadata([3]) == {3: {"price": 9}}
        pipeline.close()

    def test_the_registry_twice_and_in_any_order(self, store: Store, data: Path, tmp_path: Path) -> None:
        changes, state = registry(data)
        for number, part in enumerate(partitions(changes, 3)):
            (tmp_path / f"part-{number}.jsonl").write_text(lines(part, tombstones=True))
        pipeline = follow(tmp_path / "*.jsonl", store)
        first = carry_out(pipeline, batch_events=400)
        vectors_match_rows(pipeline, state)
        assert first.failed == 0

        embedded = len(embedder_of(pipeline).texts)
        assert carry_out(pipeline).read == 0, "the offsets say that all was carried out"
        again = carry_out(pipeline, from_start=True, batch_events=77)
        assert again.read >= len(changes)
        assert again.written == 0
        dice = random.Random(5)
        (tmp_path / "z-again.jsonl").write_text(lines(dice.sample(changes, len(changes))))
        assert carry_out(pipeline, batch_events=150).written == 0
        assert len(embedder_of(pipeline).texts) == embedded
        vectors_match_rows(pipeline, state)
        pipeline.close()

    def test_events_that_were_never_in_order_end_in_the_same_state(self, data: Path, tmp_path: Path) -> None:
        changes, state = registry(data)
        dice = random.Random(6)
        (tmp_path / "events.jsonl.gz").write_bytes(gzip.compress(lines(dice.sample(changes * 2, 7000)).encode()))
        pipeline = follow(tmp_path / "events.jsonl.gz")
        carry_out(pipeline, batch_events=250)
        vectors_match_rows(pipeline, state)

    def test_only_the_last_event_of_a_batch_is_embedded(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        path.write_text(lines(put(1, f"name {number}", number) for number in range(50)))
        pipeline = follow(path)
        report = carry_out(pipeline)
        assert embedder_of(pipeline).texts == ["name 49"]
        assert report.reasons["followed by another event of the row"] == 49

    def test_a_lost_acknowledgement_is_harmless(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        path.write_text(lines(put(number, f"name {number}", number) for number in range(200)))
        store = MemoryStore()
        store.lost_answers = 2
        pipeline = follow(path, store)
        carry_out(pipeline, batch_events=50)
        assert len(embedder_of(pipeline).texts) == 200
        vectors_match_rows(pipeline, {number: f"name {number}" for number in range(200)})

    def test_a_batch_is_not_forgotten_when_the_embedder_is_down(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        path.write_text(lines([put(1, "one", 1), put(2, "bad", 2)]))
        pipeline = follow(path)
        embedder_of(pipeline).unavailable = 2
        embedder_of(pipeline).refused = {"bad"}
        report = carry_out(pipeline)
        assert (report.inserted, report.failed) == (1, 1)
        assert [failure.key for failure in rows_of(pipeline).failures()] == [2]
        vectors_match_rows_of(pipeline, {1: "one"})


def vectors_match_rows_of(pipeline: Pipeline, rows: dict[Any, str]) -> None:
    for key, name in rows.items():
        vector = rows_of(pipeline).vector(key)
        assert vector is not None
        assert abs(vector - pipeline.embedder.embed_query(name)).max() < 1e-6


class TestWhatEventsDoNotTell:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "events.jsonl"
        path.write_text(lines([put(1, UNAVAILABLE, 5), put(2, "two", 6)]))
        return path

    def test_a_value_that_was_not_logged_fails_the_row_and_keeps_its_vector(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "events.jsonl").write_text(lines([put(1, "one", 1)]))
        pipeline = follow(path)
        carry_out(pipeline)
        with path.open("a") as file:
            file.write(lines([put(1, UNAVAILABLE, 5)]))
        report = carry_out(pipeline)
        (failure,) = rows_of(pipeline).failures()
        assert (report.failed, failure.key) == (1, 1)
        assert "does not tell the value of 'name'" in failure.error
        vectors_match_rows_of(pipeline, {1: "one"})
        assert not any(UNAVAILABLE in text for text in embedder_of(pipeline).texts)

    def test_it_is_read_from_the_table_where_one_is_named(self, path: Path) -> None:
        table = MemorySource({1: {"name": "from the table", "price": 1}})
        pipeline = follow(path, rows=table)
        report = carry_out(pipeline)
        vectors_match_rows(pipeline, {1: "from the table", 2: "two"})
        assert report.reasons["read again from the table"] == 1

    def test_a_row_that_is_gone_from_the_table_meanwhile_is_gone(self, path: Path) -> None:
        pipeline = follow(path, rows=MemorySource({7: {"name": "another", "price": 1}}))
        carry_out(pipeline)
        vectors_match_rows(pipeline, {2: "two"})

    def test_a_key_that_is_padded_is_the_key_of_the_table(self, path: Path) -> None:
        path.write_text(lines([put("a   ", "one", 1), put("b   ", UNAVAILABLE, 2), put(" c", "three", 3)]))
        pipeline = follow(path, rows=MemorySource({"b   ": {"name": "two", "price": 1}}), key_type=ColumnType.TEXT)
        carry_out(pipeline)
        vectors_match_rows(pipeline, {"a   ": "one", "b   ": "two", " c": "three"})
        with path.open("a") as file:
            file.write(lines([removed("a   ", 4)], tombstones=True) + "b   \tnull\n")
        carry_out(pipeline, options=Options(allow_delete=True))
        vectors_match_rows(pipeline, {" c": "three"})

    def test_it_is_taken_from_an_event_just_before(self, path: Path) -> None:
        path.write_text(lines([put(1, "one", 1), put(1, UNAVAILABLE, 2)]))
        pipeline = follow(path)
        assert carry_out(pipeline).failed == 0
        vectors_match_rows(pipeline, {1: "one"})

    def test_a_column_that_nobody_uses_may_be_missing(self, path: Path) -> None:
        path.write_text(lines([put(1, "one", 1, photo=UNAVAILABLE)]))
        pipeline = follow(path)
        carry_out(pipeline)
        vectors_match_rows(pipeline, {1: "one"})


class TestRows:
    def test_a_row_that_no_longer_passes_where_loses_its_vector(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        path.write_text(lines([put(1, "one", 1, hidden=False), put(2, "two", 2, hidden=True)]))
        pipeline = follow(path, where=Compare("hidden", Op.EQ, False))
        carry_out(pipeline)
        vectors_match_rows(pipeline, {1: "one"})
        with path.open("a") as file:
            file.write(lines([put(1, "one", 3, hidden=True), put(2, "two", 4, hidden=False)]))
        carry_out(pipeline, options=Options(allow_delete=True))
        vectors_match_rows(pipeline, {2: "two"})

    def test_a_truncation_stops_until_it_is_allowed(self, store: Store, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        emptied = json.dumps(envelope(Change("t", None, None, None, 5)))
        path.write_text(lines([put(1, "one", 1), put(2, "two", 2)]) + emptied + "\n" + lines([put(3, "three", 6)]))
        pipeline = follow(path, store)
        with pytest.raises(DeletionGuard, match=r"truncated; 2 rows .* would be deleted"):
            carry_out(pipeline)
        vectors_match_rows(pipeline, {1: "one", 2: "two"})
        carry_out(pipeline, options=Options(allow_delete=True))
        vectors_match_rows(pipeline, {3: "three"})
        assert carry_out(pipeline, options=Options(allow_delete=True), from_start=True).written == 0
        pipeline.close()

    def test_columns_and_types_come_from_the_first_events_or_are_declared(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        path.write_text(lines([put("a", "one", 1, weight=1.5, tags=["x"])]))
        found = {c.name: c.type for c in EventFiles([str(path)], EventSettings("id")).columns}
        assert found == {"id": "text", "name": "text", "price": "integer", "weight": "number", "tags": "array"}
        path.write_text("")
        with pytest.raises(SourceError, match="no events yet that would tell the columns"):
            EventFiles([str(path)], EventSettings("id"))
        declared = {"id": ColumnType.INTEGER, "name": ColumnType.TEXT}
        assert EventFiles([str(path)], EventSettings("id", columns=declared)).key_type is ColumnType.INTEGER

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ('{"op": "c", "before": null, "after": {"ID": 1}, "source": {}}', r"line 1: .* no key 'id'(.|\n)*'ID'"),
            ('{"database": "d", "table": "t", "type": "insert", "data": {"id": 1}}', "line 1: an event of Maxwell"),
            ("{", "line 1: no valid JSON"),
        ],
    )
    def test_where_no_event_can_be_read_the_first_one_says_why(self, tmp_path: Path, line: str, said: str) -> None:
        path = tmp_path / "events.jsonl"
        path.write_text(f"{line}\n" * 2)
        with pytest.raises(SourceError, match=said):
            EventFiles([str(path)], EventSettings("id"))
        with pytest.raises(SourceError, match="no events yet"):
            EventFiles([str(path)], EventSettings("id", skip_bad=True))

    def test_there_is_no_table_to_compare_with_unless_one_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        path.write_text(lines([put(1, "one", 1)]))
        with pytest.raises(ConfigError, match="no table to compare with"):
            sync(follow(path), Options(full=True))
        pipeline = follow(path, rows=MemorySource({5: {"name": "five", "price": 1}}))
        sync(pipeline, Options(full=True))
        vectors_match_rows(pipeline, {5: "five"})

    def test_events_alone_do_not_mend_a_change_of_the_model(self, store: Store, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        path.write_text(lines([put(1, "one", 1), put(2, "two", 2), removed(2, 3)]))
        carry_out(follow(path, store))
        events = EventFiles([str(path)], EventSettings("id"))
        pipeline = simple_pipeline(events, store, HashEmbedder(model="another"))
        with pytest.raises(StoreError, match="made by another model"):
            sync(pipeline)
        sync(pipeline, from_start=True)
        vectors_match_rows(pipeline, {1: "one"})
        pipeline.close()


class TestBadInput:
    def write(self, tmp_path: Path, bad: str) -> Path:
        path = tmp_path / "events.jsonl"
        path.write_text(lines([put(1, "one", 1)]) + bad)
        return path

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ('{"op": "u", "after": {"id": 2', r"line 2: the file ends in the middle of a line"),
            ('{"op": "u", "after": {"id": 2}}}\n', r"line 2: no valid JSON"),
            ('{"op": "u", "after": {"name": "x"}, "source": {}}\n', r"line 2: the event has no key 'id'"),
            ('{"op": "q", "after": {"id": 2}, "source": {}}\n', r"line 2: the op 'q' is unknown"),
            (
                '{"op": "u", "after": {"id": "x"}, "source": {}}\n',
                r"line 2: the key 'id' is 'x', which is not a valid integer",
            ),
        ],
    )
    def test_a_bad_event_stops_after_the_good_ones_and_says_where(self, tmp_path: Path, bad: str, message: str) -> None:
        pipeline = follow(self.write(tmp_path, bad), key_type=ColumnType.INTEGER)
        with pytest.raises(SourceError, match=message):
            carry_out(pipeline)
        vectors_match_rows(pipeline, {1: "one"})
        assert pipeline.store.runs()[0].outcome == "failed"
        with pytest.raises(SourceError, match=message):
            carry_out(pipeline)
        assert embedder_of(pipeline).texts == ["one"]

    def test_a_bad_event_can_be_left_out_and_is_counted(self, tmp_path: Path) -> None:
        bad = '{"op": "q", "after": {"id": 2}, "source": {}}\nnonsense\n' + lines([put(3, "three", 3)])
        pipeline = follow(self.write(tmp_path, bad), skip_bad=True)
        report = carry_out(pipeline)
        assert report.reasons["event that cannot be read"] == 2
        vectors_match_rows(pipeline, {1: "one", 3: "three"})

    def test_a_line_that_is_still_being_written_is_waited_for(self, tmp_path: Path) -> None:
        whole = lines([put(2, "two", 2)])
        path = self.write(tmp_path, whole[:30])
        pipeline = follow(path)
        stop = threading.Event()

        def write_on(report: Report) -> None:
            if report.read == 1 and path.stat().st_size < 400:
                with path.open("a") as file:
                    file.write(whole[30:])
            elif report.read == 2:
                stop.set()

        carry_out(pipeline, follow=True, stop=stop, progress=write_on)
        vectors_match_rows(pipeline, {1: "one", 2: "two"})


class TestRotation:
    """Another file under the name of one that was read, and a file that got another name (fluent-bit#375)."""

    OLD = (put(1, "one", 1), put(2, "two", 2))

    @pytest.fixture(params=["events.jsonl", "events.jsonl.gz"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        return tmp_path / str(request.param)

    def write(self, path: Path, *changes: Any) -> None:
        said = lines(changes).encode()
        path.write_bytes(gzip.compress(said) if path.suffix == ".gz" else said)

    def test_the_first_events_of_a_longer_file_under_the_same_name_are_read(self, path: Path, store: Store) -> None:
        self.write(path, *self.OLD)
        pipeline = follow(path, store)
        carry_out(pipeline)
        self.write(path, put(3, "three", 3), put(4, "four", 4), put(5, "five", 5), put(1, "first", 6))
        assert carry_out(pipeline).read == 4
        vectors_match_rows(pipeline, {1: "first", 2: "two", 3: "three", 4: "four", 5: "five"})
        assert carry_out(pipeline).read == 0

    def test_a_file_that_was_cut_and_written_anew_is_read_from_its_beginning(self, path: Path) -> None:
        self.write(path, *self.OLD)
        pipeline = follow(path)
        carry_out(pipeline)
        self.write(path, put(3, "three", 3))
        assert carry_out(pipeline).read == 1
        vectors_match_rows(pipeline, {1: "one", 2: "two", 3: "three"})

    def test_a_file_of_the_same_length_is_told_by_its_events(self, path: Path) -> None:
        self.write(path, put(1, "one", 1), put(2, "two", 2))
        pipeline = follow(path)
        carry_out(pipeline)
        self.write(path, put(3, "one", 3), put(4, "two", 4))
        assert carry_out(pipeline).read == 2
        vectors_match_rows(pipeline, {1: "one", 2: "two", 3: "one", 4: "two"})

    def test_a_file_that_was_moved_away_is_read_on_where_it_was_left(self, path: Path) -> None:
        self.write(path, *self.OLD)
        events = EventFiles([f"{path.parent}/events*"], EventSettings("id"))
        pipeline = simple_pipeline(events, MemoryStore(), HashEmbedder(billed=True))
        carry_out(pipeline)
        moved = path.with_name(f"events.1.jsonl{path.suffix if path.suffix == '.gz' else ''}")
        self.write(moved, *self.OLD, put(6, "six", 6))
        self.write(path, put(7, "seven", 7), put(8, "eight", 8), put(9, "nine", 9))
        assert carry_out(pipeline).read == 4
        assert set(rows_of(pipeline).keys(None, 100)) == {1, 2, 6, 7, 8, 9}

    def test_a_file_that_has_grown_is_read_on(self, path: Path) -> None:
        self.write(path, *self.OLD)
        pipeline = follow(path)
        for more in range(3, 40):
            carry_out(pipeline)
            self.write(path, *self.OLD, *(put(key, f"row {key}", key) for key in range(3, more + 1)))
            assert carry_out(pipeline).read == 1

    def test_a_place_of_an_older_rowvec_is_where_it_goes_on(self, path: Path) -> None:
        self.write(path, *self.OLD)
        pipeline = follow(path)
        carry_out(pipeline)
        ((name, place),) = rows_of(pipeline).offsets().items()
        rows_of(pipeline).write(WriteBatch(offsets={name: place.rpartition(":")[0]}))
        self.write(path, *self.OLD, put(3, "three", 3))
        assert carry_out(pipeline).read == 1


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize(
    ("written", "said"),
    [
        (lambda text: text.encode("utf-16"), "UTF-16 text"),
        (lambda text: text.encode("utf-16-le"), "UTF-16"),
        (lambda text: text.encode("utf-32"), "UTF-16"),
        (lambda text: gzip.compress(text.encode()), "packed by gzip"),
        (lambda text: b"<!DOCTYPE html><title>Sign in</title>", "a web page"),
    ],
)
def test_a_file_of_another_kind_is_told_by_its_first_bytes(
    tmp_path: Path, written: Callable[[str], bytes], said: str, skip_bad: bool
) -> None:
    """It is not a bad event, which could be left out."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(written(lines([put(1, "one", 1, "c")])))
    with pytest.raises(SourceError, match=f"is not text in UTF-8, but {said}"):
        carry_out(follow(path, skip_bad=skip_bad))


def test_a_storage_that_fails_once_after_a_quiet_hour_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(lines([put(1, "one", 1)]))
    pipeline = follow(path)
    stop, looks = threading.Event(), itertools.count()

    def fails_once(patterns: Sequence[str], base: Path) -> list[File]:
        if next(looks) == 8:
            path.write_text(path.read_text() + lines([put(2, "two", 2)]))
            raise SourceUnavailable("The storage does not answer.")
        return find(patterns, base)

    def stop_at_the_second(report: Report) -> None:
        if report.read == 2:
            stop.set()

    monkeypatch.setattr("rowvec.sources.events.files.find", fails_once)
    monkeypatch.setattr("rowvec.syncing.events.PATIENCE", 3.0)  # The hour.
    carry_out(pipeline, follow=True, stop=stop, progress=stop_at_the_second)
    vectors_match_rows(pipeline, {1: "one", 2: "two"})
