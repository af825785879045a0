"""A paid sync that is killed pays again at most for the requests that were on their way, and knows what it spent."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from rowvec.api import functions
from tests.acceptance.samples_rig import DIMENSION, DOLLARS_PER_TOKEN, make_library
from tests.servers.openai import EmbeddingServer, four_characters_a_token
from tests.support import ended, forked
from tests.torture import TORTURE

SAMPLES = 600
BATCH = 10
IN_FLIGHT = 4 + 1
"""Requests on their way: one in each of four threads, and one answered whose vectors are being written."""
KILLS = 50 if TORTURE else 15


class Arrivals:
    """Counts tokens as the server does, and notices that it is asked to: a request has come."""

    def __init__(self) -> None:
        self.came = threading.Event()

    def __call__(self, texts: Sequence[str]) -> list[int]:
        self.came.set()
        return four_characters_a_token(texts)


def killed_sync(folder: Path, came: threading.Event, dice: random.Random) -> bool:
    """Run one sync in a forked process and kill it at some moment, mostly after its first request; False when it had
    come to its end before that."""
    came.clear()
    child = forked(partial(functions.sync, config=folder))
    if dice.random() < 0.9:
        came.wait(5)
    time.sleep(dice.uniform(0, 0.6))
    os.kill(child, signal.SIGKILL)
    status = ended(child)
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.slow
def test_kills_at_random_moments_cost_at_most_what_was_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = make_library(tmp_path, SAMPLES)
    library.configure("batch_size = 100", f"batch_size = {BATCH}")
    dice, arrivals = random.Random(11), Arrivals()
    kills = editions = 0
    with EmbeddingServer(dimension=DIMENSION, latency=0.1, count_tokens=arrivals) as server:
        library.use(server)
        for name, value in library.environment.items():
            monkeypatch.setenv(name, value)
        assert len(library.documents()) == SAMPLES
        while kills < KILLS:
            if killed_sync(tmp_path, arrivals.came, dice):
                kills += 1
            else:
                editions += 1
                library.query(f"update samples set title = title || ' (edition {editions})'")
        report = functions.sync(config=tmp_path)
        time.sleep(2 * server.latency)

    paid = server.billed_texts
    assert report.failed == 0
    assert server.requests > KILLS, "most of the syncs were killed while they embedded"
    assert paid.total() <= len(paid) + IN_FLIGHT * BATCH * kills
    documents = library.documents()
    library.each_vector_is_its_texts_own(documents)
    totals = library.json("status")["totals"]
    stored = sum(four_characters_a_token([document.text for document in documents]))
    assert stored <= totals["tokens"] <= server.billed_tokens, "what every stored vector cost is on record"
    assert totals["cost"] == pytest.approx(totals["tokens"] * DOLLARS_PER_TOKEN)
    print(f"{kills} kills: {paid.total():,} texts billed for {len(paid):,}, ${totals['cost']:.4f} on record")
