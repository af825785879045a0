"""Haystack: `RowvecRetriever` is a component that finds rows.

from rowvec.adapters.haystack import RowvecRetriever

pipeline.add_component("rows", RowvecRetriever("products", "rowvec.toml", limit=5))
"""

from __future__ import annotations

from rowvec.errors import MissingExtraError

try:
    import haystack  # noqa: F401
except ModuleNotFoundError as error:
    if error.name is not None and error.name.partition(".")[0] != "haystack":
        raise
    raise MissingExtraError("rowvec.adapters.haystack", "haystack") from error

from rowvec.adapters.haystack.retriever import RowvecRetriever

__all__ = ["RowvecRetriever"]
