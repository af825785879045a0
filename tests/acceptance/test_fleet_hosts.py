"""A fleet across hosts with addresses of their own, each of which is cut off for a while.

    ROWVEC_TORTURE=1 pytest tests/acceptance/test_fleet_hosts.py

cuts each off for a minute, and writes how long it took until the work went on.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.hosts_rig import Fleet, fleet
from tests.integration.celery_rig import many, wait_for
from tests.servers.openai import EmbeddingServer
from tests.torture import Faults, tried

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CUTS = ("worker-a", "broker", "store", "source")
SHORT, LONG = 3.0, 60.0
LATENCY = 0.2
ROWS_A_SECOND = 2 * 16 / LATENCY
"""What two workers embed at most."""


def test_a_fleet_across_hosts_ends_complete_while_each_is_cut_off(state_folder: Path, faults: Faults) -> None:
    with fleet(state_folder, EmbeddingServer(dimension=8, latency=LATENCY)) as made:
        rows = begun(made, 1600)
        started = made.start_fleet()
        wait_for(lambda: made.stored() > 0, "the fleet is at work")
        for together in (["worker-a"], ["broker", "store", "source"]):
            with ExitStack() as cuts:
                for host in together:
                    cuts.enter_context(made.hosts[host].cut())
                    tried(faults, "a host is cut off")
                time.sleep(SHORT)
            made.wait_for_more()
        made.end_of(started)
        ended_well(made, rows)


@pytest.mark.torture
@pytest.mark.parametrize("host", CUTS)
def test_a_host_is_cut_off_for_a_minute(host: str, state_folder: Path, faults: Faults) -> None:
    with fleet(state_folder, EmbeddingServer(dimension=8, latency=LATENCY)) as made:
        # Where a worker is cut off, the other one has done all the rest within that minute.
        rows = begun(made, int(ROWS_A_SECOND * (20 if host == "worker-a" else 60)))
        started = made.start_fleet()
        wait_for(lambda: made.stored() > 50, "the fleet is at work")
        with made.hosts[host].cut():
            tried(faults, "a host is cut off for a minute")
            time.sleep(LONG)
        again = made.wait_for_more(200)
        back = time.monotonic() - again
        made.end_of(started)
        keep(host, {"seconds until the next vector": again, "seconds until the end": time.monotonic() - back})
        ended_well(made, rows)
        if host == "broker":
            assert "does not answer. It is asked again for up to 5 minutes." in made.said()


@pytest.mark.torture
def test_a_fleet_ends_complete_without_a_host_that_never_comes_back(state_folder: Path, faults: Faults) -> None:
    with fleet(state_folder, EmbeddingServer(dimension=8, latency=LATENCY)) as made:
        rows = begun(made, int(ROWS_A_SECOND * 10))
        started = made.start_fleet()
        wait_for(lambda: made.stored() > 50, "the fleet is at work")
        made.hosts["worker-a"].unplug()
        tried(faults, "a host is cut off for good")
        gone = time.monotonic()
        made.end_of(started)
        keep("worker-a, for good", {"seconds until the end": time.monotonic() - gone})
        ended_well(made, rows)


def begun(made: Fleet, count: int) -> dict[int, str]:
    rows = many(count)
    made.write_rows(rows)
    made.start_workers("worker-a", "worker-b")
    return rows


def ended_well(made: Fleet, rows: dict[int, str]) -> None:
    """Every row has its vector, one run was recorded, and nothing that was said is a stack of Python."""
    made.vectors_match(rows)
    with psycopg.connect(made.store) as connection:
        assert connection.execute("select outcome, count(*) from rowvec.runs group by 1").fetchall() == [("done", 1)]
    assert "Traceback" not in made.said()


def keep(host: str, figures: dict[str, float]) -> None:
    """Where the campaign keeps its results."""
    if path := os.environ.get("ROWVEC_TORTURE_RESULT"):
        file = Path(path).with_name("fleet_hosts.json")
        kept = json.loads(file.read_text()) if file.exists() else {}
        rounded = {name: round(seconds, 1) for name, seconds in figures.items()}
        file.write_text(json.dumps({**kept, host: rounded}, indent=2, sort_keys=True) + "\n")
