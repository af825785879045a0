"""`rowvec status --watch`, and what long work says when it is stopped."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from contextlib import suppress

import psycopg
import pytest

from tests.acceptance.shop import ROWVEC, Shop, wait_until

ROWS = 12
SHOW_CURSOR = "\x1b[?25h"


@pytest.fixture
def shop(shop: Shop) -> Shop:
    assert shop.run("sync").code == 0
    return shop


def test_it_is_refused_with_json(shop: Shop) -> None:
    answer = shop.run("status", "--watch", "--json")
    assert (answer.code, answer.out) == (2, "")
    assert "contradict" in answer.err


def test_in_a_pipe_one_follows_the_other_until_it_is_stopped(shop: Shop) -> None:
    process = shop.start("status", "--watch", "--every", "0.1")
    wait_until(lambda: process.out.exists() and process.out.read_text().count("coverage") >= 2, "it is shown twice")
    shop.sql("insert into products values (99, 'new', 'new', 1)")
    wait_until(lambda: f"{ROWS} of {ROWS + 1} rows" in process.out.read_text(), "the new row is seen")
    process.signal(signal.SIGINT)
    ended = process.finish()
    assert ended.code == 130
    assert "Traceback" not in ended.err


@pytest.mark.slow
def test_on_a_terminal_it_is_shown_in_place_and_leaves_clean(shop: Shop, postgres_url: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*ROWVEC, "status", "--watch", "--every", "0.2"], cwd=shop.folder,
        env=shop.environment | {"TERM": "xterm", "COLUMNS": "140", "LINES": "40"},
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(ours, False)
    seen = bytearray()

    def shows(words: str) -> bool:
        with suppress(OSError):  # Nothing new, or the other end is closed.
            seen.extend(os.read(ours, 65536))
        return words in seen.decode(errors="replace")

    try:
        wait_until(lambda: shows(f"({ROWS} of {ROWS} rows have a current vector)"), "it is shown")
        shop.sql("insert into products values (99, 'new', 'new', 1)")
        wait_until(lambda: shows(f"({ROWS} of {ROWS + 1} rows have a current vector)"), "it is shown again")
        assert "\x1b[1A" in seen.decode(), "over the former one"
        assert shop.run("sync").code == 0
        wait_until(lambda: shows(" rows/s"), "its pace")
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("alter table products_vectors rename to elsewhere")
        wait_until(lambda: shows("0 % (0 of"), "a table that went away")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert shows(SHOW_CURSOR), "the cursor is back"
        assert "Traceback" not in seen.decode()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)
