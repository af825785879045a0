"""LlamaIndex: `RowvecRetriever` finds rows, for query engines, fusion retrievers and agents.

from rowvec.adapters.llamaindex import RowvecRetriever

nodes = RowvecRetriever("products", "rowvec.toml", limit=5).retrieve("quiet office chair")
"""

from __future__ import annotations

from rowvec.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name is not None and error.name.partition(".")[0] != "llama_index":
        raise
    raise MissingExtraError("rowvec.adapters.llamaindex", "llamaindex") from error

from rowvec.adapters.llamaindex.retriever import RowvecRetriever

__all__ = ["RowvecRetriever"]
