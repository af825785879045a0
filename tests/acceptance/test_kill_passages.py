"""A sync of long texts, killed at every labelled step: no row has passages of two texts, and what was stored is not
paid for again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from rowvec.auditing.audit import audit
from rowvec.documents.passages import PassageSettings
from rowvec.sources.events.stream import has_table
from rowvec.support.killpoints import Step
from rowvec.testing import HashEmbedder
from rowvec.types import Key
from tests.acceptance.journeys import COMBINATIONS, Journey, Rows, journey
from tests.acceptance.killed import IN_FLIGHT_TEXTS, KILLED, billed, kill_at, repaid
from tests.acceptance.test_kill_matrix import impossible
from tests.support import in_child, rows_of
from tests.support_passages import Passages, Said, with_vector
from tests.torture import TORTURE, Faults, tried

pytestmark = pytest.mark.slow

SETTINGS = PassageSettings(tokens=10, overlap=2)
PLACES = [names for names in COMBINATIONS if names[2] == "hash"]
"""Every pair of source and store."""
STRIDE = 11
"""The short form meets each step at a pair that has it, and every kind of source and store."""
MANY_TIMES = {Step.AFTER_READ: 2, Step.BEFORE_EMBED: 4, Step.AFTER_EMBED: 3, Step.WRITE_BEFORE_COMMIT: 3,
              Step.WRITE_AFTER_COMMIT: 3}  # fmt: skip
"""In the middle of the sync. The steps that are not here are tried when they come first."""
MATRIX = [
    (step, names, occurrence)
    for number, step in enumerate(Step)
    for place, names in enumerate(PLACES)
    for occurrence in ({1, MANY_TIMES.get(step, 1)} if TORTURE else {MANY_TIMES.get(step, 1)})
    if (TORTURE or place == number * STRIDE % len(PLACES)) and not impossible(step, names)
]


def sentence(number: int) -> str:
    """Short, and any few words of it are of this number alone."""
    return f"Pump {number} in {number} leaks {number}."


def rows_before() -> Rows:
    """Of several passages each, but some, which are one."""
    return {key: " ".join(sentence(10 * key + n) for n in range(5 if key % 5 else 1)) for key in range(30)}


def rows_after() -> Rows:
    """Sentences put in front, in the middle and at the end, some swapped; some rows shortened, some gone, some new."""
    rows = {key: text for key, text in rows_before().items() if key % 7}
    for key in list(rows)[::2]:
        sentences, fresh = re.findall(r"[^.]+\.", rows[key]), sentence(1000 + key)
        place = (0, 2, len(sentences))[key % 3]
        sentences[place : place + key % 2] = [fresh]
        rows[key] = " ".join(each.strip() for each in sentences)
    rows |= {key: sentence(1500 + key) for key in (3, 11, 23)}
    return rows | {key: " ".join(sentence(10 * key + n) for n in range(5)) for key in range(200, 206)}


def said(rows: Rows) -> dict[Key, Said]:
    return {key: Said(text) for key, text in rows.items()}


PASSAGES = Passages(HashEmbedder(), SETTINGS)


def nothing_is_mixed(made: Journey) -> set[str]:
    """Each row is of before or of after; returns the texts that have a vector, whole ones and passages."""
    pipeline = made.open()
    live, before, after = rows_of(pipeline), rows_before(), rows_after()
    held = PASSAGES.held(live, [Said(text) for text in (*before.values(), *after.values())])
    for key, each in held.items():
        assert each.said.text in (before.get(int(key)), after.get(int(key)))
    texts: dict[bytes, str] = {}
    for text in (*before.values(), *after.values()):
        texts |= PASSAGES.embedded(Said(text))
    stored = {texts[text_hash] for text_hash in with_vector(live, texts)}
    pipeline.close()
    return stored


def complete(made: Journey) -> None:
    stored, paid = nothing_is_mixed(made), len(billed(made.bill))
    assert made.bring_up_to_date().failed == 0
    again = Counter(billed(made.bill)[paid:])
    assert not stored & set(again), "a text whose vector was stored was paid for again"
    assert max(again.values(), default=1) == 1
    pipeline = made.open()
    PASSAGES.are_right(rows_of(pipeline), said(rows_after()))
    assert rows_of(pipeline).failures() == []
    if has_table(pipeline.source):
        assert audit(pipeline, sample=0, settle=0).findings == {}
    pipeline.close()
    last = made.bring_up_to_date()
    assert (last.written, last.texts) == (0, 0)


@pytest.fixture
def made(request: pytest.FixtureRequest, quick_folder: Path) -> Iterator[Journey]:
    names = request.node.callspec.params["names"]
    with journey(names, request, quick_folder) as made:
        yield replace(made, passages=SETTINGS)


@pytest.mark.parametrize(
    ("step", "names", "occurrence"), MATRIX, ids=[f"{step}-{'-'.join(names)}-{nth}" for step, names, nth in MATRIX]
)
def test_a_killed_sync_of_passages_mixes_nothing_and_pays_for_nothing_stored(
    step: Step, names: tuple[str, str, str], occurrence: int, made: Journey, faults: Faults
) -> None:
    made.rows.write(rows_before())
    assert in_child(made.bring_up_to_date) == 0
    made.rows.write(rows_after())

    def killed() -> None:
        kill_at(step, occurrence)
        made.bring_up_to_date()

    assert in_child(killed) == KILLED, f"the journey does not pass {step} {occurrence} times"
    tried(faults, f"killed at {step}")
    assert in_child(partial(complete, made)) == 0
    assert repaid(made.bill) <= IN_FLIGHT_TEXTS


def test_texts_of_the_journey_share_passages_with_their_former_selves_and_with_no_other_row() -> None:
    before, after = rows_before(), rows_after()
    assert max(map(len, (*before.values(), *after.values()))) <= 200, "the columns hold them"
    rows = [set(PASSAGES.embedded(Said(text)).values()) for text in after.values()]
    assert sum(map(len, rows)) == len(set.union(*rows))
    fresh = set.union(*rows) - {text for each in before.values() for text in PASSAGES.embedded(Said(each)).values()}
    assert IN_FLIGHT_TEXTS < len(fresh) < sum(map(len, rows)) - IN_FLIGHT_TEXTS
    assert sum(len(each) > 2 for each in rows) > len(rows) / 2
