"""How many rows are read at once: fewer of wide ones, so that memory does not follow their width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

PAGE_BYTES = 16 * 2**20
"""Text in one page of rows."""
FIRST_ROWS = 50
"""In the first page, before it is known how wide they are."""
SAMPLED = 50

T = TypeVar("T")


class PageSize:
    """Learns from each page how many rows the next one may have.

    Attributes:
        rows: of the next page, at least one and at most `most`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.rows = min(FIRST_ROWS, most)

    def learn(self, rows: Sequence[Iterable[Any]]) -> None:
        """
        Args:
            rows: values of a page's rows, or of a `sample` of them; at least one row.
        """
        width = sum(len(value) for row in rows for value in row if isinstance(value, str | bytes)) / len(rows)
        self.rows = max(1, min(self._most, int(PAGE_BYTES / max(width, 1))))


def sample(rows: Sequence[T]) -> Sequence[T]:
    """About fifty of them."""
    return rows[:: max(1, len(rows) // SAMPLED)]
