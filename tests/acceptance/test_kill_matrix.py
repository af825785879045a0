"""Every labelled step, killed on every kind of source, store and embedder.

The matrix is made from the labels themselves: a new one joins by existing, and fails as long as no journey passes it.
`make test` tries each label on one combination, so that all kinds take part; `make torture` tries all.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rowvec.support import killpoints
from rowvec.support.killpoints import Step
from tests.acceptance.journeys import COMBINATIONS, EMBEDDERS, SOURCES, STORES, Journey, Rows, journey
from tests.acceptance.killed import IN_FLIGHT_TEXTS, KILLED, kill_at, repaid
from tests.support import in_child, rows_of
from tests.torture import TORTURE, Faults, tried

pytestmark = pytest.mark.slow

Names = tuple[str, str, str]
STRIDE = 17
"""Relative to the number of combinations a prime, so that the short form meets every kind."""
MANY_TIMES = {Step.AFTER_READ, Step.BEFORE_EMBED, Step.AFTER_EMBED}
"""Passed at least three times by every journey that has them. How often rows are committed depends on the machine."""


def impossible(step: Step, names: Names) -> bool:
    """Change events are not read in pages, and a row of the user's own table takes its vector with it."""
    if step is Step.AFTER_READ:
        return names[0] == "events"
    return step in (Step.DELETE_BEFORE_COMMIT, Step.DELETE_AFTER_COMMIT) and names[1] == "in-place"


MATRIX = [
    (step, names, occurrence)
    for number, step in enumerate(Step)
    for place, names in enumerate(COMBINATIONS)
    for occurrence in ((1, 3) if TORTURE and step in MANY_TIMES else (1,))
    if (TORTURE or place == number * STRIDE % len(COMBINATIONS)) and not impossible(step, names)
]


def text(number: int) -> str:
    """Different for every number, in letters, since a small model knows no others."""
    return "the cat " + "".join("abcdefghij"[int(digit)] for digit in str(number))


def rows_before() -> Rows:
    return {key: text(key) for key in range(60)}


def rows_after() -> Rows:
    """Some gone, some changed, some new; never a text that was there before."""
    dice = random.Random(5)
    kept = {key: words for key, words in rows_before().items() if dice.random() > 0.2}
    changed = {key: text(1000 + key) for key in dice.sample(sorted(kept), 15)}
    return kept | changed | {key: text(2000 + key) for key in range(60, 90)}


def is_right(made: Journey, rows: Rows) -> None:
    pipeline = made.open()
    assert rows_of(pipeline).keys(None, 1000) == sorted(rows)
    for key, words in rows.items():
        vector = rows_of(pipeline).vector(key)
        assert vector is not None, f"row {key} has no vector"
        np.testing.assert_allclose(vector, pipeline.embedder.embed_query(words), atol=2e-6)
    assert rows_of(pipeline).failures() == []
    pipeline.close()


def complete(made: Journey, rows: Rows) -> None:
    """One sync more, and another that finds nothing to do."""
    assert made.bring_up_to_date().failed == 0
    is_right(made, rows)
    again = made.bring_up_to_date()
    assert (again.written, again.texts) == (0, 0)


@pytest.fixture
def made(request: pytest.FixtureRequest, quick_folder: Path) -> Iterator[Journey]:
    names: Names = request.node.callspec.params["names"]
    with journey(names, request, quick_folder) as made:
        yield made


@pytest.mark.parametrize(
    ("step", "names", "occurrence"), MATRIX, ids=[f"{step}-{'-'.join(names)}-{nth}" for step, names, nth in MATRIX]
)
def test_what_was_killed_is_completed_by_the_next_sync(
    step: Step, names: Names, occurrence: int, made: Journey, faults: Faults
) -> None:
    made.rows.write(rows_before())
    assert in_child(made.bring_up_to_date) == 0
    rows = rows_after()
    made.rows.write(rows)

    def killed() -> None:
        kill_at(step, occurrence)
        made.bring_up_to_date()

    assert in_child(killed) == KILLED, f"the journey does not pass {step} {occurrence} times"
    tried(faults, f"killed at {step}")
    assert in_child(partial(complete, made, rows)) == 0
    assert repaid(made.bill) <= IN_FLIGHT_TEXTS or names[2] == "local"


def _passed(made: Journey, noted: Path) -> None:
    def note(step: Step) -> None:
        with noted.open("a") as file:
            file.write(f"{step}\n")

    killpoints.observer = note
    made.bring_up_to_date()


@pytest.mark.parametrize("names", [COMBINATIONS[0], COMBINATIONS[-1]], ids="-".join)
def test_a_journey_passes_steps(names: Names, made: Journey, quick_folder: Path) -> None:
    """Each kind of journey passes all labels but those that its kind cannot have."""
    noted = quick_folder / "steps"
    for rows in (rows_before(), rows_after()):
        made.rows.write(rows)
        assert in_child(partial(_passed, made, noted)) == 0
    passed = {Step(line) for line in noted.read_text().split()}
    assert set(Step) - passed == {step for step in Step if impossible(step, names)}


def test_the_short_form_meets_every_kind() -> None:
    met = [COMBINATIONS[number * STRIDE % len(COMBINATIONS)] for number in range(len(Step))]
    assert not any(map(impossible, Step, met))
    assert [set(kinds) for kinds in zip(*met, strict=True)] == [set(SOURCES), set(STORES), set(EMBEDDERS)]
