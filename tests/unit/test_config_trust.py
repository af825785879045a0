"""A config that another user could have written is not trusted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rowvec.config import load
from rowvec.config.trust import is_open_to_all
from rowvec.errors import ConfigError
from tests.unit.configs import SOURCE

OTHER = 12_345
NAMES = ["rowvec.toml", ".env"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rowvec.toml").write_text(f"[pipelines.p]\n{SOURCE}")
    (tmp_path / ".env").write_text("KEY=secret\n")
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def owned_by(monkeypatch: pytest.MonkeyPatch) -> dict[Path, int]:
    """Files that look as if they were another user's: only root can give one away."""
    owners: dict[Path, int] = {}
    real = Path.stat

    def told(self: Path, **options: bool) -> os.stat_result:
        found = real(self, **options)
        values = list(found)
        values[stat.ST_UID] = owners.get(self, found.st_uid)
        return os.stat_result(values)

    monkeypatch.setattr(Path, "stat", told)
    return owners


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("below", [".", "a/b"])
def test_one_that_is_another_users(
    folder: Path, owned_by: dict[Path, int], monkeypatch: pytest.MonkeyPatch, name: str, below: str
) -> None:
    (folder / below).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder / below)
    load()
    owned_by[folder / name] = OTHER
    with pytest.raises(ConfigError, match=r"belongs to another user \(uid 12345\)"):
        load()


def test_who_names_a_file_believes_its_owner(folder: Path, owned_by: dict[Path, int]) -> None:
    owned_by |= {folder / name: OTHER for name in NAMES}
    load(folder / "rowvec.toml")
    owned_by[folder / ".env"] = OTHER + 1
    with pytest.raises(ConfigError, match="uid 12346"):
        load(folder)


def test_roots_is_believed_but_not_where_everybody_writes(
    folder: Path, owned_by: dict[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    owned_by |= {folder / name: 0 for name in NAMES}
    load()
    folder.chmod(0o1777)
    with pytest.raises(ConfigError, match="Every user may write into"):
        load()
    owned_by |= {folder / name: OTHER for name in NAMES}
    load()


@pytest.mark.parametrize("name", NAMES)
def test_one_that_everybody_may_write(folder: Path, name: str) -> None:
    (folder / name).chmod(0o646)
    for path in (None, folder):
        with pytest.raises(ConfigError, match="Every user may write to it"):
            load(path)


def test_sudo_believes_who_called_it(folder: Path, owned_by: dict[Path, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    owned_by |= {folder / name: OTHER for name in NAMES}
    monkeypatch.setenv("SUDO_UID", str(OTHER))
    load()
    monkeypatch.setattr(os, "geteuid", lambda: 99)
    with pytest.raises(ConfigError, match="another user"):
        load()


def test_a_secret_that_everybody_can_read_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowvec.config.trust.OTHERS_ENTER", 0)
    monkeypatch.setattr("rowvec.config.trust.all", lambda entered: True, raising=False)
    (folder / ".env").chmod(0o644)
    assert is_open_to_all(folder / ".env")
    (folder / ".env").chmod(0o640)
    assert not is_open_to_all(folder / ".env")
    assert not is_open_to_all(folder / "none")
