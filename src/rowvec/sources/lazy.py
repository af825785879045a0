"""A source that nobody opens until its rows are asked for: a search needs none of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from rowvec.sources.base import Selection, Source
from rowvec.types import Column, ColumnType, Key, Row


class LazySource:
    """Knows its key, and the rest once it is open. One that cannot be opened is tried again with the next question.

    Args:
        build: opens the source. Raises SourceError where it cannot be.
    """

    def __init__(self, key: str, key_type: ColumnType, build: Callable[[], Source]) -> None:
        self.key = key
        self.key_type = key_type
        self._build = build
        self._opening = threading.Lock()
        self._source: Source | None = None

    def opened(self) -> Source:
        """Raises ConfigError, SourceError: it cannot be opened."""
        with self._opening:
            if self._source is None:
                self._source = self._build()
            return self._source

    @property
    def columns(self) -> Sequence[Column]:
        return self.opened().columns

    def select(self, columns: Sequence[str]) -> None:
        self.opened().select(columns)

    def count(self, selection: Selection | None = None) -> int:
        return self.opened().count(selection)

    def pages(
        self, size: int, *, selection: Selection | None = None, after: Key | None = None, until: Key | None = None
    ) -> Iterator[list[Row]]:
        return self.opened().pages(size, selection=selection, after=after, until=until)

    def existing(self, keys: Sequence[Key]) -> set[Key]:
        return self.opened().existing(keys)

    def close(self) -> None:
        if self._source is not None:
            self._source.close()


def opened(source: Source) -> Source:
    """The source itself, for whoever asks what kind it is."""
    return source.opened() if isinstance(source, LazySource) else source
