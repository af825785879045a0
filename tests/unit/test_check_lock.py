"""tools/check_lock.py finds what must not land in a lock file."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tools.check_lock import DEMO, EVERYTHING, SCRIPTS, mistakes

ROOT = Path(__file__).parents[2]
Edit = Callable[[str], str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("pyproject.toml", "requirements.override", EVERYTHING, DEMO, SCRIPTS, "package.json"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def edit(path: Path, change: Edit) -> None:
    before = path.read_text(encoding="utf-8")
    after = change(before)
    assert after != before
    path.write_text(after, encoding="utf-8")


def test_the_lock_files_are_right() -> None:
    assert list(mistakes(ROOT)) == []


HASHED = f"    --hash=sha256:{'0' * 64}\n"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda text: text.replace("jinja2==3.1.6", "jinja2==3.1.5"), "jinja2 3.1.5 is not what dependencies asks for"),
        (lambda text: text.replace("starlette==1.", "starlette==0."), "starlette 0.* is not what serve asks for"),
        (lambda text: re.sub(r"^h11==(?:.*\\\n)+.*\n", "h11==0.16.0\n", text, flags=re.M), "'h11==0.16.0' has no hash"),
        (lambda text: re.sub(r"^h11==(?:.*\\\n)+.*\n", "", text, flags=re.M), "h11 of serve is not in it"),
        (lambda text: text.replace("h11==0.16.0", "h11>=0.16.0"), "h11 is not pinned to one version"),
        (lambda text: text.replace("h11==0.16.0", "h11 @ https://h.example/h11.whl"), "h11 comes from an address"),
        (lambda text: text + f"torch==2.9.0 \\\n{HASHED}", "torch is not to be fetched"),
        (lambda text: text + f"nvidia-cublas==13.0 \\\n{HASHED}", "nvidia-cublas is not to be fetched"),
        (lambda text: "--index-url https://h.example/simple\n" + text, "'--index-url https://h.example/simple' has no"),
        (lambda text: f"--extra-index-url=x \\\n{HASHED}" + text, "'--extra-index-url=x' is not a pinned package"),
    ],
    ids=["old", "old-of-an-extra", "no-hash", "absent", "range", "address", "torch", "cuda", "index", "option"],
)
def test_a_mistake_is_found(folder: Path, change: Edit, found: str) -> None:
    edit(folder / EVERYTHING, change)
    assert any(re.search(found, each) for each in mistakes(folder)), list(mistakes(folder))


def test_the_demo_installs_the_versions_that_are_tested(folder: Path) -> None:
    edit(folder / DEMO, lambda text: text.replace("numpy==2.", "numpy==3."))
    assert f"{DEMO}: numpy is pinned otherwise in {EVERYTHING}" in list(mistakes(folder))


def test_a_raised_floor_asks_for_a_new_lock(folder: Path) -> None:
    edit(folder / "pyproject.toml", lambda text: text.replace('"numpy>=2.0"', '"numpy>=99"'))
    assert [each for each in mistakes(folder) if "numpy" in each and "dependencies asks for: >=99" in each]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda text: text.replace('"integrity"', '"resolved": "https://h.example/b.tgz", "integrity"'), "an address"),
        (lambda text: re.sub(r'"integrity": "[^"]*"', '"integrity": ""', text, count=1), "has no hash"),
        (lambda text: text.replace('"@biomejs/biome": "', '"@biomejs/biome": "^'), "not that of package.json"),
    ],
)
def test_the_lock_of_the_scripts_is_checked_too(folder: Path, change: Edit, found: str) -> None:
    edit(folder / SCRIPTS, change)
    assert any(each.startswith(SCRIPTS) and found in each for each in mistakes(folder)), list(mistakes(folder))
