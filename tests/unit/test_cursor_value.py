"""Which rows a cursor lets a sync leave out, and when it must not."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from rowvec.errors import ConfigError, DeletionGuard, EmbedderUnavailable
from rowvec.generations.lifecycle import roll_back
from rowvec.generations.watermark import STREAM, Watermark
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import CursorSettings, Selection
from rowvec.sources.cursor_marks import settled
from rowvec.sources.cursor_values import TIME_LAG, in_the_past, lowered, not_after
from rowvec.stores.base import Store
from rowvec.stores.runs import Report
from rowvec.stores.write_batch import WriteBatch
from rowvec.syncing import cursor
from rowvec.syncing.preview import preview
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemorySource
from rowvec.testing.generation import MemoryGeneration
from tests.models import Known, Models
from tests.support import rows_of, simple_pipeline, vectors_match_rows

LAG = 10


def opened(rows: dict[int, tuple[str, int | None]], *, store: Store | None = None, **changes: Any) -> Pipeline:
    """Names with an integer cursor, trusted to ten."""
    source = MemorySource({key: {"name": name, "price": 1, "at": at} for key, (name, at) in rows.items()}, cursor="at")
    changes.setdefault("cursor", CursorSettings(LAG))
    return simple_pipeline(source, store, **changes)


def memory(pipeline: Pipeline) -> MemorySource:
    assert isinstance(pipeline.source, MemorySource)
    return pipeline.source


def put(pipeline: Pipeline, key: int, name: str, at: int | None) -> None:
    memory(pipeline).rows[key] = {"id": key, "name": name, "price": 1, "at": at}


def names(pipeline: Pipeline) -> dict[Any, str]:
    return {key: row["name"] for key, row in memory(pipeline).rows.items() if row["name"]}


def hundred() -> Pipeline:
    pipeline = opened({n: (f"row {n}", n * 100) for n in range(1, 101)})
    first = sync(pipeline)
    assert (first.incremental, first.read, first.comparison) == (False, 100, "all rows: nothing was compared yet.")
    return pipeline


def reads(pipeline: Pipeline, options: Options | None = None) -> tuple[int, Report]:
    before = memory(pipeline).rows_read
    report = sync(pipeline, options)
    return memory(pipeline).rows_read - before, report


class TestReading:
    def test_only_what_the_cursor_tells_of_is_read(self) -> None:
        pipeline = hundred()
        read, report = reads(pipeline)
        assert (read, report.unchanged, report.incremental) == (1, 1, True)
        put(pipeline, 50, "changed", 10_001)
        put(pipeline, 101, "new", 10_002)
        read, report = reads(pipeline)
        assert (read, report.inserted, report.embedded, report.unchanged) == (3, 1, 1, 1)
        assert report.to_compare == 3
        vectors_match_rows(pipeline, names(pipeline))

    def test_the_cost_follows_the_change_and_not_the_table(self) -> None:
        counted = []
        for size in (500, 2000):
            pipeline = opened({n: (f"row {n}", n * 100) for n in range(size)})
            sync(pipeline)
            for n in range(20):
                put(pipeline, n * 7, f"changed {n}", size * 100 + n * 100)
            counted.append(reads(pipeline)[0])
        assert counted == [21, 21]

    def test_a_row_that_commits_late_within_the_lag_is_not_lost(self) -> None:
        pipeline = hundred()
        put(pipeline, 101, "late", 10_000 - LAG)
        read, report = reads(pipeline)
        assert (read, report.inserted, report.incremental) == (2, 1, True)

    def test_a_row_with_an_old_value_is_missed_by_the_number_of_rows(self) -> None:
        pipeline = hundred()
        put(pipeline, 101, "late", 10_000 - LAG)
        put(pipeline, 102, "too late", 10_000 - LAG - 1)
        put(pipeline, 103, "from an old backup", 5)
        read, report = reads(pipeline)
        assert (read, report.inserted) == (103, 3)
        assert report.comparison == "all rows: the source holds 2 rows more than at tells of."
        assert reads(pipeline)[1].incremental, "and then the cursor is trusted again"
        vectors_match_rows(pipeline, names(pipeline))

    def test_it_is_missed_beside_rows_without_a_text_and_rows_that_failed(self) -> None:
        """They have no entry either, and the cursor tells of them each time."""
        pipeline = hundred()
        for n in (101, 102, 103):
            put(pipeline, n, "", 10_000)
        for _ in range(3):
            assert reads(pipeline)[1].incremental
        put(pipeline, 104, "old", 5)
        assert reads(pipeline)[1].inserted == 1
        put(pipeline, 105, "new", 10_001)
        put(pipeline, 106, "", 10_001)
        assert reads(pipeline)[1].incremental
        put(pipeline, 107, "old too", 6)
        assert reads(pipeline)[1].inserted == 1
        vectors_match_rows(pipeline, names(pipeline))

    def test_right_after_all_rows_were_compared_it_is_missed_too(self) -> None:
        pipeline = opened({1: ("one", 100), 2: ("", 100)})
        sync(pipeline)
        put(pipeline, 3, "old", 5)
        assert reads(pipeline)[1].inserted == 1

    def test_rows_that_come_while_others_are_read_are_not_looked_for(self) -> None:
        pipeline = hundred()
        source, whole = memory(pipeline), memory(pipeline).pages
        new = iter(range(101, 200))

        def arriving(*args: Any, **named: Any) -> Any:
            for page in whole(*args, **named):
                yield page
                put(pipeline, next(new), "came meanwhile", 10_000 + LAG)

        source.pages = arriving  # type: ignore[method-assign]
        for _ in range(5):
            put(pipeline, next(new), "new", 10_000 + LAG)
            assert reads(pipeline)[1].incremental
        source.pages = whole  # type: ignore[method-assign]
        assert reads(pipeline)[1].incremental
        vectors_match_rows(pipeline, names(pipeline))

    def test_equal_values_are_all_read(self) -> None:
        pipeline = opened({n: (f"row {n}", 7) for n in range(1000)}, page_size=100)
        sync(pipeline)
        for n in range(0, 1000, 2):
            put(pipeline, n, f"changed {n}", 7)
        read, report = reads(pipeline)
        assert (read, report.embedded) == (1000, 500)
        vectors_match_rows(pipeline, names(pipeline))

    def test_rows_without_a_value_are_always_read(self) -> None:
        pipeline = opened({1: ("one", 100), 2: ("two", None), 3: ("three", 200)})
        sync(pipeline)
        put(pipeline, 2, "changed", None)
        read, report = reads(pipeline)
        assert (read, report.embedded, report.incremental) == (2, 1, True)

    def test_without_any_value_all_rows_are_compared(self) -> None:
        pipeline = opened({1: ("one", None), 2: ("two", None)})
        sync(pipeline)
        put(pipeline, 3, "three", 100)
        assert reads(pipeline)[1].comparison == "all rows: nothing was compared yet."
        for key in (1, 2, 3):
            put(pipeline, key, "text", None)
        assert reads(pipeline)[1].comparison == "all rows: no row has a value in at that tells what has changed."

    def test_rows_that_failed_are_read_again_when_their_cursor_stands_still(self) -> None:
        embedder = HashEmbedder()
        embedder.refused.add("bad 3")
        pipeline = simple_pipeline(
            MemorySource({n: {"name": f"bad {n}", "price": 1, "at": n * 100} for n in range(9)}, cursor="at"),
            embedder=embedder,
            cursor=CursorSettings(LAG),
        )
        assert sync(pipeline).failed == 1
        assert reads(pipeline)[1].waiting == 1, "not due yet, and not forgotten either"
        embedder.refused.clear()
        due = [replace(failure, next_try=failure.failed_at) for failure in rows_of(pipeline).failures()]
        rows_of(pipeline).write(WriteBatch(failures=due))
        read, report = reads(pipeline)
        assert (read, report.inserted, report.incremental) == (2, 1, True)

    def test_too_many_changes_are_no_reason_to_hold_their_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cursor, "MOST_KEYS", 5)
        pipeline = hundred()
        for n in range(5):
            put(pipeline, n + 1, "changed", 20_000)
        assert reads(pipeline)[0] == 100, "five changes, and the row of the lag"

    def test_the_plan_says_what_the_sync_does(self) -> None:
        pipeline = hundred()
        put(pipeline, 5, "changed", 20_000)
        put(pipeline, 101, "new", 20_000)
        del memory(pipeline).rows[7]
        planned = preview(pipeline)
        report = sync(pipeline)
        assert planned.incremental
        assert planned.comparison == report.comparison
        assert dict(planned.kinds) == {"insert": 1, "embed": 1, "unchanged": 1, "delete": 1}
        assert (report.inserted, report.embedded, report.unchanged, report.deleted) == (1, 1, 1, 1)
        assert preview(pipeline, Options(full=True)).comparison == "all rows: as asked for."


class TestDeletions:
    def test_vanished_rows_are_noticed_by_their_number(self) -> None:
        pipeline = hundred()
        del memory(pipeline).rows[3]
        put(pipeline, 101, "new", 20_000)
        read, report = reads(pipeline)
        assert (read, report.inserted, report.deleted, report.incremental) == (2, 1, 1, True)
        vectors_match_rows(pipeline, names(pipeline))

    def test_rows_with_an_empty_text_do_not_hide_them(self) -> None:
        pipeline = opened({n: (f"row {n}" if n % 2 else "", n * 100) for n in range(1, 101)})
        sync(pipeline)
        del memory(pipeline).rows[3]
        assert reads(pipeline)[1].deleted == 1

    def test_a_row_that_becomes_empty_is_no_vanished_one(self) -> None:
        pipeline = hundred()
        put(pipeline, 5, "", 20_000)
        report = reads(pipeline)[1]
        assert (report.deleted, report.empty, report.reasons) == (1, 1, {"empty text": 1})
        vectors_match_rows(pipeline, names(pipeline))

    def test_rows_that_become_empty_do_not_hide_vanished_ones(self) -> None:
        pipeline = hundred()
        put(pipeline, 5, "", 20_000)
        put(pipeline, 6, "", 20_000)
        del memory(pipeline).rows[3]
        assert preview(pipeline).kinds["delete"] == 3
        report = reads(pipeline)[1]
        assert (report.deleted, report.incremental, report.reasons["gone from the source"]) == (3, True, 1)
        vectors_match_rows(pipeline, names(pipeline))

    def test_vanished_rows_and_empty_ones_are_too_many_together(self) -> None:
        pipeline = hundred()
        for n in range(1, 60):
            if n % 2:
                put(pipeline, n, "", 20_000 + n)
            else:
                del memory(pipeline).rows[n]
        for _ in range(2):
            with pytest.raises(DeletionGuard):
                sync(pipeline)
        assert reads(pipeline, Options(allow_delete=True))[1].deleted == 59

    def test_most_of_them_at_once_are_refused(self) -> None:
        pipeline = hundred()
        for n in range(1, 60):
            del memory(pipeline).rows[n]
        with pytest.raises(DeletionGuard):
            sync(pipeline)
        assert reads(pipeline, Options(allow_delete=True))[1].deleted == 59

    def test_named_rows_that_are_gone_lose_their_vector_and_no_others(self) -> None:
        pipeline = hundred()
        for n in (3, 12, 40):
            del memory(pipeline).rows[n]
        selection = Selection(keys=(3, 4, 999), ranges=((10, 20),))
        assert preview(pipeline, Options(selection=selection)).kinds["delete"] == 2
        report = sync(pipeline, Options(selection=selection))
        assert (report.read, report.deleted) == (11, 2)
        assert rows_of(pipeline).vector(40) is not None

    def test_keeping_them_is_respected(self) -> None:
        pipeline = opened({1: ("one", 100), 2: ("two", 200)}, keep_missing=True)
        sync(pipeline)
        del memory(pipeline).rows[1]
        assert sync(pipeline).deleted == sync(pipeline, Options(selection=Selection(keys=(1,)))).deleted == 0
        assert rows_of(pipeline).count() == 2


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the ledger: for its number of rows, and for a number of keys."""
    asked: list[str] = []
    for name in ("count", "standing", "lookup"):
        original = getattr(MemoryGeneration, name)

        def counted(made: MemoryGeneration, *given: Any, name: str = name, original: Any = original) -> Any:
            asked.append(f"{len(given[0])} keys" if given else name)
            return original(made, *given)

        monkeypatch.setattr(MemoryGeneration, name, counted)
    return asked


class TestHowOftenTheLedgerIsCounted:
    def test_once_where_nothing_has_changed(self, counts: list[str]) -> None:
        pipeline = hundred()
        counts.clear()
        assert sync(pipeline).comparison.startswith("1 of 100 rows")
        assert [each for each in counts if "keys" not in each] == ["standing", "count"], "one question, the count in it"

    def test_never_for_rows_that_are_followed_and_the_mark_knows_of_them(self, counts: list[str]) -> None:
        pipeline = hundred()
        counts.clear()
        put(pipeline, 200, "new", 10_001)
        put(pipeline, 201, "", 10_001)
        put(pipeline, 7, "changed", 10_001)
        del memory(pipeline).rows[8], memory(pipeline).rows[9]
        report = sync(pipeline, Options(Selection(keys=(7, 8, 9, 200, 201)), followed=True))
        assert (report.inserted, report.embedded, report.deleted) == (1, 1, 2)
        assert "count" not in counts
        assert "standing" not in counts
        assert sync(pipeline).incremental, "the next sync finds the ledger as this one left it"

    def test_what_others_have_written_is_noticed_after_rows_that_are_followed(self) -> None:
        pipeline = hundred()
        rows_of(pipeline).write(WriteBatch(deletes=[50]))
        put(pipeline, 200, "new", 10_001)
        sync(pipeline, Options(Selection(keys=(200,)), followed=True))
        report = sync(pipeline)
        assert report.comparison == "all rows: the store holds 100 rows, and the last sync left 101."
        vectors_match_rows(pipeline, names(pipeline))

    def test_a_row_that_fails_is_in_the_ledger_too(self) -> None:
        pipeline = hundred()
        assert isinstance(pipeline.embedder, HashEmbedder)
        pipeline.embedder.refused = {"bad"}
        put(pipeline, 200, "bad", 10_001)
        assert sync(pipeline, Options(Selection(keys=(200,)))).failed == 1
        put(pipeline, 200, "good", 10_001)
        assert sync(pipeline, Options(Selection(keys=(200,)))).inserted == 1
        assert sync(pipeline).incremental

    def test_only_as_many_rows_without_an_entry_are_looked_for_as_are_kept(
        self, counts: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cursor, "EMPTY_KEPT", 10)
        monkeypatch.setattr(cursor, "KEYS_AT_ONCE", 10)
        pipeline = hundred()
        for key in range(200, 290):
            put(pipeline, key, "", 10_001)
        assert sync(pipeline).empty == 90
        assert counts.count("10 keys") == 9 + 2, "all before they are read, two parts of ten afterwards"


class TestWhenAllRowsAreCompared:
    def test_when_words_are_made_in_another_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pipeline = hundred()
        monkeypatch.setattr(cursor, "FORMAT", cursor.FORMAT + 1)
        read, report = reads(pipeline)
        assert (read, report.comparison) == (100, "all rows: the settings have changed.")

    def test_when_asked_for(self) -> None:
        pipeline = hundred()
        assert reads(pipeline, Options(full=True))[0] == 100
        assert reads(pipeline, Options(force=True))[1].embedded == 100
        assert reads(pipeline)[0] == 1

    def test_so_often(self) -> None:
        pipeline = opened({1: ("one", 100), 2: ("two", 200)}, cursor=CursorSettings(LAG, dt.timedelta(0)))
        sync(pipeline)
        assert reads(pipeline)[1].comparison.startswith("all rows: the last time was ")

    def test_when_our_own_clock_went_back(self) -> None:
        pipeline = hundred()
        later(pipeline, compared_at=dt.datetime.now(dt.UTC) + dt.timedelta(hours=2))
        assert reads(pipeline)[0] == 100

    @pytest.mark.parametrize(
        "change",
        [
            lambda p: replace(p, spec=replace(p.spec, recipe="another text")),
            lambda p: replace(p, spec=replace(p.spec, language="german")),
            lambda p: replace(p, keep_missing=True),
            lambda p: setattr(p.source, "identity", "another table or condition") or p,
        ],
    )
    def test_when_the_settings_have_changed(self, change: Any) -> None:
        pipeline = change(hundred())
        assert reads(pipeline)[1].comparison == "all rows: the settings have changed."
        assert reads(pipeline)[0] == 1

    def test_when_the_model_has_changed(self) -> None:
        pipeline = hundred()
        embedder = HashEmbedder(model="another")
        spec = replace(pipeline.spec, fingerprint=embedder.fingerprint)
        pipeline = replace(pipeline, embedder=embedder, spec=spec)
        assert reads(pipeline)[1].inserted == 100
        assert reads(pipeline)[0] == 1
        vectors_match_rows(pipeline, names(pipeline))

    def test_when_rows_were_deleted_from_the_store_by_hand(self) -> None:
        pipeline = hundred()
        rows_of(pipeline).write(WriteBatch(deletes=[5, 6]))
        read, report = reads(pipeline)
        assert (read, report.inserted) == (100, 2)
        assert report.comparison == "all rows: the store holds 98 rows, and the last sync left 100."

    def test_when_the_store_was_emptied(self) -> None:
        pipeline = hundred()
        rows_of(pipeline).write(WriteBatch(deletes=list(range(1, 101))))
        assert reads(pipeline)[1].inserted == 100

    def test_when_the_clock_of_the_source_goes_back(self) -> None:
        pipeline = hundred()
        for n in range(1, 101):
            put(pipeline, n, f"row {n}", n * 10)
        put(pipeline, 50, "changed", 500)
        read, report = reads(pipeline)
        assert (read, report.embedded) == (100, 1)
        assert report.comparison == "all rows: at went back from 10000 to 1000."
        assert reads(pipeline)[0] == 2, "and from there on it is trusted again"

    def test_a_little_back_is_within_the_lag(self) -> None:
        pipeline = hundred()
        put(pipeline, 100, "row 100", 9_995)
        assert reads(pipeline)[1].incremental


class TestWhatMovesTheMark:
    def test_neither_named_rows_nor_a_limit_do(self) -> None:
        pipeline = hundred()
        for n in (1, 2, 101):
            put(pipeline, n, f"changed {n}", 20_000 + n)
        sync(pipeline, Options(selection=Selection(keys=(101,))))
        sync(pipeline, Options(limit=1))
        read, report = reads(pipeline)
        assert (read, report.embedded, report.unchanged) == (4, 1, 3)
        assert report.incremental, "rows that were named are no reason to distrust the store"

    def test_a_sync_that_ends_early_does_not(self) -> None:
        pipeline = hundred()
        for n in range(1, 60):
            put(pipeline, n, f"changed {n}", 20_000)
        kept = rows_of(pipeline).offsets()
        embedder = HashEmbedder(chunk_texts=1)
        embedder.unavailable = 3
        with pytest.raises(EmbedderUnavailable):
            sync(replace(pipeline, embedder=embedder), patience=0)
        assert rows_of(pipeline).offsets() == kept
        read, report = reads(pipeline)
        assert (read, report.incremental) == (60, True)
        assert report.waiting == 0, "no row failed"
        vectors_match_rows(pipeline, names(pipeline))

    def test_it_is_the_value_from_before_the_reading(self) -> None:
        """A row that changes after it was read must be read again, however late the newest one comes."""
        pipeline = hundred()
        source = memory(pipeline)
        whole = source.pages

        def changing(*args: Any, **named: Any) -> Any:
            for page in whole(*args, **named):
                put(pipeline, 1, "changed while reading", 20_000)
                put(pipeline, 2, "much later", 90_000)
                yield page

        source.pages = changing  # type: ignore[method-assign]
        sync(pipeline, Options(full=True))
        source.pages = whole  # type: ignore[method-assign]
        sync(pipeline)
        vectors_match_rows(pipeline, names(pipeline))

    def test_a_conflict_leaves_it_where_it_is(self) -> None:
        pipeline = hundred()
        put(pipeline, 1, "changed", 20_000)
        kept = rows_of(pipeline).offsets()

        class Conflicting(MemoryGeneration):
            def write(self, batch: WriteBatch) -> int:
                return super().write(batch) + bool(batch.entries)

        pipeline.store.handle = Conflicting
        assert sync(pipeline).conflicts == 1
        assert rows_of(pipeline).offsets() == kept


class TestGenerations:
    def test_the_live_one_is_kept_in_step_by_the_cursor_while_another_is_filled(self, models: Models) -> None:
        old = models.of(models.old, hundred_of(models.old, models))
        broken = HashEmbedder(24, model="new", chunk_texts=1)
        broken.unavailable = 3
        put(old, 5, "changed", 20_000)
        before = memory(old).rows_read
        with pytest.raises(EmbedderUnavailable):
            sync(models.of(broken, old), patience=0)
        assert memory(old).rows_read - before < 2 + 2 * 100
        assert reads(old)[0] == 1, "the old model's generation was brought up to date, and its mark with it"
        vectors_match_rows(old, names(old))

    def test_what_a_missing_model_leaves_undone_is_not_forgotten(self, models: Models) -> None:
        old = models.of(models.old, hundred_of(models.old, models))
        put(old, 5, "changed", 20_000)
        put(old, 6, "changed much later", 90_000)
        broken = HashEmbedder(24, model="new", chunk_texts=1)
        broken.unavailable = 3
        with pytest.raises(EmbedderUnavailable):
            sync(models.of(broken, old, former=Known()), patience=0)
        assert reads(old)[1].embedded == 2
        vectors_match_rows(old, names(old))

    def test_a_new_one_has_a_mark_of_its_own(self, models: Models) -> None:
        old = models.of(models.old, hundred_of(models.old, models))
        new = models.of(models.new, old)
        assert sync(new).inserted == 100
        put(new, 5, "changed", 20_000)
        del memory(new).rows[7]
        read, report = reads(new)
        assert (read, report.embedded, report.incremental) == (2, 1, True)
        vectors_match_rows(new, names(new))
        roll_back(new)
        read, report = reads(old)
        assert (read, report.embedded, report.deleted, report.incremental) == (2, 1, 1, True)
        vectors_match_rows(old, names(old))


def hundred_of(embedder: HashEmbedder, models: Models) -> Pipeline:
    pipeline = models.of(embedder, opened({n: (f"row {n}", n * 100) for n in range(1, 101)}))
    assert sync(pipeline).inserted == 100
    return pipeline


def later(pipeline: Pipeline, **changes: Any) -> None:
    mark = Watermark.decoded(rows_of(pipeline).offsets()[STREAM])
    assert mark is not None
    rows_of(pipeline).write(WriteBatch(offsets={STREAM: replace(mark, **changes).encoded()}))


def test_local_time_is_read_again_on_the_day_when_clocks_go_back() -> None:
    """Berlin and New York: after 02:59 comes 02:00, and what is stamped then lies an hour below the mark."""
    berlin, new_york = dt.datetime(2026, 10, 25, 2, 59), dt.datetime(2026, 11, 1, 1, 59)
    for mark in (berlin, new_york):
        since = lowered(mark, None)
        assert isinstance(since, dt.datetime)
        assert since <= mark - dt.timedelta(minutes=59 + 5)
        text = mark.isoformat(" ")
        assert lowered(text, None) == since.isoformat(" ")
        aware = mark.replace(tzinfo=dt.UTC)
        assert lowered(aware, None) == aware - TIME_LAG
        assert lowered(f"{text}+00:00", None) == str(mark - TIME_LAG)
    summer = dt.datetime(2026, 7, 1, 2, 59)
    assert lowered(summer, None) == summer - TIME_LAG


MINUTES = dt.timedelta(minutes=5)
UTC = dt.UTC


@pytest.mark.parametrize(
    ("mark", "lag", "expected"),
    [
        (5000, None, 4000),
        (5000, 10, 4990),
        (1_785_000_000, MINUTES, 1_784_999_700),
        (1_785_000_000_000, MINUTES, 1_784_999_700_000),
        (1_785_000_000.5, MINUTES, 1_784_999_700.5),
        (dt.datetime(2026, 8, 1, 0, 2), None, dt.datetime(2026, 7, 31, 23, 57)),
        (dt.datetime(2026, 8, 1, 0, 2, tzinfo=UTC), MINUTES, dt.datetime(2026, 7, 31, 23, 57, tzinfo=UTC)),
        (dt.date(2026, 8, 1), None, dt.date(2026, 7, 31)),
        ("2026-08-01 00:02:03", None, "2026-07-31 23:57:03"),
        ("2026-08-01T00:02:03.123456Z", None, "2026-07-31T23:57:03"),
        ("2026-08-01T00:02:03+02:00", None, "2026-07-31T23:57:03"),
        ("2026-08-01 00:02", None, "2026-07-31 23:57"),
        ("2026-08-01", None, "2026-07-31"),
        ("0970-08-01 00:02:03", None, "0970-07-31 23:57:03"),
    ],
)
def test_a_lag_is_taken_from_any_kind_of_value(mark: Any, lag: Any, expected: Any) -> None:
    assert lowered(mark, lag) == expected
    assert type(lowered(mark, lag)) is type(expected)
    assert lowered(mark, lag) < mark


@pytest.mark.parametrize(
    "first",
    [
        dt.datetime.min, dt.datetime.min.replace(tzinfo=UTC), dt.date.min,
        "0001-01-01", "0001-01-01 00:00:00", "0001-01-01T00:00",
    ],
)  # fmt: skip
def test_nothing_lies_below_the_first_moment_there_is(first: Any) -> None:
    assert lowered(first, None) == first


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        (dt.datetime(2099, 1, 1), dt.datetime(2026, 8, 1, 12)),
        (dt.datetime(2099, 1, 1, tzinfo=UTC), dt.datetime(2026, 8, 1, 12, tzinfo=UTC)),
        (dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1)),
        (dt.date(2099, 1, 1), dt.date(2026, 8, 1)),
        ("2099-01-01 00:00:00", "2026-08-01 12:00:00"),
        ("2099-01-01T00:00:00.5+02:00", "2026-08-01T14:00:00"),
        ("2020-01-01T00:00:00.5Z", "2020-01-01T00:00:00.5Z"),
    ],
)
def test_a_value_in_the_future_hides_nothing(mark: Any, expected: Any) -> None:
    assert not_after(mark, dt.datetime(2026, 8, 1, 12, tzinfo=UTC)) == expected


@pytest.mark.parametrize("form", [lambda time: time, lambda time: time.isoformat(" "), lambda time: time.isoformat()])
@pytest.mark.parametrize("hours", [-12, -5, 0, 14])
def test_local_time_is_trusted_to_the_last_row_that_is_not_in_the_future(hours: int, form: Any) -> None:
    now = dt.datetime(2026, 8, 1, 12)
    values = [form(now + dt.timedelta(hours=hours, minutes=-minutes)) for minutes in range(1, 60)]
    source = MemorySource({n: {"at": at} for n, at in enumerate([*values, form(now.replace(2099))])}, cursor="at")
    found = settled(source, now.replace(tzinfo=UTC), None)
    assert found.mark == (max(values) if hours <= 0 else form(now))
    assert found.aside.endswith("is in the future: rows with such a value are compared each time")


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        (4e9, 1785585600),
        (4 * 10**12, 1785585600000),
        (4 * 10**15, 1785585600000000),
        (4 * 10**18, 1785585600000000000),
        (17e8, 17e8),
        (253402300799, 1785585600),
    ],
)
def test_a_unix_time_in_the_future_hides_nothing(mark: Any, expected: Any) -> None:
    """A length of time as the lag says that the number is one."""
    assert in_the_past(mark, dt.datetime(2026, 8, 1, 12, tzinfo=UTC), dt.timedelta(minutes=5)) == expected
    assert in_the_past(mark, dt.datetime(2026, 8, 1, 12, tzinfo=UTC), 300) == mark


COUNTER = list(range(1, 3001))
NOW = 1785585600
"""2026-08-01 12:00 UTC."""
SECONDS = [NOW - minutes * 60 for minutes in range(1, 500)]
MILLISECONDS = [second * 1000 for second in SECONDS]
DATES = [20260701 + day for day in range(30)]


@pytest.mark.parametrize(
    ("values", "odd", "lag"),
    [
        (COUNTER, [2**63 - 1], None),
        (COUNTER, [2**63 - 1, 2**63 - 2], LAG),
        (COUNTER, [2**31 - 1], None),
        (COUNTER, [999999999], None),
        (COUNTER, [10**12, 10**9], None),
        ([20260700 + day for day in range(1, 31)], [99991231], 1),
        (SECONDS, [2**31 - 1], None),
        (SECONDS, [NOW + 86400 * 365, NOW + 86400, NOW + 3600], None),
        (SECONDS, [253402300799], TIME_LAG),
        (SECONDS, [2**63 - 1], TIME_LAG),
        (SECONDS, MILLISECONDS[:1], None),
        (MILLISECONDS, [253402300799000], None),
        (MILLISECONDS, [2**63 - 1], TIME_LAG),
        ([second * 10**6 for second in SECONDS], [2**63 - 1], TIME_LAG),
        ([second * 10**9 for second in SECONDS], [2**63 - 1], None),
        ([1.5, 2.5, 3.5], [float("inf")], 1),
        (COUNTER[:50], [999_999], None),
        (DATES, [20991231], 1),
        ([10**6 * date for date in DATES], [20991231000000], None),
        ([second - 500 * 86400 for second in SECONDS], [4102444800], None),
    ],
)
def test_a_number_that_nothing_counts_up_to_is_no_mark(values: list[Any], odd: list[Any], lag: Any) -> None:
    """Every later change would lie below it."""
    source = MemorySource({n: {"at": at} for n, at in enumerate(values + odd)}, cursor="at")
    found = settled(source, dt.datetime.fromtimestamp(NOW, UTC), lag)
    assert found.mark == max(values)
    assert found.aside.startswith(f"the highest at, {max(odd)}, is far beyond the others")


@pytest.mark.parametrize("lag", [None, LAG])
@pytest.mark.parametrize(
    "values",
    [
        [7],
        COUNTER,
        [3 * step for step in COUNTER],
        [10**6 * step for step in COUNTER],
        list(range(NOW - 5000, NOW + 5000)),
        SECONDS,
        MILLISECONDS,
        [NOW - 400 * 86400],
        [-5, -3],
        [0],
        [*range(99_900, 100_000)],
        [99_999.5, 99_998.5],
        DATES,
        [10**6 * date for date in DATES],
        [20_250_000 + step for step in range(20_000)],
    ],
)
def test_a_number_that_is_counted_up_to_is_the_mark(values: list[int], lag: int | None) -> None:
    source = MemorySource({n: {"at": at} for n, at in enumerate(values)}, cursor="at")
    found = settled(source, dt.datetime.fromtimestamp(NOW, UTC), lag)
    assert (found.mark, found.aside) == (max(values), "")


@pytest.mark.parametrize("lag", [None, TIME_LAG])
@pytest.mark.parametrize(
    "others",
    [
        MILLISECONDS[:4],
        MILLISECONDS,
        [1000 * (NOW - 700 * 86400 - minute) for minute in range(1500)],
        [1000 * (NOW + 30 * 86400 + minute) for minute in range(1500)],
        [second * 10**6 for second in SECONDS],
        [second * 10**9 for second in SECONDS],
        [second * unit for second in SECONDS for unit in (10**3, 10**6, 10**9)],
        [20260701000000 + day * 1000000 for day in range(30)],
    ],
    ids=["four", "all", "old", "future", "microseconds", "nanoseconds", "every unit", "dates in digits"],
)
def test_rows_stamped_in_another_unit_hide_none_of_those_in_seconds(others: list[int], lag: Any) -> None:
    source = MemorySource({n: {"at": at} for n, at in enumerate([*SECONDS, *others])}, cursor="at")
    found = settled(source, dt.datetime.fromtimestamp(NOW, UTC), lag)
    assert found.mark == max(SECONDS)
    assert found.aside.startswith(f"the highest at, {max(others)}, is far beyond the others")


@pytest.mark.parametrize(
    "odd",
    [[9_999_999_999], [32_503_593_600], [99_999_999_999], [7_258_032_000, 9_999_999_999, 32_503_593_600]],
    ids=["nines", "the year 2999", "more nines", "three"],
)
def test_times_far_in_the_future_let_no_other_unit_hide_those_in_seconds(odd: list[int]) -> None:
    source = MemorySource({n: {"at": at} for n, at in enumerate([*SECONDS, *odd, *MILLISECONDS])}, cursor="at")
    assert settled(source, dt.datetime.fromtimestamp(NOW, UTC), None).mark == max(SECONDS)


@pytest.mark.parametrize(("old", "new"), [(10**3, 10**6), (10**3, 10**9), (10**6, 10**9)])
def test_rows_stamped_in_a_finer_unit_hide_none_in_a_coarser_one(old: int, new: int) -> None:
    values = [second * unit for second in SECONDS for unit in (old, new)]
    source = MemorySource({n: {"at": at} for n, at in enumerate(values)}, cursor="at")
    assert settled(source, dt.datetime.fromtimestamp(NOW, UTC), None).mark == old * max(SECONDS)


def test_a_unit_that_was_left_long_ago_costs_nothing() -> None:
    """What was stamped in it has been compared with all rows since."""
    values = [second - 3 * 86400 for second in SECONDS] + MILLISECONDS
    source = MemorySource({n: {"at": at} for n, at in enumerate(values)}, cursor="at")
    now = dt.datetime.fromtimestamp(NOW, UTC)
    assert settled(source, now, None) == settled(source, now, None, dt.timedelta(days=1))
    assert settled(source, now, None).mark == max(MILLISECONDS)
    assert settled(source, now, None, dt.timedelta(days=7)).mark == max(values[: len(SECONDS)])


@pytest.mark.parametrize("many", [4, 1200])
@pytest.mark.parametrize("unit", [10**3, 10**6, 10**9])
def test_no_change_is_missed_where_a_cursor_mixes_units(many: int, unit: int) -> None:
    """Each row that changes, in either unit, is embedded by the next sync."""
    now = int(dt.datetime.now(UTC).timestamp())
    rows: dict[int, tuple[str, int | None]] = {n: (f"row {n}", now - 10_000 - n) for n in range(50)}
    rows |= {100 + n: (f"fine {n}", (now - 20_000 - n) * unit) for n in range(many)}
    pipeline = opened(rows, cursor=CursorSettings())
    sync(pipeline)
    for step, (key, at) in enumerate([(3, now - 60), (101, (now - 50) * unit), (4, now - 40), (102, (now - 5) * unit)]):
        put(pipeline, key, f"changed {step}", at)
        assert sync(pipeline).embedded == 1, (key, at)
        vectors_match_rows(pipeline, names(pipeline))
    # One that was not in that unit before.
    put(pipeline, 103, "changed at last", now - 1)
    assert sync(pipeline).embedded == 1
    vectors_match_rows(pipeline, names(pipeline))


def test_where_no_value_can_be_counted_up_to_all_rows_are_compared() -> None:
    pipeline = opened({n: (f"row {n}", 2**63 - 1) for n in range(10)})
    sync(pipeline)
    put(pipeline, 3, "changed", 5)
    report = sync(pipeline)
    assert (report.embedded, report.incremental) == (1, False)


def test_a_mark_of_before_that_hides_changes_is_left() -> None:
    pipeline = hundred()
    put(pipeline, 1, "row 1", 2**63 - 1)
    sync(pipeline)
    [generation] = [pipeline.store.generation(pipeline.spec)]
    assert generation is not None
    mark = Watermark.decoded(generation.offsets()[STREAM])
    assert mark is not None
    generation.write(WriteBatch(offsets={STREAM: replace(mark, highest=2**63 - 1).encoded()}))
    put(pipeline, 50, "changed", 10_001)
    report = sync(pipeline)
    assert (report.embedded, report.incremental) == (1, False)
    assert f"at went back from {2**63 - 1} to 10001" in report.comparison
    vectors_match_rows(pipeline, names(pipeline))


@pytest.mark.parametrize(
    ("mark", "lag", "message"),
    [
        (dt.datetime(2026, 8, 1), 1000, "source.cursor_lag is the number 1000"),
        ("v00012", None, "'v00012' is not an ISO 8601 time"),
        ("2026-13-01", None, "'2026-13-01' is not an ISO 8601 time"),
    ],
)
def test_what_no_lag_can_be_taken_from_is_an_error(mark: Any, lag: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lowered(mark, lag)


@pytest.mark.parametrize("highest", [7, 1.5, "2026-08-01 12:00:00", dt.date(2026, 8, 1), dt.datetime.now(UTC)])
def test_a_mark_is_read_as_it_was_written(highest: Any) -> None:
    mark = Watermark(highest, dt.datetime.now(UTC), "settings", 5, 6)
    assert Watermark.decoded(mark.encoded()) == mark
