"""A change of model: filled beside the live vectors, kept in step, measured, put live, taken back."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rowvec.auditing.audit import audit
from rowvec.embedders.base import Embedder
from rowvec.errors import (
    BudgetExceeded,
    ConfigError,
    DeletionGuard,
    EmbedderError,
    GenerationHeld,
    SearchError,
    StoreUnavailable,
)
from rowvec.evaluation.gate import Gate
from rowvec.generations.lifecycle import course, roll_back, words
from rowvec.pipeline import Options, Pipeline
from rowvec.pipeline_status import status
from rowvec.searcher import Searcher
from rowvec.sources.base import Selection
from rowvec.stores.auditor import Drift
from rowvec.stores.runs import Report
from rowvec.syncing import run
from rowvec.syncing.preview import preview
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemoryStore
from rowvec.testing.generation import MemoryGeneration
from rowvec.types import Document, Embedded, Row, State
from tests.models import Known, Models
from tests.support import rows_of, simple_document, simple_pipeline, vectors_match_rows


@pytest.fixture
def old(models: Models) -> Pipeline:
    """A hundred rows, synced with the old model."""
    pipeline = models.of(models.old, simple_pipeline(rows={n: f"row {n}" for n in range(100)}))
    sync(pipeline)
    return pipeline


def names(pipeline: Pipeline) -> dict[Any, str]:
    return {key: row["name"] for key, row in pipeline.source.rows.items()}


def states(pipeline: Pipeline) -> dict[str, tuple[str, int]]:
    found = pipeline.store.generations(pipeline.spec)
    return {str(each.state): (each.fingerprint.model, each.rows) for each in found if each.fingerprint}


def live_matches(pipeline: Pipeline, models: Models) -> None:
    """The live generation, of the old model, is that of the rows."""
    former = models.of(models.old, pipeline)
    vectors_match_rows(former, names(former))


@pytest.fixture
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """At first of a page each."""
    monkeypatch.setattr(run, "SLICE_SECONDS", 1e-6)


def edit(pipeline: Pipeline) -> None:
    """One row changed, one new, one gone."""
    rows = pipeline.source.rows
    rows[3]["name"] = "row three"
    rows[500] = {"id": 500, "name": "row 500", "price": 1}
    del rows[5]


def interrupted_after(calls: int, embedder: HashEmbedder) -> threading.Event:
    """Set when the embedder has been called so often."""
    stop = threading.Event()
    embed = embedder.embed

    def counted(texts: Sequence[str]) -> Embedded:
        if embedder.calls + 1 >= calls:
            stop.set()
        return embed(texts)

    embedder.embed = counted  # type: ignore[method-assign]
    return stop


def test_the_new_generation_takes_the_place_of_the_live_one_when_it_is_complete(old: Pipeline, models: Models) -> None:
    said: list[str] = []
    new = models.of(models.new, old)
    report = sync(new, tell=said.append)
    assert (report.inserted, report.texts, len(models.new.texts)) == (100, 100, 100)
    assert states(new) == {"live": ("new", 100), "previous": ("old", 100)}
    assert "changes from old (8 dimensions) to new (24 dimensions)" in said[0]
    assert "`rowvec rollback`" in said[-1]
    vectors_match_rows(new, names(new))
    assert sync(new).unchanged == 100
    assert len(models.old.texts) == 100, "nothing is embedded by the old model any more"


def test_the_live_generation_is_kept_in_step_from_the_first_moment(old: Pipeline, models: Models) -> None:
    edit(old)
    embedder = HashEmbedder(24, model="new", chunk_texts=10)
    new = models.of(embedder, old)
    report = sync(new, stop=interrupted_after(3, embedder))
    assert states(new)["building"][1] < 100, "interrupted"
    live_matches(old, models)
    assert models.old.texts[100:] == ["row three", "row 500"]
    assert report.reasons["live generation: inserted"] == report.reasons["live generation: deleted"] == 1


def test_what_was_interrupted_goes_on_and_nothing_is_embedded_twice(old: Pipeline, models: Models) -> None:
    embedder = HashEmbedder(24, model="new", chunk_texts=10)
    sync(models.of(embedder, old), stop=interrupted_after(3, embedder))
    done = len(embedder.texts)
    assert 0 < done < 100
    new = models.of(models.new, old)
    said: list[str] = []
    sync(new, tell=said.append)
    assert f"{done} rows have a vector of it already" in said[0]
    assert sorted(embedder.texts + models.new.texts) == sorted(names(new).values())
    vectors_match_rows(new, names(new))


def test_rows_that_change_while_a_generation_is_filled_reach_both(
    old: Pipeline, short_slices: None, models: Models
) -> None:
    """Each page is a slice, and the live generation is brought in step between any two."""

    followed: list[set[str]] = []
    """What the old model had embedded again, at each call of the new one."""

    class Changing(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> Embedded:
            followed.append(set(models.old.texts[100:]))
            rows = old.source.rows
            if self.calls == 5:
                rows[2]["name"] = "changed behind"
                rows[98]["name"] = "changed ahead"
                rows[600] = {"id": 600, "name": "new at the end", "price": 1}
                del rows[4]
            return super().embed(texts)

    new = models.of(Changing(24, model="new", chunk_texts=5), old, page_size=10)
    report = sync(new)
    vectors_match_rows(new, names(old))
    assert followed[5] == set()
    assert followed[8] == {"changed behind", "changed ahead", "new at the end"}, "long before the swap"
    assert len(followed) > 20
    assert (report.inserted, report.embedded, report.deleted) == (101, 1, 1)
    assert report.failed == report.waiting == 0
    assert states(new) == {"live": ("new", 100), "previous": ("old", 100)}


def test_without_the_old_model_deletions_and_metadata_still_reach_the_live_generation(
    old: Pipeline, models: Models
) -> None:
    edit(old)
    old.source.rows[7]["price"] = 99
    embedder = HashEmbedder(24, model="new", chunk_texts=10)
    new = models.of(embedder, old, former=Known())
    said: list[str] = []
    sync(new, tell=said.append, stop=interrupted_after(3, embedder))
    assert "gets no new vectors" in said[0]
    assert "there is no model old" in said[0]
    live = rows_of(old)
    assert live.lookup([5, 500]) == {}
    assert live.vector(3) is not None, "a changed row stays findable"
    assert live.metadata([7]) == {7: {"price": 99}}
    sync(models.of(models.new, old, former=Known()))
    vectors_match_rows(models.of(models.new, old), names(old))


def shouted(row: Row) -> Document:
    return simple_document(Row(row.key, {**row.values, "name": row.values["name"].upper()}))


def test_without_the_old_model_live_rows_are_still_read_by_the_text_settings_of_theirs(
    old: Pipeline, models: Models
) -> None:
    """Else every row would seem to have another text: no metadata would be written, and an empty text deletes."""

    class Forgotten(Known):
        def embedder(self, settings: str) -> Embedder:
            raise EmbedderError("there is no model old")

    old.source.rows[7]["price"] = 99
    new = models.of(models.new, old, former=Forgotten(), to_document=lambda row: shouted(row)._replace(text=""))
    sync(new, Options(limit=20))
    assert rows_of(old).count() == 100
    assert rows_of(old).metadata([7]) == {7: {"price": 99}}
    assert not audit(new, sample=0, settle=0).findings


class Dear(HashEmbedder):
    """Each text costs three dollars; the budget is used up with the second call."""

    def __init__(self, model: str) -> None:
        super().__init__(model=model, chunk_texts=2, billed=True, price=1e6)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [3] * len(texts)

    def embed(self, texts: Sequence[str]) -> Embedded:
        if self.calls == 2:
            raise BudgetExceeded("That is more than is left.")
        return super().embed(texts)


def test_what_the_live_generation_cost_is_on_record_of_a_run_that_the_budget_ended(
    old: Pipeline, models: Models
) -> None:
    for row in list(old.source.rows.values())[:10]:
        row["name"] += "!"
    with pytest.raises(BudgetExceeded):
        sync(models.of(models.new, old, former=Known(Dear("old"))))
    (run,) = old.store.runs(1)
    assert (run.outcome, run.report["texts"], run.report["cost"]) == ("failed", 4, 12.0)


def test_what_a_later_walk_cost_is_on_record_of_a_run_that_the_budget_ended(
    old: Pipeline, short_slices: None, monkeypatch: pytest.MonkeyPatch, models: Models
) -> None:
    dear = Dear("new")
    dear.calls = -100
    rows = old.source.rows

    def changing(report: Report) -> None:
        if report.inserted == 100:
            dear.calls = 0
            for key in range(10):
                rows[key]["name"] = f"changed {key}"

    with pytest.raises(BudgetExceeded):
        sync(models.of(dear, old, page_size=50), progress=changing)
    (run,) = old.store.runs(1)
    assert (run.report["texts"], run.report["cost"]) == (100 + 10 + 4, 3 * 104)


def test_a_service_that_has_given_the_old_model_up_stops_nothing(old: Pipeline, models: Models) -> None:
    edit(old)

    class Discontinued(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> Embedded:
            raise EmbedderError("The model is no longer served.")

    gone = Discontinued(model="old")
    new = models.of(models.new, old, former=Known(gone))
    said: list[str] = []
    report = sync(new, tell=said.append)
    assert "From now on: The live generation gets no new vectors" in said[1]
    assert report.reasons["live generation: deleted"] == 1
    vectors_match_rows(new, names(new))
    assert states(new)["live"] == ("new", 100)


def test_an_empty_source_wipes_neither_generation(old: Pipeline, models: Models) -> None:
    kept = dict(old.source.rows)
    old.source.rows.clear()
    new = models.of(models.new, old)
    with pytest.raises(DeletionGuard):
        sync(new)
    assert states(new)["live"] == ("old", 100)
    old.source.rows.update(kept)
    sync(new)
    assert states(new)["live"] == ("new", 100)


def test_a_sync_of_a_few_rows_is_done_in_both_and_changes_no_places(old: Pipeline, models: Models) -> None:
    edit(old)
    new = models.of(models.new, old)
    sync(new, Options(Selection(keys=(3,))))
    assert states(new) == {"live": ("old", 100), "building": ("new", 1)}
    assert (models.new.texts, models.old.texts[100:]) == (["row three"], ["row three"])


def test_force_embeds_each_row_once(old: Pipeline, short_slices: None, models: Models) -> None:
    sync(models.of(models.new, old, page_size=10), Options(force=True))
    assert sorted(models.new.texts) == sorted(names(old).values())
    assert len(models.old.texts) == 100


# Going live


def test_a_generation_that_lacks_rows_is_held_until_it_is_accepted(old: Pipeline, models: Models) -> None:
    embedder = HashEmbedder(24, model="new")
    embedder.refused = {"row 7"}
    new = models.of(embedder, old)
    with pytest.raises(GenerationHeld, match=r"for 99 rows, the live one for 100.*: 1\."):
        sync(new)
    assert states(new) == {"live": ("old", 100), "building": ("new", 99)}
    assert new.store.runs(1)[0].outcome == "failed"
    report = sync(new, accept=True)
    assert report.waiting == 1
    assert states(new)["live"] == ("new", 99)


def test_as_many_rows_but_others_are_held_too(models: Models) -> None:
    first, second = HashEmbedder(model="old"), HashEmbedder(24, model="new")
    first.refused, second.refused = {"row 3"}, {"row 7"}
    pipeline = models.of(first, simple_pipeline(rows={n: f"row {n}" for n in range(20)}), former=Known(first, second))
    sync(pipeline)
    with pytest.raises(GenerationHeld, match=r"for 19 rows, the live one for 19.*: 1\."):
        sync(models.of(second, pipeline))


def test_a_row_that_both_models_refuse_holds_nothing_up(models: Models) -> None:
    first, second = HashEmbedder(model="old"), HashEmbedder(24, model="new")
    first.refused = second.refused = {"row 7"}
    pipeline = models.of(first, simple_pipeline(rows={n: f"row {n}" for n in range(20)}), former=Known(first, second))
    sync(pipeline)
    report = sync(models.of(second, pipeline, former=Known(first, second)))
    assert report.failed == 1
    assert states(pipeline)["live"] == ("new", 19)


@pytest.fixture
def gate(tmp_path: Path) -> Callable[..., Gate]:
    """Queries that are the texts of rows, each with its row as the one that is relevant."""

    def make(**changes: Any) -> Gate:
        paths = tmp_path / "queries.csv", tmp_path / "judgements.csv"
        tables: tuple[list[tuple[object, ...]], ...] = (
            [("id", "query"), *((n, f"row {n}") for n in range(10))],
            [("query_id", "docid", "rating"), *((n, n, 1) for n in range(10))],
        )
        for path, rows in zip(paths, tables, strict=True):
            with open(path, "w", newline="") as file:
                csv.writer(file).writerows(rows)
        return Gate(*paths, **changes)

    return make


class Confused(HashEmbedder):
    """Embeds queries as if they were other texts."""

    def embed_query(self, text: str) -> Any:
        return super().embed_query(text[::-1] if self.asked else text)

    asked = False


def test_a_worse_generation_is_held_with_both_figures(old: Pipeline, gate: Callable[..., Gate], models: Models) -> None:
    embedder = Confused(24, model="new")
    new = models.of(embedder, old, gate=gate())
    embed = embedder.embed

    def embed_well(texts: Sequence[str]) -> Embedded:
        embedder.asked = False
        try:
            return embed(texts)
        finally:
            embedder.asked = True

    embedder.embed = embed_well  # type: ignore[method-assign]
    with pytest.raises(GenerationHeld, match=r"worse .* nDCG@10 0\.\d+, the live generation 1\.0000") as held:
        sync(new)
    assert "--accept" in str(held.value)
    assert states(new) == {"live": ("old", 100), "building": ("new", 100)}
    calls = embedder.calls
    with pytest.raises(GenerationHeld):
        sync(new)
    assert embedder.calls == calls, "to measure it again embeds no row"
    sync(new, accept=True)
    assert states(new)["live"] == ("new", 100)


def test_a_generation_as_good_as_the_live_one_passes(old: Pipeline, gate: Callable[..., Gate], models: Models) -> None:
    said: list[str] = []
    sync(models.of(models.new, old, gate=gate()), tell=said.append)
    assert "nDCG@10 1.0000, the live generation 1.0000" in said[-1]


def test_a_gate_that_cannot_measure_says_so_before_anything_is_embedded(
    old: Pipeline, gate: Callable[..., Gate], tmp_path: Path, models: Models
) -> None:
    for broken in (gate(measure="goodness"), replace(gate(), judgements=tmp_path / "none.csv")):
        with pytest.raises(ConfigError):
            sync(models.of(models.new, old, gate=broken))
    assert models.new.texts == []


def test_a_live_model_that_is_gone_cannot_be_compared(old: Pipeline, gate: Callable[..., Gate], models: Models) -> None:
    new = models.of(models.new, old, gate=gate(), former=Known())
    with pytest.raises(GenerationHeld, match="cannot be compared"):
        sync(new)
    assert states(new)["live"] == ("old", 100)


# The way back


def test_after_a_rollback_a_sync_keeps_the_former_generation_in_step_and_says_so(old: Pipeline, models: Models) -> None:
    new = models.of(models.new, old)
    sync(new)
    roll_back(new)
    edit(old)
    said: list[str] = []
    report = sync(new, tell=said.append)
    assert (report.inserted, report.embedded, report.deleted) == (1, 1, 1)
    assert "rolled back" in said[0]
    assert len(models.new.texts) == 100
    assert states(new) == {"live": ("old", 100), "previous": ("new", 100)}
    vectors_match_rows(models.of(models.old, old), names(old))
    assert "rolled back" in preview(new).generation
    assert preview(new).texts == 0


def test_a_rollback_of_a_rollback_and_accept_both_return_to_the_new_model(old: Pipeline, models: Models) -> None:
    new = models.of(models.new, old)
    sync(new)
    roll_back(new)
    roll_back(new)
    assert states(new)["live"] == ("new", 100)
    assert sync(new).unchanged == 100
    roll_back(new)
    edit(old)
    sync(new, accept=True)
    assert states(new) == {"live": ("new", 100), "previous": ("old", 100)}
    assert models.new.texts[100:] == ["row three", "row 500"], "only what has changed is embedded"


def test_to_set_the_config_back_embeds_only_what_has_changed_since(old: Pipeline, models: Models) -> None:
    sync(models.of(models.new, old))
    edit(old)
    planned = preview(models.of(models.old, old))
    assert planned.texts == 2
    assert "100 rows have a vector of it already" in planned.generation
    sync(models.of(models.old, old))
    assert models.old.texts[100:] == ["row three", "row 500"]
    assert states(old) == {"live": ("old", 100), "previous": ("new", 100)}
    vectors_match_rows(models.of(models.old, old), names(old))


def test_a_generation_whose_model_is_gone_is_not_returned_to(old: Pipeline, models: Models) -> None:
    new = models.of(models.new, old, former=Known())
    sync(new)
    with pytest.raises(EmbedderError, match=r"old .* cannot be loaded: there is no model old"):
        roll_back(new)
    assert states(new)["live"] == ("new", 100)


def test_a_model_that_is_no_longer_what_it_was_is_not_used(old: Pipeline, models: Models) -> None:
    other = HashEmbedder(12, model="old")
    new = models.of(models.new, old, former=Known(other))
    chosen = course(new)
    assert chosen.note is not None
    assert "what is there now is old (12 dimensions)" in chosen.note


def test_the_plan_tells_of_the_change_and_its_size(old: Pipeline, models: Models) -> None:
    planned = preview(models.of(models.new, old))
    assert (planned.kinds["insert"], planned.reasons["model changed"], planned.texts) == (100, 100, 100)
    assert "beside the live ones" in planned.generation
    assert preview(old).generation == ""


# Searching


def test_queries_are_embedded_by_the_model_of_the_live_generation(old: Pipeline, models: Models) -> None:
    new = models.of(models.new, old)
    searcher = Searcher.of(new)
    assert searcher.search("row 8").hits[0].score == pytest.approx(1.0)
    sync(new)
    assert searcher.search("row 8").hits[0].score == pytest.approx(1.0)
    roll_back(new)
    assert searcher.search("row 8").hits[0].score == pytest.approx(1.0)
    assert searcher.current is models.old
    assert status(new).current == 100


def test_a_swap_in_the_middle_of_a_search_has_it_answered_again(old: Pipeline, models: Models) -> None:
    new = models.of(models.new, old)
    sync(new)
    searcher = Searcher.of(new)
    swaps = 0

    class SwappedBefore(MemoryGeneration):
        def nearest(self, *arguments: Any, **options: Any) -> Any:
            nonlocal swaps
            if swaps < 3:
                swaps += 1
                new.store.rollback(new.spec)
            return super().nearest(*arguments, **options)

    new.store.handle = SwappedBefore
    searcher.check()
    assert searcher.search("row 8").hits[0].score == pytest.approx(1.0)
    assert swaps == 3
    swaps = -100
    with pytest.raises(StoreUnavailable, match="too often"):
        searcher.search("row 8")


def test_a_model_that_cannot_be_loaded_answers_no_query(old: Pipeline, models: Models) -> None:
    with pytest.raises(EmbedderError, match="cannot be loaded"):
        Searcher.of(models.of(models.new, old, former=Known()))
    with pytest.raises(SearchError, match="comparing them would mean nothing"):
        Searcher(old.store, models.new, models.of(models.new, old).spec).search("row 8")


def test_a_fingerprint_in_words_says_what_differs(models: Models) -> None:
    made = replace(models.old.fingerprint, model="mini", dimension=1536, precision="int8")
    assert words(made) == "mini (1,536 dimensions, int8)"
    made = replace(made, revision="")
    other = replace(made, max_tokens=128, prompt="q: ", pooling="mean", revision="53aa51172d14")
    assert words(made, other) == "mini (1,536 dimensions, prompt '')"
    assert words(other, made) == (
        "mini (1,536 dimensions, pooling mean, prompt 'q: ', window of 128 tokens, revision 53aa51172d14)"
    )


def test_the_report_of_a_build_counts_each_row_once(old: Pipeline, short_slices: None, models: Models) -> None:
    shown: list[int] = []

    def progress(report: Report) -> None:
        shown.append(report.inserted)

    report = sync(models.of(models.new, old, page_size=10), progress=progress)
    assert (report.read, report.inserted, report.texts) == (100, 100, 100)
    assert report.to_compare == 100, "counted when the walk began, not for what is left of it"
    assert max(shown) == 100
    assert isinstance(old.store, MemoryStore)
    assert {each.state for each in old.store.generations(old.spec)} == {State.LIVE, State.PREVIOUS}


def test_an_audit_judges_rows_by_the_text_settings_of_the_live_vectors(old: Pipeline, models: Models) -> None:
    new = models.of(models.new, old, to_document=shouted)
    sync(new, Options(limit=5))
    assert not audit(new, sample=0, settle=0).findings
    old.source.rows[3]["name"] = "another text"
    assert {drift: list(found.keys) for drift, found in audit(new, sample=0, settle=0).findings.items()} == {
        Drift.STALE: [3]
    }


def test_a_status_and_a_plan_change_nothing_that_a_search_in_another_thread_sees(old: Pipeline, models: Models) -> None:
    """The config names another model than the live vectors are of: a plan looks at the generation being built."""
    new = models.of(models.new, old)
    sync(new, Options(limit=20))
    searcher = Searcher.of(new)
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            assert status(new).current == 100
            assert preview(new).rows == 100

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            for number in range(1, 60):
                (hit,) = searcher.search(f"row {number}", limit=1).hits
                assert (hit.key, hit.score) == (number, pytest.approx(1.0))
                assert searcher.similar(number, limit=3).complete
        finally:
            done.set()
        looking.result()
