"""A service that embeds nothing for a while: it is waited for, and no row is to blame for it."""

from __future__ import annotations

import itertools
import math
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rowvec.errors import EmbedderUnavailable
from rowvec.pipeline import Options, Pipeline
from rowvec.sources.databases.heard import Changed
from rowvec.sources.events.files import EventFiles
from rowvec.sources.events.stream import EventSettings
from rowvec.stores.runs import Report, Run
from rowvec.syncing import outage
from rowvec.syncing.run import sync
from rowvec.syncing.watch import watch
from rowvec.testing import HashEmbedder
from rowvec.types import Embedded
from tests.integration.debezium_rig import lines, put
from tests.support import rows_of, simple_pipeline, vectors_match_rows

LONGEST = 60.0


class Service(HashEmbedder):
    """Gives no answer while `down`, nor to a call with one of the `deadly` texts."""

    def __init__(self, *, concurrency: int = 1, chunk_texts: int = 10, billed: bool = False) -> None:
        super().__init__(concurrency=concurrency, chunk_texts=chunk_texts, billed=billed)
        self.down = False
        self.deadly: set[str] = set()
        self.unanswered = 0
        self.after: Callable[[int], None] = lambda unanswered: None

    def embed(self, texts: Sequence[str]) -> Embedded:
        if self.down or not self.deadly.isdisjoint(texts):
            self.unanswered += 1
            self.after(self.unanswered)
            raise EmbedderUnavailable("The service does not answer.")
        return super().embed(texts)

    def for_a_while(self, calls: int) -> None:
        """Down, until it left this many calls without an answer."""
        self.down, self.unanswered = True, 0

        def up(unanswered: int) -> None:
            self.down = unanswered < calls

        self.after = up


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(outage, "LONGEST_PAUSE", 0.05)


def rows(count: int) -> dict[int, str]:
    return {n: f"row {n}" for n in range(count)}


@pytest.mark.parametrize(("concurrency", "billed"), [(1, False), (3, True)])
def test_what_gets_no_answer_for_a_while_is_sent_again_and_embedded_once(concurrency: int, billed: bool) -> None:
    service = Service(concurrency=concurrency, billed=billed)
    pipeline = simple_pipeline(rows=rows(200), embedder=service)
    service.for_a_while(12)
    said: list[str] = []
    report = sync(pipeline, tell=said.append)
    assert (report.inserted, report.texts, report.failed) == (200, 200, 0)
    assert sorted(text for text in service.texts if text != outage.PROBE) == sorted(rows(200).values())
    assert said == ["The service does not answer. It is tried again."], "once for an outage"
    assert rows_of(pipeline).failures() == []
    vectors_match_rows(pipeline, rows(200))


def test_a_service_that_stays_down_ends_the_run_keeps_what_came_before_and_no_row_has_failed() -> None:
    service = Service()
    pipeline = simple_pipeline(rows=rows(200), embedder=service)

    def leave(report: Report) -> None:
        service.down = report.texts >= 50

    with pytest.raises(EmbedderUnavailable) as ended:
        sync(pipeline, progress=leave, patience=0.3)
    assert "tried again" not in f"{ended.value} {ended.value.hint}", "nothing does when the run has ended"
    kept = rows_of(pipeline).count()
    assert 50 <= kept < 200
    assert rows_of(pipeline).failures() == []
    assert service.unanswered <= 40, "a service that is down is not asked for every batch"
    (run,) = pipeline.store.runs()
    assert (run.outcome, run.report["texts"]) == ("failed", kept)
    service.down = False
    assert sync(pipeline).texts == 200 - kept
    vectors_match_rows(pipeline, rows(200))


@pytest.mark.parametrize("patience", [LONGEST, math.inf])
def test_a_stop_ends_the_waiting(patience: float) -> None:
    service, stop = Service(), threading.Event()
    pipeline = simple_pipeline(rows=rows(50), embedder=service)
    service.down = True
    service.after = lambda unanswered: stop.set() if unanswered == 3 else None
    report = sync(pipeline, patience=patience, stop=stop)
    assert service.unanswered == 3
    assert (report.texts, report.failed) == (0, 0)
    assert pipeline.store.runs()[0].outcome == "interrupted"


@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_text_that_a_service_falls_over_fails_alone_and_holds_nothing_up(count: int, concurrency: int) -> None:
    service = Service(concurrency=concurrency)
    pipeline = simple_pipeline(rows={**rows(count), 99: "deadly"}, embedder=service)
    service.deadly = {"deadly"}
    report = sync(pipeline, patience=math.inf)
    assert (report.inserted, report.failed) == (count, 1)
    assert [failure.key for failure in rows_of(pipeline).failures()] == [99]
    assert sorted(text for text in service.texts if text != outage.PROBE) == sorted(rows(count).values())


def test_the_only_text_there_is_can_be_the_one_to_blame() -> None:
    service = Service()
    service.deadly = {"deadly"}
    pipeline = simple_pipeline(rows={1: "deadly"}, embedder=service)
    report = sync(pipeline, patience=math.inf)
    assert (report.failed, report.texts, set(service.texts)) == (1, 0, {outage.PROBE})
    assert "does not answer" in rows_of(pipeline).failures()[0].error


@pytest.mark.parametrize("seed", range(5))
def test_a_service_that_answers_every_other_time_costs_no_row(seed: int) -> None:
    dice = random.Random(seed)

    class Flaky(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> Embedded:
            if dice.random() < 0.4:
                raise EmbedderUnavailable("The service does not answer.")
            return super().embed(texts)

    pipeline = simple_pipeline(rows=rows(300), embedder=Flaky(concurrency=2, chunk_texts=10))
    report = sync(pipeline, patience=math.inf)
    assert (report.inserted + report.failed, len(rows_of(pipeline).failures())) == (300, report.failed)
    assert report.failed <= 3
    embedded = [text for text in pipeline.embedder.texts if text != outage.PROBE]
    assert len(set(embedded)) == len(embedded) == report.inserted


# Followers: longer than the patience of a sync


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the usual patience has none."""
    monkeypatch.setattr("rowvec.syncing.run.PATIENCE", 0.0)


def events(path: Path, service: Service) -> Pipeline:
    return simple_pipeline(EventFiles([str(path)], EventSettings("id")), embedder=service)


def test_who_follows_change_events_waits_as_long_as_it_takes(tmp_path: Path, no_patience: None) -> None:
    path, service, stop = tmp_path / "events.jsonl", Service(billed=True), threading.Event()
    path.write_text(lines(put(n, f"row {n}", n + 1) for n in range(60)))
    service.for_a_while(9)
    said: list[str] = []
    pipeline = events(path, service)
    report = sync(pipeline, follow=True, tell=said.append, progress=lambda report: stop.set(), stop=stop)
    assert (report.inserted, report.failed) == (60, 0)
    assert sorted(service.texts) == sorted(rows(60).values())
    assert said == ["The service does not answer. It is tried again."]
    assert rows_of(pipeline).failures() == []
    vectors_match_rows(pipeline, rows(60))


def test_a_quiet_follower_writes_no_record_and_still_hears_that_it_shall_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowvec.syncing.recorder.FIRST_RECORD_SECONDS", 0.0)
    monkeypatch.setattr("rowvec.syncing.recorder.RECORD_SECONDS", 0.0)
    path, looks = tmp_path / "events.jsonl", itertools.count(1)
    path.write_text(lines(put(n, f"row {n}", n + 1) for n in range(5)))
    pipeline = events(path, Service())
    saved, save, runs = list[int](), pipeline.store.save_run, pipeline.store.runs

    def saving(run: int, report: Report, outcome: str, error: str | None = None) -> bool:
        if outcome == "running":
            saved.append(report.inserted)
        return save(run, report, outcome, error)

    def looking(limit: int = 10) -> list[Run]:
        if next(looks) == 4:
            pipeline.store.ask_to_stop(1)
        return runs(limit)

    monkeypatch.setattr(pipeline.store, "save_run", saving)
    monkeypatch.setattr(pipeline.store, "runs", looking)
    said: list[str] = []
    assert sync(pipeline, follow=True, tell=said.append).inserted == 5
    assert "asked this sync to stop" in said[0]
    assert next(looks) == 5 and len(saved) == len(set(saved))


def test_who_follows_a_table_waits_as_long_as_it_takes(no_patience: None) -> None:
    service, stop = Service(billed=True), threading.Event()
    pipeline = simple_pipeline(rows=rows(60), embedder=service)
    source: Any = pipeline.source
    sync(pipeline)
    said: list[str] = []

    class Told:
        @contextmanager
        def listening(self) -> Iterator[Told]:
            yield self

        def take(self, seconds: float) -> Changed:
            if stop.is_set() or "changed" in service.texts:
                stop.set()
                return Changed()
            source.rows[7]["name"] = "changed"
            service.for_a_while(9)
            changed = Changed()
            changed.keys.add(7)
            return changed

    report = watch(pipeline, Told(), note=said.append, stop=stop)
    assert (report.embedded, report.failed) == (1, 0)
    assert service.texts.count("changed") == 1
    assert said == ["The service does not answer. It is tried again."]
    assert rows_of(pipeline).failures() == []
    vectors_match_rows(pipeline, {**rows(60), 7: "changed"})


def test_change_events_that_were_stopped_in_an_outage_are_carried_out_once_by_the_next(tmp_path: Path) -> None:
    path, service, stop = tmp_path / "events.jsonl", Service(chunk_texts=5), threading.Event()
    path.write_text(lines(put(n, f"row {n}", n + 1) for n in range(40)))
    pipeline = events(path, service)
    embed, calls = service.embed, itertools.count()

    def embed_some(texts: Sequence[str]) -> Embedded:
        service.down = next(calls) >= 3
        return embed(texts)

    service.embed = embed_some  # type: ignore[method-assign]
    service.after = lambda unanswered: stop.set() if unanswered == 4 else None
    report = sync(pipeline, follow=True, stop=stop)
    assert report.inserted == len(service.texts) == 15
    assert rows_of(pipeline).offsets() == {}, "not all of the batch is carried out"
    service.embed = embed  # type: ignore[method-assign]
    service.down = False
    assert sync(pipeline, Options()).inserted == 25
    assert sorted(service.texts) == sorted(rows(40).values())
    vectors_match_rows(pipeline, rows(40))


def test_change_events_that_are_not_followed_end_with_the_error_and_go_on_from_there(tmp_path: Path) -> None:
    path, service = tmp_path / "events.jsonl", Service(chunk_texts=5)
    path.write_text(lines(put(n, f"row {n}", n + 1) for n in range(40)))
    pipeline = events(path, service)
    service.down = True
    with pytest.raises(EmbedderUnavailable):
        sync(pipeline, patience=0.2)
    assert (rows_of(pipeline).failures(), rows_of(pipeline).offsets()) == ([], {})
    service.down = False
    assert sync(pipeline).inserted == 40
