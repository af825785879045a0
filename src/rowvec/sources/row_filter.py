"""A filter on rows that are not in a database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rowvec.documents.conversion import CONVERSION_ERRORS, converter
from rowvec.errors import SourceError
from rowvec.filters import And, Compare, Filter, Not, Or, bind, matches
from rowvec.types import Column


class RowFilter:
    """Whether a row passes, its values converted to the types of their columns first.

    Raises:
        SearchError: the filter does not suit the columns.
    """

    def __init__(self, where: Filter, columns: Sequence[Column]) -> None:
        self._where = bind(where, columns)
        self.columns = frozenset(_used(self._where))
        self._converters = {c.name: converter(c.type) for c in columns if c.name in self.columns}

    def __call__(self, row: Mapping[str, Any], location: str) -> bool:
        """
        Args:
            location: the row's place, for messages.

        Raises:
            SourceError: a value is of another type than its column.
        """
        values: dict[str, Any] = {}
        for name, convert in self._converters.items():
            value = row.get(name)
            try:
                values[name] = None if value is None else convert(value)
            except CONVERSION_ERRORS as error:
                raise SourceError(
                    f"{location}: the value of {name!r}, which source.where looks at, is of another type than"
                    " its column.",
                    hint="Correct the row, or say of what type the column is.",
                ) from error
        return matches(self._where, values)


def _used(where: Filter) -> Iterator[str]:
    if isinstance(where, Compare):
        yield where.column
    elif isinstance(where, Not):
        yield from _used(where.part)
    elif isinstance(where, And | Or):
        for part in where.parts:
            yield from _used(part)
