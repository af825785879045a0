"""The example package of examples/plugin, installed beside rowvec: its kinds work and are checked like rowvec's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ITEM = "<item><guid>g{n}</guid><title>{title}</title><description>number {n}</description></item>"
CONFIG = """
[pipelines.news]
source   = { kind = "feed", path = "news.rss" }
text     = { columns = ["title", "description"] }
embedder = { kind = "hashing", dimension = 64 }
store    = { kind = "postgres", url = "%s", metadata = ["title"] }
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the package in it."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--no-build-isolation", "--target", str(folder), str(ROOT / "examples" / "plugin")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def run(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True, text=True,
    )  # fmt: skip


def rowvec(installed: Path, folder: Path, *arguments: str) -> str:
    done = run(installed, folder, "rowvec.cli.main", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_feed(folder: Path, titles: list[str]) -> None:
    items = "".join(ITEM.format(n=n, title=title) for n, title in enumerate(titles))
    (folder / "news.rss").write_text(f"<rss><channel>{items}</channel></rss>", encoding="utf-8")


def test_rows_of_a_feed_are_synced_and_found(installed: Path, tmp_path: Path, postgres_url: str) -> None:
    (tmp_path / "rowvec.toml").write_text(CONFIG % postgres_url, encoding="utf-8")
    write_feed(tmp_path, ["a quiet office chair", "a loud hammer drill", "a red lamp"])
    assert "WRONG" not in rowvec(installed, tmp_path, "check")
    assert "3 new" in rowvec(installed, tmp_path, "sync")
    write_feed(tmp_path, ["a quiet office chair", "a blue lamp"])
    assert "1 changed" in rowvec(installed, tmp_path, "sync")
    assert "quiet office chair" in rowvec(installed, tmp_path, "search", "chair for the office", "--limit", "1")


def test_the_example_keeps_the_contract(installed: Path, tmp_path: Path) -> None:
    done = run(
        installed, tmp_path, "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / "examples" / "plugin" / "tests")
    )
    assert done.returncode == 0, done.stdout
    assert "18 passed" in done.stdout


def test_an_unknown_kind_is_answered_with_all_that_are_installed(installed: Path, tmp_path: Path) -> None:
    text = (CONFIG % "embedded").replace('"feed"', '"feeed"')
    (tmp_path / "rowvec.toml").write_text(text, encoding="utf-8")
    done = run(installed, tmp_path, "rowvec.cli.main", "plan")
    assert "is not one of sql, files, debezium, feed" in done.stderr
    assert "Did you mean" in done.stderr


def test_a_mistake_in_the_table_of_a_foreign_kind_is_named_like_any_other(installed: Path, tmp_path: Path) -> None:
    text = (CONFIG % "embedded").replace("dimension = 64", 'dimension = "x"')
    (tmp_path / "rowvec.toml").write_text(text, encoding="utf-8")
    done = run(installed, tmp_path, "rowvec.cli.main", "plan")
    assert "pipelines.news.embedder.dimension" in done.stderr


@pytest.mark.parametrize(("code", "said"), [("raise RuntimeError('boom')", "boom"), ("FEED = 5", "not a rowvec Kind")])
def test_a_package_that_is_broken_is_named(installed: Path, tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "rowvec_broken.py").write_text(code, encoding="utf-8")
    information = tmp_path / "rowvec_broken-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: rowvec-broken\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[rowvec.sources]\nbroken = rowvec_broken:FEED\n")
    text = (CONFIG % "embedded").replace('"feed"', '"broken"')
    (tmp_path / "rowvec.toml").write_text(text, encoding="utf-8")
    done = run(tmp_path, tmp_path, "rowvec.cli.main", "plan")
    assert done.returncode == 2
    assert "rowvec-broken" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
