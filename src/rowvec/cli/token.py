"""`rowvec token`: a search token, for a browser or another program that may see a part of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rowvec.api.project import Project
from rowvec.api.tokens import expiry
from rowvec.cli import output


def token(config: Path | None, pipelines: Sequence[str], where: str, expires: str, *, as_json: bool) -> None:
    """
    Raises:
        ConfigError: no API key, no such pipeline, a filter that does not fit its columns, no length of time.
        StoreError: the columns cannot be read.
    """
    with Project(config) as project:
        names = list(pipelines) or [project.config.pipeline().name]
        made = project.token(dict.fromkeys(names, where), expires=expires)
    until = expiry(made)
    if as_json:
        output.print_json({"token": made, "pipelines": names, "where": where, "expires_at": until})
        return
    output.line(made)
    output.note(f"It opens searches of {', '.join(names)} where {where}, until {until.astimezone():%Y-%m-%d %H:%M:%S}.")
