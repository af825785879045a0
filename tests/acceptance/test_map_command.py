"""`rowvec map` as a command, and the progress that long work shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rowvec.cli import progress
from rowvec.maps.draw import EmbeddingMap
from rowvec.types import ColumnType
from tests.acceptance.shop import Shop

ROWS = 12


def test_a_map_is_drawn_and_drawn_again(shop: Shop) -> None:
    answer = shop.run("map")
    assert answer.code == 1
    assert "Run `rowvec sync` first." in answer.err
    assert shop.run("sync").code == 0
    answer = shop.run("map", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert (told["pipeline"], told["rows"]) == ("products", ROWS)
    assert "reading …" in answer.err
    shop.sql("insert into products values (99, 'new', 'new', 1)")
    assert shop.run("sync").code == 0
    answer = shop.run("map")
    assert answer.out.startswith(f"products: {ROWS + 1} rows on the map")
    found = EmbeddingMap.load(Path(told["file"]), ColumnType.INTEGER)
    assert found is not None
    assert list(found.keys) == [*range(1, ROWS + 1), 99]


def test_a_pipe_gets_a_line_for_each_phase_and_then_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("rowvec.cli.progress.time.monotonic", lambda: now[0])
    with progress.phases("Nothing is lost.") as tell:
        for second in range(12):
            now[0] = 100.0 + second
            tell("reading", 50 * second, 1000)
        tell("layout", 0, None)
    assert capsys.readouterr().err.splitlines() == [
        "reading …",
        "reading: 250 of 1,000, about 15 s left, 50/s",
        "reading: 500 of 1,000, about 10 s left, 50/s",
        "layout …",
    ]


def test_ctrl_c_says_what_it_leaves_behind(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), progress.phases("The index is as it was."):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "Stopped. The index is as it was.\n"
