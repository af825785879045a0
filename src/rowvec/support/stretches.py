"""Cutting a sequence into stretches that are not too large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def stretches(sizes: Iterable[int], most_items: int, most_in_all: int) -> Iterator[slice]:
    """Consecutive stretches within both limits, as long as they can be; an item that is too large stands alone."""
    start = position = total = 0
    for position, size in enumerate(sizes, 1):
        if position - start > most_items or (position - start > 1 and total + size > most_in_all):
            yield slice(start, position - 1)
            start, total = position - 1, 0
        total += size
    if start < position:
        yield slice(start, position)
