"""Filters as SQL with bound values. Only the names of known columns are ever written into the text."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from rowvec.errors import SearchError
from rowvec.filters import And, Compare, Filter, Not, Op, Or
from rowvec.stores.libsql.values import quoted, value_in
from rowvec.types import Column, ColumnType


def condition(where: Filter | None, columns: Sequence[Column]) -> tuple[str, tuple[Any, ...]]:
    """An SQL condition that is empty or begins with `and`, and the values for its parameters.

    Raises:
        SearchError: an unknown column, or a value of another type than its column.
    """
    if where is None:
        return "", ()
    values: list[Any] = []
    text = _compiled(where, {column.name: column for column in columns}, values)
    return f" and {text}", tuple(values)


def _compiled(where: Filter, columns: Mapping[str, Column], values: list[Any]) -> str:
    match where:
        case And(parts):
            return "(" + " and ".join(_compiled(part, columns, values) for part in parts) + ")" if parts else "1"
        case Or(parts):
            return "(" + " or ".join(_compiled(part, columns, values) for part in parts) + ")" if parts else "0"
        case Not(part):
            return f"(not {_compiled(part, columns, values)})"
        case Compare():
            return _compared(where, _known(where.column, columns), values)


def _known(name: str, columns: Mapping[str, Column]) -> Column:
    if name in columns:
        return columns[name]
    nearest = difflib.get_close_matches(name, columns, 1)
    hint = f"Did you mean {nearest[0]!r}?" if nearest else f"There are: {', '.join(columns) or 'none'}."
    raise SearchError(f"There is no metadata column {name!r}.", hint=hint)


def _compared(where: Compare, column: Column, values: list[Any]) -> str:
    numeric = column.type is ColumnType.DECIMAL
    name = f"t.{quoted(column.name)}"
    held = f"cast({name} as real)" if numeric else name

    def bind(value: Any) -> str:
        try:
            bound = value_in(value, column)
        except (TypeError, ValueError, ArithmeticError):
            raise SearchError(f"{column.name!r} holds {column.type} values; {value!r} is none.") from None
        values.append(float(bound) if numeric and bound is not None else bound)
        return "?"

    match where.op:
        case Op.IS_NULL:
            return f"({name} is null)"
        case Op.IN:
            return f"({held} in ({', '.join(bind(value) for value in where.value)}))"
        case Op.BETWEEN:
            low, high = where.value
            return f"({held} between {bind(low)} and {bind(high)})"
        case Op.CONTAINS:
            return _contains(name, column, where.value, values)
        case _:
            return f"({held} {where.op.value} {bind(where.value)})"


def _contains(name: str, column: Column, value: Any, values: list[Any]) -> str:
    """Part of a text, case and all, or an element of an array."""
    if column.type is ColumnType.TEXT:
        values.append(str(value))
        return f"(instr({name}, ?) > 0)"
    if column.type in (ColumnType.ARRAY, ColumnType.JSON):
        values.append(value if isinstance(value, int | float | str) else str(value))
        # A missing array is unknown, as in every other comparison with null: exists() alone would call it false.
        return f"(case when {name} is not null then exists (select 1 from json_each({name}) where value = ?) end)"
    raise SearchError(f"{column.name!r} holds {column.type} values: `contains` is for texts and arrays.")
