"""`rowvec init`: write a rowvec.toml from what a database or the files hold."""

from __future__ import annotations

from pathlib import Path

from rowvec.cli import output
from rowvec.errors import ConfigError
from rowvec.support.redaction import redact


def init(source: str | None, path: Path, *, force: bool) -> None:
    """
    Raises:
        ConfigError: the file exists, or cannot be written. SourceError: the database cannot be read.
    """
    if path.exists() and not force:
        raise ConfigError(f"{path} exists.", hint="Write elsewhere with --config, or overwrite it with --force.")
    from rowvec.config.starter import URL_VARIABLE, starter
    from rowvec.sources.propose import propose

    proposals = propose(source, base=path.absolute().parent) if source else None
    try:
        path.write_text(starter(proposals, source), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.", hint="Give a file in a folder of yours with --config."
        ) from None
    output.line(f"Wrote {path}.")
    if proposals and proposals[0].key is None:
        output.line(f"No key was found for {proposals[0].table}: set source.key there before anything else.")
    if source and redact(source) != source:
        output.line(f"Its password is not in the file. Put this line, with the password, into {path.parent / '.env'}:")
        output.line(f"  {URL_VARIABLE}={redact(source)}")
    output.line("Next: rowvec check, rowvec plan, rowvec sync.")
