"""The check of the architecture sees every file, and the page on the design names every room."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "rowvec"
LINT = Path(sys.executable).with_name("lint-imports")


def folders() -> list[Path]:
    return sorted({file.parent for file in PACKAGE.rglob("*.py")} - {PACKAGE})


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINT, "--no-cache"], cwd=folder, env=of(folder), capture_output=True, text=True)


def of(copy: Path) -> dict[str, str]:
    """Surroundings in which the copy comes before the installed package."""
    return {**os.environ, "PYTHONPATH": str(copy / "src")}


def module_of(file: Path) -> str:
    return ".".join(["rowvec", *file.with_suffix("").parts]).removesuffix(".__init__")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "src" / "rowvec", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_file_is_seen_and_keeps_the_contracts(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    # What it sees are the modules of this graph.
    code = "import grimp; print(*grimp.build_graph('rowvec').modules)"
    graph = subprocess.run([sys.executable, "-c", code], env=of(copy), capture_output=True, text=True, check=True)
    there = {module_of(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py")}
    assert set(graph.stdout.split()) == there


def test_an_import_upwards_is_found_in_whatever_folder_it_is_planted(copy: Path) -> None:
    below = [folder for folder in folders() if folder.relative_to(PACKAGE).parts[0] != "cli"]
    planted = []
    for folder in below:
        module = folder.relative_to(PACKAGE) / "planted.py"
        (copy / "src" / "rowvec" / module).write_text("from rowvec.cli import output\n", encoding="utf-8")
        planted.append(module_of(module))
    done = lint(copy)
    assert done.returncode == 1
    assert [name for name in planted if name not in done.stdout] == []


def test_a_folder_without_an_init_file_is_not_possible() -> None:
    assert [folder for folder in folders() if not (folder / "__init__.py").is_file()] == []


def test_the_design_names_every_file_and_folder_at_the_top() -> None:
    table = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.]+/?)`", table))
    there = {
        f"{path.name}/" if path.is_dir() else path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"
    }
    assert there - named == set()
    assert len(there) <= 33
