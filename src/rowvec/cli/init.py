"""`rowvec init`: write a rowvec.toml from what a database or files hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rowvec.cli import output
from rowvec.errors import ConfigError
from rowvec.support.figures import percent
from rowvec.support.redaction import redact
from rowvec.support.suggestions import suggestion

if TYPE_CHECKING:
    from rowvec.sources.propose import Proposal

SQLITE = b"SQLite format 3\0"
"""How every file of SQLite begins (https://www.sqlite.org/fileformat.html, section 1.3)."""


def init(source: str | None, path: Path, *, table: str | None = None, force: bool) -> None:
    """
    Args:
        source: a URL of a database, the path of a SQLite file, other files (one, a folder, a pattern, or s3://), or a
            reference to a variable that holds one of these.
        table: the one that gets the pipeline; None for the most promising one.

    Raises:
        ConfigError: the file exists, or cannot be written; there is no such table; files of a format that is not read.
        SourceError: the database or the files cannot be read; the files have no key.
    """
    if path.exists() and not force:
        raise ConfigError(f"{path} exists.", hint="Write elsewhere with --config, or overwrite it with --force.")
    if table is not None and source is None:
        raise ConfigError("--table needs a database.", hint="Name it with --from.")
    from rowvec.config.starter import starter

    if source is not None and not source.strip():
        raise ConfigError(
            "--from is empty.", hint="Is the variable set that it comes from? Without --from, init writes an example."
        )
    proposals, written = _proposed(source, path.absolute().parent, table) if source else (None, None)
    try:
        path.write_text(starter(proposals, written), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.", hint="Give a file in a folder of yours with --config."
        ) from None
    output.line(f"Wrote {path}.")
    if proposals:
        _say_what_needs_a_look(proposals[0])
    elif proposals is not None:
        output.line("No table was found there: the pipeline in it is an example.")
        output.line("  Correct source.table and source.key, or run `rowvec init --force --from` with another database.")
    for line in _secrets(proposals, written):
        output.line(line.format(env=path.parent / ".env"))
    output.line("Next: rowvec check, rowvec plan, rowvec sync.")


def _proposed(source: str, folder: Path, table: str | None) -> tuple[list[Proposal], str | None]:
    """What the source offers, and how the config names a database or a variable."""
    from rowvec.sources.propose import propose, propose_files

    written = _url(source, folder)
    # The path of a file may hold what would be a reference.
    found = _resolved(written, folder) if "://" in written or written.startswith("${") else written
    if "://" in found and not found.startswith("s3://"):
        return _chosen(propose(found, base=folder), table), written
    if table is not None:
        raise ConfigError("--table needs a database.", hint="Files are one table: name with --from those that are.")
    proposal = propose_files(found, base=folder)
    # A variable that holds a folder does not hold the pattern that is read.
    same = proposal.files is not None and proposal.files.paths == (found,)
    return [proposal], written if same else None


def _say_what_needs_a_look(first: Proposal) -> None:
    from rowvec.config.starter import EXTRA, unknown_to_default
    from rowvec.embedders.known_languages import MULTILINGUAL

    if first.key is None:
        output.line(f"No key was found for {first.table}: set source.key there before anything else.")
    elif first.files is not None and not first.files.named_key:
        output.line(f"The key is {first.key}: it is unique, but does not look like an id.")
        output.line("  Set source.key if another column is one.")
    if not first.text:
        output.line(f"No text was found in {first.table}: all columns are embedded. Choose them with text.columns.")
    what, share = unknown_to_default(first)
    if what:
        output.line(f"{percent(share)} {what}: the model is {MULTILINGUAL}, which knows a hundred languages.")
        output.line(f"  {EXTRA}.")


def _secrets(proposals: list[Proposal] | None, written: str | None) -> list[str]:
    """What is left for the user to write into .env."""
    from rowvec.config.starter import URL_VARIABLE, secrets

    if proposals and proposals[0].files is not None:
        hidden = [] if written and written.startswith("${") else secrets(proposals[0].files)
        what = "secret"
    else:
        hidden = [(URL_VARIABLE, written)] if written and redact(written) != written else []
        what = "password"
    if not hidden:
        return []
    head = f"Its {what} is not in the file. Put this line, with the {what}, into {{env}}:"
    return [head, *(f"  {variable}={redact(url)}" for variable, url in hidden)]


def _url(source: str, folder: Path) -> str:
    """The URL of a SQLite file that is named by its path, and the path of other files as seen from the config."""
    if "://" in source or source.startswith("${"):
        return source
    file = Path(os.path.abspath(Path(source).expanduser()))
    shown = str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)
    if not file.is_file():
        return shown
    try:
        with file.open("rb") as opened:
            is_sqlite = opened.read(len(SQLITE)) == SQLITE
    except OSError as error:
        raise ConfigError(
            f"--from {source}: it cannot be read: {error.strerror}.", hint="Give this user read access."
        ) from None
    return f"sqlite:///{shown}" if is_sqlite else shown


def _resolved(url: str, folder: Path) -> str:
    from rowvec.config.environment import Environment, expand

    environment = Environment(folder)
    found, unset = expand(url, environment)
    if unset:
        variable = unset[0].variable or ""
        raise ConfigError(f"--from {redact(url)}: {variable} is not set.", hint=environment.hint(variable))
    return str(found)


def _chosen(proposals: list[Proposal], table: str | None) -> list[Proposal]:
    """With the table that the user named first.

    Raises:
        ConfigError: there is no such table.
    """
    if table is None:
        return proposals
    named = [each for each in proposals if each.table == table]
    if not named:
        names = [each.table for each in proposals]
        raise ConfigError(f"--table: there is no table or view {table!r}.", hint=suggestion(table, names))
    return named + [each for each in proposals if each.table != table]
