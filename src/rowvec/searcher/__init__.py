"""From a query to hits: semantic, keyword, hybrid, and similar to a row."""

from rowvec.answers import Mode, SearchResult, hit_dict
from rowvec.searcher.candidates import DEPTH
from rowvec.searcher.paging import MAX_OFFSET, PLAIN, Refine
from rowvec.searcher.result import MAX_LIMIT, MAX_PASSAGES, MAX_QUERY, MAX_TEXTS
from rowvec.searcher.search import Searcher

__all__ = [
    "DEPTH",
    "MAX_LIMIT",
    "MAX_OFFSET",
    "MAX_PASSAGES",
    "MAX_QUERY",
    "MAX_TEXTS",
    "PLAIN",
    "Mode",
    "Refine",
    "SearchResult",
    "Searcher",
    "hit_dict",
]
