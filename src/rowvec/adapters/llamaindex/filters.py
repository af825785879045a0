"""LlamaIndex's metadata filters as rowvec's. Nulls are SQL's: `!=` and `nin` find no row without a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from rowvec.errors import SearchError
from rowvec.filters import And, Compare, Filter, Not, Op, Or, comparison

SAME: Mapping[FilterOperator, Op] = {
    FilterOperator.EQ: Op.EQ,
    FilterOperator.NE: Op.NE,
    FilterOperator.GT: Op.GT,
    FilterOperator.GTE: Op.GE,
    FilterOperator.LT: Op.LT,
    FilterOperator.LTE: Op.LE,
    FilterOperator.CONTAINS: Op.CONTAINS,
    FilterOperator.TEXT_MATCH_INSENSITIVE: Op.CONTAINS,
}
OTHERS: Mapping[FilterOperator, Callable[[str, Any], Filter]] = {
    FilterOperator.IN: lambda name, value: comparison(name, Op.IN, tuple(value)),
    FilterOperator.NIN: lambda name, value: Not(comparison(name, Op.IN, tuple(value))),
    FilterOperator.ANY: lambda name, value: Or(tuple(comparison(name, Op.CONTAINS, each) for each in value)),
    FilterOperator.ALL: lambda name, value: And(tuple(comparison(name, Op.CONTAINS, each) for each in value)),
    FilterOperator.IS_EMPTY: lambda name, value: Compare(name, Op.IS_NULL),
}


def filter_of(filters: MetadataFilters) -> Filter:
    """
    Raises:
        SearchError: an operator that rowvec does not have, or a list where one value is due.
    """
    parts = tuple(filter_of(each) if isinstance(each, MetadataFilters) else _compared(each) for each in filters.filters)
    if filters.condition == FilterCondition.OR:
        return Or(parts)
    return Not(And(parts)) if filters.condition == FilterCondition.NOT else And(parts)


def _compared(one: MetadataFilter) -> Filter:
    if one.operator in OTHERS:
        if one.operator is not FilterOperator.IS_EMPTY and not isinstance(one.value, list):
            raise SearchError(f"The filter {one.operator.value!r} on {one.key!r} needs a list of values.")
        return OTHERS[one.operator](one.key, one.value)
    if one.operator not in SAME:
        hint = f"rowvec compares without regard to case: use {FilterOperator.TEXT_MATCH_INSENSITIVE.value!r}."
        raise SearchError(f"There is no filter {one.operator.value!r}.", hint=hint)
    if isinstance(one.value, list):
        raise SearchError(f"The filter {one.operator.value!r} on {one.key!r} takes one value, not a list.")
    return comparison(one.key, SAME[one.operator], one.value)
