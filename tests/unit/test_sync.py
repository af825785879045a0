"""What one sync does, on in-memory parts that behave as the real ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from rowvec.embedders.pricing import Budget
from rowvec.errors import BudgetExceeded, DeletionGuard, EmbedderError, EmbedderUnavailable, SourceError, TextRefused
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.base import Selection
from rowvec.stores.runs import Report
from rowvec.syncing.preview import preview
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemoryStore, with_nan, with_one_missing, with_zero
from rowvec.testing.generation import MemoryGeneration
from rowvec.types import Document, Embedded, Key, Row, Vectors
from tests.support import rows_of, simple_pipeline, vectors_match_rows


def names(pipeline: Pipeline) -> dict[Any, str]:
    return {key: row["name"] for key, row in pipeline.source.rows.items()}


def test_new_rows_get_a_vector_each_and_a_second_sync_does_nothing() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(500)})
    first = sync(pipeline)
    assert (first.inserted, first.texts, first.failed) == (500, 500, 0)
    vectors_match_rows(pipeline, names(pipeline))
    writes = pipeline.store.writes
    second = sync(pipeline)
    assert (second.unchanged, second.written, second.texts) == (500, 0, 0)
    assert pipeline.store.writes == writes


def test_a_changed_row_is_embedded_a_changed_price_is_not_a_vanished_row_goes() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(10)})
    sync(pipeline)
    pipeline.source.rows[3]["name"] = "other"
    pipeline.source.rows[4]["price"] = 99
    del pipeline.source.rows[5]
    report = sync(pipeline)
    assert (report.embedded, report.updated, report.deleted, report.unchanged) == (1, 1, 1, 7)
    assert pipeline.embedder.texts[10:] == ["other"]
    assert rows_of(pipeline).metadata([4]) == {4: {"price": 99}}
    vectors_match_rows(pipeline, names(pipeline))


def test_the_plan_announces_exactly_what_the_sync_does() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n % 7}" for n in range(10)})
    announced = preview(pipeline)
    assert (announced.kinds["insert"], announced.texts) == (10, 7)
    done = sync(pipeline)
    assert (done.inserted, done.texts, done.tokens) == (10, 7, announced.tokens)
    pipeline.source.rows[1]["name"] = "row 2"
    del pipeline.source.rows[9]
    announced = preview(pipeline)
    assert dict(announced.kinds) == {"unchanged": 8, "embed": 1, "delete": 1}
    assert announced.texts == 0, "the text is stored with another row already"
    assert announced.examples["gone from the source"] == [9]
    assert sync(pipeline).texts == 0


def test_identical_texts_are_embedded_once_wherever_they_stand() -> None:
    pipeline = simple_pipeline(rows={n: f"text {n % 3}" for n in range(5000)})
    report = sync(pipeline)
    assert sorted(pipeline.embedder.texts) == ["text 0", "text 1", "text 2"]
    assert (report.inserted, report.reused) == (5000, 4997)
    vectors_match_rows(pipeline, names(pipeline))


def test_two_rows_that_swap_their_texts_both_follow() -> None:
    pipeline = simple_pipeline(rows={1: "a", 2: "b"})
    sync(pipeline)
    pipeline.source.rows[1]["name"], pipeline.source.rows[2]["name"] = "b", "a"
    assert sync(pipeline).embedded == 2
    vectors_match_rows(pipeline, {1: "b", 2: "a"})
    assert len(pipeline.embedder.texts) == 2


def test_a_text_that_is_refused_fails_alone_and_is_listed() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(100)})
    pipeline.embedder.refused = {"row 57"}
    report = sync(pipeline)
    assert (report.inserted, report.failed) == (99, 1)
    failure = rows_of(pipeline).failures()[0]
    assert (failure.key, failure.attempts) == (57, 1)
    assert "refuses" in failure.error


def test_a_failed_row_waits_for_its_time_and_can_be_tried_at_once() -> None:
    pipeline = simple_pipeline(rows={1: "good", 2: "bad"})
    pipeline.embedder.refused = {"bad"}
    sync(pipeline)
    waiting = sync(pipeline)
    assert (waiting.waiting, waiting.failed) == (1, 0)
    again = sync(pipeline, Options(retry_failed=True))
    assert (again.read, again.failed) == (1, 1)
    assert rows_of(pipeline).failures()[0].attempts == 2
    pipeline.embedder.refused = set()
    assert sync(pipeline, Options(retry_failed=True)).inserted == 1
    assert rows_of(pipeline).failures() == []
    vectors_match_rows(pipeline, names(pipeline))


def test_a_changed_row_that_fails_keeps_its_old_vector_and_counts_as_stale() -> None:
    pipeline = simple_pipeline(rows={1: "old", 2: "other"})
    sync(pipeline)
    pipeline.source.rows[1]["name"] = "bad"
    pipeline.embedder.refused = {"bad"}
    assert sync(pipeline).failed == 1
    assert rows_of(pipeline).status().stale == 1
    assert (rows_of(pipeline).vector(1) == pipeline.embedder.embed_query("old")).all()


def test_a_row_that_goes_back_to_its_old_text_is_no_failure_any_more() -> None:
    pipeline = simple_pipeline(rows={1: "old", 2: "other"})
    sync(pipeline)
    pipeline.source.rows[1]["name"] = "bad"
    pipeline.embedder.refused = {"bad"}
    sync(pipeline)
    pipeline.source.rows[1]["name"] = "old"
    assert sync(pipeline).unchanged == 2
    assert rows_of(pipeline).failures() == []


@pytest.mark.parametrize(("spoil", "word"), [(with_nan, "NaN"), (with_zero, "zeros")])
def test_a_useless_vector_is_never_stored(spoil: Callable[[Vectors], Vectors], word: str) -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(3)})
    pipeline.embedder.spoil = spoil
    report = sync(pipeline)
    assert (report.inserted, report.failed) == (2, 1)
    assert word in rows_of(pipeline).failures()[0].error


def test_an_answer_with_a_vector_too_few_is_not_guessed_at() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(3)})
    pipeline.embedder.spoil = with_one_missing
    with pytest.raises(EmbedderUnavailable, match=r"\(2, 8\).*\(3, 8\)"):
        sync(pipeline, patience=0)
    assert rows_of(pipeline).count() == 0
    pipeline.embedder.spoil = None
    assert sync(pipeline).inserted == 3


def test_an_answer_that_is_a_vector_short_once_is_asked_for_again() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(3)}, embedder=Once())
    pipeline.embedder.spoil = with_one_missing
    report = sync(pipeline)
    assert (report.inserted, report.failed, report.texts) == (3, 0, 3)
    vectors_match_rows(pipeline, names(pipeline))


class Once(HashEmbedder):
    def embed(self, texts: Sequence[str]) -> Embedded:
        try:
            return super().embed(texts)
        finally:
            self.spoil = None


def test_the_error_that_ended_a_run_is_told_though_the_store_fails_after_it() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(100)}, embedder=HashEmbedder(chunk_texts=10))
    sync(pipeline)
    pipeline.source.rows[1]["price"] = 99
    pipeline.source.rows[2]["name"] = "another text"
    pipeline.embedder.unavailable = pipeline.store.unavailable = 10**6
    with pytest.raises(EmbedderUnavailable) as ended:
        sync(pipeline, patience=0)
    assert "memory does not answer" in ended.value.__notes__[0]


def test_an_empty_text_is_skipped_counted_and_loses_its_vector() -> None:
    pipeline = simple_pipeline(rows={1: "a", 2: "", 3: "c"})
    assert sync(pipeline).empty == 1
    pipeline.source.rows[3]["name"] = ""
    report = sync(pipeline)
    assert (report.empty, report.deleted) == (2, 1)
    vectors_match_rows(pipeline, {1: "a"})


def test_an_empty_source_does_not_wipe_the_index() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(100)})
    sync(pipeline)
    rows = dict(pipeline.source.rows)
    pipeline.source.rows.clear()
    with pytest.raises(DeletionGuard, match="--allow-delete"):
        sync(pipeline)
    assert rows_of(pipeline).count() == 100
    assert preview(pipeline).deletion_guard
    pipeline.source.rows.update(rows)
    assert sync(pipeline).unchanged == 100
    pipeline.source.rows.clear()
    assert sync(pipeline, Options(allow_delete=True)).deleted == 100


@pytest.mark.parametrize("options", [Options(), Options(Selection(ranges=((0, 99),)))])
def test_texts_that_are_empty_all_at_once_do_not_wipe_the_index(options: Options) -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(100)}, page_size=10)
    sync(pipeline)
    for n in range(60):
        pipeline.source.rows[n]["name"] = ""
    with pytest.raises(DeletionGuard, match="60 of the 100 rows in memory have no text any more") as guarded:
        sync(pipeline, options)
    assert "--allow-delete" in str(guarded.value.hint)
    assert rows_of(pipeline).count() == 100
    assert preview(pipeline, options).deletion_guard
    assert sync(pipeline, replace(options, allow_delete=True)).deleted == 60


def test_texts_of_a_range_that_are_empty_all_at_once_keep_their_vectors() -> None:
    """As a worker of a fleet has it."""
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(100)})
    sync(pipeline)
    for n in range(50, 90):
        pipeline.source.rows[n]["name"] = ""
    with pytest.raises(DeletionGuard, match="40 of the 50 rows in memory have no text any more"):
        sync(pipeline, Options(after=49))
    assert rows_of(pipeline).count() == 100
    assert sync(pipeline, Options(after=49, allow_delete=True)).deleted == 40


def test_rows_that_are_gone_and_rows_without_a_text_count_together() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(100)})
    sync(pipeline)
    for n in range(30):
        pipeline.source.rows[n]["name"] = ""
        del pipeline.source.rows[n + 50]
    with pytest.raises(DeletionGuard, match=r"30 of the 100 rows in memory are gone .* and 30 have no text any more"):
        sync(pipeline)
    assert rows_of(pipeline).count() == 100
    assert preview(pipeline).deletion_guard
    del pipeline.source.rows[0]
    report = sync(pipeline, Options(allow_delete=True))
    assert (report.deleted, report.empty) == (60, 29)
    vectors_match_rows(pipeline, {n: f"row {n}" for n in [*range(30, 50), *range(80, 100)]})


def test_missing_rows_keep_their_vector_when_the_config_says_so() -> None:
    pipeline = simple_pipeline(rows={1: "a", 2: "b", 3: "c"}, keep_missing=True)
    sync(pipeline)
    del pipeline.source.rows[3]
    assert sync(pipeline).deleted == 0
    assert rows_of(pipeline).count() == 3


def test_what_was_paid_of_a_batch_is_kept_when_the_service_goes_away_in_the_middle_of_it() -> None:
    class Leaving(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> Embedded:
            if "row 5" in texts and "row 0" not in texts:
                raise EmbedderUnavailable("It does not answer.")
            return super().embed(texts)

    embedder = Leaving()
    embedder.refused = {"row 0"}
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(8)}, embedder=embedder)
    with pytest.raises(EmbedderUnavailable):
        sync(pipeline, patience=0)
    assert [n for n in range(8) if rows_of(pipeline).vector(n) is not None] == [1, 2, 3]
    assert [failure.key for failure in rows_of(pipeline).failures()] == [0], "the others were not refused"


@pytest.mark.parametrize("error", [TextRefused, EmbedderError])
def test_whatever_a_service_says_can_be_kept(error: type[EmbedderError]) -> None:
    class Cut(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> Embedded:
            raise error("It is cut off: \ud83d\0")

    pipeline = simple_pipeline(rows={1: "row"}, embedder=Cut())
    with nullcontext() if error is TextRefused else pytest.raises(EmbedderError):
        sync(pipeline)
    said: list[str | None] = [failure.error for failure in rows_of(pipeline).failures()] or [
        pipeline.store.runs(1)[0].error
    ]
    assert said == ["It is cut off: \ufffd"]


def test_rows_that_are_followed_are_synced_without_counting_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {n: f"row {n}" for n in range(20)}
    pipeline = simple_pipeline(rows=rows)
    sync(pipeline)
    monkeypatch.setattr(MemoryGeneration, "count", lambda store: pytest.fail("it was counted"))
    rows[3] = "another text"
    del rows[4]
    changed = replace(pipeline, source=simple_pipeline(rows=rows).source)
    report = sync(changed, Options(Selection(keys=(3, 4)), allow_delete=True))
    assert (report.embedded, report.deleted) == (1, 1)


def test_named_keys_and_a_limit_touch_nothing_else() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(50)})
    sync(pipeline)
    for row in pipeline.source.rows.values():
        row["name"] += "!"
    del pipeline.source.rows[40]
    report = sync(pipeline, Options(selection=Selection(keys=(3,), ranges=((10, 12),))))
    assert (report.read, report.embedded, report.deleted) == (4, 4, 0)
    report = sync(pipeline, Options(limit=2))
    assert (report.read, report.embedded, report.deleted) == (2, 2, 0)


def test_force_embeds_what_has_not_changed() -> None:
    pipeline = simple_pipeline(rows={1: "a", 2: "b"})
    sync(pipeline)
    report = sync(pipeline, Options(force=True))
    assert (report.embedded, report.texts) == (2, 2)
    assert report.reasons == {"forced": 2}


def test_a_stop_keeps_what_is_embedded_and_the_next_sync_goes_on() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(200)}, embedder=HashEmbedder(chunk_texts=10))
    stop = threading.Event()

    def after_a_few(report: Report) -> None:
        if report.texts >= 50:
            stop.set()

    report = sync(pipeline, progress=after_a_few, stop=stop)
    assert 50 <= report.inserted < 200
    assert rows_of(pipeline).count() == report.inserted
    assert pipeline.store.runs()[0].outcome == "interrupted"
    assert sync(pipeline).inserted == 200 - report.inserted
    assert len(pipeline.embedder.texts) == 200


def test_a_store_that_comes_back_is_waited_for_and_a_lost_answer_is_no_conflict() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(20)})
    pipeline.store.unavailable = 2
    pipeline.store.lost_answers = 1
    report = sync(pipeline)
    assert (report.inserted, report.conflicts) == (20, 0)
    assert len(pipeline.embedder.texts) == 20
    vectors_match_rows(pipeline, names(pipeline))


def test_a_row_that_cannot_be_read_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = simple_pipeline(rows={1: "a", 2: "b"})
    render = pipeline.to_document

    def strict(row: Row) -> Document:
        if row.key == 2:
            raise SourceError("row 2: column price holds text where a number is due")
        return render(row)

    object.__setattr__(pipeline, "to_document", strict)
    report = sync(pipeline)
    assert (report.inserted, report.failed) == (1, 1)
    assert "price" in rows_of(pipeline).failures()[0].error


def test_what_was_paid_before_the_budget_ended_a_batch_is_on_record() -> None:
    embedder = Halved()
    pipeline = simple_pipeline(rows={1: "one", 2: "two"}, embedder=embedder)
    with pytest.raises(BudgetExceeded):
        sync(pipeline)
    assert pipeline.store.runs(1)[0].report["cost"] == 1.0


class Halved(HashEmbedder):
    """Refuses two texts together; then the budget ends with the first of them."""

    exact_tokens = True

    def __init__(self) -> None:
        super().__init__(billed=True)
        self.budget = Budget(1.5)

    def embed(self, texts: Sequence[str]) -> Embedded:
        if len(texts) > 1:
            raise TextRefused("One of them is refused.")
        with self.budget.hold(1.0) as hold:
            hold.pay(1.0, 1)
        return super().embed(texts)._replace(tokens=1, cost=1.0)

    def token_error(self, texts: Sequence[str]) -> float:
        return 0.0

    def expected_seconds(self, texts: Sequence[str], tokens: int) -> float:
        return 0.0


def test_paid_answers_are_written_one_by_one() -> None:
    pipeline = simple_pipeline(
        rows={n: f"row {n}" for n in range(40)}, embedder=HashEmbedder(chunk_texts=10, billed=True, price=20)
    )
    report = sync(pipeline)
    assert pipeline.store.writes == 4 + 1, "and what the guard remembers: that the table is filled"
    assert report.cost == pytest.approx(40 * 4 * 20 / 1e6)


def test_a_second_sync_at_the_same_time_is_told_who_works() -> None:
    store = MemoryStore()
    pipeline = simple_pipeline(rows={1: "a"}, store=store)
    store.prepare(pipeline.spec)
    with store.lock(), pytest.raises(Exception, match="lock"):
        sync(simple_pipeline(rows={1: "a"}, store=MemoryStore(share=store)))


def test_a_deletion_that_gets_no_answer_is_sent_again() -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(20)})
    sync(pipeline)
    del pipeline.source.rows[7]
    pipeline.store.lost_answers = 1
    assert sync(pipeline).deleted == 1
    del pipeline.source.rows[8]
    pipeline.store.unavailable = 1
    assert sync(pipeline).deleted == 1
    vectors_match_rows(pipeline, names(pipeline))


def test_the_source_is_asked_once_for_named_rows_that_may_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = simple_pipeline(rows={n: f"row {n}" for n in range(50)})
    sync(pipeline)
    for key in (3, 4, 12):
        del pipeline.source.rows[key]
    asked: list[list[Key]] = []
    existing = pipeline.source.existing

    def counted(keys: Sequence[Key]) -> set[Key]:
        asked.append(list(keys))
        return existing(keys)

    monkeypatch.setattr(pipeline.source, "existing", counted)
    named = Options(Selection(keys=(3, 4, 5), ranges=((10, 19),)))
    told = preview(pipeline, named)
    assert (told.kinds["delete"], told.examples["gone from the source"]) == (3, [3, 4, 12])
    assert asked == [[3, 4, 5], list(range(10, 20))]
    asked.clear()
    assert sync(pipeline, named).deleted == 3
    assert asked == [[3, 4, 5], list(range(10, 20))]
