"""What a store must be able to do, beside everything else, to hold one part of the rows of a pipeline.

See `rowvec.stores.partitioned`, which makes one store of several such.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from rowvec.filters import Facets, Filter
from rowvec.stores.base import GenerationHandle, LastWord, Store, TableSpec
from rowvec.types import Column, Key, Passage, Ranked, Vector

Spans: TypeAlias = Mapping[str, tuple[Any, Any]]
"""By column, the least and the greatest value that bins are made for."""


class Carried(NamedTuple):
    """What the other methods of a handle do not tell of a row, so that it can be written elsewhere as it is."""

    vector: Vector
    passages: tuple[Passage, ...]


class Created(NamedTuple):
    """When rows were made, by the clock of their database, and what that says now."""

    now: dt.datetime
    times: list[dt.datetime]
    """In no order."""


@dataclass(frozen=True, slots=True)
class WordCounts:
    """What BM25 weighs words by. Those of several parts add up to those of one table with all rows."""

    written: int = 0
    """Texts that count for the frequency of words, replaced ones too where the store goes on counting them."""
    documents: int = 0
    words: int = 0
    """In all texts, repeated ones each time."""
    holding: Mapping[str, int] = field(default_factory=dict)
    """Texts that hold a word of the query, by a name that the store gives it."""

    @staticmethod
    def total(counts: Iterable[WordCounts]) -> WordCounts:
        all_ = list(counts)
        holding: dict[str, int] = {}
        for each in all_:
            for word, count in each.holding.items():
                holding[word] = holding.get(word, 0) + count
        return WordCounts(
            sum(each.written for each in all_),
            sum(each.documents for each in all_),
            sum(each.words for each in all_),
            holding,
        )


class Matching(Protocol):
    """A keyword query in one part, whose words are counted and whose hits have no score yet."""

    @property
    def counts(self) -> WordCounts: ...

    def best(self, total: WordCounts, limit: int, where: Filter | None) -> Ranked:
        """As `RowsHandle.keyword`, scored as if the part were a piece of a table with these counts."""
        ...


@runtime_checkable
class Narrows(Matching, Protocol):
    """A matching that knows before it asks its database again which of its hits may be among the best of all parts."""

    @property
    def whole(self) -> bool:
        """`best` looks at all hits that there may be: False where `narrowed` has left some out."""
        ...

    def narrowed(self, others: Sequence[Any], total: WordCounts, limit: int, *, filtered: bool) -> Sequence[Narrows]:
        """Itself and those of other parts, which all together look at as many hits as one table would.

        Where they find fewer than `limit`, and are not `whole`, the former ones have to be asked.
        """
        ...


class PartHandle(GenerationHandle, Protocol):
    """A generation in one part."""

    def matching(self, query: str, last: LastWord | None) -> Matching:
        """Raises SearchError where there is no keyword index."""
        ...

    def sample(self, most: int) -> list[tuple[bytes, Vector]]:
        """Up to that many different texts with their vectors, those with the least hashes."""
        ...

    def facets(
        self, columns: Sequence[Column], where: Filter | None = None, *, most: int = 10, spans: Spans | None = None
    ) -> Facets:
        """As `RowsHandle.facets`.

        Args:
            spans: what the bins lie between, of the columns whose bins are counted, and nothing else of those; the
                other columns have none. By default each column has bins between its own least and greatest value.
        """
        ...

    def counted_texts(self, after: bytes | None, limit: int) -> list[tuple[bytes, list[Key], int]]:
        """Up to `limit` different texts by their hashes, `after` excluded: some keys, and how many rows."""
        ...

    def created(self, keys: Sequence[Key]) -> Created:
        """Since when those of the rows that are there are there."""
        ...

    def carried(self, keys: Sequence[Key]) -> dict[Key, Carried]:
        """Of those rows that have a vector."""
        ...

    def compact(self) -> None:
        """Leave nothing in the keyword index of rows that are gone: such words count where scores are made."""
        ...


class PartStore(Store, Protocol):
    """A store of one part."""

    metric: str

    def generation(self, spec: TableSpec) -> PartHandle | None: ...

    def prepare(self, spec: TableSpec) -> PartHandle: ...

    def placement(self) -> str:
        """What `keep_placement` kept last; "" where it kept nothing. Works before `prepare`."""
        ...

    def keep_placement(self, placement: str, *, announce: bool = False) -> None:
        """Keep how rows are spread over parts; after `prepare`, under the lock.

        Args:
            announce: the live generation gets another version, so that whoever takes this table for a whole one looks
                again. Handles from before it write nothing more.
        """
        ...
