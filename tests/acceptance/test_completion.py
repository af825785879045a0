"""What the shell offers behind a Tab, by the program that the shell asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tools import reference

from rowvec.cli import complete, search
from rowvec.cli.help import pages
from tests.unit.configs import SOURCE, written

TWO = f"""
[pipelines.products]
{SOURCE}
store = {{ kind = "postgres", metadata = ["brand", "price"] }}
[pipelines.parts]
{SOURCE}
store = {{ kind = "postgres", table = "parts", metadata = ["weight"] }}
"""


def offered(folder: Path, line: str) -> list[str]:
    """Args: line: up to the Tab; with a blank at its end a new word begins."""
    words = line.split(" ")
    asked = {"_ROWVEC_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [Path(sys.executable).with_name("rowvec")], cwd=folder, env=os.environ | asked, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("rowvec search chair --mode ", [*complete.MODES]),
        ("rowvec search chair --mode k", ["keyword"]),
        ("rowvec search chair -m ", [*complete.MODES]),
        ("rowvec search chair --generation ", [*complete.GENERATIONS]),
        ("rowvec sync -p ", ["products", "parts"]),
        ("rowvec sync --pipeline pro", ["products"]),
        ("rowvec serve -p pa", ["parts"]),
        ("rowvec token --pipeline pa", ["parts"]),
        ("rowvec status pr", ["products"]),
        ("rowvec search chair -p products --columns ", ["brand", "price"]),
        ("rowvec search chair -p products --columns brand,p", ["brand,price"]),
        ("rowvec search chair --facet ", ["brand", "price", "weight"]),
        ("rowvec index ", [*complete.INDEX_ACTIONS]),
        ("rowvec index build --kind h", ["hnsw", "hnsw-bit"]),
        ("rowvec queries ", [*complete.QUERY_ACTIONS]),
        ("rowvec model f", ["fetch"]),
        ("rowvec worker --log-level ", [*complete.LOG_LEVELS]),
        ("rowvec generations --drop ", [*complete.DROPPED]),
        ("rowvec help quer", ["query-log"]),
        ("rowvec help failures#the", ["failures#the-list"]),
    ],
)
def test_a_tab_offers_what_can_stand_there(tmp_path: Path, line: str, values: list[str]) -> None:
    written(tmp_path, TWO)
    assert sorted(offered(tmp_path, line)) == sorted(values)


@pytest.mark.parametrize("text", ["", "[pipelines", "[pipelines.a]\nspeed = 3"])
def test_a_tab_beside_a_config_with_a_mistake_offers_nothing_and_says_nothing(tmp_path: Path, text: str) -> None:
    written(tmp_path, text)
    assert offered(tmp_path, "rowvec sync -p ") == []


def test_a_config_that_the_line_names_is_read(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    written(tmp_path / "there", TWO)
    assert sorted(offered(tmp_path, "rowvec sync -c there -p ")) == ["parts", "products"]


def test_every_page_is_offered(tmp_path: Path) -> None:
    assert offered(tmp_path, "rowvec help ") == sorted(pages())


def test_what_is_offered_is_what_is_taken() -> None:
    for known, take in [(complete.MODES, search.mode_named), (complete.GENERATIONS, search._state)]:
        assert [take(each) for each in known] == [*known]


def test_options_of_the_same_name_mean_the_same() -> None:
    """`--all` is every pipeline, wherever there is one."""
    meanings: dict[str, set[str]] = {}
    for command in reference.commands().values():
        for param in command.params:
            for name in param.opts:
                if name in ("--all", "--json", "--config", "--where", "--max-cost"):
                    meanings.setdefault(name, set()).add(str(getattr(param, "help", "")).partition(",")[0])
    assert meanings["--all"] == {"Every pipeline of the config"}
    assert {
        name: said for name, said in meanings.items() if len(said) > 1 and name not in ("--config", "--where")
    } == {}
