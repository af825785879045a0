"""docs/reliability.md names tests; each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(PAGE))))
def test_a_test_that_the_page_names_exists(file: str, name: str) -> None:
    assert name in functions(ROOT / file)


def functions(file: Path) -> set[str]:
    """Names of the functions in a file, and of those in the contract that it takes over whole."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*" and node.module is not None:
            found |= functions(ROOT / "src" / (node.module.replace(".", "/") + ".py"))
    return found


def test_every_row_of_its_tables_names_one() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("|---")]
    headings = ("| Promise |", "| Reported |", "| Fault |")
    promises = PAGE.partition("## Faults")[0]
    for row in rows:
        if row in promises and not row.startswith(headings):
            assert NAMED.search(row), row
