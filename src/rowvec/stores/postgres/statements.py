"""Statements whose text is put together once, because they are executed again and again with other values."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from psycopg import sql

from rowvec.stores.postgres.session import rendered

MOST = 1_000
"""Texts. Filters differ in the columns that they compare, and a search in how many rows it asks for."""


class Statements:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._known: dict[Hashable, bytes] = {}

    def text(self, name: Hashable, make: Callable[[], sql.Composed]) -> bytes:
        """
        Args:
            name: everything that decides the text.
        """
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= MOST:
                self._known.clear()
            known = self._known[name] = rendered(make())
        return known
