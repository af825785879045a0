"""Which ranges a fleet sends out, which of them it asks about, and how often."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from rowvec.documents.values import RENDERING
from rowvec.errors import ConfigError, EmbedderUnavailable, RowvecError, SourceUnavailable, StoreUnavailable
from rowvec.pipeline import Options, Pipeline
from rowvec.stores.ledger import Ledger
from rowvec.stores.runs import Report
from rowvec.syncing.report import Running
from rowvec.testing import MemoryStore
from rowvec.workers import celery
from rowvec.workers.fleet import POLL_WAITING, Part, _Fleet, _parts
from rowvec.workers.members import identity
from rowvec.workers.ranges import check_versions, report_of, sync_range, together, versions
from tests.support import simple_pipeline


def test_what_was_begun_is_asked_about_every_time_and_what_waits_in_turn() -> None:
    nothing: Any = None
    fleet = _Fleet(nothing, {}, Running(0, threading.Event()))
    fleet.working = [Part(str(number), None) for number in range(5 * POLL_WAITING)]
    begun = fleet.working[3]
    begun.started = True
    rounds = [fleet._asked() for _ in range(5)]
    assert all(begun in asked and len(asked) == POLL_WAITING + 1 for asked in rounds)
    assert {part.after for asked in rounds for part in asked} == {part.after for part in fleet.working}


@pytest.mark.parametrize("rows", [0, 1, 7, 60, 99, 100, 101])
def test_the_ranges_cover_all_keys_although_rows_went_away_since_they_were_counted(rows: int) -> None:
    class Counted:
        def boundaries(self, size: int) -> Iterator[int]:
            yield from range(size, rows + 1, size)

    source: Any = Counted()
    parts = list(_parts(source, 100))
    assert bool(parts) == bool(rows)
    bounds = [None, *(until for _, until in parts)]
    assert [after for after, _ in parts] == bounds[:-1]
    assert bounds[-1] is None


def test_nothing_is_left_out_where_few_wait() -> None:
    nothing: Any = None
    fleet = _Fleet(nothing, {}, Running(0, threading.Event()))
    assert fleet._asked() == []
    fleet.working = [Part("1", "2"), Part("2", None)]
    assert {part.after for part in fleet._asked()} == {"1", "2"}


class Versioned(MemoryStore):
    divides_work = True
    layout = 3

    def run_mark(self, run: int) -> str | None:
        return f"{run} of a store in memory"


def sent(**others: Any) -> dict[str, Any]:
    return versions(simple_pipeline(store=Versioned())) | others


@pytest.mark.parametrize("theirs", [sent(), sent(program="0.0.9"), sent(program="0")])
def test_a_worker_takes_what_a_program_of_its_version_or_an_older_one_sent(theirs: dict[str, Any]) -> None:
    check_versions(simple_pipeline(store=Versioned()), theirs)


@pytest.mark.parametrize(
    "theirs",
    [
        {},
        sent(program="0.1.10"),
        sent(program="99.0.0"),
        sent(state=2),
        sent(state=4),
        sent(rendering=RENDERING + 1),
        {"program": "0.1.0"},
    ],
)
def test_a_worker_of_another_version_writes_nothing_and_says_so(theirs: dict[str, Any]) -> None:
    pipeline = simple_pipeline(store=Versioned(), rows={1: "lamp"})
    with pytest.raises(ConfigError, match=r"The worker on .* is rowvec .* it writes nothing"):
        sync_range(
            pipeline, None, "5",
            ledger=Ledger(exists=False), expected=identity(pipeline), sent_by=theirs, options=Options(),
        )  # fmt: skip
    assert not pipeline.store.ledger().exists


def test_that_nobody_works_is_said_and_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    now, told = [1000.0], list[str]()
    monkeypatch.setattr("rowvec.workers.fleet.time.monotonic", lambda: now[0])
    fleet = _Fleet(nothing, {}, Running(0, threading.Event(), tell=told.append))
    fleet._tell_silence()
    fleet.working = [Part("1", "2"), Part("2", None)]
    for seconds in (29, 1, 20, 10):
        now[0] += seconds
        fleet._tell_silence()
    assert [text[:60] for text in told] == [
        "No worker has reported for 30 s, and 2 ranges are waiting. I",
        "No worker has reported for 60 s, and 2 ranges are waiting. I",
    ]


@pytest.mark.parametrize("error", [StoreUnavailable, SourceUnavailable, EmbedderUnavailable])
def test_a_range_comes_again_when_what_it_needs_does_not_answer_and_a_plain_sync_does_not(
    error: type[RowvecError], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Again(Exception):
        pass

    class Task:
        name = "rowvec.sync_range"
        request = SimpleNamespace(id="1", delivery_info=None, retries=0)

        def retry(self, **arguments: Any) -> Exception:
            return Again()

    def away(pipeline: Pipeline) -> dict[str, Any]:
        raise error("It does not answer.")

    monkeypatch.setattr(celery, "_opened", lambda name: nullcontext(simple_pipeline(rows={})))
    monkeypatch.setattr(celery, "_pause", lambda: 0.0)
    with pytest.raises(Again):
        celery._once(Task(), "things", away, wait=True)
    with pytest.raises(error):
        celery._once(Task(), "things", away)


def test_what_a_worker_wrote_before_it_handed_its_range_back_is_counted_once() -> None:
    first = Report(inserted=30, embedded=5, unchanged=65, texts=35, tokens=70, cost=0.5)
    second = together(Report(inserted=10, unchanged=190, texts=10, tokens=20, cost=0.25), first)
    assert second == Report(inserted=40, embedded=5, unchanged=155, texts=45, tokens=90, cost=0.75)
    third = together(Report(unchanged=200), report_of(second.as_dict()))
    assert third == second
