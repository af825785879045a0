"""What errors and warnings refer to is there: `rowvec help` prints the docs wherever rowvec is installed."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rowvec import errors
from rowvec.cli import main as main_module
from rowvec.cli.help import for_terminal, pages, sections
from rowvec.errors import ConfigError, DeletionGuard
from tests.acceptance.shop import Shop

KINDS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.RowvecError)]


def test_every_page_that_an_error_names_is_printed() -> None:
    topics = {kind.page for kind in KINDS if kind.page}
    assert topics
    for topic in topics:
        assert for_terminal(topic).startswith("#")


def test_an_error_that_has_a_page_names_a_topic_that_help_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise DeletionGuard("More than half of the vectors would be deleted.")

    monkeypatch.setattr("rowvec.cli.commands.app", refuse)
    with pytest.raises(SystemExit):
        main_module.main()
    topic = capsys.readouterr().err.partition("Why: rowvec help ")[2].strip()
    assert for_terminal(topic).startswith("## Deleting\n")


def test_help_prints_pages_and_sections_for_a_terminal() -> None:
    text = for_terminal("sqlite-to-turso")
    assert "```console\n" in text, "what a block says to the tests is left out"
    assert not re.search(r"\]\((?!\w+:)|^!\[", "".join(map(for_terminal, pages())), re.MULTILINE)
    assert "Changing the model (rowvec help changing-the-model)" in for_terminal("generations") + for_terminal("index")


def test_a_section_ends_where_the_next_of_its_depth_begins() -> None:
    text = '# Page\n\n## One\n\n```sh\n# no heading\n```\n\n### Below\n\n## The 2nd, "two"\n\nEnd\n'
    assert sections(text) == {"page": (0, 13), "one": (2, 10), "below": (8, 10), "the-2nd-two": (10, 13)}


def test_no_topic_lists_them_and_a_wrong_one_gets_the_nearest(tmp_path: Path) -> None:
    answer = Shop(tmp_path).run("help")
    assert answer.code == 0
    assert re.search(r"^design +Design$", answer.out, re.MULTILINE) or "design\tDesign" in answer.out
    with pytest.raises(ConfigError, match="Did you mean 'generations'"):
        for_terminal("generation")
    with pytest.raises(ConfigError, match=r"has no section 'deletion'[\s\S]*'deleting'"):
        for_terminal("design#deletion")


@pytest.mark.slow
def test_a_warning_of_a_library_does_not_reach_the_terminal(tmp_path: Path) -> None:
    """SQLAlchemy warns of an index on an expression, with the path of its caller."""
    shop = Shop(tmp_path)
    with closing(sqlite3.connect(shop.folder / "own.db")) as database:
        database.execute("create table things (id integer primary key, name text)")
        database.execute("create index lower_name on things (lower(name))")
    answer = shop.run_anew("init", "--from", "sqlite:///own.db", "--config", "own.toml")
    assert (answer.code, answer.err) == (0, "")
    answer = shop.run_anew("--verbose", "init", "--from", "sqlite:///own.db", "--config", "own.toml", "--force")
    assert "SAWarning: Skipped unsupported reflection" in answer.err
    assert "site-packages" not in answer.err and ".py" not in answer.err
