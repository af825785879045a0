"""`rowvec help`: the pages of the documentation, as they come with the package."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rowvec.cli import output
from rowvec.errors import ConfigError
from rowvec.support.suggestions import suggestion

INSTALLED = Path(__file__).parents[1] / "help"
CLONE = Path(__file__).parents[3] / "docs"
FOLDERS = ("", "howto")
"""Of the pages below docs/; those of docs/reference are written when the site is built."""

_FOR_TESTS = re.compile(r"^(```\w+) (?:no-)?run\b", re.MULTILINE)
_IMAGE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n+", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\((?!\w+:)(?:[\w./-]*?([\w-]+)\.md)?(#[\w-]+)?\)")
_HEADING = re.compile(r"^(#+) (.*)$")


def show(topic: str | None) -> None:
    """
    Args:
        topic: name of a page, or "page#section" for one section of it; None lists the pages.

    Raises:
        ConfigError: there is no such page or section.
    """
    if topic is None:
        output.table(["topic", "about"], [(name, _title(page)) for name, page in sorted(pages().items())])
        output.note("Print one with: rowvec help TOPIC. The options of a command: rowvec COMMAND --help.")
        return
    text = for_terminal(topic)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        output.line(text.rstrip("\n"))


def pages() -> dict[str, Path]:
    """The pages by name."""
    root = INSTALLED if INSTALLED.is_dir() else CLONE
    return {page.stem: page for folder in FOLDERS for page in (root / folder).glob("*.md")}


def for_terminal(topic: str) -> str:
    """The Markdown of a page or a section, its links turned into topics and its pictures left out."""
    name, _, section = topic.partition("#")
    known = pages()
    if name not in known:
        raise ConfigError(f"There is no help on {name!r}.", hint=suggestion(name, known))
    text = known[name].read_text(encoding="utf-8")
    if section:
        text = _section(text, section, name)

    def linked(match: re.Match[str]) -> str:
        words, page, anchor = match.groups()
        page = page or name
        return f"{words} (rowvec help {page}{anchor or ''})" if page in known else words

    return _FOR_TESTS.sub(r"\1", _LINK.sub(linked, _IMAGE.sub("", text)))


def sections(text: str) -> dict[str, tuple[int, int]]:
    """First and last line of each section with those below it, by the name that a link gives it."""
    lines = text.splitlines()
    fenced, headings = False, []
    for number, line in enumerate(lines):
        fenced ^= line.lstrip().startswith("```")
        if not fenced and (heading := _HEADING.match(line)):
            headings.append((number, len(heading[1]), heading[2]))
    found = {}
    for at, (number, depth, title) in enumerate(headings):
        end = next((later for later, above, _ in headings[at + 1 :] if above <= depth), len(lines))
        found[re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-")] = (number, end)
    return found


def _section(text: str, section: str, page: str) -> str:
    found = sections(text)
    if section not in found:
        raise ConfigError(f"The page {page!r} has no section {section!r}.", hint=suggestion(section, found))
    first, end = found[section]
    return "\n".join(text.splitlines()[first:end]) + "\n"


def _title(page: Path) -> str:
    with page.open(encoding="utf-8") as file:
        return next(line for line in file if line.startswith("# ")).removeprefix("# ").strip()
