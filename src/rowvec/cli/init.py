"""`rowvec init`: write a rowvec.toml from what a database holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rowvec.cli import output
from rowvec.errors import ConfigError
from rowvec.support.redaction import redact
from rowvec.support.suggestions import suggestion

if TYPE_CHECKING:
    from rowvec.sources.propose import Proposal

SQLITE = b"SQLite format 3\0"
"""How every file of SQLite begins (https://www.sqlite.org/fileformat.html, section 1.3)."""


def init(source: str | None, path: Path, *, table: str | None = None, force: bool) -> None:
    """
    Args:
        source: a URL, the path of a SQLite file, or a reference to a variable that holds a URL.
        table: the one that gets the pipeline; None for the most promising one.

    Raises:
        ConfigError: the file exists, or cannot be written; there is no such table. SourceError: the database cannot
            be read.
    """
    if path.exists() and not force:
        raise ConfigError(f"{path} exists.", hint="Write elsewhere with --config, or overwrite it with --force.")
    if table is not None and source is None:
        raise ConfigError("--table needs a database.", hint="Name it with --from.")
    from rowvec.config.starter import EXTRA, URL_VARIABLE, starter, unknown_to_default
    from rowvec.embedders.known_languages import MULTILINGUAL

    folder = path.absolute().parent
    url = _url(source, folder) if source else None
    proposals = None
    if url is not None:
        from rowvec.sources.propose import propose

        proposals = _chosen(propose(_resolved(url, folder), base=folder), table)
    try:
        path.write_text(starter(proposals, url), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.", hint="Give a file in a folder of yours with --config."
        ) from None
    output.line(f"Wrote {path}.")
    if proposals and proposals[0].key is None:
        output.line(f"No key was found for {proposals[0].table}: set source.key there before anything else.")
    what, share = unknown_to_default(proposals[0]) if proposals else ("", 0.0)
    if what:
        output.line(f"{share:.0%} {what}: the model is {MULTILINGUAL}, which knows a hundred languages.")
        output.line(f"  {EXTRA}.")
    if url and redact(url) != url:
        output.line(f"Its password is not in the file. Put this line, with the password, into {path.parent / '.env'}:")
        output.line(f"  {URL_VARIABLE}={redact(url)}")
    output.line("Next: rowvec check, rowvec plan, rowvec sync.")


def _url(source: str, folder: Path) -> str:
    """The URL of a SQLite file that is named by its path; anything else as it is.

    Raises:
        ConfigError: it is a file of another kind.
    """
    if "://" in source or source.startswith("${"):
        return source
    file = Path(source).absolute()
    if not file.is_file():
        return source
    with file.open("rb") as opened:
        if opened.read(len(SQLITE)) != SQLITE:
            raise ConfigError(
                f"--from {redact(source)}: this is not a file of SQLite.",
                hint='CSV, JSON Lines and Parquet are read by source.kind = "files": rowvec help sources',
            )
    shown = str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)
    return f"sqlite:///{shown}"


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
