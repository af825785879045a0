"""Lists as values of a statement. The driver adapts a list member by member, which for the keys of a batch takes longer
than the statement does."""

from __future__ import annotations

from collections.abc import Sequence

from rowvec.types import Key


def key_array(keys: Sequence[Key]) -> list[Key] | str:
    """Keys of one type, as the server reads an array; in texts there may be something to escape."""
    return list(keys) if keys and isinstance(keys[0], str) else number_array(keys)


def number_array(values: Sequence[object]) -> str:
    """Values whose text holds nothing but digits, letters, hyphens and dots."""
    return "{" + ",".join(map(str, values)) + "}"
