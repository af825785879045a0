"""The docs say what is so: every command, option, config and link of them is checked, and whole pages are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools import reference

from rowvec.config import models, services, sources, stores, workers
from rowvec.config.fields import Section
from tests.acceptance.docs_rig import (
    END,
    FENCE,
    PAGES,
    ROOT,
    as_shown,
    blocks,
    command_mistake,
    inline,
    rowvec_mistake,
    script,
    wrong,
)

BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = [page for page in PAGES if any(block.run for block in blocks(page))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_right(block: object) -> None:
    assert wrong(block) is None  # type: ignore[arg-type]


def test_few_blocks_are_left_unchecked() -> None:
    unchecked = [str(block) for block in BLOCKS if block.unchecked]
    assert len(unchecked) * 10 <= len(BLOCKS), unchecked


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_fence_that_opens_closes(page: Path) -> None:
    """A block within a block ends the outer one, and what comes after is shown as code."""
    assert [str(block) for block in blocks(page) if "```" in block.text] == []
    assert "```" not in FENCE.sub("", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_command_hides_outside_a_fence(page: Path) -> None:
    """A block that is only indented would be checked by nobody."""
    outside = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert re.findall(r"^(?: {4,}|\t)(?:\$ )?(?:rowvec|pip|make|python|celery|curl) .*$", outside, re.MULTILINE) == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_in_the_prose_exist(page: Path) -> None:
    mistakes = []
    for line, code in inline(page):
        if code.startswith("rowvec "):
            words = code.split()
            known = reference.commands().get(" ".join(words[1:3])) or reference.commands().get(words[1])
            if known is None:
                mistake = rowvec_mistake(words[1:])
            else:
                # Here a command may lack its arguments, and a value be a word such as N.
                options = {name for each in known.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
                mistake = next((word for word in words if re.match(r"--?[a-z]", word) and word not in options), None)
            mistakes += [f"{page.name}:{line}: {code}: {mistake}"] if mistake else []
        elif code.startswith(("make ", "pip install ", "python -m ")):
            mistakes += filter(None, [command_mistake(code)])
    assert not mistakes


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_options_in_the_prose_exist(page: Path) -> None:
    parameters = [each for command in reference.commands().values() for each in command.params]
    options = {name for each in parameters for name in (*each.opts, *each.secondary_opts)}
    options |= {"--version", "--verbose", "--help", "--install-completion", "--show-completion"}
    named = {(line, word) for line, code in inline(page) for word in re.findall(r"^--[a-z][a-z-]*", code)}
    assert [f"{page.name}:{line}: {word}" for line, word in sorted(named) if word not in options] == []


# The reference


def test_every_key_of_the_config_has_a_meaning() -> None:
    for title, model in reference.sections().items():
        missing = set(model.model_fields) - set(reference.meanings(model)) - {"kind"}
        assert not missing, f"{title}: write a docstring below {missing}"


def test_every_section_of_the_config_is_listed() -> None:
    listed = set(reference.sections().values())
    classes = {
        each
        for module in (models, services, sources, stores, workers)
        for each in vars(module).values()
        if isinstance(each, type)
    }
    sections = {each for each in classes if issubclass(each, Section) and each is not Section}
    assert {each.__name__ for each in sections if not any(issubclass(known, each) for known in listed)} == set()


def test_every_option_of_every_command_has_a_meaning() -> None:
    for name, command in reference.commands().items():
        assert command.help, name
        for each in command.params:
            assert getattr(each, "help", None), f"rowvec {name}: {each.name}"


def test_the_http_reference_has_every_path() -> None:
    page = reference.http()
    paths = [path for path in reference.openapi()["paths"] if not path.startswith("/pipelines/{name}")]
    assert [path for path in paths if f" {path}\n" not in page] == []


def test_option_tables_of_the_sources_are_complete() -> None:
    """docs/sources.md explains by example what the reference lists."""
    text = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
    for kind in ("sql", "files", "debezium"):
        section = text.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
        table = set(re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", section, re.MULTILINE))
        model = reference.sections()[f'[pipelines.NAME.source] kind = "{kind}"']
        assert table == set(model.model_fields) - {"kind"}


def test_every_benchmark_is_listed() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    runnable = [path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py") if "\ndef main(" in path.read_text()]
    assert [name for name in runnable if f"`python -m benchmarks {name}`" not in text] == []


# The site


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, ""), done.stderr
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["']?(https?:)?//""", page.read_text())
        assert not loaded, page
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"""(?:@import|url\()\s*["']?(?:https?:)?//""", style.read_text()), style


# Running pages


def test_some_pages_are_run() -> None:
    assert {"docs/index.md", "docs/howto/sqlite-to-turso.md"} <= {str(page.relative_to(ROOT)) for page in RUN}


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_shows(page: Path, state_folder: Path, postgres_url: str) -> None:
    lines, expected = script(page)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DATABASE_URL": postgres_url, "COLUMNS": "100",
    }  # fmt: skip
    done = subprocess.run(["bash", "-c", lines], cwd=state_folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    printed = done.stdout.split(END)[1::2]
    assert len(printed) == len(expected)
    for (command, shown), said in zip(expected, printed, strict=True):
        assert as_shown(said, shown), f"$ {command}\n{said}\nis not what the page shows"
