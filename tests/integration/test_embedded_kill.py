"""Embedded servers whose users, and which themselves, are killed at random: `make torture` has the long form."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest

from rowvec.auditing.audit import audit
from rowvec.errors import RowvecError
from rowvec.pipeline import Options, Pipeline
from rowvec.stores.postgres.embedded import embedded_url, locks, process, stop_embedded, usage
from rowvec.stores.postgres.embedded.folder import Place
from rowvec.stores.postgres.store import PostgresStore
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder
from tests.integration.embedded_rig import ask, kill, servers, until
from tests.support import forked, simple_pipeline, vectors_match_rows
from tests.torture import TORTURE, Faults, tried

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="it looks at processes as Linux has them"),
    pytest.mark.slow,
]
LIVES = 200 if TORTURE else 32
DOOMED = 0.45
"""Some of these end before they are killed: a third of all is."""
BLOWS = 50 if TORTURE else 4


def live(place: Place, dice: random.Random) -> None:
    """Start or join, write, and leave as a process does in the end."""
    url = embedded_url(place.state)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("insert into kept values (1)")
        time.sleep(dice.random() * 0.2)
    usage.leave(place)


def test_processes_come_and_go_and_a_third_of_them_is_killed(state_folder: Path, faults: Faults) -> None:
    """Never two servers on one folder, never one that is left, and everybody who is not killed gets in."""
    place = Place(state_folder / "p")
    ask(embedded_url(place.state), "create table kept (key integer)")
    usage.leave(place)
    dice = random.Random(7)
    most, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            most[0] = max(most[0], len(servers(place)))
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    lived, killed, failed = 0, 0, 0
    running: dict[int, float | None] = {}
    with subprocess.Popen(["sleep", "600"]) as innocent:
        while lived < LIVES or running:
            if not running:
                _leave_a_stale_number(place, innocent.pid)
            # Now and then the last one goes before another comes.
            lull = lived % 20 == 0 and bool(running)
            while len(running) < 4 and lived < LIVES and not lull:
                seed = dice.random()
                doomed = dice.random() < DOOMED
                child = forked(partial(live_on if doomed else live, place, random.Random(seed)))
                running[child] = time.monotonic() + dice.random() * 0.6 if doomed else None
                lived += 1
                lull = lived % 20 == 0
            for child, end in list(running.items()):
                if end is not None and time.monotonic() > end:
                    kill(child)
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid:
                    del running[child]
                    code = os.waitstatus_to_exitcode(status)
                    killed += code == -signal.SIGKILL
                    failed += code not in (0, -signal.SIGKILL)
            time.sleep(0.005)
        assert innocent.poll() is None
        innocent.kill()
    ended.set()
    watcher.join()
    tried(faults, "user of the embedded server killed", killed)
    assert failed == 0
    assert most[0] == 1
    assert killed >= LIVES / 5, "every doomed one is killed"
    until(lambda: not servers(place) and not locks.is_held(place.users), "no server is left")
    print(f"{lived} lives, {killed} killed, {failed} failed to get in, at most {most[0]} server")


def live_on(place: Place, dice: random.Random) -> None:
    """Lives, and does not end by itself: it is killed at some moment."""
    live(place, dice)
    time.sleep(60)


def _leave_a_stale_number(place: Place, number: int) -> None:
    """As after a power cut, when the number of the server is another process's."""
    until(lambda: not locks.is_held(place.server), "the last one has gone")
    path = place.data / "postmaster.pid"
    path.write_text(f"{number}\n{place.data}\n1795727611\n5432\n.\n\n  2148113        19\nready   \n")
    owner = place.data.stat().st_uid
    os.chown(path, owner, owner)


ROWS = {key: f"row {key}" for key in range(600)}


def opened(state: Path) -> Pipeline:
    store = PostgresStore(embedded_url(state), "vectors", pipeline="things", index=None)
    return simple_pipeline(store=store, embedder=HashEmbedder(64, chunk_texts=20), rows=ROWS)


def test_the_server_is_killed_at_random_and_the_folder_copied_as_it_is(state_folder: Path, faults: Faults) -> None:
    """Every copy starts and is brought in step; so is the original."""
    place = Place(state_folder / "p")
    dice = random.Random(11)
    for blow in range(BLOWS):
        pipeline = opened(place.state)
        copy = state_folder / f"copy {blow}"
        blower = threading.Thread(target=_copy_and_kill, args=(place, copy, dice.random() * 0.4))
        blower.start()
        with suppress(RowvecError):
            # It tries again while the server is being started again, and may give up.
            sync(pipeline, Options(force=blow % 2 == 0))
        blower.join()
        pipeline.close()
        _is_sound(copy)
        subprocess.run(["rm", "-rf", copy], check=True)
    tried(faults, "embedded server killed", BLOWS)
    tried(faults, "folder of the embedded server copied while it wrote", BLOWS)
    _is_sound(place.state)


def _copy_and_kill(place: Place, copy: Path, after: float) -> None:
    time.sleep(after)
    # As a snapshot of the disk, or a power cut, has it: all files as they are at one moment.
    at_work = [int(name) for name in os.listdir("/proc") if name.isdecimal() and process.serves(int(name), place.data)]
    for number in at_work:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGSTOP)
    subprocess.run(["cp", "-a", place.state, copy], check=True)
    for number in at_work:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGCONT)
    for number in servers(place):
        kill(number)


def _is_sound(state: Path) -> None:
    pipeline = opened(state)
    try:
        sync(pipeline)
        vectors_match_rows(pipeline, ROWS)
        assert audit(pipeline, settle=0.0).findings == {}
    finally:
        pipeline.close()
        stop_embedded(state)
