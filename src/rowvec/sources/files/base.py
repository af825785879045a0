"""What each format of files can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rowvec.sources.storage import File
from rowvec.types import ColumnType

Types = dict[str, ColumnType | None]
"""Column -> type, None where nothing tells it."""


def repeated(names: Sequence[str]) -> str | None:
    """The first name, in alphabetical order, that stands there more than once."""
    return min((name for name, times in Counter(names).items() if times > 1), default=None)


class Format(ABC):
    """How one kind of file is read."""

    same_columns = True
    """Every file has the columns of the first one, and no row has others."""
    numbers_in_text: bool | None = None
    """Types are told by the values: True where numbers are written as text too. None where the file declares them."""
    line = "line"

    @abstractmethod
    def heading(self, file: File) -> Types:
        """The columns that every row of the file has, in its own order, with the types that the file itself declares.

        Raises:
            SourceError: it cannot be read as this format.
        """

    @abstractmethod
    def rows(self, file: File, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Line (from 1; of a Parquet file, row) and values of each row; at least those of `names` that it has."""
