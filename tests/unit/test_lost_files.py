"""Files that a pattern named and that cannot be reached: their rows never count as deleted."""

from __future__ import annotations

import codecs
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from rowvec.errors import SourceError
from rowvec.sources.files.source import FilesSource

NOBODY = 65534
ROW = "id,name\n1,lamp\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user may look into: what pytest makes is its own user's."""
    with TemporaryDirectory(prefix="rowvec-test-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Nothing is forbidden to root."""
    # What Python looks for in its own folder, which others may not read.
    codecs.lookup("utf-8-sig")
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("pattern", ["*.csv", "**/*.csv"])
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "a.csv").write_text(ROW)
    (tmp_path / "b.csv").symlink_to(tmp_path / "unmounted" / "b.csv")
    with pytest.raises(SourceError, match=r"b\.csv is a link to what is not there"):
        FilesSource([str(tmp_path / pattern)], key="id")
    (tmp_path / "b.csv").unlink()
    (tmp_path / "b.txt").symlink_to("nowhere")
    assert FilesSource([str(tmp_path / pattern)], key="id").count() == 1


@pytest.mark.parametrize("pattern", ["*/*.csv", "*/b.csv", "**/*.csv", "p*/**/*.csv", "parts*/b.csv"])
def test_a_link_to_a_folder_that_is_not_there_is_named(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "b.csv").write_text(ROW)
    (tmp_path / "parts-old").symlink_to(tmp_path / "unmounted")
    with pytest.raises(SourceError, match=r"parts-old is a link to what is not there"):
        FilesSource([str(tmp_path / pattern)], key="id")
    (tmp_path / "parts-old").unlink()
    (tmp_path / ".cache").symlink_to("nowhere")
    assert FilesSource([str(tmp_path / pattern)], key="id").count() == 1


@pytest.mark.parametrize("pattern", ["**/*.csv", "*/*.csv", "*/b.csv", "parts/*.csv", "parts/**/b*"])
@pytest.mark.parametrize("mode", [0o000, 0o600])
def test_a_folder_that_may_not_be_read_is_not_passed_over(folder: Path, pattern: str, mode: int) -> None:
    for name in ("a", "parts"):
        (folder / name).mkdir()
        (folder / name / "b.csv").write_text(ROW.replace("1", str(len(name))))
    (folder / "parts").chmod(mode)
    if os.geteuid() == 0:
        os.chown(folder / "parts", NOBODY, NOBODY)
    try:
        with ordinary_user(), pytest.raises(SourceError, match=r"may not be read: .*parts"):
            FilesSource([str(folder / pattern)], key="id")
    finally:
        (folder / "parts").chmod(0o755)


@pytest.mark.parametrize("pattern", ["**/*.csv", "*.csv", "open/*.csv"])
def test_a_folder_that_the_pattern_does_not_reach_stops_nothing(folder: Path, pattern: str) -> None:
    (folder / "open").mkdir()
    for name in ("a.csv", "open/b.csv"):
        (folder / name).write_text(ROW.replace("1", str(len(name))))
    hidden = folder / ".Trash-0"
    hidden.mkdir()
    hidden.chmod(0o000)
    (folder / ".#a.csv").symlink_to("nowhere")
    try:
        with ordinary_user():
            assert FilesSource([str(folder / pattern)], key="id").count() == (2 if "**" in pattern else 1)
    finally:
        hidden.chmod(0o755)


def test_a_folder_that_goes_while_it_is_looked_through_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text(ROW)
    (tmp_path / "gone").mkdir()
    walk = os.walk

    def slow_walk(*given: Any, **how: Any) -> Iterator[Any]:
        for found in walk(*given, **how):
            yield found
            shutil.rmtree(tmp_path / "gone", ignore_errors=True)

    monkeypatch.setattr(os, "walk", slow_walk)
    assert FilesSource([str(tmp_path / "**/*.csv")], key="id").count() == 1
    assert not (tmp_path / "gone").exists()


def test_a_name_that_no_file_has_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="File name too long"):
        FilesSource([str(tmp_path / ("x" * 5000))], key="id", format="csv")
