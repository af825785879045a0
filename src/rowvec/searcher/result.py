"""The limits of what a search is asked, and what is added to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rowvec.answers import SearchResult
from rowvec.errors import SearchError
from rowvec.filters import Filter
from rowvec.filters import advice as advice_on

MAX_LIMIT = 1000
MAX_QUERY = 10_000
"""Characters."""
MAX_PASSAGES = 20
"""Of a hit."""
MAX_TEXTS = 1_000
"""Rows whose texts one request asks for."""


def without_parts(result: SearchResult, missing: Sequence[int]) -> SearchResult:
    """
    Args:
        missing: numbers, from 1 on, of the parts of the store that the result is without.
    """
    return replace(result, exact=False, complete=False, missing_parts=tuple(missing)) if missing else result


def advised(result: SearchResult, where: Filter | None) -> SearchResult:
    """With advice, unless rows pass the filter, or may do so in parts of the store that did not answer."""
    return result if result.hits or result.total or result.partial else replace(result, advice=advice_on(where))


def check_query(query: str, limit: int) -> None:
    if not query.strip():
        raise SearchError("The query is empty.", hint="Say in a few words what you look for.")
    if len(query) > MAX_QUERY:
        raise SearchError(f"The query has {len(query):,} characters; {MAX_QUERY:,} are the most.")
    check_limit(limit)


def check_passages(passages: int) -> None:
    _check_whole("passages", passages)
    if not 0 <= passages <= MAX_PASSAGES:
        raise SearchError(f"passages is {passages:,}; it must be between 0 and {MAX_PASSAGES}.")


def check_limit(limit: int) -> None:
    _check_whole("The limit", limit)
    if not 1 <= limit <= MAX_LIMIT:
        raise SearchError(f"The limit is {limit:,}; it must be between 1 and {MAX_LIMIT:,}.")


def _check_whole(what: str, number: object) -> None:
    """Of a program's arguments, which nothing has converted."""
    if not isinstance(number, int) or isinstance(number, bool):
        raise SearchError(f"{what} is {number!r}, which is not a whole number.", hint="Give an int, such as 10.")
