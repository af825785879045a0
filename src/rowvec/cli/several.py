"""One command over several pipelines, in the order of the config."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from rowvec.cli import output
from rowvec.cli.codes import INTERRUPTED, code_of
from rowvec.config import load
from rowvec.errors import ConfigError, RowvecError

GRAVEST_FIRST = (INTERRUPTED, 2, 1, 4, 3)


def each(
    config: Path | None,
    name: str | None,
    run: Callable[[str | None], int | None],
    *,
    every: bool,
    as_json: bool = False,
) -> int:
    """Returns the gravest exit code.

    A pipeline that fails does not keep the others from their turn. As JSON there is one document: with `every` an
    object with the result, or the error, of each pipeline, however few there are.

    Args:
        run: carries the command out for one pipeline, and returns its exit code; None for 0.
        every: all pipelines of the config, unless one is named.

    Raises:
        ConfigError: a name, and all asked for.
    """
    names = load(config).names if every else []
    if name is not None and every:
        raise ConfigError(f"--all and -p {name} contradict each other.", hint="Leave one of them out.")
    if not names or (len(names) == 1 and not as_json):
        return run(name) or 0
    codes, documents = [], {}
    for position, one in enumerate(names):
        if position and not as_json:
            output.line()
        with output.collected(as_json) as said:
            try:
                codes.append(run(one) or 0)
            except RowvecError as error:
                codes.append(code_of(error))
                if as_json:
                    said.append({"error": error.message, "hint": error.hint})
                else:
                    output.error(error, of=one)
        if as_json:
            documents[one] = said[0] if said else None
        if codes[-1] == INTERRUPTED:
            break
    if as_json:
        output.print_json(documents)
    return gravest(codes)


def gravest(codes: Collection[int]) -> int:
    return next((code for code in GRAVEST_FIRST if code in codes), 0)


def shows_all(config: Path | None, name: str | None) -> bool:
    """A command that only looks shows every pipeline if none is named. It says itself what is wrong with a config."""
    if name is not None:
        return False
    try:
        return len(load(config).names) > 1
    except ConfigError:
        return False
