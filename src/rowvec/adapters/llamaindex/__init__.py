"""LlamaIndex: `RowvecRetriever` finds rows, for query engines, fusion retrievers and agents.

from rowvec.adapters.llamaindex import RowvecRetriever

nodes = RowvecRetriever("products", "rowvec.toml", limit=5).retrieve("quiet office chair")
"""

from __future__ import annotations

from rowvec.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("rowvec.adapters.llamaindex", "llamaindex") from error

from rowvec.adapters.llamaindex.retriever import RowvecRetriever

__all__ = ["RowvecRetriever"]
