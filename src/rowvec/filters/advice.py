"""What somebody may have meant by a filter that no row passes."""

from __future__ import annotations

from rowvec.filters.text_form import render
from rowvec.filters.tree import Compare, Filter, Op, compares
from rowvec.filters.values import NAMES_OF_NULL
from rowvec.types import ColumnType


def advice(where: Filter | None) -> str | None:
    """A sentence for who finds nothing; None where the filter says nothing about missing values."""
    for each in compares(where) if where is not None else ():
        missing = Compare(each.column, Op.IS_NULL, path=each.path)
        if each.op in (Op.EQ, Op.IN) and any(isinstance(v, str) and v.lower() in NAMES_OF_NULL for v in each.values):
            return f"`{render(each)}` looks for that text. For rows without a value, write `{render(missing)}`."
        if each.op is Op.IS_NULL and each.type is ColumnType.TEXT:
            empty = Compare(each.column, Op.EQ, "", path=each.path)
            return f"No row without this value was found. An empty text is a value: write `{render(empty)}` for it."
    return None
