"""What the shell offers where a word is expected: see `rowvec --install-completion`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rowvec.errors import RowvecError

if TYPE_CHECKING:
    from rowvec.searcher import Mode

MODES: tuple[Mode, ...] = ("semantic", "keyword", "hybrid")
GENERATIONS = ("live", "previous", "building")
DROPPED = ("previous", "building")
INDEX_ACTIONS = ("build", "drop", "status", "tune")
INDEX_KINDS = ("hnsw", "hnsw-bit", "ivfflat")
PRECISIONS = ("halfvec", "vector", "bit")
QUERY_ACTIONS = ("show", "export")
MODEL_ACTIONS = ("show", "fetch")
LOG_LEVELS = ("debug", "info", "warning", "error")
FLEETS = ("celery",)


def words(known: Sequence[str]) -> Callable[[str], list[str]]:
    def offered(incomplete: str) -> list[str]:
        return _beginning(known, incomplete)

    return offered


def pipelines(ctx: typer.Context, incomplete: str) -> list[str]:
    """Of the config that the line names, or that there is. A config with a mistake offers nothing, and says nothing."""
    from rowvec.config import load

    named = ctx.params.get("config")
    try:
        return _beginning(load(Path(named) if named else None).names, incomplete)
    except (RowvecError, OSError):
        return []


def columns(ctx: typer.Context, incomplete: str) -> list[str]:
    """Metadata columns of the pipeline that the line names, or of all; behind the last comma of a list."""
    from rowvec.config import load

    named, name = ctx.params.get("config"), ctx.params.get("pipeline")
    begun, comma, last = incomplete.rpartition(",")
    try:
        config = load(Path(named) if named else None)
        chosen = [name] if isinstance(name, str) else config.names
        known = dict.fromkeys(each for one in chosen for each in config.pipeline(one).store.metadata)
    except (RowvecError, OSError):
        return []
    return [begun + comma + each for each in _beginning(list(known), last)]


def topics(incomplete: str) -> list[str]:
    """Pages of the documentation, and behind a # their sections."""
    from rowvec.cli.help import pages, sections

    known = pages()
    page, sign, _ = incomplete.partition("#")
    if not sign or page not in known:
        return _beginning(sorted(known), incomplete)
    return _beginning([f"{page}#{each}" for each in sections(known[page].read_text(encoding="utf-8"))], incomplete)


def _beginning(known: Sequence[str], incomplete: str) -> list[str]:
    return [each for each in known if each.startswith(incomplete)]
