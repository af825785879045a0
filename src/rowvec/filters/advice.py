"""What somebody may have meant by a filter that no row passes."""

from __future__ import annotations

from collections.abc import Iterator

from rowvec.filters.text_form import render
from rowvec.filters.tree import And, Compare, Filter, Op
from rowvec.filters.values import NAMES_OF_NULL
from rowvec.types import ColumnType


def advice(where: Filter | None) -> str | None:
    """A sentence for who finds nothing; None where the filter says nothing about missing values.

    It claims nothing of the rows: the query, or another condition, may be what excludes them.
    """
    for each in _demanded(where) if where is not None else ():
        missing = Compare(each.column, Op.IS_NULL, path=each.path)
        if each.op in (Op.EQ, Op.IN) and any(isinstance(v, str) and v.lower() in NAMES_OF_NULL for v in each.values):
            return f"`{render(each)}` looks for that text. For rows without a value, write `{render(missing)}`."
        if each.op is Op.IS_NULL and each.type is ColumnType.TEXT:
            empty = Compare(each.column, Op.EQ, "", path=each.path)
            return (
                f"`{render(missing)}` finds no empty text, because that is a value. Rows may have one: "
                f"for these, write `{render(empty)}`."
            )
    return None


def _demanded(where: Filter) -> Iterator[Compare]:
    """Comparisons that every row must pass; what is in an `or` or a `not` need not be what excludes rows."""
    if isinstance(where, Compare):
        yield where
    elif isinstance(where, And):
        for part in where.parts:
            yield from _demanded(part)
