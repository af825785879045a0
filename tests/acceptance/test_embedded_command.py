"""`rowvec check` and `rowvec embedded`, for the server that comes with rowvec."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowvec.stores.postgres.embedded import describe, embedded_url, stop_embedded
from tests.acceptance.shop import Shop, wait_until
from tests.servers.openai import EmbeddingServer

STORE = 'kind = "postgres", table = "v", language = ""'


@pytest.fixture
def shop(tmp_path: Path, model: EmbeddingServer) -> Iterator[Shop]:
    made = Shop(tmp_path, {"MODEL_URL": model.url})
    made.stock(3)
    made.declare(store=STORE)
    yield made
    stop_embedded(tmp_path / ".rowvec")


def test_check_says_where_it_is_and_who_uses_it(shop: Shop) -> None:
    said = shop.run_anew("check")
    assert said.code == 0, said.out + said.err
    found = re.search(
        r"^OK +embedded +PostgreSQL 18\.\d+ in (.+), (\d+)\.\d MB; process \d+, since 20[-0-9]+ [:0-9]+,"
        r" used by \d+ \(",
        said.out, re.MULTILINE,
    )  # fmt: skip
    assert found is not None, said.out
    assert found[1] == str(shop.folder / ".rowvec/postgres")
    assert 10 < int(found[2]) < 200
    assert describe(shop.folder / ".rowvec").since is None, "it has ended with the command"


def test_stop_ends_it_and_says_who_used_it(shop: Shop) -> None:
    state = shop.folder / ".rowvec"
    embedded_url(state)
    said = shop.run("embedded", "stop")
    assert said.code == 0, said.err
    assert said.out.startswith("Stopped.\nThese used it, and start it again when they need it: ")
    assert describe(state).since is None
    assert shop.run("embedded", "stop").out == "It does not run.\n"


def test_run_keeps_it_running_until_it_is_stopped(shop: Shop) -> None:
    running = shop.start("embedded", "run")
    state = shop.folder / ".rowvec"
    wait_until(
        lambda: running.out.exists() and running.out.read_text().startswith("postgresql://"), "its URL is printed"
    )
    assert describe(state).since is not None
    assert shop.run("embedded", "stop").code == 0
    wait_until(lambda: not running.running(), "it has ended")
    assert running.code == 0
    assert describe(state).since is None
