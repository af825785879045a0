"""Haystack's filters as rowvec's. Nulls are SQL's: `!=` and `not in` find no row without a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from rowvec.errors import SearchError
from rowvec.filters import And, Filter, Not, Op, Or, comparison

COMPARISONS = {"==": Op.EQ, "!=": Op.NE, ">": Op.GT, ">=": Op.GE, "<": Op.LT, "<=": Op.LE}


def is_haystacks(filters: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a filter is in Haystack's form: rowvec's own names a column where this one says `operator`."""
    return isinstance(filters, Mapping) and "operator" in filters and ("field" in filters or "conditions" in filters)


def filter_of(filters: Mapping[str, Any]) -> Filter:
    """
    Raises:
        SearchError: not a filter of Haystack's, or an operator that it does not have.
    """
    if not is_haystacks(filters):
        raise SearchError("A filter needs an operator with a field and a value, or with conditions.")
    operator = filters["operator"]
    if "conditions" in filters:
        parts = tuple(filter_of(each) for each in filters["conditions"])
        if operator not in ("AND", "OR", "NOT"):
            raise SearchError(f"The conditions of a filter have the operator {operator!r}.", hint="Use AND, OR or NOT.")
        return Or(parts) if operator == "OR" else And(parts) if operator == "AND" else Not(And(parts))
    if "value" not in filters:
        raise SearchError(f"The filter on {filters['field']!r} has no value.")
    column, value = str(filters["field"]).removeprefix("meta."), filters["value"]
    if operator in ("in", "not in"):
        if not isinstance(value, list | tuple):
            raise SearchError(f"The filter {operator!r} on {column!r} needs a list of values.")
        found = comparison(column, Op.IN, tuple(value))
        return found if operator == "in" else Not(found)
    if operator not in COMPARISONS:
        known = ", ".join([*COMPARISONS, "in", "not in"])
        raise SearchError(f"There is no filter {operator!r}.", hint=f"Use one of {known}.")
    return comparison(column, COMPARISONS[operator], value)
