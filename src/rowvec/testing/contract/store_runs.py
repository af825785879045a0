"""What every store promises of the lock, of the records of runs and evaluations, and of what they cost."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from rowvec.errors import Locked
from rowvec.stores import runs
from rowvec.stores.base import Store
from rowvec.stores.partitioned import PartitionedStore
from rowvec.stores.runs import Report
from rowvec.support.clocks import now_of
from rowvec.support.stored import moment
from rowvec.testing import MemoryStore
from rowvec.testing.contract.samples import SPEC, Opener, entry, rows, write


def test_a_second_holder_of_the_lock_is_told_who_and_since_when(opened: Opener) -> None:
    one, two = opened(SPEC), opened(SPEC)
    with one.lock():
        with pytest.raises(Locked, match=r"since \d{4}-\d\d-\d\d"), two.lock():
            pytest.fail("both hold the lock")
        write(one, entry(1, "lamp"))
    with two.lock():
        assert rows(two).count() == 1


def test_the_lock_is_released_when_the_sync_fails(store: Store) -> None:
    with pytest.raises(ValueError, match="oops"), store.lock():
        raise ValueError("oops")
    with store.lock():
        pass


def test_who_holds_the_lock_is_said_to_everybody(opened: Opener) -> None:
    one, two = opened(SPEC), opened(SPEC)
    assert two.holder() is None
    with one.lock():
        assert re.search(r"since \d{4}-\d\d-\d\d", two.holder() or "")
    assert two.holder() is None


def test_a_running_sync_hears_that_it_is_to_stop(opened: Opener) -> None:
    one, two = opened(SPEC), opened(SPEC)
    with one.lock():
        run = one.begin_run("items")
        assert one.save_run(run, Report(), "running") is False
        assert two.runs()[0].stopping is False
        two.ask_to_stop(run)
        two.ask_to_stop(run)
        assert two.runs()[0].stopping is True
        assert one.save_run(run, Report(), "running") is True
        one.save_run(run, Report(), "interrupted")
        assert two.runs()[0].stopping is False
        later = one.begin_run("items")
        assert one.save_run(later, Report(), "running") is False


def test_a_record_is_stamped_by_the_clock_of_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    of_host = Report.as_dict
    monkeypatch.setattr(Report, "as_dict", lambda report: {**of_host(report), "taken_at": "1999-01-01T00:00:00+00:00"})
    with store.lock():
        store.prepare(SPEC)
        before = now_of(store)
        run = store.begin_run("items")
        store.save_run(run, Report(read=3), "running")
    record = store.runs()[0].report
    assert record["read"] == 3
    taken = moment(record["taken_at"])
    # SQLite knows milliseconds.
    assert taken is not None
    assert before - dt.timedelta(milliseconds=1) <= taken <= now_of(store)


def test_evaluations_are_kept_latest_first_and_not_for_ever(opened: Opener) -> None:
    store = opened(SPEC)
    assert store.evaluations() == []
    for number in range(runs.EVALUATIONS_KEPT + 3):
        store.save_evaluation({"queries": number, "name": "Größe", "modes": {"hybrid": {"nDCG@10": 0.5}}})
    found = opened(SPEC).evaluations(2)
    assert [each.record["queries"] for each in found] == [102, 101]
    assert len(store.evaluations(1000)) == runs.EVALUATIONS_KEPT
    assert found[0].record["modes"] == {"hybrid": {"nDCG@10": 0.5}}
    assert found[0].record["name"] == "Größe"
    assert found[0].made_at >= found[1].made_at


def test_a_run_is_recorded_from_beginning_to_end(store: Store) -> None:
    with store.lock():
        run = store.begin_run("items")
        assert [(found.id, found.outcome, found.ended_at) for found in store.runs()] == [(run, "running", None)]
        store.save_run(run, Report(read=5), "running")
        assert store.runs()[0].report["read"] == 5
        store.save_run(run, Report(read=9, cost=0.25, last_key=9), "done")
    (found,) = store.runs()
    assert (found.outcome, found.pipeline, found.error) == ("done", "items", None)
    assert (found.report["read"], found.report["cost"], found.report["last_key"]) == (9, 0.25, 9)
    assert found.ended_at is not None
    assert found.started_at <= found.ended_at


def test_a_failed_run_keeps_its_error(store: Store) -> None:
    with store.lock():
        store.save_run(store.begin_run("items"), Report(), "failed", "the key is wrong")
    assert (store.runs()[0].outcome, store.runs()[0].error) == ("failed", "the key is wrong")


def test_the_latest_run_comes_first(store: Store) -> None:
    with store.lock():
        ids = [store.begin_run("items") for _ in range(3)]
        for run in ids:
            store.save_run(run, Report(), "done")
    assert [run.id for run in store.runs(2)] == ids[:0:-1]


def test_a_run_whose_process_is_gone_is_lost(opened: Opener) -> None:
    dying = opened(SPEC)
    with dying.lock():
        dying.begin_run("items")
    dying.close()
    assert opened(SPEC).runs()[0].outcome == "lost"


def test_status_sums_what_all_runs_cost(store: Store) -> None:
    with store.lock():
        for cost in (0.25, 0.5):
            store.save_run(store.begin_run("items"), Report(texts=10, tokens=100, cost=cost), "done")
    totals = store.totals().as_dict()
    (outcome, (count, seconds)) = next(iter(totals.pop("outcomes").items()))
    assert totals == {"runs": 2, "texts": 20, "tokens": 200, "cost": 0.75, "rerank_cost": 0.0}
    assert (outcome, count) == ("done", 2)
    assert seconds >= 0


def test_what_searches_spend_adds_up_beside_what_runs_cost(opened: Opener) -> None:
    first = opened(SPEC)
    with first.lock():
        first.save_run(first.begin_run("items"), Report(texts=1, tokens=10, cost=0.25), "done")
        # A search needs no lock, and waits for nobody who holds it.
        for cost in (0.5, 0.125):
            first.spend(cost)
    first.close()
    second = opened(SPEC)
    second.spend(0.25)
    totals = second.totals()
    assert (totals.cost, totals.rerank_cost) == (0.25, 0.875)


def test_the_sums_of_runs_outlive_their_records(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUNS_KEPT", 3)
    with store.lock():
        for number in range(8):
            outcome = "failed" if number % 4 == 3 else "done"
            store.save_run(store.begin_run("items"), Report(texts=1, tokens=2, cost=0.5), outcome)
        store.begin_run("items")
        totals = store.totals().as_dict()
    outcomes = totals.pop("outcomes")
    assert totals == {"runs": 9, "texts": 8, "tokens": 16, "cost": 4.0, "rerank_cost": 0.0}
    assert {name: count for name, (count, _) in outcomes.items()} == {"done": 6, "failed": 2}
    kept = [run.outcome for run in store.runs(100)]
    assert kept[1:4] == ["failed", "done", "done"]
    kept_by = store.first if isinstance(store, PartitionedStore) else store
    assert len(kept) == 4 or isinstance(kept_by, MemoryStore)
