"""Typed filters on metadata columns, as values: limits, binding to column types, and what they mean. Beside them the
two other questions that are asked of metadata: facets (how often is each value there?) and orders.

A filter is written as JSON (`from_json`) or as an expression (`parse`); both give the same tree. `bind` checks
it against the metadata columns and converts its values; only a bound filter has a meaning, which `matches` defines
and the SQL of the stores follows.

Nulls are SQL's: comparing a null is neither true nor false but unknown, `not` leaves the unknown unknown, and a row is
found only where the whole filter is true. So neither `price = 5` nor `price != 5` nor `not price = 5` finds a row
without a price; `price != 5 or price is null` does. Only `is null` (never unknown) and an empty `in` (always false)
look past that.

Text is compared by Unicode code point, case and all; `contains` on a text column finds a substring whatever its case,
and so does `like` with a pattern of the whole text: % is any text, _ one character, and \\ takes the next as it is.
`~=` is equal but for the case of letters. `contains` on an array, or on a JSON column that holds one, finds a member
that is equal. `attrs.color` is what the JSON column `attrs` holds at `color` (see `rowvec.filters.paths`): unknown if
there is nothing, or a value of another type than it is compared with.
Times without an offset are UTC, and a date is the moment its day begins there. NaN is unknown.
"""

from __future__ import annotations

from rowvec.filters.advice import advice
from rowvec.filters.binding import bind, unknown_column
from rowvec.filters.facets import Facets, facet_columns, facets_of
from rowvec.filters.json_form import from_json, to_json
from rowvec.filters.meaning import Wild, letter_cases, lowered, matches, pattern
from rowvec.filters.ordering import Order, Place, browsed, parse_order, place_value
from rowvec.filters.text_form import parse, render
from rowvec.filters.tree import And, Compare, Filter, Not, Op, Or, check, compares, comparison

__all__ = [
    "And",
    "Compare",
    "Facets",
    "Filter",
    "Not",
    "Op",
    "Or",
    "Order",
    "Place",
    "Wild",
    "advice",
    "bind",
    "browsed",
    "check",
    "compares",
    "comparison",
    "facet_columns",
    "facets_of",
    "from_json",
    "letter_cases",
    "lowered",
    "matches",
    "parse",
    "parse_order",
    "pattern",
    "place_value",
    "render",
    "to_json",
    "unknown_column",
]
