"""Names that a user got slightly wrong."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from rowvec.errors import ConfigError
from rowvec.support.redaction import redact


def suggestion(name: str, known: Iterable[str], *, limit: int = 12) -> str:
    """A hint: the nearest known name, or the first `limit` of the known ones where none is near."""
    names = list(dict.fromkeys(known))
    folded = {each.casefold(): each for each in reversed(names)}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {folded[near[0]]!r}?"
    if not names:
        return "There are none."
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return "Available: " + ", ".join(names[:limit]) + more + "."


def check_column(name: str, known: Collection[str], where: str) -> None:
    """
    Raises:
        ConfigError: `name` is not one of the `known` columns; `where` is the setting that has it.
    """
    if name not in known:
        raise ConfigError(f"{where}: there is no column {redact(name)!r}.", hint=suggestion(name, known))
