"""The file of judgements from the page: several servers may write one."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from rowvec.errors import ConfigError
from rowvec.evaluation.judged import JudgementsFile

EACH = 60


def _judge(path: Path, process: int) -> None:
    for number in range(EACH):
        JudgementsFile(path).rate("oil filter", f"{process}-{number}", number % 4)


def test_two_processes_lose_no_judgement_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "shop.csv"
    spawned = multiprocessing.get_context("spawn")
    processes = [spawned.Process(target=_judge, args=(path, number)) for number in range(2)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(60)
    assert [each.exitcode for each in processes] == [0, 0]
    assert len(JudgementsFile(path).read()["oil filter"]) == 2 * EACH


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(ConfigError, match=r"kept/shop\.csv cannot be written"):
        JudgementsFile(tmp_path / "kept" / "shop.csv").rate("oil filter", "1", 3)


def test_the_last_judgement_that_is_taken_back_takes_the_file(tmp_path: Path) -> None:
    file = JudgementsFile(tmp_path / "shop.csv")
    file.rate("oil  filter", "1", 3)
    assert file.read() == {"oil filter": {"1": 3}}
    file.rate("oil filter", "1", None)
    assert file.read() == {} and not file.path.exists()
