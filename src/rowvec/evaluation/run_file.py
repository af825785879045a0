"""Rankings as a TREC run file, which trec_eval reads: query, Q0, document, rank, score, name of the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rowvec.errors import ConfigError


def check_names(path: Path, names: Iterable[str], what: str) -> None:
    """
    Raises:
        ConfigError: one of them cannot stand in a run file, whose columns are divided by spaces.
    """
    for name in names:
        if not name or name.split() != [name]:
            raise ConfigError(
                f"{path} cannot be written: {what} {name!r} has a space in it, and spaces divide the columns of a run.",
                hint="Give the queries ids without spaces." if what == "the query" else None,
            )


def write_run(path: Path, rankings: Mapping[str, Sequence[str]], tag: str) -> None:
    """
    Args:
        rankings: query id -> keys, best first. The scores that are written fall by one from rank to rank.
        tag: name of the run.

    Raises:
        ConfigError: the file cannot be written, or an id has a space in it.
    """
    lines = []
    for query, keys in rankings.items():
        check_names(path, keys, "the key")
        lines += [f"{query} Q0 {key} {rank} {len(keys) - rank + 1} {tag}\n" for rank, key in enumerate(keys, 1)]
    try:
        path.write_text("".join(lines), "utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
