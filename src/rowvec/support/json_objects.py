"""Objects of JSON that have a name twice. JSON leaves open which value counts, and Python takes the last in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

_SHOWN = 60


class RepeatedName(ValueError):
    """An object has a name twice."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name[:_SHOWN]!r} is there twice in one object")
        self.name = name


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `object_pairs_hook` of `json.loads`.

    Raises:
        RepeatedName: of names that are there several times, the first.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RepeatedName(repeated(pairs))
    return found


def repeated(pairs: Sequence[tuple[str, Any]]) -> str:
    """The first name that is there several times; "" where none is."""
    times = Counter(name for name, _ in pairs)
    return next((name for name in times if times[name] > 1), "")
