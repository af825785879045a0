"""The rows of a generation as somebody sees them who may see only those of a filter.

The one place where such a limit is put in: whatever a search reads, it reads through this. A new way of reading rows
has to be added here, or searches with a limit cannot use it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rowvec.filters import And, Facets, Filter, Order, Place
from rowvec.searcher.spelling import MOST_WORDS_WITHIN
from rowvec.stores.base import LastWord, RowsHandle, TableSpec
from rowvec.types import Column, Key, Ranked, StoredText, Vector

EVERY_ROW = And(())
MOST_COUNTED = 100
"""Rows that hold a word."""


@dataclass(slots=True)
class Within:
    """
    Args:
        only: a bound filter; there are no other rows than those that it finds.
    """

    rows: RowsHandle
    only: Filter
    _joined: tuple[Filter, Filter] | None = field(default=None, init=False, repr=False)
    """The last filter that came, and both in one: a store goes by which filter it is, see `KeptByIdentity`."""

    def _both(self, where: Filter | None) -> Filter:
        if where is None:
            return self.only
        joined = self._joined
        if joined is None or joined[0] is not where:
            joined = self._joined = where, both(self.only, where)
        return joined[1]

    @property
    def spec(self) -> TableSpec:
        return self.rows.spec

    def vector(self, key: Key, where: Filter | None = None) -> Vector | None:
        return self.rows.vector(key, self._both(where))

    def vectors(self, after: Key | None, limit: int, where: Filter | None = None) -> list[tuple[Key, Vector]]:
        return self.rows.vectors(after, limit, self._both(where))

    def nearest(self, vector: Vector, limit: int, where: Filter | None = None, *, exact: bool = False) -> Ranked:
        return self.rows.nearest(vector, limit, self._both(where), exact=exact)

    def similarities(self, vector: Vector, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, float]:
        return self.rows.similarities(vector, keys, self._both(where))

    def typical(self, vector: Vector) -> float | None:
        """Of a sample of all rows, as the weights of words are: it moves scores, and shows no row."""
        return self.rows.typical(vector)

    def keyword(self, query: str, limit: int, where: Filter | None = None, *, last: LastWord | None = None) -> Ranked:
        condition = self._both(where)
        if last is None:
            return self.rows.keyword(query, limit, condition)
        return self.rows.keyword(query, limit, condition, last=last)

    def holding(self, words: Sequence[str]) -> dict[str, int]:
        """Each word is a search. Of many, those that most of all rows hold are looked for; no count is beyond 100."""
        held = self.rows.holding(words)
        most = sorted(held, key=lambda word: (-held[word], word))[:MOST_WORDS_WITHIN]
        found = {word: len(self.keyword(word, MOST_COUNTED).keys) for word in most}
        return {word: count for word, count in found.items() if count}

    def kept_words(self, known: Collection[int] = ()) -> dict[int, str] | None:
        """Of all rows: who looks for one asks `holding` before it shows it."""
        return self.rows.kept_words(known)

    def browse(
        self,
        limit: int,
        where: Filter | None = None,
        *,
        order: Order | None = None,
        offset: int = 0,
        after: Place | None = None,
    ) -> list[Key]:
        return self.rows.browse(limit, self._both(where), order=order, offset=offset, after=after)

    def facets(self, columns: Sequence[Column], where: Filter | None = None, *, most: int = 10) -> Facets:
        return self.rows.facets(columns, self._both(where), most=most)

    def metadata(self, keys: Sequence[Key], where: Filter | None = None) -> dict[Key, Mapping[str, Any]]:
        return self.rows.metadata(keys, self._both(where))

    def texts(
        self, keys: Sequence[Key], vector: Vector | None = None, where: Filter | None = None
    ) -> dict[Key, StoredText]:
        return self.rows.texts(keys, vector, self._both(where))


def both(only: Filter, where: Filter | None) -> Filter:
    return only if where is None else And((only, where))
