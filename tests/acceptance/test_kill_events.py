"""Following change events is killed again and again: nothing is lost, and next to nothing is embedded twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rowvec.pipeline import Pipeline
from rowvec.sources.events.files import EventFiles
from rowvec.sources.events.stream import EventSettings
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.runs import Report
from rowvec.support.killpoints import Step
from rowvec.syncing.run import sync
from tests.acceptance.killed import IN_FLIGHT_TEXTS, KILLED, RecordingEmbedder, billed, kill_after, kill_at, repaid
from tests.integration.debezium_rig import lines, partitions, put, registry, removed
from tests.support import in_child, simple_pipeline, vectors_match_rows

BATCH = 100


def open_pipeline(folder: Path, url: str, bill: Path) -> Pipeline:
    events = EventFiles([str(folder / "*.jsonl")], EventSettings("id"))
    store = PostgresStore(url, "things_embeddings", pipeline="things")
    return simple_pipeline(events, store, RecordingEmbedder(bill))


def carry_out(pipeline: Pipeline, *, from_start: bool = False) -> Report:
    assert isinstance(pipeline.source, EventFiles)
    return sync(pipeline, batch_events=BATCH, from_start=from_start)


def followed(folder: Path, url: str, bill: Path, prepare: Callable[[], None], *, from_start: bool = False) -> int:
    """Follow the events in a forked process, `prepare` called in it first; its exit status, -9 when it was killed."""

    def work() -> None:
        prepare()
        carry_out(open_pipeline(folder, url, bill), from_start=from_start)

    return in_child(work)


@pytest.mark.parametrize("occurrence", [1, 4])
@pytest.mark.parametrize("step", [step for step in Step if step is not Step.AFTER_READ])
def test_following_killed_at_any_step_goes_on_from_there(
    step: Step, occurrence: int, postgres_url: str, tmp_path: Path
) -> None:
    changes = [put(key, f"row {key}", key, "c") for key in range(1, 241)]
    changes += [put(key, f"changed {key}", 300 + key) for key in range(1, 60)]
    changes += [removed(key, 400 + key) for key in range(60, 120)]
    rows = {key: f"changed {key}" if key < 60 else f"row {key}" for key in range(1, 241) if not 60 <= key < 120}
    (tmp_path / "events.jsonl").write_text(lines(changes, tombstones=True))
    bill = tmp_path / "bill"

    happened = followed(tmp_path, postgres_url, bill, partial(kill_at, step, occurrence))
    assert happened == KILLED or occurrence > 1, "the step was not reached"

    pipeline = open_pipeline(tmp_path, postgres_url, bill)
    report = carry_out(pipeline)
    vectors_match_rows(pipeline, rows)
    assert report.failed == 0
    assert repaid(bill) <= IN_FLIGHT_TEXTS
    assert carry_out(pipeline).read == 0
    pipeline.close()


@pytest.mark.torture
@pytest.mark.timeout(1200)
def test_the_registry_twice_in_disorder_with_kills(postgres_url: str, data: Path, tmp_path: Path) -> None:
    changes, state = registry(data)
    dice = random.Random(11)
    for number, part in enumerate(partitions(changes, 3)):
        (tmp_path / f"part-{number}.jsonl").write_text(lines(part, tombstones=True))
    bill, unkilled = tmp_path / "bill", tmp_path / "unkilled"
    kills = 0
    # Later ones live longer: on a busy machine the first die before they have done anything.
    while (
        happened := followed(tmp_path, postgres_url, bill, partial(kill_after, dice.uniform(0.1, 0.6) * 1.05**kills))
    ) == KILLED:
        kills += 1
    assert happened == 0
    assert kills >= 5, "too few were killed before their end to show anything"

    pipeline = open_pipeline(tmp_path, postgres_url, bill)
    assert carry_out(pipeline).read == 0
    vectors_match_rows(pipeline, state)
    reference = EventFiles([str(tmp_path / "part-*.jsonl")], EventSettings("id"))
    sync(simple_pipeline(reference, embedder=RecordingEmbedder(unkilled)), batch_events=BATCH)
    extra = Counter(billed(bill)) - Counter(billed(unkilled))
    assert extra.total() <= IN_FLIGHT_TEXTS * kills

    paid = len(billed(bill))
    (tmp_path / "zz-again.jsonl").write_text(lines(dice.sample(changes, len(changes))))
    for occurrence in (1, 7, 20, 40):
        prepare = partial(kill_at, Step.WRITE_BEFORE_COMMIT, occurrence)
        assert followed(tmp_path, postgres_url, bill, prepare, from_start=True) == KILLED
        vectors_match_rows(pipeline, state)
    assert followed(tmp_path, postgres_url, bill, lambda: None) == 0
    assert carry_out(pipeline).read == 0
    vectors_match_rows(pipeline, state)
    assert len(billed(bill)) == paid, "nothing of the second reading was embedded"
    pipeline.close()
